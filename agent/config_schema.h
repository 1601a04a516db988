/* SPDX-License-Identifier: Apache-2.0 */
/* The JSON schema of a configuration, made from the table of keys. */
#pragma once

#include "base/json.h"

/* JSON Schema 2020-12. NULL when memory ran out. */
struct json_object *config_schema(void) _must_check_;
