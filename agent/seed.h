/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Filling the folders of the persistent partition from the image, once. A folder is there with
 * everything, or not at all: it is copied under another name, made durable, and renamed.
 *
 * seed_prepare() for every folder, then one seed_finish() for those that it prepared: with several
 * folders, as at the first boot, all of them cost one sync. A cut in between leaves copies under
 * the other name, which the next seed_prepare() removes.
 *
 * For journaling file systems; nothing here is ever used on the ESP.
 */
#pragma once

#include <stddef.h>

#include "base/error.h"

/*
 * Copies the folder source (nothing when it does not exist) with owners, modes, times and extended
 * attributes, for a later seed_finish(). Sockets and devices are left out: a device would not work
 * there. 1: copied; 0: state has the folder name already, nothing was done.
 * -ENOTDIR: source, or what has the name, is no folder (a symbolic link is none).
 */
int seed_prepare(int state, const char *name, int root, const char *source, struct error *e)
        _must_check_;

/* Makes the prepared copies durable and gives them their names. */
int seed_finish(int state, const char *const *names, size_t n, struct error *e) _must_check_;
