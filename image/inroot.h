/* SPDX-License-Identifier: Apache-2.0 */
/* What the root of an operating system has for its image: a kernel, and its os-release. */
#pragma once

#include "base/buf.h"
#include "base/error.h"
#include "image/tree.h"

/*
 * The only kernel: usr/lib/modules/<release>/vmlinuz, or else boot/vmlinuz-<release>, or else
 * boot/vmlinuz. A descriptor of a copy in memory. ERROR_CONFIG: -ENOENT, or -ENOTUNIQ when there
 * are several. *ret_path is borrowed from the tree.
 */
int inroot_kernel(const struct tree *t, int *ret_fd, const char **ret_path, struct error *e)
        _must_check_;

/* The release in the path of such a kernel, borrowed, and its length; NULL and 0: it has none. */
const char *inroot_kernel_release(const char *path, size_t *ret_n);

/* usr/lib/os-release, or else etc/os-release; appended. ERROR_CONFIG with -ENOENT when neither is a
 * file. *ret_path is borrowed from the tree. */
int inroot_os_release(const struct tree *t, struct buf *out, const char **ret_path, struct error *e)
        _must_check_;
