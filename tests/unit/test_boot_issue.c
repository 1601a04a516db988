/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/boot_issue.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/scratch.h"

static struct entry_file entry(const char *file, bool present)
{
        struct entry_file f = {.valid = true, .image_present = present};

        (void)snprintf(f.file, sizeof(f.file), "%s", file);
        assert_int_equal(entry_name_parse(file, &f.name), 0);
        (void)snprintf(f.entry.version, sizeof(f.entry.version), "7");
        return f;
}

static void entries_that_are_passed_over(void **state)
{
        const struct entry_file list[] = {entry("active+0-3.conf", true),
                                          entry("passive.conf", false),
                                          entry("recovery.conf", false)};
        const struct entry_file good[] = {entry("active+2-1.conf", true)};
        _cleanup_(buf_done) struct buf why = BUF_INIT(4096);

        (void)state;
        assert_int_equal(boot_issue_entries(list, ARRAY_SIZE(list), &why), 0);
        assert_string_equal(buf_str(&why),
                            "active (version 7) has used up its tries\n"
                            "passive (version 7) names an image that is not there\n");
        buf_reset(&why);
        assert_int_equal(boot_issue_entries(good, ARRAY_SIZE(good), &why), 0);
        assert_string_equal(buf_str(&why), "there is no passive entry\n");
        buf_reset(&why);
        why.max = 10;
        assert_int_equal(boot_issue_entries(list, ARRAY_SIZE(list), &why), -E2BIG);
}

static void text_says_what_and_how(void **state)
{
        _cleanup_json_ struct json_object *problems = json_object_new_array();
        _cleanup_(buf_done) struct buf text = BUF_INIT(8192);

        (void)state;
        assert_int_equal(boot_issue_text("", NULL, true, &text), 0);
        assert_non_null(strstr(buf_str(&text), "Its data is open."));
        assert_null(strstr(buf_str(&text), "What failed"));
        assert_null(strstr(buf_str(&text), "tb-agent unlock"));
        assert_non_null(strstr(buf_str(&text), "tb-agent doctor"));
        assert_non_null(strstr(buf_str(&text), "tb-agent reset"));
        buf_reset(&text);
        assert_int_equal(json_append(problems, json_new_str("oem: wrong \033[2J TPM \\r")), 0);
        assert_int_equal(boot_issue_text("one\ntwo\n", problems, false, &text), 0);
        assert_non_null(strstr(buf_str(&text), "LOCKED"));
        assert_non_null(strstr(buf_str(&text), "What failed:\n  - one\n  - two\n"
                                               "  - oem: wrong ?[2J TPM ?r\n"));
        assert_non_null(strstr(buf_str(&text), "tb-agent unlock"));
}

static void it_is_there_for_the_prompt(void **state)
{
        struct env env = ENV_INIT;
        struct scratch dir;

        (void)state;
        scratch_make(&dir);
        env.run = dir.path;
        env.proc = env.dev = "/nonexistent";
        boot_issue_show(&env, "text\n");
        scratch_expect(&dir, "issue.d/tb-agent.issue", "text\n", 5);
        scratch_clean(&dir);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(entries_that_are_passed_over),
                cmocka_unit_test(text_says_what_and_how),
                cmocka_unit_test(it_is_there_for_the_prompt),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
