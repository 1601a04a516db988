/* SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>

#include "base/codec.h"

void file_ensure_stdio(void)
{
        for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
                int opened;

                if (fcntl(fd, F_GETFD) >= 0)
                        continue;
                opened = open("/dev/null", O_RDWR | O_NOCTTY);
                /* An initramfs may be without /dev yet. This holds the number, too, and whoever
                 * writes there is told that it fails, as before. */
                if (opened < 0)
                        opened = open("/", O_PATH | O_DIRECTORY);
                (void)opened; /* the lowest free number, which is fd */
        }
}

int file_open_regular(int dirfd, const char *path)
{
        _cleanup_close_ int fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
        struct stat st;

        if (fd < 0)
                return -errno;
        if (fstat(fd, &st) < 0)
                return -errno;
        if (!S_ISREG(st.st_mode))
                return S_ISDIR(st.st_mode) ? -EISDIR : -EOPNOTSUPP;
        return TAKE_FD(fd);
}

const char *file_strerror(int r)
{
        if (r == -E2BIG)
                return "larger than what is accepted";
        if (r == -EOPNOTSUPP)
                return "not a regular file";
        return strerrordesc_np(-r) ?: "unknown error";
}

ssize_t file_pread(int fd, void *buf, size_t n, uint64_t offset)
{
        size_t done = 0;

        while (done < n) {
                ssize_t got = pread(fd, (uint8_t *)buf + done, n - done, (off_t)(offset + done));

                if (got < 0 && errno == EINTR)
                        continue;
                if (got < 0)
                        return -errno;
                if (got == 0)
                        break;
                done += (size_t)got;
        }
        return (ssize_t)done;
}

int file_pwrite(int fd, const void *buf, size_t n, uint64_t offset)
{
        size_t done = 0;

        while (done < n) {
                ssize_t put =
                        pwrite(fd, (const uint8_t *)buf + done, n - done, (off_t)(offset + done));

                if (put < 0 && errno == EINTR)
                        continue;
                if (put < 0)
                        return -errno;
                if (put == 0)
                        return -EIO;
                done += (size_t)put;
        }
        return 0;
}

int file_write(int fd, const void *buf, size_t n)
{
        size_t done = 0;

        while (done < n) {
                ssize_t put = write(fd, (const uint8_t *)buf + done, n - done);

                if (put < 0 && errno == EINTR)
                        continue;
                if (put < 0)
                        return -errno;
                if (put == 0)
                        return -EIO;
                done += (size_t)put;
        }
        return 0;
}

int file_read(int dirfd, const char *path, struct buf *out)
{
        _cleanup_close_ int fd = file_open_regular(dirfd, path);

        if (fd < 0)
                return fd;
        for (;;) {
                size_t room = out->max - out->len;
                uint8_t extra, *p = &extra;
                size_t want = room < FILE_CHUNK ? room : FILE_CHUNK;
                ssize_t got;
                int r;

                if (want > 0) {
                        r = buf_reserve(out, want, &p);
                        if (r < 0)
                                return r;
                }
                got = read(fd, p, want > 0 ? want : 1);
                if (got < 0 && errno == EINTR)
                        continue;
                if (got < 0)
                        return -errno;
                if (got == 0)
                        return 0;
                if (want == 0)
                        return -E2BIG; /* one byte more than the caller allows */
                buf_commit(out, (size_t)got);
        }
}

int file_read_line(int dirfd, const char *path, struct buf *out)
{
        int r = file_read(dirfd, path, out);

        if (r < 0)
                return r;
        while (out->len > 0 && out->data[out->len - 1] == '\n')
                out->data[--out->len] = '\0';
        return 0;
}

int file_write_volatile(int dirfd, const char *path, const void *data, size_t n, mode_t mode)
{
        _cleanup_close_ int fd =
                openat(dirfd, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOCTTY, mode);

        if (fd < 0)
                return -errno;
        return file_write(fd, data, n);
}

int file_sync(int fd)
{
        return fsync(fd) < 0 ? -errno : 0;
}

/* Directory part of path as a descriptor; *ret_name points at the last component inside path. */
static int open_parent(int dirfd, const char *path, const char **ret_name)
{
        const char *slash = strrchr(path, '/');
        _cleanup_free_ char *dir = NULL;

        if (!slash) {
                *ret_name = path;
                return file_open_dir(dirfd, ".");
        }
        dir = strndup(path, slash == path ? 1 : (size_t)(slash - path));
        if (!dir)
                return -ENOMEM;
        *ret_name = slash + 1;
        return file_open_dir(dirfd, dir);
}

static int write_temporary(int dirfd, const char *name, const void *data, size_t n, mode_t mode)
{
        _cleanup_close_ int fd =
                openat(dirfd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
        int r;

        if (fd < 0)
                return -errno;
        r = file_write(fd, data, n);
        if (r == 0)
                r = file_sync(fd);
        return r;
}

int file_replace(int dirfd, const char *path, const void *data, size_t n, mode_t mode)
{
        _cleanup_close_ int parent = -EBADF;
        _cleanup_free_ char *temporary = NULL;
        uint8_t salt[8];
        char hex[2 * sizeof(salt) + 1];
        const char *name;
        int r;

        parent = open_parent(dirfd, path, &name);
        if (parent < 0)
                return parent;
        r = random_bytes(salt, sizeof(salt));
        if (r < 0)
                return r;
        hex_encode(salt, sizeof(salt), hex);
        if (asprintf(&temporary, ".%s.%s", name, hex) < 0) {
                temporary = NULL;
                return -ENOMEM;
        }
        r = write_temporary(parent, temporary, data, n, mode);
        if (r == 0 && renameat(parent, temporary, parent, name) < 0)
                r = -errno;
        if (r < 0) {
                (void)unlinkat(parent, temporary, 0); /* the first failure is the one to report */
                return r;
        }
        return file_sync(parent);
}

int file_put_aside(int dirfd, const char *name, const char *other)
{
        return renameat(dirfd, name, dirfd, other) < 0 ? -errno : file_sync(dirfd);
}

int file_open_dir(int dirfd, const char *path)
{
        int fd = openat(dirfd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        return fd < 0 ? -errno : fd;
}

int file_make_dirs(int dirfd, const char *path, mode_t mode)
{
        _cleanup_free_ char *copy = strdup(path);

        if (!copy)
                return -ENOMEM;
        for (char *p = copy + 1;; p++) {
                char c = *p;

                if (c != '/' && c != '\0')
                        continue;
                *p = '\0';
                if (mkdirat(dirfd, copy, mode) < 0 && errno != EEXIST)
                        return -errno;
                if (c == '\0')
                        return 0;
                *p = c;
        }
}

bool file_exists(int dirfd, const char *path)
{
        struct stat st;

        return fstatat(dirfd, path, &st, 0) == 0;
}

int random_bytes(void *buf, size_t n)
{
        size_t done = 0;

        while (done < n) {
                ssize_t got = getrandom((uint8_t *)buf + done, n - done, 0);

                if (got < 0 && errno == EINTR)
                        continue;
                if (got < 0)
                        return -errno;
                done += (size_t)got;
        }
        return 0;
}
