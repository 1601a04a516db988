/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A planned change of Secure Boot's variables: signed writes (EFI_VARIABLE_AUTHENTICATION_2, UEFI
 * 2.10 section 8.2.2) that replace PK, KEK, db or dbx, or append to them; and what the variables
 * hold now and afterwards. The signatures are the firmware's to check.
 *
 *     keychange_read() -> contents, questions about them -> keychange_write()
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/env.h"
#include "base/error.h"
#include "efivars/keyset.h"

struct keychange_item {
        bool exists; /* now */
        bool given, append;
        struct buf write;     /* the signed write, when given */
        struct buf now, next; /* signature lists; next is now where nothing is given */
};

struct keychange {
        struct keychange_item item[KEYSET_MAX];
        enum keyset_variable order[KEYSET_MAX]; /* of the writes, as they were named */
        unsigned n;
};

/*
 * Reads the machine's variables, and files of the form "db=FILE" (the content becomes this) or
 * "db+=FILE" (this is added); n may be 0. ERROR_USAGE for another form or a variable named twice,
 * ERROR_CONFIG for a file that is no signed write or holds no lists, ERROR_PRECONDITION for
 * variables that cannot be read.
 */
int keychange_read(const struct env *env, const char *const *files, unsigned n,
                   struct keychange *ret, struct error *e) _must_check_;
void keychange_done(struct keychange *k);

/* Whether anything will be different. */
bool keychange_differs(const struct keychange *k);

/*
 * What a variable holds after an append: firmware leaves out entries that it has already (UEFI
 * 2.10, section 8.2.2; EDK II compares owner and data), and a list that has none left.
 * -EBADMSG for lists whose sizes do not add up.
 */
int keychange_append(const struct buf *now, const void *data, size_t n, struct buf *ret)
        _must_check_;

/*
 * Writes in the order given; a variable that has its content already is not written. Each is read
 * back: -EKEYREJECTED when the firmware has another content than was predicted. ERROR_PRECONDITION
 * with the variable's name. What was written before a failure stays; ret_written (of KEYSET_MAX)
 * tells.
 */
int keychange_write(const struct env *env, const struct keychange *k, bool *ret_written,
                    struct error *e) _must_check_;
