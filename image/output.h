/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An output file that is there completely or not at all: written without a name (or, where the file
 * system cannot do that, under a temporary one) in the same directory, synced and renamed when
 * complete, gone when abandoned.
 *
 * Life cycle: output_open() ... write to output_fd() ... output_commit(), and output_free() in
 * every case.
 */
#pragma once

#include "base/cleanup.h"
#include "base/error.h"

struct output;

/* Starts the file at path. The directory must exist. */
int output_open(const char *path, struct output **ret, struct error *e) _must_check_;

/* Readable and writable descriptor, borrowed. */
int output_fd(const struct output *o);

/* Puts the file in its place, replacing an older one. When it returns 0 the file is durable. */
int output_commit(struct output *o, struct error *e) _must_check_;

/* Drops the file unless it was committed. */
void output_free(struct output *o);
DEFINE_CLEANUP(struct output, output_free)
