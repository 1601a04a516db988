/* SPDX-License-Identifier: Apache-2.0 */
#include "partition/fat_geometry.h"

#include <stdbool.h>
#include <string.h>

#include "base/num.h"

#define BOOT_SECTOR_SIZE_AT 11u
#define BOOT_CLUSTER_AT 13u
#define BOOT_RESERVED_AT 14u
#define BOOT_FATS_AT 16u
#define BOOT_ROOT_ENTRIES_AT 17u /* 0 on FAT32 */
#define BOOT_TOTAL_AT 32u
#define BOOT_FAT_SIZE_AT 36u
#define BOOT_ROOT_AT 44u
#define BOOT_INFO_AT 48u
#define BOOT_BACKUP_AT 50u
#define BOOT_TYPE_AT 82u
#define BOOT_SIGNATURE_AT 510u
#define BOOT_SIGNATURE 0xaa55u

static bool is_power(uint64_t v)
{
        return v > 0 && (v & (v - 1)) == 0;
}

/* Every number is checked before it is used; sums stay far below 2^64 because the fields have 32
 * bits at most. */
int fat_geometry_parse(const uint8_t boot[FAT_BOOT_SIZE], uint64_t size, struct fat_geometry *ret)
{
        struct fat_geometry g = {.sector = le16_at(boot + BOOT_SECTOR_SIZE_AT),
                                 .fats = boot[BOOT_FATS_AT]};
        unsigned reserved = le16_at(boot + BOOT_RESERVED_AT),
                 backup = le16_at(boot + BOOT_BACKUP_AT);
        uint64_t total, clusters;

        if (le16_at(boot + BOOT_SIGNATURE_AT) != BOOT_SIGNATURE ||
            memcmp(boot + BOOT_TYPE_AT, "FAT32   ", 8) != 0 || g.sector < 512 ||
            !is_power(g.sector) || !is_power(boot[BOOT_CLUSTER_AT]) || g.fats < 1 ||
            g.fats > FAT_COPIES_MAX || le16_at(boot + BOOT_ROOT_ENTRIES_AT) != 0 ||
            le32_at(boot + BOOT_ROOT_AT) != FAT_CLUSTER_FIRST)
                return -EMEDIUMTYPE;
        g.cluster = g.sector * boot[BOOT_CLUSTER_AT];
        g.fat_size = le32_at(boot + BOOT_FAT_SIZE_AT) * g.sector;
        for (unsigned i = 0; i < g.fats; i++)
                g.fat_at[i] = reserved * g.sector + i * g.fat_size;
        g.data_at = g.fat_at[0] + g.fats * g.fat_size;
        g.info_at = le16_at(boot + BOOT_INFO_AT) * g.sector;
        g.backup_at = backup < reserved ? backup * g.sector : 0;
        total = le32_at(boot + BOOT_TOTAL_AT) * g.sector;
        if (total > size || g.data_at >= total)
                return -EMEDIUMTYPE;
        clusters = (total - g.data_at) / g.cluster;
        if (clusters < 1 || (clusters + FAT_CLUSTER_FIRST) * 4 > g.fat_size)
                return -EMEDIUMTYPE;
        g.end = (uint32_t)clusters + FAT_CLUSTER_FIRST;
        *ret = g;
        return 0;
}
