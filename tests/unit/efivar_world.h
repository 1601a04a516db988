/* SPDX-License-Identifier: Apache-2.0 */
/* A scratch folder that stands for efivarfs: one machine's variables, for the length of a test. */
#pragma once

#include "base/env.h"
#include "efivars/efivar.h"
#include "tests/unit/scratch.h"

static struct scratch dir;
static struct env env = ENV_INIT;

static inline int efivar_world_make(void **state)
{
        (void)state;
        scratch_make(&dir);
        env.efivarfs = dir.path;
        return 0;
}

static inline int efivar_world_end(void **state)
{
        (void)state;
        scratch_clean(&dir);
        return 0;
}

static inline void efivar_world_put(const char *name, const char *guid, uint32_t attributes,
                                    const void *data, size_t n)
{
        assert_int_equal(efivar_write(&env, name, guid, attributes, data, n), 0);
}
