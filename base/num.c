/* SPDX-License-Identifier: Apache-2.0 */
#include "base/num.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Reads leading digits; *ret_end points behind them. */
static int digits(const char *s, uint64_t *ret, const char **ret_end)
{
        uint64_t v = 0;
        const char *p = s;

        for (; *p >= '0' && *p <= '9'; p++) {
                if (mul_u64(v, 10, &v) < 0 || add_u64(v, (uint64_t)(*p - '0'), &v) < 0)
                        return -ERANGE;
        }
        if (p == s)
                return -EINVAL;
        *ret = v;
        *ret_end = p;
        return 0;
}

int parse_u64(const char *s, uint64_t *ret)
{
        return parse_u64_max(s, UINT64_MAX, ret);
}

int parse_u64_max(const char *s, uint64_t max, uint64_t *ret)
{
        const char *end;
        uint64_t v;
        int r;

        r = digits(s, &v, &end);
        if (r < 0)
                return r;
        if (*end)
                return -EINVAL;
        if (v > max)
                return -ERANGE;
        *ret = v;
        return 0;
}

int parse_size(const char *s, uint64_t *ret)
{
        static const char suffixes[] = "KMGT";
        const char *end, *hit;
        uint64_t v, factor = 1;
        int r;

        r = digits(s, &v, &end);
        if (r < 0)
                return r;
        if (*end) {
                hit = strchr(suffixes, *end);
                if (!hit || (end[1] && strcmp(end + 1, "iB") != 0))
                        return -EINVAL;
                factor = UINT64_C(1) << (10 * (unsigned)(hit - suffixes + 1));
        }
        if (mul_u64(v, factor, &v) < 0)
                return -ERANGE;
        *ret = v;
        return 0;
}

char *format_size(uint64_t v, char *buf, size_t n)
{
        static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
        uint64_t whole = v, tenths = 0;
        size_t u = 0;

        while (whole >= 1024 && u + 1 < ARRAY_SIZE(units)) {
                tenths = whole % 1024 * 10 / 1024;
                whole /= 1024;
                u++;
        }
        if (tenths > 0)
                (void)snprintf(buf, n, "%" PRIu64 ".%" PRIu64 " %s", whole, tenths, units[u]);
        else
                (void)snprintf(buf, n, "%" PRIu64 " %s", whole, units[u]);
        return buf;
}
