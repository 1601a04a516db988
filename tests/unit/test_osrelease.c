/* SPDX-License-Identifier: Apache-2.0 */
#include "upgrade/osrelease.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/limits.h"

static void test_values(void **state)
{
        static const struct {
                const char *text, *value; /* of key A; NULL = absent */
        } table[] = {
                {"A=b\n", "b"},
                {"A=b", "b"},
                {"A=\n", ""},
                {"A=\"\"\n", ""},
                {"A=1.2-3_x~y+z:/@,%=^?\n", "1.2-3_x~y+z:/@,%=^?"},
                {"A=\"two words\"\n", "two words"},
                {"A='single $x \\ \"'\n", "single $x \\ \""},
                {"A=\"\\$ \\\" \\\\ \\`\"\n", "$ \" \\ `"},
                {"A=a\\ b\n", "a b"},
                {"A=b  \t\n", "b"},
                {"  A=b\n", "b"},
                {"# comment\n\n   \n#A=x\nA=b\n", "b"},
                {"A=b\nA=c\n", "c"},
                {"AA=x\nB=A\n", NULL},
                {"A=\xc3\xa4\n", "\xc3\xa4"},
                {"", NULL},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
                _cleanup_(osrelease_free_p) struct osrelease *o = NULL;
                const char *value;

                assert_int_equal(osrelease_parse(table[i].text, strlen(table[i].text), &o, NULL),
                                 0);
                value = osrelease_get(o, "A");
                if (table[i].value)
                        assert_string_equal(value, table[i].value);
                else
                        assert_null(value);
        }
}

static void test_malformed(void **state)
{
        static const char *const table[] = {
                "A",           "A =b",       "A= b",    "=b",       "1A=b",         "A-B=c",
                "A=b c",       "A=\"b",      "A='b",    "A=\"b\"c", "A=$x",         "A=\"$x\"",
                "A=`x`",       "A=\"`x`\"",  "A=b;c",   "A=b\r",    "A=\"a\nB=c\"", "A=\\",
                "A=\"\\n\"",   "export A=b", "A=b # c", "A=\x01",   "A=b&",         "A=(x)",
                "good=1\nA=*", "A='b''c'",   "A=\"\\",  "A=\x7f",   "A=a\"b\"",     "A=!x",
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
                struct osrelease *o = NULL;
                struct error e = ERROR_INIT;

                if (osrelease_parse(table[i], strlen(table[i]), &o, &e) != -EBADMSG)
                        fail_msg("accepted: %s", table[i]);
                assert_int_equal(e.class, ERROR_REFUSED);
                assert_null(o);
        }
}

static void test_names_the_line(void **state)
{
        static const char text[] = "A=b\n\n# x\nB = c\n";
        struct osrelease *o = NULL;
        struct error e = ERROR_INIT;

        (void)state;
        assert_int_equal(osrelease_parse(text, strlen(text), &o, &e), -EBADMSG);
        assert_non_null(strstr(e.text, "line 4"));
}

static void test_nul(void **state)
{
        _cleanup_(osrelease_free_p) struct osrelease *o = NULL;

        (void)state;
        assert_int_equal(osrelease_parse("A=b\n\0", 5, &o, NULL), 0); /* one at the end is fine */
        osrelease_free_p(&o);
        assert_int_equal(osrelease_parse("A=b\0c\n", 6, &o, NULL), -EBADMSG);
        assert_int_equal(osrelease_parse("A=b\n\0\0", 6, &o, NULL), -EBADMSG);
}

/* The worst ratio of output to input is "A=": the table has to hold a document full of it. */
static void test_limit(void **state)
{
        size_t n = LIMIT_OS_RELEASE;
        _cleanup_free_ char *text = malloc(n + 1);
        _cleanup_(osrelease_free_p) struct osrelease *o = NULL;

        (void)state;
        assert_non_null(text);
        for (size_t i = 0; i <= n; i++)
                text[i] = "A=\n"[i % 3];
        text[n - 1] = '\n';
        assert_int_equal(osrelease_parse(text, n - n % 3, &o, NULL), 0);
        assert_string_equal(osrelease_get(o, "A"), "");
        osrelease_free_p(&o);
        assert_int_equal(osrelease_parse(text, n + 1, &o, NULL), -E2BIG);
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_values),         cmocka_unit_test(test_malformed),
                cmocka_unit_test(test_names_the_line), cmocka_unit_test(test_nul),
                cmocka_unit_test(test_limit),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
