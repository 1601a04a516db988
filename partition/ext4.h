/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside of an ext4 file system that this program just made (partition/mkfs.h) and that is not
 * mounted: files are put there, and the blocks that hold something are told, without a mount and
 * without a right. By libext2fs; not for a file system that came from anywhere else.
 *
 *     ext4_open() -> ext4_add_file()... -> ext4_sync() -> ext4_next_used()... -> ext4_free()
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/error.h"

struct ext4;

/* path may be /proc/self/fd/N. */
int ext4_open(const char *path, struct ext4 **ret, struct error *e) _must_check_;

/* What ext4_sync() did not write is dropped. */
void ext4_free(struct ext4 *x);
DEFINE_CLEANUP(struct ext4, ext4_free)

/*
 * A new file of root's, mode 0600; name is "FILE" or "FOLDER/FILE", and the folder (mode 0700) is
 * made when it is missing. ERROR_SPACE: -ENOSPC; -EEXIST.
 */
int ext4_add_file(struct ext4 *x, const char *name, const void *data, size_t n, struct error *e)
        _must_check_;

/* Writes what was added, and marks the file system clean. */
int ext4_sync(struct ext4 *x, struct error *e) _must_check_;

/*
 * The next range of bytes from *at on that the file system uses: data, its own tables, the journal.
 * 1: *at and *ret_end are set; 0: there is none. Whoever mounts it reads no byte outside of these
 * before he wrote it.
 */
int ext4_next_used(struct ext4 *x, uint64_t *at, uint64_t *ret_end, struct error *e) _must_check_;
