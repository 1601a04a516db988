/* SPDX-License-Identifier: Apache-2.0 */
#include "partition/mkfs.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/num.h"
#include "base/spawn.h"

/* Formatting a large disk under emulation takes a minute; nothing real takes this long. */
#define MKFS_SECONDS 600
/* A full check of a large file system may take long; it only happens after damage. */
#define CHECK_SECONDS 3600

int mkfs_vfat(const char *path, const char *label, struct error *e)
{
        const char *const argv[] = {"mkfs.vfat", "-F", "32", "-n", label, path, NULL};

        return spawn_check(argv, MKFS_SECONDS, e);
}

/* The hidden sectors are what mkfs.vfat asks a partition for: those before it. */
int mkfs_vfat_at(const char *path, uint64_t start, uint64_t size, uint64_t sector,
                 const char *label, struct error *e)
{
        char offset[24], bytes[24], blocks[24];
        const char *const argv[] = {"mkfs.vfat", "-F",   "32",  "-n",   label,
                                    "--mbr=n",   "-S",   bytes, "-h",   offset,
                                    "--offset",  offset, path,  blocks, NULL};

        (void)snprintf(offset, sizeof(offset), "%" PRIu64, start / sector);
        (void)snprintf(bytes, sizeof(bytes), "%" PRIu64, sector);
        (void)snprintf(blocks, sizeof(blocks), "%" PRIu64, size / KIB);
        return spawn_check(argv, MKFS_SECONDS, e);
}

static int run_ext4(const char *path, const char *label, const int *input, struct error *e)
{
        const char *const argv[] = {"mkfs.ext4", "-q", "-F", "-L", label, "-b",
                                    "4096",      "-m", "0",  path, NULL};
        const struct spawn_how how = {.timeout_seconds = MKFS_SECONDS, .input = input};

        return spawn_check_how(argv, &how, e);
}

int mkfs_ext4(const char *path, const char *label, struct error *e)
{
        return run_ext4(path, label, NULL, e);
}

int mkfs_ext4_fd(int fd, const char *label, struct error *e)
{
        /* The program cannot reach it by our number, but opens what it has as standard input. */
        return run_ext4("/proc/self/fd/0", label, &fd, e);
}

/* ext4 superblock (kernel documentation, "Super Block"). */
#define EXT4_SUPERBLOCK 1024u
#define EXT4_SUPERBLOCK_SIZE 1024u
#define EXT4_MOUNTS_AT 0x34u
#define EXT4_MAX_MOUNTS_AT 0x36u
#define EXT4_MAGIC_AT 0x38u
#define EXT4_MAGIC 0xef53u
#define EXT4_STATE_AT 0x3au
#define EXT4_STATE_CLEAN 1u /* alone: no errors, no orphans being cleared */
#define EXT4_INTERVAL_AT 0x44u
#define EXT4_INCOMPATIBLE_AT 0x60u
#define EXT4_INCOMPATIBLE_RECOVER 0x4u
#define EXT4_READ_ONLY_AT 0x64u
#define EXT4_READ_ONLY_ORPHANS 0x10000u
#define EXT4_LABEL_AT 0x78u
#define EXT4_LABEL_SIZE 16u
#define EXT4_LAST_ORPHAN_AT 0xe8u

static int read_ext4(const char *path, const char *label, uint8_t sb[EXT4_SUPERBLOCK_SIZE],
                     struct error *e)
{
        _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
        char found[EXT4_LABEL_SIZE + 1] = "";
        ssize_t n = fd < 0 ? -errno : file_pread(fd, sb, EXT4_SUPERBLOCK_SIZE, EXT4_SUPERBLOCK);

        if (n < 0)
                return error_errno(e, (int)-n, "%s", path);
        if (n < (ssize_t)EXT4_SUPERBLOCK_SIZE || le16_at(sb + EXT4_MAGIC_AT) != EXT4_MAGIC)
                return error_set(e, ERROR_PRECONDITION, EMEDIUMTYPE, "%s: no ext4 file system",
                                 path);
        memcpy(found, sb + EXT4_LABEL_AT, EXT4_LABEL_SIZE);
        if (strcmp(found, label) == 0)
                return 0;
        error_set(e, ERROR_PRECONDITION, EMEDIUMTYPE,
                  "%s: the file system inside is another one than \"%s\"", path, label);
        error_advise(
                e,
                "somebody exchanged the partitions of this disk; put them back, or install again");
        return -EMEDIUMTYPE;
}

/*
 * Whether e2fsck would look at this superblock and go home: unmounted, no error noted, nothing left
 * in the journal or on the list of orphans, no check due by count or age. The checksum of the
 * superblock is looked at by the mount that follows.
 */
