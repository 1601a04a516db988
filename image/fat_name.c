/* SPDX-License-Identifier: Apache-2.0 */
#include "image/fat_name.h"

#include <stdio.h>
#include <string.h>

#include "base/codec.h"
#include "base/num.h"

#define STEM 8u
#define UNITS_PER_RECORD 13u
#define ATTRIBUTE_LONG 0x0f
#define LAST_RECORD 0x40u

static bool forbidden(uint16_t c)
{
        return c < ' ' || c == 0x7f || (c < 0x80 && strchr("\"*/:<>?\\|", c));
}

static int make_long(const char *name, struct fat_name *n)
{
        _cleanup_(buf_done) struct buf text = BUF_INIT(2 * (FAT_LONG_MAX + 1));
        int r = utf8_to_utf16(name, &text);

        if (r < 0)
                return r == -EINVAL ? -EILSEQ : r == -E2BIG ? -ENAMETOOLONG : r;
        n->units = (unsigned)(text.len / 2) - 1;
        for (unsigned i = 0; i < n->units; i++) {
                n->text[i] = le16_at(text.data + 2 * i);
                if (forbidden(n->text[i]))
                        return -EILSEQ;
        }
        /* A blank or a dot at the end is not kept by FAT. */
        if (n->units == 0 || n->text[n->units - 1] == '.' || n->text[n->units - 1] == ' ')
                return -EILSEQ;
        return 0;
}

/* A character as the short name has it; '_' for what it cannot have. */
static uint8_t brief_character(uint16_t c)
{
        if (c >= 'a' && c <= 'z')
                return (uint8_t)(c - 'a' + 'A');
        if ((c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
            (c > ' ' && c < 0x7f && strchr("$%'-_@~`!(){}^#&", c)))
                return (uint8_t)c;
        return '_';
}

/* Fills a field with the units [from, to); false when something is lost. */
static bool fill(uint8_t *field, unsigned size, const struct fat_name *n, unsigned from,
                 unsigned to)
{
        bool whole = to - from <= size;

        for (unsigned i = 0; i < size && from + i < to; i++) {
                field[i] = brief_character(n->text[from + i]);
                whole = whole && field[i] == n->text[from + i];
        }
        return whole;
}

static void make_brief(struct fat_name *n)
{
        unsigned dot = n->units;

        for (unsigned i = n->units - 1; i > 0; i--)
                if (n->text[i] == '.') {
                        dot = i;
                        break;
                }
        memset(n->brief, ' ', sizeof(n->brief));
        n->fits = fill(n->brief, STEM, n, 0, dot);
        if (dot < n->units && !fill(n->brief + STEM, FAT_BRIEF_SIZE - STEM, n, dot + 1, n->units))
                n->fits = false;
}

int fat_name_make(const char *name, struct fat_name *ret)
{
        struct fat_name n = {.units = 0};
        int r = make_long(name, &n);

        if (r < 0)
                return r;
        make_brief(&n);
        *ret = n;
        return 0;
}

int fat_name_number(struct fat_name *n, unsigned number)
{
        char tail[8];
        int size = snprintf(tail, sizeof(tail), "~%u", number);
        unsigned at = STEM - (unsigned)size;

        if (size > 6)
                return -ERANGE;
        n->fits = false;
        for (unsigned i = 0; i < at; i++)
                if (n->brief[i] == ' ')
                        at = i;
        memset(n->brief + at, ' ', STEM - at);
        memcpy(n->brief + at, tail, (size_t)size);
        return 0;
}

static uint16_t folded(uint16_t c)
{
        return c >= 'a' && c <= 'z' ? (uint16_t)(c - 'a' + 'A') : c;
}

bool fat_name_equal(const struct fat_name *a, const struct fat_name *b)
{
        if (a->units != b->units)
                return false;
        for (unsigned i = 0; i < a->units; i++)
                if (folded(a->text[i]) != folded(b->text[i]))
                        return false;
        return true;
}

static unsigned long_records(const struct fat_name *n)
{
        return n->fits ? 0 : (n->units + UNITS_PER_RECORD - 1) / UNITS_PER_RECORD;
}

uint64_t fat_name_records(const struct fat_name *n)
{
        return 1 + long_records(n);
}

static uint8_t checksum(const uint8_t brief[FAT_BRIEF_SIZE])
{
        uint8_t sum = 0;

        for (unsigned i = 0; i < FAT_BRIEF_SIZE; i++)
                sum = (uint8_t)((sum >> 1 | sum << 7) + brief[i]);
        return sum;
}

/* Thirteen characters lie in three pieces of a record; a NUL ends the name, ones fill it up. */
static void fill_long(const struct fat_name *n, unsigned first, uint8_t record[FAT_RECORD])
{
        static const uint8_t places[UNITS_PER_RECORD] = {1,  3,  5,  7,  9,  14, 16,
                                                         18, 20, 22, 24, 28, 30};

        for (unsigned i = 0; i < UNITS_PER_RECORD; i++) {
                unsigned at = first + i;

                put_le16(record + places[i], at < n->units    ? n->text[at]
                                             : at == n->units ? 0
                                                              : 0xffff);
        }
}

/* The last piece comes first. */
int fat_name_add_long(const struct fat_name *n, struct buf *out)
{
        unsigned many = long_records(n);
        int r = 0;

        for (unsigned i = many; i > 0 && r == 0; i--) {
                uint8_t record[FAT_RECORD] = {0};

                record[0] = (uint8_t)(i | (i == many ? LAST_RECORD : 0));
                record[11] = ATTRIBUTE_LONG;
                record[13] = checksum(n->brief);
                fill_long(n, (i - 1) * UNITS_PER_RECORD, record);
                r = buf_add(out, record, sizeof(record));
        }
        return r;
}
