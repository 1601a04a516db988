/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One new encrypted volume: format, enrol TPM and recovery key, prove. Installation and reset share
 * this; both then make the file system.
 *
 *     volume_enrol() -> volume_prove() -> volume_activate() ... luks_deactivate() -> volume_done()
 *
 * Its key is a random secret that is sealed in the TPM and never stored elsewhere; a recovery key,
 * when there is one, has a slot beside it. A live session cannot unseal (its policy is closed), so
 * the enrolment proves itself another way (design, section 7).
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/secret.h"
#include "partition/luks.h"
#include "partition/seal.h"
#include "partition/tpm.h"
#include "upgrade/image.h"

struct volume_wish {
        const char *path;  /* device, or file for the header (partition/luks.h) */
        const char *label; /* of the LUKS2 header */
        uint32_t sector;   /* volume_sector() */
        bool allow_discards;
        const struct seal_policy *policy;
        const struct secret *recovery_key; /* NULL: none */
};

struct volume_made {
        struct secret *passphrase; /* opens keyslot */
        int keyslot;
        char uuid[37];
};

/* Bytes of an encryption sector on a disk with these: its own. What it writes as one is encrypted
 * as one, and a volume looks to what is above it like the disk below. */
uint32_t volume_sector(uint64_t device_sector);

/*
 * Formats and enrols: the first boot of a disk image needs no more. Destroys what was at the start
 * of the device. *ret is set on success alone; its owner calls volume_made_done().
 */
int volume_make(struct tpm *tpm, const struct volume_wish *wish, struct volume_made *ret,
                struct error *e) _must_check_;
void volume_made_done(struct volume_made *made);

/* What all new volumes of a node have in common. Borrowed. */
struct volume_keys {
        struct tpm *tpm;
        const struct verified_image *image; /* that will unlock them */
        uint32_t literal_pcrs;              /* that they are bound to by value */
        const uint8_t *literal_values;      /* these, ascending */
        const struct secret *pin;           /* asked for at each start; NULL: none */
        const struct secret *recovery_key;  /* NULL: none */
};

struct volume {
        const char *device;
        const char *label;      /* of the LUKS2 header */
        uint64_t device_sector; /* logical sector of the disk, bytes */
        bool allow_discards;
        struct volume_made made; /* by volume_enrol() */
};

/* volume_make() for an image. Destroys what was at the start of the device. */
int volume_enrol(const struct volume_keys *keys, struct volume *v, struct error *e) _must_check_;

/*
 * Works on what is on the disk, read again: the header passes the check of the boot stage, the
 * stored token leads to its policy with the values and the signature the image will have, the TPM
 * knows its PIN, and each key opens its slot.
 */
int volume_prove(const struct volume_keys *keys, const struct volume *v, struct error *e)
        _must_check_;

/* Maps it at /dev/mapper/<name>. */
int volume_activate(const struct volume *v, const char *name, struct error *e) _must_check_;

void volume_done(struct volume *v);
