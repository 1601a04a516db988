/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which words of a cloud-config are handed to the engine of user data, and what becomes of the
 * stages of Kairos. tb-agent-config(5) has these tables for people; a test compares them.
 */
#pragma once

enum userdata_use {
        USERDATA_BOTH,    /* cloud-init and systemd */
        USERDATA_CLOUD,   /* cloud-init alone */
        USERDATA_REFUSED, /* no engine is given it */
        USERDATA_SKIP,    /* of a step: nothing is to be done */
        USERDATA_STEP,    /* of a step: all of it is left out */
};

struct userdata_key {
        const char *name; /* NULL ends a table */
        enum userdata_use use;
        const char *why; /* of REFUSED and STEP */
};

/* Uppermost keys; one that is not here belongs to another program, and no engine gets it. */
extern const struct userdata_key userdata_top_keys[];
/* Keys of a step of a stage. */
extern const struct userdata_key userdata_step_keys[];
/* The stages that are steps of a boot, in their order; NULL ends the list. Each also as NAME.before
 * and NAME.after. */
extern const char *const userdata_stages[];

/* NULL: there is none of this name. */
const struct userdata_key *userdata_table_find(const struct userdata_key *table, const char *name);
