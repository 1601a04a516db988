/* SPDX-License-Identifier: Apache-2.0 */
/* One agent at a time changes a node. */
#pragma once

#include "base/env.h"
#include "base/error.h"

/*
 * Takes the lock of this node (run/tb-agent/lock). Returns a descriptor that holds it until closed,
 * or with the process. -EBUSY when another run has it.
 */
int lock_take(const struct env *env, struct error *e) _must_check_;
