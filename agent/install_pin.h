/* SPDX-License-Identifier: Apache-2.0 */
/* The PIN that an installation seals the partitions with: from a file, or typed twice. */
#pragma once

#include <stdbool.h>

#include "base/env.h"
#include "base/error.h"
#include "base/secret.h"

struct install_pin_wishes {
        bool ask;         /* on the terminal */
        const char *file; /* its first line; NULL: none */
};

/*
 * *ret is NULL when none was wished for. ERROR_USAGE: both wishes, no terminal, a file that cannot
 * be read or holds more than a line, a PIN that is not fit (partition/pin.h), or two that differ.
 */
int install_pin_read(const struct env *env, const struct install_pin_wishes *wishes,
                     struct secret **ret, struct error *e) _must_check_;
