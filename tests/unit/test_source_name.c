/* SPDX-License-Identifier: Apache-2.0 */
#include "upgrade/source_name.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/limits.h"

#define HEX32 "0123456789abcdef0123456789abcdef"
#define SHA256 "sha256:" HEX32 HEX32
#define SHA512 "sha512:" HEX32 HEX32 HEX32 HEX32
#define LONG32 "a2345678901234567890123456789012"
#define LONG128 LONG32 LONG32 LONG32 LONG32

static void expect(const char *want, const char *got, const char *text, const char *what)
{
        if ((!want && !got) || (want && got && strcmp(want, got) == 0))
                return;
        fail_msg("%s: %s is \"%s\", not \"%s\"", text, what, got ?: "(null)", want ?: "(null)");
}

static void test_oci(void **state)
{
        static const struct {
                const char *text, *registry, *repository, *tag, *digest;
        } table[] = {
                {"oci:ghcr.io/kairos-io/demo", "ghcr.io", "kairos-io/demo", "latest", NULL},
                {"oci:ghcr.io/kairos-io/demo:v1.2_3-x", "ghcr.io", "kairos-io/demo", "v1.2_3-x",
                 NULL},
                {"oci:ghcr.io/demo@" SHA256, "ghcr.io", "demo", NULL, SHA256},
                {"oci:ghcr.io/demo:7@" SHA512, "ghcr.io", "demo", "7", SHA512},
                {"oci:demo", "docker.io", "library/demo", "latest", NULL},
                {"oci:demo:7", "docker.io", "library/demo", "7", NULL},
                {"oci:me/demo", "docker.io", "me/demo", "latest", NULL},
                {"oci:docker.io/demo", "docker.io", "library/demo", "latest", NULL},
                {"oci:docker.io/me/demo:7", "docker.io", "me/demo", "7", NULL},
                {"oci:index.docker.io/demo", "docker.io", "library/demo", "latest", NULL},
                {"oci:localhost/demo", "localhost", "demo", "latest", NULL},
                {"oci:localhost:5000/demo", "localhost:5000", "demo", "latest", NULL},
                {"oci:registry:5000/a/b/c:1", "registry:5000", "a/b/c", "1", NULL},
                {"oci:10.0.0.1:65535/demo", "10.0.0.1:65535", "demo", "latest", NULL},
                {"oci:[::1]:5000/demo:x", "[::1]:5000", "demo", "x", NULL},
                {"oci:[2001:db8::1]/demo", "[2001:db8::1]", "demo", "latest", NULL},
                {"oci:GHCR.io/demo", "ghcr.io", "demo", "latest", NULL},
                {"oci:x.y/a__b/c-----d/e.f", "x.y", "a__b/c-----d/e.f", "latest", NULL},
                {"oci:demo:" LONG128, "docker.io", "library/demo", LONG128, NULL},
                {"oci:demo:_", "docker.io", "library/demo", "_", NULL},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
                struct error e = ERROR_INIT;
                struct source_name s;

                if (source_name_parse(table[i].text, &s, &e) != 0)
                        fail_msg("%s: %s", table[i].text, e.text);
                assert_int_equal(s.kind, SOURCE_KIND_OCI);
                expect(table[i].text, s.text, table[i].text, "text");
                expect(table[i].registry, s.registry, table[i].text, "registry");
                expect(table[i].repository, s.repository, table[i].text, "repository");
                expect(table[i].tag, s.tag, table[i].text, "tag");
                expect(table[i].digest, s.digest, table[i].text, "digest");
                assert_null(s.path);
                assert_null(s.url);
                source_name_done(&s);
        }
}

static void test_others(void **state)
{
        static const struct {
                const char *text;
                enum source_kind kind;
                const char *path, *url, *shown;
        } table[] = {
                {"file:/x y/../image.efi", SOURCE_KIND_FILE, "/x y/../image.efi", NULL, NULL},
                {"dir:.", SOURCE_KIND_DIR, ".", NULL, NULL},
                {"ocifile:a:b@c", SOURCE_KIND_OCIFILE, "a:b@c", NULL, NULL},
                {"file:oci:x", SOURCE_KIND_FILE, "oci:x", NULL, NULL},
                {"https://h/x.efi", SOURCE_KIND_HTTP, NULL, "https://h/x.efi", NULL},
                {"http://[::1]:80/x", SOURCE_KIND_HTTP, NULL, "http://[::1]:80/x", NULL},
                {"https://me:pw@h/x", SOURCE_KIND_HTTP, NULL, "https://me:pw@h/x",
                 "https://me:***@h/x"},
                {"https://me:p@w@h/x", SOURCE_KIND_HTTP, NULL, "https://me:p@w@h/x",
                 "https://me:***@h/x"},
                {"https://me@h:1/x", SOURCE_KIND_HTTP, NULL, "https://me@h:1/x",
                 "https://me@h:1/x"},
                {"https://h/x?sig=1", SOURCE_KIND_HTTP, NULL, "https://h/x?sig=1",
                 "https://h/x?***"},
                {"https://a:b@h/x?sig=1", SOURCE_KIND_HTTP, NULL, "https://a:b@h/x?sig=1",
                 "https://a:***@h/x?***"},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
                struct error e = ERROR_INIT;
                struct source_name s;

                if (source_name_parse(table[i].text, &s, &e) != 0)
                        fail_msg("%s: %s", table[i].text, e.text);
                assert_int_equal(s.kind, table[i].kind);
                expect(table[i].path, s.path, table[i].text, "path");
                expect(table[i].url, s.url, table[i].text, "url");
                expect(table[i].shown ?: table[i].text, s.text, table[i].text, "text");
                assert_null(s.registry);
                source_name_done(&s);
        }
}

