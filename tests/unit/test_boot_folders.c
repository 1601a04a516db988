/* SPDX-License-Identifier: Apache-2.0 */
/* What the user adds to the folders of a node, and what other programs are told about them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agent/boot_folders.h"
#include "agent/oem_file.h"
#include "base/limits.h"
#include "base/log.h"
#include "tests/unit/scratch.h"

#define FILE_NAME "oem/" OEM_FILE_MOUNTS

static const struct boot_data all = {.oem = true, .persistent = true};

struct world {
        struct scratch s;
        struct env env;
        char oem[96];
        struct boot_report *report;
        struct boot_layout layout;
        struct error e;
};

static int set_up(void **state)
{
        struct world *w = calloc(1, sizeof(*w));

        assert_non_null(w);
        scratch_make(&w->s);
        (void)snprintf(w->oem, sizeof(w->oem), "%s/oem", w->s.path);
        assert_int_equal(file_make_dirs(w->s.fd, "oem/tb-agent", 0755), 0);
        w->env = (struct env)ENV_INIT;
        w->env.run = w->s.path;
        w->env.oem = w->oem;
        w->report = boot_report_new();
        assert_non_null(w->report);
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

static void plan(struct world *w, struct boot_data data)
{
        if (boot_folders_plan(&w->env, data, w->report, &w->layout, &w->e) < 0)
                fail_msg("%s", w->e.text);
}

/* 'b' bound, 'e' ephemeral, '-' neither. */
static int kind(struct world *w, const char *path)
{
        for (size_t i = 0; i < w->layout.n; i++) {
                if (strcmp(w->layout.mounts[i].path.text, path) == 0)
                        return w->layout.mounts[i].bind ? 'b' : 'e';
        }
        return '-';
}

/* The only problem there is; NULL when there is none. Freed by the caller. */
static char *only_problem(struct world *w)
{
        _cleanup_json_ struct json_object *root = NULL;
        struct json_object *list;

        assert_int_equal(boot_report_write(w->report, &w->env, &w->e), 0);
        assert_int_equal(boot_report_read(&w->env, &root, &w->e), 0);
        assert_int_equal(json_get_array(root, "problems", &list), 0);
        if (json_object_array_length(list) == 0)
                return NULL;
        assert_int_equal(json_object_array_length(list), 1);
        return strdup(json_object_get_string(json_object_array_get_idx(list, 0)));
}

static void additions_are_taken(void **state)
{
        struct world *w = *state;

        scratch_put_text(&w->s, FILE_NAME, "{\"bind\":[\"/data\"],\"ephemeral\":[\"/scratch\"]}\n");
        plan(w, all);
        assert_int_equal(kind(w, "/data"), 'b');
        assert_int_equal(kind(w, "/scratch"), 'e');
        assert_null(only_problem(w));
}

static void no_file_means_defaults(void **state)
{
        struct world *w = *state;

        plan(w, all);
        assert_int_equal(kind(w, "/home"), 'b');
        assert_null(only_problem(w));
}

/* The same file on a node whose OEM partition is not mounted is somebody else's. */
static void without_oem_nothing_is_read(void **state)
{
        struct world *w = *state;

        scratch_put_text(&w->s, FILE_NAME, "{\"bind\":[\"/data\"]}");
        plan(w, (struct boot_data){.persistent = true});
        assert_int_equal(kind(w, "/data"), '-');
}

static void bad_file_is_a_problem_and_means_defaults(void **state)
{
        static const char *const bad[] = {"nonsense", "{\"bind\":[\"/data\"],\"x\":[]}"};
        struct world *w = *state;
        size_t defaults;

        plan(w, all);
        defaults = w->layout.n;
        for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
                _cleanup_free_ char *text = NULL;

                boot_report_free(w->report);
                w->report = boot_report_new();
                scratch_put_text(&w->s, FILE_NAME, bad[i]);
                plan(w, all);
                text = only_problem(w);
                assert_non_null(text);
                assert_non_null(strstr(text, "folders of the user are ignored"));
                assert_int_equal(w->layout.n, defaults);
                assert_int_equal(kind(w, "/data"), '-');
        }
}

