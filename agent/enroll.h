/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside of "enroll": what it works on, and its actions.
 *
 * Two rules hold for every change. Whoever makes it has shown a right to: a recovery key of the
 * volumes for whatever adds a way in (the running system does not know the volume keys: the TPM is
 * closed, and the kernel does not give them out), and for what only removes ways, that the TPM
 * opened this very boot by a token that stays. And a way in goes last: a new token is proven on the
 * disk when it is made (design, section 7), by a real unsealing in the next boot, and what it
 * replaces is removed after that, by "finish". Another PIN, and other PCRs, replace at once: see
 * enroll_pin().
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
        const char *pin_file; /* NULL: ask on the terminal, when a PIN is needed */
        const char *pcrs;     /* bound by value from now on; NULL: those that are */
        const char *tcti, *root;
        struct option_list next; /* changes of Secure Boot's variables to come */
        uint64_t wait;
        bool remove; /* the PIN */
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

/* Wipes key slots that no token names, and notes each as a change. In a dry run it only notes. */
int enroll_clean(struct enroll *n, struct ways_volume *v, struct error *e) _must_check_;

/* What tokens ask for besides the image's signature. */
struct enroll_choice {
        uint32_t literal_pcrs;
        bool pin;
        bool new_pin; /* of this run's: no token has it yet */
        bool replace; /* tokens that ask for something else go when the new ones are proven */
};

/* All that tokens of the node ask for: nothing that asks for less may come beside. -EOPNOTSUPP
 * (ERROR_PRECONDITION) for tokens of a kind that is not made here. */
int enroll_read_choice(const struct enroll *n, struct enroll_choice *ret, struct error *e)
        _must_check_;

/*
 * Takes the PIN, from the file of the options or the terminal. One that tokens of this TPM have is
 * compared: -EILSEQ (ERROR_PRECONDITION) when it is another, which costs one try of the TPM and
 * never the last but one; -ENOLCK when the TPM is in lockout.
 */
int enroll_take_pin(const struct enroll *n, const struct enroll_choice *choice, struct secret **ret,
                    struct error *e) _must_check_;

/* Adds what is missing for a choice, proves it, and removes what it replaces. Errors as below. */
int enroll_seal(struct enroll *n, const struct enroll_choice *choice, struct error *e) _must_check_;

/* Refuses when images are locked out by the removal of ways (bits), apart from those in gained
 * (bit i = starters item i): -EBUSY (ERROR_PRECONDITION), with force only for what runs or comes
 * next. */
int enroll_check_loss(struct enroll *n, const struct ways_volume *v, uint32_t bits, unsigned gained,
                      struct error *e) _must_check_;

/*
 * Seals for the images that may start next and have the policy key of the running image or that of
 * the options, which is sealed for in any case: adds what is missing, and proves it. What runs and
 * what comes next must be among them: -EKEYREJECTED (ERROR_POLICY_KEY).
 */
int enroll_tpm(struct enroll *n, struct error *e) _must_check_;

/*
 * Seals with a new PIN, or without any, in place of all tokens that ask for something else. A PIN
 * that somebody may have seen is worth nothing while its token stays, and two are asked for one
 * after the other: so the old ones go at once, after the TPM has compared the new PIN and the token
 * was proven on the disk. The recovery key that gives the right to this opens the node in any case.
 */
int enroll_pin(struct enroll *n, struct error *e) _must_check_;

/* Adds a recovery key; with rotate it takes the place of all others. */
int enroll_recovery_key(struct enroll *n, struct error *e) _must_check_;

/* Removes TPM tokens that open no image here, and wipes key slots that no token names. */
int enroll_finish(struct enroll *n, struct error *e) _must_check_;

/* Removes the tokens of a policy key, or a recovery key. */
int enroll_drop(struct enroll *n, struct error *e) _must_check_;

/* "images", "volumes", "changes" and "warnings" of a report; -ENOMEM. And the same as text. */
int enroll_add_report(const struct enroll *n, struct json_object *root) _must_check_;
void enroll_print(const struct enroll *n);
