/* SPDX-License-Identifier: Apache-2.0 */
/* An image is no secret: everybody who has the disk or the download can unpack it. So no private
 * key may get into one. */
#pragma once

#include "base/error.h"
#include "image/tree.h"

/*
 * Looks for the key directory and for the private keys in it (*.key and the policy key) among the
 * files of a tree: the directory or file itself, and copies. ERROR_CONFIG with -EPERM when one is
 * there.
 */
int leak_check(const struct tree *t, const char *keys, struct error *e) _must_check_;
