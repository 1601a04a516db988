/* SPDX-License-Identifier: Apache-2.0 */
/* File systems of a node, made and checked by the tools of dosfstools and e2fsprogs. */
#pragma once

#include <stdint.h>

#include "base/error.h"

/* FAT32 with this label on the whole node. */
int mkfs_vfat(const char *path, const char *label, struct error *e) _must_check_;

/*
 * The same inside of a file that holds a disk image: from byte start on, over size bytes, both
 * multiples of 1 MiB, on sectors of this many bytes. Nothing outside of the range is touched.
 */
int mkfs_vfat_at(const char *path, uint64_t start, uint64_t size, uint64_t sector,
                 const char *label, struct error *e) _must_check_;

/* ext4 with this label on the whole node: 4 KiB blocks, no reserved blocks, checksummed metadata.
 */
int mkfs_ext4(const char *path, const char *label, struct error *e) _must_check_;

/* The same on the whole file of a descriptor, which needs no name. */
int mkfs_ext4_fd(int fd, const char *label, struct error *e) _must_check_;

/*
 * Checks that this is the ext4 of that label, then repairs what can be repaired without asking; a
 * file system that was unmounted properly costs no program. 0:
 * clean or repaired; -EUCLEAN: a person has to look; -EMEDIUMTYPE: no ext4, or another label.
 * Inside an encrypted volume the label is what tells the volumes of a node apart: the names outside
 * of it are not protected by anything.
 */
int mkfs_check_ext4(const char *path, const char *label, struct error *e) _must_check_;

/*
 * The same for FAT32, and only where the "not unmounted" mark of its boot sector is set: a system
 * that was cut while it had the ESP open leaves it, and new files must not be written over what the
 * cut left behind. A node that is mounted already is left alone.
 */
int mkfs_check_vfat(const char *path, struct error *e) _must_check_;

/*
 * Whether mkfs_check_vfat() would check it: 1 when it was not unmounted and is not mounted now.
 * fsck.vfat repairs files that share clusters by cutting the one that stands later in the folder,
 * whichever that is. Who knows which one is needed looks at them before.
 */
int mkfs_vfat_was_cut(const char *path, struct error *e) _must_check_;
