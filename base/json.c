/* SPDX-License-Identifier: Apache-2.0 */
#include "base/json.h"

#include <json-c/json.h>
#include <limits.h>
#include <string.h>

#include "base/limits.h"

/* Our documents nest four levels; a deeper one is an attack on the parser's stack. */
#define JSON_DEPTH 16

/* Bytes of the UTF-8 character at p (RFC 3629), 0 when there is none. Ends at the NUL at latest. */
static size_t utf8_length(const uint8_t *p)
{
        size_t n = p[0] < 0x80 ? 1 : p[0] < 0xc2 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;

        if (n == 0 || p[0] > 0xf4)
                return 0;
        for (size_t i = 1; i < n; i++)
                if ((p[i] & 0xc0) != 0x80)
                        return 0;
        /* Overlong forms, surrogates, and what lies beyond U+10FFFF. */
        if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) ||
            (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f))
                return 0;
        return n;
}

struct json_object *json_new_str(const char *value)
{
        static const char replacement[] = "\xef\xbf\xbd";
        _cleanup_(buf_done) struct buf text = BUF_INIT(3 * strlen(value));

        for (const uint8_t *p = (const uint8_t *)value; *p;) {
                size_t n = utf8_length(p);
                int r = n > 0 ? buf_add(&text, p, n)
                              : buf_add(&text, replacement, sizeof(replacement) - 1);

                if (r < 0)
                        return NULL;
                p += n > 0 ? n : 1;
        }
        return json_object_new_string(buf_str(&text));
}

int json_add_obj(struct json_object *obj, const char *key, struct json_object *value)
{
        if (!obj || !value) {
                (void)json_object_put(value);
                return obj ? -ENOMEM : -EINVAL;
        }
        if (json_object_object_add(obj, key, value) < 0) {
                (void)json_object_put(value);
                return -ENOMEM;
        }
        return 0;
}

int json_add_str(struct json_object *obj, const char *key, const char *value)
{
        return value ? json_add_obj(obj, key, json_new_str(value)) : json_add_null(obj, key);
}

int json_add_u64(struct json_object *obj, const char *key, uint64_t value)
{
        return json_add_obj(obj, key, json_object_new_uint64(value));
}

int json_add_bool(struct json_object *obj, const char *key, bool value)
{
        return json_add_obj(obj, key, json_object_new_boolean(value));
}

int json_add_null(struct json_object *obj, const char *key)
{
        if (!obj)
                return -EINVAL;
        return json_object_object_add(obj, key, NULL) < 0 ? -ENOMEM : 0;
}

int json_append(struct json_object *array, struct json_object *value)
{
        if (!array || !value) {
                (void)json_object_put(value);
                return array ? -ENOMEM : -EINVAL;
        }
        if (json_object_array_add(array, value) < 0) {
                (void)json_object_put(value);
                return -ENOMEM;
        }
        return 0;
}

/* What stands in a text, counted outside of its strings. */
struct census {
        size_t members; /* of all objects: each has one colon */
        size_t values;  /* or more: each follows a comma or is the first of its container */
};

/*
 * What json-c lets pass even in its strict mode: a NUL byte ends the text for it, whatever follows;
 * a NUL that is written as an escape ends keys and, for readers of C strings, values; keys may
 * stand in single quotes; strings may contain control characters; NaN and Infinity are numbers.
 */
static bool has_foreign(const char *text, size_t n, struct census *ret)
{
        struct census c = {.values = 1};
        bool string = false;

        for (size_t i = 0; i < n; i++) {
                if (text[i] == '\0' ||
                    (string ? (uint8_t)text[i] < 0x20 : !!strchr("'NI", text[i])))
                        return true;
                if (text[i] == '"')
                        string = !string;
                else if (text[i] == ':' && !string)
                        c.members++;
                else if ((text[i] == ',' || text[i] == '[' || text[i] == '{') && !string)
                        c.values++;
                else if (text[i] == '\\' && string) {
                        if (n - i > 5 && memcmp(text + i + 1, "u0000", 5) == 0)
                                return true;
                        i++;
                }
        }
        *ret = c;
        return false;
}

