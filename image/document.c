/* SPDX-License-Identifier: Apache-2.0 */
#include "image/document.h"

#include <stdio.h>

struct json_object *document_new(const char *verb)
{
        _cleanup_json_ struct json_object *o = json_object_new_object();

        if (json_add_u64(o, "schema", DOCUMENT_SCHEMA) < 0 || json_add_str(o, "verb", verb) < 0)
                return NULL;
        return TAKE_PTR(o);
}

int document_print(struct json_object *document, struct error *e)
{
        const char *text = json_object_to_json_string_ext(
                document, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);

        if (!text)
                return error_oom(e);
        if (printf("%s\n", text) < 0 || fflush(stdout) != 0)
                return error_errno(e, errno, "cannot write to standard output");
        return 0;
}

struct json_object *document_array(struct json_object *parent, const char *key)
{
        struct json_object *array = json_object_new_array();

        return json_add_obj(parent, key, array) < 0 ? NULL : array;
}

struct json_object *document_object(struct json_object *parent, const char *key)
{
        struct json_object *o = json_object_new_object();

        return json_add_obj(parent, key, o) < 0 ? NULL : o;
}

int document_failure(const char *verb, const struct error *failure)
{
        _cleanup_json_ struct json_object *root = document_new(verb);
        struct json_object *o = document_object(root, "error");
        int r;

        r = json_add_str(o, "class", error_class_name(failure->class));
        if (r == 0)
                r = json_add_u64(o, "exit_code", (uint64_t)error_exit_code(failure->class));
        if (r == 0)
                r = json_add_str(o, "text", failure->text);
        if (r == 0)
                r = json_add_str(o, "advice", error_advice(failure));
        return r < 0 ? r : document_print(root, NULL);
}
