/* SPDX-License-Identifier: Apache-2.0 */
/* A confirmed boot raises the version floor to the version that runs. */
#pragma once

#include <stdbool.h>

#include "base/env.h"
#include "base/error.h"
#include "partition/floor.h"

/*
 * Sets up or raises the floor to the running system's IMAGE_ID and IMAGE_VERSION (from its own,
 * signed os-release). 0 with *ret filled when it is there now; -ENODATA when the system has no
 * version; -ENOENT when the OEM partition is not mounted; else as floor_raise(). Only for an active
 * boot: passive and recovery images are older by design. repair: the operator's explicit wish to
 * replace an index that is gone or that somebody else made, as floor_setup().
 */
int bless_raise_floor(const struct env *env, bool repair, struct floor *ret, struct error *e)
        _must_check_;
