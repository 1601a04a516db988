/* SPDX-License-Identifier: Apache-2.0 */
#include "partition/fat_check.h"

#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/limits.h"
#include "base/num.h"
#include "partition/fat_geometry.h"

/* Kept by Linux and dosfstools in the boot sector, bit 0 (also partition/mkfs.c). */
#define STATE_AT 65u
#define STATE_DIRTY 1u
#define CLUSTER_MASK 0x0fffffffu
#define CLUSTER_BAD 0x0ffffff7u
#define CLUSTER_END 0x0ffffff8u
#define ENTRY_SIZE 32u
#define ATTRIBUTES_AT 11u
#define CLUSTER_HIGH_AT 20u
#define CLUSTER_LOW_AT 26u
#define FILE_SIZE_AT 28u
#define ATTRIBUTE_LABEL 0x08u
#define ATTRIBUTE_FOLDER 0x10u
#define ATTRIBUTE_LONG 0x0fu
#define DELETED 0xe5u
#define LONG_CHARACTERS 13u
#define LONG_ORDER 0x3fu
/* A table for 64 Mi clusters: more than 256 GiB with the smallest ones in use. */
#define TABLE_MAX (256 * MIB)

struct check {
        int fd;
        uint64_t at;
        struct fat_geometry g;
        uint8_t *table;    /* first copy */
        uint16_t *owner;   /* of each cluster: index into names, + 1; 0: none */
        char **names;      /* LIMIT_ESP_FILES */
        uint64_t *records; /* of the names */
        unsigned n;
        struct fat_check *result;
        fat_check_pair *pair;
        void *pair_arg;
};

static void check_done(struct check *c)
{
        for (unsigned i = 0; c->names && i < c->n; i++)
                free(c->names[i]);
        free(c->names);
        free(c->records);
        free(c->table);
        free(c->owner);
}

static int read_at(const struct check *c, uint64_t at, void *buf, size_t n)
{
        ssize_t got = file_pread(c->fd, buf, n, c->at + at);

        if (got < 0)
                return (int)got;
        return (size_t)got < n ? -EIO : 0;
}

static uint32_t next_of(const struct check *c, uint32_t cluster)
{
        return le32_at(c->table + 4 * (size_t)cluster) & CLUSTER_MASK;
}

static bool is_cluster(const struct check *c, uint32_t cluster)
{
        return cluster >= FAT_CLUSTER_FIRST && cluster < c->g.end;
}

static uint64_t cluster_at(const struct check *c, uint32_t cluster)
{
        return c->g.data_at + (uint64_t)(cluster - FAT_CLUSTER_FIRST) * c->g.cluster;
}

/* --- tables ---------------------------------------------------------------------------------- */

static int compare_tables(struct check *c)
{
        uint8_t sector[4096];
        int r = 0;

        if (c->g.fats < 2 || c->g.sector > sizeof(sector))
                return 0;
        for (uint64_t at = 0; at < c->g.fat_size && r == 0; at += c->g.sector) {
                r = read_at(c, c->g.fat_at[1] + at, sector, c->g.sector);
                if (r == 0 && memcmp(sector, c->table + at, c->g.sector) != 0)
                        c->result->table_differs++;
        }
        return r;
}

static int compare_backup(struct check *c, const uint8_t boot[FAT_BOOT_SIZE])
{
        uint8_t first[FAT_BOOT_SIZE], second[FAT_BOOT_SIZE];
        int r = 0;

        if (c->g.backup_at == 0)
                return 0;
        r = read_at(c, c->g.backup_at, second, sizeof(second));
        if (r < 0)
                return r;
        memcpy(first, boot, sizeof(first));
        first[STATE_AT] = second[STATE_AT] = 0;
        c->result->backup_differs = memcmp(first, second, sizeof(first)) != 0;
        return 0;
}

/* --- files ----------------------------------------------------------------------------------- */

static void note_broken(struct check *c, const char *name)
{
        if (c->result->broken++ == 0)
                (void)snprintf(c->result->broken_file, FAT_CHECK_NAME, "%s", name);
}

static void note_crossed(struct check *c, const char *one, const char *other)
{
        if (c->result->crossed++ > 0)
                return;
        (void)snprintf(c->result->one, FAT_CHECK_NAME, "%s", one);
        (void)snprintf(c->result->other, FAT_CHECK_NAME, "%s", other);
}

static void tell_pair(const struct check *c, uint16_t one, uint16_t other)
{
        const struct fat_check_name a = {c->names[one - 1], c->records[one - 1]},
                                    b = {c->names[other - 1], c->records[other - 1]};

        c->pair(c->pair_arg, &a, &b);
}

