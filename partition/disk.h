/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One whole disk: what it is, who uses it, and preparing it for a new table.
 *
 * Everything about a disk is reached through that disk (its sysfs directory), never through a
 * global label or link: a second disk with the same labels may be attached.
 *
 * Life cycle: disk_open() -> queries -> disk_lock() -> actions -> disk_free(), which drops the
 * lock. disk_take() alone stands before a look at what holds the disk.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/env.h"
#include "base/error.h"
#include "partition/sysblock.h"

struct disk {
        const struct env *env; /* borrowed */
        char *name;            /* kernel name: "vda", "nvme0n1" */
        char *path;            /* device node: "/dev/vda" */
        char *model;           /* may be empty */
        char *serial;          /* may be empty */
        char *wwn;             /* world wide name as sysfs tells it ("naa.5000..."), may be empty */
        uint64_t size;         /* bytes */
        uint64_t sector_size;  /* logical sector in bytes */
        bool read_only;
        bool removable;
        bool rotational;
        enum sysblock_bus bus;
        int fd; /* opened by disk_take() or disk_lock(), else -EBADF */
};

/* A partition as the kernel sees it now (not necessarily what the table on the disk says). */
struct disk_partition {
        unsigned number;
        uint64_t start; /* bytes */
        uint64_t size;  /* bytes */
        char *name;     /* kernel name: "vda1" */
};

/*
 * Opens a whole disk by any path that leads to its node (links are followed).
 * -ENODEV: no such device; -ENOTBLK: not a block device; -EINVAL: a partition, not a whole disk.
 */
int disk_open(const struct env *env, const char *path, struct disk **ret, struct error *e)
        _must_check_;
/* The same by kernel name. */
int disk_open_name(const struct env *env, const char *name, struct disk **ret, struct error *e)
        _must_check_;
/*
 * A file that holds a disk image, of so many bytes, with sectors of 512. Only layout_read() and
 * layout_write() work on it. fd (read and write) is taken over in any case.
 */
int disk_open_image(const char *path, int fd, uint64_t size, struct disk **ret, struct error *e)
        _must_check_;
void disk_free(struct disk *d);
DEFINE_CLEANUP(struct disk, disk_free)

/*
 * Kernel names of all whole disks: without optical ones, what is made of other devices or memory
 * (loop, device-mapper, md, zram, bcache, ...), and hidden ones (paths of an NVMe namespace). The
 * array and its strings belong to the caller (disk_free_names).
 */
int disk_list(const struct env *env, char ***ret, size_t *ret_n, struct error *e) _must_check_;
void disk_free_names(char **names, size_t n);

/* Partitions the kernel knows of this disk, by number. Free with disk_free_partitions. */
int disk_partitions(const struct disk *d, struct disk_partition **ret, size_t *ret_n,
                    struct error *e) _must_check_;
void disk_free_partitions(struct disk_partition *p, size_t n);

/* Node of partition number of this disk, e.g. "/dev/nvme0n1p2": -ENXIO when the kernel has none. */
int disk_partition_path(const struct disk *d, unsigned number, char **ret, struct error *e)
        _must_check_;

/*
 * Takes the disk for this program: opened, with a BSD lock (udev stays off, other installers do),
 * and certain to be the disk that was looked at: -ESTALE when another one is plugged in under its
 * name. Once is enough.
 */
int disk_take(struct disk *d, struct error *e) _must_check_;

/*
 * disk_take(), and a check that nothing holds the disk or a partition of it (partition/disk_use.h).
 * -EBUSY says what does.
 */
int disk_lock(struct disk *d, struct error *e) _must_check_;

/*
 * Makes an old content unrecognisable: removes every signature libblkid knows, discards all blocks
 * where the device can, zeroes both table areas, and drops the kernel's partitions. Needs
 * disk_lock().
 */
int disk_clear(struct disk *d, struct error *e) _must_check_;

/* Tells the kernel about one partition without a table on the disk (BLKPG). Needs disk_lock(). */
int disk_add_kernel_partition(struct disk *d, unsigned number, uint64_t start, uint64_t size,
                              struct error *e) _must_check_;

/* Takes a partition away from the kernel until the table is read again: nobody can open it. Needs
 * disk_take(). -EBUSY while it is in use. */
int disk_drop_kernel_partition(struct disk *d, unsigned number, struct error *e) _must_check_;

/* Tells the kernel the new size of one that it knows, mounted or not. Needs disk_lock(). */
int disk_resize_kernel_partition(struct disk *d, unsigned number, uint64_t start, uint64_t size,
                                 struct error *e) _must_check_;

/* Removes signatures (file systems, LUKS, RAID, LVM) from a node, e.g. a new partition. */
int disk_wipe_signatures(const char *path, struct error *e) _must_check_;
