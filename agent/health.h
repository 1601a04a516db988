/* SPDX-License-Identifier: Apache-2.0 */
/* Health checks: executables in well-known folders that decide whether a boot is good. */
#pragma once

#include "agent/scripts.h"
#include "base/error.h"

/*
 * Runs the files of each folder that exists, as agent/scripts.h says. 0 when all ended with status
 * 0 (or there are none); -EHEALTH at the first that did not, quoting it. *ret_run gets the number
 * of checks that succeeded.
 */
int health_check(const char *const dirs[], unsigned *ret_run, struct error *e) _must_check_;

#define EHEALTH ESCRIPT
