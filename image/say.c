/* SPDX-License-Identifier: Apache-2.0 */
#include "image/say.h"

#include <stdarg.h>
#include <stdio.h>

void say_warning(const char *fmt, ...)
{
        va_list ap;

        flockfile(stderr);
        (void)fputs("tb-image: warning: ", stderr);
        va_start(ap, fmt);
        (void)vfprintf(stderr, fmt, ap);
        va_end(ap);
        (void)fputc('\n', stderr);
        funlockfile(stderr);
}
