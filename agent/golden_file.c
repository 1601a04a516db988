/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/golden_file.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/codec.h"
#include "base/file.h"
#include "base/log.h"

#define RANDOM_SIZE 6u

static int exists(const char *path, struct error *e)
{
        error_set(e, ERROR_USAGE, EEXIST, "%s exists", path);
        error_advise(e, "choose another name, or give --overwrite");
        return -EEXIST;
}

int golden_file_check(const char *path, bool overwrite, struct error *e)
{
        struct stat st;

        if (lstat(path, &st) < 0)
                return errno == ENOENT ? 0 : error_errno(e, errno, "%s", path);
        if (!S_ISREG(st.st_mode)) {
                error_set(e, ERROR_USAGE, EINVAL, "%s exists and is no regular file", path);
                error_advise(e, "a disk is installed on with --target");
                return -EINVAL;
        }
        return overwrite ? 0 : exists(path, e);
}

static int make_name(const char *path, char **ret)
{
        const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
        char hex[2 * RANDOM_SIZE + 1];
        uint8_t random[RANDOM_SIZE];
        int r = random_bytes(random, sizeof(random));

        if (r < 0)
                return r;
        if (!*name)
                return -EISDIR;
        hex_encode(random, sizeof(random), hex);
        if (asprintf(ret, "%.*s.%s.%s", (int)(name - path), path, name, hex) < 0) {
                *ret = NULL;
                return -ENOMEM;
        }
        return 0;
}

int golden_file_make(const char *path, uint64_t size, struct golden_file *ret, struct error *e)
{
        struct golden_file f = {.path = path, .fd = -EBADF};
        int r = make_name(path, &f.temporary);

        if (r < 0)
                return error_errno(e, -r, "%s", path);
        f.fd = open(f.temporary, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (f.fd < 0) {
                r = error_errno(e, errno, "%s", f.temporary);
                free(f.temporary);
                return r;
        }
        *ret = f;
        return ftruncate(f.fd, (off_t)size) < 0 ? error_errno(e, errno, "%s", path) : 0;
}

static int sync_folder(const char *path)
{
        const char *slash = strrchr(path, '/');
        _cleanup_free_ char *folder =
                slash ? strndup(path, (size_t)(slash - path) + 1) : strdup(".");
        _cleanup_close_ int fd = folder ? file_open_dir(AT_FDCWD, folder) : -ENOMEM;

        return fd < 0 ? fd : file_sync(fd);
}

int golden_file_publish(struct golden_file *f, bool overwrite, struct error *e)
{
        int r = file_sync(f->fd);

        if (r < 0)
                return error_errno(e, -r, "%s", f->path);
        /* Without --overwrite in one step that never replaces. */
        if (overwrite)
                r = renameat(AT_FDCWD, f->temporary, AT_FDCWD, f->path) < 0 ? -errno : 0;
        else
                r = linkat(AT_FDCWD, f->temporary, AT_FDCWD, f->path, 0) < 0 ? -errno : 0;
        if (r == -EEXIST)
                return exists(f->path, e);
        if (r < 0) {
                r = error_errno(e, -r, "%s: giving the file its name", f->path);
                if (!overwrite)
                        error_advise(e, "where a file system has no hard links, give --overwrite");
                return r;
        }
        if (!overwrite && unlinkat(AT_FDCWD, f->temporary, 0) < 0)
                log_warning("%s cannot be removed", f->temporary);
        free(f->temporary);
        f->temporary = NULL;
        r = sync_folder(f->path);
        return r < 0 ? error_errno(e, -r, "%s", f->path) : 0;
}

void golden_file_done(struct golden_file *f)
{
        close_p(&f->fd);
        if (f->temporary && unlinkat(AT_FDCWD, f->temporary, 0) < 0)
                log_warning("%s cannot be removed", f->temporary);
        free(f->temporary);
        f->temporary = NULL;
}
