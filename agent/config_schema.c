/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/config_schema.h"

#include "agent/config_table.h"
#include "agent/pcr_choice.h"
#include "base/limits.h"

#define DIALECT "https://json-schema.org/draft/2020-12/schema"
/* As base/num.h reads sizes, and the reader wants them: with a unit. */
#define SIZE_PATTERN "^(0|[1-9][0-9]*)[KMGT](iB)?$"

static struct json_object *object(const struct config_key *key);

static int add_type(struct json_object *o, const char *a, const char *b)
{
        struct json_object *types = b ? json_object_new_array() : NULL;

        if (!b)
                return json_add_str(o, "type", a);
        if (json_append(types, json_new_str(a)) < 0 || json_append(types, json_new_str(b)) < 0) {
                (void)json_object_put(types);
                return -ENOMEM;
        }
        return json_add_obj(o, "type", types);
}

/* A number of MiB that the byte limits allow. */
static struct json_object *number(const struct config_key *key)
{
        struct json_object *o = json_object_new_object();
        int r = o ? json_add_str(o, "type", "integer") : -ENOMEM;

        if (r == 0)
                r = json_add_u64(o, "minimum", (key->min + MIB - 1) / MIB);
        if (r == 0)
                r = json_add_u64(o, "maximum", key->max / MIB);
        if (r < 0)
                json_put_p(&o);
        return o;
}

static struct json_object *text(const char *pattern, uint64_t max)
{
        struct json_object *o = json_object_new_object();
        int r = o ? json_add_str(o, "type", "string") : -ENOMEM;

        if (r == 0)
                r = json_add_str(o, "pattern", pattern);
        if (r == 0 && max > 0)
                r = json_add_u64(o, "maxLength", max);
        if (r < 0)
                json_put_p(&o);
        return o;
}

/* Takes the alternatives over; the last one may be NULL: there are two. */
static int add_any_of(struct json_object *o, struct json_object *const alternatives[3])
{
        struct json_object *list = json_object_new_array();
        int r = list ? 0 : -ENOMEM;

        for (unsigned i = 0; i < 3; i++) {
                if (r == 0 && (alternatives[i] || i < 2))
                        r = json_append(list, alternatives[i]);
                else
                        (void)json_object_put(alternatives[i]);
        }
        if (r < 0) {
                json_put_p(&list);
                return r;
        }
        return json_add_obj(o, "anyOf", list);
}

static struct json_object *zero(void)
{
        struct json_object *o = json_object_new_object();

        if (o && json_add_u64(o, "const", 0) < 0)
                json_put_p(&o);
        return o;
}

static int add_size(struct json_object *o, const struct config_key *key)
{
        struct json_object *const forms[3] = {number(key), text(SIZE_PATTERN, 0),
                                              key->or_zero ? zero() : NULL};

        return add_any_of(o, forms);
}

static int add_text(struct json_object *o, const struct config_rule *rule)
{
        int r = json_add_str(o, "type", "string");

        if (r == 0)
                r = json_add_str(o, "pattern", rule->pattern);
        return r < 0 ? r : json_add_u64(o, "maxLength", rule->max);
}

static int add_words(struct json_object *o, const struct config_key *key)
{
        struct json_object *words = json_object_new_array();
        int r = words ? 0 : -ENOMEM;

        for (const struct config_word *w = key->words; w->word && r == 0; w++)
                r = json_append(words, json_new_str(w->word));
        if (r < 0) {
                json_put_p(&words);
                return r;
        }
        return json_add_obj(o, "enum", words);
}

/* One number, also as a text: so Kairos has it. */
static struct json_object *pcr(const struct config_key *key)
{
        struct json_object *o = json_object_new_object(), *n = json_object_new_object();
        char list[64], pattern[72];
        int r = o && n ? json_add_obj(n, "enum", pcr_choice_json(key->pcrs)) : -ENOMEM;

        (void)pcr_choice_text(key->pcrs, list, sizeof(list));
        for (char *p = list; (p = strstr(p, ", "));) {
                *p = '|';
                memmove(p + 1, p + 2, strlen(p + 2) + 1);
        }
        (void)snprintf(pattern, sizeof(pattern), "^(%s)$", list);
        if (r == 0) {
                struct json_object *const forms[3] = {TAKE_PTR(n), text(pattern, 0), NULL};

                r = add_any_of(o, forms);
        }
        json_put_p(&n);
        if (r < 0)
                json_put_p(&o);
        return o;
}

static int add_list(struct json_object *o, struct json_object *item, uint64_t max)
{
        int r = json_add_obj(o, "items", item);

        if (r == 0)
                r = add_type(o, "array", "null");
        return r < 0 ? r : json_add_u64(o, "maxItems", max);
}

