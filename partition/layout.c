/* SPDX-License-Identifier: Apache-2.0 */
#include "partition/layout.h"

#include <ctype.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libfdisk/libfdisk.h>
#include <stdio.h>
#include <string.h>

#include "base/codec.h"
#include "base/file.h"
#include "base/num.h"

/* GPT header (UEFI 2.10, section 5.3.2). */
#define GPT_HEADER_SIZE 92u
#define GPT_ENTRIES_OFFSET 80u
#define GPT_ENTRY_SIZE_OFFSET 84u
#define GPT_ENTRIES_MAX 1024u
#define GPT_ENTRY_SIZE_MAX 512u

static void unref_context(struct fdisk_context **c)
{
        fdisk_unref_context(*c);
}

static void unref_table(struct fdisk_table **t)
{
        fdisk_unref_table(*t);
}

static void unref_partition(struct fdisk_partition **p)
{
        fdisk_unref_partition(*p);
}

static void unref_type(struct fdisk_parttype **t)
{
        fdisk_unref_parttype(*t);
}

/* Random UUID of RFC 4122 version 4. */
static int random_uuid(char ret[LAYOUT_UUID_SIZE])
{
        uint8_t b[16];
        int r = random_bytes(b, sizeof(b));

        if (r < 0)
                return r;
        uuid_encode(b, 4, ret);
        return 0;
}

static int too_small(struct error *e, const char *what, uint64_t have, uint64_t need)
{
        char a[32], b[32];

        return error_set(e, ERROR_SPACE, ENOSPC, "%s: %s, at least %s needed", what,
                         format_size(have, a, sizeof(a)), format_size(need, b, sizeof(b)));
}

int layout_esp_size(uint64_t image_size, uint64_t wanted, uint64_t *ret, struct error *e)
{
        uint64_t room = image_size > LAYOUT_IMAGE_ROOM ? image_size : LAYOUT_IMAGE_ROOM;
        uint64_t least, size;

        /* Besides the images: boot loader twice, entries, FAT tables (1/1000 of the size), clusters
         * cut. */
        if (mul_u64(image_size, LAYOUT_IMAGE_COPIES, &least) < 0 ||
            add_u64(least, least / 256 + 16 * MIB, &least) < 0 ||
            align_up_u64(least, LAYOUT_ALIGN, &least) < 0 ||
            mul_u64(room, LAYOUT_IMAGE_COPIES, &size) < 0 ||
            add_u64(size, size / 256 + 16 * MIB, &size) < 0 ||
            align_up_u64(size, LAYOUT_ALIGN, &size) < 0)
                return error_set(e, ERROR_USAGE, EOVERFLOW, "image size out of range");
        if (least < LAYOUT_ESP_MIN)
                least = LAYOUT_ESP_MIN;
        if (wanted == 0) {
                *ret = size;
                return 0;
        }
        if (wanted < least) {
                int r = too_small(e, "ESP size", wanted, least);

                error_advise(e, "three images and a spare must fit: give a larger --esp-size");
                return r;
        }
        return align_up_u64(wanted, LAYOUT_ALIGN, ret) < 0
                       ? error_set(e, ERROR_USAGE, EOVERFLOW, "ESP size out of range")
                       : 0;
}

/* A plan in the making. */
struct planning {
        struct layout layout;
        uint64_t at;     /* where the next partition begins */
        uint64_t usable; /* where the last one has to end */
        int r;           /* first failure */
};

static void add_partition(struct planning *p, const char *name, const char *type, uint64_t size)
{
        struct layout_partition *l = &p->layout.partitions[p->layout.n];

        if (p->r == 0)
                p->r = align_up_u64(size, LAYOUT_ALIGN, &size);
        if (p->r < 0)
                return;
        l->number = (unsigned)p->layout.n + 1;
        (void)snprintf(l->name, sizeof(l->name), "%s", name);
        (void)snprintf(l->type, sizeof(l->type), "%s", type);
        l->start = p->at;
        l->size = size;
        p->layout.n++;
        p->r = add_u64(p->at, size, &p->at);
        if (p->r == 0)
                p->r = random_uuid(l->uuid);
}

static int check_sizes(const struct layout_wishes *w, struct error *e)
{
        if (w->oem_size > 0 && w->oem_size < LAYOUT_OEM_MIN)
                return too_small(e, "OEM partition", w->oem_size, LAYOUT_OEM_MIN);
        if (w->persistent_size > 0 && w->persistent_size < LAYOUT_PERSISTENT_MIN)
                return too_small(e, "persistent partition", w->persistent_size,
                                 LAYOUT_PERSISTENT_MIN);
        return 0;
}

int layout_plan(uint64_t disk_size, uint64_t sector_size, const struct layout_wishes *wishes,
                struct layout *ret, struct error *e)
{
        _cleanup_free_ struct planning *p = calloc(1, sizeof(*p));
        /* The backup table: header and 128 entries of 128 bytes. */
        uint64_t tail = 128 * 128 + sector_size, last, need;
        int r = check_sizes(wishes, e);

