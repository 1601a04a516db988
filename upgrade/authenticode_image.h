/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The Authenticode view of an image in one sequential pass: its digests and its certificate table,
 * from bytes that are pushed in (a network stream) or from a descriptor. Memory stays bounded
 * whatever the size.
 *
 * The digest is the one firmware computes (Microsoft "Windows Authenticode Portable Executable
 * Signature Format", "Calculating the PE Image Hash"): headers without CheckSum and without the
 * certificate directory entry, sections in file order, then what is left of the file before the
 * certificate table. This reader asks of an image only what that definition needs, so it takes
 * everything firmware takes (kernels, shim, PE32); pe_open() is the strict reader. Where firmware
 * itself would compute nonsense (sections that share bytes, a certificate table that is not the end
 * of the file) the image is refused.
 *
 * Life cycle: authenticode_image_new() -> _push()... -> _finish() -> queries -> _free().
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/error.h"

enum authenticode_hash {
        AUTHENTICODE_SHA256,
        AUTHENTICODE_SHA384,
        AUTHENTICODE_SHA512,
        AUTHENTICODE_HASH_MAX,
};

#define AUTHENTICODE_DIGEST_MAX 64u
/* Masks for "which digests". Which of them a signature needs is only known at the end of a stream.
 */
#define AUTHENTICODE_MASK(hash) (1u << (hash))
#define AUTHENTICODE_MASK_ALL (AUTHENTICODE_MASK(AUTHENTICODE_HASH_MAX) - 1)

struct authenticode_digests {
        unsigned mask; /* those that are there */
        uint8_t value[AUTHENTICODE_HASH_MAX][AUTHENTICODE_DIGEST_MAX];
};

/* Bytes of a digest, and its name for people ("SHA-256"). */
size_t authenticode_hash_size(enum authenticode_hash hash);
const char *authenticode_hash_name(enum authenticode_hash hash);

struct authenticode_image;

/* mask: the digests wanted, at least one. -EINVAL, -ENOMEM, -EIO. */
int authenticode_image_new(unsigned mask, struct authenticode_image **ret) _must_check_;
void authenticode_image_free(struct authenticode_image *image);
DEFINE_CLEANUP(struct authenticode_image, authenticode_image_free)

/*
 * Takes the next n bytes of the file. Refused as soon as it is seen: -EBADMSG for what is no image,
 * -E2BIG beyond a limit. After a failure only _free() may be called.
 */
int authenticode_image_push(struct authenticode_image *image, const void *data, size_t n,
                            struct error *e) _must_check_;

/* The file ends here. Refused (-EBADMSG) when the headers promise more. */
int authenticode_image_finish(struct authenticode_image *image, struct error *e) _must_check_;

/* All of the above for a file; reads with pread from 0 to the end. */
int authenticode_image_read(int fd, unsigned mask, struct authenticode_image **ret, struct error *e)
        _must_check_;

/* After _finish(), borrowed: the digests, the certificate table (empty = unsigned), the size. */
const struct authenticode_digests *authenticode_image_digests(
        const struct authenticode_image *image);
const struct buf *authenticode_image_table(const struct authenticode_image *image);
uint64_t authenticode_image_size(const struct authenticode_image *image);
