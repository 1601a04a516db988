/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stopping at a safe point. SIGTERM and SIGINT only leave a note; work that can be stopped looks at
 * it between its steps. A second signal changes nothing: whoever is in a hurry has SIGKILL, which
 * equals a power cut and is survived likewise.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

/* From now on the signals are noted; waits end with EINTR. SIGPIPE is ignored, as output that
 * nobody reads is no reason to stop. */
int stop_prepare(struct error *e) _must_check_;

/* Whether a signal came. The argument is for callbacks and not looked at. */
bool stop_wanted(void *unused);

/* 0, or -ECANCELED (ERROR_INTERRUPTED) once a signal came. */
int stop_check(struct error *e) _must_check_;

/* Waits so many seconds; ends early like stop_check(). */
int stop_wait(uint64_t seconds, struct error *e) _must_check_;
