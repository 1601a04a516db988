/* SPDX-License-Identifier: Apache-2.0 */
/* "status --boot": the report of the boot stage, passed on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agent/boot_report.h"
#include "agent/report.h"
#include "agent/status_boot.h"
#include "tests/unit/scratch.h"

struct world {
        struct scratch s;
        struct env env;
        struct json_object *document;
        struct error e;
};

static int set_up(void **state)
{
        struct world *w = calloc(1, sizeof(*w));

        assert_non_null(w);
        scratch_make(&w->s);
        w->env = (struct env)ENV_INIT;
        w->env.run = w->s.path;
        w->document = report_new("status");
        assert_non_null(w->document);
        *state = w;
        return 0;
}

static int tear_down(void **state)
{
        struct world *w = *state;

        (void)json_object_put(w->document);
        scratch_clean(&w->s);
        free(w);
        return 0;
}

static void steps_and_counts_are_told(void **state)
{
        struct world *w = *state;
        _cleanup_(boot_report_free_p) struct boot_report *report = boot_report_new();
        struct json_object *boot, *steps;
        uint64_t n, sum = 0, total;
        const char *verb;

        assert_non_null(report);
        boot_report_step(report, "modules");
        boot_report_step(report, "unlock");
        boot_report_set_u64(report, "tpm_commands", 31);
        boot_report_cost(report, BOOT_COST_TPM, 3);
        boot_report_cost(report, BOOT_COST_TPM, 4);
        boot_report_cost(report, BOOT_COST_DISK, UINT32_MAX);
        assert_int_equal(boot_report_write(report, &w->env, &w->e), 0);

        assert_int_equal(status_boot_add(&w->env, w->document, &w->e), 0);
        assert_int_equal(json_get_str(w->document, "verb", &verb), 0);
        assert_string_equal(verb, "status");
        assert_int_equal(json_get_obj(w->document, "boot", &boot), 0);
        assert_false(json_object_object_get_ex(boot, "schema", NULL));
        assert_int_equal(json_get_u64(boot, "tpm_commands", &n), 0);
        assert_int_equal(n, 31);
        assert_int_equal(json_get_array(boot, "steps", &steps), 0);
        assert_int_equal(json_object_array_length(steps), 2);
        for (size_t i = 0; i < 2; i++) {
                assert_int_equal(json_get_u64(json_object_array_get_idx(steps, i), "ms", &n), 0);
                sum += n;
        }
        assert_int_equal(json_get_u64(boot, "total_ms", &total), 0);
        assert_true(total >= sum);
        assert_int_equal(json_get_u64(boot, "tpm_ms", &n), 0);
        assert_int_equal(n, 7);
        assert_int_equal(json_get_u64(boot, "disk_ms", &n), 0);
        assert_int_equal(n, UINT32_MAX);
        assert_int_equal(json_get_u64(boot, "own_ms", &n), 0);
        assert_int_equal(n, 0); /* what was waited for is never more than all of it */
        assert_int_equal(json_get_u64(boot, "started_ms", &n), 0);
        assert_true(n > 0);
}

static void without_a_report_it_says_so(void **state)
{
        struct world *w = *state;

        assert_int_equal(status_boot_add(&w->env, w->document, &w->e), -ENOENT);
        assert_int_equal(w->e.class, ERROR_PRECONDITION);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(steps_and_counts_are_told, set_up, tear_down),
                cmocka_unit_test_setup_teardown(without_a_report_it_says_so, set_up, tear_down),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
