/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside of "install": everything between an installation and the firmware: the checks before the
 * first write, the Secure Boot keys, the boot entry, and the value of PCR 7 to seal to.
 */
#pragma once

#include "agent/firmware_entry.h"
#include "agent/install_keys.h"
#include "agent/preflight.h"

struct install_plan;

struct install_firmware_wishes {
        const char *keys;    /* folder; NULL: none are brought */
        const char *keys_by; /* NULL: by the agent */
        bool allow_software_tpm;
};

struct install_firmware {
        struct preflight_facts facts;
        struct preflight preflight;
        struct install_keys keys;
        struct firmware_gone gone; /* ESPs that were on the disk */
        struct firmware_entry entry;
};

/* What the machine says by itself; the first thing of a plan. */
int install_firmware_begin(struct install_plan *p, const struct install_firmware_wishes *wishes,
                           struct error *e) _must_check_;
/* What takes image, disk and layout; the last thing. Sets the plan's PCR 7. */
int install_firmware_end(struct install_plan *p, struct error *e) _must_check_;
/* Values that PCRs bound by value will have when the installed image unlocks, ascending, 32 bytes
 * for each bit of mask. */
int install_firmware_pcrs(const struct install_plan *p, struct tpm *tpm, uint32_t mask,
                          uint8_t *ret_values, struct error *e) _must_check_;
void install_firmware_done(struct install_firmware *f);

/* Keys and loader.conf of the new ESP. */
int install_firmware_fill_esp(const struct install_plan *p, const struct esp *esp, struct error *e)
        _must_check_;
/* Boot entry and keys, when the disk is complete. Failures are told, and are no failure. */
void install_firmware_apply(struct install_plan *p);

/* Plan and result, as text and as JSON fields. -ENOMEM. */
void install_firmware_describe(const struct install_plan *p, FILE *out);
int install_firmware_add_plan(struct json_object *root, const struct install_plan *p) _must_check_;
int install_firmware_add_result(struct json_object *root, const struct install_plan *p)
        _must_check_;
