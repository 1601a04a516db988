/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sealing: a secret that the TPM gives back only to a measured boot.
 *
 * The policy is "PCRs in signed_pcrs have a value that the policy key signed, and PCRs in
 * literal_pcrs have these very values". The default of this program is PCR 11 signed and PCR 7
 * literal: the first says which image runs and in which phase, the second that Secure Boot was on
 * when it was measured.
 *
 * Order of an enrolment: seal_create(), assign token->keyslot and add the key slot, seal_prove()
 * with the values and the signature of the image that will have to unlock, then write the token.
 *
 * Errors: class and numbers as listed in partition/tpm.h, with advice. TPM commands of a
 * seal_open(): 12 for the first token; 8 for each further one with the same parent, key and PCRs,
 * because parent and approval are kept in struct tpm.
 */
#pragma once

#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/secret.h"
#include "partition/policy.h"
#include "partition/token.h"
#include "partition/tpm.h"

/* Size of the secrets this program seals; a key slot's passphrase is their base64 form. */
#define SEAL_SECRET_SIZE 32u

struct seal_policy {
        const struct policy_key *key;  /* needed when signed_pcrs is not 0 */
        uint32_t signed_pcrs;          /* bit i = PCR i */
        uint32_t literal_pcrs;         /* bit i = PCR i */
        const uint8_t *literal_values; /* 32 bytes for each bit of literal_pcrs, ascending */
        const struct secret *pin;      /* NULL: none; pin_check() is the caller's */
};

/* The final policy digest, in software. -EINVAL (ERROR_INTERNAL) for a policy that binds nothing.
 */
int seal_policy_digest(const struct seal_policy *policy, uint8_t ret[SHA256_SIZE], struct error *e)
        _must_check_;

/*
 * Seals secret to the policy, under the legacy ECC primary of the TPM's owner hierarchy. The secret
 * crosses the bus encrypted only. The token has no key slot yet.
 *
 * With a PIN the policy demands it besides, and the TPM counts wrong ones: after too many it is in
 * lockout. Without, the object has noDA, so opening it never counts as an attempt. The legacy
 * primary has not (its template is what makes the token portable): while a TPM is in lockout for
 * some other reason, nothing loads under it. Tokens under a storage root key open even then.
 */
int seal_create(struct tpm *tpm, const struct seal_policy *policy, const struct secret *secret,
                struct token **ret, struct error *e) _must_check_;

/*
 * Proves, without unsealing, that a boot in which the signed PCRs have signed_values and the
 * literal PCRs literal_values (32 bytes for each PCR, ascending) will be able to open the token
 * with this signature: the blob loads on this TPM, the signature verifies on it, and a trial
 * session fed with the values ends at the policy of the loaded blob. sig is ignored for a token
 * without signed PCRs.
 *
 * -EKEYREJECTED: the signature is not one of the token's key over these values; -EPERM: the policy
 * comes out different.
 */
int seal_prove(struct tpm *tpm, const struct token *token, const uint8_t *signed_values,
               const uint8_t *literal_values, const uint8_t *sig, size_t sig_len, struct error *e)
        _must_check_;

/* Whether the blob loads on this TPM: -EREMOTE when it is another one's, -EBADMSG when it is
 * damaged. Nothing that could be guessed is asked for. */
int seal_loads(struct tpm *tpm, const struct token *token, struct error *e) _must_check_;

/*
 * Has the TPM compare a PIN with that of a token, in any state of the machine. -EILSEQ when it is
 * another one, which the TPM counts; -EOPNOTSUPP for a token without a PIN, or one whose PIN cannot
 * be compared; errors of seal_loads().
 */
int seal_check_pin(struct tpm *tpm, const struct token *token, const struct secret *pin,
                   struct error *e) _must_check_;

/*
 * Finds the signature over policy digest pol by the key with fingerprint pkfp and appends its bytes
 * to sig (sha256 bank, RSASSA). Returns 0; -ENOENT when this key signed other digests but not this
 * one; -ENOKEY when nothing is signed by this key; any other negative errno ends seal_open().
 */
typedef int (*seal_find_signature_fn)(void *ctx, const uint8_t pkfp[SHA256_SIZE],
                                      const uint8_t pol[SHA256_SIZE], struct buf *sig);

/*
 * Opens a token on the machine as it is now. The policy is computed from the current PCRs and
 * compared with the one of the blob first: a secret that cannot be had is never asked for, so that
 * no dictionary attack counter moves but by a wrong pin (NULL: none was asked for yet; -ENOANO when
 * all but the PIN is there). Changes of PCRs meanwhile start it over, at most
 * LIMIT_TPM_PCR_RETRIES times.
 */
int seal_open(struct tpm *tpm, const struct token *token, const struct secret *pin,
              seal_find_signature_fn find, void *ctx, struct secret **ret, struct error *e)
        _must_check_;