/* Follows the clusters of a name, which become its own. How many there are. */
static uint64_t follow(struct check *c, uint32_t first)
{
        uint16_t self = (uint16_t)c->n, told = 0;
        const char *name = c->names[c->n - 1];
        uint64_t count = 0;
        uint32_t at = first;

        while (is_cluster(c, at)) {
                uint32_t next = next_of(c, at);

                if (c->owner[at] == self)
                        break; /* a ring: it is broken, below */
                if (c->owner[at] != 0) {
                        note_crossed(c, c->names[c->owner[at] - 1], name);
                        if (c->pair && c->owner[at] != told)
                                tell_pair(c, c->owner[at], self);
                        told = c->owner[at];
                } else {
                        c->owner[at] = self;
                }
                count++;
                if (next >= CLUSTER_END)
                        return count;
                at = next;
        }
        note_broken(c, name);
        return count;
}

/* What has been read of a long name, which stands before its entry, last part first. */
struct long_name {
        char text[FAT_CHECK_NAME];
        bool any;
};

static void take_long(struct long_name *l, const uint8_t *entry)
{
        static const uint8_t places[LONG_CHARACTERS] = {1,  3,  5,  7,  9,  14, 16,
                                                        18, 20, 22, 24, 28, 30};
        unsigned order = entry[0] & LONG_ORDER;

        if (!l->any)
                memset(l->text, 0, sizeof(l->text));
        l->any = true;
        for (unsigned i = 0; order > 0 && i < LONG_CHARACTERS; i++) {
                size_t at = (size_t)(order - 1) * LONG_CHARACTERS + i;
                uint16_t u = le16_at(entry + places[i]);

                if (at + 1 < sizeof(l->text) && u != 0 && u != 0xffff)
                        l->text[at] = u > ' ' && u < 0x7f ? (char)u : '?';
        }
}

static void take_short(const uint8_t *entry, char ret[13])
{
        size_t n = 0;

        for (unsigned i = 0; i < 11; i++) {
                if (i == 8 && entry[i] != ' ')
                        ret[n++] = '.';
                if (entry[i] != ' ')
                        ret[n++] = entry[i] > ' ' && entry[i] < 0x7f ? (char)entry[i] : '?';
        }
        ret[n] = '\0';
}

/* 1: a new name; its clusters are to be followed. */
static int add_name(struct check *c, const char *folder, const uint8_t *entry, uint64_t at,
                    const struct long_name *l)
{
        char short_name[13], *path;

        take_short(entry, short_name);
        if (strcmp(short_name, ".") == 0 || strcmp(short_name, "..") == 0)
                return 0;
        if (c->n == LIMIT_ESP_FILES)
                return -E2BIG;
        if (asprintf(&path, "%s/%s", folder, l->any ? l->text : short_name) < 0)
                return -ENOMEM;
        c->records[c->n] = at;
        c->names[c->n++] = path;
        return 1;
}

static int walk(struct check *c, const char *folder, uint32_t first, unsigned depth);

static int take_entry(struct check *c, const char *folder, const uint8_t *entry, uint64_t at,
                      const struct long_name *l, unsigned depth)
{
        uint32_t first = (uint32_t)le16_at(entry + CLUSTER_HIGH_AT) << 16 |
                         le16_at(entry + CLUSTER_LOW_AT),
                 size = le32_at(entry + FILE_SIZE_AT);
        bool is_folder = entry[ATTRIBUTES_AT] & ATTRIBUTE_FOLDER;
        uint64_t n = 0, broken = c->result->broken, crossed = c->result->crossed;
        const char *name;
        int r = add_name(c, folder, entry, at, l);

        if (r <= 0)
                return r;
        name = c->names[c->n - 1];
        if (first != 0 || is_folder)
                n = follow(c, first);
        if (!is_folder && n * c->g.cluster < size && c->result->broken == broken)
                note_broken(c, name);
        return is_folder && n > 0 && c->result->crossed == crossed ? walk(c, name, first, depth + 1)
                                                                   : 0;
}

/* 1: behind the last entry. */
static int walk_cluster(struct check *c, const char *folder, const uint8_t *data, uint64_t where,
                        struct long_name *l, unsigned depth)
{
        for (uint64_t at = 0; at + ENTRY_SIZE <= c->g.cluster; at += ENTRY_SIZE) {
                const uint8_t *entry = data + at;
                int r = 0;

                if (entry[0] == 0)
                        return 1;
                if (entry[0] == DELETED) {
                        l->any = false;
                        continue;
                }
                if ((entry[ATTRIBUTES_AT] & ATTRIBUTE_LONG) == ATTRIBUTE_LONG) {
                        take_long(l, entry);
                        continue;
                }
                if (!(entry[ATTRIBUTES_AT] & ATTRIBUTE_LABEL))
                        r = take_entry(c, folder, entry, where + at, l, depth);
                l->any = false;
                if (r < 0)
                        return r;
        }
        return 0;
}

