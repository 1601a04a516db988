/* SPDX-License-Identifier: Apache-2.0 */
/* What the console of a live session asks before and after an installation. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/install_offer.h"

/* How often needle stands in text. */
static unsigned count(const char *text, const char *needle)
{
        unsigned n = 0;

        for (const char *p = strstr(text, needle); p; p = strstr(p + 1, needle))
                n++;
        return n;
}

static void test_answers(void **state)
{
        static const struct {
                const char *typed;
                int result;
                enum error_class class;
                unsigned questions;
        } cases[] = {
                {"install\n", 0, ERROR_NONE, 1},
                {"\nyes\n install\ninstall\r\n", 0, ERROR_NONE, 4},
                {"quit\n", -ECANCELED, ERROR_NOTHING, 1},
                {"", -EPIPE, ERROR_INTERRUPTED, 1},
                {"INSTALL\n", -EPIPE, ERROR_INTERRUPTED, 2},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                struct error e = ERROR_INIT;
                char *said = NULL;
                size_t size = 0;
                char typed[64];
                FILE *in, *out = open_memstream(&said, &size);
                int r;

                (void)snprintf(typed, sizeof(typed), "%s", cases[i].typed);
                in = *typed ? fmemopen(typed, strlen(typed), "r") : fopen("/dev/null", "re");
                assert_non_null(in);
                assert_non_null(out);
                r = install_offer_begin(in, out, &e);
                assert_int_equal(r, cases[i].result);
                assert_int_equal(e.class, cases[i].class);
                (void)fclose(in);
                (void)fclose(out);
                assert_int_equal(count(said, "Type \"install\""), cases[i].questions);
                free(said);
        }
}

static void test_end_waits_for_a_line(void **state)
{
        char typed[] = "whatever\nmore\n", *said = NULL, rest[8];
        FILE *in = fmemopen(typed, sizeof(typed) - 1, "r"), *out;
        size_t size = 0;

        (void)state;
        out = open_memstream(&said, &size);
        assert_non_null(in);
        assert_non_null(out);
        install_offer_end(in, out, "power off");
        assert_string_equal(fgets(rest, sizeof(rest), in), "more\n");
        (void)fclose(in);
        (void)fclose(out);
        assert_non_null(strstr(said, "press Enter to power off: "));
        free(said);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_answers),
                cmocka_unit_test(test_end_waits_for_a_line),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
