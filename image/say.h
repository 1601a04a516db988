/* SPDX-License-Identifier: Apache-2.0 */
/* Remarks for the person who builds, on standard error: "tb-image: warning: text". */
#pragma once

#include "base/cleanup.h"

void say_warning(const char *fmt, ...) _printf_(1, 2);
