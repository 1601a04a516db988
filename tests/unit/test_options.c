/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "agent/options.h"

struct words {
        bool flag;
        const char *text, *argument;
        uint64_t size, number, count;
        struct option_list list;
};

/* argv is a NULL-terminated list behind the verb's name. */
static int parse(const char *const *args, struct words *w, bool with_argument, struct error *e)
{
        const struct option_spec specs[] = {
                {"flag", OPTION_FLAG, &w->flag},       {"text", OPTION_TEXT, &w->text},
                {"size", OPTION_SIZE, &w->size},       {"list", OPTION_LIST, &w->list},
                {"number", OPTION_NUMBER, &w->number}, {"count", OPTION_COUNT, &w->count},
        };
        char *argv[64] = {(char[]){"verb"}};
        int argc = 1;

        while (args[argc - 1]) {
                argv[argc] = (char *)(uintptr_t)args[argc - 1];
                argc++;
        }
        return options_parse(argc, argv, specs, ARRAY_SIZE(specs),
                             with_argument ? &w->argument : NULL, e);
}

static void every_kind_is_read(void **state)
{
        static const char *const args[] = {"--flag", "--text",  "a b",    "word", "--size=2G",
                                           "--list", "x",       "--list", "y",    "--number",
                                           "0",      "--count", "1",      NULL};
        struct error e = ERROR_INIT;
        struct words w = {0};

        (void)state;
        assert_int_equal(parse(args, &w, true, &e), 0);
        assert_true(w.flag);
        assert_string_equal(w.text, "a b");
        assert_int_equal(w.size, UINT64_C(2) << 30);
        assert_int_equal(w.number, 0);
        assert_int_equal(w.count, 1);
        assert_int_equal(w.list.n, 2);
        assert_string_equal(w.list.item[1], "y");
        assert_string_equal(w.argument, "word");
}

static void words_without_a_name_make_a_list(void **state)
{
        struct option_list words = {.n = 0};
        bool flag = false;
        const struct option_spec specs[] = {{"flag", OPTION_FLAG, &flag},
                                            {"", OPTION_LIST, &words}};
        char *argv[] = {(char[]){"verb"},   (char[]){"a"},  (char[]){"-"},
                        (char[]){"--flag"}, (char[]){"--"}, (char[]){"--x"}};
        char *wrong[] = {(char[]){"verb"}, (char[]){"--=a"}};
        struct error e = ERROR_INIT;

        (void)state;
        assert_int_equal(options_parse(ARRAY_SIZE(argv), argv, specs, ARRAY_SIZE(specs), NULL, &e),
                         0);
        assert_true(flag);
        assert_int_equal(words.n, 3);
        assert_string_equal(words.item[0], "a");
        assert_string_equal(words.item[1], "-");
        assert_string_equal(words.item[2], "--x");
        assert_int_equal(
                options_parse(ARRAY_SIZE(wrong), wrong, specs, ARRAY_SIZE(specs), NULL, &e),
                -EINVAL);
}

static void help_ends_it(void **state)
{
        static const char *const args[] = {"--flag", "--help", "--nonsense", NULL},
                                 *const brief[] = {"-h", NULL};
        struct error e = ERROR_INIT;
        struct words w = {0};

        (void)state;
        assert_int_equal(parse(args, &w, true, &e), 1);
        w = (struct words){0};
        assert_int_equal(parse(brief, &w, true, &e), 1);
}

static void bad_words_are_named(void **state)
{
        static const struct {
                const char *args[4];
                bool with_argument;
                const char *named;
        } cases[] = {
                {{"--nonsense"}, false, "--nonsense"},
                {{"-x"}, false, "-x"},
                {{"--text"}, false, "--text"},
                {{"--size", "many"}, false, "many"},
                {{"--size", "0"}, false, "--size"},
                {{"word"}, false, "word"},
                {{"one", "two"}, true, "two"},
                {{"--flag"}, true, "missing"},
                {{"--fla"}, false, "--fla"},
                {{"--flag=1"}, false, "no value"},
                {{"--text="}, false, "--text"},
                {{"--text", ""}, false, "--text"},
                {{"--flag", "--flag"}, false, "twice"},
                {{"--text=a", "--text=b"}, false, "twice"},
                {{"-flag"}, false, "-flag"},
                {{""}, true, "unexpected"},
                {{"--number", "1h"}, false, "1h"},
                {{"--number", "604801"}, false, "604801"},
                {{"--count", "0"}, false, "at least 1"},
                {{"--count", "-1"}, false, "at least 1"},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                struct error e = ERROR_INIT;
                struct words w = {0};

                assert_true(parse(cases[i].args, &w, cases[i].with_argument, &e) < 0);
                assert_int_equal(e.class, ERROR_USAGE);
                assert_non_null(strstr(e.text, cases[i].named));
        }
}

