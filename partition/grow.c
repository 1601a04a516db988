/* SPDX-License-Identifier: Apache-2.0 */
#include "partition/grow.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/crc32.h"
#include "base/file.h"
#include "base/limits.h"
#include "base/num.h"
#include "partition/layout.h"

/* GPT header (UEFI 2.10, section 5.3.2). */
#define HEADER_SIZE 92u
#define HEADER_LENGTH_AT 12u
#define HEADER_CRC_AT 16u
#define HEADER_MY_LBA_AT 24u
#define HEADER_ALTERNATE_LBA_AT 32u
#define HEADER_LAST_USABLE_AT 48u
#define HEADER_GUID_AT 56u
#define HEADER_ENTRIES_LBA_AT 72u
#define HEADER_COUNT_AT 80u
#define HEADER_ENTRY_SIZE_AT 84u
#define HEADER_ENTRIES_CRC_AT 88u
#define PRIMARY_LBA 1u
#define ENTRIES_LBA 2u
#define GUID_SIZE 16u
/* Partition entry (section 5.3.3). */
#define ENTRY_SIZE 128u
#define ENTRY_MAX 128u
#define ENTRY_GUID_AT 16u
#define ENTRY_START_AT 32u
#define ENTRY_END_AT 40u
#define ENTRY_NAME_AT 56u
#define ENTRY_NAME_CHARACTERS 36u
/* Protective MBR (section 5.2.3). */
#define MBR_RECORDS_AT 446u
#define MBR_RECORD_SIZE 16u
#define MBR_TYPE_AT 4u
#define MBR_SECTORS_AT 12u
#define MBR_TYPE_GPT 0xeeu

/* Header and entries as they lie on the disk, from PRIMARY_LBA on. */
struct table {
        uint64_t sector;
        uint64_t last_lba; /* of the disk */
        size_t size;       /* bytes from the header to the end of the entries */
        uint32_t count;
        uint8_t *data;
};

static void table_done(struct table *t)
{
        free(t->data);
}

static uint8_t *entry_at(const struct table *t, uint32_t i)
{
        return t->data + t->sector + (size_t)i * ENTRY_SIZE;
}

static void put_u64(uint8_t *p, uint64_t v)
{
        put_le32(p, (uint32_t)v);
        put_le32(p + 4, (uint32_t)(v >> 32));
}

static uint32_t header_crc(const uint8_t *header)
{
        uint8_t copy[HEADER_SIZE];

        memcpy(copy, header, sizeof(copy));
        put_le32(copy + HEADER_CRC_AT, 0);
        return crc32_gpt(copy, sizeof(copy));
}

static bool is_usual(const uint8_t *h)
{
        return memcmp(h, "EFI PART\0\0\1\0", 12) == 0 &&
               le32_at(h + HEADER_LENGTH_AT) == HEADER_SIZE &&
               le32_at(h + HEADER_CRC_AT) == header_crc(h) &&
               le64_at(h + HEADER_MY_LBA_AT) == PRIMARY_LBA &&
               le64_at(h + HEADER_ENTRIES_LBA_AT) == ENTRIES_LBA &&
               le32_at(h + HEADER_ENTRY_SIZE_AT) == ENTRY_SIZE &&
               le32_at(h + HEADER_COUNT_AT) > 0 && le32_at(h + HEADER_COUNT_AT) <= ENTRY_MAX;
}

static uint64_t sectors_for(uint32_t count, uint64_t sector)
{
        return (count * ENTRY_SIZE + sector - 1) / sector;
}

/* 1: loaded; 0: no table in the usual form. */
static int table_load(struct table *t, int fd, const struct disk *d, struct error *e)
{
        uint8_t header[HEADER_SIZE];
        ssize_t n = file_pread(fd, header, sizeof(header), d->sector_size);

        if (n < 0)
                return error_errno(e, (int)-n, "%s: partition table", d->path);
        if ((size_t)n < sizeof(header) || !is_usual(header))
                return 0;
        t->sector = d->sector_size;
        t->last_lba = d->size / d->sector_size - 1;
        t->count = le32_at(header + HEADER_COUNT_AT);
        t->size = (size_t)((1 + sectors_for(t->count, t->sector)) * t->sector);
        t->data = malloc(t->size);
        if (!t->data)
                return error_oom(e);
        n = file_pread(fd, t->data, t->size, PRIMARY_LBA * t->sector);
        if (n < 0)
                return error_errno(e, (int)-n, "%s: partition table", d->path);
        return (size_t)n == t->size && memcmp(t->data, header, sizeof(header)) == 0 &&
               crc32_gpt(entry_at(t, 0), (size_t)t->count * ENTRY_SIZE) ==
                       le32_at(header + HEADER_ENTRIES_CRC_AT);
}

