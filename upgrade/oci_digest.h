/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Digests of OCI content: "sha256:" or "sha512:" and lower-case hexadecimal digits. Other
 * algorithms are refused: what cannot be checked is not used.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/digest.h"
#include "base/error.h"
#include "upgrade/stream.h"

enum oci_algorithm {
        OCI_SHA256,
        OCI_SHA512,
};

#define OCI_DIGEST_SIZE 64u
#define OCI_DIGEST_TEXT_SIZE (sizeof("sha512:") + 2 * OCI_DIGEST_SIZE)

struct oci_digest {
        enum oci_algorithm algorithm;
        uint8_t bytes[OCI_DIGEST_SIZE];  /* SHA-256 fills the first 32, the rest is zero */
        char text[OCI_DIGEST_TEXT_SIZE]; /* as written, with the algorithm in front */
};

/* -EINVAL for anything but the exact form; the text is then not used. */
int oci_digest_parse(const char *text, struct oci_digest *ret) _must_check_;

/* Of the bytes, SHA-256. -EIO as sha256(). */
int oci_digest_of(const void *data, size_t n, struct oci_digest *ret) _must_check_;

/* The bytes have this digest: 0, -EBADMSG (ERROR_REFUSED), -ENOMEM. what names them. */
int oci_digest_check(const struct oci_digest *d, const void *data, size_t n, const char *what,
                     struct error *e) _must_check_;

/* Hashes in pieces and compares in the end. */
struct oci_hash;
struct oci_hash *oci_hash_new(enum oci_algorithm algorithm);
void oci_hash_free(struct oci_hash *h);
DEFINE_CLEANUP(struct oci_hash, oci_hash_free)
int oci_hash_add(struct oci_hash *h, const void *data, size_t n) _must_check_;
/* As oci_digest_check(); once, at the end. */
int oci_hash_check(struct oci_hash *h, const struct oci_digest *d, const char *what,
                   struct error *e) _must_check_;

/*
 * A stream that must have this size and this digest: passes the bytes of another one on and says at
 * its end whether they held. More bytes than the size, and fewer, are errors. Fewer are
 * ERROR_SOURCE (the transfer broke off), the others ERROR_REFUSED. It cannot skip.
 */
struct oci_checked {
        struct stream stream;
        struct stream *inner; /* borrowed */
        struct oci_digest digest;
        uint64_t size, at;
        struct oci_hash *hash;
        int result; /* of the end: 1 while open, 0 or negative errno */
        struct error error;
};

/* digest NULL: the size alone is checked. */
int oci_checked_init(struct oci_checked *c, struct stream *inner, const struct oci_digest *digest,
                     uint64_t size, struct error *e) _must_check_;
void oci_checked_done(struct oci_checked *c);
