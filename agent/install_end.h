/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside of "install": what is around the work on the disk: hooks before and after it
 * (agent/hooks.h), and what the machine does when all is done.
 */
#pragma once

#include <stdbool.h>

#include "base/env.h"
#include "base/error.h"

enum install_end {
        INSTALL_END_STAY, /* the live session goes on */
        INSTALL_END_REBOOT,
        INSTALL_END_POWEROFF,
};

struct install_plan;

/* "none", "reboot", "poweroff". */
const char *install_end_name(enum install_end end);

/* At most one of the two (ERROR_USAGE); neither gives INSTALL_END_STAY. */
int install_end_choose(bool reboot, bool poweroff, enum install_end *ret, struct error *e)
        _must_check_;

/*
 * Whether the session may end by itself: a recovery key that is shown needs somebody at standard
 * input who says that it was read. ERROR_USAGE. Tells the escrow to put no key into memory.
 */
int install_end_prepare(struct install_plan *p, struct error *e) _must_check_;

/*
 * Before the first write, and after the last one. *ret_run is raised by the hooks that succeeded.
 * ERROR_PRECONDITION at the first one that did not.
 */
int install_end_ask_hooks(const struct install_plan *p, unsigned *ret_run, struct error *e)
        _must_check_;
int install_end_tell_hooks(const struct install_plan *p, unsigned *ret_run, struct error *e)
        _must_check_;

/* Before the session ends: until a recovery key that was shown is read. ERROR_INTERRUPTED when
 * nobody says so. */
int install_end_wait(const struct install_plan *p, struct error *e) _must_check_;

/* Restarts or powers off, where that was wished. ERROR_PRECONDITION when it cannot be asked for. */
int install_end_leave(const struct install_plan *p, struct error *e) _must_check_;
