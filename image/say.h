/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Text for the person who builds. Names of files and the content of images may hold bytes that a
 * terminal obeys: control characters other than the newline are shown as "?".
 */
#pragma once

#include <stdio.h>

#include "base/cleanup.h"

void say(FILE *f, const char *fmt, ...) _printf_(2, 3);

/* A remark on standard error: "tb-image: warning: text". */
void say_warning(const char *fmt, ...) _printf_(1, 2);
