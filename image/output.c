/* SPDX-License-Identifier: Apache-2.0 */
#include "image/output.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/codec.h"
#include "base/file.h"

struct output {
        int dir;
        int fd;
        char *path; /* as given, for messages */
        char *name; /* inside dir */
        char *temporary;
        bool named;     /* the temporary name exists */
        char *name_now; /* path of it, once asked for */
};

static int set_names(struct output *o, const char *path)
{
        const char *slash = strrchr(path, '/');
        _cleanup_free_ char *parent = NULL;
        uint8_t salt[8];
        char hex[2 * sizeof(salt) + 1];
        int r;

        r = random_bytes(salt, sizeof(salt));
        if (r < 0)
                return r;
        hex_encode(salt, sizeof(salt), hex);
        o->path = strdup(path);
        o->name = strdup(slash ? slash + 1 : path);
        parent = slash ? strndup(path, slash == path ? 1 : (size_t)(slash - path)) : strdup(".");
        if (!o->path || !o->name || !parent)
                return -ENOMEM;
        if (o->name[0] == '\0')
                return -EISDIR;
        if (asprintf(&o->temporary, ".%s.%s", o->name, hex) < 0) {
                o->temporary = NULL;
                return -ENOMEM;
        }
        o->dir = file_open_dir(AT_FDCWD, parent);
        return o->dir < 0 ? o->dir : 0;
}

static int refused(struct error *e, int code, const char *path, const char *what)
{
        int r = error_set(e, ERROR_CONFIG, code, "cannot write %s: %s", path, what);

        error_advise(e, "name a regular file in a directory that exists");
        return r;
}

/* What stands under the name: 1 and its permissions for a regular file, 0 for nothing. */
static int look_at_target(const struct output *o, mode_t *ret_mode, struct error *e)
{
        struct stat st;

        if (fstatat(o->dir, o->name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                return errno == ENOENT ? 0 : error_errno(e, errno, "cannot write %s", o->path);
        if (S_ISDIR(st.st_mode))
                return refused(e, EISDIR, o->path, "it is a directory");
        if (S_ISLNK(st.st_mode))
                return refused(e, ELOOP, o->path, "it is a symbolic link");
        if (!S_ISREG(st.st_mode))
                return refused(e, EEXIST, o->path, "it is there and no regular file");
        *ret_mode = st.st_mode & 0777;
        return 1;
}

/* Without a name where the file system can do that: a killed build leaves nothing behind then. */
static int create(struct output *o)
{
        o->fd = openat(o->dir, ".", O_RDWR | O_TMPFILE | O_CLOEXEC, 0666);
        if (o->fd >= 0)
                return 0;
        o->fd = openat(o->dir, o->temporary, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (o->fd < 0)
                return -errno;
        o->named = true;
        return 0;
}

/* rename() can replace an older file, linkat() cannot: a name comes first in any case. */
static int give_name(struct output *o)
{
        char self[32];

        if (o->named)
                return 0;
        (void)snprintf(self, sizeof(self), "/proc/self/fd/%d", o->fd);
        if (linkat(AT_FDCWD, self, o->dir, o->temporary, AT_SYMLINK_FOLLOW) < 0)
                return -errno;
        o->named = true;
        return 0;
}

int output_open(const char *path, struct output **ret, struct error *e)
{
        _cleanup_(output_free_p) struct output *o = calloc(1, sizeof(*o));
        mode_t mode = 0;
        int r, replaces;

        if (!o)
                return error_oom(e);
        o->dir = o->fd = -EBADF;
        r = set_names(o, path);
        if (r == -EISDIR || r == -ENOENT || r == -ENOTDIR)
                return refused(e, -r, path, strerrordesc_np(-r));
        if (r < 0)
                return error_errno(e, -r, "cannot create %s", path);
        replaces = look_at_target(o, &mode, e);
        if (replaces < 0)
                return replaces;
        r = create(o);
        if (r == 0 && replaces && fchmod(o->fd, mode) < 0)
                r = -errno;
        if (r < 0)
                return error_errno(e, -r, "cannot create %s", path);
        *ret = TAKE_PTR(o);
        return 0;
}

int output_fd(const struct output *o)
{
        return o->fd;
}

int output_name(struct output *o, const char **ret, struct error *e)
{
        int above = (int)(strlen(o->path) - strlen(o->name)), r = give_name(o);

        if (r < 0)
                return error_errno(e, -r, "cannot create %s", o->path);
        if (!o->name_now && asprintf(&o->name_now, "%.*s%s", above, o->path, o->temporary) < 0) {
                o->name_now = NULL;
                return error_oom(e);
        }
        *ret = o->name_now;
        return 0;
}

int output_commit(struct output *o, struct error *e)
{
        mode_t mode;
        int r = look_at_target(o, &mode, e);

        if (r < 0)
                return r;
        r = file_sync(o->fd);
        if (r == 0)
                r = give_name(o);
        if (r == 0 && renameat(o->dir, o->temporary, o->dir, o->name) < 0)
                r = -errno;
        if (r < 0)
                return error_errno(e, -r, "cannot write %s", o->path);
        o->named = false;
        r = file_sync(o->dir);
        return r < 0 ? error_errno(e, -r, "cannot write %s", o->path) : 0;
}

void output_free(struct output *o)
{
        if (!o)
                return;
        if (o->named)
                (void)unlinkat(o->dir, o->temporary, 0); /* nothing better to do about a leftover */
        close_p(&o->fd);
        close_p(&o->dir);
        free(o->path);
        free(o->name);
        free(o->temporary);
        free(o->name_now);
        free(o);
}