static bool is_clean(const uint8_t *sb)
{
        uint16_t most = le16_at(sb + EXT4_MAX_MOUNTS_AT);

        return le16_at(sb + EXT4_STATE_AT) == EXT4_STATE_CLEAN &&
               !(le32_at(sb + EXT4_INCOMPATIBLE_AT) & EXT4_INCOMPATIBLE_RECOVER) &&
               !(le32_at(sb + EXT4_READ_ONLY_AT) & EXT4_READ_ONLY_ORPHANS) &&
               le32_at(sb + EXT4_LAST_ORPHAN_AT) == 0 && le32_at(sb + EXT4_INTERVAL_AT) == 0 &&
               (most == 0 || most > INT16_MAX || le16_at(sb + EXT4_MOUNTS_AT) < most);
}

int mkfs_check_ext4(const char *path, const char *label, struct error *e)
{
        const char *const argv[] = {"e2fsck", "-p", path, NULL};
        uint8_t sb[EXT4_SUPERBLOCK_SIZE];
        struct spawn_result result;
        int r;

        r = read_ext4(path, label, sb, e);
        if (r < 0 || is_clean(sb))
                return r;
        r = spawn_run(argv, CHECK_SECONDS, NULL, &result, e);
        if (r < 0)
                return r;
        /* e2fsck(8): 1 = errors corrected, 2 = corrected and a reboot is asked for when mounted (it
         * is not). */
        if (result.status >= 0 && result.status <= 2)
                return 0;
        error_set(e, ERROR_IO, EUCLEAN, "%s: file system check failed (e2fsck status %d)", path,
                  result.status);
        error_advise(e, "boot the recovery entry and run e2fsck by hand, or reset the node");
        return -EUCLEAN;
}

/* FAT32 boot sector, byte 65 ("reserved" for other systems): Linux and dosfstools keep the mark in
 * bit 0. */
#define FAT32_STATE 65u
#define FAT32_STATE_DIRTY 1u

/* 1: marked as not unmounted; 0: not. */
static int is_dirty(const char *path, struct error *e)
{
        _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
        uint8_t sector[512];
        ssize_t n;

        if (fd < 0)
                return error_errno(e, errno, "%s", path);
        n = file_pread(fd, sector, sizeof(sector), 0);
        if (n < 0)
                return error_errno(e, (int)-n, "%s", path);
        if ((size_t)n < sizeof(sector))
                return error_set(e, ERROR_IO, EIO, "%s: too small for a file system", path);
        return sector[FAT32_STATE] & FAT32_STATE_DIRTY;
}

/* 1 with a claim on the device, which keeps it from being mounted, when it has to be checked. */
static int claim(const char *path, int *ret_fd, struct error *e)
{
        _cleanup_close_ int fd = -EBADF;
        int r = is_dirty(path, e);

        /* Nobody is kept from mounting a file system that needs no check. */
        if (r <= 0)
                return r;
        /* Exclusive: a mounted file system bears the mark as well, and must not be repaired under
         * its user. */
        fd = open(path, O_RDONLY | O_EXCL | O_CLOEXEC | O_NOCTTY);
        if (fd < 0)
                return errno == EBUSY ? 0 : error_errno(e, errno, "%s", path);
        r = is_dirty(path, e); /* it may have been unmounted meanwhile */
        if (r > 0)
                *ret_fd = TAKE_FD(fd);
        return r;
}

int mkfs_vfat_was_cut(const char *path, struct error *e)
{
        _cleanup_close_ int fd = -EBADF;

        return claim(path, &fd, e);
}

int mkfs_check_vfat(const char *path, struct error *e)
{
        const char *const argv[] = {"fsck.vfat", "-a", path, NULL};
        _cleanup_close_ int fd = -EBADF;
        struct spawn_result result;
        int r = claim(path, &fd, e);

        if (r <= 0)
                return r;
        log_info("%s was not unmounted, checking it", path);
        r = spawn_run(argv, CHECK_SECONDS, NULL, &result, e);
        if (r < 0)
                return r;
        /* fsck.fat(8) says 1 for "corrected" and for "not a file system": the mark tells them
         * apart. */
        if (result.status == 0 || result.status == 1)
                r = is_dirty(path, e);
        else
                r = 1;
        if (r <= 0)
                return r;
        error_set(e, ERROR_IO, EUCLEAN, "%s: file system check failed (fsck.vfat status %d)", path,
                  result.status);
        error_advise(e, "check it by hand with fsck.vfat before anything is written to it");
        return -EUCLEAN;
}
