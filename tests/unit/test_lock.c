/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>

#include "agent/lock.h"
#include "agent/stop.h"
#include "base/json.h"
#include "tests/unit/scratch.h"

static struct scratch dir;
static struct env env = ENV_INIT;
static char boot_id[] = "c0ffee00-0000-4000-8000-000000000001\n";

static int set_up(void **state)
{
        (void)state;
        scratch_make(&dir);
        env.run = dir.path;
        env.proc = dir.path;
        assert_int_equal(file_make_dirs(dir.fd, "sys/kernel/random", 0755), 0);
        scratch_put_text(&dir, "sys/kernel/random/boot_id", boot_id);
        return 0;
}

static int tear_down(void **state)
{
        (void)state;
        scratch_clean(&dir);
        return 0;
}

/* A child that has the lock, until it is killed or the seconds are over. */
static pid_t holder(unsigned seconds)
{
        int ready[2];
        char word = 0;
        pid_t pid;

        assert_int_equal(pipe(ready), 0);
        pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
                if (lock_take(&env, "upgrade", 0, NULL) < 0 || write(ready[1], "x", 1) != 1)
                        _exit(1);
                (void)poll(NULL, 0, seconds > 0 ? (int)seconds * 1000 : -1);
                _exit(0);
        }
        assert_int_equal(read(ready[0], &word, 1), 1);
        (void)close(ready[0]);
        (void)close(ready[1]);
        return pid;
}

static void end(pid_t pid)
{
        (void)kill(pid, SIGKILL);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void file_says_who_has_it(void **state)
{
        _cleanup_close_ int lock = lock_take(&env, "bless", 0, NULL);
        _cleanup_(buf_done) struct buf text = BUF_INIT(4096);
        _cleanup_json_ struct json_object *o = NULL;
        uint64_t pid = 0, since = 0;
        const char *s;

        (void)state;
        assert_true(lock >= 0);
        assert_int_equal(file_read(dir.fd, "tb-agent/lock", &text), 0);
        assert_int_equal(json_read_text(text.data, text.len, 4096, "lock", &o, NULL), 0);
        assert_int_equal(json_get_u64(o, "pid", &pid), 0);
        assert_int_equal(pid, getpid());
        assert_int_equal(json_get_u64(o, "since", &since), 0);
        assert_true(since > 1600000000);
        assert_int_equal(json_get_str(o, "operation", &s), 0);
        assert_string_equal(s, "bless");
        assert_int_equal(json_get_str(o, "boot_id", &s), 0);
        assert_int_equal(strncmp(s, boot_id, strlen(s)), 0);
}

static void busy_names_the_holder(void **state)
{
        struct error e = ERROR_INIT;
        pid_t pid = holder(0);
        char process[32];

        (void)state;
        assert_int_equal(lock_take(&env, "bless", 0, &e), -EBUSY);
        assert_int_equal(e.class, ERROR_BUSY);
        (void)snprintf(process, sizeof(process), "upgrade, process %d,", pid);
        assert_non_null(strstr(e.text, process));
        end(pid);
}

static void lock_of_a_killed_holder_is_free(void **state)
{
        _cleanup_close_ int lock = -EBADF;

        (void)state;
        end(holder(0));
        lock = lock_take(&env, "bless", 0, NULL);
        assert_true(lock >= 0);
}

static void waiting_ends_with_the_holder(void **state)
{
        _cleanup_close_ int lock = -EBADF;
        pid_t pid = holder(1);

        (void)state;
        lock = lock_take(&env, "bless", 30, NULL);
        assert_true(lock >= 0);
        end(pid);
}

static void waiting_has_an_end(void **state)
{
        struct error e = ERROR_INIT;
        pid_t pid = holder(0);

        (void)state;
        assert_int_equal(lock_take(&env, "bless", 1, &e), -EBUSY);
        assert_non_null(strstr(e.text, "upgrade"));
        end(pid);
}

/* A signal ends the wait; in a child, because a signal that came stays noted. */
static void signal_ends_the_wait(void **state)
{
        pid_t pid = holder(0), waiter = fork();
        int status = 0;

        (void)state;
        assert_true(waiter >= 0);
        if (waiter == 0) {
                struct error e = ERROR_INIT;

                if (stop_prepare(&e) < 0 || kill(getpid(), SIGTERM) < 0)
                        _exit(1);
                _exit(lock_take(&env, "bless", 60, &e) == -ECANCELED ? (int)e.class : 1);
        }
        assert_int_equal(waitpid(waiter, &status, 0), waiter);
        assert_int_equal(WEXITSTATUS(status), ERROR_INTERRUPTED);
        end(pid);
}

/* For showing: asked of the kernel, without getting in anybody's way. */
static void holder_is_seen_without_taking_the_lock(void **state)
{
        struct env real = ENV_INIT;
        pid_t pid;

        (void)state;
        real.run = dir.path;
        assert_false(lock_is_held(&real));
        pid = holder(0);
        assert_true(lock_is_held(&real));
        end(pid);
        assert_false(lock_is_held(&real));
}

static void garbage_in_the_file_does_no_harm(void **state)
{
        struct error e = ERROR_INIT;
        pid_t pid = holder(0);

        (void)state;
        scratch_put_text(&dir, "tb-agent/lock", "\x1b[31m{\"pid\":");
        assert_int_equal(lock_take(&env, "bless", 0, &e), -EBUSY);
        assert_null(strchr(e.text, '\x1b'));
        end(pid);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(file_says_who_has_it, set_up, tear_down),
                cmocka_unit_test_setup_teardown(busy_names_the_holder, set_up, tear_down),
                cmocka_unit_test_setup_teardown(lock_of_a_killed_holder_is_free, set_up, tear_down),
                cmocka_unit_test_setup_teardown(waiting_ends_with_the_holder, set_up, tear_down),
                cmocka_unit_test_setup_teardown(waiting_has_an_end, set_up, tear_down),
                cmocka_unit_test_setup_teardown(signal_ends_the_wait, set_up, tear_down),
                cmocka_unit_test_setup_teardown(holder_is_seen_without_taking_the_lock, set_up,
                                                tear_down),
                cmocka_unit_test_setup_teardown(garbage_in_the_file_does_no_harm, set_up,
                                                tear_down),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
