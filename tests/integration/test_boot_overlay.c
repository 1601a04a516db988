/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Folders laid over /usr, for real: in a process with a mount name space and a root in memory of
 * its own. Needs the right to mount; skipped without it.
 */
#include "agent/boot_overlay.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <sys/mount.h>
#include <sys/statvfs.h>
#include <sys/wait.h>

#include "partition/mount.h"
#include "tests/unit/scratch.h"

#define CANNOT_MOUNT 77
#define EXPECT(condition)                                                                          \
        do {                                                                                       \
                if (!(condition)) {                                                                \
                        (void)fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);      \
                        _exit(1);                                                                  \
                }                                                                                  \
        } while (0)

static const char *const over[] = {"/run/a/usr", "/run/b/usr"};

static void put(const char *path, const char *text)
{
        EXPECT(file_write_volatile(AT_FDCWD, path, text, strlen(text), 0644) == 0);
}

static bool has(const char *path, const char *text)
{
        _cleanup_(buf_done) struct buf b = BUF_INIT(4096);

        return file_read(AT_FDCWD, path, &b) == 0 && strcmp(buf_str(&b), text) == 0;
}

/* An image with data mounted in its /usr, and two extensions. */
static void enter_world(const char *root)
{
        static const char *const folders[] = {"/usr/lib",   "/usr/local",     "/usr/libexec/k",
                                              "/run/a/usr", "/run/b/usr/lib", "/proc"};

        if (mount_private(NULL) < 0 || mount("tmpfs", root, "tmpfs", 0, NULL) < 0)
                _exit(CANNOT_MOUNT);
        EXPECT(chroot(root) == 0 && chdir("/") == 0);
        for (size_t i = 0; i < ARRAY_SIZE(folders); i++)
                EXPECT(file_make_dirs(AT_FDCWD, folders[i], 0755) == 0);
        EXPECT(mount_fs("proc", "/proc", "proc", 0, NULL, NULL) == 0);
        put("/usr/lib/x", "image");
        put("/usr/lib/y", "image");
        put("/run/b/usr/lib/x", "b");
        put("/run/a/usr/a", "a");
        EXPECT(mount_fs("tmpfs", "/usr/local", "tmpfs", 0, NULL, NULL) == 0);
        put("/usr/local/data", "data");
        EXPECT(file_make_dirs(AT_FDCWD, "/usr/local/inner", 0755) == 0);
        EXPECT(mount_fs("tmpfs", "/usr/local/inner", "tmpfs", 0, NULL, NULL) == 0);
        put("/usr/local/inner/data", "inner");
        EXPECT(mount_bind("/usr/local", "/usr/libexec/k", NULL) == 0);
}

static void expect_data(void)
{
        EXPECT(has("/usr/local/data", "data") && has("/usr/local/inner/data", "inner"));
        EXPECT(has("/usr/libexec/k/data", "data"));
        put("/usr/local/new", "x");
        EXPECT(has("/usr/libexec/k/new", "x"));
}

static void good(const struct env *env)
{
        struct error e = ERROR_INIT;
        struct statvfs fs;
        bool lost = true;

        put("/run/a/usr/both", "a");
        put("/run/b/usr/both", "b");
        EXPECT(boot_overlay_lay(env, "/usr", over, ARRAY_SIZE(over), &lost, &e) == 0 && !lost);
        EXPECT(has("/usr/lib/x", "b") && has("/usr/lib/y", "image") && has("/usr/a", "a"));
        EXPECT(has("/usr/both", "b")); /* the last one is on top */
        EXPECT(statvfs("/usr", &fs) == 0 && fs.f_flag & ST_RDONLY);
        EXPECT(file_write_volatile(AT_FDCWD, "/usr/lib/y", "z", 1, 0644) == -EROFS);
        expect_data();
}

static void nothing_changes_when_a_folder_is_missing(const struct env *env)
{
        static const char *const missing[] = {"/run/a/usr", "/run/c/usr"};
        struct error e = ERROR_INIT;
        bool lost = true;

        EXPECT(boot_overlay_lay(env, "/usr", missing, ARRAY_SIZE(missing), &lost, &e) == -ENOENT);
        EXPECT(!lost && has("/usr/lib/x", "image") && !file_exists(AT_FDCWD, "/usr/a"));
        expect_data();
        put("/usr/lib/new", "x");
}

static void nothing_changes_when_the_place_of_data_is_gone(const struct env *env)
{
        struct error e = ERROR_INIT;
        bool lost = true;

        put("/run/b/usr/local", "a file where the data belongs");
        EXPECT(boot_overlay_lay(env, "/usr", over, ARRAY_SIZE(over), &lost, &e) == -ENOTDIR);
        EXPECT(e.class == ERROR_REFUSED && !lost && has("/usr/lib/x", "image"));
        expect_data();
        put("/usr/lib/new", "x");
}

static void run(void (*story)(const struct env *))
{
        struct scratch scratch;
        pid_t pid;
        int status;

        scratch_make(&scratch);
        pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
                const struct env env = ENV_INIT;

                enter_world(scratch.path);
                story(&env);
                _exit(0);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        scratch_clean(&scratch);
        if (WIFEXITED(status) && WEXITSTATUS(status) == CANNOT_MOUNT)
                skip();
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void data_below_stays(void **state)
{
        (void)state;
        run(good);
}

static void failures_change_nothing(void **state)
{
        (void)state;
        run(nothing_changes_when_a_folder_is_missing);
        run(nothing_changes_when_the_place_of_data_is_gone);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(data_below_stays),
                cmocka_unit_test(failures_change_nothing),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
