/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Images that lie in files: docker-archive and oci-archive (a tar), an OCI layout (a folder), an
 * EFI tree (a folder).
 *
 * Who does what. The child (sandbox) reads what somebody wrote: the tar's headers, index.json,
 * manifest.json, manifests. The parent opens what has a path: layout_open() and archive_tree_open()
 * follow no link and leave no folder. Between them stands struct oci_store: the child asks for a
 * document or blob by the only names an OCI layout has; a tar answers by itself (archive_store), a
 * folder through the parent.
 *
 *     ocifile:   file_ranges or other -> archive_store_open() -> local_image_find(store)
 *     dir:       store of the caller's  -----------------------> local_image_find(store)
 *                local_image_open_layer() -> layer_open() -> layer_read()
 *
 * Nothing is unpacked to disk. A tar is passed over once for its table of members (the content is
 * skipped), then only what is wanted is read.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "upgrade/oci.h"
#include "upgrade/stream.h"

/*
 * A file that can be read from any offset: one on disk, or one on a server that knows Range. The
 * stream belongs to the struct and lives until the next open. An end behind the file's means to its
 * end, a begin there gives an empty stream.
 */
struct file_ranges {
        int (*open)(struct file_ranges *f, uint64_t begin, uint64_t end, struct stream **ret,
                    struct error *e);
};

struct file_ranges_fd {
        struct file_ranges ranges;
        int fd; /* borrowed */
        struct stream_fd stream;
};

void file_ranges_fd_init(struct file_ranges_fd *f, int fd);

/*
 * Documents and blobs by name. The stream belongs to the store and lives until the next open.
 * -ENOENT (ERROR_REFUSED) when there is none of that name. *ret_size is the number of bytes.
 */
struct oci_store {
        int (*open)(struct oci_store *s, const char *name, struct stream **ret, uint64_t *ret_size,
                    struct error *e);
};

/* Names of a layout: "oci-layout", "index.json", "blobs/sha256/<64 hex digits>", "blobs/sha512/..".
 * All others are refused by layout_open(), whoever asks. */
bool layout_name_valid(const char *name);

/* A store in a tar. Errors: those of the file; -EBADMSG, -E2BIG (ERROR_REFUSED) for a tar that is
 * none, compressed, or has too many members. */
struct archive_store;
int archive_store_open(struct file_ranges *file, struct archive_store **ret, struct error *e)
        _must_check_;
void archive_store_free(struct archive_store *a);
DEFINE_CLEANUP(struct archive_store, archive_store_free)
struct oci_store *archive_store_get(struct archive_store *a);

struct local_layer {
        char *name; /* in the store */
        enum layer_format format;
        bool usable;
        bool has_digest; /* docker-archive: no */
        struct oci_digest digest;
        uint64_t size;
};

struct local_image {
        char manifest[OCI_DIGEST_TEXT_SIZE]; /* "" for a docker-archive */
        struct oci_facts facts;
        bool raw;
        unsigned n_layers;
        struct local_layer *layers; /* bottom first */
};

/* What a store holds for this platform: by oci-layout and index.json, else by Docker's
 * manifest.json. Several images that would do are refused (-ENOTUNIQ). Errors as of
 * oci_document_parse(), oci_index_pick(), oci_config_parse() and of the store. */
int local_image_find(struct oci_store *s, const struct oci_platform *want, struct local_image **ret,
                     struct error *e) _must_check_;
void local_image_free(struct local_image *i);
DEFINE_CLEANUP(struct local_image, local_image_free)

/* A layer from its begin to its end, size and digest checked; checked is the caller's, done with
 * oci_checked_done() before the next open. */
int local_image_open_layer(struct oci_store *s, const struct local_layer *layer,
                           struct oci_checked *checked, struct error *e) _must_check_;

/* --- for the parent: paths --- */

/* One name of an OCI layout below a folder. A descriptor of a regular file, or -ENOENT, -EINVAL
 * (name), -ELOOP (link), negative errno; e filled. */
int layout_open(int dirfd, const char *name, struct error *e) _must_check_;

/* Whether the folder is an OCI layout: has a file oci-layout. 1 or 0; negative errno when that
 * cannot be told. */
int layout_is(int dirfd, struct error *e) _must_check_;

/*
 * A file of an EFI tree by its path, components compared without regard to case (an exact one is
 * preferred, two others are refused as ambiguous: -ENOTUNIQ). No links. A descriptor of a regular
 * file, or negative errno with e filled.
 */
int archive_tree_open(int dirfd, const char *path, struct error *e) _must_check_;
