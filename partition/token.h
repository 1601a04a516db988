/* SPDX-License-Identifier: Apache-2.0 */
/*
 * LUKS2 token of type "systemd-tpm2": what a header says about a secret sealed by a TPM. Text in,
 * struct out, and back; no TPM is asked here.
 *
 * Read: the forms of systemd 252 (legacy primary), 253 (salted PIN) and 254 and later (storage root
 * key in tpm2_srk). Sharded, pcrlock, policyRef and non-SHA-256 tokens are recognised and refused
 * with -EOPNOTSUPP. Written: the one form that systemd 252 and everything later opens ("portable").
 *
 * A header is not authenticated: whatever it says only decides which way is tried. What counts is
 * the policy inside the sealed blob, which the TPM enforces.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/error.h"
#include "partition/pin.h"
#include "partition/policy.h"

#define TOKEN_TYPE_TPM2 "systemd-tpm2"
#define TOKEN_TYPE_RECOVERY "systemd-recovery"

/* No key slot assigned yet. */
#define TOKEN_NO_KEYSLOT (-1)

struct token {
        int keyslot;           /* key slot the secret opens, or TOKEN_NO_KEYSLOT */
        uint32_t literal_pcrs; /* bit i = PCR i is bound by value */
        uint32_t signed_pcrs;  /* bit i = PCR i is bound by signature of key */
        bool rsa_primary;      /* legacy parent is the RSA one */
        bool pin;              /* wants a PIN besides */
        bool has_salt;         /* of the PIN, see partition/pin.h */
        uint8_t salt[PIN_SALT_SIZE];
        bool persistent; /* parent is a persistent key, the next two name it */
        uint32_t parent_handle;
        bool has_parent_name; /* always with persistent; in tokens of our own for legacy parents too
                               */
        uint8_t parent_name[POLICY_NAME_SIZE];
        uint8_t policy_hash[SHA256_SIZE];
        struct policy_key *key; /* owned; NULL when signed_pcrs is 0 */
        uint8_t *blob;          /* owned; TPM2B_PRIVATE || TPM2B_PUBLIC */
        size_t blob_size;
};

/* An empty token. NULL when out of memory. */
struct token *token_new(void);
void token_free(struct token *t);
DEFINE_CLEANUP(struct token, token_free)

/*
 * Reads the JSON text of a token. Class ERROR_PRECONDITION, with the advice to use the recovery
 * key: -ENOENT another type of token, -EBADMSG damaged, -E2BIG too large, -EOPNOTSUPP a kind of
 * systemd-tpm2 token that this program does not open (the text says which).
 * Unknown fields are ignored, as systemd does.
 */
int token_parse(const char *text, size_t n, struct token **ret, struct error *e) _must_check_;

/*
 * Appends the JSON text. The key slot must be assigned. Only the portable form: -EINVAL for a token
 * with a salt or with a persistent parent. parent_name goes into a field of our own,
 * "tb-parent-name".
 */
int token_format(const struct token *t, struct buf *out, struct error *e) _must_check_;

/* A name of the token that stays when it gets another number: of its sealed blob. -EIO. */
#define TOKEN_ID_SIZE 17u
int token_id(const struct token *t, char ret[TOKEN_ID_SIZE]) _must_check_;

/* JSON text of a recovery key's token for a key slot. */
int token_format_recovery(int keyslot, struct buf *out, struct error *e) _must_check_;
