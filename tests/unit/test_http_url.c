/* SPDX-License-Identifier: Apache-2.0 */
#include "upgrade/http_url.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/limits.h"

static void test_parse(void **state)
{
        static const struct {
                const char *text, *url, *host;
                uint16_t port;
                bool tls;
                const char *user, *password;
        } table[] = {
                {"https://Example.COM/a?b=c#d", "https://Example.COM/a?b=c", "example.com", 443,
                 true, NULL, NULL},
                {"http://u:p%40x@h:8080/", "http://h:8080/", "h", 8080, false, "u", "p@x"},
                {"http://[::1]:5000/v2/", "http://[::1]:5000/v2/", "::1", 5000, false, NULL, NULL},
                {"https://10.0.0.1", "https://10.0.0.1/", "10.0.0.1", 443, true, NULL, NULL},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
                _cleanup_(http_url_done) struct http_url u = {.text = NULL};

                assert_int_equal(http_url_parse(table[i].text, &u, NULL), 0);
                assert_string_equal(u.text, table[i].url);
                assert_string_equal(u.host, table[i].host);
                assert_int_equal(u.port, table[i].port);
                assert_int_equal(u.tls, table[i].tls);
                assert_int_equal(!u.user, !table[i].user);
                if (u.user) {
                        assert_string_equal(u.user, table[i].user);
                        assert_string_equal(u.password, table[i].password);
                }
        }
}

static void test_parse_refused(void **state)
{
        static const char *const table[] = {"",
                                            "example.com",
                                            "ftp://example.com/",
                                            "file:///etc/passwd",
                                            "https://",
                                            "https://a b/",
                                            "https://a/\x01",
                                            "https://a/\xc3\xa4",
                                            "https://a:0/",
                                            "https://a:65536/",
                                            "https://a:b/",
                                            "https://[::1%25eth0]/",
                                            "https://[::1/",
                                            "https://a%2fb/",
                                            "https://a\nb/"};
        char *large = malloc(LIMIT_URL + 2);

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
                struct http_url u = {.text = NULL};

                if (http_url_parse(table[i], &u, NULL) != -EINVAL)
                        fail_msg("accepted: %s", table[i]);
        }
        assert_non_null(large);
        memset(large, 'a', LIMIT_URL + 1);
        large[LIMIT_URL + 1] = '\0';
        memcpy(large, "https://h/", 10);
        {
                struct http_url u = {.text = NULL};

                assert_int_equal(http_url_parse(large, &u, NULL), -EINVAL);
                large[LIMIT_URL] = '\0';
                assert_int_equal(http_url_parse(large, &u, NULL), 0);
                http_url_done(&u);
        }
        free(large);
}

static void test_join(void **state)
{
        static const struct {
                const char *location, *url; /* NULL: refused */
        } table[] = {
                {"https://cdn.example/x?sig=1#f", "https://cdn.example/x?sig=1"},
                {"//cdn.example/x", "https://cdn.example/x"},
                {"/x", "https://host:5000/x"},
                {"x?y", "https://host:5000/a/x?y"},
                {"http://host/x", "http://host/x"}, /* whether it may is asked elsewhere */
                {"https://u:p@cdn.example/", NULL},
                {"ftp://host/x", NULL},
                {"file:///etc/passwd", NULL},
                {"https://h/\r\nHost: x", NULL},
                {"https:// h/", NULL},
                {"", NULL},
        };
        _cleanup_(http_url_done) struct http_url base = {.text = NULL};

        (void)state;
        assert_int_equal(http_url_parse("https://u:p@host:5000/a/b?c", &base, NULL), 0);
        for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
                _cleanup_(http_url_done) struct http_url u = {.text = NULL};
                int r = http_url_join(&base, table[i].location, &u, NULL);

                assert_int_equal(r, table[i].url ? 0 : -EBADMSG);
                if (table[i].url)
                        assert_string_equal(u.text, table[i].url);
                assert_null(u.user);
        }
}

static bool same(const char *a, const char *b)
{
        _cleanup_(http_url_done) struct http_url x = {.text = NULL};
        _cleanup_(http_url_done) struct http_url y = {.text = NULL};

        assert_int_equal(http_url_parse(a, &x, NULL), 0);
        assert_int_equal(http_url_parse(b, &y, NULL), 0);
        return http_url_same_origin(&x, &y);
}

