/* SPDX-License-Identifier: Apache-2.0 */
/* Restarting the node or powering it off, in order: services are stopped and file systems unmounted
 * first. */
#pragma once

#include "base/env.h"
#include "base/error.h"

/*
 * Asks the service manager of the node (env->root) to restart it and returns. -EIO
 * (ERROR_PRECONDITION) when it cannot be asked.
 */
int restart_node(const struct env *env, struct error *e) _must_check_;

/* The same for powering off. */
int restart_power_off(const struct env *env, struct error *e) _must_check_;

/*
 * restart_node(), for a boot that has failed: when the service manager cannot be asked, the kernel
 * restarts the machine at once, synced.
 */
int restart_node_hard(const struct env *env, struct error *e) _must_check_;
