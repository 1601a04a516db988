/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The health of a FAT32 file system, read from its device without mounting it and without changing
 * anything: what a cut leaves behind, which no look at its files shows. Whoever writes to it
 * meanwhile makes this look worse than it is.
 *
 * Only the first allocation table is followed, as Linux and firmware do. File contents are not
 * read. Reference: Microsoft FAT specification 1.03.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

#define FAT_CHECK_NAME 256u

struct fat_check {
        bool dirty;             /* marked as not unmounted */
        bool backup_differs;    /* the second boot sector is not the first one, the mark aside */
        uint64_t table_differs; /* sectors in which the second allocation table is not the first */
        uint64_t cluster;       /* bytes */
        uint64_t clusters, free;
        uint64_t lost;    /* in use, and no file leads there */
        uint64_t crossed; /* clusters that two files lead to, and two such files */
        char one[FAT_CHECK_NAME], other[FAT_CHECK_NAME];
        uint64_t broken; /* files or folders whose clusters end too early, and one of them */
        char broken_file[FAT_CHECK_NAME];
};

/*
 * fd: the device or a file that holds the file system from byte at on, over size bytes. ERROR_IO:
 * -EMEDIUMTYPE when it is no FAT32 of ours, -E2BIG for a table or a tree that no ESP of ours has,
 * or the errno of reading.
 */
int fat_check(int fd, uint64_t at, uint64_t size, struct fat_check *ret, struct error *e)
        _must_check_;

/* The same, and tells of all files and folders that share clusters, two at a time; a pair may be
 * told more than once. */
struct fat_check_name {
        const char *path; /* begins with "/"; "" is the root folder. Gone afterwards */
        uint64_t at;      /* byte of its record in the folder, as fat_check_drop() takes it */
};
typedef void fat_check_pair(void *arg, const struct fat_check_name *one,
                            const struct fat_check_name *other);
int fat_check_pairs(int fd, uint64_t at, uint64_t size, fat_check_pair *pair, void *arg,
                    struct fat_check *ret, struct error *e) _must_check_;

/*
 * Takes a name away, durably, and leaves its clusters as they are: those that another file leads to
 * are that one's, the others are lost until fsck.vfat frees them. Writes one sector; nobody may
 * have the file system mounted. fd: for writing; at: of the file system and of the record in it.
 */
int fat_check_drop(int fd, uint64_t at, uint64_t record, struct error *e) _must_check_;
