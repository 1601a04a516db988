/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The verbs of tb-image. Each takes its words (argv[0] is the verb's name, the array ends with
 * NULL), prints its result on standard output, and returns 0, WORDS_HELP when help was asked for,
 * or a negative errno with the error filled in. *json tells, also after a failure, whether JSON was
 * asked for; verbs without JSON leave it alone.
 */
#pragma once

#include <stdbool.h>

#include "base/error.h"

int verb_keys(char *const argv[], bool *json, struct error *e) _must_check_;
int verb_usi(char *const argv[], bool *json, struct error *e) _must_check_;
int verb_sign(char *const argv[], bool *json, struct error *e) _must_check_;
int verb_upgrade_image(char *const argv[], bool *json, struct error *e) _must_check_;
int verb_iso(char *const argv[], bool *json, struct error *e) _must_check_;
int verb_inspect(char *const argv[], bool *json, struct error *e) _must_check_;
int verb_measure(char *const argv[], bool *json, struct error *e) _must_check_;
