/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cross-links: two names on a FAT file system that lead to the same clusters, as a power cut can
 * leave them. Deleting one of them frees the data of the other, so it has to be noticed before.
 *
 * What this can see is bounded by the file sizes: clusters behind the end of a file do not show.
 * Checking a file system that was not unmounted cleanly with fsck.vfat, before it is written to, is
 * the other half of the defence.
 */
#pragma once

#include <limits.h>
#include <stdint.h>

#include "base/cleanup.h"

/* First sector of the cluster at a byte offset of a file, 0 when there is none. Negative errno. */
typedef int esp_map_cluster(int fd, uint64_t offset, uint64_t *ret);

/*
 * Whether the file shares a cluster with any other file of the ESP: 1 with the other's path in
 * ret_other, or 0. map NULL asks the kernel (FIBMAP, needs CAP_SYS_RAWIO: -EPERM), and then answers
 * 0 for file systems other than FAT. -EINVAL, -E2BIG and -ELOOP for trees no ESP of ours has.
 */
int esp_map_shared(int root, const char *path, esp_map_cluster *map, char ret_other[PATH_MAX])
        _must_check_;
