/* SPDX-License-Identifier: Apache-2.0 */
#include "partition/ddi.h"

#include <inttypes.h>
#include <string.h>

#include "base/crc32.h"
#include "base/file.h"
#include "base/num.h"

#define SECTOR 512u
/* GPT header (UEFI 2.10, section 5.3.2) and entries (section 5.3.3). */
#define HEADER_SIZE 92u
#define HEADER_LENGTH_AT 12u
#define HEADER_CRC_AT 16u
#define HEADER_MY_LBA_AT 24u
#define HEADER_FIRST_USABLE_AT 40u
#define HEADER_ENTRIES_LBA_AT 72u
#define HEADER_COUNT_AT 80u
#define HEADER_ENTRY_SIZE_AT 84u
#define HEADER_ENTRIES_CRC_AT 88u
#define ENTRY_SIZE 128u
#define ENTRY_MAX 128u
#define ENTRY_START_AT 32u
#define ENTRY_END_AT 40u
#define GUID_SIZE 16u
#define PARTS 3u

enum part { PART_DATA, PART_VERITY, PART_SIGNATURE };

/* As they stand in the table: the first three fields of a GUID are little-endian. */
static const uint8_t types[2][PARTS][GUID_SIZE] = {
#if defined(__x86_64__)
        /* 4f68bce3-e8cd-4db1-96e7-fbcaf984b709, 2c7357ed-ebd2-46d9-aec1-23d437ec2bf5,
         * 41092b05-9fc8-4523-994f-2def0408b176 */
        {{0xe3, 0xbc, 0x68, 0x4f, 0xcd, 0xe8, 0xb1, 0x4d, 0x96, 0xe7, 0xfb, 0xca, 0xf9, 0x84, 0xb7,
          0x09},
         {0xed, 0x57, 0x73, 0x2c, 0xd2, 0xeb, 0xd9, 0x46, 0xae, 0xc1, 0x23, 0xd4, 0x37, 0xec, 0x2b,
          0xf5},
         {0x05, 0x2b, 0x09, 0x41, 0xc8, 0x9f, 0x23, 0x45, 0x99, 0x4f, 0x2d, 0xef, 0x04, 0x08, 0xb1,
          0x76}},
        /* 8484680c-9521-48c6-9c11-b0720656f69e, 77ff5f63-e7b6-4633-acf4-1565b864c0e6,
         * e7bb33fb-06cf-4e81-8273-e543b413e2e2 */
        {{0x0c, 0x68, 0x84, 0x84, 0x21, 0x95, 0xc6, 0x48, 0x9c, 0x11, 0xb0, 0x72, 0x06, 0x56, 0xf6,
          0x9e},
         {0x63, 0x5f, 0xff, 0x77, 0xb6, 0xe7, 0x33, 0x46, 0xac, 0xf4, 0x15, 0x65, 0xb8, 0x64, 0xc0,
          0xe6},
         {0xfb, 0x33, 0xbb, 0xe7, 0xcf, 0x06, 0x81, 0x4e, 0x82, 0x73, 0xe5, 0x43, 0xb4, 0x13, 0xe2,
          0xe2}},
#elif defined(__aarch64__)
        /* b921b045-1df0-41c3-af44-4c6f280d3fae, df3300ce-d69f-4c92-978c-9bfb0f38d820,
         * 6db69de6-29f4-4758-a7a5-962190f00ce3 */
        {{0x45, 0xb0, 0x21, 0xb9, 0xf0, 0x1d, 0xc3, 0x41, 0xaf, 0x44, 0x4c, 0x6f, 0x28, 0x0d, 0x3f,
          0xae},
         {0xce, 0x00, 0x33, 0xdf, 0x9f, 0xd6, 0x92, 0x4c, 0x97, 0x8c, 0x9b, 0xfb, 0x0f, 0x38, 0xd8,
          0x20},
         {0xe6, 0x9d, 0xb6, 0x6d, 0xf4, 0x29, 0x58, 0x47, 0xa7, 0xa5, 0x96, 0x21, 0x90, 0xf0, 0x0c,
          0xe3}},
        /* b0e01050-ee5f-4390-949a-9101b17104e9, 6e11a4e7-fbca-4ded-b9e9-e1a512bb664e,
         * c23ce4ff-44bd-4b00-b2d4-b41b3419e02a */
        {{0x50, 0x10, 0xe0, 0xb0, 0x5f, 0xee, 0x90, 0x43, 0x94, 0x9a, 0x91, 0x01, 0xb1, 0x71, 0x04,
          0xe9},
         {0xe7, 0xa4, 0x11, 0x6e, 0xca, 0xfb, 0xed, 0x4d, 0xb9, 0xe9, 0xe1, 0xa5, 0x12, 0xbb, 0x66,
          0x4e},
         {0xff, 0xe4, 0x3c, 0xc2, 0xbd, 0x44, 0x00, 0x4b, 0xb2, 0xd4, 0xb4, 0x1b, 0x34, 0x19, 0xe0,
          0x2a}},
#endif
};

static int refuse(struct error *e, const char *why)
{
        return error_set(e, ERROR_REFUSED, EBADMSG, "no signed disk image: %s", why);
}

