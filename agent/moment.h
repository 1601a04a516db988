/* SPDX-License-Identifier: Apache-2.0 */
/* When something happened, for people and for other boots: the calendar, and which boot it was. */
#pragma once

#include <stdint.h>

#include "base/env.h"

#define MOMENT_BOOT_ID_SIZE 37u

/* Seconds since 1970; 0 when nobody knows. */
uint64_t moment_now(void);

/* The kernel's id of this boot; "" when it is not known. */
void moment_boot_id(const struct env *env, char ret[MOMENT_BOOT_ID_SIZE]);
