/* SPDX-License-Identifier: Apache-2.0 */
/* A merged configuration for people and programs: each value and where it was said. Sections of
 * others, which may hold passwords, are not shown. */
#pragma once

#include <stdio.h>

#include "agent/config.h"
#include "base/json.h"

/* Lines "install.device  /dev/sda  (FILE:LINE:COLUMN)"; defaults as "(default)". -ENOMEM. */
int config_show_text(const struct config *c, FILE *out) _must_check_;

/*
 * [{"key","value","file","line","column"}], in the order of the table; sizes in bytes, a value that
 * was chosen by nobody is null, and file, line and column are null for defaults. NULL when memory
 * ran out.
 */
struct json_object *config_show_json(const struct config *c) _must_check_;
