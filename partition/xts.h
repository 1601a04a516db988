/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sectors of an encrypted volume in user space, byte for byte as dm-crypt reads and writes
 * them: aes-xts-plain64 with two keys of 256 bits, the one cipher of our volumes
 * (partition/luks.h). The tweak is the number of the sector in units of 512 bytes, whatever the
 * size of an encryption sector, as 64 bits, little-endian, and 64 zeros (IEEE 1619; kernel
 * documentation, dm-crypt, "plain64").
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/secret.h"

struct xts;

/* The volume key, of LUKS_VOLUME_KEY_SIZE bytes, is not needed any more when it returns. */
int xts_new(const struct secret *volume_key, uint32_t sector_size, struct xts **ret,
            struct error *e) _must_check_;
void xts_free(struct xts *x);
DEFINE_CLEANUP(struct xts, xts_free)

/*
 * n bytes in place, which begin at byte "at" of the volume's data; both multiples of the sector
 * size (-EINVAL). -EIO when the crypto library fails.
 */
int xts_encrypt(struct xts *x, uint64_t at, uint8_t *data, size_t n) _must_check_;
int xts_decrypt(struct xts *x, uint64_t at, uint8_t *data, size_t n) _must_check_;
