/* SPDX-License-Identifier: Apache-2.0 */
/* What no single key can say: whether the values of a merged configuration fit each other. */
#pragma once

#include "agent/config.h"

/*
 * Notes what contradicts itself, and joins what is said in two places: the partitions that
 * install.encrypted_partitions names, upgrade.recovery, and the PCRs that are bound always. Warns
 * of a section that nothing goes by yet.
 */
void config_check(struct config *c, struct config_problems *problems);
