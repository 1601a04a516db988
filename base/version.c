/* SPDX-License-Identifier: Apache-2.0 */
#include "base/version.h"

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

/* ASCII only, whatever the locale. */
static const char digits[] = "0123456789";
static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
static const char special[] = "~-^.";

static int order(size_t a, size_t b)
{
        return (a > b) - (a < b);
}

static const char *skip_foreign(const char *s)
{
        while (*s && !strchr(digits, *s) && !strchr(letters, *s) && !strchr(special, *s))
                s++;
        return s;
}

/* Both carry the separator: steps over it. One does: that one is older. */
static int step_separator(const char **a, const char **b, char separator)
{
        bool in_a = **a == separator, in_b = **b == separator;

        if (in_a != in_b)
                return in_a ? -1 : 1;
        *a += in_a;
        *b += in_b;
        return 0;
}

/* Runs of digits, of any length: a missing run is older than any number, leading zeros mean
 * nothing. */
static int step_number(const char **a, const char **b)
{
        size_t n = strspn(*a, digits), m = strspn(*b, digits), zeros;
        int r;

        r = order(n > 0, m > 0);
        if (r != 0)
                return r;
        zeros = strspn(*a, "0");
        *a += zeros;
        n -= zeros;
        zeros = strspn(*b, "0");
        *b += zeros;
        m -= zeros;
        r = order(n, m);
        if (r == 0)
                r = memcmp(*a, *b, n);
        *a += n;
        *b += m;
        return (r > 0) - (r < 0);
}

/* Runs of letters: by code, the longer one is newer. */
static int step_letters(const char **a, const char **b)
{
        size_t n = strspn(*a, letters), m = strspn(*b, letters);
        int r = memcmp(*a, *b, n < m ? n : m);

        if (r == 0)
                r = order(n, m);
        *a += n;
        *b += m;
        return (r > 0) - (r < 0);
}

static bool is_digit(char c)
{
        return c >= '0' && c <= '9';
}

int version_compare(const char *a, const char *b)
{
        a = a ?: "";
        b = b ?: "";
        for (;;) {
                int r;

                a = skip_foreign(a);
                b = skip_foreign(b);
                r = step_separator(&a, &b, '~');
                if (r != 0)
                        return r;
                if (!*a || !*b)
                        return order(*a != '\0', *b != '\0');
                for (const char *p = "-^."; *p; p++) {
                        r = step_separator(&a, &b, *p);
                        if (r != 0)
                                return r;
                }
                r = is_digit(*a) || is_digit(*b) ? step_number(&a, &b) : step_letters(&a, &b);
                if (r != 0)
                        return r;
        }
}
