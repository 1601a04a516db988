/* SPDX-License-Identifier: Apache-2.0 */
/* Folders laid over a folder of the root, where other file systems are mounted in it. */
#pragma once

#include <stdbool.h>

#include "base/env.h"
#include "base/error.h"

/*
 * Makes folder, which is absolute and normal, a read-only overlay of itself and the n folders in
 * over, the last on top. What is mounted below folder stays where it is. When it fails, all is as
 * before; unless *ret_lost says that a mount could not be put back. -ENOTDIR (ERROR_REFUSED) when
 * one of the folders has no folder where something is mounted.
 */
int boot_overlay_lay(const struct env *env, const char *folder, const char *const *over, unsigned n,
                     bool *ret_lost, struct error *e) _must_check_;
