/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Partitions that a user adds to a node's disk, between "oem" and "persistent" (design, section 3).
 * Written as text: NAME:SIZE[:FS][:LABEL][:encrypted|plain].
 *
 * The name is the GPT name, and of an encrypted partition also that of its mapping in /dev/mapper.
 * The label is that of the file system and of the LUKS2 header. What is left out: ext4, the name as
 * label, encrypted.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/limits.h"

/* Characters of an ext4 label. */
#define EXTRA_LABEL_MAX 16u
#define EXTRA_NAME_MAX 36u
/* Smallest useful ones: a LUKS2 header is 16 MiB; ext4 with a journal needs a few. */
#define EXTRA_MIN_ENCRYPTED (32 * MIB)
#define EXTRA_MIN_EXT4 (16 * MIB)

enum extra_fs {
        EXTRA_FS_EXT4,
        EXTRA_FS_NONE, /* nothing is made on it */
};

struct extra {
        char name[EXTRA_NAME_MAX + 1];
        char label[EXTRA_LABEL_MAX + 1];
        uint64_t size; /* bytes */
        enum extra_fs fs;
        bool encrypted;
};

struct extra_list {
        size_t n;
        struct extra item[LIMIT_EXTRA_PARTITIONS];
};

/*
 * Adds what text says to the list. -EINVAL (ERROR_USAGE): the message says which part is wrong,
 * including names and labels that are ours or are in the list already.
 */
int extra_parse(const char *text, struct extra_list *list, struct error *e) _must_check_;

/*
 * Whether a partition may bear this name: letters, digits, "-", "_" and "." behind a letter or
 * digit, and none of the names that this program or device-mapper has a use for. The boot stage
 * asks this of what it finds on the disk.
 */
bool extra_name_ok(const char *name);

/* The one of this GPT name, or NULL. */
const struct extra *extra_find(const struct extra_list *list, const char *name);

/* "ext4", "none". */
const char *extra_fs_name(enum extra_fs fs);
