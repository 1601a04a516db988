/* SPDX-License-Identifier: Apache-2.0 */
#include "partition/swap.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/swap.h>

#include "base/file.h"
#include "base/limits.h"
#include "base/num.h"

/* Swap header (kernel, include/linux/swap.h): after the boot block, and at the end of the page. */
#define VERSION_AT 1024u
#define LAST_PAGE_AT 1028u
#define MAGIC "SWAPSPACE2"
#define MAGIC_SIZE (sizeof(MAGIC) - 1)
#define VERSION 1u

static size_t page_size(void)
{
        return (size_t)sysconf(_SC_PAGESIZE);
}

static void format_header(uint8_t *page, uint64_t size)
{
        memset(page, 0, page_size());
        put_le32(page + VERSION_AT, VERSION);
        put_le32(page + LAST_PAGE_AT, (uint32_t)(size / page_size() - 1));
        memcpy(page + page_size() - MAGIC_SIZE, MAGIC, MAGIC_SIZE);
}

static int write_file(int fd, uint64_t size)
{
        _cleanup_free_ uint8_t *page = malloc(page_size());
        int r;

        if (!page)
                return -ENOMEM;
        format_header(page, size);
        /* The kernel wants every block of it in place. */
        if (fallocate(fd, 0, 0, (off_t)size) < 0)
                return -errno;
        r = file_pwrite(fd, page, page_size(), 0);
        return r == 0 ? file_sync(fd) : r;
}

/* 1 when the file is what write_file() would make. */
static int is_there(int dir, const char *name, uint64_t size)
{
        _cleanup_close_ int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        _cleanup_free_ uint8_t *want = malloc(page_size()), *have = malloc(page_size());
        struct stat st;
        ssize_t n;

        if (!want || !have)
                return -ENOMEM;
        if (fd < 0)
                return errno == ENOENT || errno == ELOOP ? 0 : -errno;
        if (fstat(fd, &st) < 0)
                return -errno;
        if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size != size || (st.st_mode & 07777) != 0600 ||
            (uint64_t)st.st_blocks * 512 < size)
                return 0;
        n = file_pread(fd, have, page_size(), 0);
        if (n < 0)
                return (int)n;
        format_header(want, size);
        return (size_t)n == page_size() && memcmp(have, want, page_size()) == 0;
}

static int check_size(int dir, uint64_t size, struct error *e)
{
        struct statvfs fs;
        char text[32];

        if (size < SWAP_MIN || size / page_size() > UINT32_MAX)
                return error_set(e, ERROR_CONFIG, EINVAL, "swap of %s",
                                 format_size(size, text, sizeof(text)));
        if (fstatvfs(dir, &fs) < 0)
                return error_errno(e, errno, "swap file");
        if (size / fs.f_frsize > fs.f_blocks / 4 * 3)
                return error_set(e, ERROR_SPACE, ENOSPC,
                                 "swap of %s would leave too little of the file system",
                                 format_size(size, text, sizeof(text)));
        return 0;
}

static int make(int dir, const char *name, uint64_t size)
{
        _cleanup_close_ int fd = -EBADF;
        char temporary[NAME_MAX + 1];
        int r;

        if (snprintf(temporary, sizeof(temporary), "%s.new", name) >= (int)sizeof(temporary))
                return -ENAMETOOLONG;
        /* The old ones first: their room is needed. */
        if ((unlinkat(dir, temporary, 0) < 0 && errno != ENOENT) ||
            (unlinkat(dir, name, 0) < 0 && errno != ENOENT))
                return -errno;
        fd = openat(dir, temporary, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (fd < 0)
                return -errno;
        r = write_file(fd, size);
        if (r == 0 && renameat(dir, temporary, dir, name) < 0)
                r = -errno;
        if (r < 0)
                (void)unlinkat(dir, temporary, 0); /* the first failure is the one to report */
        return r < 0 ? r : file_sync(dir);
}

int swap_prepare(int dir, const char *name, uint64_t size, struct error *e)
{
        int r;

        size -= size % page_size();
        r = check_size(dir, size, e);
        if (r < 0)
                return r;
        r = is_there(dir, name, size);
        if (r == 1)
                return 0;
        if (r == 0)
                r = make(dir, name, size);
        return r < 0 ? error_errno(e, -r, "swap file") : 1;
}

int swap_remove(int dir, const char *name, struct error *e)
{
        struct stat st;
        int r;

        if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                return errno == ENOENT ? 0 : error_errno(e, errno, "swap file");
        r = is_there(dir, name, (uint64_t)st.st_size);
        if (r == 1 && unlinkat(dir, name, 0) < 0)
                r = -errno;
        return r < 0 ? error_errno(e, -r, "removing the swap file") : 0;
}

int swap_start(const char *path, struct error *e)
{
        return swapon(path, 0) < 0 ? error_errno(e, errno, "%s: swap", path) : 0;
}
