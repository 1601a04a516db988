/* SPDX-License-Identifier: Apache-2.0 */
#include "upgrade/osrelease.h"

#include <stdbool.h>
#include <string.h>

#include "base/buf.h"
#include "base/limits.h"

/* All pairs in one block: key NUL value NUL key NUL value NUL ... */
struct osrelease {
        struct buf pairs;
};

static bool is_letter(char c)
{
        return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_';
}

static bool is_digit(char c)
{
        return c >= '0' && c <= '9';
}

/* Bytes above 0x7f are parts of UTF-8 characters. */
static bool is_bare(char c)
{
        return is_letter(c) || is_digit(c) || ((unsigned char)c & 0x80) != 0 ||
               (c != '\0' && strchr("-.:/+,@%=^~?", c) != NULL);
}

static int add_char(struct buf *out, char c)
{
        return buf_add(out, &c, 1);
}

/* Text between double quotes; *p stands behind the opening one and ends behind the closing one. */
static int parse_double(const char **p, const char *end, struct buf *out)
{
        while (*p < end) {
                char c = *(*p)++;
                int r;

                if (c == '"')
                        return 0;
                if (c == '$' || c == '`')
                        return -EBADMSG;
                if (c == '\\') {
                        if (*p == end || strchr("$\"\\`", **p) == NULL || **p == '\0')
                                return -EBADMSG;
                        c = *(*p)++;
                }
                r = add_char(out, c);
                if (r < 0)
                        return r;
        }
        return -EBADMSG;
}

static int parse_single(const char **p, const char *end, struct buf *out)
{
        const char *close = memchr(*p, '\'', (size_t)(end - *p));
        int r;

        if (!close)
                return -EBADMSG;
        r = buf_add(out, *p, (size_t)(close - *p));
        *p = close + 1;
        return r;
}

static int parse_bare(const char **p, const char *end, struct buf *out)
{
        while (*p < end && (is_bare(**p) || **p == '\\')) {
                int r;

                if (**p == '\\' && ++*p == end)
                        return -EBADMSG;
                r = add_char(out, *(*p)++);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int parse_value(const char *p, const char *end, struct buf *out)
{
        int r;

        if (p < end && *p == '"') {
                p++;
                r = parse_double(&p, end, out);
        } else if (p < end && *p == '\'') {
                p++;
                r = parse_single(&p, end, out);
        } else {
                r = parse_bare(&p, end, out);
        }
        if (r < 0)
                return r;
        while (p < end && (*p == ' ' || *p == '\t'))
                p++;
        return p == end ? 0 : -EBADMSG;
}

static int parse_line(struct osrelease *o, const char *p, const char *end)
{
        const char *start;
        int r;

        while (p < end && (*p == ' ' || *p == '\t'))
                p++;
        if (p == end || *p == '#')
                return 0;
        for (const char *q = p; q < end; q++)
                if (((unsigned char)*q < 0x20 && *q != '\t') || *q == 0x7f)
                        return -EBADMSG;
        start = p;
        if (!is_letter(*p))
                return -EBADMSG;
        while (p < end && (is_letter(*p) || is_digit(*p)))
                p++;
        if (p == end || *p != '=')
                return -EBADMSG;
        r = buf_add(&o->pairs, start, (size_t)(p - start));
        if (r == 0)
                r = add_char(&o->pairs, '\0');
        if (r == 0)
                r = parse_value(p + 1, end, &o->pairs);
        if (r == 0)
                r = add_char(&o->pairs, '\0');
        return r;
}

int osrelease_parse(const void *text, size_t n, struct osrelease **ret, struct error *e)
{
        _cleanup_(osrelease_free_p) struct osrelease *o = NULL;
        const char *p = text, *end;
        unsigned line = 1;

        if (n > 0 && p[n - 1] == '\0')
                n--;
        if (n > LIMIT_OS_RELEASE)
                return error_set(e, ERROR_REFUSED, E2BIG,
                                 "os-release: %zu bytes, at most %llu are accepted", n,
                                 (unsigned long long)LIMIT_OS_RELEASE);
        end = p + n;
        o = calloc(1, sizeof(*o));
        if (!o)
                return error_oom(e);
        /* Every byte of input yields at most one byte of output, and a line at most one more. */
        o->pairs = (struct buf)BUF_INIT(2 * LIMIT_OS_RELEASE);
        for (; p < end; line++) {
                const char *stop = memchr(p, '\n', (size_t)(end - p)) ?: end;
                int r = parse_line(o, p, stop);

                if (r == -ENOMEM)
                        return error_oom(e);
                if (r < 0)
                        return error_set(e, ERROR_REFUSED, EBADMSG,
                                         "os-release: line %u is not a well-formed assignment",
                                         line);
                p = stop + 1;
        }
        *ret = TAKE_PTR(o);
        return 0;
}

void osrelease_free(struct osrelease *o)
{
        if (!o)
                return;
        buf_done(&o->pairs);
        free(o);
}

const char *osrelease_get(const struct osrelease *o, const char *key)
{
        const char *p = buf_str(&o->pairs), *end = p + o->pairs.len, *found = NULL;

        while (p < end) {
                const char *value = p + strlen(p) + 1;

                if (strcmp(p, key) == 0)
                        found = value;
                p = value + strlen(value) + 1;
        }
        return found;
}