static void test_origin(void **state)
{
        (void)state;
        assert_true(same("https://a/x", "https://A:443/y?z"));
        assert_false(same("https://a/x", "http://a/x"));
        assert_false(same("https://a/x", "http://a:443/x"));
        assert_false(same("https://a/x", "https://a:444/x"));
        assert_false(same("https://a/x", "https://a.b/x"));
        assert_false(same("https://a/x", "https://b/x"));
}

static int allowed(const char *from, const char *to)
{
        static const char *const names[] = {"lab", "two:81", "[::1]:80"};
        const struct http_hosts insecure = {names, ARRAY_SIZE(names)};
        _cleanup_(http_url_done) struct http_url x = {.text = NULL};
        _cleanup_(http_url_done) struct http_url y = {.text = NULL};

        assert_int_equal(http_url_parse(to, &y, NULL), 0);
        if (from)
                assert_int_equal(http_url_parse(from, &x, NULL), 0);
        return http_url_allowed(from ? &x : NULL, &y, &insecure, NULL);
}

static void test_allowed(void **state)
{
        (void)state;
        assert_int_equal(allowed(NULL, "https://any/"), 0);
        assert_int_equal(allowed(NULL, "http://any/"), -EPERM);
        assert_int_equal(allowed(NULL, "http://lab/"), 0);
        assert_int_equal(allowed(NULL, "http://LAB:5000/"), 0);
        assert_int_equal(allowed(NULL, "http://two:81/"), 0);
        assert_int_equal(allowed(NULL, "http://two/"), -EPERM);
        assert_int_equal(allowed(NULL, "http://[::1]/"), 0);
        assert_int_equal(allowed(NULL, "http://[::1]:81/"), -EPERM);
        assert_int_equal(allowed("http://lab/", "https://any/"), 0);
        assert_int_equal(allowed("http://lab/", "http://lab:99/"), 0);
        assert_int_equal(allowed("http://lab/", "http://any/"), -EPERM);
        assert_int_equal(allowed("https://lab/", "http://lab/"), -EPERM);
        assert_int_equal(allowed("https://lab/", "https://any/"), 0);
}

static void test_no_proxy(void **state)
{
        static const struct {
                const char *none, *host;
                bool bypassed;
        } table[] = {
                {NULL, "a", false},
                {"", "a", false},
                {"*", "a", true},
                {"a", "a", true},
                {"b, a", "a", true},
                {"b a", "a", true},
                {"example.com", "example.com", true},
                {"example.com", "r.EXAMPLE.com", true},
                {".example.com", "r.example.com", true},
                {".example.com", "example.com", true},
                {"example.com", "badexample.com", false},
                {"r.example.com", "example.com", false},
                {"a:443", "a", true},
                {"a:80", "a", false},
                {"10.0.0.0/8", "10.1.2.3", true},
                {"10.0.0.0/8", "11.1.2.3", false},
                {"10.0.0.0/9", "10.128.0.1", false},
                {"10.0.0.0/33", "10.0.0.0", false},
                {"10.1.2.3", "10.1.2.3", true},
                {"0.0.0.0/0", "10.1.2.3", true},
                {"fd00::/8", "fd12::1", true},
                {"fd00::/8", "fe80::1", false},
                {"::1", "::1", true},
                {"[::1]", "::1", true},
                {"10.0.0.0/8", "fd12::1", false},
                {",,,", "a", false},
                {".", "a", false},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
                if (http_proxy_bypassed(table[i].none, table[i].host, 443) != table[i].bypassed)
                        fail_msg("%s for %s", table[i].none, table[i].host);
        }
}

static void test_proxy(void **state)
{
        const struct http_proxies p = {.http = "http://one:1", .https = "", .none = "off"};
        _cleanup_(http_url_done) struct http_url plain = {.text = NULL};
        _cleanup_(http_url_done) struct http_url off = {.text = NULL};
        _cleanup_(http_url_done) struct http_url tls = {.text = NULL};

        (void)state;
        assert_int_equal(http_url_parse("http://a/", &plain, NULL), 0);
        assert_int_equal(http_url_parse("http://off/", &off, NULL), 0);
        assert_int_equal(http_url_parse("https://a/", &tls, NULL), 0);
        assert_string_equal(http_proxy_for(&p, &plain), "http://one:1");
        assert_null(http_proxy_for(&p, &off));
        assert_null(http_proxy_for(&p, &tls));
        assert_null(http_proxy_for(NULL, &plain));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_parse),   cmocka_unit_test(test_parse_refused),
                cmocka_unit_test(test_join),    cmocka_unit_test(test_origin),
                cmocka_unit_test(test_allowed), cmocka_unit_test(test_no_proxy),
                cmocka_unit_test(test_proxy),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
