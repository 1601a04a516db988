/* SPDX-License-Identifier: Apache-2.0 */
#include "upgrade/oci_auth.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"

static void expect(const char *want, const char *got, const char *what)
{
        if ((!want && !got) || (want && got && strcmp(want, got) == 0))
                return;
        fail_msg("%s: \"%s\", not \"%s\"", what, got ?: "(null)", want ?: "(null)");
}

static void test_challenge(void **state)
{
        static const struct {
                const char *header;
                unsigned n;
                enum oci_scheme scheme;
                const char *realm, *service, *scope, *error;
        } table[] = {
                {"Bearer realm=\"https://auth.docker.io/token\",service=\"registry.docker.io\","
                 "scope=\"repository:library/demo:pull,push\"",
                 1, OCI_SCHEME_BEARER, "https://auth.docker.io/token", "registry.docker.io",
                 "repository:library/demo:pull,push", NULL},
                {"bearer Realm=\"r\", error=\"invalid_token\"", 1, OCI_SCHEME_BEARER, "r", NULL,
                 NULL, "invalid_token"},
                {"BASIC REALM=\"a \\\"b\\\" \\\\c\"", 1, OCI_SCHEME_BASIC, "a \"b\" \\c", NULL,
                 NULL, NULL},
                {"Basic realm=simple", 1, OCI_SCHEME_BASIC, "simple", NULL, NULL, NULL},
                {"Basic realm = \"r\" , charset=\"UTF-8\" ,", 1, OCI_SCHEME_BASIC, "r", NULL, NULL,
                 NULL},
                {"Basic", 1, OCI_SCHEME_BASIC, NULL, NULL, NULL, NULL},
                {" ,, Basic realm=\"\"", 1, OCI_SCHEME_BASIC, "", NULL, NULL, NULL},
                {"Bearer realm=\"r\", Basic realm=\"s\"", 2, OCI_SCHEME_BEARER, "r", NULL, NULL,
                 NULL},
                {"Negotiate, Bearer realm=\"r\"", 2, OCI_SCHEME_BEARER, "r", NULL, NULL, NULL},
                {"Negotiate YIIKAbc+/==, Bearer realm=\"r\",service=s", 2, OCI_SCHEME_BEARER, "r",
                 "s", NULL, NULL},
                {"Digest realm=\"x\", qop=\"auth, auth-int\", Bearer scope=\"t\"", 2,
                 OCI_SCHEME_BEARER, NULL, NULL, "t", NULL},
                {"Bearer\trealm=\"r\"", 1, OCI_SCHEME_BEARER, "r", NULL, NULL, NULL},
                {"Bearer other=\"\xc3\xa9\",realm=\"r\"", 1, OCI_SCHEME_BEARER, "r", NULL, NULL,
                 NULL},
                {"", 0, OCI_SCHEME_BEARER, NULL, NULL, NULL, NULL},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
                struct oci_challenges c = {.n = 0};
                const struct oci_challenge *found;
                struct error e = ERROR_INIT;

                if (oci_challenges_add(&c, table[i].header, &e) != 0)
                        fail_msg("%s: %s", table[i].header, e.text);
                if (c.n != table[i].n)
                        fail_msg("%s: %u challenges", table[i].header, c.n);
                found = oci_challenges_find(&c, table[i].scheme);
                assert_true((found != NULL) == (table[i].n > 0));
                if (found) {
                        expect(table[i].realm, found->realm, table[i].header);
                        expect(table[i].service, found->service, table[i].header);
                        expect(table[i].scope, found->scope, table[i].header);
                        expect(table[i].error, found->error, table[i].header);
                }
                oci_challenges_done(&c);
        }
}

static void test_malformed_challenge(void **state)
{
        static const char *const table[] = {
                "=",
                "\"Basic\"",
                "Basic realm=\"x",
                "Basic realm=\"x\\",
                "Basic realm=\"x\"y",
                "Basic realm=\"x\" service=\"y\"",
                "Basic realm=,",
                "Basic a=b, realm=\"x\", realm=\"y\"",
                "Basic realm=x/y",
                "Basic realm=\"\xc3\xa9\"",
                "Basic realm=\"a\x01\"",
                "Basic realm=\"a\"\nX: y",
                "Basic\x7f",
                "Basic (x)",
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
                struct oci_challenges c = {.n = 0};
                struct error e = ERROR_INIT;

                assert_int_equal(oci_challenges_add(&c, "Bearer realm=\"kept\"", &e), 0);
                /* "Basic realm=," is a token68 with nothing behind it. */
                if (strcmp(table[i], "Basic realm=,") == 0)
                        assert_int_equal(oci_challenges_add(&c, table[i], &e), 0);
                else if (oci_challenges_add(&c, table[i], &e) != -EBADMSG)
                        fail_msg("%s: accepted", table[i]);
                else
                        assert_int_equal(c.n, 1);
                assert_string_equal(oci_challenges_find(&c, OCI_SCHEME_BEARER)->realm, "kept");
                oci_challenges_done(&c);
        }
}

