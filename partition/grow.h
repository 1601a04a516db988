/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Following a disk that has become larger: the last partition of a GPT, and the ext4 inside. LUKS2
 * needs nothing: luks_check_header() demands a data segment that goes to the end of the device, and
 * takes its size at each activation.
 *
 * Nothing shrinks or moves, and nothing is written when everything is as it should be.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "partition/disk.h"

/* What is to be done; made by grow_plan(). */
struct grow {
        unsigned number;   /* of the partition */
        uint64_t start;    /* bytes */
        uint64_t old_size; /* bytes */
        uint64_t new_size; /* bytes */
};

/*
 * Whether the partition of this GPT name should grow: 1 and the plan, or 0. It should when the disk
 * goes on behind the place of the backup table, the partition is the last one on the disk, and it
 * reached to the old end (less than LAYOUT_ALIGN away): one that left room was made like that. A
 * table that is not in the usual form (UEFI 2.10, section 5.3, entries of 128 bytes right behind
 * the header, all checksums right) is left alone. Reads only.
 */
int grow_plan(const struct disk *d, const char *name, struct grow *ret, struct error *e)
        _must_check_;

/*
 * Writes the table, in an order in which a power cut leaves a valid one at every moment; then reads
 * it back. The kernel is not told: see disk_resize_kernel_partition(). Needs disk_lock().
 */
int grow_apply(struct disk *d, const struct grow *g, struct error *e) _must_check_;

/*
 * For a disk that a disk image was copied to: a new GUID for the disk and for each partition of
 * these GPT names, and the backup table at the end of the disk, in the order of grow_apply(). The
 * other partitions keep their GUIDs. After grow_apply(), because the end of the table is then no
 * sign any more of how large the image was. Needs disk_lock(). -ENOENT (ERROR_PRECONDITION) when a
 * name is missing, or the table is not in the usual form.
 */
int grow_renew(struct disk *d, const char *const *names, size_t n, struct error *e) _must_check_;

/*
 * Lets a mounted ext4 fill its device. 1: it grew, and the sizes of the file system before and
 * after in bytes; 0: it fills it already. The kernel does this on the mounted file system, in steps
 * that its journal protects.
 */
int grow_ext4(const char *device, const char *mount_point, uint64_t *ret_old, uint64_t *ret_new,
              struct error *e) _must_check_;