static int read_exactly(int fd, void *data, size_t n, uint64_t offset, struct error *e)
{
        ssize_t got = file_pread(fd, data, n, offset);

        if (got < 0)
                return error_errno(e, (int)-got, "reading the disk image");
        return (size_t)got == n ? 0 : refuse(e, "it ends inside of its partition table");
}

static bool header_is_good(const uint8_t *h)
{
        uint8_t copy[HEADER_SIZE];

        memcpy(copy, h, sizeof(copy));
        put_le32(copy + HEADER_CRC_AT, 0);
        return memcmp(h, "EFI PART\0\0\1\0", 12) == 0 &&
               le32_at(h + HEADER_LENGTH_AT) == HEADER_SIZE &&
               le32_at(h + HEADER_CRC_AT) == crc32_gpt(copy, sizeof(copy)) &&
               le64_at(h + HEADER_MY_LBA_AT) == 1 &&
               le32_at(h + HEADER_ENTRY_SIZE_AT) == ENTRY_SIZE &&
               le32_at(h + HEADER_COUNT_AT) >= PARTS && le32_at(h + HEADER_COUNT_AT) <= ENTRY_MAX;
}

static bool find_type(const uint8_t *entry, unsigned *ret_usr, unsigned *ret_part)
{
        for (unsigned usr = 0; usr < 2; usr++) {
                for (unsigned part = 0; part < PARTS; part++) {
                        if (memcmp(entry, types[usr][part], GUID_SIZE) != 0)
                                continue;
                        *ret_usr = usr;
                        *ret_part = part;
                        return true;
                }
        }
        return false;
}

/* Bytes of the entry's partition, if they lie in [first, size). */
static bool get_part(const uint8_t *entry, uint64_t first, uint64_t size, struct ddi_part *ret)
{
        uint64_t start, end, last = le64_at(entry + ENTRY_END_AT);

        if (add_u64(last, 1, &last) < 0 || mul_u64(last, SECTOR, &end) < 0 ||
            mul_u64(le64_at(entry + ENTRY_START_AT), SECTOR, &start) < 0 || start < first ||
            start >= end || end > size)
                return false;
        *ret = (struct ddi_part){start, end - start};
        return true;
}

static bool overlap(const struct ddi_part *a, const struct ddi_part *b)
{
        return a->offset < b->offset + b->size && b->offset < a->offset + a->size;
}

static int read_entries(const uint8_t *entries, uint32_t count, uint64_t first, uint64_t size,
                        struct ddi *ret, struct error *e)
{
        static const uint8_t none[GUID_SIZE];
        struct ddi_part parts[PARTS] = {{0, 0}};
        unsigned kind = 0, n = 0;

        for (uint32_t i = 0; i < count; i++) {
                const uint8_t *entry = entries + (size_t)i * ENTRY_SIZE;
                unsigned usr, part;

                if (memcmp(entry, none, GUID_SIZE) == 0)
                        continue;
                if (!find_type(entry, &usr, &part))
                        return refuse(e, "it has a partition of another type than root or /usr of "
                                         "this architecture, hashes and signature");
                if (n++ > 0 && usr != kind)
                        return refuse(e, "its partitions do not belong together");
                kind = usr;
                if (parts[part].size > 0)
                        return refuse(e, "it has two partitions of one type");
                if (!get_part(entry, first, size, &parts[part]))
                        return refuse(e, "a partition does not lie inside of it");
        }
        if (n != PARTS)
                return refuse(e, "it lacks a file system, its hashes, or their signature");
        for (unsigned i = 0; i < PARTS; i++) {
                if (overlap(&parts[i], &parts[(i + 1) % PARTS]))
                        return refuse(e, "its partitions overlap");
        }
        *ret = (struct ddi){.usr = kind == 1,
                            .data = parts[PART_DATA],
                            .verity = parts[PART_VERITY],
                            .signature = parts[PART_SIGNATURE]};
        return 0;
}

int ddi_read(int fd, uint64_t size, struct ddi *ret, struct error *e)
{
        uint8_t header[HEADER_SIZE], entries[ENTRY_MAX * ENTRY_SIZE];
        uint64_t first, offset;
        uint32_t count;
        int r = read_exactly(fd, header, sizeof(header), SECTOR, e);

        if (r < 0)
                return r;
        if (!header_is_good(header) ||
            mul_u64(le64_at(header + HEADER_ENTRIES_LBA_AT), SECTOR, &offset) < 0 ||
            mul_u64(le64_at(header + HEADER_FIRST_USABLE_AT), SECTOR, &first) < 0)
                return refuse(e, "it has no partition table in the usual form");
        count = le32_at(header + HEADER_COUNT_AT);
        if (offset < (uint64_t)2 * SECTOR || offset > size || first < offset ||
            first - offset < (uint64_t)count * ENTRY_SIZE)
                return refuse(e, "its partition table is not in its place");
        r = read_exactly(fd, entries, (size_t)count * ENTRY_SIZE, offset, e);
        if (r < 0)
                return r;
        if (crc32_gpt(entries, (size_t)count * ENTRY_SIZE) !=
            le32_at(header + HEADER_ENTRIES_CRC_AT))
                return refuse(e, "its partition table is damaged");
        return read_entries(entries, count, first, size, ret, e);
}
