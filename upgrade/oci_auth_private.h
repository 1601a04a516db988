/* SPDX-License-Identifier: Apache-2.0 */
/* What oci_auth.c offers oci_login.c. */
#pragma once

#include <stdbool.h>

#include "upgrade/oci_auth.h"

/* All bytes are from this range. */
bool oci_secret_has(const struct secret *s, uint8_t lowest, uint8_t highest);
