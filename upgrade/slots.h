/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The upgrade transaction on the ESP (design, section 4): which image stays, which entry is
 * switched, added, removed, in an order that keeps a known good image startable after every single
 * step. slots_plan() is pure; slots_apply() goes through upgrade/esp.h and may be stopped and
 * repeated at any point: planning again from what is then on the ESP leads to the same end.
 *
 * Who becomes what:
 *   running blessed active   its image becomes passive, the new one active on trial
 *   running passive          passive is kept, a bad or untried active is replaced
 *   running recovery         a confirmed passive (else a confirmed active) is kept, the rest as above
 *   running unblessed active refused (-EPERM, ERROR_PRECONDITION) unless forced; passive is kept
 *   recovery is the target   only the recovery entry changes, in place
 */
#pragma once

#include "upgrade/bootloader.h"
#include "upgrade/entry.h"
#include "upgrade/esp.h"

/* Tries of a new active image. */
#define SLOTS_TRIES 3u

/* What is there. Borrowed. */
struct slots_situation {
        const struct entry_file *entries;
        size_t n_entries;
        const struct esp_image *images;
        size_t n_images;
        enum entry_role running;  /* ENTRY_ROLE_NONE: none of ours runs (a repair from outside) */
        bool running_confirmed;
        /* Image file the running system came from ("usi-00000007.efi"), "" = unknown. */
        char running_image[ENTRY_IMAGE_NAME_SIZE];
};

struct slots_wish {
        enum entry_role target;   /* ENTRY_ROLE_ACTIVE or ENTRY_ROLE_RECOVERY */
        const uint8_t *sha256;    /* of the new image; NULL: not known yet */
        uint64_t size;            /* 0: not known yet */
        bool force;               /* from an unblessed active; a digest that failed before */
};

enum slots_outcome {
        SLOTS_NOTHING,   /* the target has this image already and it is confirmed, or on trial with tries left */
        SLOTS_CHANGE,
};

enum slots_step_kind {
        SLOTS_ADD_IMAGE,    /* number; reuse: an image with this digest is there already */
        SLOTS_SWITCH_ENTRY, /* file, in place */
        SLOTS_ADD_ENTRY,    /* file */
        SLOTS_REMOVE_ENTRY, /* file */
        SLOTS_REMOVE_IMAGE, /* number */
};

struct slots_step {
        enum slots_step_kind kind;
        char file[NAME_MAX + 1];
        uint32_t number;
        bool of_new_image;        /* entry steps: names the new image; else the one of `from` */
        char from[NAME_MAX + 1];  /* entry steps: the entry whose image, version and digest it takes over */
};

#define SLOTS_STEPS_MAX 64u

struct slots_plan {
        enum slots_outcome outcome;
        struct slots_step step[SLOTS_STEPS_MAX];
        unsigned n;
        uint32_t number; /* of the new image: a fresh one, that of a partial file, or of an equal image */
        bool reuse;      /* no byte of the image has to be written */
};

int slots_plan(const struct slots_situation *s, const struct slots_wish *w, struct slots_plan *ret, struct error *e)
        _must_check_;
