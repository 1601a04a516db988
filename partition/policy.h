/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TPM 2.0 policy arithmetic without a TPM: the key that signs PCR values ("policy key"), and the
 * digests that TPM2_PolicyPCR, TPM2_PolicyAuthorize and TPM2_PolicyAuthValue produce.
 *
 * Everything is SHA-256: the policy sessions, the PCR bank and the signatures (RSASSA-PKCS1-v1_5).
 * systemd never unlocks with anything else, whatever other banks a signature file may hold.
 *
 * A digest starts as 32 zero bytes and is extended in place, in the order the TPM would be told:
 *
 *     uint8_t d[SHA256_SIZE] = {0};
 *     policy_authorize(d, key);                       (signed PCRs, resets d)
 *     policy_pcr(d, 1u << 7, value_of_pcr_7, 32);     (literal PCRs)
 *
 * References: TPM 2.0 Library, part 3, sections 23.7 (PolicyPCR), 23.16 (PolicyAuthorize), 23.17
 * (PolicyAuthValue); part 1, section 16 (names).
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/digest.h"
#include "base/error.h"

/* Name of a TPM object: two bytes of hash algorithm and a SHA-256. */
#define POLICY_NAME_SIZE 34u

/* Public part of an RSA key that signs PCR policies. */
struct policy_key;

/*
 * Reads a PEM public key ("BEGIN PUBLIC KEY"). The bytes are kept as they are, because a token
 * stores the file and not the key. Refused: -EBADMSG when it is no public key in PEM, -EOPNOTSUPP
 * when it is not RSA of 2048 to 4096 bits (a multiple of 8) with exponent 65537, -E2BIG above
 * LIMIT_PCRPKEY. A trailing NUL byte, as PE sections may have, is not part of the key.
 */
int policy_key_from_pem(const void *pem, size_t n, struct policy_key **ret, struct error *e)
        _must_check_;
void policy_key_free(struct policy_key *k);
DEFINE_CLEANUP(struct policy_key, policy_key_free)

/* SHA-256 of the PKCS#1 RSAPublicKey DER: "pkfp" of a signature file. 32 bytes, borrowed. */
const uint8_t *policy_key_fingerprint(const struct policy_key *k);

/*
 * Name of the key as a TPM object, POLICY_NAME_SIZE bytes, borrowed: what TPM2_PolicyAuthorize
 * mixes in. Public area: RSA, SHA-256, userWithAuth|decrypt|sign, no symmetric, no scheme, exponent
 * 65537 spelled out.
 */
const uint8_t *policy_key_name(const struct policy_key *k);

/*
 * The same with the exponent field 0 (the TPM's short form of 65537). Some systemd 255 enrolments
 * were made with it; only for opening those.
 */
const uint8_t *policy_key_name_exponent0(const struct policy_key *k);

/* Modulus, big-endian, without leading zeros; bits is 8 * its size. Borrowed. */
const uint8_t *policy_key_modulus(const struct policy_key *k, size_t *ret_size);

/* The PEM bytes as given. Borrowed, not NUL-terminated by contract. */
const uint8_t *policy_key_pem(const struct policy_key *k, size_t *ret_size);

/*
 * Checks a signature over a policy digest: RSASSA-PKCS1-v1_5 over SHA-256(pol). 0, -EKEYREJECTED
 * when it is not a signature of this key over this digest, -ENOMEM.
 */
int policy_key_verify(const struct policy_key *k, const uint8_t pol[SHA256_SIZE],
                      const uint8_t *sig, size_t sig_len) _must_check_;

/*
 * Extends digest by TPM2_PolicyPCR over the PCRs in mask (bit i = PCR i, 0 to 23) of the sha256
 * bank. values holds 32 bytes for each bit set, in ascending order of PCR. -EINVAL when mask is 0
 * or has bits above 23, or n does not fit; -EIO.
 */
int policy_pcr(uint8_t digest[SHA256_SIZE], uint32_t mask, const uint8_t *values, size_t n)
        _must_check_;

/* Sets digest to what TPM2_PolicyAuthorize leaves: it resets and mixes in the key's name and an
 * empty policyRef. -EIO. */
int policy_authorize(uint8_t digest[SHA256_SIZE], const struct policy_key *k) _must_check_;

/* The same by name of the signing key. */
int policy_authorize_name(uint8_t digest[SHA256_SIZE], const uint8_t name[POLICY_NAME_SIZE])
        _must_check_;

/* Extends digest by TPM2_PolicyAuthValue (a PIN is asked for). -EIO. */
int policy_auth_value(uint8_t digest[SHA256_SIZE]) _must_check_;
