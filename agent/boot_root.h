/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The root of a running USI. The kernel unpacks the whole OS into its initial root file system,
 * which has two defects as a root: containers cannot pivot_root away from it, and it is writable.
 * Both are mended here without copying a byte: a bind mount of that file system is moved over it,
 * and made read-only at the end, below ephemeral overlays.
 */
#pragma once

#include <stdbool.h>

#include "base/env.h"
#include "base/error.h"

/* What agent/stage/tb-root.c says in the environment; not for the system. */
#define BOOT_ROOT_VARIABLE "TB_ROOT"

/*
 * Whether this process stands in a kernel's initial root file system that nobody has set up yet, or
 * in the overlay that agent/stage/tb-root.c makes of a root in a file and names in the environment.
 * A container, where a first process finds its mounts made, is none: nothing may be touched there.
 */
bool boot_root_is_ours(const struct env *env);

/* Moves a bind mount of the root over the root. First thing of all, before any other mount. */
int boot_root_enter(struct error *e) _must_check_;

/* /proc, /sys, /dev, /run, security and EFI variable file systems. What is missing in the kernel is
 * skipped. */
int boot_root_mount_kernel(const struct env *env, struct error *e) _must_check_;

/* From here on nothing writes to / and /usr: neither through this mount nor through any other of
 * its file system. */
int boot_root_read_only(struct error *e) _must_check_;
