/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/userdata_node.h"

#include <stdlib.h>
#include <string.h>

const char *userdata_node_text(const struct config_node *map, const char *key)
{
        const struct config_node *m = config_node_find(map, key);

        return m && m->kind == CONFIG_SCALAR && !m->binary ? m->text : NULL;
}

bool userdata_node_bool(const struct config_node *map, const char *key, bool fallback)
{
        static const char *const yes[] = {"true", "yes", "on"}, *const no[] = {"false", "no",
                                                                               "off"};
        const char *text = userdata_node_text(map, key);

        for (size_t i = 0; text && i < ARRAY_SIZE(yes); i++) {
                if (strcasecmp(text, yes[i]) == 0)
                        return true;
                if (strcasecmp(text, no[i]) == 0)
                        return false;
        }
        return fallback;
}

static struct config_node *new_text(const char *text, bool plain, struct config_place at)
{
        struct config_node *node = config_node_new(CONFIG_SCALAR, at);

        if (!node)
                return NULL;
        node->plain = plain;
        node->text = strdup(text);
        if (node->text)
                return node;
        config_node_free(node);
        return NULL;
}

/* Takes the value over; in place of a member of the same name. */
static int put(struct config_node *map, const char *key, struct config_node *value)
{
        if (!value)
                return -ENOMEM;
        value->key = strdup(key);
        if (!value->key) {
                config_node_free(value);
                return -ENOMEM;
        }
        config_node_free(userdata_node_take(map, key));
        config_node_add(map, value);
        return 0;
}

int userdata_node_set(struct config_node *map, const char *key, const char *text, bool plain,
                      struct config_place at)
{
        return put(map, key, new_text(text, plain, at));
}

int userdata_node_append(struct config_node *list, const char *text, struct config_place at)
{
        struct config_node *item = new_text(text, false, at);

        if (!item)
                return -ENOMEM;
        config_node_add(list, item);
        return 0;
}

struct config_node *userdata_node_list(struct config_node *map, const char *key,
                                       struct config_place at)
{
        struct config_node *m = config_node_find(map, key);

        if (m && m->kind == CONFIG_LIST)
                return m;
        if (put(map, key, config_node_new(CONFIG_LIST, at)) < 0)
                return NULL;
        return config_node_find(map, key);
}

struct config_node *userdata_node_take(struct config_node *map, const char *key)
{
        struct config_node *found = NULL, *list = map->first;

        map->first = map->last = NULL;
        map->n = 0;
        while (list) {
                struct config_node *m = list;

                list = m->next;
                m->next = NULL;
                if (!found && m->key && strcmp(m->key, key) == 0)
                        found = m;
                else
                        config_node_add(map, m);
        }
        return found;
}

int userdata_node_filter(struct config_node *parent,
                         int (*keep)(struct config_node *member, void *arg), void *arg)
{
        struct config_node *list = parent->first;
        int r = 0;

        parent->first = parent->last = NULL;
        parent->n = 0;
        while (list) {
                struct config_node *m = list;
                int kept;

                list = m->next;
                m->next = NULL;
                kept = r < 0 ? 0 : keep(m, arg);
                if (kept > 0)
                        config_node_add(parent, m);
                else
                        config_node_free(m);
                r = kept < 0 ? kept : r;
        }
        return r;
}
