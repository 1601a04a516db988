/* SPDX-License-Identifier: Apache-2.0 */
#include "base/spawn.h"

#include <setjmp.h>
#include <stdarg.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/limits.h"
#include "tests/unit/scratch.h"

static int64_t now_ms(void)
{
        struct timespec t;

        (void)clock_gettime(CLOCK_MONOTONIC, &t);
        return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static int shell(const char *script, unsigned seconds, struct buf *output, struct spawn_result *ret)
{
        const char *const argv[] = {"sh", "-c", script, NULL};

        return spawn_run(argv, seconds, output, ret, NULL);
}

static void test_status(void **state)
{
        static const struct {
                const char *script;
                int status, signal;
        } table[] = {
                {"exit 0", 0, 0},
                {"exit 1", 1, 0},
                {"exit 255", 255, 0},
                {"kill -TERM $$", -1, SIGTERM},
                {"kill -KILL $$", -1, SIGKILL},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
                struct spawn_result res = {.status = 99};

                assert_int_equal(shell(table[i].script, 10, NULL, &res), 0);
                assert_int_equal(res.status, table[i].status);
                assert_int_equal(res.signal, table[i].signal);
                assert_false(res.timed_out);
        }
}

static void test_not_found(void **state)
{
        const char *const argv[] = {"tb-no-such-program", NULL};
        struct spawn_result res;
        struct error e = ERROR_INIT;

        (void)state;
        assert_int_equal(spawn_run(argv, 10, NULL, &res, &e), 0);
        assert_int_equal(res.status, 127);
        assert_int_equal(spawn_check(argv, 10, &e), -ENOENT);
        assert_int_equal(e.class, ERROR_PRECONDITION);
        assert_non_null(strstr(e.text, "tb-no-such-program"));
}

static void test_output(void **state)
{
        _cleanup_(buf_done) struct buf out = BUF_INIT(1000), cut = BUF_INIT(10);
        struct spawn_result res;

        (void)state;
        assert_int_equal(shell("echo one; echo two >&2", 10, &out, &res), 0);
        assert_string_equal(buf_str(&out), "one\ntwo\n");
        /* More than is kept, and more than a pipe holds: cut, and the child ends by itself. */
        assert_int_equal(shell("yes 0123456789 | head -c 300000; exit 5", 10, &cut, &res), 0);
        assert_int_equal(res.status, 5);
        assert_string_equal(buf_str(&cut), "0123456789");
}

/* Nobody holds the pipe open or answers a signal: the group dies at the limit, and we go on. */
static void test_timeout(void **state)
{
        static const char *const scripts[] = {
                "sleep 100",
                "trap '' TERM INT HUP; while :; do sleep 100; done",
                "exec >/dev/null 2>&1; sleep 100", /* output closed: the end is no end of file */
                "sleep 100 & sleep 100 & wait",
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(scripts); i++) {
                struct spawn_result res = {0};
                int64_t start = now_ms();

                assert_int_equal(shell(scripts[i], 1, NULL, &res), 0);
                assert_true(res.timed_out);
                assert_int_equal(res.status, -1);
                assert_int_equal(res.signal, SIGKILL);
                assert_in_range(now_ms() - start, 900, 3000);
        }
}

static bool gone(pid_t pid)
{
        /* A killed process stays a zombie until its new parent has reaped it. */
        char path[64];
        _cleanup_(buf_done) struct buf stat = BUF_INIT(4096);
        const char *p;

        (void)snprintf(path, sizeof(path), "/proc/%d/stat", pid);
        if (file_read(AT_FDCWD, path, &stat) < 0)
                return true;
        p = strrchr(buf_str(&stat), ')');
        return p && p[1] && (p[2] == 'Z' || p[2] == 'X');
}

static void test_timeout_kills_group(void **state)
{
        _cleanup_(buf_done) struct buf out = BUF_INIT(100);
        struct spawn_result res;
        pid_t child = 0;
        int64_t start;

        (void)state;
        assert_int_equal(shell("sleep 100 & echo $!; wait", 1, &out, &res), 0);
        assert_true(res.timed_out);
        for (size_t i = 0; i < out.len && isdigit(out.data[i]); i++)
                child = child * 10 + (out.data[i] - '0');
        assert_true(child > 1);
        for (start = now_ms(); !gone(child) && now_ms() - start < 2000;)
                (void)sched_yield();
        assert_true(gone(child));
}

static void test_descriptors(void **state)
{
        _cleanup_(buf_done) struct buf out = BUF_INIT(1000);
        _cleanup_close_ int leak = open("/dev/null", O_RDONLY); /* without close-on-exec */
        _cleanup_close_ int high = fcntl(leak, F_DUPFD, 77);
        struct spawn_result res;

        (void)state;
        assert_true(leak > 2 && high >= 77);
        /* The listing itself holds one descriptor: 3. */
        assert_int_equal(shell("ls /proc/self/fd", 10, &out, &res), 0);
        assert_string_equal(buf_str(&out), "0\n1\n2\n3\n");
        buf_reset(&out);
        /* Standard input is empty, not ours. */
        assert_int_equal(shell("cat; readlink /proc/self/fd/0", 10, &out, &res), 0);
        assert_string_equal(buf_str(&out), "/dev/null\n");
}

static void test_environment(void **state)
{
        const char *const argv[] = {"env", NULL};
        _cleanup_(buf_done) struct buf out = BUF_INIT(1000);
        struct spawn_result res;

        (void)state;
        assert_int_equal(setenv("LD_PRELOAD_OF_TEST", "x", 1), 0);
        assert_int_equal(spawn_run(argv, 10, &out, &res, NULL), 0);
        assert_string_equal(buf_str(&out), "PATH=/usr/sbin:/usr/bin:/sbin:/bin\nLC_ALL=C\n");
        assert_string_equal(getenv("LD_PRELOAD_OF_TEST"), "x"); /* ours is as it was */
}

static void test_arguments(void **state)
{
        const char *const argv[] = {"printf", "%s|", "a b", "$HOME", "`id`", "", "*", NULL};
        _cleanup_(buf_done) struct buf out = BUF_INIT(1000);
        struct spawn_result res;

        (void)state;
        assert_int_equal(spawn_run(argv, 10, &out, &res, NULL), 0);
        assert_string_equal(buf_str(&out), "a b|$HOME|`id`||*|");
}

static void test_signals(void **state)
{
        struct spawn_result res;
        sigset_t blocked, old;

        (void)state;
        (void)sigemptyset(&blocked);
        (void)sigaddset(&blocked, SIGTERM);
        (void)sigprocmask(SIG_BLOCK, &blocked, &old);
        (void)signal(SIGPIPE, SIG_IGN);
        assert_int_equal(shell("kill -TERM $$; exit 3", 10, NULL, &res), 0);
        assert_int_equal(res.signal, SIGTERM);
        assert_int_equal(shell("kill -PIPE $$; exit 3", 10, NULL, &res), 0);
        assert_int_equal(res.signal, SIGPIPE);
        (void)signal(SIGPIPE, SIG_DFL);
        (void)sigprocmask(SIG_SETMASK, &old, NULL);
}

static void test_check(void **state)
{
        const char *const good[] = {"true", NULL};
        const char *const bad[] = {"sh", "-c", "echo first; echo the reason; echo; exit 4", NULL};
        const char *const killed[] = {"sh", "-c", "kill -SEGV $$", NULL};
        const char *const slow[] = {"sleep", "100", NULL};
        struct error e = ERROR_INIT;

        (void)state;
        assert_int_equal(spawn_check(good, 10, &e), 0);
        assert_int_equal(spawn_check(bad, 10, &e), -EIO);
        assert_string_equal(e.text, "sh failed (status 4): the reason");
        assert_int_equal(e.class, ERROR_IO);
        assert_int_equal(spawn_check(killed, 10, &e), -EIO);
        assert_non_null(strstr(e.text, "signal 11"));
        assert_int_equal(spawn_check(slow, 1, &e), -ETIMEDOUT);
        assert_non_null(strstr(e.text, "1 seconds"));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_status),
                cmocka_unit_test(test_not_found),
                cmocka_unit_test(test_output),
                cmocka_unit_test(test_timeout),
                cmocka_unit_test(test_timeout_kills_group),
                cmocka_unit_test(test_descriptors),
                cmocka_unit_test(test_environment),
                cmocka_unit_test(test_arguments),
                cmocka_unit_test(test_signals),
                cmocka_unit_test(test_check),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
