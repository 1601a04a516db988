/* SPDX-License-Identifier: Apache-2.0 */
/* Which engine of an image applies user data, and all files for it. */
#pragma once

#include "agent/userdata.h"
#include "base/env.h"

enum userdata_engine {
        USERDATA_ENGINE_NONE, /* neither is in the image */
        USERDATA_ENGINE_CLOUD_INIT,
        USERDATA_ENGINE_SYSTEMD,
        USERDATA_ENGINE_MAX,
};

/* "none", "cloud-init", "systemd". */
const char *userdata_engine_name(enum userdata_engine engine);
/* -EINVAL for another word than "cloud-init" and "systemd". */
int userdata_engine_parse(const char *name, enum userdata_engine *ret) _must_check_;

/*
 * cloud-init, where the image has it and has not switched it off, else systemd. cloud-init would
 * take the serial number of the machine for an address to get user data from; on a machine whose
 * serial number looks like that, it is systemd, and *ret_dangerous.
 */
enum userdata_engine userdata_engine_find(const struct env *env, bool *ret_dangerous);

/* Keeps cloud-init from starting at all. */
#define USERDATA_CLOUD_INIT_OFF "/etc/cloud/cloud-init.disabled"

/* All files that the engine reads, in order; also what keeps cloud-init from starting where it is
 * not the engine. u NULL: nothing is to be applied. */
int userdata_engine_files(const struct env *env, enum userdata_engine engine,
                          const struct userdata *u, struct config_problems *problems,
                          struct userdata_files *files, struct error *e) _must_check_;