static void words_after_the_dashes_are_arguments(void **state)
{
        static const char *const args[] = {"--flag", "--", "--text", NULL}, *const lone[] = {"-",
                                                                                             NULL};
        struct error e = ERROR_INIT;
        struct words w = {0};

        (void)state;
        assert_int_equal(parse(args, &w, true, &e), 0);
        assert_string_equal(w.argument, "--text");
        assert_null(w.text);
        w = (struct words){0};
        assert_int_equal(parse(lone, &w, true, &e), 0);
        assert_string_equal(w.argument, "-");
}

static void json_is_known_before_the_failure(void **state)
{
        bool json = false;
        const struct option_spec specs[] = {{"json", OPTION_FLAG, &json}};
        char *argv[] = {(char[]){"verb"}, (char[]){"--nonsense"}, (char[]){"--json"}},
             *other[] = {(char[]){"verb"}, (char[]){"--"}, (char[]){"--json"}};
        struct error e = ERROR_INIT;

        (void)state;
        assert_int_equal(options_parse(3, argv, specs, 1, NULL, &e), -EINVAL);
        assert_true(json);
        json = false;
        assert_int_equal(options_parse(3, other, specs, 1, NULL, &e), -EINVAL);
        assert_false(json);
}

static void lists_have_an_end(void **state)
{
        const char *args[2 * OPTION_LIST_MAX + 3] = {NULL};
        struct error e = ERROR_INIT;
        struct words w = {0};

        (void)state;
        for (unsigned i = 0; i < 2 * OPTION_LIST_MAX; i += 2) {
                args[i] = "--list";
                args[i + 1] = "x";
        }
        assert_int_equal(parse(args, &w, false, &e), 0);
        assert_int_equal(w.list.n, OPTION_LIST_MAX);
        args[2 * OPTION_LIST_MAX] = "--list";
        args[2 * OPTION_LIST_MAX + 1] = "x";
        w = (struct words){0};
        assert_int_equal(parse(args, &w, false, &e), -EINVAL);
}

/* As many as a table may have: each is told from all others. */
static void the_longest_table_tells_all_apart(void **state)
{
        static char names[OPTIONS_MAX][8];
        struct option_spec specs[OPTIONS_MAX];
        char *argv[OPTIONS_MAX + 2], words[OPTIONS_MAX][12], verb[] = "verb";
        bool given[OPTIONS_MAX] = {0};

        (void)state;
        argv[0] = verb;
        for (unsigned i = 0; i < OPTIONS_MAX; i++) {
                (void)snprintf(names[i], sizeof(names[i]), "o%u", i);
                (void)snprintf(words[i], sizeof(words[i]), "--o%u", i);
                specs[i] = (struct option_spec){names[i], OPTION_FLAG, &given[i]};
                argv[i + 1] = words[i];
        }
        argv[OPTIONS_MAX + 1] = words[OPTIONS_MAX - 1];
        assert_int_equal(options_parse(OPTIONS_MAX + 1, argv, specs, OPTIONS_MAX, NULL, NULL), 0);
        for (unsigned i = 0; i < OPTIONS_MAX; i++)
                assert_true(given[i]);
        assert_int_equal(options_parse(OPTIONS_MAX + 2, argv, specs, OPTIONS_MAX, NULL, NULL),
                         -EINVAL);
}

static void an_action_is_the_first_word(void **state)
{
        char verb[] = "verb", list[] = "list", json[] = "--json";
        char *with[] = {verb, list, json, NULL}, *without[] = {verb, json, NULL}, **argv = with;
        int argc = 3;

        (void)state;
        assert_string_equal(options_action(&argc, &argv), "list");
        assert_int_equal(argc, 2);
        assert_ptr_equal(argv[1], json);
        assert_null(options_action(&argc, &argv));
        argc = 2;
        argv = without;
        assert_null(options_action(&argc, &argv));
        assert_int_equal(argc, 2);
        argc = 1;
        assert_null(options_action(&argc, &argv));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(every_kind_is_read),
                cmocka_unit_test(words_without_a_name_make_a_list),
                cmocka_unit_test(help_ends_it),
                cmocka_unit_test(bad_words_are_named),
                cmocka_unit_test(words_after_the_dashes_are_arguments),
                cmocka_unit_test(json_is_known_before_the_failure),
                cmocka_unit_test(lists_have_an_end),
                cmocka_unit_test(an_action_is_the_first_word),
                cmocka_unit_test(the_longest_table_tells_all_apart),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
