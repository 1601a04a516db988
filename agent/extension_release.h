/* SPDX-License-Identifier: Apache-2.0 */
/* Whether an extension says that it is made for this system: extension-release, os-release(5). */
#pragma once

#include <stdbool.h>

#include "base/error.h"
#include "upgrade/osrelease.h"

/*
 * The rules of systemd-sysext(8): ID is that of the system, or "_any"; ARCHITECTURE, where it is
 * given, is this one; and SYSEXT_LEVEL (CONFEXT_LEVEL), where both have it, or else VERSION_ID is
 * the same. -ENOEXEC (ERROR_REFUSED).
 */
int extension_release_check(const struct osrelease *host, const struct osrelease *extension,
                            bool confext, struct error *e) _must_check_;
