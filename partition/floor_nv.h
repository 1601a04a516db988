/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The TPM half of the version floor: the key that writes the index, and the index itself. For
 * partition/floor*.c; what it is for stands in partition/floor.h.
 *
 * The key opens no data. It is stored in the encrypted partition and may stand in ordinary memory.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "partition/floor.h"

/* A new P-256 key. */
int floor_key_new(struct floor_key **ret, struct error *e) _must_check_;
/* -EBADMSG when the text is no private P-256 key in PEM. */
int floor_key_from_pem(const char *pem, struct floor_key **ret) _must_check_;
int floor_key_to_pem(const struct floor_key *k, struct buf *out) _must_check_;

/* Policy of the index that this key may write: TPM2_PolicySigned, empty policyRef. Borrowed. */
const uint8_t *floor_key_policy(const struct floor_key *k);

/* What is found at FLOOR_NV_INDEX. */
struct floor_nv {
        bool exists;
        bool shaped;  /* type, attributes and size are those of a floor */
        bool written; /* with shaped */
        bool valid;   /* with written: the content is a record */
        uint8_t policy[SHA256_SIZE];
        struct floor floor;
};

/* 1 TPM command when there is none, else up to 3. */
int floor_nv_look(struct tpm *tpm, struct floor_nv *ret, struct error *e) _must_check_;

/* Makes the index, empty. -EEXIST when there is one, -ENOSPC when the TPM is full. 1 command. */
int floor_nv_define(struct tpm *tpm, const struct floor_key *k, struct error *e) _must_check_;

/* Writes the record. -EPERM (ERROR_PRECONDITION) when the index is not one of this key. 6 commands,
 * the look at the index included. */
int floor_nv_write(struct tpm *tpm, const struct floor_key *k, const struct floor *floor,
                   struct error *e) _must_check_;

/* Removes the index as owner; none there is fine. 2 commands. */
int floor_nv_undefine(struct tpm *tpm, struct error *e) _must_check_;
