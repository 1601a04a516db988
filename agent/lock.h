/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One agent at a time changes a node. The lock is held through an open file in run/tb-agent, which
 * is a path of the node, so that it also holds between containers. What stands in the file tells
 * who has it; without a holder the text is that of the last one and means nothing.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/env.h"
#include "base/error.h"

/*
 * Takes the lock of this node (run/tb-agent/lock). Returns a descriptor that holds it until closed,
 * or with the process. operation stands in the file ("upgrade"). When another run has it, waits up
 * to wait_seconds; then -EBUSY, and the message says who has it since when. -ECANCELED when a
 * signal ended the wait (agent/stop.h).
 */
int lock_take(const struct env *env, const char *operation, uint64_t wait_seconds, struct error *e)
        _must_check_;

/*
 * One agent at a time looks at the ESP before it mounts it: while somebody has the device for
 * himself, nobody else can mount it, not even a status query. Waits for the others, who need a
 * moment. Returns a descriptor that holds the turn until closed; -ECANCELED as lock_take().
 */
int lock_turn(const struct env *env, struct error *e) _must_check_;

/* Whether some agent holds the lock now, as far as this process can see. For showing only. */
bool lock_is_held(const struct env *env);
