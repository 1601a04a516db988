/* SPDX-License-Identifier: Apache-2.0 */
/* Inside of "reset": what holds the volumes goes, and what the agent remembers. */
#pragma once

#include "agent/reset_plan.h"

/*
 * Unmounts what is mounted by this program and closes the mappings of the volumes that will be
 * erased. -EBUSY (ERROR_BUSY) when somebody uses them. In the mount name space of the session.
 */
int reset_release(const struct reset_plan *p, struct error *e) _must_check_;

/* Clears floor and memory as the plan says; before the journal, whose carrying out by a boot stage
 * never does. Idempotent. */
int reset_forget(const struct reset_plan *p, struct error *e) _must_check_;
