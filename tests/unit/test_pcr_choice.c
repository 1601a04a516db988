/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "agent/pcr_choice.h"

static void lists_that_hold(void **state)
{
        static const struct {
                const char *text;
                uint32_t mask;
                const char *shown;
        } cases[] = {
                {"7", 1u << 7, "7"},
                {"7+14", 1u << 7 | 1u << 14, "7, 14"},
                {"14,0,7,2,3", 1u << 0 | 1u << 2 | 1u << 3 | 1u << 7 | 1u << 14, "0, 2, 3, 7, 14"},
        };
        char text[96];

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                struct error e = ERROR_INIT;
                uint32_t mask = 0;

                assert_int_equal(pcr_choice_parse(cases[i].text, &mask, &e), 0);
                assert_int_equal(mask, cases[i].mask);
                assert_string_equal(pcr_choice_text(mask, text, sizeof(text)), cases[i].shown);
        }
}

static void lists_that_would_lock_the_data_out(void **state)
{
        static const struct {
                const char *text, *why;
        } cases[] = {
                {"0", "PCR 7 is missing"},
                {"", "is not the number"},
                {"7,", "is not the number"},
                {"7 14", "is not the number"},
                {"24", "is not the number"},
                {"1,7", "PCR 1 cannot be bound by value: it holds settings"},
                {"7,4", "which an upgrade changes"},
                {"5,7", "which an installation changes"},
                {"6,7", "switched on"},
                {"7,9", "which an upgrade changes"},
                {"7,11", "bound by their signature"},
                {"12,7", "which an upgrade changes"},
                {"13,7", "which an upgrade changes"},
                {"15,7", "keys of the partitions"},
                {"16,7", "none of the boot's"},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                struct error e = ERROR_INIT;
                uint32_t mask = 99;

                assert_int_equal(pcr_choice_parse(cases[i].text, &mask, &e), -EINVAL);
                assert_int_equal(e.class, ERROR_USAGE);
                assert_non_null(strstr(e.text, cases[i].why));
                assert_int_equal(mask, 99);
        }
        assert_null(pcr_choice_refusal(PCR_CHOICE_SIGNED, 11));
        assert_non_null(pcr_choice_refusal(PCR_CHOICE_SIGNED, 7));
        assert_non_null(pcr_choice_refusal(PCR_CHOICE_SIGNED, UINT64_MAX));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(lists_that_hold),
                cmocka_unit_test(lists_that_would_lock_the_data_out),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
