/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The YAML of user data, in and out, by libyaml: the parser that the engines of user data use
 * themselves (PyYAML, go-yaml are built on it), so that a text means here what it means there. It
 * is YAML 1.1, and everything of it may be used: blocks, anchors, aliases.
 *
 * Pure: text in, tree and problems out.
 */
#pragma once

#include <stddef.h>

#include "agent/config_node.h"
#include "base/buf.h"

/*
 * Reads text of n bytes; file names it in all places, and has to live as long as the tree. A text
 * that is wrong anywhere gives no tree at all: a problem is noted, *ret is NULL, and the return
 * value 0. -ENOMEM.
 */
int userdata_yaml_read(const char *text, size_t n, const char *file,
                       struct config_problems *problems, struct config_node **ret) _must_check_;

/* Appends a value in flow style and ASCII alone, on one line. -ENOMEM, -E2BIG. */
int userdata_yaml_write(const struct config_node *node, struct buf *out) _must_check_;
