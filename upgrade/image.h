/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Trust as a type. A struct verified_image can only be made here, and only from an image that gave
 * its proofs; the functions that put an image on an ESP take nothing else.
 *
 * Proofs given today: a well-formed USI of this architecture within the limits, with every section
 * a node needs, whose PCR 11 after the phase "enter-initrd" is predicted from its own bytes and
 * found in its own .pcrsig, signed by the key in its own .pcrpkey. Firmware checks the Authenticode
 * signature when it starts the image.
 *
 * Life cycle: image_verify() -> queries, image_add() -> image_free(). The descriptor stays the
 * caller's and has to stay open; the digest taken during verification is what a copy is compared
 * with, so a file that changes in between is refused when it is written.
 */
#pragma once

#include <stdint.h>

#include "base/digest.h"
#include "base/error.h"
#include "partition/policy.h"
#include "upgrade/esp.h"

/* The phase path that partitions are sealed for. */
#define IMAGE_PHASE_PATH "enter-initrd"

struct verified_image;

/*
 * Gives the proofs for the image behind a seekable descriptor. name stands in messages. Refusals
 * are ERROR_REFUSED with the reason. -E2BIG above LIMIT_IMAGE_SIZE.
 */
int image_verify(int fd, const char *name, struct verified_image **ret, struct error *e)
        _must_check_;
void image_free(struct verified_image *v);
DEFINE_CLEANUP(struct verified_image, image_free)

uint64_t image_size(const struct verified_image *v);
const uint8_t *image_sha256(const struct verified_image *v); /* SHA256_SIZE bytes */
const uint8_t *image_pcr11(const struct verified_image *v);  /* predicted for IMAGE_PHASE_PATH */
const char *image_version(const struct verified_image *v); /* IMAGE_VERSION; "" when it has none */
const char *image_title(const struct verified_image *v);   /* PRETTY_NAME or IMAGE_ID */
const struct policy_key *image_policy_key(const struct verified_image *v);
/* The signature of the policy for image_pcr11(), borrowed. */
const struct buf *image_policy_signature(const struct verified_image *v);

/* Writes a copy to the ESP under this number ("EFI/kairos/usi-%08u.efi"), read back and compared.
 */
int image_add(const struct esp *esp, const struct verified_image *v, uint32_t number,
              struct error *e) _must_check_;

/*
 * Text of the boot entry that gives image number the role. key: how this boot loader wants images
 * to be named.
 */
int image_entry(const struct verified_image *v, uint32_t number, enum entry_role role,
                enum entry_key key, char ret[ENTRY_SIZE], struct error *e) _must_check_;
