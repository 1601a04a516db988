/* SPDX-License-Identifier: Apache-2.0 */
/* A FAT32 file system of 500 clusters, whose allocation table and folders anybody may have written.
 * The boot sector is a good one: what it may say is little, and checked by itself. */
#include "base/num.h"
#include "partition/fat_check.h"
#include "partition/fat_geometry.h"
#include "tests/fuzz/fuzz.h"

#define SECTOR 512u
#define RESERVED 2u
#define TABLE (4u * SECTOR)
#define CLUSTERS 500u
#define DATA_AT (RESERVED * SECTOR + 2 * TABLE)
#define SIZE (DATA_AT + CLUSTERS * SECTOR)

static void put_boot(uint8_t *p)
{
        put_le16(p + 11, SECTOR);
        p[13] = 1; /* sectors of a cluster */
        put_le16(p + 14, RESERVED);
        p[16] = 2; /* tables */
        put_le32(p + 32, SIZE / SECTOR);
        put_le32(p + 36, TABLE / SECTOR);
        put_le32(p + 44, FAT_CLUSTER_FIRST);
        put_le16(p + 48, 1);
        memcpy(p + 82, "FAT32   ", 8);
        put_le16(p + 510, 0xaa55);
}

/* The table, both times, and then the clusters. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        static uint8_t disk[SIZE];
        size_t table = size < TABLE ? size : TABLE, rest = size - table;
        struct fat_check c;
        struct error e = ERROR_INIT;
        int fd, r;

        memset(disk, 0, sizeof(disk));
        put_boot(disk);
        if (table > 0) {
                memcpy(disk + RESERVED * SECTOR, data, table);
                memcpy(disk + RESERVED * SECTOR + TABLE, data, table);
        }
        if (rest > 0)
                memcpy(disk + DATA_AT, data + table,
                       rest < CLUSTERS * SECTOR ? rest : CLUSTERS * SECTOR);
        fd = fuzz_file(disk, sizeof(disk));
        r = fat_check(fd, 0, sizeof(disk), &c, &e);
        (void)close(fd);
        fuzz_check_error(r, &e);
        if (r < 0)
                return 0;
        FUZZ_CHECK(c.clusters == CLUSTERS && c.cluster == SECTOR && c.table_differs == 0);
        FUZZ_CHECK(c.free + c.lost <= CLUSTERS && !c.dirty && !c.backup_differs);
        FUZZ_CHECK((c.crossed == 0) == (c.other[0] == '\0'));
        return 0;
}
