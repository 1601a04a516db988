/* SPDX-License-Identifier: Apache-2.0 */
/* "status": how many ways lead into each encrypted volume. What each is good for takes reading all
 * images: that is "enroll list". */
#pragma once

#include "base/env.h"
#include "base/json.h"

/* Adds "ways": a list, or null where the headers cannot be read. -ENOMEM. */
int status_add_ways(const struct env *env, struct json_object *root) _must_check_;
void status_print_ways(struct json_object *root);
