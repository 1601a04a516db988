/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Heads of answers, and where a Location leads: bounded, printable where they are shown, never from
 * https to http, and read the same way again.
 */
#include "tests/fuzz/fuzz.h"
#include "upgrade/http_head.h"
#include "upgrade/http_url.h"

static void check_fields(const struct http_head *h)
{
        static const char *const names[] = {"location", "content-range", "retry-after", "etag",
                                            "www-authenticate"};
        struct http_range g;
        char text[64];
        uint64_t n;

        FUZZ_CHECK(h->text.len <= LIMIT_HTTP_HEADERS);
        for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
                const char *value;

                for (unsigned nth = 0; (value = http_head_find(h, names[i], nth)); nth++) {
                        FUZZ_CHECK(http_head_find(h, names[i], nth) == value);
                        FUZZ_CHECK(strspn(value, " \t") == 0);
                        (void)http_text(value, strlen(value), text, sizeof(text));
                        for (const char *p = text; *p; p++)
                                FUZZ_CHECK(*p >= 0x20 && *p < 0x7f);
                        if (http_range_parse(value, &g) == 0)
                                FUZZ_CHECK((!g.has_span || g.first <= g.last) &&
                                           (!g.has_total || !g.has_span || g.last < g.total));
                        FUZZ_CHECK(http_retry_after(value, 0, &n) <= 0);
                }
        }
        FUZZ_CHECK(http_head_length(h, &n) <= 0);
}

static void follow(const char *location)
{
        _cleanup_(http_url_done) struct http_url base = {.text = NULL}, next = {.text = NULL},
                                                 again = {.text = NULL};
        static const struct http_hosts nobody = {NULL, 0};
        struct error e = ERROR_INIT;
        int r;

        FUZZ_CHECK(http_url_parse("https://host:5000/v2/a?b=c", &base, NULL) == 0);
        r = http_url_join(&base, location, &next, &e);
        fuzz_check_error(r, &e);
        if (r < 0)
                return;
        FUZZ_CHECK(!next.user && !next.password && next.port > 0);
        FUZZ_CHECK(strlen(next.text) <= LIMIT_URL && strlen(next.host) <= LIMIT_HOST_NAME);
        FUZZ_CHECK(next.tls || http_url_allowed(&base, &next, &nobody, NULL) < 0);
        FUZZ_CHECK(http_url_parse(next.text, &again, NULL) == 0);
        FUZZ_CHECK(http_url_same_origin(&next, &again) && strcmp(next.text, again.text) == 0);
        (void)http_proxy_bypassed(location, next.host, next.port);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        _cleanup_(http_head_done) struct http_head h = HTTP_HEAD_INIT;
        struct error e = ERROR_INIT;
        const uint8_t *end = data + size;

        /* Lines as libcurl gives them, each with its line end. */
        for (const uint8_t *p = data; p < end;) {
                const uint8_t *stop = memchr(p, '\n', (size_t)(end - p));
                size_t n = stop ? (size_t)(stop - p) + 1 : (size_t)(end - p);
                int r = http_head_line(&h, (const char *)p, n, &e);

                fuzz_check_error(r, &e);
                if (r < 0)
                        return 0;
                p += n;
        }
        check_fields(&h);
        if (http_head_find(&h, "location", 0))
                follow(http_head_find(&h, "location", 0));
        return 0;
}
