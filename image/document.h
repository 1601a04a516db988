/* SPDX-License-Identifier: Apache-2.0 */
/* What --json prints: one document, one line, on standard output. */
#pragma once

#include "base/error.h"
#include "base/json.h"

/* Version of the documents; raised when a field changes its meaning or goes away. */
#define DOCUMENT_SCHEMA 1

/* {"schema":1,"verb":...}. NULL when memory ran out. */
struct json_object *document_new(const char *verb);

int document_print(struct json_object *document, struct error *e) _must_check_;

/* A new array or object below key, borrowed; NULL when memory ran out. */
struct json_object *document_array(struct json_object *parent, const char *key);
struct json_object *document_object(struct json_object *parent, const char *key);

/* Prints {"schema","verb","error":{"class","exit_code","text","advice"}}. */
int document_failure(const char *verb, const struct error *failure) _must_check_;
