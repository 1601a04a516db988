/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The boot entry of this node in the firmware (efivars/bootorder.h): a help, never a need. The
 * firmware also starts \EFI\BOOT\BOOTX64.EFI of a disk without any entry, so nothing here fails an
 * operation (design, invariant I6): what could not be done is told.
 */
#pragma once

#include "base/env.h"
#include "base/json.h"
#include "efivars/bootorder.h"
#include "partition/layout.h"

enum firmware_entry_outcome {
        FIRMWARE_ENTRY_NOT_TRIED,
        FIRMWARE_ENTRY_WRITTEN,
        FIRMWARE_ENTRY_PRESENT, /* it was right, and nothing was written */
        FIRMWARE_ENTRY_FAILED,
};

struct firmware_entry {
        enum firmware_entry_outcome outcome;
        char name[LOADOPT_NAME_SIZE]; /* "Boot0003"; "" when there is none */
        char reason[512];             /* of a failure, with what to do */
};

/* Partitions of a disk that are about to go, or went. */
struct firmware_gone {
        char uuid[16][LOADOPT_UUID_SIZE];
        size_t n;
};

/* Remembers the ESPs of a table; those of more than 16 are left to the firmware. */
void firmware_entry_remember(const struct layout *old, struct firmware_gone *ret);

/*
 * Installation: the boot loader of this ESP is known to the firmware and comes first; entries for
 * it on partitions that are gone are removed. product names the entry; NULL or "": "tb-agent".
 */
void firmware_entry_install(const struct env *env, const struct layout_partition *esp,
                            uint64_t sector_size, const char *product,
                            const struct firmware_gone *gone, struct firmware_entry *ret);

/*
 * A node that runs: makes the entry again when the firmware has lost it, or does not list it. One
 * that is listed stays where somebody put it. The disk is looked at only when there is work.
 */
void firmware_entry_repair(const struct env *env, struct firmware_entry *ret);

/* Adds "firmware_entry":{"state","entry","reason"}; null when it was not tried. -ENOMEM. */
int firmware_entry_json(struct json_object *root, const struct firmware_entry *f) _must_check_;

/*
 * Adds the same for a node that runs, without changing anything: state is "present" (and first),
 * "not-first", "not-listed", "missing" or "unknown" (with the reason). -ENOMEM.
 */
int firmware_entry_status(const struct env *env, struct json_object *root) _must_check_;
