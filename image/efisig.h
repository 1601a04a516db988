/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Key databases of Secure Boot as files: EFI_SIGNATURE_LIST (.esl; UEFI 2.10, section 32.4.1) and
 * the time-based authenticated write of a variable (.auth; EFI_VARIABLE_AUTHENTICATION_2, section
 * 8.2.2), as systemd-boot enrols them from \loader\keys.
 */
#pragma once

#include <openssl/evp.h>
#include <openssl/x509.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"

#define EFISIG_GUID_SIZE 16u
#define EFISIG_GUID_TEXT_SIZE 37u

enum efisig_variable {
        EFISIG_PK,
        EFISIG_KEK,
        EFISIG_DB,
        EFISIG_VARIABLE_MAX,
};

/* "PK", "KEK", "db". */
const char *efisig_name(enum efisig_variable v);

/* Text form (8-4-4-4-12, lower case) of a GUID in EFI byte order. */
void efisig_guid_text(const uint8_t guid[EFISIG_GUID_SIZE], char ret[EFISIG_GUID_TEXT_SIZE]);

/* A random GUID (RFC 4122, version 4) in EFI byte order. */
int efisig_guid_random(uint8_t ret[EFISIG_GUID_SIZE]) _must_check_;

/* Appends a list that holds one X.509 certificate. -ENOMEM, -E2BIG. */
int efisig_list(const uint8_t owner[EFISIG_GUID_SIZE], X509 *cert, struct buf *out) _must_check_;

/* Appends a list that holds the SHA-256 Authenticode digest of one image. -ENOMEM, -E2BIG. */
int efisig_hash_list(const uint8_t owner[EFISIG_GUID_SIZE], const uint8_t *sha256, struct buf *out)
        _must_check_;

/*
 * Appends the authenticated form of a write of payload (signature lists) to a variable, signed by
 * key and cert: the variable's current owner is PK for PK and KEK, KEK for db. epoch is the
 * timestamp; firmware wants it to grow from write to write.
 */
int efisig_auth(enum efisig_variable v, uint64_t epoch, const struct buf *payload, EVP_PKEY *key,
                X509 *cert, struct buf *out, struct error *e) _must_check_;
