/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A tree as a tar (POSIX.1-2001 pax, extended attributes as "SCHILY.xattr"), which is how it gets
 * into the tools that make file systems: owners, modes, devices and links then need no privileges.
 */
#pragma once

#include "base/error.h"
#include "image/tree.h"

/* What not every reader takes. */
#define ROOTTAR_ACLS                                                                               \
        1u             /* access control lists; without, a warning tells how many files have some */
#define ROOTTAR_TOP 2u /* the root folder itself */

/* Writes all of a tree to an open file. Times are not later than epoch. The errors of tree_open()
 * and of writing. */
int roottar_write(const struct tree *t, uint64_t epoch, unsigned parts, int fd, struct error *e)
        _must_check_;
