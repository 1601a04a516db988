/* SPDX-License-Identifier: Apache-2.0 */
/* What people and programs see on standard output, and how a verb ends. */
#pragma once

#include <stdbool.h>
#include <stdio.h>

#include "base/error.h"
#include "base/json.h"

/* Version of the documents this program prints; raised when a field changes its meaning or goes
 * away. */
#define REPORT_SCHEMA 1

/* A new document {"schema":1,"verb":...}. NULL when memory ran out. */
struct json_object *report_new(const char *verb);

/*
 * Text for people. What comes from a disk or an image (titles, models, file names) may hold bytes
 * that a terminal obeys: control characters other than the newline are shown as "?".
 */
void report_text(FILE *f, const char *fmt, ...) _printf_(2, 3);

/* Prints a document to standard output, one line. */
int report_print(struct json_object *document, struct error *e) _must_check_;

/* Adds "error":{"class","exit_code","text","advice"} to a document. -ENOMEM. */
int report_add_error(struct json_object *document, const struct error *e) _must_check_;

/*
 * Ends a failed verb: as text "tb-agent: text" and the advice on standard error, or with json as a
 * document
 * {"schema","verb","error":{"class","text","advice"}} on standard output. Returns the exit code.
 */
int report_failure(const char *verb, bool json, const struct error *e);
