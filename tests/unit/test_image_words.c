/* SPDX-License-Identifier: Apache-2.0 */
#include "image/words.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define WORDS_MAX 8

struct parsed {
        const char *name, *needed, *positional;
        bool flag;
};

static int parse(const char *const words[], struct parsed *p, struct error *e)
{
        const struct words_option options[] = {
                {.name = "name", .value = &p->name, .not_empty = true},
                {.name = "needed", .value = &p->needed, .required = true},
                {.name = "flag", .flag = &p->flag},
        };
        char *argv[WORDS_MAX + 2] = {(char *)(uintptr_t) "verb"};

        for (unsigned i = 0; i < WORDS_MAX && words[i]; i++)
                argv[i + 1] = (char *)(uintptr_t)words[i];
        *p = (struct parsed){0};
        return words_parse(argv, options, ARRAY_SIZE(options), &p->positional, 1, "the thing", e);
}

static void test_forms(void **state)
{
        static const char *const a[] = {"--name", "x", "thing", "--needed=y", "--flag", NULL};
        static const char *const b[] = {"--needed", "--flag", "--", "--name", NULL};
        static const char *const c[] = {"--needed=", "-", NULL};
        struct parsed p;

        (void)state;
        assert_int_equal(parse(a, &p, NULL), 0);
        assert_string_equal(p.name, "x");
        assert_string_equal(p.needed, "y");
        assert_string_equal(p.positional, "thing");
        assert_true(p.flag);
        assert_int_equal(parse(b, &p, NULL), 0);
        assert_string_equal(p.needed, "--flag"); /* a value may look like an option */
        assert_string_equal(p.positional, "--name");
        assert_false(p.flag);
        assert_int_equal(parse(c, &p, NULL), 0);
        assert_string_equal(p.needed, "");
        assert_string_equal(p.positional, "-");
}

static void test_help(void **state)
{
        static const char *const table[][4] = {
                {"--help"}, {"-h"}, {"--bogus", "--help"}, {"a", "b", "--help"}};
        struct parsed p;

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(table); i++)
                assert_int_equal(parse(table[i], &p, NULL), WORDS_HELP);
}

static void test_usage_errors(void **state)
{
        static const struct {
                const char *words[6];
                const char *text;
        } table[] = {
                {{"--needed=y", NULL}, "the thing is missing"},
                {{"thing", NULL}, "option --needed is missing"},
                {{"thing", "--needed", NULL}, "option --needed needs a value"},
                {{"thing", "--needed=y", "other", NULL}, "unexpected word \"other\""},
                {{"thing", "--needed=y", "--bogus=1", NULL}, "unknown option --bogus"},
                {{"thing", "--needed=y", "--nam=1", NULL}, "unknown option --nam"},
                {{"thing", "--needed=y", "-x", NULL}, "unknown option -x"},
                {{"thing", "--needed=y", "--flag=1", NULL}, "option --flag takes no value"},
                {{"thing", "--needed=y", "--needed", "z", NULL}, "option --needed is given twice"},
                {{"thing", "--needed=y", "--name=", NULL}, "option --name has an empty value"},
                {{"thing", "--needed=y", "--name", "", NULL}, "option --name has an empty value"},
                {{"", "--needed=y", NULL}, "the name of the thing is empty"},
                {{"--bogus", "--other", "x", NULL}, "unknown option --bogus"}, /* the first */
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
                struct parsed p;
                struct error e = ERROR_INIT;

                assert_int_equal(parse(table[i].words, &p, &e), -EINVAL);
                assert_int_equal(e.class, ERROR_USAGE);
                assert_string_equal(e.text, table[i].text);
        }
}

/* A caller that reports in the way a flag asks for learns of it after a mistake, too. */
static void test_flags_after_a_mistake(void **state)
{
        static const char *const table[][4] = {
                {"--bogus", "--flag"}, {"a", "b", "--flag"}, {"--flag", "-x"}, {"--flag"}};
        struct parsed p;

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
                assert_int_equal(parse(table[i], &p, NULL), -EINVAL);
                assert_true(p.flag);
        }
}

static void test_number(void **state)
{
        static const char *const bad[] = {"", "4", "11", "x", "7x", "-7", "99999999999999999999"};
        unsigned v = 8;

        (void)state;
        assert_int_equal(words_number("n", NULL, 5, 10, &v, NULL), 0);
        assert_int_equal(v, 8);
        assert_int_equal(words_number("n", "5", 5, 10, &v, NULL), 0);
        assert_int_equal(v, 5);
        for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
                struct error e = ERROR_INIT;

                assert_int_equal(words_number("n", bad[i], 5, 10, &v, &e), -EINVAL);
                assert_int_equal(e.class, ERROR_USAGE);
                assert_int_equal(v, 5);
        }
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_forms),        cmocka_unit_test(test_help),
                cmocka_unit_test(test_usage_errors), cmocka_unit_test(test_flags_after_a_mistake),
                cmocka_unit_test(test_number),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
