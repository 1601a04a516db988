/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/config_node.h"

#include <stdlib.h>
#include <string.h>

struct config_node *config_node_new(enum config_kind kind, struct config_place at)
{
        struct config_node *node = calloc(1, sizeof(*node));

        if (!node)
                return NULL;
        node->kind = kind;
        node->at = node->key_at = at;
        return node;
}

/* Trees are as deep as LIMIT_CONFIG_DEPTH. */
void config_node_free(struct config_node *node)
{
        while (node) {
                struct config_node *next = node->next;

                config_node_free(node->first);
                free(node->key);
                free(node->text);
                free(node);
                node = next;
        }
}

void config_node_add(struct config_node *parent, struct config_node *member)
{
        if (parent->last)
                parent->last->next = member;
        else
                parent->first = member;
        parent->last = member;
        parent->n++;
}

struct config_node *config_node_find(const struct config_node *map, const char *key)
{
        for (struct config_node *m = map->first; m && map->kind == CONFIG_MAP; m = m->next) {
                if (strcmp(m->key, key) == 0)
                        return m;
        }
        return NULL;
}

const struct config_node *config_node_at(const struct config_node *root, const char *path)
{
        while (root && *path) {
                size_t n = strcspn(path, ".");
                const struct config_node *m = root->kind == CONFIG_MAP ? root->first : NULL;

                while (m && (strncmp(m->key, path, n) != 0 || m->key[n]))
                        m = m->next;
                root = m;
                path += n + (path[n] == '.');
        }
        return root;
}

/* Everything but the key and the place among its sisters. */
static void swap_values(struct config_node *a, struct config_node *b)
{
        struct config_node old = *a;

        *a = *b;
        a->key = old.key;
        a->next = old.next;
        old.key = b->key;
        old.next = b->next;
        *b = old;
}

void config_node_merge(struct config_node *into, struct config_node *later)
{
        struct config_node *list = later->first;

        later->first = later->last = NULL;
        later->n = 0;
        while (list) {
                struct config_node *m = list, *there = config_node_find(into, m->key);

                list = m->next;
                m->next = NULL;
                if (!there) {
                        config_node_add(into, m);
                        continue;
                }
                if (there->kind == CONFIG_MAP && m->kind == CONFIG_MAP)
                        config_node_merge(there, m);
                else if (there->kind != CONFIG_MAP || m->kind != CONFIG_NOTHING)
                        swap_values(there, m);
                config_node_free(m);
        }
}