        if (r < 0)
                return r;
        if (!p)
                return error_oom(e);
        p->at = LAYOUT_ALIGN;
        p->usable = disk_size > tail ? (disk_size - tail) & ~(LAYOUT_ALIGN - 1) : 0;
        add_partition(p, LAYOUT_ESP_NAME, LAYOUT_TYPE_ESP, wishes->esp_size);
        add_partition(p, LAYOUT_OEM_NAME, LAYOUT_TYPE_LINUX, wishes->oem_size ?: LAYOUT_OEM_SIZE);
        for (size_t i = 0; i < wishes->extras.n; i++)
                add_partition(p, wishes->extras.item[i].name, LAYOUT_TYPE_LINUX,
                              wishes->extras.item[i].size);
        last = wishes->persistent_size ?: LAYOUT_PERSISTENT_MIN;
        if (p->r == -EOVERFLOW || add_u64(p->at, last, &need) < 0 ||
            add_u64(need, LAYOUT_ALIGN, &need) < 0)
                return error_set(e, ERROR_USAGE, EOVERFLOW, "partition sizes out of range");
        if (p->at > p->usable || last > p->usable - p->at) {
                r = too_small(e, "disk", disk_size, need);
                error_advise(e, "choose a larger disk, or smaller partitions (--esp-size)");
                return r;
        }
        add_partition(p, LAYOUT_PERSISTENT_NAME, LAYOUT_TYPE_LINUX,
                      wishes->persistent_size ?: p->usable - p->at);
        if (p->r < 0)
                return error_errno(e, -p->r, "random numbers");
        *ret = p->layout;
        return 0;
}

/* libfdisk asks questions through this; nothing here is interactive, so every question is answered
 * "default". */
static int no_questions(struct fdisk_context *cxt, struct fdisk_ask *ask, void *data)
{
        (void)cxt;
        (void)ask;
        (void)data;
        return 0;
}

static int open_context(const struct disk *d, bool readonly, struct fdisk_context **ret,
                        struct error *e)
{
        _cleanup_(unref_context) struct fdisk_context *c = fdisk_new_context();
        int r;

        if (!c)
                return error_oom(e);
        (void)fdisk_set_ask(c, no_questions, NULL);
        r = fdisk_assign_device(c, d->path, readonly);
        if (r < 0)
                return error_errno(e, -r, "%s: partition table", d->path);
        *ret = TAKE_PTR(c);
        return 0;
}

static int add_to_label(struct fdisk_context *c, const struct layout_partition *p)
{
        _cleanup_(unref_partition) struct fdisk_partition *f = fdisk_new_partition();
        _cleanup_(unref_type) struct fdisk_parttype *type = NULL;
        uint64_t sector = fdisk_get_sector_size(c);
        int r;

        if (!f)
                return -ENOMEM;
        type = fdisk_label_parse_parttype(fdisk_get_label(c, NULL), p->type);
        if (!type)
                return -EINVAL;
        (void)fdisk_partition_start_follow_default(f, 0);
        (void)fdisk_partition_end_follow_default(f, 0);
        (void)fdisk_partition_partno_follow_default(f, 0);
        r = fdisk_partition_set_partno(f, p->number - 1);
        if (r == 0)
                r = fdisk_partition_set_start(f, p->start / sector);
        if (r == 0)
                r = fdisk_partition_set_size(f, p->size / sector);
        if (r == 0)
                r = fdisk_partition_set_type(f, type);
        if (r == 0)
                r = fdisk_partition_set_name(f, p->name);
        if (r == 0)
                r = fdisk_partition_set_uuid(f, p->uuid);
        if (r == 0)
                r = fdisk_add_partition(c, f, NULL);
        return r;
}

static int compare_layout(const struct disk *d, const struct layout *want, struct error *e)
{
        _cleanup_free_ struct layout *have = calloc(1, sizeof(*have));
        int r;

        if (!have)
                return error_oom(e);
        r = layout_read(d, have, e);
        if (r < 0)
                return r;
        for (size_t i = 0; i < want->n; i++) {
                const struct layout_partition *a = &want->partitions[i], *b = &have->partitions[i];

                if (have->n != want->n || a->number != b->number || a->start != b->start ||
                    a->size != b->size || strcmp(a->uuid, b->uuid) != 0 ||
                    strcmp(a->name, b->name) != 0)
                        return error_set(
                                e, ERROR_IO, EIO,
                                "%s: partition table read back differs from what was written",
                                d->path);
        }
        return 0;
}

