/* SPDX-License-Identifier: Apache-2.0 */
/* A folder as output: there completely or not at all. */
#pragma once

#include "image/bundle.h"

/* Whether nothing stands under that name, and its parent exists: worth knowing before the work. */
int outfolder_check(const char *path, struct error *e) _must_check_;

/*
 * Writes the bundle into a new folder beside path and renames it when all is synced. ERROR_CONFIG:
 * -EEXIST when something is there (an older folder is never mixed with or replaced), -ENOENT and
 * -ENOTDIR for its parent.
 */
int outfolder_write(const char *path, const struct bundle *b, struct error *e) _must_check_;
