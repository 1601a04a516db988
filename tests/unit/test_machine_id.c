/* SPDX-License-Identifier: Apache-2.0 */
/* The identity of a machine: made once, kept, mended. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agent/machine_id.h"
#include "base/log.h"
#include "tests/unit/scratch.h"

#define KEPT "persistent/etc/machine-id"
#define ID "0123456789abcdef0123456789abcdef"

struct world {
        struct scratch s;
        struct env env;
        char persistent[96], etc[96], kept[96], used[96];
        struct boot_report *report;
        struct error e;
};

static int set_up(void **state)
{
        struct world *w = calloc(1, sizeof(*w));

        assert_non_null(w);
        scratch_make(&w->s);
        (void)snprintf(w->persistent, sizeof(w->persistent), "%s/persistent", w->s.path);
        (void)snprintf(w->etc, sizeof(w->etc), "%s/etc", w->s.path);
        (void)snprintf(w->kept, sizeof(w->kept), "%s/" KEPT, w->s.path);
        (void)snprintf(w->used, sizeof(w->used), "%s/etc/machine-id", w->s.path);
        w->env = (struct env)ENV_INIT;
        w->env.run = w->s.path;
        w->report = boot_report_new();
        assert_non_null(w->report);
        assert_int_equal(file_make_dirs(w->s.fd, "persistent/etc", 0755), 0);
        assert_int_equal(file_make_dirs(w->s.fd, "etc", 0755), 0);
        log_set_level(LOG_LEVEL_ERROR);
        *state = w;
        return 0;
}

static int tear_down(void **state)
{
        struct world *w = *state;

        boot_report_free(w->report);
        scratch_clean(&w->s);
        free(w);
        return 0;
}

static void apply(struct world *w)
{
        if (machine_id_apply(w->persistent, w->etc, w->report, &w->e) < 0)
                fail_msg("%s", w->e.text);
}

static size_t problems(struct world *w)
{
        _cleanup_json_ struct json_object *root = NULL;
        struct json_object *list;

        assert_int_equal(boot_report_write(w->report, &w->env, &w->e), 0);
        assert_int_equal(boot_report_read(&w->env, &root, &w->e), 0);
        assert_int_equal(json_get_array(root, "problems", &list), 0);
        return json_object_array_length(list);
}

static void first_boot_makes_one_and_it_stays(void **state)
{
        struct world *w = *state;
        char first[MACHINE_ID_SIZE], again[MACHINE_ID_SIZE];
        struct stat st;

        apply(w);
        assert_int_equal(machine_id_read(w->kept, first), 0);
        assert_int_equal(first[12], '4'); /* version of the UUID */
        assert_int_equal(machine_id_read(w->used, again), 0);
        assert_string_equal(again, first);
        assert_int_equal(stat(w->used, &st), 0);
        assert_int_equal(st.st_mode & 0777, 0444);
        /* A new boot: /etc comes from the image, where the file is empty. */
        assert_int_equal(chmod(w->used, 0644), 0);
        scratch_put_text(&w->s, "etc/machine-id", "");
        apply(w);
        assert_int_equal(machine_id_read(w->used, again), 0);
        assert_string_equal(again, first);
        assert_int_equal(problems(w), 0);
}

static void machines_differ(void **state)
{
        struct world *w = *state;
        char a[MACHINE_ID_SIZE], b[MACHINE_ID_SIZE];

        apply(w);
        assert_int_equal(machine_id_read(w->kept, a), 0);
        assert_int_equal(unlink(w->kept), 0);
        apply(w);
        assert_int_equal(machine_id_read(w->kept, b), 0);
        assert_string_not_equal(a, b);
}

static void what_an_image_brings_does_not_count(void **state)
{
        struct world *w = *state;

        scratch_put_text(&w->s, KEPT, ID "\n");
        scratch_put_text(&w->s, "etc/machine-id", "fedcba98765432100123456789abcdef\n");
        apply(w);
        scratch_expect(&w->s, "etc/machine-id", ID "\n", 33);
}

static void bad_identity_is_replaced_and_reported(void **state)
{
        static const char *const bad[] = {
                "",
                "\n",
                "uninitialized\n",
                "00000000000000000000000000000000\n",
                "0123456789ABCDEF0123456789ABCDEF\n",
                "01234567-89ab-cdef-0123-456789abcdef\n",
                "0123456789abcdef0123456789abcde\n",
                "0123456789abcdef0123456789abcdef0\n",
                "0123456789abcdef0123456789abcdef\nmore and more and more\n",
                "0123456789abcdef0123456789abcdeg\n",
        };
        struct world *w = *state;
        char id[MACHINE_ID_SIZE], used[MACHINE_ID_SIZE];

        for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
                (void)unlink(w->kept);
                scratch_put_text(&w->s, KEPT, bad[i]);
                apply(w);
                if (machine_id_read(w->kept, id) < 0)
                        fail_msg("\"%s\" stayed", bad[i]);
                assert_int_equal(machine_id_read(w->used, used), 0);
                assert_string_equal(id, used);
                assert_int_equal(problems(w), i + 1);
        }
}

static void newline_is_optional(void **state)
{
        struct world *w = *state;

        scratch_put_text(&w->s, KEPT, ID);
        apply(w);
        scratch_expect(&w->s, "etc/machine-id", ID "\n", 33);
        assert_int_equal(problems(w), 0);
}

/* No folder can be made where a file is: the boot goes on with an identity for itself. */
static void identity_that_cannot_be_kept_is_reported(void **state)
{
        struct world *w = *state;
        char id[MACHINE_ID_SIZE];

        assert_int_equal(unlinkat(w->s.fd, "persistent/etc", AT_REMOVEDIR), 0);
        scratch_put_text(&w->s, "persistent/etc", "a file");
        apply(w);
        assert_int_equal(machine_id_read(w->used, id), 0);
        assert_int_equal(problems(w), 1);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(first_boot_makes_one_and_it_stays, set_up,
                                                tear_down),
                cmocka_unit_test_setup_teardown(machines_differ, set_up, tear_down),
                cmocka_unit_test_setup_teardown(what_an_image_brings_does_not_count, set_up,
                                                tear_down),
                cmocka_unit_test_setup_teardown(bad_identity_is_replaced_and_reported, set_up,
                                                tear_down),
                cmocka_unit_test_setup_teardown(newline_is_optional, set_up, tear_down),
                cmocka_unit_test_setup_teardown(identity_that_cannot_be_kept_is_reported, set_up,
                                                tear_down),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
