/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Recovery keys: a secret of 256 bits that a person keeps, in the form of systemd-cryptenroll
 * --recovery-key, in both directions.
 *
 * The bytes are written in modhex, sixteen letters that are at the same place on nearly every
 * keyboard: "cbdefghi-jklnrtuv-...", eight groups of eight with dashes between them. This text,
 * lower case and with its dashes, is the passphrase of a key slot; a token of type systemd-recovery
 * names the slot. The entropy is full, so the key slot has the smallest PBKDF of the format, as
 * systemd makes it (pbkdf2-sha512, 1000 iterations).
 *
 * One key may be enrolled in several volumes: each has a key slot of its own, with its own salt.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/secret.h"
#include "partition/luks.h"

#define RECOVERY_KEY_BYTES 32u
/* Letters and dashes of the text, without a NUL. */
#define RECOVERY_KEY_TEXT 71u

/* The text of a new key, random from the kernel. NULL with errno set. */
struct secret *recovery_key_new(void);

/* The text of a key of RECOVERY_KEY_BYTES bytes. NULL with errno set. */
struct secret *recovery_key_encode(const uint8_t *raw);

/*
 * What a person typed, or a file holds, as the text a key slot takes: upper case, dashes left out
 * or in other places, blanks and line ends are forgiven. -EINVAL (ERROR_USAGE) when it is no
 * recovery key; the message never repeats a letter of it.
 */
int recovery_key_parse(const uint8_t *typed, size_t n, struct secret **ret, struct error *e)
        _must_check_;

/* Adds the key slot and its token. volume_key as in luks_add_keyslot(). */
int recovery_key_enrol(struct luks *l, const struct secret *volume_key, const struct secret *key,
                       struct error *e) _must_check_;

/* Key slot of the first recovery token from id *token on, which is moved behind it: start with 0.
 * -ENOENT when there is none. Call luks_check_header() on the same handle first. */
int recovery_key_next_slot(const struct luks *l, int *token) _must_check_;

/*
 * Finds the key slot that the key opens, among those that recovery tokens name; passwords of other
 * slots are never tried. Returns its number; -ENOKEY when the volume has no recovery key, -EACCES
 * when this is not it (ERROR_PRECONDITION both).
 */
int recovery_key_find_slot(const struct luks *l, const struct secret *key, struct error *e)
        _must_check_;
