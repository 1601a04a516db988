/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Everything below one directory, in an order that does not depend on the file system: by path,
 * byte by byte, so that a directory stands before what is in it.
 *
 * The walk never leaves the tree: symbolic links are recorded, not followed, and a directory on
 * which another file system is mounted is recorded as an empty directory (with a warning). Sockets
 * mean nothing in an image and are left out (with a warning).
 *
 * Hard links: the entries of one file share a number, and links says how many entries that are
 * (names outside of the tree do not count).
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/error.h"

struct tree_entry {
        char *path; /* relative to the root, "." for the root itself */
        char *link; /* target of a symbolic link, else NULL */
        mode_t mode;
        uint32_t uid;
        uint32_t gid;
        uint32_t device_major; /* of a device node */
        uint32_t device_minor;
        uint64_t size; /* of a regular file */
        uint64_t mtime;
        uint64_t number; /* from 1, in order; equal for hard links of one file */
        uint32_t links;
        bool last_link; /* of the entries with this number, the last one */

        uint64_t offset; /* where the content of a regular file begins in what tree_open() gives */
        bool capabilities; /* it has some; of files in a directory that is found out later */
        uint8_t *xattrs;   /* block of image/xattr.h; of files in a directory: tree_xattrs() */
        size_t xattrs_len;

        uint64_t dev; /* identity in the source file system */
        uint64_t ino;
};

/* The time that an entry gets in an image: its own, but never one of the build. */
static inline uint64_t tree_entry_time(const struct tree_entry *t, uint64_t epoch)
{
        return t->mtime < epoch ? t->mtime : epoch;
}

struct tree;

/* Walks the directory. ERROR_CONFIG when it is no directory or has what an image cannot hold (a
 * mount on a file, more than LIMIT_TREE_ENTRIES entries), I/O errors else. */
int tree_scan(const char *root, struct tree **ret, struct error *e) _must_check_;
void tree_free(struct tree *t);
DEFINE_CLEANUP(struct tree, tree_free)

/*
 * A tree of other origin (image/rootfs.h): entries in any order, with paths, of which the root is
 * "."; hard links have the same ino. content holds what is in the files. init_error and init_mode
 * tell what /init leads to. The entries, which have been allocated, and content are taken over in
 * every case.
 */
int tree_from_entries(struct tree_entry *entries, size_t n, int content, int init_error,
                      mode_t init_mode, struct tree **ret, struct error *e) _must_check_;
void tree_free_entries(struct tree_entry *entries, size_t n);

/* Entry i in order; NULL past the end. */
const struct tree_entry *tree_at(const struct tree *t, size_t i);

/*
 * Opens the regular file of an entry for reading, at its offset, without following any link on the
 * way; -ESTALE when it is not the file that was found by the walk. Returns a descriptor the caller
 * closes.
 */
int tree_open(const struct tree *t, const struct tree_entry *entry, struct error *e) _must_check_;

/* The entry of that path, NULL when there is none. */
const struct tree_entry *tree_find(const struct tree *t, const char *path);

/* Appends the extended attributes of an entry as a block of image/xattr.h. Those of links and
 * devices are not looked at. I/O errors, -ESTALE as tree_open(). */
int tree_xattrs(const struct tree *t, const struct tree_entry *entry, struct buf *out,
                struct error *e) _must_check_;

/*
 * The next bytes of a regular file that tree_open() gave, from an offset below its size on: at most
 * n, at least one. -ESTALE when the file has become shorter; I/O errors.
 */
ssize_t tree_read(const struct tree_entry *entry, int fd, uint64_t at, void *buf, size_t n,
                  struct error *e) _must_check_;

/* Appends the content of a regular file to an open one, at its position. */
int tree_copy(const struct tree *t, const struct tree_entry *entry, int to, struct error *e)
        _must_check_;

/*
 * Whether the kernel would find a first process: /init has to be an executable regular file, or a
 * symbolic link to one; absolute links begin at the root of the tree. ERROR_CONFIG.
 */
int tree_check_init(const struct tree *t, struct error *e) _must_check_;
