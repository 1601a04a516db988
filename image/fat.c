/* SPDX-License-Identifier: Apache-2.0 */
#include "image/fat.h"

#include <string.h>
#include <time.h>

#include "base/limits.h"
#include "base/num.h"
#include "image/fat_name.h"

#define SECTOR 512u
#define RESERVED 32u /* sectors in front of the tables */
#define TABLES 2u
#define FSINFO_SECTOR 1u
#define BACKUP_SECTOR 6u
#define ROOT_CLUSTER 2u
#define LAST_CLUSTER UINT32_C(0x0fffffff)
#define MEDIA 0xf8u
/* Fewer clusters make it a FAT16 in the eyes of most readers; a margin for the others. */
#define CLUSTERS_MIN UINT64_C(65600)
#define CLUSTER_SECTORS_MAX 64u
#define FREE_BYTES (4 * MIB)
#define FILE_MAX UINT64_C(0xffffffff)

#define ATTRIBUTE_LABEL 0x08
#define ATTRIBUTE_FOLDER 0x10
#define ATTRIBUTE_FILE 0x20

/* One entry of the bundle, or the root in front of them. */
struct node {
        const struct bundle_entry *entry; /* NULL: the root */
        size_t parent;
        struct fat_name name;
        uint64_t bytes;   /* of a folder: of its records */
        uint32_t cluster; /* 0: it has none */
};

struct fat {
        const struct bundle *bundle;
        const char *label;
        uint32_t serial;
        int fd;
        size_t n;
        struct node *nodes; /* [0] is the root */
        uint32_t cluster_sectors;
        uint32_t clusters; /* of the volume */
        uint32_t used;
        uint32_t table_sectors;
        uint16_t date, time;
        struct buf records; /* of the folder at work */
};

static void fat_done(struct fat *f)
{
        free(f->nodes);
        buf_done(&f->records);
}

static bool is_folder(const struct node *n)
{
        return !n->entry || n->entry->folder;
}

/* --- plan --- */

/* The folder that a path lies in, which stands before it in the bundle. */
static size_t find_parent(const struct fat *f, size_t i)
{
        const char *name = f->nodes[i].entry->name, *slash = strrchr(name, '/');
        size_t n = slash ? (size_t)(slash - name) : 0;

        for (size_t k = 1; slash && k < i; k++)
                if (strlen(f->nodes[k].entry->name) == n &&
                    memcmp(f->nodes[k].entry->name, name, n) == 0)
                        return k;
        return 0;
}

static int name_node(struct fat *f, size_t i, struct error *e)
{
        struct node *n = &f->nodes[i];
        const char *path = n->entry->name, *slash = strrchr(path, '/');
        unsigned same = 0;
        int r = fat_name_make(slash ? slash + 1 : path, &n->name);

        if (r < 0)
                return error_set(e, ERROR_CONFIG, -r, "%s: a name that FAT cannot hold", path);
        for (size_t k = 1; k < i; k++) {
                const struct node *other = &f->nodes[k];

                if (other->parent != n->parent)
                        continue;
                if (fat_name_equal(&other->name, &n->name))
                        return error_set(e, ERROR_CONFIG, EEXIST,
                                         "%s and %s are the same name on FAT", other->entry->name,
                                         path);
        }
        /* Another short form until nobody in the folder has it. */
        for (size_t k = 1; k < i; k++)
                if (f->nodes[k].parent == n->parent &&
                    memcmp(f->nodes[k].name.brief, n->name.brief, FAT_BRIEF_SIZE) == 0) {
                        r = fat_name_number(&n->name, ++same);
                        if (r < 0)
                                return error_set(e, ERROR_CONFIG, -r,
                                                 "%s: too many names that are alike", path);
                        k = 0;
                }
        return 0;
}

static int collect(struct fat *f, struct error *e)
{
        size_t n = 0;

        while (bundle_at(f->bundle, n))
                n++;
        f->n = n + 1;
        f->nodes = calloc(f->n, sizeof(*f->nodes));
        if (!f->nodes)
                return error_oom(e);
        f->nodes[0].bytes = FAT_RECORD; /* the label */
        for (size_t i = 1; i < f->n; i++) {
                struct node *node = &f->nodes[i];
                int r;

                node->entry = bundle_at(f->bundle, i - 1);
                node->parent = find_parent(f, i);
                r = name_node(f, i, e);
                if (r < 0)
                        return r;
                if (node->entry->size > FILE_MAX)
                        return error_set(e, ERROR_CONFIG, EFBIG, "%s is too large for FAT",
                                         node->entry->name);
                node->bytes = node->entry->folder ? 2 * FAT_RECORD : node->entry->size;
                f->nodes[node->parent].bytes += fat_name_records(&node->name) * FAT_RECORD;
        }
        return 0;
}

static uint64_t clusters_of(uint64_t bytes, uint32_t cluster_sectors)
{
        uint64_t size = (uint64_t)cluster_sectors * SECTOR;

        return bytes / size + (bytes % size != 0);
}

