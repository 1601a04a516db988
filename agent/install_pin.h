/* SPDX-License-Identifier: Apache-2.0 */
/* The PIN that partitions are sealed with, by an installation and by what changes a node later:
 * from a file, or typed, a new one twice. */
#pragma once

#include <stdbool.h>

#include "base/env.h"
#include "base/error.h"
#include "base/secret.h"

struct install_pin_wishes {
        bool ask;         /* on the terminal */
        const char *file; /* its only line, "-" for standard input; NULL: none */
};

/*
 * *ret is NULL when none was wished for. ERROR_USAGE: both wishes, no terminal, a file that cannot
 * be read or holds more than a line, a PIN that is not fit (partition/pin.h), or two that differ.
 */
int install_pin_read(const struct env *env, const struct install_pin_wishes *wishes,
                     struct secret **ret, struct error *e) _must_check_;

/* One that the node has, to be compared: typed once when file is NULL. Whatever it looks like:
 * other programs set PINs, too. ERROR_USAGE as above. */
int install_pin_known(const struct env *env, const char *file, struct secret **ret, struct error *e)
        _must_check_;