static bool is_used(const uint8_t *entry)
{
        static const uint8_t none[16];

        return memcmp(entry, none, sizeof(none)) != 0;
}

/* Names here are ASCII; the field is UTF-16LE, padded with zeros. */
static bool has_name(const uint8_t *entry, const char *name)
{
        size_t n = strlen(name);

        for (size_t i = 0; i < ENTRY_NAME_CHARACTERS; i++) {
                uint16_t want = i < n ? (uint16_t)(unsigned char)name[i] : 0;

                if (le16_at(entry + ENTRY_NAME_AT + 2 * i) != want)
                        return false;
        }
        return n <= ENTRY_NAME_CHARACTERS;
}

/* The only one of this name, and nothing lies behind it; NULL otherwise. */
static const uint8_t *find_last(const struct table *t, const char *name, uint32_t *ret)
{
        const uint8_t *hit = NULL;

        for (uint32_t i = 0; i < t->count; i++) {
                if (!is_used(entry_at(t, i)) || !has_name(entry_at(t, i), name))
                        continue;
                if (hit)
                        return NULL;
                hit = entry_at(t, i);
                *ret = i;
        }
        for (uint32_t i = 0; i < t->count && hit; i++) {
                if (is_used(entry_at(t, i)) &&
                    le64_at(entry_at(t, i) + ENTRY_END_AT) > le64_at(hit + ENTRY_END_AT))
                        return NULL;
        }
        return hit;
}

static uint64_t align_down(uint64_t v)
{
        return v & ~(LAYOUT_ALIGN - 1);
}

/* Last sector for partitions when the table ends with the disk. */
static uint64_t last_usable(const struct table *t)
{
        return t->last_lba - 1 - sectors_for(t->count, t->sector);
}

/* 1 when the partition is to grow. All positions of a valid table are below 2^63 bytes here,
 * because they are checked against the size of the disk first. */
static int plan_entry(const struct table *t, const uint8_t *entry, struct grow *g)
{
        uint64_t start = le64_at(entry + ENTRY_START_AT), end = le64_at(entry + ENTRY_END_AT);
        uint64_t old_usable = le64_at(t->data + HEADER_LAST_USABLE_AT);
        uint64_t old_end, new_end;

        if (start <= ENTRIES_LBA || end < start || end > old_usable || old_usable >= t->last_lba)
                return 0;
        old_end = align_down((old_usable + 1) * t->sector);
        new_end = align_down((last_usable(t) + 1) * t->sector);
        g->start = start * t->sector;
        g->old_size = (end + 1 - start) * t->sector;
        if (old_end >= g->start + g->old_size + LAYOUT_ALIGN || new_end <= g->start + g->old_size)
                return 0;
        g->new_size = new_end - g->start;
        return 1;
}

