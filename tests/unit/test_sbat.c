/* SPDX-License-Identifier: Apache-2.0 */
#include "upgrade/sbat.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "base/limits.h"
#include "efivars/efivar.h"
#include "tests/unit/scratch.h"

#define IMAGE                                                                                      \
        "sbat,1,SBAT Version,sbat,1,https://github.com/rhboot/shim/blob/main/SBAT.md\n"            \
        "systemd,1,The systemd Developers,systemd,252,https://systemd.io/\n"                       \
        "systemd.debian,3,Debian,systemd,252.39-1~deb12u1,https://tracker.debian.org\n"

static struct sbat *parse(const char *text)
{
        struct sbat *s = NULL;

        assert_int_equal(sbat_parse(text, strlen(text), "text", &s, NULL), 0);
        return s;
}

static void test_parse(void **state)
{
        _cleanup_(sbat_free_p) struct sbat *s = parse(IMAGE);

        (void)state;
        assert_string_equal(sbat_at(s, 1)->name, "systemd");
        assert_int_equal(sbat_at(s, 1)->generation, 1);
        assert_string_equal(sbat_at(s, 1)->rest,
                            "The systemd Developers,systemd,252,https://systemd.io/");
        assert_string_equal(sbat_at(s, 2)->name, "systemd.debian");
        assert_int_equal(sbat_at(s, 2)->generation, 3);
        assert_null(sbat_at(s, 3));
}

static void test_tolerated(void **state)
{
        static const struct {
                const char *text;
                size_t n;
        } table[] = {
                {"a,1", 3},
                {"a,1\n", 4},
                {"a,1\r\n", 5},
                {"\na,1\n\n\r\n", 8},
                {"\xef\xbb\xbf"
                 "a,1\n",
                 7},
                {"a,1\n\0\0\0", 7},
                {"a,1,", 4},
                {"a,00001", 7},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
                _cleanup_(sbat_free_p) struct sbat *s = NULL;

                assert_int_equal(sbat_parse(table[i].text, table[i].n, "text", &s, NULL), 0);
                assert_string_equal(sbat_at(s, 0)->name, "a");
                assert_int_equal(sbat_at(s, 0)->generation, 1);
                assert_string_equal(sbat_at(s, 0)->rest, "");
                assert_null(sbat_at(s, 1));
        }
}

static void test_malformed(void **state)
{
        static const struct {
                const char *text;
                size_t n;
        } table[] = {
                {"", 0},           {"\0\0", 2},     {"\n\n", 2},
                {"a", 1},          {"a,", 2},       {",1", 2},
                {"a,x", 3},        {"a,-1", 4},     {"a,+1", 4},
                {"a, 1", 4},       {"a,1 ", 4},     {"a,65536", 7},
                {"a,1\nb", 5},     {"a,1\0b,2", 7}, {"a\x01,1", 4},
                {"\x80,1", 3},     {"a,1\nb\n", 6}, {"a,99999999999999999999", 22},
                {"a,1\r\r\n,", 7},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
                struct error e = ERROR_INIT;
                struct sbat *s = NULL;

                assert_int_equal(sbat_parse(table[i].text, table[i].n, "the text", &s, &e),
                                 -EBADMSG);
                assert_null(s);
                assert_int_equal(e.class, ERROR_REFUSED);
                assert_non_null(strstr(e.text, "the text"));
        }
}

static void test_limits(void **state)
{
        _cleanup_(buf_done) struct buf b = BUF_INIT(2 * LIMIT_SBAT);
        struct sbat *s = NULL;

        (void)state;
        for (unsigned i = 0; i < LIMIT_SBAT_COMPONENTS; i++)
                assert_int_equal(buf_printf(&b, "c%u,1\n", i), 0);
        assert_int_equal(sbat_parse(b.data, b.len, "text", &s, NULL), 0);
        sbat_free_p(&s);
        assert_int_equal(buf_add_str(&b, "more,1\n"), 0);
        assert_int_equal(sbat_parse(b.data, b.len, "text", &s, NULL), -E2BIG);
        buf_reset(&b);
        for (size_t i = 0; i <= LIMIT_SBAT; i++)
                assert_int_equal(buf_add(&b, "\n", 1), 0);
        assert_int_equal(sbat_parse(b.data, b.len, "text", &s, NULL), -E2BIG);
        assert_null(s);
}

