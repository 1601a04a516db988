/* SPDX-License-Identifier: Apache-2.0 */
/* The text of recovery keys; what is enrolled with it is in tests/integration/test_recovery_key.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "partition/recovery_key.h"

/* Bytes 00 01 ... 1f, worked out by hand from the alphabet. */
static const char golden[] = "cccbcdce-cfcgchci-cjckclcn-crctcucv-bcbbbdbe-bfbgbhbi-bjbkblbn-"
                             "brbtbubv";

static struct secret *golden_key(void)
{
        uint8_t raw[RECOVERY_KEY_BYTES];

        for (size_t i = 0; i < sizeof(raw); i++)
                raw[i] = (uint8_t)i;
        return recovery_key_encode(raw);
}

static void encodes_as_systemd_does(void **state)
{
        _cleanup_(secret_free_p) struct secret *key = golden_key();

        (void)state;
        assert_int_equal(sizeof(golden) - 1, RECOVERY_KEY_TEXT);
        assert_non_null(key);
        assert_int_equal(key->len, RECOVERY_KEY_TEXT);
        assert_memory_equal(key->data, golden, RECOVERY_KEY_TEXT);
}

static void new_keys_differ(void **state)
{
        _cleanup_(secret_free_p) struct secret *a = recovery_key_new(), *b = recovery_key_new();

        (void)state;
        assert_non_null(a);
        assert_non_null(b);
        assert_memory_not_equal(a->data, b->data, RECOVERY_KEY_TEXT);
        for (size_t i = 0; i < RECOVERY_KEY_TEXT; i++)
                assert_true(i % 9 == 8 ? a->data[i] == '-'
                                       : strchr("cbdefghijklnrtuv", a->data[i]) != NULL);
}

static void forgives_how_people_type(void **state)
{
        static const char *const typed[] = {
                golden,
                "cccbcdcecfcgchcicjckclcncrctcucvbcbbbdbebfbgbhbibjbkblbnbrbtbubv",
                "CCCBCDCE-CFCGCHCI-CJCKCLCN-CRCTCUCV-BCBBBDBE-BFBGBHBI-BJBKBLBN-BRBTBUBV\n",
                " cccbcdce cfcgchci cjckclcn crctcucv\tbcbbbdbe bfbgbhbi bjbkblbn brbtbubv\r\n",
                "cccb-cdce-cfcg-chci-cjck-clcn-crct-cucv-bcbb-bdbe-bfbg-bhbi-bjbk-blbn-brbt-bubv",
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(typed); i++) {
                _cleanup_(secret_free_p) struct secret *key = NULL;
                struct error e = ERROR_INIT;

                assert_int_equal(
                        recovery_key_parse((const uint8_t *)typed[i], strlen(typed[i]), &key, &e),
                        0);
                assert_int_equal(key->len, RECOVERY_KEY_TEXT);
                assert_memory_equal(key->data, golden, RECOVERY_KEY_TEXT);
        }
}

static void refuses_what_is_no_key(void **state)
{
        static const char *const typed[] = {
                "",
                "\n",
                "----",
                "cccbcdcecfcgchcicjckclcncrctcucvbcbbbdbebfbgbhbibjbkblbnbrbtbub",
                "cccbcdcecfcgchcicjckclcncrctcucvbcbbbdbebfbgbhbibjbkblbnbrbtbubvc",
                "accbcdcecfcgchcicjckclcncrctcucvbcbbbdbebfbgbhbibjbkblbnbrbtbubv",
                "cccbcdce_cfcgchcicjckclcncrctcucvbcbbbdbebfbgbhbibjbkblbnbrbtbubv",
                "cccbcdcecfcgchcicjckclcncrctcucvbcbbbdbebfbgbhbibjbkblbnbrbtbub\xc3\xa4",
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(typed); i++) {
                struct secret *key = NULL;
                struct error e = ERROR_INIT;

                assert_int_equal(
                        recovery_key_parse((const uint8_t *)typed[i], strlen(typed[i]), &key, &e),
                        -EINVAL);
                assert_int_equal(e.class, ERROR_USAGE);
                assert_null(key);
                assert_null(strstr(e.text, "ccc"));
        }
}

/* Far more letters than a key has, for as many pages. */
static void refuses_a_book(void **state)
{
        static uint8_t typed[1 << 20];
        struct secret *key = NULL;
        struct error e = ERROR_INIT;

        (void)state;
        memset(typed, 'c', sizeof(typed));
        assert_int_equal(recovery_key_parse(typed, sizeof(typed), &key, &e), -EINVAL);
        assert_null(key);
}

/* A NUL byte is no letter, wherever it stands. */
static void refuses_a_nul(void **state)
{
        uint8_t typed[RECOVERY_KEY_TEXT + 1];
        struct secret *key = NULL;
        struct error e = ERROR_INIT;

        (void)state;
        memcpy(typed, golden, sizeof(typed));
        assert_int_equal(recovery_key_parse(typed, sizeof(typed), &key, &e), -EINVAL);
        assert_null(key);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(encodes_as_systemd_does),
                cmocka_unit_test(new_keys_differ),
                cmocka_unit_test(forgives_how_people_type),
                cmocka_unit_test(refuses_what_is_no_key),
                cmocka_unit_test(refuses_a_book),
                cmocka_unit_test(refuses_a_nul),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
