/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The key databases of Secure Boot as one thing that can be enrolled: PK, KEK, db and perhaps dbx,
 * each a signed write of its variable (EFI_VARIABLE_AUTHENTICATION_2, UEFI 2.10 section 8.2.2), as
 * "tb-image keys" makes them. And the same four as a machine has them now, to compare.
 *
 * A machine takes a new set while it is in setup mode (UEFI 2.10 section 32.3). PK ends that, so it
 * is written last; until then nothing is enforced, and an interrupted enrolment can begin again.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/env.h"
#include "base/error.h"
#include "efivars/sigdb.h"

/* In the order in which they are written. */
enum keyset_variable {
        KEYSET_DB,
        KEYSET_DBX,
        KEYSET_KEK,
        KEYSET_PK,
        KEYSET_MAX,
};

struct keyset_item {
        bool given;       /* the set has this variable */
        struct buf raw;   /* as it was read */
        size_t payload;   /* where the signature lists begin in it */
        struct sigdb *db; /* what they hold */
};

struct keyset {
        struct keyset_item item[KEYSET_MAX];
};

/* "db", and the GUID it belongs to. */
const char *keyset_name(enum keyset_variable v);

/*
 * Reads PK.auth, KEK.auth, db.auth and, when it exists, dbx.auth of a folder. ERROR_CONFIG: -ENOENT
 * when one is missing, -EBADMSG when one is no signed write, or holds nothing, or PK is not exactly
 * one certificate. The signatures are the firmware's to check.
 */
int keyset_load(const char *dir, struct keyset *ret, struct error *e) _must_check_;

/* Reads what the machine has; an absent variable is not given. ERROR_PRECONDITION. */
int keyset_read(const struct env *env, struct keyset *ret, struct error *e) _must_check_;
void keyset_done(struct keyset *k);

/* The signature lists of a variable, what it contains when it was written. Borrowed; size 0 when it
 * is not given. */
const void *keyset_lists(const struct keyset *k, enum keyset_variable v, size_t *ret_size);

/* What enrolling changes. */
struct keyset_change {
        enum keyset_variable variable;
        bool added;                      /* else it goes */
        const struct sigdb_entry *entry; /* of one of the sets */
};

/*
 * Certificates and hashes that only one of the sets has; a variable that next does not give stays
 * as it is. The caller frees *ret. -ENOMEM.
 */
int keyset_compare(const struct keyset *now, const struct keyset *next, struct keyset_change **ret,
                   size_t *ret_n) _must_check_;

/* An entry for people: subject and SHA-256 fingerprint of a certificate, or kind and value of a
 * hash. */
#define KEYSET_TEXT_SIZE 320u
void keyset_describe(const struct sigdb_entry *entry, char ret[KEYSET_TEXT_SIZE]);

/*
 * Writes the set and reads each variable back; one that has its content already is not written.
 * ERROR_PRECONDITION with the variable's name and errno, -EKEYREJECTED when the firmware took
 * another content than was written.
 */
int keyset_write(const struct env *env, const struct keyset *k, struct error *e) _must_check_;