static uint64_t count(const struct fat *f, uint32_t cluster_sectors)
{
        uint64_t sum = 0;

        for (size_t i = 0; i < f->n; i++)
                sum += clusters_of(f->nodes[i].bytes, cluster_sectors);
        return sum;
}

/* The largest clusters of which there are enough. */
static int size_volume(struct fat *f, struct error *e)
{
        uint32_t sectors = CLUSTER_SECTORS_MAX, next = ROOT_CLUSTER;
        uint64_t wanted;

        for (;;) {
                wanted = count(f, sectors) + clusters_of(FREE_BYTES, sectors);
                if (wanted >= CLUSTERS_MIN || sectors == 1)
                        break;
                sectors /= 2;
        }
        if (wanted < CLUSTERS_MIN)
                wanted = CLUSTERS_MIN;
        if (wanted > UINT32_MAX / CLUSTER_SECTORS_MAX / 2)
                return error_set(e, ERROR_CONFIG, EFBIG, "too much for one FAT file system");
        f->cluster_sectors = sectors;
        f->clusters = (uint32_t)wanted;
        f->table_sectors = (f->clusters + 2 + SECTOR / 4 - 1) / (SECTOR / 4);
        for (size_t i = 0; i < f->n; i++) {
                struct node *n = &f->nodes[i];
                uint32_t many = (uint32_t)clusters_of(n->bytes, sectors);

                n->cluster = many > 0 ? next : 0;
                next += many;
        }
        f->used = next - ROOT_CLUSTER;
        return 0;
}

/* FAT knows the years from 1980 to 2107, and two seconds. */
static void set_time(struct fat *f)
{
        const int64_t first = 315532800, last = 4354819198;
        int64_t epoch =
                bundle_epoch(f->bundle) < (uint64_t)last ? (int64_t)bundle_epoch(f->bundle) : last;
        time_t t = (time_t)(epoch > first ? epoch : first);
        struct tm tm = {.tm_year = 80, .tm_mday = 1};

        (void)gmtime_r(&t, &tm);
        f->date = (uint16_t)((tm.tm_year - 80) << 9 | (tm.tm_mon + 1) << 5 | tm.tm_mday);
        f->time = (uint16_t)(tm.tm_hour << 11 | tm.tm_min << 5 | tm.tm_sec / 2);
}

/* --- bytes --- */

static int put(struct fat *f, const void *data, size_t n, struct error *e)
{
        return bundle_to_fd(&f->fd, data, n, e);
}

static int put_zeros(struct fat *f, uint64_t n, struct error *e)
{
        static const uint8_t zeros[4096];
        int r = 0;

        for (; n > 0 && r == 0; n -= n < sizeof(zeros) ? n : sizeof(zeros))
                r = put(f, zeros, n < sizeof(zeros) ? (size_t)n : sizeof(zeros), e);
        return r;
}

static void make_boot_sector(const struct fat *f, uint8_t s[SECTOR])
{
        memset(s, 0, SECTOR);
        memcpy(s, "\xeb\x58\x90tb-image", 11);
        put_le16(s + 11, SECTOR);
        s[13] = (uint8_t)f->cluster_sectors;
        put_le16(s + 14, RESERVED);
        s[16] = TABLES;
        s[21] = MEDIA;
        put_le16(s + 24, 32); /* sectors of a track and heads: of no drive that exists */
        put_le16(s + 26, 64);
        put_le32(s + 32, RESERVED + TABLES * f->table_sectors + f->clusters * f->cluster_sectors);
        put_le32(s + 36, f->table_sectors);
        put_le32(s + 44, ROOT_CLUSTER);
        put_le16(s + 48, FSINFO_SECTOR);
        put_le16(s + 50, BACKUP_SECTOR);
        s[64] = 0x80;
        s[66] = 0x29; /* serial number, label and type follow */
        put_le32(s + 67, f->serial);
        memset(s + 71, ' ', FAT_LABEL_SIZE);
        memcpy(s + 71, f->label, strlen(f->label));
        memcpy(s + 82, "FAT32   ", 8);
        put_le16(s + 510, 0xaa55);
}

static void make_info_sector(const struct fat *f, uint8_t s[SECTOR])
{
        memset(s, 0, SECTOR);
        memcpy(s, "RRaA", 4);
        memcpy(s + 484, "rrAa", 4);
        put_le32(s + 488, f->clusters - f->used);
        put_le32(s + 492, ROOT_CLUSTER + f->used);
        put_le16(s + 510, 0xaa55);
}

static int write_reserved(struct fat *f, struct error *e)
{
        uint8_t boot[SECTOR], info[SECTOR];
        int r;

        make_boot_sector(f, boot);
        make_info_sector(f, info);
        r = put(f, boot, SECTOR, e);
        if (r == 0)
                r = put(f, info, SECTOR, e);
        if (r == 0)
                r = put_zeros(f, (BACKUP_SECTOR - 2) * SECTOR, e);
        if (r == 0)
                r = put(f, boot, SECTOR, e);
        if (r == 0)
                r = put(f, info, SECTOR, e);
        return r == 0 ? put_zeros(f, (RESERVED - BACKUP_SECTOR - 2) * SECTOR, e) : r;
}

