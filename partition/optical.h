/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The boot image of a CD or DVD: a file system that firmware starts from (El Torito 1.0; UEFI 2.10,
 * section 13.3.2.1), and that Linux sees no device of. A loop device makes one.
 */
#pragma once

#include <stdint.h>

#include "base/env.h"
#include "base/error.h"
#include "partition/sysblock.h"

/* Kernel names of the drives, in a natural order; none is no error. */
int optical_list(const struct env *env, struct sysblock_names *ret, struct error *e) _must_check_;

/*
 * Where the boot image for UEFI begins and what is left of the disc from there: El Torito has no
 * size for images beyond 32 MiB. -ENODATA: this is no such disc, or its catalog makes no sense.
 */
int optical_find_image(int fd, uint64_t *ret_offset, uint64_t *ret_size, struct error *e)
        _must_check_;

/*
 * The boot image of the disc in a drive as a read-only block device. ret_path is its node, and the
 * caller's; it goes away with ret_fd and the last mount of it. -ENOMEDIUM: the drive is empty.
 */
int optical_attach(const struct env *env, const char *drive, int *ret_fd, char **ret_path,
                   struct error *e) _must_check_;