static void test_many_challenges(void **state)
{
        struct oci_challenges c = {.n = 0};
        struct error e = ERROR_INIT;
        static char big[LIMIT_AUTH_HEADER + 2];
        _cleanup_(buf_done) struct buf text = BUF_INIT(4096);

        (void)state;
        for (unsigned i = 0; i < LIMIT_AUTH_CHALLENGES; i++)
                assert_int_equal(oci_challenges_add(&c, "Basic realm=x", &e), 0);
        assert_int_equal(oci_challenges_add(&c, "Basic realm=x", &e), -E2BIG);
        assert_int_equal(e.class, ERROR_REFUSED);
        assert_int_equal(c.n, LIMIT_AUTH_CHALLENGES);
        oci_challenges_done(&c);
        assert_int_equal(buf_add_str(&text, "Basic a=b"), 0);
        for (unsigned i = 1; i < LIMIT_AUTH_PARAMETERS; i++)
                assert_int_equal(buf_add_str(&text, ",a=b"), 0);
        assert_int_equal(oci_challenges_add(&c, buf_str(&text), &e), 0);
        oci_challenges_done(&c);
        assert_int_equal(buf_add_str(&text, ",a=b"), 0);
        assert_int_equal(oci_challenges_add(&c, buf_str(&text), &e), -E2BIG);
        memset(big, 'a', sizeof(big) - 1);
        assert_int_equal(oci_challenges_add(&c, big, &e), -E2BIG);
        big[LIMIT_AUTH_HEADER] = '\0';
        assert_int_equal(oci_challenges_add(&c, big, &e), 0);
        oci_challenges_done(&c);
}

static void test_token(void **state)
{
        static const struct {
                const char *text, *token;
                uint64_t seconds;
        } table[] = {
                {"{\"token\":\"abc.def-_\"}", "abc.def-_", 60},
                {"{\"access_token\":\"abc\",\"expires_in\":300}", "abc", 300},
                {"{\"token\":\"a\",\"access_token\":\"b\",\"expires_in\":1}", "a", 60},
                {"{\"token\":\"a\",\"expires_in\":99999999999}", "a", LIMIT_AUTH_TOKEN_SECONDS},
                {"{\"token\":\"a\\/b\",\"issued_at\":\"2024-01-01T00:00:00Z\"}", "a/b", 60},
                {"{}", NULL, 0},
                {"[]", NULL, 0},
                {"<html>", NULL, 0},
                {"{\"token\":\"\"}", NULL, 0},
                {"{\"token\":\"\",\"access_token\":\"b\"}", NULL, 0},
                {"{\"token\":7}", NULL, 0},
                {"{\"token\":null}", NULL, 0},
                {"{\"token\":\"a b\"}", NULL, 0},
                {"{\"token\":\"a\\r\\nX: y\"}", NULL, 0},
                {"{\"token\":\"\\u00e9\"}", NULL, 0},
                {"{\"token\":\"a\",\"token\":\"b\"}", NULL, 0},
                {"{\"token\":\"a\",\"expires_in\":-1}", NULL, 0},
                {"{\"token\":\"a\",\"expires_in\":\"300\"}", NULL, 0},
                {"{\"token\":\"a\",\"expires_in\":1.5}", NULL, 0},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
                struct oci_token t = {.token = NULL};
                struct error e = ERROR_INIT;
                int r = oci_token_parse(table[i].text, strlen(table[i].text), &t, &e);

                if (r != (table[i].token ? 0 : -EBADMSG))
                        fail_msg("%s: %d %s", table[i].text, r, e.text);
                if (r < 0) {
                        assert_int_equal(e.class, ERROR_REFUSED);
                        continue;
                }
                assert_int_equal(t.token->len, strlen(table[i].token));
                assert_memory_equal(t.token->data, table[i].token, t.token->len);
                assert_int_equal(t.seconds, table[i].seconds);
                oci_token_done(&t);
        }
}

static void test_token_size(void **state)
{
        _cleanup_(buf_done) struct buf text = BUF_INIT(1 << 20);
        struct oci_token t;
        uint8_t *p;

        (void)state;
        assert_int_equal(buf_add_str(&text, "{\"token\":\""), 0);
        assert_int_equal(buf_reserve(&text, LIMIT_AUTH_PASSWORD, &p), 0);
        memset(p, 'a', LIMIT_AUTH_PASSWORD);
        buf_commit(&text, LIMIT_AUTH_PASSWORD);
        assert_int_equal(buf_add_str(&text, "\"}"), 0);
        assert_int_equal(oci_token_parse(text.data, text.len, &t, NULL), 0);
        oci_token_done(&t);
        text.len -= 2;
        assert_int_equal(buf_add_str(&text, "a\"}"), 0);
        assert_int_equal(oci_token_parse(text.data, text.len, &t, NULL), -E2BIG);
}

