/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a session tells a person who comes to the machine: recovery, what failed and why, and what
 * can be done; a live session, how the installation ended that nobody attended. On every console,
 * and in run/issue.d for the login prompt, where the image has one.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/env.h"
#include "base/json.h"
#include "upgrade/entry.h"

/* A line for each entry of active and passive that the boot loader passes over, with the reason; a
 * line that there is none. -ENOMEM, -E2BIG. */
int boot_issue_entries(const struct entry_file *list, size_t n, struct buf *why) _must_check_;

/*
 * The text. why: lines of the above, may be empty; problems: array of texts, may be NULL; unlocked:
 * the data is open. Only printable ASCII comes out, and no backslash, which login prompts obey.
 */
int boot_issue_text(const char *why, struct json_object *problems, bool unlocked, struct buf *ret)
        _must_check_;

/* Adds text, prefix before each of its lines. What comes from a disk or an image may hold bytes
 * that a terminal or a login prompt obeys: they become "?". */
int boot_issue_add(struct buf *out, const char *text, const char *prefix) _must_check_;

/* Shows it everywhere. Best effort. */
void boot_issue_show(const struct env *env, const char *text);
