/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Extended attributes of one file, as one block of bytes: what the file systems of an image can
 * hold and a running system looks at. Labels of security modules belong to the machine that has
 * them and are left out.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

#define XATTR_CAPABILITY "security.capability"

/* One of them, borrowed from the block. */
struct xattr {
        const char *name;
        const uint8_t *value;
        uint32_t size;
};

/* Whether an image carries the attribute of that name. */
bool xattr_is_carried(const char *name);

/* POSIX access control lists, which not every file system can hold. */
bool xattr_is_acl(const char *name);

/* Appends one; -E2BIG for more than the buffer may hold. */
int xattr_add(struct buf *block, const char *name, const void *value, size_t size) _must_check_;

/* Appends all that a file has and an image carries, in the order of their names. None where the
 * file system has none. Negative errno. */
int xattr_read(int fd, struct buf *block) _must_check_;

/* The next one of a block, from *at, which begins with 0; false at the end. */
bool xattr_next(const void *block, size_t n, size_t *at, struct xattr *ret);
