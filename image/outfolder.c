/* SPDX-License-Identifier: Apache-2.0 */
#include "image/outfolder.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/codec.h"
#include "base/file.h"

struct target {
        int parent;
        char *name;      /* in parent */
        char *temporary; /* in parent */
};

static void target_done(struct target *t)
{
        close_p(&t->parent);
        free(t->name);
        free(t->temporary);
}

static int refused(struct error *e, int code, const char *path, const char *why)
{
        int r = error_set(e, ERROR_CONFIG, code, "cannot write %s: %s", path, why);

        error_advise(e, "name a folder that does not exist, in one that does");
        return r;
}

static int set_names(struct target *t, const char *path, size_t n)
{
        const char *slash = memrchr(path, '/', n);
        uint8_t salt[8];
        char hex[2 * sizeof(salt) + 1];
        _cleanup_free_ char *parent = NULL;
        size_t above = slash ? (size_t)(slash - path) : 0;
        int r = random_bytes(salt, sizeof(salt));

        if (r < 0)
                return r;
        hex_encode(salt, sizeof(salt), hex);
        t->name = slash ? strndup(slash + 1, n - above - 1) : strndup(path, n);
        if (slash)
                parent = strndup(path, above > 0 ? above : 1);
        else
                parent = strdup(".");
        if (!t->name || !parent || asprintf(&t->temporary, ".%s.%s", t->name, hex) < 0) {
                t->temporary = NULL;
                return -ENOMEM;
        }
        t->parent = file_open_dir(AT_FDCWD, parent);
        return t->parent < 0 ? t->parent : 0;
}

static int open_target(const char *path, struct target *t, struct error *e)
{
        size_t n = strlen(path);
        struct stat st;
        int r;

        while (n > 1 && path[n - 1] == '/')
                n--;
        r = set_names(t, path, n);
        if (r == -ENOENT || r == -ENOTDIR)
                return refused(e, -r, path, strerrordesc_np(-r));
        if (r < 0)
                return error_errno(e, -r, "cannot write %s", path);
        if (fstatat(t->parent, t->name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                return errno == ENOENT ? 0 : error_errno(e, errno, "cannot write %s", path);
        return refused(e, EEXIST, path, "something is there already");
}

int outfolder_check(const char *path, struct error *e)
{
        _cleanup_(target_done) struct target t = {.parent = -EBADF};

        return open_target(path, &t, e);
}

/* Undoes an unfinished folder, as far as it got. */
static void drop(const struct bundle *b, const struct target *t, int dir)
{
        size_t n = 0;

        while (bundle_at(b, n))
                n++;
        while (n-- > 0) {
                const struct bundle_entry *entry = bundle_at(b, n);

                (void)unlinkat(dir, entry->name, entry->folder ? AT_REMOVEDIR : 0);
        }
        (void)unlinkat(t->parent, t->temporary, AT_REMOVEDIR);
}

int outfolder_write(const char *path, const struct bundle *b, struct error *e)
{
        _cleanup_(target_done) struct target t = {.parent = -EBADF};
        _cleanup_close_ int dir = -EBADF;
        int r = open_target(path, &t, e);

        if (r < 0)
                return r;
        if (mkdirat(t.parent, t.temporary, 0755) < 0)
                return error_errno(e, errno, "cannot make %s", path);
        dir = file_open_dir(t.parent, t.temporary);
        if (dir < 0)
                return error_errno(e, -dir, "cannot open %s", path);
        r = bundle_write_folder(b, dir, e);
        if (r == 0 && (file_sync(dir) < 0 || renameat(t.parent, t.temporary, t.parent, t.name) < 0))
                r = error_errno(e, errno, "cannot write %s", path);
        if (r < 0) {
                drop(b, &t, dir);
                return r;
        }
        r = file_sync(t.parent);
        return r < 0 ? error_errno(e, -r, "cannot write %s", path) : 0;
}
