/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The proofs an image has to give before it may touch the boot path (design, section 8), as a list
 * that can be printed. Each proof ends in one state; a list with a failed proof is a refusal.
 */
#pragma once

#include <stdbool.h>

#include "base/error.h"
#include "base/json.h"

/* In the order in which they are given and printed. */
enum proof_id {
        PROOF_FORMAT,       /* well-formed USI within the limits, with every section a node needs */
        PROOF_ARCHITECTURE, /* for this machine's processor */
        PROOF_SECURE_BOOT,  /* firmware would start it: db, dbx */
        PROOF_SBAT,         /* not below the revocation level */
        PROOF_POLICY_KEY,   /* its PCR policy key is the one the disk is sealed to */
        PROOF_PCR_SIGNATURE, /* its own PCR 11 is signed by that key for the unlock phase */
        PROOF_PHASES,        /* nothing later than the unlock phase is signed */
        PROOF_PCR7,          /* the Secure Boot state the disk is bound to will be the same */
        PROOF_VERSION,       /* not below the version floor */
        PROOF_LOADER,        /* firmware would start the boot loader that comes with it */
        PROOF_MAX,
};

enum proof_state {
        PROOF_NOT_REACHED, /* an earlier proof failed, so this one could not be tried */
        PROOF_PASSED,
        PROOF_WARNING, /* no reason to refuse, but somebody should know */
        PROOF_NOT_APPLICABLE,
        PROOF_OVERRIDDEN, /* failed, and the operator explicitly accepted that */
        PROOF_FAILED,
        PROOF_STATE_MAX,
};

struct proof {
        enum proof_state state;
        enum error_class class; /* of a failed or overridden one */
        int code;               /* errno of it */
        char text[1024];        /* what was found */
        char advice[512];       /* may be empty */
};

struct proofs {
        struct proof item[PROOF_MAX];
};

/* Stable names: "secure-boot"; "passed", "not-applicable". */
const char *proof_name(enum proof_id id);
const char *proof_state_name(enum proof_state state);

/* Sets state and text of one proof. */
void proof_set(struct proofs *p, enum proof_id id, enum proof_state state, const char *fmt, ...)
        _printf_(4, 5);

/* Takes a failed proof from an error. class replaces the error's, unless it is ERROR_NONE or the
 * error is none of the image's making (memory, I/O). */
void proof_fail(struct proofs *p, enum proof_id id, enum error_class class, const struct error *e);

/* Class of a refusal by trust_enforce(), from its errno: revoked, or not signed for this machine.
 */
enum error_class proof_trust_class(int r);

/* Turns a failed proof into an overridden one. */
void proof_override(struct proofs *p, enum proof_id id, const char *by);

/* Says in the log what somebody should know although the image is accepted: each proof that is a
 * warning, and each that failed and was overridden. */
void proofs_log(const struct proofs *p);

/* The failures among n items that somebody accepted, as one text: "version: 0.9 is older ...
 * (accepted by ...)"; what does not fit is cut. "" when there are none. */
void proof_overrides(const struct proof *items, const char *const *names, size_t n, char *ret,
                     size_t size);
/* The same for the proofs of an image. */
void proofs_overrides(const struct proofs *p, char *ret, size_t size);

/* 0 when nothing failed; otherwise *e gets the first failed proof, and its errno is returned. */
int proofs_enforce(const struct proofs *p, struct error *e) _must_check_;

/* [{"proof","state","text","advice"},...]; NULL when memory ran out. */
struct json_object *proofs_json(const struct proofs *p);