/* user:password */
#define AUTH "{\"auth\":\"dXNlcjpwYXNzd29yZA==\"}"
#define OTHER "{\"auth\":\"b3RoZXI6cGFzc3dvcmQ=\"}"

static void test_login(void **state)
{
        static const struct {
                const char *text, *registry, *repository, *login, *helper;
        } table[] = {
                {"{}", "ghcr.io", "a/b", NULL, NULL},
                {"{\"auths\":null}", "ghcr.io", "a/b", NULL, NULL},
                {"{\"auths\":{}}", "ghcr.io", "a/b", NULL, NULL},
                {"{\"auths\":{\"ghcr.io\":" AUTH "}}", "ghcr.io", "a/b", "user:password", NULL},
                {"{\"auths\":{\"GHCR.io\":" AUTH "}}", "ghcr.io", "a/b", "user:password", NULL},
                {"{\"auths\":{\"ghcr.io\":" AUTH "}}", "ghcr.io:443", "a/b", NULL, NULL},
                {"{\"auths\":{\"ghcr.io\":" AUTH "}}", "evil-ghcr.io", "a/b", NULL, NULL},
                {"{\"auths\":{\"ghcr.io\":" AUTH "}}", "ghcr.io.evil", "a/b", NULL, NULL},
                {"{\"auths\":{\"localhost:5000\":" AUTH "}}", "localhost:5000", "a",
                 "user:password", NULL},
                {"{\"auths\":{\"https://ghcr.io\":" AUTH "}}", "ghcr.io", "a", "user:password",
                 NULL},
                {"{\"auths\":{\"https://ghcr.io/v2/\":" AUTH "}}", "ghcr.io", "a", "user:password",
                 NULL},
                {"{\"auths\":{\"http://ghcr.io/v1\":" AUTH "}}", "ghcr.io", "a", "user:password",
                 NULL},
                {"{\"auths\":{\"ghcr.io/v1/\":" AUTH "}}", "ghcr.io", "a", "user:password", NULL},
                {"{\"auths\":{\"ftp://ghcr.io\":" AUTH "}}", "ghcr.io", "a", NULL, NULL},
                {"{\"auths\":{\"https://index.docker.io/v1/\":" AUTH "}}", "docker.io", "library/a",
                 "user:password", NULL},
                {"{\"auths\":{\"docker.io\":" AUTH "}}", "docker.io", "library/a", "user:password",
                 NULL},
                {"{\"auths\":{\"registry-1.docker.io\":" AUTH "}}", "docker.io", "a/b",
                 "user:password", NULL},
                /* namespaces, the longest wins whatever the order */
                {"{\"auths\":{\"ghcr.io\":" OTHER ",\"ghcr.io/a\":" AUTH "}}", "ghcr.io", "a/b",
                 "user:password", NULL},
                {"{\"auths\":{\"ghcr.io/a/b/\":" AUTH ",\"ghcr.io/a\":" OTHER ",\"ghcr.io\":" OTHER
                 "}}",
                 "ghcr.io", "a/b", "user:password", NULL},
                {"{\"auths\":{\"ghcr.io/a\":" AUTH "}}", "ghcr.io", "ab", NULL, NULL},
                {"{\"auths\":{\"ghcr.io/a/b\":" AUTH "}}", "ghcr.io", "a", NULL, NULL},
                {"{\"auths\":{\"docker.io/library/a\":" AUTH "}}", "docker.io", "library/a",
                 "user:password", NULL},
                {"{\"auths\":{\"https://ghcr.io\":" OTHER ",\"ghcr.io\":" AUTH "}}", "ghcr.io", "a",
                 "user:password", NULL},
                /* plain fields; auth wins */
                {"{\"auths\":{\"x\":{\"username\":\"u\",\"password\":\"p:\\u00e9\"}}}", "x", "a",
                 "u:p:\xc3\xa9", NULL},
                {"{\"auths\":{\"x\":{\"username\":\"u\",\"password\":\"p\","
                 "\"auth\":\"dXNlcjpwYXNzd29yZA==\"}}}",
                 "x", "a", "user:password", NULL},
                /* "user:password\\0\\0" */
                {"{\"auths\":{\"x\":{\"auth\":\"dXNlcjpwYXNzd29yZAAA\"}}}", "x", "a",
                 "user:password", NULL},
                /* "u:" */
                {"{\"auths\":{\"x\":{\"auth\":\"dTo=\"}}}", "x", "a", "u:", NULL},
                {"{\"auths\":{\"x\":{}}}", "x", "a", NULL, NULL},
                {"{\"auths\":{\"x\":{\"auth\":\"\",\"identitytoken\":\"\"}}}", "x", "a", NULL,
                 NULL},
                /* others may be broken */
                {"{\"auths\":{\"y\":7,\"x\":" AUTH "}}", "x", "a", "user:password", NULL},
                /* helpers */
                {"{\"auths\":{\"x\":{}},\"credsStore\":\"desktop\"}", "x", "a", NULL, "desktop"},
                {"{\"credHelpers\":{\"x\":\"gcr\"},\"credsStore\":\"pass\"}", "x", "a", NULL,
                 "gcr"},
                {"{\"credHelpers\":{\"y\":\"gcr\"}}", "x", "a", NULL, NULL},
                {"{\"auths\":{\"x\":" AUTH "},\"credsStore\":\"pass\"}", "x", "a", "user:password",
                 NULL},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
                _cleanup_(secret_free_p) struct secret *s = NULL;
                _cleanup_free_ char *helper = NULL;
                struct error e = ERROR_INIT;
                int r = oci_login_find(table[i].text, strlen(table[i].text), "config.json",
                                       table[i].registry, table[i].repository, &s, &helper, &e);

                if (r != 0)
                        fail_msg("%s: %s", table[i].text, e.text);
                expect(table[i].helper, helper, table[i].text);
                if (!s != !table[i].login)
                        fail_msg("%s: %s", table[i].text, s ? "a login" : "no login");
                if (s) {
                        assert_int_equal(s->len, strlen(table[i].login));
                        assert_memory_equal(s->data, table[i].login, s->len);
                }
        }
}