int grow_plan(const struct disk *d, const char *name, struct grow *ret, struct error *e)
{
        _cleanup_close_ int fd = open(d->path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
        _cleanup_(table_done) struct table t = {.data = NULL};
        struct grow g = {.number = 0};
        const uint8_t *entry;
        uint32_t i = 0;
        int r;

        if (fd < 0)
                return error_errno(e, errno, "%s", d->path);
        r = table_load(&t, fd, d, e);
        if (r <= 0)
                return r;
        if (le64_at(t.data + HEADER_ALTERNATE_LBA_AT) >= t.last_lba ||
            sectors_for(t.count, t.sector) + ENTRIES_LBA + 1 >= t.last_lba)
                return 0;
        entry = find_last(&t, name, &i);
        if (!entry || plan_entry(&t, entry, &g) == 0)
                return 0;
        g.number = i + 1;
        *ret = g;
        return 1;
}

static void seal_header(uint8_t *header)
{
        put_le32(header + HEADER_CRC_AT, header_crc(header));
}

/* Table and disk end together, and the checksums are right. */
static void settle(struct table *t)
{
        put_u64(t->data + HEADER_ALTERNATE_LBA_AT, t->last_lba);
        put_u64(t->data + HEADER_LAST_USABLE_AT, last_usable(t));
        put_le32(t->data + HEADER_ENTRIES_CRC_AT,
                 crc32_gpt(entry_at(t, 0), (size_t)t->count * ENTRY_SIZE));
        seal_header(t->data);
}

/* The table as it is to be at PRIMARY_LBA. */
static void update(struct table *t, const struct grow *g)
{
        uint64_t end = (g->start + g->new_size) / t->sector - 1;

        put_u64(entry_at(t, g->number - 1) + ENTRY_END_AT, end);
        settle(t);
}

/* Entries, then header, at the end of the disk. */
static int write_backup(const struct table *t, int fd)
{
        _cleanup_free_ uint8_t *header = malloc(t->sector);
        int r;

        if (!header)
                return -ENOMEM;
        memcpy(header, t->data, t->sector);
        put_u64(header + HEADER_MY_LBA_AT, t->last_lba);
        put_u64(header + HEADER_ALTERNATE_LBA_AT, PRIMARY_LBA);
        put_u64(header + HEADER_ENTRIES_LBA_AT, last_usable(t) + 1);
        seal_header(header);
        r = file_pwrite(fd, entry_at(t, 0), t->size - t->sector, (last_usable(t) + 1) * t->sector);
        if (r == 0)
                r = file_pwrite(fd, header, t->sector, t->last_lba * t->sector);
        return r == 0 ? file_sync(fd) : r;
}

/* The size in the protective MBR, for tools that look at it; nothing depends on it. */
static int update_mbr(const struct table *t, int fd)
{
        uint8_t mbr[512];
        ssize_t n = file_pread(fd, mbr, sizeof(mbr), 0);
        int r;

        if (n < 0)
                return (int)n;
        for (size_t i = 0; i < 4 && (size_t)n == sizeof(mbr); i++) {
                uint8_t *record = mbr + MBR_RECORDS_AT + i * MBR_RECORD_SIZE;

                if (record[MBR_TYPE_AT] != MBR_TYPE_GPT)
                        continue;
                put_le32(record + MBR_SECTORS_AT,
                         t->last_lba > UINT32_MAX ? UINT32_MAX : (uint32_t)t->last_lba);
                r = file_pwrite(fd, mbr, sizeof(mbr), 0);
                return r < 0 ? r : file_sync(fd);
        }
        return 0;
}

/*
 * The backup comes first. While it is being written at the new end, the old primary is whole, and
 * it is what everybody reads: nothing has happened. When it is durable, the primary follows, header
 * and entries in one write from sector 1 on. What changes of it lies within the first 4 KiB of the
 * disk, which devices of today write in one piece (with larger sectors: two neighbours). Where one
 * tears it all the same, firmware finds the new backup at the very end of the disk and restores the
 * primary from it. The other way around, a new primary could name a backup that is not there.
 *
 * The old backup table stays where it was until the file system writes over it, which happens after
 * the new primary is durable.
 */
static int write_table(const struct table *t, int fd)
{
        int r = write_backup(t, fd);

        if (r == 0)
                r = file_pwrite(fd, t->data, t->size, PRIMARY_LBA * t->sector);
        if (r == 0)
                r = file_sync(fd);
        return r == 0 ? update_mbr(t, fd) : r;
}

static int write_and_compare(const struct table *t, const struct disk *d, struct error *e)
{
        _cleanup_(table_done) struct table back = {.data = NULL};
        int r = write_table(t, d->fd);

        if (r < 0)
                return error_errno(e, -r, "%s: writing the partition table", d->path);
        r = table_load(&back, d->fd, d, e);
        if (r < 0)
                return r;
        if (r == 0 || back.size != t->size || memcmp(back.data, t->data, t->size) != 0)
                return error_set(e, ERROR_IO, EIO,
                                 "%s: partition table read back differs from what was written",
                                 d->path);
        return 0;
}

int grow_apply(struct disk *d, const struct grow *g, struct error *e)
{
        _cleanup_(table_done) struct table t = {.data = NULL};
        int r = table_load(&t, d->fd, d, e);

        if (r < 0)
                return r;
        if (r == 0 || g->number == 0 || g->number > t.count ||
            le64_at(entry_at(&t, g->number - 1) + ENTRY_START_AT) * t.sector != g->start)
                return error_set(e, ERROR_BUSY, ESTALE, "%s: the partition table changed", d->path);
        update(&t, g);
        return write_and_compare(&t, d, e);
}

/* Random, version 4 (RFC 4122), in the byte order of GPT: its first three fields are little-endian.
 */
static int renew_guid(uint8_t guid[GUID_SIZE])
{
        int r = random_bytes(guid, GUID_SIZE);

        guid[7] = (uint8_t)((guid[7] & 0x0f) | 0x40);
        guid[8] = (uint8_t)((guid[8] & 0x3f) | 0x80);
        return r;
}

static int renew_entry(const struct table *t, const char *name)
{
        int r = -ENOENT;

        for (uint32_t i = 0; i < t->count && r == -ENOENT; i++) {
                if (is_used(entry_at(t, i)) && has_name(entry_at(t, i), name))
                        r = renew_guid(entry_at(t, i) + ENTRY_GUID_AT);
        }
        return r;
}

int grow_renew(struct disk *d, const char *const *names, size_t n, struct error *e)
{
        _cleanup_(table_done) struct table t = {.data = NULL};
        int r = table_load(&t, d->fd, d, e);

        if (r < 0)
                return r;
        /* A table that already ends behind this disk is not ours to mend. */
        if (r == 0 || le64_at(t.data + HEADER_LAST_USABLE_AT) > last_usable(&t))
                return error_set(e, ERROR_PRECONDITION, ENOENT,
                                 "%s: its partition table is not that of a disk image", d->path);
        r = renew_guid(t.data + HEADER_GUID_AT);
        for (size_t i = 0; i < n && r == 0; i++)
                r = renew_entry(&t, names[i]);
        if (r == -ENOENT)
                return error_set(e, ERROR_PRECONDITION, ENOENT, "%s: a partition is missing",
                                 d->path);
        if (r < 0)
                return error_errno(e, -r, "random numbers");
        settle(&t);
        return write_and_compare(&t, d, e);
}

/* ext4 superblock (kernel documentation, "Super Block"). */
#define EXT4_SUPERBLOCK 1024u
#define EXT4_BLOCKS_LOW_AT 0x4u
#define EXT4_BLOCK_SIZE_AT 0x18u
#define EXT4_MAGIC_AT 0x38u
#define EXT4_MAGIC 0xef53u
#define EXT4_INCOMPATIBLE_AT 0x60u
#define EXT4_INCOMPATIBLE_64BIT 0x80u
#define EXT4_BLOCKS_HIGH_AT 0x150u
#define EXT4_SUPERBLOCK_USED (EXT4_BLOCKS_HIGH_AT + 4)
/* linux/ext4.h is no header for programs. */
#define EXT4_RESIZE _IOW('f', 16, uint64_t)

static int read_ext4(int fd, const char *device, uint64_t *ret_blocks, uint64_t *ret_block_size,
                     struct error *e)
{
        uint8_t sb[EXT4_SUPERBLOCK_USED];
        ssize_t n = file_pread(fd, sb, sizeof(sb), EXT4_SUPERBLOCK);
        uint64_t blocks;

        if (n < 0)
                return error_errno(e, (int)-n, "%s", device);
        if ((size_t)n < sizeof(sb) || le16_at(sb + EXT4_MAGIC_AT) != EXT4_MAGIC ||
            le32_at(sb + EXT4_BLOCK_SIZE_AT) > 6)
                return error_set(e, ERROR_PRECONDITION, EMEDIUMTYPE, "%s: no ext4 file system",
                                 device);
        blocks = le32_at(sb + EXT4_BLOCKS_LOW_AT);
        if (le32_at(sb + EXT4_INCOMPATIBLE_AT) & EXT4_INCOMPATIBLE_64BIT)
                blocks |= (uint64_t)le32_at(sb + EXT4_BLOCKS_HIGH_AT) << 32;
        *ret_block_size = UINT64_C(1024) << le32_at(sb + EXT4_BLOCK_SIZE_AT);
        *ret_blocks = blocks;
        return 0;
}

int grow_ext4(const char *device, const char *mount_point, uint64_t *ret_old, uint64_t *ret_new,
              struct error *e)
{
        _cleanup_close_ int fd = open(device, O_RDONLY | O_CLOEXEC | O_NOCTTY), mounted = -EBADF;
        uint64_t old, new, block_size, want;
        off_t size;
        int r;

        if (fd < 0)
                return error_errno(e, errno, "%s", device);
        size = lseek(fd, 0, SEEK_END);
        if (size < 0)
                return error_errno(e, errno, "%s", device);
        r = read_ext4(fd, device, &old, &block_size, e);
        if (r < 0)
                return r;
        want = (uint64_t)size / block_size;
        if (want <= old)
                return 0;
        mounted = file_open_dir(AT_FDCWD, mount_point);
        if (mounted < 0)
                return error_errno(e, -mounted, "%s", mount_point);
        if (ioctl(mounted, EXT4_RESIZE, &want) < 0)
                return error_errno(e, errno, "%s: letting the file system grow", mount_point);
        r = read_ext4(fd, device, &new, &block_size, e);
        if (r < 0)
                return r;
        /* The kernel leaves out a last group that would be too small for its own tables. */
        if (new == old)
                return 0;
        *ret_old = old * block_size;
        *ret_new = new *block_size;
        return 1;
}
