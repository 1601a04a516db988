/* SPDX-License-Identifier: Apache-2.0 */
/* Folders filled from the image: complete or not there, also after a kill in the middle. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <sys/xattr.h>

#include "agent/seed.h"
#include "base/limits.h"
#include "tests/unit/scratch.h"

#define NAME "etc-ssh.bind"
#define TEMPORARY ".etc-ssh.bind.new"
#define BIG (64 * KIB)

struct world {
        struct scratch s;
        int state;
        struct error e;
};

static int set_up(void **state)
{
        struct world *w = calloc(1, sizeof(*w));

        assert_non_null(w);
        scratch_make(&w->s);
        assert_int_equal(file_make_dirs(w->s.fd, "state", 0755), 0);
        assert_int_equal(file_make_dirs(w->s.fd, "root/etc/ssh/keys", 0755), 0);
        scratch_put_text(&w->s, "root/etc/ssh/config", "a line\n");
        w->state = file_open_dir(w->s.fd, "state");
        assert_true(w->state >= 0);
        *state = w;
        return 0;
}

static int tear_down(void **state)
{
        struct world *w = *state;

        (void)close(w->state);
        scratch_clean(&w->s);
        free(w);
        return 0;
}

static int prepare(struct world *w)
{
        return seed_prepare(w->state, NAME, w->s.fd, "root/etc/ssh", &w->e);
}

static void finish(struct world *w)
{
        const char *const names[] = {NAME};

        if (seed_finish(w->state, names, 1, &w->e) < 0)
                fail_msg("%s", w->e.text);
}

static struct stat look(struct world *w, const char *path)
{
        struct stat st;

        assert_int_equal(fstatat(w->s.fd, path, &st, AT_SYMLINK_NOFOLLOW), 0);
        return st;
}

static void everything_is_copied(void **state)
{
        static const struct timespec old[2] = {{.tv_sec = 1000}, {.tv_sec = 2000, .tv_nsec = 7}};
        struct world *w = *state;
        char target[32] = "";
        struct stat st;

        assert_int_equal(fchmodat(w->s.fd, "root/etc/ssh/config", 04751, 0), 0);
        assert_int_equal(fchmodat(w->s.fd, "root/etc/ssh/keys", 01700, 0), 0);
        assert_int_equal(fchmodat(w->s.fd, "root/etc/ssh", 0711, 0), 0);
        scratch_put_text(&w->s, "root/etc/ssh/keys/one", "");
        assert_int_equal(symlinkat("/nowhere", w->s.fd, "root/etc/ssh/link"), 0);
        assert_int_equal(mkfifoat(w->s.fd, "root/etc/ssh/fifo", 0620), 0);
        assert_int_equal(utimensat(w->s.fd, "root/etc/ssh/config", old, 0), 0);

        assert_int_equal(prepare(w), 1);
        assert_false(file_exists(w->state, NAME)); /* not before it is complete and durable */
        finish(w);
        assert_false(file_exists(w->state, TEMPORARY));
        scratch_expect(&w->s, "state/" NAME "/config", "a line\n", 7);
        scratch_expect(&w->s, "state/" NAME "/keys/one", "", 0);
        st = look(w, "state/" NAME "/config");
        assert_int_equal(st.st_mode, S_IFREG | 04751);
        assert_int_equal(st.st_mtim.tv_sec, 2000);
        assert_int_equal(st.st_mtim.tv_nsec, 7);
        assert_int_equal(look(w, "state/" NAME "/keys").st_mode, S_IFDIR | 01700);
        assert_int_equal(look(w, "state/" NAME).st_mode, S_IFDIR | 0711);
        assert_true(readlinkat(w->s.fd, "state/" NAME "/link", target, sizeof(target) - 1) > 0);
        assert_string_equal(target, "/nowhere");
        assert_true(S_ISFIFO(look(w, "state/" NAME "/fifo").st_mode));
}

static void owners_are_copied(void **state)
{
        struct world *w = *state;
        struct stat st;

        if (geteuid() != 0)
                skip();
        assert_int_equal(fchownat(w->s.fd, "root/etc/ssh/config", 12, 34, 0), 0);
        assert_int_equal(fchownat(w->s.fd, "root/etc/ssh", 56, 78, 0), 0);
        assert_int_equal(symlinkat("x", w->s.fd, "root/etc/ssh/link"), 0);
        assert_int_equal(fchownat(w->s.fd, "root/etc/ssh/link", 9, 10, AT_SYMLINK_NOFOLLOW), 0);
        assert_int_equal(prepare(w), 1);
        finish(w);
        st = look(w, "state/" NAME "/config");
        assert_true(st.st_uid == 12 && st.st_gid == 34);
        st = look(w, "state/" NAME);
        assert_true(st.st_uid == 56 && st.st_gid == 78);
        st = look(w, "state/" NAME "/link");
        assert_true(st.st_uid == 9 && st.st_gid == 10);
}

