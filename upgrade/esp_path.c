/* SPDX-License-Identifier: Apache-2.0 */
#include "upgrade/esp_path.h"

#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/limits.h"

int esp_path_parent(int root, const char *path, const char **ret_name)
{
        _cleanup_close_ int dir = file_open_dir(root, ".");
        const char *p = path;

        if (dir < 0)
                return dir;
        for (;;) {
                size_t n = strcspn(p, "/");
                char word[NAME_MAX + 1];
                int next;

                if (n == 0 || n > NAME_MAX || memchr(p, '\\', n))
                        return -EINVAL;
                memcpy(word, p, n);
                word[n] = '\0';
                if (strcmp(word, ".") == 0 || strcmp(word, "..") == 0)
                        return -EINVAL;
                if (p[n] == '\0') {
                        *ret_name = p;
                        return TAKE_FD(dir);
                }
                next = openat(dir, word, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
                if (next < 0)
                        return -errno;
                close_p(&dir);
                dir = next;
                p += n + 1;
        }
}

/* Descriptor of the directory; the path leads to a regular file in it. */
static int find(int root, const char *path, const char **ret_name, struct stat *st)
{
        _cleanup_close_ int dir = esp_path_parent(root, path, ret_name);

        if (dir < 0)
                return dir;
        if (fstatat(dir, *ret_name, st, AT_SYMLINK_NOFOLLOW) < 0)
                return -errno;
        return S_ISREG(st->st_mode) ? TAKE_FD(dir) : -EINVAL;
}

int esp_path_find(int root, const char *path, const char **ret_name, uint64_t *ret_size)
{
        struct stat st;
        _cleanup_close_ int dir = find(root, path, ret_name, &st);

        if (dir < 0)
                return dir;
        *ret_size = (uint64_t)st.st_size;
        return 0;
}

int esp_path_open(int root, const char *path, int flags)
{
        const char *name;
        struct stat st;
        _cleanup_close_ int dir = find(root, path, &name, &st);
        int fd;

        if (dir < 0)
                return dir;
        fd = openat(dir, name, flags | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY);
        return fd < 0 ? -errno : fd;
}

int esp_path_read(int root, const char *path, struct buf *out)
{
        const char *name;
        struct stat st;
        _cleanup_close_ int dir = find(root, path, &name, &st);

        return dir < 0 ? dir : file_read(dir, name, out);
}

int esp_path_dir_open(struct esp_path_dir *d, int root, const char *path)
{
        _cleanup_close_ int parent = -EBADF, fd = -EBADF;
        const char *name = ".";

        parent = *path ? esp_path_parent(root, path, &name) : file_open_dir(root, ".");
        if (parent < 0)
                return parent;
        fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
        if (fd < 0)
                return -errno;
        d->stream = fdopendir(fd);
        if (!d->stream)
                return -errno;
        d->fd = TAKE_FD(fd); /* belongs to the stream from here on */
        d->count = 0;
        return 0;
}

int esp_path_dir_next(struct esp_path_dir *d)
{
        for (;;) {
                struct dirent *entry;
                struct stat st;

                errno = 0;
                entry = readdir(d->stream);
                if (!entry)
                        return -errno;
                if (d->count++ >= LIMIT_ESP_FILES)
                        return -E2BIG;
                if (fstatat(d->fd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                        return errno == ENOENT ? -ESTALE : -errno;
                if (!S_ISREG(st.st_mode))
                        continue;
                d->name = entry->d_name;
                d->size = (uint64_t)st.st_size;
                return 1;
        }
}

void esp_path_dir_close(struct esp_path_dir *d)
{
        if (d->stream)
                (void)closedir(d->stream); /* only read from */
        d->stream = NULL;
        d->fd = -EBADF;
}
