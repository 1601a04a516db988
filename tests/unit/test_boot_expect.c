/* SPDX-License-Identifier: Apache-2.0 */
/* The user's partitions against the record of the installation. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agent/boot.h"
#include "agent/install_record.h"
#include "agent/oem_file.h"
#include "tests/unit/node_world.h"

struct world {
        struct node_world n;
        struct boot b;
        char oem[80], run[80];
        struct json_object *report;
};

static int set_up(void **state)
{
        struct world *w = calloc(1, sizeof(*w));

        assert_non_null(w);
        node_world_make(&w->n);
        (void)snprintf(w->oem, sizeof(w->oem), "%s/oem", w->n.w.s.path);
        (void)snprintf(w->run, sizeof(w->run), "%s/run", w->n.w.s.path);
        assert_int_equal(file_make_dirs(w->n.w.s.fd, "oem", 0700), 0);
        w->n.w.env.oem = w->oem;
        w->n.w.env.run = w->run;
        /* In this role nothing is taken from a kernel. */
        w->b = (struct boot){.env = &w->n.w.env,
                             .node = &w->n.node,
                             .report = boot_report_new(),
                             .entry = {.role = ENTRY_ROLE_RECOVERY}};
        assert_non_null(w->b.report);
        *state = w;
        return 0;
}

static int tear_down(void **state)
{
        struct world *w = *state;

        (void)json_object_put(w->report);
        boot_report_free(w->b.report);
        node_world_end(&w->n);
        free(w);
        return 0;
}

static void record(struct world *w, const char *first, const char *second)
{
        struct install_record r = {.n_encrypted = second ? 2 : 1};
        int fd = file_open_dir(AT_FDCWD, w->oem);

        (void)snprintf(r.encrypted[0], sizeof(r.encrypted[0]), "%s", first);
        (void)snprintf(r.encrypted[1], sizeof(r.encrypted[1]), "%s", second ?: "");
        assert_int_equal(install_record_write(&r, fd, NULL), 0);
        assert_int_equal(close(fd), 0);
}

/* The problems of the report, borrowed. */
static struct json_object *problems(struct world *w)
{
        struct json_object *array;

        boot_expect(&w->b);
        assert_int_equal(boot_report_write(w->b.report, &w->n.w.env, NULL), 0);
        assert_int_equal(boot_report_read(&w->n.w.env, &w->report, NULL), 0);
        assert_int_equal(json_get_array(w->report, "problems", &array), 0);
        return array;
}

static const char *text_of(struct json_object *array, size_t i)
{
        return json_object_get_string(json_object_array_get_idx(array, i));
}

static void encrypted_as_it_was_made(void **state)
{
        struct world *w = *state;

        free(node_world_luks(&w->n, "vda3"));
        record(w, "data", NULL);
        assert_int_equal(json_object_array_length(problems(w)), 0);
}

static void open_stays(void **state)
{
        struct world *w = *state;
        _cleanup_free_ char *uuid = node_world_luks(&w->n, "vda3");
        char dm_uuid[128];

        w->b.entry.role = ENTRY_ROLE_ACTIVE;
        record(w, "data", NULL);
        node_world_dm_uuid(uuid, dm_uuid, sizeof(dm_uuid));
        world_mapping(&w->n.w, "dm-0", "253:0", "data", dm_uuid);
        world_holder(&w->n.w, "vda3", "dm-0");
        assert_int_equal(json_object_array_length(problems(w)), 0);
}

/* A header that does not open says nothing about what the kernel finds around it. */
static void locked_is_withheld(void **state)
{
        struct world *w = *state;
        struct json_object *told, *partitions;

        free(node_world_luks(&w->n, "vda3"));
        w->b.entry.role = ENTRY_ROLE_ACTIVE;
        record(w, "data", NULL);
        told = problems(w);
        assert_int_equal(json_object_array_length(told), 1);
        assert_non_null(strstr(text_of(told, 0), "vda3 did not open, and is withheld"));
        /* Unlocking made a record of it: not replaced. */
        assert_int_equal(json_get_array(w->report, "partitions", &partitions), 0);
        assert_int_equal(json_object_array_length(partitions), 0);
}

static void plain_in_its_place_is_told(void **state)
{
        struct world *w = *state;
        struct json_object *told, *partitions;
        const char *error;
        bool encrypted;

        node_world_plain(&w->n, "vda3");
        record(w, "data", NULL);
        told = problems(w);
        assert_int_equal(json_object_array_length(told), 1);
        assert_non_null(strstr(text_of(told, 0), "data: "));
        assert_non_null(strstr(text_of(told, 0), "vda3 was encrypted"));
        assert_int_equal(json_get_array(w->report, "partitions", &partitions), 0);
        assert_int_equal(json_object_array_length(partitions), 1);
        partitions = json_object_array_get_idx(partitions, 0);
        assert_int_equal(json_get_bool(partitions, "encrypted", &encrypted), 0);
        assert_false(encrypted);
        assert_int_equal(json_get_str(partitions, "error", &error), 0);
        assert_string_equal(error, text_of(told, 0));
}

static void missing_is_told(void **state)
{
        struct world *w = *state;
        struct json_object *told;

        free(node_world_luks(&w->n, "vda3"));
        record(w, "data", "gone");
        told = problems(w);
        assert_int_equal(json_object_array_length(told), 1);
        assert_non_null(strstr(text_of(told, 0), "gone: the partition is missing"));
}

static void a_twin_makes_it_nobody(void **state)
{
        struct world *w = *state;

        free(node_world_luks(&w->n, "vda3"));
        node_world_partition(&w->n, "data", LAYOUT_TYPE_LINUX);
        record(w, "data", NULL);
        assert_int_equal(json_object_array_length(problems(w)), 1);
}

static void plain_ones_of_the_user_are_left_alone(void **state)
{
        struct world *w = *state;

        node_world_plain(&w->n, "vda3");
        assert_int_equal(json_object_array_length(problems(w)), 0);
}

static void a_broken_record_is_told(void **state)
{
        struct world *w = *state;
        struct json_object *told;

        node_world_plain(&w->n, "vda3");
        assert_int_equal(file_make_dirs(w->n.w.s.fd, "oem/" OEM_FILE_FOLDER, 0700), 0);
        scratch_put_text(&w->n.w.s, "oem/" OEM_FILE_INSTALL, "{}");
        told = problems(w);
        assert_int_equal(json_object_array_length(told), 1);
        assert_non_null(strstr(text_of(told, 0), "not known"));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(encrypted_as_it_was_made, set_up, tear_down),
                cmocka_unit_test_setup_teardown(open_stays, set_up, tear_down),
                cmocka_unit_test_setup_teardown(locked_is_withheld, set_up, tear_down),
                cmocka_unit_test_setup_teardown(plain_in_its_place_is_told, set_up, tear_down),
                cmocka_unit_test_setup_teardown(missing_is_told, set_up, tear_down),
                cmocka_unit_test_setup_teardown(a_twin_makes_it_nobody, set_up, tear_down),
                cmocka_unit_test_setup_teardown(plain_ones_of_the_user_are_left_alone, set_up,
                                                tear_down),
                cmocka_unit_test_setup_teardown(a_broken_record_is_told, set_up, tear_down),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
