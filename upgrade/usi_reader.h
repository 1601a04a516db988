/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads a USI from bytes that are pushed in, in pieces of any size: of a network stream or of a
 * file. Each byte is seen once, so what is said about the image afterwards (format, PCR 11,
 * SHA-256) is about exactly those bytes, whatever the source gives the next time.
 *
 * Held in memory are the headers, the small sections within their limits, and one digest for each
 * section that is measured; the size of the image does not matter.
 *
 * Life cycle: usi_reader_new() -> _push()... -> _finish() -> _free(), and usi_free() for the
 * result.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "upgrade/usi.h"

struct usi_reader;

/* max_size: the size of the image when it is known, else the most that is accepted;
 * LIMIT_IMAGE_SIZE holds in any case. -ENOMEM. */
int usi_reader_new(uint64_t max_size, struct usi_reader **ret) _must_check_;
void usi_reader_free(struct usi_reader *reader);
DEFINE_CLEANUP(struct usi_reader, usi_reader_free)

/*
 * Takes the next n bytes. Refused as soon as it can be seen: see usi_open(), and -E2BIG beyond
 * max_size. After a failure only _free() may be called.
 */
int usi_reader_push(struct usi_reader *reader, const void *data, size_t n, struct error *e)
        _must_check_;

/* SHA-256 of all bytes that were pushed; then none may follow. -EIO when it cannot be computed. */
int usi_reader_digest(struct usi_reader *reader, uint8_t ret[SHA256_SIZE]) _must_check_;

/* The image ends here. Refused: see usi_open(). Once, and nothing but _free() follows. */
int usi_reader_finish(struct usi_reader *reader, struct usi **ret, struct error *e) _must_check_;
