/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "agent/health.h"
#include "base/file.h"
#include "base/log.h"
#include "base/spawn.h"

struct folders {
        char root[32];
        char a[64], b[64], missing[64];
        const char *dirs[4];
};

static int set_up(void **state)
{
        struct folders *f = calloc(1, sizeof(*f));

        assert_non_null(f);
        (void)snprintf(f->root, sizeof(f->root), "/tmp/tb-health-XXXXXX");
        assert_non_null(mkdtemp(f->root));
        (void)snprintf(f->a, sizeof(f->a), "%s/a", f->root);
        (void)snprintf(f->b, sizeof(f->b), "%s/b", f->root);
        (void)snprintf(f->missing, sizeof(f->missing), "%s/missing", f->root);
        assert_int_equal(mkdir(f->a, 0755), 0);
        assert_int_equal(mkdir(f->b, 0755), 0);
        f->dirs[0] = f->a;
        f->dirs[1] = f->missing;
        f->dirs[2] = f->b;
        log_set_level(LOG_LEVEL_ERROR);
        *state = f;
        return 0;
}

static int tear_down(void **state)
{
        struct folders *f = *state;
        const char *const argv[] = {"rm", "-rf", f->root, NULL};
        struct error e = ERROR_INIT;

        assert_int_equal(spawn_check(argv, 10, &e), 0);
        free(f);
        return 0;
}

static void script(const char *dir, const char *name, const char *body, mode_t mode)
{
        char path[128], text[256];
        int n;

        (void)snprintf(path, sizeof(path), "%s/%s", dir, name);
        n = snprintf(text, sizeof(text), "#!/bin/sh\n%s\n", body);
        assert_int_equal(file_write_volatile(AT_FDCWD, path, text, (size_t)n, mode), 0);
}

static void no_checks_is_healthy(void **state)
{
        struct folders *f = *state;
        struct error e = ERROR_INIT;
        unsigned run = 7;

        assert_int_equal(health_check(f->dirs, &run, &e), 0);
        assert_int_equal(run, 0);
}

static void checks_run_in_order_of_folder_and_name(void **state)
{
        struct folders *f = *state;
        _cleanup_(buf_done) struct buf log = BUF_INIT(100);
        struct error e = ERROR_INIT;
        char body[128], path[64];
        unsigned run;

        (void)snprintf(path, sizeof(path), "%s/log", f->root);
        (void)snprintf(body, sizeof(body), "echo ${0##*/} >> %s", path);
        script(f->b, "05-later-folder", body, 0755);
        script(f->a, "20-second", body, 0755);
        script(f->a, "10-first", body, 0755);
        script(f->a, ".hidden", body, 0755);
        assert_int_equal(health_check(f->dirs, &run, &e), 0);
        assert_int_equal(run, 3);
        assert_int_equal(file_read(AT_FDCWD, path, &log), 0);
        assert_string_equal(buf_str(&log), "10-first\n20-second\n05-later-folder\n");
}

static void first_failure_ends_it_and_is_quoted(void **state)
{
        struct folders *f = *state;
        struct error e = ERROR_INIT;
        char body[128];
        unsigned run;

        script(f->a, "10-good", "exit 0", 0755);
        script(f->a, "20-bad", "echo disk is on fire; exit 3", 0755);
        (void)snprintf(body, sizeof(body), "touch %s/reached", f->root);
        script(f->a, "30-never", body, 0755);
        assert_int_equal(health_check(f->dirs, &run, &e), -EHEALTH);
        assert_int_equal(run, 1);
        assert_int_equal(e.class, ERROR_PRECONDITION);
        assert_non_null(strstr(e.text, "20-bad"));
        assert_non_null(strstr(e.text, "disk is on fire"));
        assert_true(*e.advice);
        (void)snprintf(body, sizeof(body), "%s/reached", f->root);
        assert_false(file_exists(AT_FDCWD, body));
}

static void what_cannot_run_has_not_passed(void **state)
{
        struct folders *f = *state;
        struct error e = ERROR_INIT;
        char path[128];
        unsigned run;

        script(f->a, "10-not-executable", "exit 0", 0644);
        assert_int_equal(health_check(f->dirs, &run, &e), -EHEALTH);
        (void)snprintf(path, sizeof(path), "%s/10-not-executable", f->a);
        assert_int_equal(unlink(path), 0);
        (void)snprintf(path, sizeof(path), "%s/10-dangling", f->a);
        assert_int_equal(symlink("/nonexistent", path), 0);
        assert_int_equal(health_check(f->dirs, &run, &e), -EHEALTH);
        assert_non_null(strstr(e.text, "10-dangling"));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(no_checks_is_healthy, set_up, tear_down),
                cmocka_unit_test_setup_teardown(checks_run_in_order_of_folder_and_name, set_up,
                                                tear_down),
                cmocka_unit_test_setup_teardown(what_cannot_run_has_not_passed, set_up, tear_down),
                cmocka_unit_test_setup_teardown(first_failure_ends_it_and_is_quoted, set_up,
                                                tear_down),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
