/* SPDX-License-Identifier: Apache-2.0 */
/* Where everything is in a FAT32 file system, by its boot sector (Microsoft FAT specification 1.03,
 * sections "BPB" and "FAT32"). */
#pragma once

#include <stdint.h>

#include "base/cleanup.h"

#define FAT_BOOT_SIZE 512u
#define FAT_COPIES_MAX 2u
#define FAT_CLUSTER_FIRST 2u /* and that of the root folder */

/* Bytes, from the beginning of the file system. */
struct fat_geometry {
        uint64_t sector, cluster;
        unsigned fats;
        uint64_t fat_at[FAT_COPIES_MAX], fat_size;
        uint64_t data_at;   /* first cluster */
        uint64_t info_at;   /* sector of free cluster counts */
        uint64_t backup_at; /* copy of the boot sector; 0: there is none */
        uint32_t end;       /* first number that is no cluster */
};

/* size: bytes that the file system may have. -EMEDIUMTYPE when it is no FAT32 of ours. */
int fat_geometry_parse(const uint8_t boot[FAT_BOOT_SIZE], uint64_t size, struct fat_geometry *ret)
        _must_check_;
