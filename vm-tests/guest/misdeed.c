/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a careless agent would do, laid under the real one (LD_PRELOAD), for the test that tests the
 * tests: the explorer of crash states has to see it. MISDEED says what:
 *
 *   nosync   nothing is ever made durable
 *   rename   a small file is not written in place, but as others do it: a temporary file, synced,
 *            renamed over it, the folder synced
 *
 * Build: cc -shared -fPIC -D_GNU_SOURCE misdeed.c
 */
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SMALL 512

static bool does(const char *what)
{
        const char *misdeed = getenv("MISDEED");

        return misdeed && strcmp(misdeed, what) == 0;
}

int fsync(int fd)
{
        return does("nosync") ? 0 : (int)syscall(SYS_fsync, fd);
}

int fdatasync(int fd)
{
        return does("nosync") ? 0 : (int)syscall(SYS_fdatasync, fd);
}

int syncfs(int fd)
{
        return does("nosync") ? 0 : (int)syscall(SYS_syncfs, fd);
}

int sync_file_range(int fd, off_t offset, off_t n, unsigned flags)
{
        return does("nosync") ? 0 : (int)syscall(SYS_sync_file_range, fd, offset, n, flags);
}

static int path_of(int fd, char path[PATH_MAX])
{
        char link[64];
        ssize_t n;

        (void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
        n = readlink(link, path, PATH_MAX - 1);
        if (n < 0)
                return -1;
        path[n] = '\0';
        return 0;
}

static ssize_t put_by_rename(const char *path, const void *data, size_t n)
{
        char temporary[PATH_MAX], folder[PATH_MAX];
        ssize_t done = -1;
        char *slash;
        int fd;

        if ((size_t)snprintf(temporary, sizeof(temporary), "%s.tmp", path) >= sizeof(temporary))
                return -1;
        (void)snprintf(folder, sizeof(folder), "%s", path);
        slash = strrchr(folder, '/');
        if (!slash)
                return -1;
        *slash = '\0';
        fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (fd < 0)
                return -1;
        if (write(fd, data, n) == (ssize_t)n && fsync(fd) == 0 && rename(temporary, path) == 0)
                done = (ssize_t)n;
        (void)close(fd);
        fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd >= 0) {
                (void)fsync(fd);
                (void)close(fd);
        }
        return done;
}

/* By this name with 64-bit offsets, which the agent is built for. */
ssize_t pwrite64(int fd, const void *data, size_t n, off_t offset)
{
        char path[PATH_MAX];

        if (does("rename") && n == SMALL && offset == 0 && path_of(fd, path) == 0)
                return put_by_rename(path, data, n);
        return syscall(SYS_pwrite64, fd, data, n, offset);
}