int layout_write(struct disk *d, const struct layout *l, struct error *e)
{
        _cleanup_(unref_context) struct fdisk_context *c = NULL;
        int r;

        r = open_context(d, false, &c, e);
        if (r < 0)
                return r;
        r = fdisk_create_disklabel(c, "gpt");
        for (size_t i = 0; i < l->n && r == 0; i++)
                r = add_to_label(c, &l->partitions[i]);
        if (r == 0)
                r = fdisk_write_disklabel(c);
        if (r < 0)
                return error_errno(e, -r, "%s: writing the partition table", d->path);
        /* Sync but no re-read: the kernel's partitions are already these. */
        r = fdisk_deassign_device(c, 0);
        if (r < 0)
                return error_errno(e, -r, "%s: closing the partition table", d->path);
        r = file_sync(d->fd);
        if (r < 0)
                return error_errno(e, -r, "%s: sync", d->path);
        return compare_layout(d, l, e);
}

static void lower_case(char *s)
{
        for (; *s; s++)
                *s = (char)tolower((unsigned char)*s);
}

static void load_entry(struct fdisk_partition *f, uint64_t sector, struct layout_partition *p)
{
        struct fdisk_parttype *type = fdisk_partition_get_type(f);
        const char *uuid = fdisk_partition_get_uuid(f), *name = fdisk_partition_get_name(f);

        p->number = (unsigned)fdisk_partition_get_partno(f) + 1;
        p->start = (uint64_t)fdisk_partition_get_start(f) * sector;
        p->size = (uint64_t)fdisk_partition_get_size(f) * sector;
        (void)snprintf(p->name, sizeof(p->name), "%s", name ?: "");
        (void)snprintf(p->uuid, sizeof(p->uuid), "%s", uuid ?: "");
        (void)snprintf(p->type, sizeof(p->type), "%s",
                       type && fdisk_parttype_get_string(type) ? fdisk_parttype_get_string(type)
                                                               : "");
        lower_case(p->uuid);
}

/*
 * libfdisk takes the number of entries from the header and reads that much. Everybody writes 128 of
 * 128 bytes; whoever writes many more wants this process to run out of memory. Both headers are
 * looked at, because libfdisk uses the second one when the first is damaged.
 */
static int check_header(int fd, const struct disk *d, uint64_t offset, struct error *e)
{
        uint8_t header[GPT_HEADER_SIZE];
        ssize_t n = file_pread(fd, header, sizeof(header), offset);

        if (n < 0)
                return error_errno(e, (int)-n, "%s: partition table", d->path);
        if ((size_t)n < sizeof(header) || memcmp(header, "EFI PART", 8) != 0)
                return 0;
        if (le32_at(header + GPT_ENTRIES_OFFSET) > GPT_ENTRIES_MAX ||
            le32_at(header + GPT_ENTRY_SIZE_OFFSET) > GPT_ENTRY_SIZE_MAX)
                return error_set(e, ERROR_PRECONDITION, EBADMSG,
                                 "%s: a partition table of absurd size", d->path);
        return 0;
}

static int check_headers(const struct disk *d, struct error *e)
{
        _cleanup_close_ int fd = open(d->path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
        int r;

        if (fd < 0)
                return error_errno(e, errno, "%s", d->path);
        r = check_header(fd, d, d->sector_size, e);
        if (r == 0 && d->size > d->sector_size)
                r = check_header(fd, d, d->size - d->sector_size, e);
        return r;
}

int layout_read(const struct disk *d, struct layout *ret, struct error *e)
{
        _cleanup_(unref_context) struct fdisk_context *c = NULL;
        _cleanup_(unref_table) struct fdisk_table *table = NULL;
        size_t count;
        int r;

        r = check_headers(d, e);
        if (r < 0)
                return r;
        r = open_context(d, true, &c, e);
        if (r < 0)
                return r;
        if (!fdisk_is_labeltype(c, FDISK_DISKLABEL_GPT))
                return error_set(e, ERROR_PRECONDITION, ENOENT, "%s: no GPT", d->path);
        r = fdisk_get_partitions(c, &table);
        if (r < 0)
                return error_errno(e, -r, "%s: reading the partition table", d->path);
        count = fdisk_table_get_nents(table);
        ret->n = 0;
        for (size_t i = 0; i < count && ret->n < LIMIT_PARTITIONS; i++) {
                struct fdisk_partition *f = fdisk_table_get_partition(table, i);

                if (f && fdisk_partition_has_start(f) && fdisk_partition_has_size(f))
                        load_entry(f, fdisk_get_sector_size(c), &ret->partitions[ret->n++]);
        }
        return 0;
}

int layout_find(const struct layout *l, const char *name, const struct layout_partition **ret)
{
        const struct layout_partition *hit = NULL;

        for (size_t i = 0; i < l->n; i++) {
                if (strcmp(l->partitions[i].name, name) != 0)
                        continue;
                if (hit)
                        return -ENOTUNIQ;
                hit = &l->partitions[i];
        }
        if (!hit)
                return -ENOENT;
        *ret = hit;
        return 0;
}
