/* SPDX-License-Identifier: Apache-2.0 */
/* The time that goes into outputs, by the SOURCE_DATE_EPOCH convention of reproducible builds. */
#pragma once

#include <stdint.h>

#include "base/error.h"

/* Seconds since 1970 from the environment, fallback when the variable is not set. ERROR_CONFIG when
 * it is not a number. */
int epoch_get(uint64_t fallback, uint64_t *ret, struct error *e) _must_check_;
