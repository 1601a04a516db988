/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The root of an operating system, put together in memory from layers (OCI image specification 1.1,
 * "layer"): names, owners, modes and devices as the layers have them, whoever runs this program.
 * Nothing of it is made in a file system; content goes into one file without a name.
 *
 * Links are followed inside of the root, and lead nowhere else.
 *
 * Life cycle: rootfs_new() -> rootfs_begin_layer(), rootfs_put...() for each layer, lowest first ->
 * rootfs_tree(), which leaves nothing in it. Errors: ERROR_CONFIG for what a root cannot hold.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "image/tree.h"

struct rootfs;

int rootfs_new(struct rootfs **ret, struct error *e) _must_check_;
void rootfs_free(struct rootfs *fs);
DEFINE_CLEANUP(struct rootfs, rootfs_free)

/* What is put from here on is a layer of its own: whiteouts are about those before. */
void rootfs_begin_layer(struct rootfs *fs);

/* The file for content: write there, at offsets that nothing has yet (rootfs_content_end()). */
int rootfs_content_fd(const struct rootfs *fs);
uint64_t rootfs_content_end(const struct rootfs *fs);

struct rootfs_file {
        mode_t mode; /* with its type */
        uint32_t uid, gid;
        uint64_t mtime;
        uint32_t device_major, device_minor;
        const char *link; /* of a symbolic link */
        uint64_t size;    /* of a regular file; its content begins at rootfs_content_end() */
        bool capabilities;
        const struct buf *xattrs; /* block of image/xattr.h; NULL: none */
};

/* Puts one file, in place of what has the name; folders that are there stay as to what is in
 * them. Folders above are made when they are missing. */
int rootfs_put(struct rootfs *fs, const char *path, const struct rootfs_file *file, struct error *e)
        _must_check_;

/* Another name for a file. -ENOENT when there is no such file. */
int rootfs_put_link(struct rootfs *fs, const char *path, const char *target, struct error *e)
        _must_check_;

/* Whiteouts: removes a name, or all that lower layers have in a folder. None is no error. */
int rootfs_remove(struct rootfs *fs, const char *path, struct error *e) _must_check_;
int rootfs_hide_lower(struct rootfs *fs, const char *folder, struct error *e) _must_check_;

/* The whole as a tree. */
int rootfs_tree(struct rootfs *fs, struct tree **ret, struct error *e) _must_check_;
