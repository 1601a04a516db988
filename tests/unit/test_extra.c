/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "partition/extra.h"

static void reads_every_form(void **state)
{
        static const struct {
                const char *text;
                struct extra want;
        } cases[] = {
                {"data:1G", {"data", "data", 1 * GIB, EXTRA_FS_EXT4, true}},
                {"data:1G:plain", {"data", "data", 1 * GIB, EXTRA_FS_EXT4, false}},
                {"data:1G:encrypted", {"data", "data", 1 * GIB, EXTRA_FS_EXT4, true}},
                {"data:1G:none", {"data", "data", 1 * GIB, EXTRA_FS_NONE, true}},
                {"data:1G:none:plain", {"data", "data", 1 * GIB, EXTRA_FS_NONE, false}},
                {"data:1G:ext4:DATA", {"data", "DATA", 1 * GIB, EXTRA_FS_EXT4, true}},
                {"data:1G:DATA:plain", {"data", "DATA", 1 * GIB, EXTRA_FS_EXT4, false}},
                {"data:1G:ext4:DATA:plain", {"data", "DATA", 1 * GIB, EXTRA_FS_EXT4, false}},
                {"a.b-c_d:33554433", {"a.b-c_d", "a.b-c_d", 33 * MIB, EXTRA_FS_EXT4, true}},
                {"raw:1:none:plain", {"raw", "raw", 1 * MIB, EXTRA_FS_NONE, false}},
                {"abcdefghijklmnopqrstuvwxyz0123456789:1G:x",
                 {"abcdefghijklmnopqrstuvwxyz0123456789", "x", 1 * GIB, EXTRA_FS_EXT4, true}},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                struct extra_list list = {.n = 0};
                struct error e = ERROR_INIT;

                if (extra_parse(cases[i].text, &list, &e) < 0)
                        fail_msg("%s", e.text);
                assert_int_equal(list.n, 1);
                assert_string_equal(list.item[0].name, cases[i].want.name);
                assert_string_equal(list.item[0].label, cases[i].want.label);
                assert_int_equal(list.item[0].size, cases[i].want.size);
                assert_int_equal(list.item[0].fs, cases[i].want.fs);
                assert_int_equal(list.item[0].encrypted, cases[i].want.encrypted);
                assert_ptr_equal(extra_find(&list, cases[i].want.name), &list.item[0]);
                assert_null(extra_find(&list, "other"));
        }
}

static void refuses_the_rest(void **state)
{
        static const char *const texts[] = {
                "",
                "data",
                "data:",
                "data:0",
                "data:-1",
                "data:1X",
                ":1G",
                "oem:1G",
                "OEM:1G",
                "efi:1G",
                "persistent:1G",
                "control:1G",
                "tb-install-x:1G",
                "TB-x:1G",
                "../x:1G",
                ".x:1G",
                "-x:1G",
                "a b:1G",
                "a/b:1G",
                "d\xc3\xa4t:1G",
                "data:1G:btrfs:X:plain",
                "data:1G:btrfs",
                "data:1G:swap:plain",
                "data:1G:COS_OEM",
                "data:1G:cos_state",
                "data:1G:ext4:",
                "data:1G:",
                "data:1G:ext4:a/b",
                "data:1G:ext4:seventeen-letters",
                "data:1G:plain:ext4",
                "data:1G:plain:encrypted",
                "data:1G:ext4:none",
                "data:1G:ext4:X:plain:more",
                "data:1G:ext4:X:plain:",
                "data:31M",
                "data:15M:plain",
                "data:18446744073709551615",
                "data:99999999T",
                "a-name-of-more-than-sixteen:1G",
                "abcdefghijklmnopqrstuvwxyz01234567890:1G:x",
                "first:1G",
                "FIRST:1G",
                "second:1G:first",
        };
        struct extra_list list = {.n = 0};
        struct error e = ERROR_INIT;

        (void)state;
        assert_int_equal(extra_parse("first:1G", &list, &e), 0);
        for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
                if (extra_parse(texts[i], &list, &e) != -EINVAL)
                        fail_msg("accepted: %s", texts[i]);
                assert_int_equal(e.class, ERROR_USAGE);
                assert_int_equal(list.n, 1);
        }
}

static void so_many_and_no_more(void **state)
{
        struct extra_list list = {.n = 0};
        struct error e = ERROR_INIT;
        char text[32];

        (void)state;
        for (unsigned i = 0; i < LIMIT_EXTRA_PARTITIONS; i++) {
                (void)snprintf(text, sizeof(text), "p%u:1G", i);
                assert_int_equal(extra_parse(text, &list, &e), 0);
        }
        assert_int_equal(extra_parse("more:1G", &list, &e), -EINVAL);
        assert_int_equal(list.n, LIMIT_EXTRA_PARTITIONS);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(reads_every_form),
                cmocka_unit_test(refuses_the_rest),
                cmocka_unit_test(so_many_and_no_more),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
