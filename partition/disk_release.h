/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Takes away what holds a disk: swap off, unmount, loop devices and device-mapper mappings away,
 * RAID arrays stopped, the topmost first. Nothing is forced: what has open files stays, and nothing
 * the running system stands on is touched.
 */
#pragma once

#include "partition/disk_use.h"

/* Releases one use; a test puts another function in its place. */
typedef int (*disk_release_step)(const struct env *env, const struct disk_use *use,
                                 struct error *e);
int disk_release_use(const struct env *env, const struct disk_use *use, struct error *e)
        _must_check_;

/*
 * Releases all uses of a disk that was taken (disk_take(), so that udev puts nothing together
 * anew), and looks again until nothing is left: what comes back is released again for a few rounds.
 * Each step is logged. step NULL: disk_release_use().
 *
 * -EBUSY, and nothing was touched, when a use cannot be released at all. -EBUSY after some steps
 * tells what was released and what was not, and why.
 */
int disk_release(struct disk *d, disk_release_step step, struct error *e) _must_check_;