static void extended_attributes_are_copied(void **state)
{
        struct world *w = *state;
        char path[128], value[16] = "";

        (void)snprintf(path, sizeof(path), "%s/root/etc/ssh/config", w->s.path);
        if (setxattr(path, "user.note", "kept", 4, 0) < 0 && errno == EOPNOTSUPP)
                skip();
        assert_int_equal(prepare(w), 1);
        finish(w);
        (void)snprintf(path, sizeof(path), "%s/state/" NAME "/config", w->s.path);
        assert_int_equal(getxattr(path, "user.note", value, sizeof(value)), 4);
        assert_string_equal(value, "kept");
}

/* What the node has is never touched again, whatever a later image brings. */
static void folder_that_is_there_stays(void **state)
{
        struct world *w = *state;

        assert_int_equal(prepare(w), 1);
        finish(w);
        scratch_put_text(&w->s, "state/" NAME "/config", "the node's\n");
        scratch_put_text(&w->s, "root/etc/ssh/more", "of a new image\n");
        assert_int_equal(prepare(w), 0);
        scratch_expect(&w->s, "state/" NAME "/config", "the node's\n", 11);
        assert_false(file_exists(w->s.fd, "state/" NAME "/more"));
}

static void folder_that_the_image_has_not_is_empty(void **state)
{
        struct world *w = *state;
        const char *const names[] = {"data.bind"};

        assert_int_equal(seed_prepare(w->state, names[0], w->s.fd, "root/data", &w->e), 1);
        assert_int_equal(seed_finish(w->state, names, 1, &w->e), 0);
        assert_int_equal(look(w, "state/data.bind").st_mode, S_IFDIR | 0755);
}

/* The kernel kills the copy when a file gets larger than the process may make: in the middle. */
static void kill_in_the_middle_leaves_nothing_behind(void **state)
{
        static uint8_t big[BIG];
        struct world *w = *state;
        int status;
        pid_t pid;

        memset(big, 'x', sizeof(big));
        scratch_put(&w->s, "root/etc/ssh/keys/big", big, sizeof(big));
        pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
                const struct rlimit limit = {BIG / 2, BIG / 2};

                (void)signal(SIGXFSZ, SIG_DFL);
                (void)setrlimit(RLIMIT_FSIZE, &limit);
                _exit(prepare(w) < 0 ? 1 : 0);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGXFSZ);
        assert_true(file_exists(w->state, TEMPORARY "/keys/big"));
        assert_false(file_exists(w->state, NAME));

        assert_int_equal(prepare(w), 1);
        finish(w);
        scratch_expect(&w->s, "state/" NAME "/keys/big", big, sizeof(big));
        assert_false(file_exists(w->state, TEMPORARY));
}

/* A cut between copy and rename: the copy may not be durable, it is made again. */
static void prepared_copy_is_not_trusted_by_the_next_run(void **state)
{
        struct world *w = *state;

        assert_int_equal(prepare(w), 1);
        scratch_put_text(&w->s, "state/" TEMPORARY "/config", "torn");
        scratch_put_text(&w->s, "state/" TEMPORARY "/stray", "");
        assert_int_equal(prepare(w), 1);
        finish(w);
        scratch_expect(&w->s, "state/" NAME "/config", "a line\n", 7);
        assert_false(file_exists(w->s.fd, "state/" NAME "/stray"));
}

static void failed_copy_is_removed(void **state)
{
        static uint8_t big[BIG];
        const struct rlimit limit = {BIG / 2, RLIM_INFINITY};
        struct world *w = *state;
        struct rlimit old;

        scratch_put(&w->s, "root/etc/ssh/big", big, sizeof(big));
        assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
        (void)signal(SIGXFSZ, SIG_IGN);
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
        assert_int_equal(prepare(w), -EFBIG);
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
        assert_false(file_exists(w->state, TEMPORARY));
        assert_false(file_exists(w->state, NAME));
}

static void what_is_no_folder_is_refused(void **state)
{
        struct world *w = *state;

        assert_int_equal(seed_prepare(w->state, NAME, w->s.fd, "root/etc/ssh/config", &w->e),
                         -ENOTDIR);
        assert_int_equal(symlinkat("ssh", w->s.fd, "root/etc/link"), 0);
        assert_int_equal(seed_prepare(w->state, NAME, w->s.fd, "root/etc/link", &w->e), -ENOTDIR);
        scratch_put_text(&w->s, "state/" NAME, "a file");
        assert_int_equal(prepare(w), -ENOTDIR);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(everything_is_copied, set_up, tear_down),
                cmocka_unit_test_setup_teardown(owners_are_copied, set_up, tear_down),
                cmocka_unit_test_setup_teardown(extended_attributes_are_copied, set_up, tear_down),
                cmocka_unit_test_setup_teardown(folder_that_is_there_stays, set_up, tear_down),
                cmocka_unit_test_setup_teardown(folder_that_the_image_has_not_is_empty, set_up,
                                                tear_down),
                cmocka_unit_test_setup_teardown(kill_in_the_middle_leaves_nothing_behind, set_up,
                                                tear_down),
                cmocka_unit_test_setup_teardown(prepared_copy_is_not_trusted_by_the_next_run,
                                                set_up, tear_down),
                cmocka_unit_test_setup_teardown(failed_copy_is_removed, set_up, tear_down),
                cmocka_unit_test_setup_teardown(what_is_no_folder_is_refused, set_up, tear_down),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