/* Every chain leads from one cluster to the next one, and ends before the next file begins. */
static int write_tables(struct fat *f, struct error *e)
{
        size_t size = (size_t)f->table_sectors * SECTOR;
        _cleanup_free_ uint8_t *table = calloc(1, size);
        int r = 0;

        if (!table)
                return error_oom(e);
        put_le32(table, 0x0fffff00u | MEDIA);
        put_le32(table + 4, LAST_CLUSTER);
        for (size_t i = 0; i < f->n; i++) {
                uint64_t many = clusters_of(f->nodes[i].bytes, f->cluster_sectors);
                uint32_t first = f->nodes[i].cluster;

                for (uint32_t k = 0; k < many; k++)
                        put_le32(table + 4 * (size_t)(first + k),
                                 k + 1 < many ? first + k + 1 : LAST_CLUSTER);
        }
        for (unsigned i = 0; i < TABLES && r == 0; i++)
                r = put(f, table, size, e);
        return r;
}

static int add_record(struct fat *f, const uint8_t brief[FAT_BRIEF_SIZE], uint8_t attribute,
                      const struct node *n)
{
        uint8_t record[FAT_RECORD] = {0};

        memcpy(record, brief, FAT_BRIEF_SIZE);
        record[11] = attribute;
        put_le16(record + 14, f->time);
        put_le16(record + 16, f->date);
        put_le16(record + 18, f->date);
        put_le16(record + 22, f->time);
        put_le16(record + 24, f->date);
        if (n) {
                put_le16(record + 20, (uint16_t)(n->cluster >> 16));
                put_le16(record + 26, (uint16_t)n->cluster);
                put_le32(record + 28, is_folder(n) ? 0 : (uint32_t)n->bytes);
        }
        return buf_add(&f->records, record, sizeof(record));
}

/* What a folder begins with: the root its label, others themselves and what they lie in. In the
 * words of FAT the root is cluster 0 here. */
static int add_first_records(struct fat *f, size_t i)
{
        const struct node *n = &f->nodes[i], *parent = n->parent ? &f->nodes[n->parent] : NULL;
        uint8_t brief[FAT_BRIEF_SIZE];
        int r;

        memset(brief, ' ', sizeof(brief));
        if (i == 0) {
                memcpy(brief, f->label, strlen(f->label));
                return add_record(f, brief, ATTRIBUTE_LABEL, NULL);
        }
        brief[0] = '.';
        r = add_record(f, brief, ATTRIBUTE_FOLDER, n);
        brief[1] = '.';
        return r == 0 ? add_record(f, brief, ATTRIBUTE_FOLDER, parent) : r;
}

static int make_folder(struct fat *f, size_t i)
{
        int r;

        buf_reset(&f->records);
        r = add_first_records(f, i);
        for (size_t k = 1; k < f->n && r == 0; k++) {
                const struct node *n = &f->nodes[k];

                if (n->parent != i)
                        continue;
                r = fat_name_add_long(&n->name, &f->records);
                if (r == 0)
                        r = add_record(f, n->name.brief,
                                       is_folder(n) ? ATTRIBUTE_FOLDER : ATTRIBUTE_FILE, n);
        }
        return r;
}

static int write_node(struct fat *f, size_t i, struct error *e)
{
        const struct node *n = &f->nodes[i];
        uint64_t size = (uint64_t)f->cluster_sectors * SECTOR;
        int r;

        if (is_folder(n)) {
                if (make_folder(f, i) < 0)
                        return error_oom(e);
                r = put(f, f->records.data, f->records.len, e);
        } else {
                r = bundle_write_entry(n->entry, bundle_to_fd, &f->fd, e);
        }
        return r == 0 ? put_zeros(f, clusters_of(n->bytes, f->cluster_sectors) * size - n->bytes, e)
                      : r;
}

int fat_write(const struct bundle *b, const char *label, uint32_t serial, int fd, struct error *e)
{
        _cleanup_(fat_done) struct fat f = {.bundle = b,
                                            .label = label,
                                            .serial = serial,
                                            .fd = fd,
                                            .records = BUF_INIT(LIMIT_FAT_FOLDER)};
        int r = collect(&f, e);

        if (r == 0)
                r = size_volume(&f, e);
        if (r < 0)
                return r;
        set_time(&f);
        r = write_reserved(&f, e);
        if (r == 0)
                r = write_tables(&f, e);
        for (size_t i = 0; i < f.n && r == 0; i++)
                r = write_node(&f, i, e);
        return r == 0 ? put_zeros(&f, (uint64_t)(f.clusters - f.used) * f.cluster_sectors * SECTOR,
                                  e)
                      : r;
}
