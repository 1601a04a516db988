/* SPDX-License-Identifier: Apache-2.0 */
/* Names on FAT: the long one in UTF-16, and the short one of eight and three characters that every
 * file has beside it. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"

#define FAT_RECORD 32u /* size of a directory record */
#define FAT_BRIEF_SIZE 11u
#define FAT_LONG_MAX 255u

struct fat_name {
        uint8_t brief[FAT_BRIEF_SIZE];
        bool fits; /* the short name says it all */
        unsigned units;
        uint16_t text[FAT_LONG_MAX]; /* UTF-16 */
};

/* -EILSEQ: no UTF-8, or a sign that FAT does not have; -ENAMETOOLONG. */
int fat_name_make(const char *name, struct fat_name *ret) _must_check_;

/* Gives the short name the ending ~number. -ERANGE when there is no room for it. */
int fat_name_number(struct fat_name *n, unsigned number) _must_check_;

/* Whether two names cannot be in one folder: case counts as little as FAT has it count, for the
 * letters of ASCII. */
bool fat_name_equal(const struct fat_name *a, const struct fat_name *b);

/* Directory records that it needs, and those of the long name. */
uint64_t fat_name_records(const struct fat_name *n);
int fat_name_add_long(const struct fat_name *n, struct buf *out) _must_check_;
