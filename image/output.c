/* SPDX-License-Identifier: Apache-2.0 */
#include "image/output.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/codec.h"
#include "base/file.h"

struct output {
        int dir;
        int fd;
        char *path; /* as given, for messages */
        char *name; /* inside dir */
        char *temporary;
        bool created;
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

int output_open(const char *path, struct output **ret, struct error *e)
{
        _cleanup_(output_free_p) struct output *o = calloc(1, sizeof(*o));
        int r;

        if (!o)
                return error_oom(e);
        o->dir = o->fd = -EBADF;
        r = set_names(o, path);
        if (r == 0) {
                o->fd = openat(o->dir, o->temporary, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
                r = o->fd < 0 ? -errno : 0;
        }
        if (r < 0)
                return error_errno(e, -r, "cannot create %s", path);
        o->created = true;
        *ret = TAKE_PTR(o);
        return 0;
}

int output_fd(const struct output *o)
{
        return o->fd;
}

int output_commit(struct output *o, struct error *e)
{
        int r;

        r = file_sync(o->fd);
        if (r == 0 && renameat(o->dir, o->temporary, o->dir, o->name) < 0)
                r = -errno;
        if (r < 0)
                return error_errno(e, -r, "cannot write %s", o->path);
        o->created = false;
        r = file_sync(o->dir);
        return r < 0 ? error_errno(e, -r, "cannot write %s", o->path) : 0;
}

void output_free(struct output *o)
{
        if (!o)
                return;
        if (o->created)
                (void)unlinkat(o->dir, o->temporary, 0); /* nothing better to do about a leftover */
        close_p(&o->fd);
        close_p(&o->dir);
        free(o->path);
        free(o->name);
        free(o->temporary);
        free(o);
}
