/* SPDX-License-Identifier: Apache-2.0 */
/* A throw-away policy key, and signatures by it as an image would bring them. */
#pragma once

#include <openssl/evp.h>

#include "partition/policy.h"
#include "partition/seal.h"

struct test_key {
        EVP_PKEY *pkey;
        struct policy_key *policy;
};

/* A new RSA key; aborts the test on failure. */
struct test_key *test_key_new(unsigned bits);
void test_key_free(struct test_key *k);
DEFINE_CLEANUP(struct test_key, test_key_free)

/* Appends the signature over pol. */
void test_key_sign(const struct test_key *k, const uint8_t pol[SHA256_SIZE], struct buf *sig);

/* Policy of one PCR with this value. */
void test_pol(unsigned pcr, const uint8_t value[SHA256_SIZE], uint8_t ret[SHA256_SIZE]);

/* Writes a signature file with one entry, for PCR 11. */
void test_write_signature_file(const char *path, const struct test_key *k,
                               const uint8_t pol[SHA256_SIZE]);

/* Answers seal_open() with one signature. */
struct test_signer {
        const struct test_key *key;
        uint8_t pol[SHA256_SIZE];
        bool broken;    /* hands out a damaged signature */
        unsigned calls; /* how often it was asked */
};
int test_find_signature(void *ctx, const uint8_t pkfp[SHA256_SIZE], const uint8_t pol[SHA256_SIZE],
                        struct buf *sig);
