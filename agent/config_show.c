/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/config_show.h"

#include <string.h>

#include "agent/config_table.h"
#include "agent/report.h"
#include "base/num.h"
#include "upgrade/source_name.h"

#define PATH_ROOM 128u

/* --- values ------------------------------------------------------------------------------------*/

static int members_json(const struct config_key *members, const uint8_t *base,
                        struct json_object *o);

static const char *word_of(const struct config_key *key, unsigned value)
{
        const struct config_word *w = key->words;

        while (w->word && w->value != value)
                w++;
        return w->word;
}

static struct json_object *list_json(const struct config_list *list)
{
        struct json_object *array = json_object_new_array();
        int r = array ? 0 : -ENOMEM;

        for (unsigned i = 0; i < list->n && r == 0; i++)
                r = json_append(array, json_new_str(list->item[i]));
        if (r < 0)
                json_put_p(&array);
        return array;
}

static struct json_object *pcrs_json(uint32_t mask)
{
        struct json_object *array = json_object_new_array();
        int r = array ? 0 : -ENOMEM;

        for (int i = 0; i < 32 && r == 0; i++) {
                if (mask & UINT32_C(1) << i)
                        r = json_append(array, json_object_new_int(i));
        }
        if (r < 0)
                json_put_p(&array);
        return array;
}

static struct json_object *partitions_json(const struct config_key *members,
                                           const struct config_partitions *list)
{
        struct json_object *array = json_object_new_array();
        int r = array ? 0 : -ENOMEM;

        for (unsigned i = 0; i < list->n && r == 0; i++) {
                struct json_object *o = json_object_new_object();

                r = json_append(array, o);
                if (r == 0)
                        r = members_json(members, (const uint8_t *)&list->item[i], o);
        }
        if (r < 0)
                json_put_p(&array);
        return array;
}

/* A text as it may be shown: a source without the password that its URL may hold. */
static int add_text(struct json_object *o, const char *name, const struct config_key *key,
                    const char *text)
{
        _cleanup_(source_name_done) struct source_name source = {.text = NULL};
        struct error e = ERROR_INIT;

        if (!text || !key->rule->is_source)
                return json_add_str(o, name, text);
        if (source_name_parse(text, &source, &e) < 0)
                return -e.code;
        return json_add_str(o, name, source.text);
}

/* Adds the value of a key to an object under a name. */
static int add_value(struct json_object *o, const char *name, const struct config_key *key,
                     const uint8_t *base)
{
        const void *at = base + key->target;

        switch (key->type) {
        case CONFIG_TYPE_ANY:
        case CONFIG_TYPE_MAP:
                return 0;
        case CONFIG_TYPE_BOOL:
                return json_add_bool(o, name, *(const bool *)at);
        case CONFIG_TYPE_TEXT:
                return add_text(o, name, key, *(const char *const *)at);
        case CONFIG_TYPE_WORD:
                return json_add_str(o, name, word_of(key, *(const unsigned *)at));
        case CONFIG_TYPE_SIZE:
                return json_add_u64(o, name, *(const uint64_t *)at);
        case CONFIG_TYPE_TEXTS:
                return json_add_obj(o, name, list_json(at));
        case CONFIG_TYPE_PCRS:
                return json_add_obj(o, name, pcrs_json(*(const uint32_t *)at));
        case CONFIG_TYPE_PARTITIONS:
                return json_add_obj(o, name, partitions_json(key->members, at));
        }
        return -EINVAL;
}

static int members_json(const struct config_key *members, const uint8_t *base,
                        struct json_object *o)
{
        int r = 0;

        for (; members->name && r == 0; members++) {
                if (members->use == CONFIG_USED && members->target != CONFIG_NOWHERE)
                        r = add_value(o, members->name, members, base);
        }
        return r;
}

/* --- the walk ----------------------------------------------------------------------------------*/

/* Called for each value that is to be shown; at NULL: a default. */
typedef int (*visit)(void *ctx, const char *path, const struct config_key *key,
                     const struct config_place *at);

