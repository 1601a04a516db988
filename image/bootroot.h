/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The small initramfs before a root that is a file system in a file: the program tb-root
 * (agent/stage/tb-root.c), the kernel modules it needs, and that file. Program and modules are
 * taken from the root itself, so they fit it.
 */
#pragma once

#include "base/error.h"
#include "image/rootimage.h"
#include "image/tree.h"

/* Where a root has the program. */
#define BOOTROOT_PROGRAM "usr/lib/tb-agent/tb-root"

/*
 * The tree of it for a root. release is that of the kernel, "": the root's only one. ERROR_CONFIG:
 * -ENOENT for a root without the program or without one of the modules, -ENOTUNIQ for several
 * kernels; the errors of rootimage_make().
 */
int bootroot_make(const struct tree *root, const struct rootimage_how *how, const char *release,
                  struct tree **ret, struct error *e) _must_check_;
