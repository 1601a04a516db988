/* SPDX-License-Identifier: Apache-2.0 */
/*
 * os-release(5) text: KEY=VALUE lines in the part of the shell language that the specification
 * allows. Strict: a line that is not a comment, not blank and not a well-formed assignment refuses
 * the document, because a reader that guesses may see another version than the next reader.
 *
 * Values: bare words without blanks and shell specials, 'single quoted', or "double quoted" with
 * backslash before $, ", \ and `. A key that appears twice has its last value, as in a shell.
 */
#pragma once

#include <stddef.h>

#include "base/cleanup.h"
#include "base/error.h"

struct osrelease;

/* Reads n bytes (one trailing NUL is tolerated). Refused with -EBADMSG, or -E2BIG above
 * LIMIT_OS_RELEASE. */
int osrelease_parse(const void *text, size_t n, struct osrelease **ret, struct error *e)
        _must_check_;
void osrelease_free(struct osrelease *o);
DEFINE_CLEANUP(struct osrelease, osrelease_free)

/* Value of a key, borrowed; NULL when it is absent. */
const char *osrelease_get(const struct osrelease *o, const char *key);
