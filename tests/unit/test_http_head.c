/* SPDX-License-Identifier: Apache-2.0 */
#include "upgrade/http_head.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

static int feed(struct http_head *h, const char *line)
{
        return http_head_line(h, line, strlen(line), NULL);
}

static void test_fields(void **state)
{
        _cleanup_(http_head_done) struct http_head h = HTTP_HEAD_INIT;
        uint64_t n;

        (void)state;
        assert_int_equal(feed(&h, "HTTP/1.1 100 Continue\r\n"), 0);
        assert_int_equal(feed(&h, "Location: nowhere\r\n"), 0);
        assert_int_equal(feed(&h, "\r\n"), 0);
        assert_false(h.complete);
        assert_int_equal(feed(&h, "HTTP/1.1 206 Partial Content\r\n"), 0);
        assert_int_equal(feed(&h, "content-LENGTH:  7 \t\r\n"), 0);
        assert_int_equal(feed(&h, "X-Length: 9\r\n"), 0);
        assert_int_equal(feed(&h, " folded: line\r\n"), 0);
        assert_int_equal(feed(&h, "no colon\r\n"), 0);
        assert_int_equal(feed(&h, "WWW-Authenticate: Basic\r\n"), 0);
        assert_int_equal(feed(&h, "www-authenticate: Bearer realm=\"x\"\r\n"), 0);
        assert_int_equal(feed(&h, "Empty:\r\n"), 0);
        assert_int_equal(feed(&h, "\r\n"), 0);
        assert_true(h.complete);
        assert_int_equal(feed(&h, "Trailer: late\r\n"), 0);
        assert_int_equal(h.status, 206);
        assert_int_equal(http_head_length(&h, &n), 0);
        assert_int_equal(n, 7);
        for (int again = 0; again < 2; again++) {
                assert_string_equal(http_head_find(&h, "content-length", 0), "7");
                assert_null(http_head_find(&h, "content-length", 1));
                assert_string_equal(http_head_find(&h, "www-authenticate", 0), "Basic");
                assert_string_equal(http_head_find(&h, "www-authenticate", 1),
                                    "Bearer realm=\"x\"");
                assert_null(http_head_find(&h, "www-authenticate", 2));
                assert_string_equal(http_head_find(&h, "empty", 0), "");
        }
        assert_null(http_head_find(&h, "location", 0));
        assert_null(http_head_find(&h, "trailer", 0));
        assert_null(http_head_find(&h, "length", 0));
        assert_null(http_head_find(&h, "folded", 0));
        http_head_reset(&h);
        assert_null(http_head_find(&h, "empty", 0));
        assert_int_equal(http_head_length(&h, &n), -ENOENT);
}

static void test_refused(void **state)
{
        static const char *const lines[] = {"HTTP/1.1\r\n",        "HTTP/1.1 20\r\n",
                                            "HTTP/1.1 2000 x\r\n", "HTTP/1.1 099 x\r\n",
                                            "HTTP/1.1 20x OK\r\n", "A: b\x01\r\n",
                                            "A: \x1b[31m\r\n",     "A: b\rC: d\r\n"};

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
                _cleanup_(http_head_done) struct http_head h = HTTP_HEAD_INIT;

                assert_int_equal(feed(&h, lines[i]), -EBADMSG);
        }
}

static void test_bounded(void **state)
{
        _cleanup_(http_head_done) struct http_head h = HTTP_HEAD_INIT;
        uint64_t lines = 0;
        int r;

        (void)state;
        /* Interim answers forget their fields, but not that they were sent. */
        do {
                assert_true(lines++ < LIMIT_HTTP_HEADERS);
                r = feed(&h, lines % 2 ? "HTTP/1.1 103 Early Hints\r\n" : "\r\n");
        } while (r == 0);
        assert_int_equal(r, -E2BIG);
}

static void test_two_lengths(void **state)
{
        _cleanup_(http_head_done) struct http_head h = HTTP_HEAD_INIT;
        uint64_t n;

        (void)state;
        assert_int_equal(feed(&h, "Content-Length: 7\n"), 0);
        assert_int_equal(feed(&h, "Content-Length: 7\n"), 0);
        assert_int_equal(http_head_length(&h, &n), 0);
        assert_int_equal(feed(&h, "Content-Length: 8\n"), 0);
        assert_int_equal(http_head_length(&h, &n), -EBADMSG);
        http_head_reset(&h);
        assert_int_equal(feed(&h, "Content-Length: -7\n"), 0);
        assert_int_equal(http_head_length(&h, &n), -EBADMSG);
}

