/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A configuration as a tree: what the YAML of our sections says, with the place of everything in
 * its file. Scalars stay text; what they mean is decided by the table of keys.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "agent/config_problem.h"

enum config_kind {
        CONFIG_NOTHING, /* null, or no value at all */
        CONFIG_SCALAR,
        CONFIG_MAP,
        CONFIG_LIST,
        CONFIG_FOREIGN, /* the section of somebody else: nothing is known of its value */
};

struct config_node {
        enum config_kind kind;
        bool plain;  /* a scalar without quotes: 1, true and null are no texts then */
        bool broken; /* a problem was noted; of the root: the file is not known to its end */
        bool binary; /* a scalar of bytes, its text is their base64 form (user data only) */
        char *key;   /* member of a map; NULL in a list and for the root */
        char *text;  /* of a scalar */
        struct config_place at; /* of the value */
        struct config_place key_at;
        size_t n; /* members */
        struct config_node *first, *last, *next;
};

/* A node without members at a place. NULL when memory ran out. */
struct config_node *config_node_new(enum config_kind kind, struct config_place at);
/* With all members, and all that come after it in its list. */
void config_node_free(struct config_node *node);
DEFINE_CLEANUP(struct config_node, config_node_free)

/* Appends a member; the parent owns it. */
void config_node_add(struct config_node *parent, struct config_node *member);

/* The member of a map with this key, NULL: there is none. */
struct config_node *config_node_find(const struct config_node *map, const char *key);

/* By a path of keys with dots between them, from the root on: "install.partitions.oem". */
const struct config_node *config_node_at(const struct config_node *root, const char *path);

/*
 * Puts a later configuration over an earlier one: maps are merged key by key, everything else of
 * later replaces what was there; a section without a value replaces nothing. later is left
 * without members.
 */
void config_node_merge(struct config_node *into, struct config_node *later);
