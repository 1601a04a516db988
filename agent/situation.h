/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How a node stands: what is on its ESP, and which of it runs. The boot loader tells only the name
 * of the entry it started, and entries move when images are upgraded; so what runs is found once in
 * a boot, before anything is changed, and noted in run/tb-agent/running.json.
 */
#pragma once

#include <stdbool.h>

#include "base/env.h"
#include "base/error.h"
#include "efivars/loader.h"
#include "upgrade/slots.h"

struct running {
        enum entry_role role;              /* ENTRY_ROLE_NONE: none of ours */
        bool on_trial;                     /* this boot was made from an entry with a counter */
        bool confirmed;                    /* its entry has no counter (any more) */
        char image[ENTRY_IMAGE_NAME_SIZE]; /* "usi-00000007.efi", "" = unknown */
        char version[128];                 /* "" = unknown */
        bool has_sha256;
        uint8_t sha256[SHA256_SIZE];
};

struct situation {
        struct esp esp;
        struct slots_situation slots; /* complete, for slots_plan() */
        struct running running;
        bool reset_pending; /* there is a journal of a reset */
        bool has_loader;    /* loader is filled */
        struct loader_info loader;
};

/* Reads; changes nothing. The descriptor of the ESP in esp is borrowed. */
int situation_read(const struct env *env, const struct esp *esp, struct situation *ret,
                   struct error *e) _must_check_;
void situation_done(struct situation *s);

/* Reads the ESP again, after a change of it; what runs stays the same. */
int situation_refresh(struct situation *s, struct error *e) _must_check_;

/* Notes what runs, for later runs in this boot. Before the first change of an entry. */
int situation_note(const struct env *env, const struct situation *s, struct error *e) _must_check_;

/* The entry that the loader starts when no variable names one; NULL: there is none. */
const struct entry_file *situation_next(const struct situation *s);

/* The boot loader would not choose it by itself: tries used up, or nothing to start. */
bool situation_is_bad(const struct entry_file *f);
