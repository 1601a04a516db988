/* SPDX-License-Identifier: Apache-2.0 */
#include "image/say.h"

#include <stdarg.h>

/* Keeps newlines when they are ours: not those inside of a name in a warning. */
static _printf_(3, 0) void put(FILE *f, char newline, const char *fmt, va_list ap)
{
        _cleanup_free_ char *text = NULL;

        if (vasprintf(&text, fmt, ap) < 0) {
                text = NULL;
                return; /* no memory for a line of text: the exit code says how things stand */
        }
        for (char *p = text; *p; p++) {
                if (*p == '\n')
                        *p = newline;
                else if ((unsigned char)*p < ' ' || *p == 0x7f)
                        *p = '?';
        }
        (void)fputs(text, f);
}

void say(FILE *f, const char *fmt, ...)
{
        va_list ap;

        va_start(ap, fmt);
        put(f, '\n', fmt, ap);
        va_end(ap);
}

void say_warning(const char *fmt, ...)
{
        va_list ap;

        flockfile(stderr);
        (void)fputs("tb-image: warning: ", stderr);
        va_start(ap, fmt);
        put(stderr, '?', fmt, ap);
        va_end(ap);
        (void)fputc('\n', stderr);
        funlockfile(stderr);
}
