/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Making an encrypted volume: its key is a random secret that is sealed in the TPM and never stored
 * elsewhere; a recovery key, when there is one, has a slot beside it. Shared by the installation
 * and by the first boot of a disk image.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/secret.h"
#include "partition/disk.h"
#include "partition/seal.h"

struct volume_wish {
        const char *path;  /* device, or file for the header (partition/luks.h) */
        const char *label; /* of the LUKS2 header */
        uint32_t sector;   /* volume_sector() */
        bool allow_discards;
        const struct seal_policy *policy;
        const struct secret *recovery_key; /* NULL: none */
};

/* Bytes of an encryption sector on this disk: its own sectors. What it writes as one is encrypted
 * as one, and a volume looks to what is above it like the disk below. */
uint32_t volume_sector(const struct disk *d);

/*
 * Formats and enrols. *ret_passphrase opens key slot *ret_keyslot; it is set on success alone.
 * Proving the enrolment and making a file system is the caller's.
 */
int volume_make(struct tpm *tpm, const struct volume_wish *wish, struct secret **ret_passphrase,
                int *ret_keyslot, struct error *e) _must_check_;
