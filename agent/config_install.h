/* SPDX-License-Identifier: Apache-2.0 */
/* From a configuration to the wishes of an installation. */
#pragma once

#include "agent/config.h"
#include "agent/install.h"

/*
 * Fills what the command line left open; texts point into c. ERROR_CONFIG for what the installer or
 * the boot stage would not take.
 */
int config_apply_to_install(const struct config *c, struct install_wishes *wishes, struct error *e)
        _must_check_;
