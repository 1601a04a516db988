/* SPDX-License-Identifier: Apache-2.0 */
/* The stages of Kairos, in the words of cloud-init: a translation, step by step, and nothing that
 * runs them. For agent/userdata.c. */
#pragma once

#include "agent/userdata.h"

/*
 * Takes "stages" out of the tree and adds what they say to users, write_files, bootcmd, runcmd and
 * hostname, or to u->common. What no engine does is left out, with a warning. -ENOMEM.
 */
int userdata_stage_translate(struct userdata *u, struct config_problems *problems) _must_check_;
