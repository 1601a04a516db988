/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files that are put together into one thing: a folder, a tar, or (image/fat.h) a file system. What
 * is large stays where it is and is read when it is written out, so the memory needed does not
 * depend on the sizes.
 *
 * Names are relative paths with single slashes. Folders above a name are added when they are
 * missing, so that a folder stands before what is in it; apart from that the order is that of the
 * calls, and the same calls with the same content give the same bytes: owners are 0, modes 0644 and
 * 0755, all times the same.
 *
 * Errors: -EINVAL, -EEXIST and -ENOTDIR (ERROR_CONFIG) for names, ERROR_BUSY with
 * -ESTALE for a file whose size changed since it was added.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/digest.h"
#include "base/error.h"

struct bundle;

struct bundle_entry {
        char *name;
        bool folder;
        uint64_t size;
        /* Where a file's bytes are: one of these. */
        uint8_t *data;
        int fd; /* -EBADF: none */
        struct bundle *inner;
};

/* Takes a piece of the output; a negative errno ends the writing, with e filled in. */
typedef int (*bundle_sink)(void *ctx, const void *data, size_t n, struct error *e);

/* epoch: seconds since 1970, the time of all files. */
int bundle_new(uint64_t epoch, struct bundle **ret, struct error *e) _must_check_;
void bundle_free(struct bundle *b);
DEFINE_CLEANUP(struct bundle, bundle_free)

uint64_t bundle_epoch(const struct bundle *b);

/* A folder; one that is there already is fine. */
int bundle_add_folder(struct bundle *b, const char *name, struct error *e) _must_check_;
/* A file with a copy of these bytes. */
int bundle_add_data(struct bundle *b, const char *name, const void *data, size_t n, struct error *e)
        _must_check_;
/* A file with the content of a regular file; the descriptor is borrowed. */
int bundle_add_fd(struct bundle *b, const char *name, int fd, struct error *e) _must_check_;
/* A file that is the tar of another bundle, which is taken over in every case. */
int bundle_add_tar(struct bundle *b, const char *name, struct bundle *inner, struct error *e)
        _must_check_;

/* Entry i in order; NULL past the end. */
const struct bundle_entry *bundle_at(const struct bundle *b, size_t i);

/* The content of one entry that is a file. */
int bundle_write_entry(const struct bundle_entry *entry, bundle_sink sink, void *ctx,
                       struct error *e) _must_check_;

/* Size, SHA-256 and bytes of the bundle as tar (POSIX.1-1988 "ustar"). -ENAMETOOLONG (ERROR_CONFIG)
 * for names above 100 bytes. */
uint64_t bundle_tar_size(const struct bundle *b);
int bundle_tar_digest(const struct bundle *b, uint8_t ret[SHA256_SIZE], struct error *e)
        _must_check_;
int bundle_write_tar(const struct bundle *b, bundle_sink sink, void *ctx, struct error *e)
        _must_check_;

/* Creates all entries below an empty directory and syncs them. */
int bundle_write_folder(const struct bundle *b, int dirfd, struct error *e) _must_check_;

/* A sink that appends to a file; ctx is an int *, its descriptor. */
int bundle_to_fd(void *ctx, const void *data, size_t n, struct error *e) _must_check_;
