/* SPDX-License-Identifier: Apache-2.0 */
/* The verbs: each gets argv from its own name on, and returns the exit code of the program. */
#pragma once

#include "base/env.h"

int verb_install(const struct env *env, int argc, char **argv);
int verb_boot(const struct env *env, int argc, char **argv);
int verb_bless(const struct env *env, int argc, char **argv);
int verb_status(const struct env *env, int argc, char **argv);
int verb_bootentry(const struct env *env, int argc, char **argv);
int verb_upgrade(const struct env *env, int argc, char **argv);
int verb_reset(const struct env *env, int argc, char **argv);
int verb_config(const struct env *env, int argc, char **argv);
int verb_verify(const struct env *env, int argc, char **argv);
int verb_unlock(const struct env *env, int argc, char **argv);
int verb_enroll(const struct env *env, int argc, char **argv);
int verb_secureboot(const struct env *env, int argc, char **argv);
int verb_doctor(const struct env *env, int argc, char **argv);
int verb_extension(const struct env *env, int argc, char **argv);