static void test_range(void **state)
{
        static const struct {
                const char *text;
                int r;
                struct http_range range;
        } table[] = {
                {"bytes 5-9/10", 0, {true, true, 5, 9, 10}},
                {"BYTES  0-0/1", 0, {true, true, 0, 0, 1}},
                {"bytes 5-9/*", 0, {true, false, 5, 9, 0}},
                {"bytes */10", 0, {false, true, 0, 0, 10}},
                {"bytes 0-18446744073709551614/18446744073709551615",
                 0,
                 {true, true, 0, UINT64_MAX - 1, UINT64_MAX}},
                {"bytes */*", -EBADMSG, {0}},
                {"bytes 5-9/9", -EBADMSG, {0}},
                {"bytes 9-5/10", -EBADMSG, {0}},
                {"bytes 5-9", -EBADMSG, {0}},
                {"bytes 5/10", -EBADMSG, {0}},
                {"bytes -9/10", -EBADMSG, {0}},
                {"bytes *-9/10", -EBADMSG, {0}},
                {"bytes 5-9/10,", -EBADMSG, {0}},
                {"bytes 5 - 9/10", -EBADMSG, {0}},
                {"bytes 5-9/18446744073709551616", -EBADMSG, {0}},
                {"bytes 5-000000000000000000000000009/10", -EBADMSG, {0}},
                {"pages 5-9/10", -EBADMSG, {0}},
                {"bytes", -EBADMSG, {0}},
                {"bytes=5-9/10", -EBADMSG, {0}},
                {"", -EBADMSG, {0}},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
                struct http_range g = {.first = 0};

                assert_int_equal(http_range_parse(table[i].text, &g), table[i].r);
                assert_int_equal(g.has_span, table[i].range.has_span);
                assert_int_equal(g.has_total, table[i].range.has_total);
                assert_true(g.first == table[i].range.first && g.last == table[i].range.last);
                assert_true(!g.has_total || g.total == table[i].range.total);
        }
}

static void test_retry_after(void **state)
{
        static const struct {
                const char *text;
                int r;
                uint64_t seconds;
        } table[] = {
                {"0", 0, 0},
                {"120", 0, 120},
                {"99999999999999999999999", 0, UINT64_MAX},
                {"Fri, 31 Dec 1999 23:59:59 GMT", 0, 59},
                {"Fri, 31 Dec 1999 23:00:00 GMT", 0, 0},
                {"soon", -EBADMSG, 0},
                {"-5", -EBADMSG, 0},
                {"", -EBADMSG, 0},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
                uint64_t seconds = 0;

                assert_int_equal(http_retry_after(table[i].text, 946684740, &seconds), table[i].r);
                assert_true(seconds == table[i].seconds);
        }
}

static void test_status(void **state)
{
        static const unsigned temporary[] = {408, 429, 500, 502, 503, 504, 599};
        static const unsigned final[] = {200, 304, 400, 401, 403, 404, 410, 416, 451, 600};

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(temporary); i++)
                assert_true(http_status_temporary(temporary[i]));
        for (size_t i = 0; i < ARRAY_SIZE(final); i++)
                assert_false(http_status_temporary(final[i]));
        assert_true(http_status_redirect(307));
        assert_false(http_status_redirect(304));
        assert_false(http_status_redirect(300));
}

static void test_text(void **state)
{
        static const char text[] = " \n<a>\t\t\x1b[0m \xc3\xa4 end \r\n";
        char out[64], small[8];

        (void)state;
        assert_string_equal(http_text(text, sizeof(text) - 1, out, sizeof(out)), "<a> ?[0m ?? end");
        assert_string_equal(http_text(text, sizeof(text) - 1, small, sizeof(small)), "<a> ?[0");
        assert_string_equal(http_text("", 0, small, sizeof(small)), "");
        assert_string_equal(http_text("    ", 4, small, sizeof(small)), "");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_fields),  cmocka_unit_test(test_refused),
                cmocka_unit_test(test_bounded), cmocka_unit_test(test_two_lengths),
                cmocka_unit_test(test_range),   cmocka_unit_test(test_retry_after),
                cmocka_unit_test(test_status),  cmocka_unit_test(test_text),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