static void test_refused(void **state)
{
        static const char *const table[] = {
                "",
                "oci",
                "oci:",
                "oci::tag",
                "oci:@" SHA256,
                "oci:/demo",
                "oci:demo/",
                "oci:a//b",
                "oci:ghcr.io/",
                "oci:ghcr.io//demo",
                "oci:ghcr.io/Demo",
                "oci:ghcr.io/demo:",
                "oci:ghcr.io/demo:.x",
                "oci:ghcr.io/demo:-x",
                "oci:ghcr.io/demo:a b",
                "oci:ghcr.io/demo:a:b",
                "oci:ghcr.io/demo@",
                "oci:ghcr.io/demo@sha256:",
                "oci:ghcr.io/demo@sha256:" HEX32,
                "oci:ghcr.io/demo@md5:" HEX32,
                "oci:ghcr.io/demo@sha256:" HEX32 "ABCDEF0123456789ABCDEF0123456789",
                "oci:ghcr.io/demo@" SHA256 "0",
                "oci:ghcr.io/demo@" SHA256 "@" SHA256,
                "oci:ghcr.io/demo@" SHA256 ":tag",
                "oci:ghcr.io/a..b",
                "oci:ghcr.io/..",
                "oci:ghcr.io/../demo",
                "oci:ghcr.io/./demo",
                "oci:ghcr.io/a___b",
                "oci:ghcr.io/a._b",
                "oci:ghcr.io/-a",
                "oci:ghcr.io/a-",
                "oci:ghcr.io/a_",
                "oci:ghcr.io/_a",
                "oci:../demo",
                "oci:.x/demo",
                "oci:x./demo",
                "oci:-x.y/demo",
                "oci:x_y.z/demo",
                "oci:h:/demo",
                "oci:h:0/demo",
                "oci:h:65536/demo",
                "oci:h:80a/demo",
                "oci:h:1:2/demo",
                "oci:[::1/demo",
                "oci:[::1]x/demo",
                "oci:[::1%lo]/demo",
                "oci:[]/demo",
                "oci:[1.2.3.4]/demo",
                "oci:::1/demo",
                "oci:demo ",
                "oci: demo",
                "oci:de\tmo",
                "oci:d\xc3\xa9mo",
                "oci:https://ghcr.io/demo",
                "oci:demo:" LONG128 "x",
                "oci:" LONG128 LONG128,
                "oci:docker.io/" LONG128 LONG32 LONG32 LONG32 "a23456789012345678901234567890",
                "OCI:demo",
                "http://",
                "http://h",
                "http://h/",
                "https:///x",
                "https://h:0/x",
                "https://h?x",
                "https://h/x#y",
                "https://h/a b",
                "https://u@/x",
                "ftp://h/x",
                "ocifile:",
                "dir:",
                "file:",
                "/usr/image.efi",
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
                struct error e = ERROR_INIT;
                struct source_name s;

                if (source_name_parse(table[i], &s, &e) != -EINVAL)
                        fail_msg("%s: accepted", table[i]);
                assert_int_equal(e.class, ERROR_USAGE);
                assert_true(e.text[0]);
        }
}

static void test_too_long(void **state)
{
        char text[LIMIT_SOURCE_NAME + 2];
        struct source_name s;

        (void)state;
        memset(text, 'a', sizeof(text));
        memcpy(text, "file:", 5);
        text[sizeof(text) - 1] = '\0';
        assert_int_equal(source_name_parse(text, &s, NULL), -EINVAL);
        text[sizeof(text) - 2] = '\0';
        assert_int_equal(source_name_parse(text, &s, NULL), 0);
        source_name_done(&s);
}

/* A refusal must not tell the password either. */
static void test_secrets_in_errors(void **state)
{
        static const char *const table[] = {"https://me:geheim@h/x#y", "https://me:gehe/im@h/x",
                                            "https://me:geheim@/x", "ftp://me:geheim@h/x",
                                            "oci:https://me:geheim@h/x"};

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
                struct error e = ERROR_INIT;
                struct source_name s;

                assert_int_equal(source_name_parse(table[i], &s, &e), -EINVAL);
                assert_null(strstr(e.text, "gehe"));
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_oci),
                cmocka_unit_test(test_others),
                cmocka_unit_test(test_refused),
                cmocka_unit_test(test_too_long),
                cmocka_unit_test(test_secrets_in_errors),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
