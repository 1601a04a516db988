/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the boot of an image leaves in the PCRs of the sha256 bank, said from files alone, without a
 * machine and its log. PCR 11 is upgrade/usi.h; here is the rest: who is started (PCR 4), with
 * which keys (PCR 7), and which profile (PCR 12). PCR 13 stays zero without system extensions.
 *
 * It holds for firmware that follows the profile and starts the boot loader at the first attempt:
 * no option ROMs, no boot option before it that failed, nothing beside the image that the stub
 * takes along (credentials, extensions, addons).
 *
 * References: TCG PC Client Platform Firmware Profile 1.05, sections 3.3.4.5 (PCR 4) and 3.3.4.8
 * (PCR 7); systemd-stub(7), "TPM PCR Notes".
 */
#pragma once

#include <stdint.h>

#include "base/buf.h"
#include "base/digest.h"
#include "base/error.h"
#include "upgrade/usi.h"

/* Descriptors are borrowed. */
struct measure_boot {
        int loader; /* boot loader that the firmware starts, or -EBADF: it starts the image itself
                     */
        int image;
        const struct usi *usi; /* that image */
};

/*
 * Boot loader and image, with Secure Boot on: the stub vouches for the kernel in it in the place of
 * the firmware, which then does not measure it either. Refused: what is no image to firmware.
 */
int measure_pcr4(const struct measure_boot *b, uint8_t ret[SHA256_SIZE], struct error *e)
        _must_check_;

/* Contents of the variables: signature lists, empty where there is none. */
struct measure_keys {
        struct buf pk, kek, db, dbx;
};

/*
 * With Secure Boot on by these keys. ERROR_CONFIG when they make no sense; ERROR_REFUSED when
 * firmware that has them would not start boot loader or image; -EOPNOTSUPP (ERROR_CONFIG) when a
 * hash in db vouches for one of them.
 */
int measure_pcr7(const struct measure_boot *b, const struct measure_keys *keys,
                 uint8_t ret[SHA256_SIZE], struct error *e) _must_check_;

/* Of a boot of that profile with no command line but the image's own: zeros for profile 0. -EIO. */
int measure_pcr12(unsigned profile, uint8_t ret[SHA256_SIZE]) _must_check_;
