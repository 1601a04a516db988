/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A tree as initramfs: newc cpio (kernel documentation, "initramfs buffer format") compressed by
 * zstd. The bytes depend on names, contents, owners, modes and clamped times alone: inode numbers
 * are renumbered, device numbers of the source are zero, and the number of threads does not show.
 */
#pragma once

#include <stdint.h>

#include "base/error.h"
#include "image/tree.h"

#define CPIO_LEVEL_MIN 1u
#define CPIO_LEVEL_MAX 19u /* higher ones need a window the kernel may not have memory for */
#define CPIO_LEVEL_DEFAULT 9u

/* Takes a piece of the compressed archive; a negative errno ends the writing, with e filled in. */
typedef int (*cpio_sink)(void *ctx, const void *data, size_t n, struct error *e);

/* Writes the whole archive to sink. Times later than epoch become epoch. */
int cpio_write(const struct tree *t, uint64_t epoch, unsigned level, cpio_sink sink, void *ctx,
               struct error *e) _must_check_;
