/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What this machine demands of an image: its key databases, its revocation level, the keys its disk
 * is sealed to, its version floor, and whether its Secure Boot state will hold. Read from the
 * machine, or from files for offline use.
 */
#pragma once

#include <stdbool.h>

#include "agent/node.h"
#include "agent/options.h"
#include "base/env.h"
#include "base/error.h"
#include "efivars/keyset.h"
#include "partition/floor.h"
#include "partition/tpm.h"
#include "upgrade/image.h"

#define MACHINE_PCR7_TEXT 512u
struct machine_options {
        /* Files instead of the machine's variables; none: the variables. */
        struct option_list db, dbx;
        const char *policy_key; /* PEM file instead of the keys of the disk's tokens */
        bool tpm_named;         /* somebody asked for this TPM: it has to answer */
        bool fresh;             /* the disk is about to be made: nothing is sealed yet */
        bool reset; /* the data partitions are about to be made: what they are sealed to is gone */
        bool allow_downgrade;
        /* Keys that will be the firmware's when the image starts, instead of the machine's db and
         * (when they have one) dbx; what PCR 7 will be is then the caller's to know. */
        const struct keyset *enrol;
};

struct machine {
        struct sigdb *db, *dbx;
        struct sbat *level;
        struct policy_key **keys;
        size_t n_keys;
        struct floor_report floor;
        struct buf log_text;  /* of this boot */
        struct eventlog *log; /* points into it; NULL: none, or it does not explain PCR 7 */
        char pcr7_text[MACHINE_PCR7_TEXT];
        struct image_demands demands; /* points into the above */
};

/*
 * Collects. A machine without UEFI, TPM or node is fine where files stand in; what is then unknown
 * makes its proof fail or not apply, as the proofs say. Errors are those of reading what is there.
 */
int machine_read(const struct env *env, const struct machine_options *options, struct machine *ret,
                 struct error *e) _must_check_;
void machine_done(struct machine *m);

/*
 * The log of this boot, which explains the TPM's PCR 7. text, which must allow LIMIT_EVENTLOG
 * bytes, gets its bytes and has to stay as long as *ret.
 */
int machine_read_log(const struct env *env, struct tpm *tpm, struct buf *text,
                     struct eventlog **ret, struct error *e) _must_check_;

/* Path of the policy key that the running image brought, where systemd-stub unpacked it, for
 * policy_key of the options; to be freed. */
int machine_running_key(const struct env *env, char **ret, struct error *e) _must_check_;

/* The folder of the encrypted OEM partition where the agent keeps its file, if it is mounted: a
 * descriptor or -ENOENT. */
int machine_open_state(const struct env *env) _must_check_;

/* The root of the encrypted persistent partition, if it is mounted: a descriptor or -ENOENT. */
int machine_open_persistent(const struct env *env) _must_check_;

/* The folder of the encrypted persistent partition that keeps a transfer, made when it is missing:
 * a descriptor or -ENOENT. */
int machine_open_spool(const struct env *env) _must_check_;

/* -ENOTSUP (ERROR_PRECONDITION) unless Secure Boot is on: without it no image proves anything. */
int machine_check_secure_boot(const struct env *env, struct error *e) _must_check_;

/* Version floor of this node: index and file, or the index alone before there is a file (fresh). */
int machine_inspect_floor(const struct env *env, struct tpm *tpm, bool fresh,
                          struct floor_report *ret, struct error *e) _must_check_;