static int walk(struct check *c, const char *folder, uint32_t first, unsigned depth)
{
        _cleanup_free_ uint8_t *data = malloc(c->g.cluster);
        struct long_name l = {.any = false};
        uint32_t at = first;
        int r = 0;

        if (!data)
                return -ENOMEM;
        if (depth > LIMIT_ESP_DEPTH)
                return -E2BIG;
        /* A ring was noticed when it was followed; a folder has an end at the latest here. */
        for (unsigned i = 0; i < LIMIT_ESP_FILES && is_cluster(c, at) && r == 0; i++) {
                r = read_at(c, cluster_at(c, at), data, c->g.cluster);
                if (r == 0)
                        r = walk_cluster(c, folder, data, cluster_at(c, at), &l, depth);
                at = next_of(c, at);
        }
        return r < 0 ? r : 0;
}

/* --- together -------------------------------------------------------------------------------- */

static int load(struct check *c, const uint8_t boot[FAT_BOOT_SIZE], uint64_t size)
{
        int r = fat_geometry_parse(boot, size, &c->g);

        if (r < 0)
                return r;
        if (c->g.fat_size > TABLE_MAX)
                return -E2BIG;
        c->table = malloc(c->g.fat_size);
        c->owner = calloc(c->g.end, sizeof(*c->owner));
        c->names = calloc(LIMIT_ESP_FILES, sizeof(*c->names));
        c->records = calloc(LIMIT_ESP_FILES, sizeof(*c->records));
        if (!c->table || !c->owner || !c->names || !c->records)
                return -ENOMEM;
        c->result->dirty = boot[STATE_AT] & STATE_DIRTY;
        c->result->cluster = c->g.cluster;
        c->result->clusters = c->g.end - FAT_CLUSTER_FIRST;
        r = read_at(c, c->g.fat_at[0], c->table, c->g.fat_size);
        if (r == 0)
                r = compare_tables(c);
        return r < 0 ? r : compare_backup(c, boot);
}

static int look(struct check *c)
{
        int r;

        c->names[0] = strdup("");
        if (!c->names[0])
                return -ENOMEM;
        c->n = 1;
        (void)follow(c, FAT_CLUSTER_FIRST);
        r = walk(c, "", FAT_CLUSTER_FIRST, 0);
        for (uint32_t i = FAT_CLUSTER_FIRST; i < c->g.end && r == 0; i++) {
                uint32_t next = next_of(c, i);

                c->result->free += next == 0;
                c->result->lost += next != 0 && next != CLUSTER_BAD && c->owner[i] == 0;
        }
        return r;
}

int fat_check(int fd, uint64_t at, uint64_t size, struct fat_check *ret, struct error *e)
{
        return fat_check_pairs(fd, at, size, NULL, NULL, ret, e);
}

int fat_check_pairs(int fd, uint64_t at, uint64_t size, fat_check_pair *pair, void *arg,
                    struct fat_check *ret, struct error *e)
{
        struct fat_check result = {.dirty = false};
        _cleanup_(check_done) struct check c = {
                .fd = fd, .at = at, .result = &result, .pair = pair, .pair_arg = arg};
        uint8_t boot[FAT_BOOT_SIZE];
        int r = read_at(&c, 0, boot, sizeof(boot));

        if (r == 0)
                r = load(&c, boot, size);
        if (r == 0)
                r = look(&c);
        switch (r) {
        case 0:
                *ret = result;
                return 0;
        case -ENOMEM:
                return error_oom(e);
        case -EMEDIUMTYPE:
                return error_set(e, ERROR_IO, EMEDIUMTYPE, "no FAT32 file system of a node");
        case -E2BIG:
                return error_set(e, ERROR_IO, E2BIG, "more files than a node has");
        default:
                return error_errno(e, -r, "reading the file system");
        }
}

int fat_check_drop(int fd, uint64_t at, uint64_t record, struct error *e)
{
        static const uint8_t deleted = DELETED;
        int r = file_pwrite(fd, &deleted, sizeof(deleted), at + record);

        if (r == 0)
                r = file_sync(fd);
        return r < 0 ? error_errno(e, -r, "taking a name from its folder") : 0;
}
