/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JSON documents whose strings are secrets: files with passwords, answers with tokens. A JSON
 * library copies every string into memory that it frees without wiping; here it never sees one.
 *
 * The tree that comes out has, in place of each string, the place where the text has it; members,
 * other values and all checks are those of base/json.h. json_secret_get() decodes one string into a
 * struct secret. Keys of objects are not secret. The text stays the caller's, to keep as long as
 * the tree is used and to wipe.
 */
#pragma once

#include "base/json.h"
#include "base/secret.h"

/* As json_read_text(). */
int json_secret_read(const void *text, size_t n, size_t max, const char *what,
                     struct json_object **ret, struct error *e) _must_check_;

/*
 * The string of a member. -ENOENT when the key is absent, -EBADMSG when it has another type or is
 * malformed (control characters, broken escapes, a NUL), -ENOMEM.
 */
int json_secret_get(struct json_object *obj, const char *key, const void *text, size_t n,
                    struct secret **ret) _must_check_;
