/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An output file that is there completely or not at all: written without a name (or, where the file
 * system cannot do that, under a temporary one) in the same directory, synced and renamed when
 * complete, gone when abandoned.
 *
 * Only a regular file is ever replaced: a device, a FIFO or a symbolic link of that name is
 * refused. The new file has the permissions of the one it replaces, so that a file that was closed
 * to others stays closed.
 *
 * Life cycle: output_open() ... write to output_fd() ... output_commit(), and output_free() in
 * every case.
 */
#pragma once

#include "base/cleanup.h"
#include "base/error.h"

struct output;

/* Starts the file at path. ERROR_CONFIG when the path cannot name a file of ours: its directory
 * does not exist, or something that is no regular file is there (-EISDIR, -ELOOP for a symbolic
 * link, -EEXIST). */
int output_open(const char *path, struct output **ret, struct error *e) _must_check_;

/* Readable and writable descriptor, borrowed. */
int output_fd(const struct output *o);

/* Gives the unfinished file a name of its own beside the output, for a program that writes it by
 * name. Borrowed. */
int output_name(struct output *o, const char **ret, struct error *e) _must_check_;

/* Puts the file in its place, replacing an older one. When it returns 0 the file is durable.
 * Refuses as output_open() does when something else took the name meanwhile. */
int output_commit(struct output *o, struct error *e) _must_check_;

/* Drops the file unless it was committed. */
void output_free(struct output *o);
DEFINE_CLEANUP(struct output, output_free)
