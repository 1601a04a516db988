/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Functions nobody here may call. The file is forced into every translation unit by the Makefile
 * (-include), so a use fails to compile and the message names the replacement.
 *
 * The system headers that declare the functions come first: poisoning an identifier before its
 * declaration is seen would break the declaration instead of the call.
 */
#pragma once

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

/* Copying without a bound, or with a bound that truncates in silence: use buf_* or xasprintf-free
 * helpers of base/. */
/* With fortification, clang sees these as macros of the C library, and a macro cannot be poisoned.
 */
#undef sprintf
#undef vsprintf

#pragma GCC poison strcpy strncpy strcat strncat stpcpy stpncpy
#pragma GCC poison sprintf vsprintf gets
/* Hidden state between calls. */
#pragma GCC poison strtok gmtime localtime ctime asctime
/* Number parsing that cannot report an error: use parse_u64() and its relatives. */
#pragma GCC poison atoi atol atoll atof strtol strtoll strtoul strtoull strtod
/* Shells: use spawn_run(). */
#pragma GCC poison system popen
/* Racy names: use O_TMPFILE or O_EXCL in a directory of our own. */
#pragma GCC poison mktemp tmpnam tempnam
