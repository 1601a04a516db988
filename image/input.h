/* SPDX-License-Identifier: Apache-2.0 */
/* Files that the command line names for reading: regular ones only, so that nothing waits for the
 * other end of a FIFO. Whatever is wrong with them is ERROR_CONFIG. */
#pragma once

#include "base/buf.h"
#include "base/error.h"

/* Opens the file; *ret is the caller's to close. */
int input_open(const char *path, int *ret, struct error *e) _must_check_;

/* The same inside of a directory, as name. */
int input_open_at(int dirfd, const char *name, int *ret, struct error *e) _must_check_;

/* Appends the content, bounded by out->max. */
int input_read(const char *path, struct buf *out, struct error *e) _must_check_;
int input_read_at(int dirfd, const char *name, struct buf *out, struct error *e) _must_check_;