static void test_check(void **state)
{
        static const struct {
                const char *level;
                int result;
                const char *words[3];
        } table[] = {
                {"sbat,1,2023012900\nshim,4\ngrub,5\n", 0, {NULL}},
                {"sbat,1,2023012900\nsystemd,1\n", 0, {NULL}},
                {"sbat,1,2023012900\nsystemd,2\n", -ESTALE, {"systemd", "generation 1", "least 2"}},
                {"sbat,2,2024010100\n", -ESTALE, {"sbat", "generation 1", "least 2"}},
                {"sbat,1\nsystemd.debian,3\n", 0, {NULL}},
                {"sbat,1\nsystemd.debian,4\n", -ESTALE, {"systemd.debian", "3", "4"}},
                /* Names are compared whole. */
                {"sbat,1\nsyste,9\nsystemd.deb,9\nSYSTEMD,9\nsystemd.debian.x,9", 0, {NULL}},
        };
        _cleanup_(sbat_free_p) struct sbat *image = parse(IMAGE);

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
                _cleanup_(sbat_free_p) struct sbat *level = parse(table[i].level);
                struct error e = ERROR_INIT;

                assert_int_equal(sbat_check(image, level, &e), table[i].result);
                for (unsigned w = 0; w < 3 && table[i].words[w]; w++)
                        assert_non_null(strstr(e.text, table[i].words[w]));
                assert_int_equal(e.class, table[i].result < 0 ? ERROR_REFUSED : ERROR_NONE);
                assert_true(table[i].result == 0 || e.advice[0] != '\0');
        }
}

/* A component that stands in the image twice is as old as its older entry. */
static void test_twice(void **state)
{
        _cleanup_(sbat_free_p) struct sbat *image = parse("a,5\na,1\n"), *level = parse("a,3\n");

        (void)state;
        assert_int_equal(sbat_check(image, level, NULL), -ESTALE);
}

static void test_absent(void **state)
{
        _cleanup_(sbat_free_p) struct sbat *image = parse(IMAGE), *level = parse("sbat,1\n");
        struct error e = ERROR_INIT;

        (void)state;
        assert_int_equal(sbat_check(image, NULL, &e), 0);
        assert_int_equal(sbat_check(NULL, NULL, &e), 0);
        assert_int_equal(sbat_check(NULL, level, &e), -ENODATA);
        assert_int_equal(e.class, ERROR_REFUSED);
}

static void test_variable(void **state)
{
        static const char name[] = "SbatLevelRT-" EFIVAR_GUID_SHIM;
        static const char value[] = "\x06\0\0\0sbat,1,2023012900\nshim,2\n";
        struct env env = ENV_INIT;
        struct error e = ERROR_INIT;
        struct sbat *s = NULL;
        struct scratch dir;

        (void)state;
        scratch_make(&dir);
        env.efivarfs = dir.path;
        assert_int_equal(sbat_level(&env, &s, &e), 0);
        assert_null(s);
        scratch_put(&dir, name, value, sizeof(value) - 1);
        assert_int_equal(sbat_level(&env, &s, &e), 1);
        assert_string_equal(sbat_at(s, 0)->rest, "2023012900");
        assert_int_equal(sbat_at(s, 1)->generation, 2);
        sbat_free_p(&s);
        scratch_put(&dir, name, "\x06\0\0\0garbage", 11);
        assert_int_equal(sbat_level(&env, &s, &e), -EBADMSG);
        assert_int_equal(e.class, ERROR_PRECONDITION);
        assert_non_null(strstr(e.text, "SbatLevelRT"));
        scratch_put(&dir, name, "\x06\0\0\0", 4);
        assert_int_equal(sbat_level(&env, &s, &e), -EBADMSG);
        assert_null(s);
        scratch_clean(&dir);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_parse),     cmocka_unit_test(test_tolerated),
                cmocka_unit_test(test_malformed), cmocka_unit_test(test_limits),
                cmocka_unit_test(test_check),     cmocka_unit_test(test_twice),
                cmocka_unit_test(test_absent),    cmocka_unit_test(test_variable),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
