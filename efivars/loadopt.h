/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Boot entries of the firmware: the value of a Boot#### variable (EFI_LOAD_OPTION, UEFI 2.10
 * section 3.1.3; device paths, section 10.3) and of BootOrder. Pure: bytes in, struct out, and
 * back; efivars/efivar.h moves the bytes.
 *
 * What is understood of a device path is the pair that names a file on a GPT partition, HD() and
 * File(). All other nodes are stepped over, with their lengths checked, and stay available as
 * bytes. Entries of other systems are none of our business: one that is malformed is refused here
 * (-EBADMSG) and left alone by the caller.
 *
 * Life cycle: loadopt_parse() -> queries -> loadopt_free().
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/cleanup.h"

#define LOADOPT_ACTIVE 0x00000001u
#define LOADOPT_HIDDEN 0x00000008u

#define LOADOPT_UUID_SIZE 37u /* lower-case text form and a NUL */
#define LOADOPT_NAME_SIZE 9u  /* "Boot0001" and a NUL */

/* A GPT partition as the firmware finds it. Sectors are logical sectors of the disk. */
struct loadopt_disk {
        uint32_t number; /* from 1 on */
        uint64_t start;
        uint64_t size;
        char uuid[LOADOPT_UUID_SIZE]; /* unique partition GUID */
};

/* One node of the list of device paths. */
struct loadopt_node {
        uint8_t type;
        uint8_t subtype;
        const uint8_t *data; /* behind the node's header; borrowed */
        size_t size;
};

struct loadopt;

/*
 * Takes a value apart; it is copied. -EBADMSG when the lengths do not add up, a text is not
 * well-formed, an HD() or File() node is not what it has to be, or the last device path has no end;
 * -E2BIG above LIMIT_LOAD_OPTION or LIMIT_LOAD_OPTION_NODES; -ENOMEM.
 */
int loadopt_parse(const void *data, size_t n, struct loadopt **ret) _must_check_;
void loadopt_free(struct loadopt *o);
DEFINE_CLEANUP(struct loadopt, loadopt_free)

uint32_t loadopt_attributes(const struct loadopt *o);

/* What the firmware's menu shows, UTF-8, may be "". Borrowed. */
const char *loadopt_description(const struct loadopt *o);

/* The partition and the file of the first device path, the one that is started; NULL when it has
 * none. The path is as written, with backslashes, several File() nodes joined. Borrowed. */
const struct loadopt_disk *loadopt_disk(const struct loadopt *o);
const char *loadopt_path(const struct loadopt *o);

/* Every node of all device paths, ends included; NULL past the last. */
const struct loadopt_node *loadopt_node(const struct loadopt *o, size_t i);

/* What is handed to the started program. *ret_size may be 0. Borrowed. */
const uint8_t *loadopt_optional_data(const struct loadopt *o, size_t *ret_size);

/* Whether the entry starts this file of this partition: GUID and path in any case, either slash,
 * with or without one in front. */
bool loadopt_starts(const struct loadopt *o, const char *uuid, const char *path);

/*
 * Appends the value of an entry HD()/File() without optional data. path may be written with either
 * slash and with or without one in front. -EINVAL for a path or description that is empty or bad
 * UTF-8, a malformed uuid, a partition number or size of 0; -E2BIG when it does not fit
 * LIMIT_LOAD_OPTION; -ENOMEM. On failure out is unchanged.
 */
int loadopt_format(uint32_t attributes, const char *description, const struct loadopt_disk *disk,
                   const char *path, struct buf *out) _must_check_;

/* BootOrder: at most max numbers into list. -EBADMSG for an odd size, -E2BIG above max. */
int loadopt_order_parse(const void *data, size_t n, uint16_t *list, size_t max, size_t *ret_n)
        _must_check_;
int loadopt_order_format(const uint16_t *list, size_t n, struct buf *out) _must_check_;

/* "Boot####" with exactly four upper-case hexadecimal digits; -EINVAL for anything else. */
int loadopt_name_parse(const char *name, uint16_t *ret) _must_check_;
void loadopt_name_format(uint16_t number, char ret[LOADOPT_NAME_SIZE]);
