/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a reset means to destroy, noted on the ESP before it destroys anything: whoever starts next,
 * and whichever entry that is, goes on. The note is written once and never changed; how far the
 * reset is, is seen on the volumes themselves (agent/reset.h).
 *
 * The ESP is not protected by anything. Who can write the disk can overwrite volumes, but he must
 * not have the machine make new ones: an empty "oem" beside an old "persistent" is a node without
 * its users, keys and records. So the TPM holds the digest of the journal (partition/tpm_note.h),
 * and one that it does not hold the digest of led to nothing and leads to nothing. The order:
 *
 *   begin   journal durable -> digest in the TPM -> first thing destroyed
 *   end     digest out of the TPM -> journal removed
 *
 * A cut between any two leaves a journal without a digest: nothing was destroyed yet, or all is
 * done. Only the second reset after one that was cut replaces a journal that counts; cut in there,
 * the node comes up in recovery and is reset again. A digest without a journal is removed by the
 * next boot.
 *
 * It names partitions of this disk by name and UUID, and the LUKS2 header of each, and has its
 * effect on these alone. It brings no key, no image, no place to write a key to, and nothing that
 * would lower what an image has to prove.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/digest.h"
#include "base/error.h"
#include "partition/extra.h"
#include "partition/layout.h"
#include "upgrade/esp.h"

#define RESET_JOURNAL_FILE ESP_IMAGE_DIR "/reset.json"
#define RESET_JOURNAL_SCHEMA 1u
#define RESET_VOLUMES_MAX (LIMIT_EXTRA_PARTITIONS + 2u)
#define RESET_ID_SIZE 33u

struct reset_volume {
        char name[EXTRA_NAME_MAX + 1];    /* of the partition: "oem", "persistent", a user's */
        char partition[LAYOUT_UUID_SIZE]; /* its UUID */
        char uuid[LAYOUT_UUID_SIZE];      /* of the header to destroy; "" = it could not be read */
        char label[EXTRA_LABEL_MAX + 1];  /* of the new volume and its file system */
        bool file_system;                 /* ext4, else none is made */
        bool allow_discards;
};

struct reset_journal {
        char id[RESET_ID_SIZE]; /* of this reset, random */
        uint64_t time;          /* seconds since 1970, when it began */
        bool overwrite;         /* the whole range of each */
        uint32_t pcrs;          /* that new volumes are bound to by value (agent/pcr_choice.h) */
        bool pin;               /* they want a PIN, which is not in here */
        /* The user's partitions that have to be encrypted, for the record on a new oem. */
        size_t n_encrypted;
        char encrypted[LIMIT_EXTRA_PARTITIONS][EXTRA_NAME_MAX + 1];
        size_t n;
        struct reset_volume volume[RESET_VOLUMES_MAX];
};

/* Whether it means the partition of that name. */
bool reset_journal_names(const struct reset_journal *j, const char *name);

/* Appends the text. -ENOMEM. */
int reset_journal_format(const struct reset_journal *j, struct buf *out) _must_check_;

/* -EBADMSG (ERROR_CONFIG) for anything that reset_journal_format() does not make, among it names
 * that are no data partition's. */
int reset_journal_parse(const void *text, size_t n, struct reset_journal *ret, struct error *e)
        _must_check_;

/* -ENOENT when there is none. digest: what the TPM holds; any other is -EKEYREJECTED
 * (ERROR_PRECONDITION) before anything in it is looked at. NULL: whatever is there. */
int reset_journal_load(const struct esp *esp, const uint8_t *digest, struct reset_journal *ret,
                       struct error *e) _must_check_;

/* Durable when it returns 0; replaces an earlier one. digest: for the TPM. */
int reset_journal_store(const struct esp *esp, const struct reset_journal *j,
                        uint8_t digest[SHA256_SIZE], struct error *e) _must_check_;

/* None there is fine. */
int reset_journal_remove(const struct esp *esp, struct error *e) _must_check_;
