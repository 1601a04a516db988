/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside of "enroll": what it works on, and its actions.
 *
 * Two rules hold for every change. Whoever makes it has shown a right to: a recovery key of the
 * volumes for whatever adds a way in (the running system does not know the volume keys: the TPM is
 * closed, and the kernel does not give them out), and for what only removes ways, that the TPM
 * opened this very boot by a token that stays. And a way in goes last: a new token is proven on the
 * disk when it is made (design, section 7), by a real unsealing in the next boot, and what it
 * replaces is removed after that, by "finish".
 */
#pragma once

#include "agent/install_escrow.h"
#include "agent/node.h"
#include "agent/options.h"
#include "agent/starters.h"
#include "agent/ways.h"
#include "base/env.h"
#include "base/error.h"
#include "base/secret.h"

struct enroll_options {
        const char *action;
        const char *key_file;   /* recovery key that authorises; NULL: ask on the terminal */
        const char *policy_key; /* PEM file, or fingerprint in hexadecimal */
        const char *new_key_file;
        const char *tcti, *root;
        struct option_list next; /* changes of Secure Boot's variables to come */
        uint64_t wait;
        bool rotate, recovery_key, force, dry_run, allow_software_tpm, json;
};

#define ENROLL_CHANGES_MAX 256u
#define ENROLL_WARNINGS_MAX 16u

struct enroll_change {
        const char *volume; /* name of the partition, in the node's layout */
        bool added;
        char what[200];
};

struct enroll {
        const struct env *env;
        const struct enroll_options *options;
        struct node_esp esp; /* node NULL: not open */
        struct tpm *tpm;     /* NULL: it cannot be asked, see tpm_error */
        struct error tpm_error;
        struct keychange keys;
        struct starters starters;
        struct ways ways;
        struct secret *volume_key[ARRAY_SIZE(((struct ways *)NULL)->volume)]; /* as ways.volume */
        struct install_escrow escrow;                    /* of a new recovery key */
        struct enroll_change change[ENROLL_CHANGES_MAX]; /* made, or planned with --dry-run */
        unsigned n_changes;
        char warning[ENROLL_WARNINGS_MAX][256];
        unsigned n_warnings;
};

/* Both are borrowed. */
void enroll_init(struct enroll *n, const struct env *env, const struct enroll_options *options);

/*
 * Looks at the node: ESP, TPM, images, headers. with_tpm: without a TPM that answers it fails;
 * otherwise nothing is known of what TPM tokens are good for then.
 */
int enroll_open(struct enroll *n, bool with_tpm, struct error *e) _must_check_;
/* Reads the headers again, from the disk. */
int enroll_read_ways(struct enroll *n, struct error *e) _must_check_;
void enroll_done(struct enroll *n);

/* Notes a change or a warning for the report; what does not fit is left out. */
void enroll_note(struct enroll *n, const struct ways_volume *v, bool added, const char *fmt, ...)
        _printf_(4, 5);
void enroll_warn(struct enroll *n, const char *fmt, ...) _printf_(2, 3);

/*
 * Takes a recovery key, from the file of the options or the terminal, and the volume keys by it.
 * ERROR_PRECONDITION: -EACCES when it does not open one of ours, -ENOKEY when a volume has none.
 * Partitions of the user's that it does not open are left alone, with a warning.
 */
int enroll_authenticate(struct enroll *n, struct error *e) _must_check_;

/*
 * The policy key of the options: from its file, or found by its fingerprint among the images and
 * tokens of this node. ERROR_CONFIG for a file that is none, -ENOKEY (ERROR_USAGE) when nothing
 * here has that fingerprint.
 */
int enroll_read_policy_key(const struct enroll *n, struct policy_key **ret, struct error *e)
        _must_check_;
bool enroll_same_key(const struct policy_key *a, const struct policy_key *b);

/*
 * Seals for the images that may start next and have the policy key of the running image or that of
 * the options, which is sealed for in any case: adds what is missing, and proves it. What runs and
 * what comes next must be among them: -EKEYREJECTED (ERROR_POLICY_KEY).
 */
int enroll_tpm(struct enroll *n, struct error *e) _must_check_;

/* Adds a recovery key; with rotate it takes the place of all others. */
int enroll_recovery_key(struct enroll *n, struct error *e) _must_check_;

/* Removes TPM tokens that open no image here, and wipes key slots that no token names. */
int enroll_finish(struct enroll *n, struct error *e) _must_check_;

/* Removes the tokens of a policy key, or a recovery key. */
int enroll_drop(struct enroll *n, struct error *e) _must_check_;

/* "images", "volumes", "changes" and "warnings" of a report; -ENOMEM. And the same as text. */
int enroll_add_report(const struct enroll *n, struct json_object *root) _must_check_;
void enroll_print(const struct enroll *n);
