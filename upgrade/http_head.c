/* SPDX-License-Identifier: Apache-2.0 */
#include "upgrade/http_head.h"

#include <curl/curl.h>
#include <string.h>
#include <strings.h>

#include "base/num.h"

void http_head_done(struct http_head *h)
{
        buf_done(&h->text);
}

void http_head_reset(struct http_head *h)
{
        h->status = 0;
        h->complete = false;
        h->bytes = 0;
        buf_reset(&h->text);
}

/* "HTTP/1.1 200 OK": exactly three digits. */
static int parse_status(const char *line, size_t n, unsigned *ret)
{
        const char *p = memchr(line, ' ', n);
        unsigned v = 0;

        if (!p || (size_t)(line + n - p) < 4)
                return -EBADMSG;
        for (int i = 1; i <= 3; i++) {
                if (p[i] < '0' || p[i] > '9')
                        return -EBADMSG;
                v = v * 10 + (unsigned)(p[i] - '0');
        }
        if ((line + n - p > 4 && p[4] != ' ') || v < 100)
                return -EBADMSG;
        *ret = v;
        return 0;
}

static bool has_control(const char *line, size_t n)
{
        for (size_t i = 0; i < n; i++) {
                if (((uint8_t)line[i] < 0x20 && line[i] != '\t') || line[i] == 0x7f)
                        return true;
        }
        return false;
}

/* A folded line, or one without a colon, belongs to nothing that is asked for. */
static bool is_field(const char *line, size_t n)
{
        return line[0] != ' ' && line[0] != '\t' && memchr(line, ':', n);
}

int http_head_line(struct http_head *h, const char *line, size_t n, struct error *e)
{
        int r;

        h->bytes += n;
        if (h->bytes > LIMIT_HTTP_HEADERS)
                return error_set(e, ERROR_REFUSED, E2BIG, "the answer's header is too large");
        while (n > 0 && (line[n - 1] == '\n' || line[n - 1] == '\r'))
                n--;
        if (has_control(line, n))
                return error_set(e, ERROR_REFUSED, EBADMSG,
                                 "the answer's header has control characters");
        if (n == 0) {
                h->complete = h->status >= 200;
                return 0;
        }
        if (h->complete)
                return 0;
        if (n > 5 && strncasecmp(line, "HTTP/", 5) == 0) {
                buf_reset(&h->text);
                if (parse_status(line, n, &h->status) < 0)
                        return error_set(e, ERROR_REFUSED, EBADMSG, "the answer is not HTTP");
                return 0;
        }
        if (!is_field(line, n))
                return 0;
        r = buf_add(&h->text, line, n);
        if (r == 0)
                r = buf_add(&h->text, "", 1);
        if (r == -ENOMEM)
                return error_oom(e);
        return r == 0 ? 0 : error_set(e, ERROR_REFUSED, E2BIG, "the answer's header is too large");
}

/* Ends the value at its last character that is no blank; lines are ours to write to once. */
static const char *value_of(char *line, size_t name)
{
        char *value = line + name + 1, *end = line + strlen(line);

        while (*value == ' ' || *value == '\t')
                value++;
        while (end > value && (end[-1] == ' ' || end[-1] == '\t'))
                *--end = '\0';
        return value;
}

const char *http_head_find(const struct http_head *h, const char *name, unsigned nth)
{
        size_t length = strlen(name);
        const uint8_t *end = h->text.data ? h->text.data + h->text.len : NULL;

        for (uint8_t *p = h->text.data; p < end;) {
                char *line = (char *)p;
                size_t n = strnlen(line, (size_t)(end - p));

                if (n > length && line[length] == ':' && strncasecmp(line, name, length) == 0 &&
                    nth-- == 0)
                        return value_of(line, length);
                p += n;
                while (p < end && *p == '\0') /* also where a value was trimmed */
                        p++;
        }
        return NULL;
}

int http_head_length(const struct http_head *h, uint64_t *ret)
{
        const char *value = http_head_find(h, "content-length", 0);
        uint64_t first, other;

        if (!value)
                return -ENOENT;
        if (parse_u64(value, &first) < 0)
                return -EBADMSG;
        for (unsigned i = 1; (value = http_head_find(h, "content-length", i)); i++) {
                if (parse_u64(value, &other) < 0 || other != first)
                        return -EBADMSG;
        }
        *ret = first;
        return 0;
}

/* Digits up to one of the characters in stop, which the position then is behind. "*" is *star. */
static int number(const char **p, char stop, bool *star, uint64_t *ret)
{
        char text[24];
        const char *end = stop ? strchr(*p, stop) : *p + strlen(*p);
        size_t n = end ? (size_t)(end - *p) : sizeof(text);

        if (n >= sizeof(text))
                return -EBADMSG;
        memcpy(text, *p, n);
        text[n] = '\0';
        *p = stop ? end + 1 : end;
        *star = strcmp(text, "*") == 0;
        if (*star)
                return 0;
        return parse_u64(text, ret) < 0 ? -EBADMSG : 0;
}

int http_range_parse(const char *value, struct http_range *ret)
{
        struct http_range g = {.has_span = true};
        const char *p = value;
        bool star;

        if (strncasecmp(p, "bytes", 5) != 0 || p[5] != ' ')
                return -EBADMSG;
        for (p += 6; *p == ' '; p++) {
        }
        if (strncmp(p, "*/", 2) == 0) {
                g.has_span = false;
                p += 2;
        } else if (number(&p, '-', &star, &g.first) < 0 || star ||
                   number(&p, '/', &star, &g.last) < 0 || star || g.last < g.first) {
                return -EBADMSG;
        }
        if (number(&p, '\0', &star, &g.total) < 0)
                return -EBADMSG;
        g.has_total = !star;
        if (!g.has_total && !g.has_span)
                return -EBADMSG;
        if (g.has_total && g.has_span && g.last >= g.total)
                return -EBADMSG;
        *ret = g;
        return 0;
}

int http_retry_after(const char *value, int64_t now, uint64_t *ret)
{
        time_t t;
        int r;

        r = parse_u64(value, ret);
        if (r >= 0)
                return 0;
        if (r == -ERANGE) {
                *ret = UINT64_MAX;
                return 0;
        }
        t = curl_getdate(value, NULL);
        if (t == -1)
                return -EBADMSG;
        *ret = t > now ? (uint64_t)(t - now) : 0;
        return 0;
}

bool http_status_temporary(unsigned status)
{
        return status == 408 || status == 429 || (status >= 500 && status <= 599);
}

bool http_status_redirect(unsigned status)
{
        return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

char *http_text(const char *text, size_t n, char *out, size_t size)
{
        size_t at = 0;

        for (size_t i = 0; i < n && at + 1 < size; i++) {
                char c = text[i];

                if (c == '\n' || c == '\r' || c == '\t')
                        c = ' ';
                if (c == ' ' && (at == 0 || out[at - 1] == ' '))
                        continue;
                out[at++] = c >= 0x20 && c < 0x7f ? c : '?';
        }
        while (at > 0 && out[at - 1] == ' ')
                at--;
        out[at] = '\0';
        return out;
}