/* Members of all objects in the tree. */
static size_t count_members(struct json_object *o)
{
        size_t n = 0;

        if (json_object_is_type(o, json_type_object)) {
                json_object_object_foreach(o, key, value)
                {
                        (void)key;
                        n += 1 + count_members(value);
                }
        } else if (json_object_is_type(o, json_type_array)) {
                for (size_t i = 0; i < json_object_array_length(o); i++)
                        n += count_members(json_object_array_get_idx(o, i));
        }
        return n;
}

int json_read_text(const void *text, size_t n, size_t max, const char *what,
                   struct json_object **ret, struct error *e)
{
        struct json_tokener *tok;
        _cleanup_json_ struct json_object *o = NULL;
        enum json_tokener_error state;
        struct census census;

        if (n > 0 && ((const char *)text)[n - 1] == '\0')
                n--;
        if (n > max || n > INT_MAX)
                return error_set(e, ERROR_REFUSED, E2BIG, "%s: %zu bytes, at most %zu are accepted",
                                 what, n, max);
        if (has_foreign(text, n, &census))
                return error_set(e, ERROR_REFUSED, EBADMSG, "%s: not valid JSON", what);
        /* json-c makes hundreds of bytes of an empty array. */
        if (census.values > LIMIT_JSON_VALUES)
                return error_set(e, ERROR_REFUSED, E2BIG, "%s: more than %u values", what,
                                 LIMIT_JSON_VALUES);
        tok = json_tokener_new_ex(JSON_DEPTH);
        if (!tok)
                return error_oom(e);
        json_tokener_set_flags(tok, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
        o = json_tokener_parse_ex(tok, text, (int)n);
        state = json_tokener_get_error(tok);
        if (state == json_tokener_continue) {
                /* A bare number only ends when something follows it. */
                o = json_tokener_parse_ex(tok, "", 1);
                state = json_tokener_get_error(tok);
        }
        json_tokener_free(tok);
        if (state != json_tokener_success || !o)
                return error_set(e, ERROR_REFUSED, EBADMSG, "%s: not valid JSON (%s)", what,
                                 json_tokener_error_desc(state));
        /* Of two members with one key json-c keeps the last; other readers take the first. */
        if (count_members(o) != census.members)
                return error_set(e, ERROR_REFUSED, EBADMSG, "%s: a key occurs twice", what);
        *ret = TAKE_PTR(o);
        return 0;
}

static int get_typed(struct json_object *obj, const char *key, enum json_type type,
                     struct json_object **ret)
{
        struct json_object *v;

        if (!json_object_is_type(obj, json_type_object) || !json_object_object_get_ex(obj, key, &v))
                return -ENOENT;
        if (!v || !json_object_is_type(v, type))
                return -EBADMSG;
        *ret = v;
        return 0;
}

int json_get_str(struct json_object *obj, const char *key, const char **ret)
{
        struct json_object *v;
        int r = get_typed(obj, key, json_type_string, &v);

        if (r < 0)
                return r;
        *ret = json_object_get_string(v);
        return 0;
}

int json_get_array(struct json_object *obj, const char *key, struct json_object **ret)
{
        return get_typed(obj, key, json_type_array, ret);
}

int json_get_obj(struct json_object *obj, const char *key, struct json_object **ret)
{
        return get_typed(obj, key, json_type_object, ret);
}

int json_get_u64(struct json_object *obj, const char *key, uint64_t *ret)
{
        struct json_object *v;
        int r = get_typed(obj, key, json_type_int, &v);

        if (r < 0)
                return r;
        if (json_object_get_int64(v) < 0)
                return -EBADMSG;
        *ret = json_object_get_uint64(v);
        return 0;
}

int json_get_bool(struct json_object *obj, const char *key, bool *ret)
{
        struct json_object *v;
        int r = get_typed(obj, key, json_type_boolean, &v);

        if (r < 0)
                return r;
        *ret = json_object_get_boolean(v) != 0;
        return 0;
}