static int add_texts(struct json_object *o, const struct config_rule *rule)
{
        int r = add_list(o, text(rule->pattern, rule->max), LIMIT_CONFIG_LIST);

        return r < 0 ? r : json_add_bool(o, "uniqueItems", true);
}

static int add_members(struct json_object *o, const struct config_key *members)
{
        struct json_object *properties = json_object_new_object();
        struct json_object *required = json_object_new_array();
        int r = properties && required ? 0 : -ENOMEM;

        for (const struct config_key *key = members; key->name && r == 0; key++) {
                r = json_add_obj(properties, key->name, object(key));
                if (r == 0 && key->required)
                        r = json_append(required, json_new_str(key->name));
        }
        if (r == 0)
                r = json_add_obj(o, "properties", TAKE_PTR(properties));
        if (r == 0 && json_object_array_length(required) > 0)
                r = json_add_obj(o, "required", TAKE_PTR(required));
        json_put_p(&properties);
        json_put_p(&required);
        return r < 0 ? r : json_add_bool(o, "additionalProperties", members == config_table);
}

static struct json_object *one_partition(const struct config_key *members)
{
        struct json_object *o = json_object_new_object();
        int r = o ? add_type(o, "object", NULL) : -ENOMEM;

        if (r == 0)
                r = add_members(o, members);
        if (r < 0)
                json_put_p(&o);
        return o;
}

static int add_constraint(struct json_object *o, const struct config_key *key)
{
        int r;

        switch (key->type) {
        case CONFIG_TYPE_ANY:
                return 0;
        case CONFIG_TYPE_MAP:
                r = add_type(o, "object", "null");
                return r < 0 ? r : add_members(o, key->members);
        case CONFIG_TYPE_BOOL:
                return add_type(o, "boolean", NULL);
        case CONFIG_TYPE_TEXT:
                return add_text(o, key->rule);
        case CONFIG_TYPE_WORD:
                return add_words(o, key);
        case CONFIG_TYPE_SIZE:
                return add_size(o, key);
        case CONFIG_TYPE_TEXTS:
                return add_texts(o, key->rule);
        case CONFIG_TYPE_PCRS:
                return add_list(o, pcr(key), (uint64_t)__builtin_popcount(key->pcrs));
        case CONFIG_TYPE_PARTITIONS:
                return add_list(o, one_partition(key->members), LIMIT_CONFIG_EXTRA_PARTITIONS);
        }
        return -EINVAL;
}

/* A refused key may say that it wants nothing. */
static int add_refusal(struct json_object *o)
{
        struct json_object *values = json_object_new_array();
        int r = json_append(values, json_object_new_boolean(false));

        /* json-c has no object for null: it is NULL itself. */
        if (r == 0 && json_object_array_add(values, NULL) != 0)
                r = -ENOMEM;
        if (r < 0) {
                json_put_p(&values);
                return r;
        }
        return json_add_obj(o, "enum", values);
}

static int add_use(struct json_object *o, const struct config_key *key)
{
        _cleanup_free_ char *note = NULL;
        int r;

        if (key->use == CONFIG_USED)
                return json_add_str(o, "description", key->help);
        if (asprintf(&note, "%s: %s.", key->use == CONFIG_REFUSED ? "Refused" : "No effect",
                     key->help) < 0) {
                note = NULL;
                return -ENOMEM;
        }
        r = json_add_str(o, "description", note);
        if (r == 0)
                r = json_add_bool(o, "deprecated", true);
        return r < 0 || key->use == CONFIG_IGNORED ? r : add_refusal(o);
}

static int add_default(struct json_object *o, const struct config_key *key)
{
        if (!key->fallback)
                return 0;
        if (key->type == CONFIG_TYPE_BOOL)
                return json_add_bool(o, "default", key->fallback[0] == 't');
        return json_add_str(o, "default", key->fallback);
}

/* The schema of one key. */
static struct json_object *object(const struct config_key *key)
{
        struct json_object *o = json_object_new_object();
        int r = o ? add_use(o, key) : -ENOMEM;

        if (r == 0)
                r = add_constraint(o, key);
        if (r == 0)
                r = add_default(o, key);
        if (r < 0)
                json_put_p(&o);
        return o;
}

struct json_object *config_schema(void)
{
        struct json_object *o = json_object_new_object();
        int r = o ? json_add_str(o, "$schema", DIALECT) : -ENOMEM;

        if (r == 0)
                r = json_add_str(o, "title", "tb-agent configuration");
        if (r == 0)
                r = json_add_str(o, "description",
                                 "The sections of a cloud-config that tb-agent reads; the rest of "
                                 "a document belongs to others. See tb-agent-config(5).");
        if (r == 0)
                r = add_type(o, "object", "null");
        if (r == 0)
                r = add_members(o, config_table);
        if (r < 0)
                json_put_p(&o);
        return o;
}