/* Else a slip in one would hide the data of all the others for a boot. */
static void bad_path_is_left_out_and_the_others_are_not(void **state)
{
        static const struct {
                const char *text, *problem;
        } bad[] = {
                {"{\"bind\":[\"/proc\",\"/data\"]}", "/proc"},
                {"{\"bind\":[\"/data\",\"../etc\"]}", "../etc"},
                {"{\"bind\":[\"/data\",\"/etc\"]}", "/etc"},
                {"{\"bind\":[\"/data\",\"/a/b\",\"/a-b\"]}", "share one place"},
                {"{\"bind\":[\"/data\"],\"ephemeral\":[\"/data\"]}", "both"},
        };
        struct world *w = *state;

        for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
                _cleanup_free_ char *text = NULL;

                boot_report_free(w->report);
                w->report = boot_report_new();
                scratch_put_text(&w->s, FILE_NAME, bad[i].text);
                plan(w, all);
                text = only_problem(w);
                assert_non_null(text);
                assert_non_null(strstr(text, bad[i].problem));
                assert_int_equal(kind(w, "/data"), 'b');
        }
}

static void what_is_no_small_file_is_a_problem(void **state)
{
        struct world *w = *state;
        _cleanup_free_ char *large = calloc(1, LIMIT_SMALL_FILE + 1), *text = NULL;

        assert_non_null(large);
        assert_int_equal(mkfifoat(w->s.fd, FILE_NAME, 0600), 0);
        plan(w, all);
        text = only_problem(w);
        assert_non_null(text);

        boot_report_free(w->report);
        w->report = boot_report_new();
        assert_int_equal(unlinkat(w->s.fd, FILE_NAME, 0), 0);
        memset(large, ' ', LIMIT_SMALL_FILE + 1);
        scratch_put(&w->s, FILE_NAME, large, LIMIT_SMALL_FILE + 1);
        plan(w, all);
        free(text);
        text = only_problem(w);
        assert_non_null(text);
}

static void programs_are_told_in_the_words_of_kairos(void **state)
{
        static const char end[] = "PERSISTENT_STATE_TARGET=\"/usr/local/.state\"\n"
                                  "PERSISTENT_STATE_BIND=\"true\"\n";
        static const char begin[] = "VOLUMES=\"LABEL=COS_PERSISTENT:/usr/local\"\n"
                                    "OVERLAY=\"tmpfs:25%\"\n"
                                    "RW_PATHS=\"/etc /opt /scratch /srv /var\"\n"
                                    "PERSISTENT_STATE_PATHS=\"/data /etc/cni ";
        struct world *w = *state;
        _cleanup_(buf_done) struct buf text = BUF_INIT(LIMIT_SMALL_FILE);

        scratch_put_text(&w->s, FILE_NAME, "{\"bind\":[\"/data\"],\"ephemeral\":[\"/scratch\"]}");
        plan(w, all);
        assert_int_equal(boot_folders_write_env(&w->env, &w->layout, all, &w->e), 0);
        assert_int_equal(file_read(w->s.fd, "cos/cos-layout.env", &text), 0);
        assert_memory_equal(text.data, begin, sizeof(begin) - 1);
        assert_non_null(strstr(buf_str(&text), " /var/log "));
        assert_string_equal(buf_str(&text) + text.len - (sizeof(end) - 1), end);
}

static void without_persistent_only_overlays_are_told(void **state)
{
        static const char begin[] = "OVERLAY=\"tmpfs:25%\"\nRW_PATHS=\"/etc /home ";
        const struct boot_data data = {.oem = true};
        struct world *w = *state;
        _cleanup_(buf_done) struct buf text = BUF_INIT(LIMIT_SMALL_FILE);

        plan(w, data);
        assert_int_equal(boot_folders_write_env(&w->env, &w->layout, data, &w->e), 0);
        assert_int_equal(file_read(w->s.fd, "cos/cos-layout.env", &text), 0);
        assert_memory_equal(text.data, begin, sizeof(begin) - 1);
        assert_null(strstr(buf_str(&text), "PERSISTENT"));
        assert_non_null(strstr(buf_str(&text), " /usr/local "));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(additions_are_taken, set_up, tear_down),
                cmocka_unit_test_setup_teardown(no_file_means_defaults, set_up, tear_down),
                cmocka_unit_test_setup_teardown(without_oem_nothing_is_read, set_up, tear_down),
                cmocka_unit_test_setup_teardown(bad_file_is_a_problem_and_means_defaults, set_up,
                                                tear_down),
                cmocka_unit_test_setup_teardown(bad_path_is_left_out_and_the_others_are_not, set_up,
                                                tear_down),
                cmocka_unit_test_setup_teardown(what_is_no_small_file_is_a_problem, set_up,
                                                tear_down),
                cmocka_unit_test_setup_teardown(programs_are_told_in_the_words_of_kairos, set_up,
                                                tear_down),
                cmocka_unit_test_setup_teardown(without_persistent_only_overlays_are_told, set_up,
                                                tear_down),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
