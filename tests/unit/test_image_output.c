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

static mode_t mode_of(const char *name)
{
        struct stat st;

        assert_int_equal(fstatat(dir.fd, name, &st, AT_SYMLINK_NOFOLLOW), 0);
        return st.st_mode;
}

static void test_permissions_stay(void **state)
{
        static const mode_t modes[] = {0600, 0640, 0444, 0755};
        mode_t mask = umask(022);

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(modes); i++) {
                _cleanup_(output_free_p) struct output *o = NULL;

                (void)unlinkat(dir.fd, "out", 0);
                scratch_put_text(&dir, "out", "old");
                assert_int_equal(fchmodat(dir.fd, "out", modes[i], 0), 0);
                assert_int_equal(output_open(path, &o, NULL), 0);
                assert_int_equal(output_commit(o, NULL), 0);
                assert_int_equal(mode_of("out"), S_IFREG | modes[i]);
        }
        {
                _cleanup_(output_free_p) struct output *o = NULL;

                assert_int_equal(unlinkat(dir.fd, "out", 0), 0);
                assert_int_equal(output_open(path, &o, NULL), 0);
                assert_int_equal(output_commit(o, NULL), 0);
                assert_int_equal(mode_of("out"), S_IFREG | 0644);
        }
        (void)umask(mask);
}

static void make_target(int code)
{
        if (code == ELOOP)
                assert_int_equal(symlinkat("elsewhere", dir.fd, "out"), 0);
        else if (code == EEXIST)
                assert_int_equal(mkfifoat(dir.fd, "out", 0600), 0);
        else
                assert_int_equal(mkdirat(dir.fd, "out", 0700), 0);
}

/* Neither at the start nor, when it came meanwhile, at the end. */
static void test_only_files_are_replaced(void **state)
{
        static const int codes[] = {ELOOP, EEXIST, EISDIR};

        (void)state;
        scratch_put_text(&dir, "elsewhere", "kept");
        for (size_t i = 0; i < ARRAY_SIZE(codes); i++) {
                _cleanup_(output_free_p) struct output *o = NULL;
                struct error e = ERROR_INIT;
                mode_t before;

                assert_int_equal(output_open(path, &o, NULL), 0);
                make_target(codes[i]);
                before = mode_of("out");
                assert_int_equal(output_commit(o, &e), -codes[i]);
                assert_int_equal(e.class, ERROR_CONFIG);
                output_free_p(&o);
                error_clear(&e);
                assert_int_equal(output_open(path, &o, &e), -codes[i]);
                assert_int_equal(e.class, ERROR_CONFIG);
                assert_null(o);
                assert_int_equal(mode_of("out"), before);
                assert_int_equal(unlinkat(dir.fd, "out", codes[i] == EISDIR ? AT_REMOVEDIR : 0), 0);
        }
        scratch_expect(&dir, "elsewhere", "kept", 4);
        assert_int_equal(count_files(), 1);
}

static void test_bad_paths(void **state)
{
        struct output *o = NULL;
        struct error e = ERROR_INIT;

        (void)state;
        assert_int_equal(output_open("/nonexistent/x", &o, &e), -ENOENT);
        assert_int_equal(e.class, ERROR_CONFIG);
        assert_int_equal(output_open("/tmp/", &o, &e), -EISDIR);
        assert_int_equal(e.class, ERROR_CONFIG);
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
                cmocka_unit_test_setup_teardown(test_permissions_stay, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_only_files_are_replaced, set_up, tear_down),
                cmocka_unit_test(test_bad_paths),
                cmocka_unit_test(test_epoch),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
