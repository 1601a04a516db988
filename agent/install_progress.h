/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How far an installation is: for people as agent/progress.h shows it, on a descriptor that was
 * named as its JSON lines, and for a front end that speaks the contract of Kairos' installers
 * (KAIROS_AGENT_PROGRESS is set and not empty) as lines on standard output:
 *
 *   {"event":"step","step":"partition"}       also active, recovery, passive, after-install, done
 *   {"event":"error","message":"..."}
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/error.h"

enum install_step {
        INSTALL_STEP_FETCH,
        INSTALL_STEP_CLEAR,
        INSTALL_STEP_ESP,
        INSTALL_STEP_ACTIVE,
        INSTALL_STEP_RECOVERY,
        INSTALL_STEP_ENTRIES,
        INSTALL_STEP_OEM,
        INSTALL_STEP_EXTRA,
        INSTALL_STEP_PERSISTENT,
        INSTALL_STEP_TABLE,
        INSTALL_STEP_FIRMWARE,
        INSTALL_STEP_MAX,
};

struct install_progress;

/* As progress_open_with(). NULL when memory ran out; every function takes NULL and does nothing. */
struct install_progress *install_progress_new(bool json, uint64_t fd,
                                              void (*line)(const char *text, void *arg), void *arg);
void install_progress_free(struct install_progress *p);
DEFINE_CLEANUP(struct install_progress, install_progress_free)

/* A step begins. name (may be NULL): of what there are several of; total: bytes to come, 0: none.
 */
void install_progress_step(struct install_progress *p, enum install_step step, const char *name,
                           uint64_t total);
/* So many bytes of the step are done. For struct esp. */
void install_progress_bytes(void *p, uint64_t done);
/* The end: e is NULL after success. */
void install_progress_end(struct install_progress *p, const struct error *e);
