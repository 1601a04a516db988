/* SPDX-License-Identifier: Apache-2.0 */
/* What people and programs see of extensions: agent/extension.h. */
#pragma once

#include <stdbool.h>

#include "agent/extension.h"
#include "base/env.h"
#include "base/error.h"
#include "base/json.h"

/* Adds "name", "kind", "root_hash", "size", "images" to an object. -ENOMEM. */
int extension_report_item(struct json_object *o, const struct extension *x) _must_check_;

/* Adds "extensions" to an object: what is installed, whether it is enabled for the image that runs,
 * and whether it is in use. */
int extension_report_add(const struct env *env, struct json_object *root, struct error *e)
        _must_check_;

/* Prints that list. */
int extension_report_list(const struct env *env, bool json, struct error *e) _must_check_;

/* For "status": the list, or null where it cannot be had. -ENOMEM. */
int extension_report_status(const struct env *env, struct json_object *root) _must_check_;
/* The same for people; nothing when there are none. */
void extension_report_print(struct json_object *root);
