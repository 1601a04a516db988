/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside of "install": what the console of a live session offers to whoever stands before it
 * (agent/tb-agent-installer.service), around the list of disks, the plan and the question that
 * every installation on a terminal has.
 */
#pragma once

#include <stdio.h>

#include "base/error.h"

/* Waits until somebody wants to install. ERROR_NOTHING (-ECANCELED) when they leave instead;
 * ERROR_INTERRUPTED (-EPIPE) when there is nobody to read from. */
int install_offer_begin(FILE *in, FILE *out, struct error *e) _must_check_;

/* Before the machine restarts or goes off: the medium has to be out, or it starts again. What
 * happens is in verb. */
void install_offer_end(FILE *in, FILE *out, const char *verb);
