/* SPDX-License-Identifier: Apache-2.0 */
/* From a tree to values, by the table of keys. For agent/config.c. */
#pragma once

#include "agent/config.h"

/*
 * Reads every key of a tree into the fields of c, which is all zeros; texts point into the tree.
 * merged: the tree is made of ones that were read before, warnings are known already. Problems are
 * noted. -ENOMEM.
 */
int config_read(const struct config_node *root, bool merged, struct config *c,
                struct config_problems *problems) _must_check_;

/* Frees what config_read() allocated in c, and only that. */
void config_read_done(struct config *c);

/* What a plain scalar means. -EINVAL: it is none of that kind. */
int config_scalar_bool(const struct config_node *node, bool *ret) _must_check_;
