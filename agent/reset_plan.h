/* SPDX-License-Identifier: Apache-2.0 */
/* Inside of "reset": what it would do to this node. Looks only; printed by --dry-run. */
#pragma once

#include <stdio.h>

#include "agent/data.h"
#include "agent/machine.h"
#include "agent/pcr_choice.h"
#include "agent/reset.h"

struct reset_wishes {
        bool persistent, oem;          /* make these anew */
        struct option_list partitions; /* and these of the user's, by name */
        bool all;                      /* forget floor and memory, too */
        bool overwrite;
        bool pin, no_pin;     /* of the new volumes, whatever the old ones have */
        bool force;           /* outside of recovery; a kept partition that the TPM did not open */
        bool allow_downgrade; /* an image below the version floor, which is cleared then */
};

struct reset_plan {
        const struct env *env;
        bool recovery; /* this is a recovery session; else the next boot carries it out */
        struct node *node;
        struct tpm *tpm;
        struct machine machine;
        bool has_machine;
        uint8_t values[PCR_CHOICE_LITERAL_COUNT * SHA256_SIZE]; /* of the journal's PCRs */
        bool had_pin;             /* some volume of the node has one */
        bool pin_stays;           /* of these, one that is kept: reset_pin_stays() */
        struct reset_report look; /* image and copied */
        struct reset_journal journal;
        struct data_list list;
        bool erased[ARRAY_SIZE(((struct data_list *)NULL)->item)]; /* of list */
        bool clear_floor, clear_memory;
};

/*
 * ERROR_PRECONDITION where a reset is not carried out: a live session, another role than recovery
 * (unless forced), no TPM, Secure Boot off, a partition to keep that the new active image could not
 * open. ERROR_VERSION: recovery's image is older than the version floor. plan->env is set by the
 * caller; reset_plan_done() in any case.
 */
int reset_plan_make(struct reset_plan *p, const struct reset_wishes *wishes, struct error *e)
        _must_check_;
void reset_plan_done(struct reset_plan *p);

void reset_plan_describe(const struct reset_plan *p, FILE *out);

/* Adds "kept" to a document. -ENOMEM. */
int reset_plan_add_kept(const struct reset_plan *p, struct json_object *root) _must_check_;

/* The names of what is erased, with commas between them, for hooks. */
void reset_plan_names(const struct reset_plan *p, char *ret, size_t n);
