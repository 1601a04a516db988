/* SPDX-License-Identifier: Apache-2.0 */
/* Inside of the upgrade: what its parts share. */
#pragma once

#include "agent/upgrade_run.h"
#include "upgrade/bootloader.h"
#include "upgrade/image_receiver.h"
#include "upgrade/state.h"

struct upgrade_job {
        const struct upgrade_world *world;
        const struct upgrade_wish *wish;
        struct upgrade_report *report;
        enum entry_role target;
        struct situation situation;
        struct slots_plan plan;
        struct slots_wish slots_wish;
        struct state *state; /* of a world without memory: empty, and saved nowhere */
        struct state_operation operation;
        struct fetch *fetch;           /* NULL: the image is on the ESP */
        const struct fetch_info *info; /* NULL likewise */
        char key[160];                 /* what a partial file is remembered by */
        bool has_sha256;
        uint8_t sha256[SHA256_SIZE]; /* of the new image */
        bool has_names; /* a local image was looked at: product and version are its own */
        char product[FLOOR_PRODUCT_MAX + 1];
        struct verified_image *image;
        struct bootloader loader; /* that came with the image, proven; empty: none did */
        const struct image_demands *demands;
};

/* Asks the machine for its demands, once. */
int upgrade_demands(struct upgrade_job *j, struct error *e) _must_check_;

/* Opens the source and asks where it leads. Fills info, key, and the digest as far as it is known.
 */
int upgrade_resolve(struct upgrade_job *j, struct error *e) _must_check_;

/* The image that the plan wants, on the ESP, proven: received, copied, or taken as it stands. */
int upgrade_get_image(struct upgrade_job *j, struct error *e) _must_check_;

/* What is there, and the plan for the wish as far as it is known. */
int upgrade_plan(struct upgrade_job *j, struct error *e) _must_check_;

/* How the boot loader of this node wants images to be named. */
enum entry_key upgrade_entry_key(const struct upgrade_job *j);

/* -ECANCELED (ERROR_INTERRUPTED) when somebody wants this to end. */
int upgrade_check_stop(const struct upgrade_job *j, struct error *e) _must_check_;

/* Writes the memory; what cannot be written is a warning, as the ESP alone decides. */
void upgrade_remember(struct upgrade_job *j);
