/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The key of the version floor in terms of the TPM: between partition/floor_key.c and
 * partition/floor_nv.c. Everybody else knows it by partition/floor_nv.h.
 */
#pragma once

#include <tss2/tss2_tpm2_types.h>

#include "partition/floor_nv.h"

/* Bytes of a coordinate, and of each half of a signature. */
#define FLOOR_KEY_FIELD 32u

/* Public area as it is loaded for verification; its name stands in the policy. Borrowed. */
const TPM2B_PUBLIC *floor_key_public(const struct floor_key *k);

/* ECDSA over SHA-256(data). -EIO when the crypto library fails. */
int floor_key_sign(const struct floor_key *k, const void *data, size_t n, TPMT_SIGNATURE *ret)
        _must_check_;
