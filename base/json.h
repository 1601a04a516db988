/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JSON on json-c, with the two habits json-c leaves to its callers: every insertion is checked (a
 * failed allocation becomes an error instead of a missing field), and documents from outside are
 * parsed with a size and depth limit.
 */
#pragma once

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/error.h"

static inline void json_put_p(struct json_object **o)
{
        if (*o)
                (void)json_object_put(*o);
        *o = NULL;
}

#define _cleanup_json_ _cleanup_(json_put_p)

/*
 * A new string. What is no valid UTF-8 in value (file names, command lines and certificates hold
 * any bytes) becomes U+FFFD, one for each byte, so that the document stays JSON. NULL when memory
 * ran out.
 */
struct json_object *json_new_str(const char *value) _must_check_;

/*
 * Insertions: 0, -ENOMEM, or -EINVAL when obj is NULL. json_add_obj takes ownership of value in
 * every case (NULL value = out of memory). json_add_str takes any bytes, as json_new_str() does; a
 * NULL text becomes null.
 */
int json_add_obj(struct json_object *obj, const char *key, struct json_object *value) _must_check_;
int json_add_str(struct json_object *obj, const char *key, const char *value) _must_check_;
int json_add_u64(struct json_object *obj, const char *key, uint64_t value) _must_check_;
int json_add_bool(struct json_object *obj, const char *key, bool value) _must_check_;
int json_add_null(struct json_object *obj, const char *key) _must_check_;
/* Appends to an array, same ownership rule. */
int json_append(struct json_object *array, struct json_object *value) _must_check_;

/*
 * Parses text of n bytes (one trailing NUL is tolerated): the whole text must be one value.
 * -EBADMSG when it is not JSON or a key occurs twice in an object, -E2BIG above max bytes
 * or LIMIT_JSON_VALUES. what names the document in messages.
 */
int json_read_text(const void *text, size_t n, size_t max, const char *what,
                   struct json_object **ret, struct error *e) _must_check_;

/*
 * Typed look-ups in an object. Borrowed results. -ENOENT when the key is absent, -EBADMSG when it
 * has another type.
 */
int json_get_str(struct json_object *obj, const char *key, const char **ret) _must_check_;
int json_get_array(struct json_object *obj, const char *key, struct json_object **ret) _must_check_;
int json_get_obj(struct json_object *obj, const char *key, struct json_object **ret) _must_check_;
int json_get_u64(struct json_object *obj, const char *key, uint64_t *ret) _must_check_;
int json_get_bool(struct json_object *obj, const char *key, bool *ret) _must_check_;
