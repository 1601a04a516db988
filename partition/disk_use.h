/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who holds a disk: everything that stands on it or on one of its partitions, however high it is
 * stacked (a mounted file system in a logical volume in a LUKS container on a RAID member ...).
 * Found from the disk upwards through sysfs, /proc/self/mountinfo and /proc/swaps; only reads.
 *
 * Life cycle: disk_use_scan() or disk_use_read() -> look -> disk_use_done().
 */
#pragma once

#include <stdbool.h>

#include "partition/disk.h"

enum disk_use_kind {
        DISK_USE_MOUNT,  /* name: mount point */
        DISK_USE_SWAP,   /* name: device node or file */
        DISK_USE_MAPPER, /* name: of the mapping */
        DISK_USE_MD,     /* name: kernel name of the array */
        DISK_USE_LOOP,   /* name: kernel name of the loop device */
        DISK_USE_HOLDER, /* something else that sysfs names: bcache, ... */
        DISK_USE_UNSEEN, /* the kernel says busy, and nothing is to be seen */
};

struct disk_use {
        enum disk_use_kind kind;
        char *name;
        char *text;       /* for people: "vda2 is mounted on /mnt (ext4)" */
        const char *keep; /* why it will not be released; NULL: it can be */
        bool vital;       /* the running system stands on it */
};

/* What stands on another is before it: releasing from the first to the last works. */
struct disk_uses {
        struct disk_use *use;
        size_t n;
};

/*
 * What sysfs and proc tell. Needs no access to the device. That they cannot be read is an error:
 * missing proof is refusal.
 */
int disk_use_scan(const struct disk *d, struct disk_uses *ret, struct error *e) _must_check_;

/*
 * The same, and whether the kernel would give the disk to this program alone: mounts of another
 * name space, members of ZFS pools or of btrfs on several disks are seen by that only.
 */
int disk_use_read(const struct disk *d, struct disk_uses *ret, struct error *e) _must_check_;
void disk_use_done(struct disk_uses *uses);

/* A use that the running system stands on, or NULL. */
const struct disk_use *disk_use_vital(const struct disk_uses *uses);

/* Refuses the disk, with the list of its uses and an advice: -EBUSY. */
int disk_use_refuse(const struct disk *d, const struct disk_uses *uses, struct error *e);
