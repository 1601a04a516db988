/* SPDX-License-Identifier: Apache-2.0 */
#include "image/output.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "image/epoch.h"
#include "tests/unit/scratch.h"

static struct scratch dir;
static char path[128];

static int set_up(void **state)
{
        (void)state;
        scratch_make(&dir);
        (void)snprintf(path, sizeof(path), "%s/out", dir.path);
        return 0;
}

static int tear_down(void **state)
{
        (void)state;
        scratch_clean(&dir);
        return 0;
}

static unsigned count_files(void)
{
        DIR *d = opendir(dir.path);
        unsigned n = 0;

        assert_non_null(d);
        while (readdir(d))
                n++;
        assert_int_equal(closedir(d), 0);
        return n - 2; /* "." and ".." */
}

static void test_commit(void **state)
{
        _cleanup_(output_free_p) struct output *o = NULL;

        (void)state;
        scratch_put_text(&dir, "out", "old");
        assert_int_equal(output_open(path, &o, NULL), 0);
        assert_int_equal(file_write(output_fd(o), "new", 3), 0);
        scratch_expect(&dir, "out", "old", 3);
        assert_int_equal(output_commit(o, NULL), 0);
        output_free_p(&o);
        scratch_expect(&dir, "out", "new", 3);
        assert_int_equal(count_files(), 1);
}

static void test_abandon(void **state)
{
        struct output *o = NULL;

        (void)state;
        scratch_put_text(&dir, "out", "old");
        assert_int_equal(output_open(path, &o, NULL), 0);
        assert_int_equal(file_write(output_fd(o), "new", 3), 0);
        output_free(o);
        scratch_expect(&dir, "out", "old", 3);
        assert_int_equal(count_files(), 1);
}

static void test_bad_paths(void **state)
{
        struct output *o = NULL;
        struct error e = ERROR_INIT;

        (void)state;
        assert_int_equal(output_open("/nonexistent/x", &o, &e), -ENOENT);
        assert_int_equal(output_open("/tmp/", &o, &e), -EISDIR);
        assert_null(o);
}

static void test_epoch(void **state)
{
        uint64_t v = 0;
        struct error e = ERROR_INIT;

        (void)state;
        assert_int_equal(unsetenv("SOURCE_DATE_EPOCH"), 0);
        assert_int_equal(epoch_get(7, &v, NULL), 0);
        assert_int_equal(v, 7);
        assert_int_equal(setenv("SOURCE_DATE_EPOCH", "1700000000", 1), 0);
        assert_int_equal(epoch_get(7, &v, NULL), 0);
        assert_int_equal(v, 1700000000);
        assert_int_equal(setenv("SOURCE_DATE_EPOCH", "yesterday", 1), 0);
        assert_int_equal(epoch_get(7, &v, &e), -EINVAL);
        assert_int_equal(e.class, ERROR_CONFIG);
        assert_int_equal(unsetenv("SOURCE_DATE_EPOCH"), 0);
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_commit, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_abandon, set_up, tear_down),
                cmocka_unit_test(test_bad_paths),
                cmocka_unit_test(test_epoch),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
