/* SPDX-License-Identifier: Apache-2.0 */
/* Changing a tree of user data: what agent/config_node.h does not need for itself. */
#pragma once

#include "agent/config_node.h"

/* A scalar as text of the map's member; NULL: not there, or no scalar, or of bytes. */
const char *userdata_node_text(const struct config_node *map, const char *key);

/* Whether the member says yes. A member that is not there, or no truth, gives fallback. */
bool userdata_node_bool(const struct config_node *map, const char *key, bool fallback);

/* Sets a member to a text (plain: a number or a truth), in place of what was there. -ENOMEM. */
int userdata_node_set(struct config_node *map, const char *key, const char *text, bool plain,
                      struct config_place at) _must_check_;
/* Appends a text to a list. -ENOMEM. */
int userdata_node_append(struct config_node *list, const char *text, struct config_place at)
        _must_check_;

/* The member as a list; one that is not there, or nothing, becomes an empty one. NULL when memory
 * ran out. A member of another kind is replaced. */
struct config_node *userdata_node_list(struct config_node *map, const char *key,
                                       struct config_place at);

/* Takes a member out of its map; the caller owns it. NULL: not there. */
struct config_node *userdata_node_take(struct config_node *map, const char *key);

/* Keeps the members for which keep says so, in their order; the others are freed. keep returns 1, 0
 * or -ENOMEM, which ends it. */
int userdata_node_filter(struct config_node *parent,
                         int (*keep)(struct config_node *member, void *arg), void *arg)
        _must_check_;
