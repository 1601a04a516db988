/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The root of an image as a read-only file system in a file, made by the tools for it: squashfs by
 * mksquashfs (4.5 or later), as any user; erofs by mkfs.erofs, as any user from version 1.7 on,
 * where it reads tars, and as root with an older one.
 */
#pragma once

#include "base/error.h"
#include "image/tree.h"

enum root_format {
        ROOT_FORMAT_CPIO, /* the initramfs itself: nothing of this */
        ROOT_FORMAT_SQUASHFS,
        ROOT_FORMAT_EROFS,
        _ROOT_FORMAT_MAX
};

/* "cpio", "squashfs", "erofs"; and back, -EINVAL. */
const char *root_format_name(enum root_format format);
int root_format_parse(const char *name, enum root_format *ret);

struct rootimage_how {
        enum root_format format; /* not ROOT_FORMAT_CPIO */
        uint64_t epoch;          /* no time in it is later */
        unsigned level;          /* of the compression, 1 to 19 */
        const char *beside;      /* temporary files are made in the folder of this file */
};

/* A descriptor of the file, which has no name. ERROR_PRECONDITION for a tool that is missing or too
 * old; the errors of roottar_write() and of the tool. The same tree gives the same bytes. */
int rootimage_make(const struct tree *t, const struct rootimage_how *how, int *ret_fd,
                   struct error *e) _must_check_;
