/* SPDX-License-Identifier: Apache-2.0 */
/*
 * LUKS2 volumes: format, key slots, tokens, the check before unlocking, activation.
 *
 * A handle reads the header once; the check, the test of a key slot and the activation all work on
 * what was read then, so that a disk cannot show one header to the check and another one later.
 *
 * Every passphrase here is full-entropy: a sealed secret (its secret_base64(), 44 characters, as
 * systemd does it) or a recovery key. Key slots are therefore made with the smallest PBKDF the
 * format allows (pbkdf2-sha512, 1000 iterations, no benchmark). There is no way to add a slot for
 * anything a person chose.
 *
 * path may be a block device, a plain file, or /proc/self/fd/N. Everything but luks_activate() and
 * luks_deactivate() works without device-mapper. What libcryptsetup writes is synced by it.
 *
 * Errors: -EMEDIUMTYPE not a LUKS2 volume, -EBADMSG a header that is not acceptable, -EACCES the
 * passphrase does not open the slot (all ERROR_PRECONDITION, with advice); otherwise the errno of
 * libcryptsetup with its message.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/error.h"
#include "base/secret.h"
#include "partition/token.h"

/* aes-xts-plain64 with two keys of 256 bits. */
#define LUKS_VOLUME_KEY_SIZE 64u
/* Where the data begins in a volume made here, in bytes; all before it is header and key slots. */
#define LUKS_HEADER_SIZE (UINT64_C(16) * 1024 * 1024)

#define LUKS_ANY_TOKEN (-1)

/* The cost of all key slots made here. */
#define LUKS_PBKDF2_ITERATIONS 1000u

struct luks;

struct luks_format_options {
        const char *label;    /* volume label, "" for none */
        uint32_t sector_size; /* bytes per encryption sector: 512, 1024, 2048 or 4096 */
        bool allow_discards;  /* kept in the header; every activation follows it */
};

/*
 * Makes a new LUKS2 volume: random volume key and UUID, no key slot yet. Whatever was at the start
 * of the device is lost. The handle may add key slots without naming the volume key.
 */
int luks_format(const char *path, const struct luks_format_options *options, struct luks **ret,
                struct error *e) _must_check_;

/* Reads the header of an existing volume. */
int luks_open(const char *path, struct luks **ret, struct error *e) _must_check_;

void luks_free(struct luks *l);
DEFINE_CLEANUP(struct luks, luks_free)

/* Borrowed; label "" when there is none. */
const char *luks_uuid(const struct luks *l);
const char *luks_label(const struct luks *l);

/* Where the data begins, in bytes: headers and key slots lie before it. */
uint64_t luks_data_offset(const struct luks *l);
/* Whether the header has the flag allow-discards. */
bool luks_allows_discards(const struct luks *l);

/*
 * Gives the volume another label. Both copies of the header are written, each with a checksum and
 * the first one whole before the second: after a power cut the label is the old or the new one
 * (LUKS2 On-Disk Format, section 2.4).
 */
int luks_set_label(struct luks *l, const char *label, struct error *e) _must_check_;

/*
 * Adds a key slot for a full-entropy passphrase, in the lowest free place. volume_key may be NULL
 * on a handle of luks_format().
 */
int luks_add_keyslot(struct luks *l, const struct secret *volume_key,
                     const struct secret *passphrase, int *ret_keyslot, struct error *e)
        _must_check_;

/* Wipes a key slot. -ENOENT when it is empty. Tokens that name it stay: remove them too. */
int luks_remove_keyslot(struct luks *l, int keyslot, struct error *e) _must_check_;

/*
 * Writes the JSON text of a token, over an existing one or (LUKS_ANY_TOKEN) into a free place.
 * ret_token may be NULL.
 */
int luks_set_token(struct luks *l, int token, const char *json, int *ret_token, struct error *e)
        _must_check_;
int luks_remove_token(struct luks *l, int token, struct error *e) _must_check_;

/* JSON text of a token, borrowed until the next change of tokens; NULL when there is none. Ids go
 * from 0 to LIMIT_LUKS_TOKENS - 1. */
const char *luks_token_json(const struct luks *l, int token);

/* The same, parsed. -ENOENT when there is none or it is not of type systemd-tpm2; else as
 * token_parse(). */
int luks_get_token(const struct luks *l, int token, struct token **ret, struct error *e)
        _must_check_;

/* Key slots that no token names, bit i = slot i: what an interrupted enrolment or removal left. */
uint32_t luks_unnamed_keyslots(const struct luks *l);

/*
 * Fail-closed check of the header, by what is allowed: LUKS2; one crypt segment, aes-xts-plain64,
 * up to the end of the device, behind its own header; keys of 512 bits; no requirements (no
 * reencryption in progress); key slots of type luks2 that are encrypted with aes-xts-plain64, have
 * bounded PBKDF costs, and are each named by a token, or made for a full-entropy secret and named
 * by none (an enrolment cut off between its two writes must not lock a node); tokens of type
 * systemd-tpm2 and systemd-recovery only, the latter as token_format_recovery() writes them and
 * alone on their key slot; the label as given. -EBADMSG for anything else.
 */
int luks_check_header(const struct luks *l, const char *label, struct error *e) _must_check_;

/* The pure part of it: the metadata as JSON text. */
int luks_check_metadata(const char *json, size_t n, struct error *e) _must_check_;

/* Opens the key slot with the passphrase and checks the volume key, without activation. */
int luks_test_secret(const struct luks *l, int keyslot, const struct secret *passphrase,
                     struct error *e) _must_check_;

/* The same, giving the volume key. */
int luks_get_volume_key(const struct luks *l, int keyslot, const struct secret *passphrase,
                        struct secret **ret, struct error *e) _must_check_;

/*
 * Opens the key slot and maps the volume at /dev/mapper/<name>. The volume key is returned for
 * tpm_measure_volume_key() unless ret_volume_key is NULL. Call luks_check_header() on the same
 * handle first. Discards pass when the header has the flag allow-discards. The flag is not
 * authenticated, and need not be: who can write the header sees which blocks are in use anyhow.
 */
int luks_activate(struct luks *l, const char *name, int keyslot, const struct secret *passphrase,
                  struct secret **ret_volume_key, struct error *e) _must_check_;

/* The header is in a file of its own, with the data at the same offset of this device as it would
 * be with the header in front. Before luks_activate(). */
int luks_set_data_device(struct luks *l, const char *path, struct error *e) _must_check_;

int luks_deactivate(const char *name, struct error *e) _must_check_;
