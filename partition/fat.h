/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Filling a FAT32 file system that nobody has mounted: for disk images, which are made by users who
 * may not mount anything. The file system was just made by mkfs_vfat_at() and is empty; folders and
 * files are added once, in any order, and nothing is ever changed or removed. What is being made
 * is no file system until fat_finish().
 *
 * Files lie in one piece each, in the order they came. Names are ASCII; every one that is not in
 * the short form itself gets a long one (Microsoft FAT specification 1.03, "Long directory
 * entries"). Times are the beginning of the format, 1980, so that equal content gives equal bytes.
 *
 * Life cycle: fat_open() -> fat_make_dir(), fat_add_file(), fat_begin_file() + fat_write()... ->
 * fat_finish() -> fat_digest_file() -> fat_free(). Paths are relative, with "/" between the names.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/digest.h"
#include "base/error.h"

struct fat;

/*
 * fd (borrowed, read and written) has an empty FAT32 file system of at most size bytes at offset.
 * -EMEDIUMTYPE (ERROR_INTERNAL) when it has something else.
 */
int fat_open(int fd, uint64_t offset, uint64_t size, struct fat **ret, struct error *e)
        _must_check_;
void fat_free(struct fat *f);
DEFINE_CLEANUP(struct fat, fat_free)

/* Makes a folder and those around it; existing ones are fine. */
int fat_make_dir(struct fat *f, const char *path, struct error *e) _must_check_;

/* Whether there is a file of that name, in any case of letters. A leading "/" is ignored. */
bool fat_has_file(const struct fat *f, const char *path);

/* -EEXIST when the name is taken, -ENOENT without its folder, -ENOSPC, -EINVAL for a name that
 * FAT or this module does not take. */
int fat_add_file(struct fat *f, const char *path, const void *data, size_t n, struct error *e)
        _must_check_;

/*
 * The same for a file that comes in pieces: exactly size bytes are to be written, and nothing else
 * in between.
 */
int fat_begin_file(struct fat *f, const char *path, uint64_t size, struct error *e) _must_check_;
int fat_write(struct fat *f, const void *data, size_t n, struct error *e) _must_check_;

/* Writes folders and allocation tables, and syncs. Nothing can be added any more. */
int fat_finish(struct fat *f, struct error *e) _must_check_;

/* Digest of a file as it is read back from fd, synced and out of memory. */
int fat_digest_file(const struct fat *f, const char *path, uint8_t ret[SHA256_SIZE],
                    struct error *e) _must_check_;
