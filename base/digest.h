/* SPDX-License-Identifier: Apache-2.0 */
/* SHA-256 in one call or in pieces, on OpenSSL's EVP. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"

#define SHA256_SIZE 32u
#define SHA256_HEX_SIZE (2 * SHA256_SIZE + 1)

/* One buffer. -EIO when the crypto library fails (it never does for SHA-256 outside of memory
 * trouble). */
int sha256(const void *data, size_t n, uint8_t ret[SHA256_SIZE]) _must_check_;

/* In pieces: new, add..., then final frees nothing; free with digest_free (NULL is fine). */
struct digest;
struct digest *digest_new(void);
void digest_free(struct digest *d);
DEFINE_CLEANUP(struct digest, digest_free)
int digest_add(struct digest *d, const void *data, size_t n) _must_check_;
int digest_final(struct digest *d, uint8_t ret[SHA256_SIZE]) _must_check_;

/*
 * Hash of a file from offset 0 to its end, read in pieces; *ret_size gets the number of bytes (may
 * be NULL). Reads with pread: the file position does not move.
 */
int digest_fd(int fd, uint8_t ret[SHA256_SIZE], uint64_t *ret_size) _must_check_;
