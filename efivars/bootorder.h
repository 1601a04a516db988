/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The firmware's list of boot entries: BootOrder and the Boot#### variables it names (UEFI 2.10,
 * section 3.1), and the place of one entry in it: that of this node's boot loader.
 *
 * An entry is known by its content, the partition's GUID and the path of the file, never by its
 * number or its description: firmware renumbers, and people rename. Everything else in the list is
 * foreign: it is read with bounds, a malformed one just takes up its number, and none is ever
 * changed, deleted or moved against another foreign one.
 *
 * Nothing is written that is right already, because the memory behind it wears out. The values are
 * made by efivars/loadopt.h and written by efivars/efivar.h, not by libefivar: its
 * efi_generate_file_device_path() wants the device, mounted and with the table the firmware will
 * see, while an installation knows the partition before the kernel does; and its efi_set_variable()
 * has no answer to a variable that is right already. What it would add, the bytes of two device
 * path nodes, is in loadopt.c already, checked against firmware and fuzzed.
 *
 *     bootorder_read() -> bootorder_plan() -> bootorder_apply()      the world, pure, side effects
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/env.h"
#include "base/error.h"
#include "base/limits.h"
#include "efivars/loadopt.h"

struct bootorder_item {
        uint16_t number;
        struct loadopt *option; /* NULL: malformed */
};

struct bootorder {
        struct bootorder_item *items; /* every Boot####, in the order in which they were added */
        size_t n;
        uint16_t order[LIMIT_BOOT_ORDER]; /* may name numbers that do not exist */
        size_t n_order;
};

/* The entry that is wanted. */
struct bootorder_entry {
        struct loadopt_disk disk;
        const char *path;        /* on that partition, either slash */
        const char *description; /* of a new entry */
};

/* Where an entry is. */
enum bootorder_state {
        BOOTORDER_MISSING,   /* no Boot#### starts this file of this partition */
        BOOTORDER_UNLISTED,  /* there is one, and BootOrder does not name it */
        BOOTORDER_NOT_FIRST, /* others are tried before */
        BOOTORDER_FIRST,
};

enum bootorder_wish {
        BOOTORDER_MAKE_FIRST, /* there, right, and before all others */
        BOOTORDER_REPAIR, /* only when it is missing or not listed; else a person's order stays */
};

struct bootorder_plan {
        enum bootorder_state before;
        uint16_t number;  /* of the entry: that it has, or will have */
        bool inactive;    /* it was switched off, and stays so */
        bool write_entry; /* value is to be written as Boot#### */
        struct buf value;
        bool write_order;
        uint16_t order[LIMIT_BOOT_ORDER];
        size_t n_order;
        uint16_t removed[LIMIT_BOOT_ORDER]; /* entries of ours that lead nowhere any more */
        size_t n_removed;
};

/*
 * Reads the whole list. ERROR_PRECONDITION: -ENOENT without efivarfs, -E2BIG above LIMIT_BOOT_ORDER
 * entries or numbers, -EBADMSG for a BootOrder of odd size, or the errno of reading. An absent
 * BootOrder is an empty one.
 */
int bootorder_read(const struct env *env, struct bootorder *ret, struct error *e) _must_check_;
void bootorder_done(struct bootorder *b);

/* In pieces, for bootorder_read() and tests: one variable's value. -E2BIG, -ENOMEM; -EBADMSG for a
 * BootOrder of odd size. */
int bootorder_add(struct bootorder *b, uint16_t number, const void *data, size_t n) _must_check_;
int bootorder_set_order(struct bootorder *b, const void *data, size_t n) _must_check_;

/* Where the entry for this file of this partition is; *ret_number (may be NULL) when it exists. */
enum bootorder_state bootorder_find(const struct bootorder *b, const char *uuid, const char *path,
                                    uint16_t *ret_number);

/*
 * Pure. gone: GUIDs of partitions that no longer exist; entries for path on them are removed (only
 * with BOOTORDER_MAKE_FIRST, which also leaves one entry where there were several for the same
 * file). A plan without anything to do has write_entry, write_order false and n_removed 0.
 * ERROR_INTERNAL: -EINVAL for an entry that cannot be written down; ERROR_PRECONDITION: -E2BIG when
 * BootOrder or the numbers are full. Free with bootorder_plan_done().
 */
int bootorder_plan(const struct bootorder *b, const struct bootorder_entry *entry,
                   enum bootorder_wish wish, const char (*gone)[LOADOPT_UUID_SIZE], size_t n_gone,
                   struct bootorder_plan *ret, struct error *e) _must_check_;
void bootorder_plan_done(struct bootorder_plan *p);

/*
 * Carries a plan out: removes first (a full memory may need the room), then the entry, then the
 * order, so that BootOrder never names what is not there yet. Interrupted, the same plan made anew
 * finishes the work. ERROR_PRECONDITION with the errno of the variable that could not be written.
 */
int bootorder_apply(const struct env *env, const struct bootorder_plan *p, struct error *e)
        _must_check_;
