/* SPDX-License-Identifier: Apache-2.0 */
/* The record of an installation: written and read again, and never half believed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agent/install_record.h"
#include "agent/oem_file.h"
#include "tests/unit/scratch.h"

struct world {
        struct scratch oem;
        struct env env;
        struct install_record record;
        struct error e;
};

static int set_up(void **state)
{
        struct world *w = calloc(1, sizeof(*w));

        assert_non_null(w);
        scratch_make(&w->oem);
        w->env = (struct env)ENV_INIT;
        w->env.oem = w->oem.path;
        *state = w;
        return 0;
}

static int tear_down(void **state)
{
        struct world *w = *state;

        scratch_clean(&w->oem);
        free(w);
        return 0;
}

static void comes_back_as_it_was(void **state)
{
        struct world *w = *state;
        struct install_record written = {.time = 7,
                                         .version = "1.2",
                                         .sha256 = {1, 2, 3},
                                         .image_override = "version: \"0\" (accepted)",
                                         .machine_override = "",
                                         .made = INSTALL_RECORD_IMAGE};
        struct extra_list extras = {.n = 0};

        assert_int_equal(extra_parse("data:64M", &extras, &w->e), 0);
        assert_int_equal(extra_parse("open:64M:plain", &extras, &w->e), 0);
        assert_int_equal(extra_parse("more:64M:none", &extras, &w->e), 0);
        install_record_extras(&written, &extras);
        assert_int_equal(install_record_write(&written, w->oem.fd, &w->e), 0);
        assert_int_equal(install_record_read(&w->env, &w->record, &w->e), 1);
        assert_int_equal(w->record.time, 7);
        assert_string_equal(w->record.version, "1.2");
        assert_memory_equal(w->record.sha256, written.sha256, SHA256_SIZE);
        assert_string_equal(w->record.image_override, written.image_override);
        assert_string_equal(w->record.machine_override, "");
        assert_string_equal(w->record.made, "image");
        assert_int_equal(w->record.n_encrypted, 2);
        assert_string_equal(w->record.encrypted[0], "data");
        assert_string_equal(w->record.encrypted[1], "more");
}

static void older_nodes_have_none(void **state)
{
        struct world *w = *state;

        assert_int_equal(install_record_read(&w->env, &w->record, &w->e), 0);
}

static void half_a_record_is_none(void **state)
{
        static const char head[] = "\"time\":1,\"version\":\"1\",\"image_override\":\"\","
                                   "\"machine_override\":\"\",\"sha256\":\"";
        static const char digest[] =
                "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
        static const struct {
                const char *before, *after;
                int expected;
        } cases[] = {
                {"", "\",\"encrypted\":[]}", 1},
                {"\"later\":{},", "\",\"encrypted\":[\"data\"]}", 1},
                {"", "\"}", -EBADMSG},
                {"", "00\",\"encrypted\":[]}", -EBADMSG},
                {"", "\",\"encrypted\":\"data\"}", -EBADMSG},
                {"", "\",\"encrypted\":[1]}", -EBADMSG},
                {"", "\",\"encrypted\":[\"oem\"]}", -EBADMSG},
                {"", "\",\"encrypted\":[\"a/b\"]}", -EBADMSG},
                {"",
                 "\",\"encrypted\":[\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\","
                 "\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\"]}",
                 -EBADMSG},
        };
        struct world *w = *state;

        assert_int_equal(file_make_dirs(w->oem.fd, OEM_FILE_FOLDER, 0700), 0);
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                char text[1024];

                (void)snprintf(text, sizeof(text), "{%s%s%s%s", cases[i].before, head, digest,
                               cases[i].after);
                scratch_put_text(&w->oem, OEM_FILE_INSTALL, text);
                if (install_record_read(&w->env, &w->record, &w->e) != cases[i].expected)
                        fail_msg("%s", text);
        }
        scratch_put_text(&w->oem, OEM_FILE_INSTALL, "[]");
        assert_true(install_record_read(&w->env, &w->record, &w->e) < 0);
        scratch_put_text(&w->oem, OEM_FILE_INSTALL, "");
        assert_true(install_record_read(&w->env, &w->record, &w->e) < 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(comes_back_as_it_was, set_up, tear_down),
                cmocka_unit_test_setup_teardown(older_nodes_have_none, set_up, tear_down),
                cmocka_unit_test_setup_teardown(half_a_record_is_none, set_up, tear_down),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
