/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory for key material: locked against swapping, left out of core dumps, all zeros in children
 * (fork), wiped when freed. The content is never copied into ordinary memory by the functions of
 * this project, never logged and never passed to another process.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"

struct secret {
        uint8_t *data;
        size_t len;    /* bytes in use; may be lowered by the owner */
        size_t mapped; /* internal */
};

/*
 * len zeroed bytes, or NULL with errno set. Locking can be refused by RLIMIT_MEMLOCK in containers;
 * the memory is then still wiped and left out of dumps.
 */
struct secret *secret_new(size_t len);
void secret_free(struct secret *s);
DEFINE_CLEANUP(struct secret, secret_free)

/* Random content from the kernel. */
struct secret *secret_random(size_t len);

/* Padded base64 of the content, as a new secret (without a NUL). NULL with errno set. */
struct secret *secret_base64(const struct secret *s);

/* Constant-time comparison of two byte strings of equal length. */
int secret_equal(const uint8_t *a, const uint8_t *b, size_t n);
