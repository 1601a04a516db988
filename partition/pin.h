/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The PIN of a sealed secret: what a person types, and what the TPM compares. Sealing with it is in
 * partition/seal.h; the TPM counts wrong ones (dictionary attack protection), so that a short PIN
 * is enough.
 *
 * What is derived is systemd's, both ways: the plain form of 252, which every later version takes
 * for a token without a salt, and the salted one of 253 and later, which is only read.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/digest.h"
#include "base/error.h"
#include "base/secret.h"

/* Bytes of a PIN that is chosen here. */
#define PIN_MIN 4u
#define PIN_MAX 128u
/* Bytes of tpm2_salt in a token. */
#define PIN_SALT_SIZE 32u

/* Whether a new PIN is fit: of PIN_MIN to PIN_MAX characters that every keyboard has and every
 * console takes (printable ASCII). -EINVAL (ERROR_USAGE); the message repeats none of it. */
int pin_check(const struct secret *pin, struct error *e) _must_check_;

/*
 * Authorization value, without the zeros at the end that a TPM does not keep: SHA-256 of the PIN;
 * with a salt of PIN_SALT_SIZE bytes (NULL: none) SHA-256 of the base64 form of
 * PBKDF2-HMAC-SHA256(PIN, salt, 10000). -ENOMEM or -EIO.
 */
int pin_auth(const struct secret *pin, const uint8_t *salt, struct secret **ret) _must_check_;
