/* SPDX-License-Identifier: Apache-2.0 */
/* A recovery key that somebody hands in: by a file, by standard input. */
#pragma once

#include "base/error.h"
#include "base/secret.h"

/* path "-": standard input. Errors of recovery_key_parse() and of reading, ERROR_USAGE. */
int key_input_read(const char *path, struct secret **ret, struct error *e) _must_check_;