struct walk {
        const struct config *c;
        visit visit;
        void *ctx;
};

/* A value that was not said by this key, but by another one for the same: that one shows it. */
static bool said_elsewhere(const struct config *c, const struct config_key *key)
{
        const uint8_t *at = (const uint8_t *)c + key->target;

        if (key->type == CONFIG_TYPE_TEXT)
                return *(const char *const *)(const void *)at;
        if (key->type == CONFIG_TYPE_WORD)
                return key->fallback && strcmp(word_of(key, *(const unsigned *)(const void *)at),
                                               key->fallback) != 0;
        return false;
}

static int walk_keys(const struct walk *w, const struct config_key *members, const char *prefix)
{
        int r = 0;

        for (; members->name && r == 0; members++) {
                const struct config_place *at;
                char path[PATH_ROOM];

                if (members->use != CONFIG_USED)
                        continue;
                (void)snprintf(path, sizeof(path), "%s%s%s", prefix, *prefix ? "." : "",
                               members->name);
                if (members->type == CONFIG_TYPE_MAP) {
                        r = walk_keys(w, members->members, path);
                        continue;
                }
                at = config_origin(w->c, path);
                if (members->target == CONFIG_NOWHERE ||
                    (!at && (members->other_name || said_elsewhere(w->c, members))))
                        continue;
                r = w->visit(w->ctx, path, members, at);
        }
        return r;
}

/* --- text --------------------------------------------------------------------------------------*/

struct text_walk {
        const struct config *c;
        FILE *out;
};

static int show_line(void *ctx, const char *path, const struct config_key *key,
                     const struct config_place *at)
{
        const struct text_walk *t = ctx;
        _cleanup_json_ struct json_object *o = json_object_new_object();
        struct json_object *value = NULL;
        const uint8_t *base = (const uint8_t *)t->c;
        char size[32];
        const char *text;
        int r = o ? add_value(o, "value", key, base) : -ENOMEM;

        if (r < 0)
                return r;
        (void)json_object_object_get_ex(o, "value", &value);
        if (json_object_is_type(value, json_type_string))
                text = json_object_get_string(value);
        else if (key->type == CONFIG_TYPE_SIZE && json_object_get_int64(value) > 0)
                text = format_size(json_object_get_uint64(value), size, sizeof(size));
        else if (!value || key->type == CONFIG_TYPE_SIZE)
                text = "-";
        else
                text = json_object_to_json_string_ext(
                        value, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);
        if (!text)
                return -ENOMEM;
        if (at)
                report_text(t->out, "%-36s %s  (%s:%u:%u)\n", path, text, at->file, at->line,
                            at->column);
        else
                report_text(t->out, "%-36s %s  (default)\n", path, text);
        return 0;
}

int config_show_text(const struct config *c, FILE *out)
{
        struct text_walk t = {c, out};
        const struct walk w = {c, show_line, &t};

        return walk_keys(&w, config_table, "");
}

/* --- JSON --------------------------------------------------------------------------------------*/

struct json_walk {
        const struct config *c;
        struct json_object *array;
};

static int show_object(void *ctx, const char *path, const struct config_key *key,
                       const struct config_place *at)
{
        const struct json_walk *j = ctx;
        struct json_object *o = json_object_new_object();
        int r = json_append(j->array, o);

        if (r == 0)
                r = json_add_str(o, "key", path);
        if (r == 0)
                r = add_value(o, "value", key, (const uint8_t *)j->c);
        if (r == 0)
                r = json_add_str(o, "file", at ? at->file : NULL);
        if (r == 0)
                r = at ? json_add_u64(o, "line", at->line) : json_add_null(o, "line");
        if (r == 0)
                r = at ? json_add_u64(o, "column", at->column) : json_add_null(o, "column");
        return r;
}

struct json_object *config_show_json(const struct config *c)
{
        struct json_walk j = {c, json_object_new_array()};
        const struct walk w = {c, show_object, &j};

        if (j.array && walk_keys(&w, config_table, "") < 0)
                json_put_p(&j.array);
        return j.array;
}
