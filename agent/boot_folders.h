/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The folders of a running system that can be written to: boot_layout's plan, carried out. Mistakes
 * of the user are problems in the boot report, and never a reason not to boot.
 */
#pragma once

#include <stdbool.h>

#include "agent/boot_layout.h"
#include "agent/boot_report.h"
#include "base/env.h"

/* Where bound folders live, below the mount point of the persistent partition. */
#define BOOT_STATE_FOLDER ".state"
/* Additions of the user, below the mount point of the OEM partition. */

struct boot_data {
        bool oem;        /* mounted */
        bool persistent; /* mounted */
};

/*
 * Plans with the additions of the user: what is wrong with them becomes a problem of the report,
 * and the plan is that of the defaults.
 */
int boot_folders_plan(const struct env *env, struct boot_data data, struct boot_report *report,
                      struct boot_layout *ret, struct error *e) _must_check_;

/*
 * Mounts what is planned, filling bound folders that are used for the first time. One that cannot
 * be used or filled becomes a problem of the report, and is changed in the plan. The root must
 * still be writable: folders that the image does not have are made.
 */
int boot_folders_mount(const struct env *env, struct boot_layout *l, struct boot_report *report,
                       struct error *e) _must_check_;

/* The plan for programs that read /run/cos/cos-layout.env, in the words of Kairos. */
int boot_folders_write_env(const struct env *env, const struct boot_layout *l,
                           struct boot_data data, struct error *e) _must_check_;
