/* SPDX-License-Identifier: Apache-2.0 */
/* Pictures that systemd-stub shows while the system starts. */
#pragma once

#include "base/buf.h"
#include "base/error.h"

/*
 * Whether systemd-stub would show it: a BMP, not compressed, with 1, 4, 8, 16, 24 or 32 bits for a
 * pixel, and complete. It starts the system without a picture otherwise. ERROR_CONFIG.
 */
int splash_check(const struct buf *file, struct error *e) _must_check_;
