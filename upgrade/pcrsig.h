/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PCR signature documents: the JSON of a USI's .pcrsig section and of tpm2-pcr-signature.json
 * (systemd-measure(1)): {"sha256":[{"pcrs":[11],"pkfp":hex,"pol":hex,"sig":base64}]}.
 *
 * Reading is all or nothing: one malformed element of a known bank refuses the document, because
 * systemd's search would stop there and fail although a later element fits. Only elements of the
 * sha256 bank are kept: systemd unlocks with no other.
 */
#pragma once

#include <openssl/evp.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/digest.h"
#include "base/error.h"

/* PCR 11 alone: what the images of this project are signed for. */
#define PCRSIG_MASK_PCR11 (1u << 11)

struct pcrsig_entry {
        uint32_t mask;             /* bit i = PCR i */
        uint8_t pkfp[SHA256_SIZE]; /* fingerprint of the signing key */
        uint8_t pol[SHA256_SIZE];  /* policy digest that is signed */
        struct buf sig;
};

struct pcrsig;

/* Reads n bytes (one trailing NUL is tolerated). Refused: -EBADMSG, or -E2BIG beyond LIMIT_PCRSIG
 * or LIMIT_PCRSIG_ENTRIES. */
int pcrsig_parse(const void *text, size_t n, struct pcrsig **ret, struct error *e) _must_check_;
void pcrsig_free(struct pcrsig *p);
DEFINE_CLEANUP(struct pcrsig, pcrsig_free)

/*
 * Elements in document order; NULL past the end. Elements that carry a policy reference ("ref",
 * systemd 262) sign something else than pol alone and are not among them.
 */
const struct pcrsig_entry *pcrsig_at(const struct pcrsig *p, unsigned i);

/* First element with equal PCRs, key and policy, as systemd looks it up; NULL when there is none.
 * The signature in it is not verified yet. */
const struct pcrsig_entry *pcrsig_find(const struct pcrsig *p, uint32_t mask,
                                       const uint8_t pkfp[SHA256_SIZE],
                                       const uint8_t pol[SHA256_SIZE]);

/* Policy digest that is signed for a value of PCR 11: one PolicyPCR on an empty session. -EIO. */
int pcrsig_policy(const uint8_t pcr11[SHA256_SIZE], uint8_t ret[SHA256_SIZE]) _must_check_;

/*
 * Looks up the element for a predicted PCR 11 under a public key (PEM, content of .pcrpkey) and
 * verifies its signature. 0; -ENOENT (refused) when there is no such element; -EKEYREJECTED when
 * its signature is wrong; errors of policy_key_from_pem(). ret_pol gets the policy digest, may be
 * NULL.
 */
int pcrsig_check(const struct pcrsig *p, const void *pem, size_t pem_len,
                 const uint8_t pcr11[SHA256_SIZE], uint8_t ret_pol[SHA256_SIZE], struct error *e)
        _must_check_;

/* An RSA private key with its public half, and the values of PCR 11 it signs. All borrowed. */
struct pcrsig_signer {
        EVP_PKEY *key;
        const void *pem;
        size_t pem_len;
        const uint8_t (*pcr11)[SHA256_SIZE];
        unsigned n;
};

/* As pcrsig_build(), for several keys: their elements in this order. */
int pcrsig_build_all(const struct pcrsig_signer *signers, unsigned n_signers, struct buf *out,
                     struct error *e) _must_check_;

/*
 * Appends a document for values of PCR 11, signed with an RSA private key whose public half is pem.
 * The bytes depend on the arguments alone. ERROR_CONFIG with -EKEYREJECTED when key and pem do not
 * belong together; errors of policy_key_from_pem().
 */
int pcrsig_build(EVP_PKEY *key, const void *pem, size_t pem_len,
                 const uint8_t (*pcr11)[SHA256_SIZE], unsigned n, struct buf *out, struct error *e)
        _must_check_;
