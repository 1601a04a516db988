/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the agent remembers about upgrades: the last operations, the images that failed on this
 * node, which manifest leads to which image, what a partial file on the ESP was to become, and the
 * wish to upgrade recovery after the next confirmation.
 *
 * One small JSON file in the encrypted OEM partition, replaced atomically. It is a memory, not a
 * journal: the ESP alone decides what happens next, and losing the file costs a download at most.
 * Fields of other programs are kept. A file of a newer schema is read as far as it is understood
 * and never written; one that is no JSON of ours is put aside with a warning.
 *
 * Life cycle: state_load() -> queries and changes -> state_save() -> state_free(). Strings given in
 * are cut at their limit. Changes fail with -ENOMEM only (ERROR_INTERNAL).
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/digest.h"
#include "base/error.h"
#include "base/json.h"
#include "upgrade/entry.h"

#define STATE_FILE "tb-agent-upgrade.json"
/* Where a file that cannot be read is put. */
#define STATE_FILE_BAD "tb-agent-upgrade.json.bad"
#define STATE_SCHEMA 1u
#define STATE_OPERATIONS_MAX 16u
#define STATE_FAILED_MAX 32u
#define STATE_KNOWN_MAX 32u
#define STATE_TEXT_MAX 512u

/* "" and 0 where something is not known. */
struct state_operation {
        char id[64];                 /* of this operation, made by state_begin() */
        uint64_t time;               /* seconds since 1970 */
        char boot_id[37];            /* of the boot it ran in */
        char verb[16];               /* "upgrade", "bless", ... */
        char target[16];             /* role */
        char source[STATE_TEXT_MAX]; /* as for messages, without passwords */
        char manifest[160];
        bool has_sha256;
        uint8_t sha256[SHA256_SIZE];
        char from_version[128], to_version[128];
        bool finished;
        char result[32]; /* name of the error class, "none" = success */
        char text[STATE_TEXT_MAX];
        char overridden[STATE_TEXT_MAX]; /* proofs that failed, and by whose wish that counted not
                                          */
        uint64_t network, written;       /* bytes */
};

struct state_failure {
        uint8_t sha256[SHA256_SIZE];
        uint64_t time;
        char reason[STATE_TEXT_MAX];
};

/* A file on the ESP that was begun for an image. */
struct state_partial {
        uint32_t number;
        char key[160]; /* what it was begun for: digest of manifest or image, or a URL */
};

struct state;

/*
 * dirfd: the folder in the encrypted partition. No file is an empty state. Errors are those of
 * reading; -EBADF: no folder, an empty state that state_save() does not write anywhere.
 */
int state_load(int dirfd, struct state **ret, struct error *e) _must_check_;
void state_free(struct state *s);
DEFINE_CLEANUP(struct state, state_free)

/* A newer agent's: state_save() refuses. */
bool state_is_newer(const struct state *s);

/* Durable when it returns 0. -EROFS (ERROR_PRECONDITION) for a newer schema. */
int state_save(const struct state *s, int dirfd, struct error *e) _must_check_;

/* Appends; fills id from time, boot id and a random number. The oldest beyond the limit goes. */
int state_begin(struct state *s, struct state_operation *op, struct error *e) _must_check_;
/* Replaces the operation with that id, or appends it. */
int state_update(struct state *s, const struct state_operation *op, struct error *e) _must_check_;
unsigned state_operations(const struct state *s);
/* 0 is the newest. -ENOENT. */
int state_operation_at(const struct state *s, unsigned i, struct state_operation *ret) _must_check_;
/* As stored, for "status --json": borrowed array, oldest first; NULL when there is none. */
struct json_object *state_operations_json(const struct state *s);

/* An image that failed on this node. Again: time and reason are replaced. */
int state_add_failure(struct state *s, const uint8_t sha256[SHA256_SIZE], uint64_t time,
                      const char *reason, struct error *e) _must_check_;
/* -ENOENT when it never failed. ret may be NULL. */
int state_find_failure(const struct state *s, const uint8_t sha256[SHA256_SIZE],
                       struct state_failure *ret) _must_check_;
unsigned state_failures(const struct state *s);
/* 0 is the newest. -ENOENT. */
int state_failure_at(const struct state *s, unsigned i, struct state_failure *ret) _must_check_;
/* Forced, or confirmed after all. */
void state_forget_failure(struct state *s, const uint8_t sha256[SHA256_SIZE]);

/* Manifest or layer digest (as written, "sha256:...") that leads to this image of that size. */
int state_add_known(struct state *s, const char *manifest, const uint8_t sha256[SHA256_SIZE],
                    uint64_t size, struct error *e) _must_check_;
/* -ENOENT. ret_size may be NULL. */
int state_find_known(const struct state *s, const char *manifest, uint8_t ret[SHA256_SIZE],
                     uint64_t *ret_size) _must_check_;

/* Remembers or (NULL) forgets. */
int state_set_partial(struct state *s, const struct state_partial *partial, struct error *e)
        _must_check_;
int state_get_partial(const struct state *s, struct state_partial *ret) _must_check_; /* -ENOENT */

/*
 * Digest of the image that recovery is to get once it is confirmed as active; NULL: no wish.
 * -ENOENT.
 */
int state_set_recovery_wish(struct state *s, const uint8_t *sha256, struct error *e) _must_check_;
int state_get_recovery_wish(const struct state *s, uint8_t ret[SHA256_SIZE]) _must_check_;
