/* SPDX-License-Identifier: Apache-2.0 */
/*
 * File work by directory descriptor, and the one place (besides upgrade/esp*.c, which know the vfat
 * rules) where data is made durable. Everything opens with O_CLOEXEC.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/error.h"

/* Size of one read or write when streaming: large enough for devices, small enough for memory. */
#define FILE_CHUNK ((size_t)(256 * 1024))

/*
 * Opens /dev/null for each of the descriptors 0 to 2 that is closed: else the next file that is
 * opened takes the number, and what is printed goes into it. The first thing main() does.
 */
void file_ensure_stdio(void);

/*
 * Opens a regular file for reading, and never waits: a FIFO nobody writes to does not stop the
 * program. Returns a descriptor or negative errno: -EISDIR for a directory, -EOPNOTSUPP for
 * anything else that is no regular file. Files of sysfs, procfs and efivarfs are regular.
 */
int file_open_regular(int dirfd, const char *path) _must_check_;

/* Words for a negative errno of the functions here that fit better than those of the C library
 * ("-E2BIG": larger than what is accepted). Never NULL. */
const char *file_strerror(int r);

/* Whole transfers: retry EINTR and short counts. Negative errno; file_pread returns bytes, 0 at the
 * end of the file. */
ssize_t file_pread(int fd, void *buf, size_t n, uint64_t offset) _must_check_;
int file_pwrite(int fd, const void *buf, size_t n, uint64_t offset) _must_check_;
int file_write(int fd, const void *buf, size_t n) _must_check_;

/*
 * Reads a whole regular file (see file_open_regular()) into out, appending, bounded by out->max:
 * -E2BIG above it. dirfd may be AT_FDCWD. Works on sysfs and efivarfs files too, which report sizes
 * that mean nothing and cannot seek.
 */
int file_read(int dirfd, const char *path, struct buf *out) _must_check_;

/* The same for one line of text: trailing newlines are removed. */
int file_read_line(int dirfd, const char *path, struct buf *out) _must_check_;

/*
 * Writes a small file in place of whatever was there (no durability: for sysfs, /run and other
 * volatile places).
 */
int file_write_volatile(int dirfd, const char *path, const void *data, size_t n, mode_t mode)
        _must_check_;

/*
 * Replaces a file durably on a journaling file system: temporary name in the same directory, fsync,
 * rename, fsync of the directory. When it returns 0 the new content survives a power cut; when it
 * fails the old content is whole. Not for the ESP (vfat loses such renames): upgrade/esp.c is.
 */
int file_replace(int dirfd, const char *path, const void *data, size_t n, mode_t mode) _must_check_;

/* Gives a file another name in the same directory, over what has that name; durable. Journaling
 * file systems only, too. */
int file_put_aside(int dirfd, const char *name, const char *other) _must_check_;

/* fsync of a descriptor, as negative errno. Here so that every durable step has one spelling to
 * grep for. */
int file_sync(int fd) _must_check_;

/* Opens a directory. Returns a descriptor or negative errno. */
int file_open_dir(int dirfd, const char *path) _must_check_;

/* mkdir -p below dirfd, mode for each new directory; existing ones stay as they are. */
int file_make_dirs(int dirfd, const char *path, mode_t mode) _must_check_;

/* Whether the path exists (follows symbolic links); errors other than ENOENT count as "no". */
bool file_exists(int dirfd, const char *path);

/* Fills buf from the kernel's random generator, waiting until it is seeded. */
int random_bytes(void *buf, size_t n) _must_check_;