static void test_malformed_login(void **state)
{
        static const struct {
                const char *text;
                int r;
        } table[] = {
                {"", -EBADMSG},
                {"[]", -EBADMSG},
                {"7", -EBADMSG},
                {"{\"auths\":[]}", -EBADMSG},
                {"{\"auths\":{\"x\":7}}", -EBADMSG},
                {"{\"auths\":{\"x\":" AUTH ",\"x\":" OTHER "}}", -EBADMSG},
                {"{\"auths\":{\"x\":{\"auth\":7}}}", -EBADMSG},
                {"{\"auths\":{\"x\":{\"auth\":\"???\"}}}", -EBADMSG},
                {"{\"auths\":{\"x\":{\"auth\":\"dXNlcjpwYXNzd29yZA\"}}}", -EBADMSG},
                {"{\"auths\":{\"x\":{\"auth\":\"dXNlcg==\"}}}", -EBADMSG}, /* user */
                {"{\"auths\":{\"x\":{\"auth\":\"OnBhc3M=\"}}}", -EBADMSG}, /* :pass */
                {"{\"auths\":{\"x\":{\"auth\":\"dToNCg==\"}}}", -EBADMSG}, /* u:\r\n */
                {"{\"auths\":{\"x\":{\"auth\":\"AAAA\"}}}", -EBADMSG},     /* NULs */
                {"{\"auths\":{\"x\":{\"username\":\"u\"}}}", -EBADMSG},
                {"{\"auths\":{\"x\":{\"password\":\"p\"}}}", -EBADMSG},
                {"{\"auths\":{\"x\":{\"username\":\"u:v\",\"password\":\"p\"}}}", -EBADMSG},
                {"{\"auths\":{\"x\":{\"username\":\"u\",\"password\":\"a\\u007f\"}}}", -EBADMSG},
                {"{\"auths\":{\"x\":{\"identitytoken\":\"t\"}}}", -ENOTSUP},
                {"{\"auths\":{\"x\":{\"auth\":\"dTo=\",\"identitytoken\":\"t\"}}}", -ENOTSUP},
                {"{\"auths\":{\"x\":{\"registrytoken\":\"t\"}}}", -ENOTSUP},
                {"{\"credHelpers\":{\"x\":7}}", -EBADMSG},
                {"{\"credsStore\":\"a\\nb\"}", -EBADMSG},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
                struct secret *s = NULL;
                char *helper = NULL;
                struct error e = ERROR_INIT;
                int r = oci_login_find(table[i].text, strlen(table[i].text), "config.json", "x",
                                       "a", &s, &helper, &e);

                if (r != table[i].r)
                        fail_msg("%s: %d %s", table[i].text, r, e.text);
                assert_int_equal(e.class, ERROR_CONFIG);
                assert_non_null(strstr(e.text, "config.json"));
                assert_null(s);
                assert_null(helper);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_challenge),       cmocka_unit_test(test_malformed_challenge),
                cmocka_unit_test(test_many_challenges), cmocka_unit_test(test_token),
                cmocka_unit_test(test_token_size),      cmocka_unit_test(test_login),
                cmocka_unit_test(test_malformed_login),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
