/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The boot entry "statereset": started, it resets the node without asking anybody.
 *
 * It is there only while the configuration of the node allows it (reset.unattended), and starts
 * recovery's image in recovery's role. An entry is a file that anybody can write who has the disk,
 * so it permits nothing: the boot stage asks the configuration again, as it stands in the image
 * that was measured and on the OEM partition, which the TPM has opened. And it is not enough that
 * it started: falling back may lead to it when the recovery entry is lost. What the boot loader
 * would have chosen by itself was chosen by nobody, and is a recovery session like any other.
 *
 * Nothing else of the program takes it for recovery's entry: its role is ENTRY_ROLE_NONE, but for
 * the boot that it starts (entry_role_started()).
 */
#pragma once

#include <stdbool.h>

#include "base/env.h"
#include "base/error.h"
#include "upgrade/entry.h"
#include "upgrade/esp.h"

#define STATERESET_FILE ENTRY_RESET_BASE ".conf"

/* What the configuration says in /etc/kairos and on the OEM partition, which has to be mounted: 1,
 * 0. ERROR_CONFIG when it is not valid. */
int statereset_allowed(const struct env *env, struct error *e) _must_check_;

/* The text of the entry, from that of recovery's. -EINVAL (ERROR_INTERNAL). */
int statereset_text(const struct entry *recovery, char ret[ENTRY_SIZE], struct error *e)
        _must_check_;

/*
 * Brings the entry in line: when it is allowed it leads to the image of the recovery entry,
 * otherwise there is none. Without a recovery entry that leads to an image there is none either.
 * Writes nothing when it is so already. An entry of that name that leads to no image of ours is
 * another system's, and stays.
 */
int statereset_sync(const struct esp *esp, bool allowed, struct error *e) _must_check_;

/* Whether a boot of the entry was somebody's choice, for this boot alone: the boot loader of that
 * major version would take another of these entries by itself, and no wish for all boots names it.
 */
bool statereset_was_chosen(const struct env *env, const struct entry_file *list, size_t n,
                           unsigned loader_major);
