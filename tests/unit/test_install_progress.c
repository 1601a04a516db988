/* SPDX-License-Identifier: Apache-2.0 */
/* The lines that a front end of an installation reads: their order, each step once, the end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/install_progress.h"
#include "base/file.h"

static int old_stdout, old_stderr, out;

/* What is said ends in a file. */
static int set_up(void **state)
{
        char path[] = "/tmp/tb-test-progress.XXXXXX";

        (void)state;
        (void)fflush(stdout);
        out = mkstemp(path);
        assert_true(out >= 0);
        (void)unlink(path);
        old_stdout = dup(STDOUT_FILENO);
        old_stderr = dup(STDERR_FILENO);
        assert_true(dup2(out, STDOUT_FILENO) >= 0);
        assert_true(dup2(open("/dev/null", O_WRONLY | O_CLOEXEC), STDERR_FILENO) >= 0);
        return 0;
}

static int tear_down(void **state)
{
        (void)state;
        (void)fflush(stdout);
        assert_true(dup2(old_stdout, STDOUT_FILENO) >= 0);
        assert_true(dup2(old_stderr, STDERR_FILENO) >= 0);
        close(old_stdout);
        close(old_stderr);
        close(out);
        return 0;
}

static void run(const struct error *e)
{
        _cleanup_(install_progress_free_p) struct install_progress *p =
                install_progress_new(false, 0, NULL, NULL);

        assert_non_null(p);
        for (unsigned i = 0; i < INSTALL_STEP_MAX; i++) {
                install_progress_step(p, (enum install_step)i, NULL, 1000);
                install_progress_bytes(p, 500);
        }
        install_progress_end(p, e);
}

static void expect(const char *said)
{
        char text[2048] = "";
        ssize_t n = pread(out, text, sizeof(text) - 1, 0);

        assert_true(n >= 0);
        assert_string_equal(text, said);
}

#define STEP(s) "{\"event\":\"step\",\"step\":\"" s "\"}\n"
#define STEPS                                                                                      \
        STEP("partition") STEP("active") STEP("recovery") STEP("passive") STEP("after-install")

static void test_installers_of_kairos(void **state)
{
        (void)state;
        assert_int_equal(setenv("KAIROS_AGENT_PROGRESS", "1", 1), 0);
        run(NULL);
        expect(STEPS STEP("done"));
}

static void test_failure(void **state)
{
        struct error e = ERROR_INIT;

        (void)state;
        assert_int_equal(setenv("KAIROS_AGENT_PROGRESS", "1", 1), 0);
        error_set(&e, ERROR_IO, EIO, "the \"disk\" is gone");
        run(&e);
        expect(STEPS "{\"event\":\"error\",\"message\":\"the \\\"disk\\\" is gone\"}\n");
}

static void test_nobody_asked(void **state)
{
        (void)state;
        assert_int_equal(setenv("KAIROS_AGENT_PROGRESS", "", 1), 0);
        run(NULL);
        expect("");
        install_progress_step(NULL, INSTALL_STEP_OEM, "x", 0);
        install_progress_bytes(NULL, 1);
        install_progress_end(NULL, NULL);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
        const struct CMUnitTest tests[] = {
                CASE(test_installers_of_kairos),
                CASE(test_failure),
                CASE(test_nobody_asked),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
