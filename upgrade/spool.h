/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What was received of a compressed transfer, kept so that a killed run need not load it again: the
 * bytes of one blob from its begin ("transfer.blob"), and whose they are ("transfer.json"). A
 * compressed stream cannot be entered in the middle; the next run reads the spool first and asks
 * the server for the rest.
 *
 * The bytes are as untrusted as the network: whoever reads them checks the digest of the whole
 * blob. Nothing is made durable on purpose; after a power cut there may be less, or wrong bytes,
 * and the digest tells. A mismatch at the end: spool_drop(), once more without it.
 *
 * Life cycle: spool_open() -> spool_read() of what is there -> spool_add() of what follows ->
 * spool_free(); spool_drop() after success. One transfer at a time: the spool of another is
 * dropped.
 */
#pragma once

#include <stdint.h>
#include <sys/types.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "upgrade/oci_digest.h"

struct spool;

/*
 * dirfd: a folder of the agent alone, on a journaling file system; borrowed, stays open. Continues
 * what is there for exactly this blob (digest and size); everything else, damaged or foreign, is
 * dropped. -ENOSPC (ERROR_SPACE) when the rest of the blob and LIMIT_SPOOL_RESERVE do not fit: go
 * on without a spool. The reason why an old spool was dropped is not an error.
 */
int spool_open(int dirfd, const struct oci_digest *digest, uint64_t size, struct spool **ret,
               struct error *e) _must_check_;
void spool_free(struct spool *s);
DEFINE_CLEANUP(struct spool, spool_free)

/* Bytes that are there. */
uint64_t spool_have(const struct spool *s);

/* Bytes at an offset; 0 at the end of what is there. */
ssize_t spool_read(struct spool *s, uint64_t offset, void *buf, size_t n, struct error *e)
        _must_check_;

/*
 * Appends. -EFBIG (ERROR_INTERNAL) beyond the blob's size. After any failure the spool holds what
 * it held before, or a part more: still a begin of the blob.
 */
int spool_add(struct spool *s, const void *data, size_t n, struct error *e) _must_check_;

/* Forgets everything; nothing there is fine. An open spool of this folder must not be used after.
 */
int spool_drop(int dirfd, struct error *e) _must_check_;
