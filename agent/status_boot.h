/* SPDX-License-Identifier: Apache-2.0 */
/* "status --boot": what the boot stage did, and how long each of its steps took. */
#pragma once

#include "base/env.h"
#include "base/error.h"
#include "base/json.h"

/* Adds "boot", the report of the boot stage, to a document. -ENOENT when there is none. */
int status_boot_add(const struct env *env, struct json_object *document, struct error *e)
        _must_check_;

/* The document as text for people. */
void status_boot_print(struct json_object *document);
