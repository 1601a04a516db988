/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "agent/root.h"
#include "tests/unit/scratch.h"

static struct scratch dir;
static const struct env ordinary = ENV_INIT;

static int set_up(void **state)
{
        static const char *const folders[] = {"sys", "proc", "dev", "run"};

        (void)state;
        scratch_make(&dir);
        for (size_t i = 0; i < ARRAY_SIZE(folders); i++)
                assert_int_equal(file_make_dirs(dir.fd, folders[i], 0755), 0);
        return 0;
}

static int tear_down(void **state)
{
        (void)state;
        scratch_clean(&dir);
        return 0;
}

static void assert_below(const char *path, const char *expected)
{
        size_t n = strlen(dir.path);

        assert_int_equal(strncmp(path, dir.path, n), 0);
        assert_string_equal(path + n, expected);
}

static void every_path_moves(void **state)
{
        _cleanup_(root_done) struct root root = {.n = 0};
        char folder[80];

        (void)state;
        (void)snprintf(folder, sizeof(folder), "%s//", dir.path);
        assert_int_equal(root_make(&ordinary, folder, NULL, &root, NULL), 0);
        assert_below(root.env.root, "");
        assert_below(root.env.efivarfs, "/sys/firmware/efi/efivars");
        assert_below(root.env.sysfs, "/sys");
        assert_below(root.env.proc, "/proc");
        assert_below(root.env.dev, "/dev");
        assert_below(root.env.run, "/run");
        assert_below(root.env.extra, "/.extra");
        assert_below(root.env.oem, "/oem");
        assert_below(root.env.persistent, "/usr/local");
        assert_int_equal(strncmp(root.env.tcti, "device:/tmp/", 12), 0);
        assert_below(root.env.tcti + 7, "/dev/tpmrm0");
}

static void own_root_stays_as_it_is(void **state)
{
        static const char *const same[] = {NULL, "/", "//"};

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(same); i++) {
                _cleanup_(root_done) struct root root = {.n = 0};

                assert_int_equal(root_make(&ordinary, same[i], NULL, &root, NULL), 0);
                assert_memory_equal(&root.env, &ordinary, sizeof(ordinary));
        }
}

static void named_tpm_is_the_callers(void **state)
{
        _cleanup_(root_done) struct root root = {.n = 0};

        (void)state;
        assert_int_equal(root_make(&ordinary, dir.path, "device:/dev/tpm7", &root, NULL), 0);
        assert_string_equal(root.env.tcti, "device:/dev/tpm7");
}

static void what_is_no_root_is_refused(void **state)
{
        struct root root = {.n = 0};
        struct error e = ERROR_INIT;

        (void)state;
        assert_int_equal(root_make(&ordinary, "", NULL, &root, &e), -EINVAL);
        assert_int_equal(root_make(&ordinary, "host", NULL, &root, &e), -EINVAL);
        assert_int_equal(root_make(&ordinary, "/nonexistent", NULL, &root, &e), -EINVAL);
        assert_int_equal(e.class, ERROR_USAGE);
        assert_int_equal(unlinkat(dir.fd, "run", AT_REMOVEDIR), 0);
        assert_int_equal(root_make(&ordinary, dir.path, NULL, &root, &e), -ENOENT);
        assert_int_equal(e.class, ERROR_PRECONDITION);
        assert_non_null(strstr(e.text, "/run"));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(every_path_moves, set_up, tear_down),
                cmocka_unit_test_setup_teardown(own_root_stays_as_it_is, set_up, tear_down),
                cmocka_unit_test_setup_teardown(named_tpm_is_the_callers, set_up, tear_down),
                cmocka_unit_test_setup_teardown(what_is_no_root_is_refused, set_up, tear_down),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
