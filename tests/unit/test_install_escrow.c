/* SPDX-License-Identifier: Apache-2.0 */
/* Where a recovery key goes, and in which order: see agent/install_escrow.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>

#include "agent/install_escrow.h"
#include "partition/recovery_key.h"
#include "tests/unit/scratch.h"

struct world {
        struct scratch dir;
        char path[96], sysfs[96];
        struct env env;
        struct disk disk;
        struct install_escrow escrow;
        struct error e;
};

static int setup(void **state)
{
        struct world *w = calloc(1, sizeof(*w));
        static char name[] = "vdz";

        assert_non_null(w);
        *state = w;
        scratch_make(&w->dir);
        (void)snprintf(w->path, sizeof(w->path), "%s/key", w->dir.path);
        (void)snprintf(w->sysfs, sizeof(w->sysfs), "%s/sys", w->dir.path);
        w->env = (struct env)ENV_INIT;
        w->env.sysfs = w->sysfs;
        w->env.dev = w->dir.path; /* without a terminal */
        w->disk.name = name;
        w->escrow = (struct install_escrow)INSTALL_ESCROW_INIT;
        return 0;
}

static int teardown(void **state)
{
        struct world *w = *state;

        install_escrow_done(&w->escrow);
        scratch_clean(&w->dir);
        free(w);
        return 0;
}

static int choose_file(struct world *w)
{
        const struct install_escrow_wishes wishes = {.file = w->path};

        return install_escrow_choose(&w->env, &wishes, false, &w->escrow, &w->e);
}

static int begin(struct world *w)
{
        return install_escrow_begin(&w->escrow, &w->env, &w->disk, &w->e);
}

static void new_file_gets_the_key_last(void **state)
{
        struct world *w = *state;
        _cleanup_(secret_free_p) struct secret *parsed = NULL;
        _cleanup_(buf_done) struct buf before = BUF_INIT(1024);
        struct stat st;

        assert_int_equal(choose_file(w), 0);
        assert_int_not_equal(stat(w->path, &st), 0); /* a dry run ends here */
        assert_int_equal(begin(w), 0);
        assert_non_null(w->escrow.key);
        assert_int_equal(stat(w->path, &st), 0);
        assert_int_equal(st.st_mode, S_IFREG | 0600);
        assert_int_equal(file_read(AT_FDCWD, w->path, &before), 0);
        assert_int_equal(before.len, RECOVERY_KEY_TEXT);
        assert_int_equal(recovery_key_parse(before.data, before.len, &parsed, NULL), -EINVAL);
        assert_int_equal(install_escrow_deliver(&w->escrow, &w->e), 0);
        scratch_expect(&w->dir, "key", w->escrow.key->data, RECOVERY_KEY_TEXT);
        assert_string_equal(install_escrow_place_name(w->escrow.place), "file");
}

static void failure_leaves_no_file(void **state)
{
        struct world *w = *state;

        assert_int_equal(choose_file(w), 0);
        assert_int_equal(begin(w), 0);
        assert_int_equal(install_escrow_deliver(&w->escrow, &w->e), 0);
        install_escrow_abandon(&w->escrow);
        assert_false(file_exists(AT_FDCWD, w->path));
}

/* As a run that was killed leaves it. */
static void next_run_takes_over_what_holds_no_key(void **state)
{
        struct world *w = *state;

        assert_int_equal(choose_file(w), 0);
        assert_int_equal(begin(w), 0);
        install_escrow_done(&w->escrow);
        assert_int_equal(choose_file(w), 0);
        assert_int_equal(begin(w), 0);
        assert_int_equal(install_escrow_deliver(&w->escrow, &w->e), 0);
        scratch_expect(&w->dir, "key", w->escrow.key->data, RECOVERY_KEY_TEXT);
}

/* A session that ends by itself takes its memory along: refused before the key is made. */
static void key_in_memory_needs_a_session_that_stays(void **state)
{
        struct world *w = *state;
        char name[] = "/dev/shm/tb-escrow-XXXXXX";
        struct statfs fs;

        if (!mkdtemp(name) || statfs(name, &fs) < 0 || fs.f_type != TMPFS_MAGIC)
                skip();
        (void)snprintf(w->path, sizeof(w->path), "%s/key", name);
        assert_int_equal(choose_file(w), 0);
        w->escrow.leaving = true;
        assert_int_equal(begin(w), -EPERM);
        assert_int_equal(w->e.class, ERROR_USAGE);
        assert_null(w->escrow.key);
        assert_false(file_exists(AT_FDCWD, w->path));
        install_escrow_done(&w->escrow);
        assert_int_equal(choose_file(w), 0);
        assert_int_equal(begin(w), 0);
        install_escrow_abandon(&w->escrow);
        assert_int_equal(rmdir(name), 0);
}

static void existing_files_are_not_touched(void **state)
{
        struct world *w = *state;
        _cleanup_(secret_free_p) struct secret *old = recovery_key_new();

        scratch_put(&w->dir, "key", old->data, old->len);
        assert_int_equal(choose_file(w), 0);
        assert_int_equal(begin(w), -EEXIST);
        assert_int_equal(w->e.class, ERROR_USAGE);
        assert_null(w->escrow.key);
        scratch_expect(&w->dir, "key", old->data, old->len);
        install_escrow_done(&w->escrow);

        /* A link to a file that would do, and an empty file. */
        assert_int_equal(rename(w->path, w->sysfs), 0);
        assert_int_equal(symlink(w->sysfs, w->path), 0);
        assert_int_equal(choose_file(w), 0);
        assert_int_equal(begin(w), -EEXIST);
        install_escrow_done(&w->escrow);
        assert_int_equal(unlink(w->path), 0);
        scratch_put_text(&w->dir, "key", "");
        assert_int_equal(choose_file(w), 0);
        assert_int_equal(begin(w), -EEXIST);
}

static void places_that_take_no_file(void **state)
{
        struct world *w = *state;
        static const struct {
                const char *path;
                int r;
        } cases[] = {{"/proc/nowhere/key", -ENOENT}, {"/dev/full", -EEXIST}, {"/tmp/", -EISDIR}};

        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                const struct install_escrow_wishes wishes = {.file = cases[i].path};

                assert_int_equal(install_escrow_choose(&w->env, &wishes, false, &w->escrow, &w->e),
                                 0);
                assert_int_equal(begin(w), cases[i].r);
                assert_null(w->escrow.key);
                install_escrow_done(&w->escrow);
        }
}

/* sysfs says that the file's device is a partition of the target. */
static void target_disk_is_no_place(void **state)
{
        struct world *w = *state;
        char path[160], partition[160];
        struct stat st;

        assert_int_equal(fstat(w->dir.fd, &st), 0);
        (void)snprintf(path, sizeof(path), "%s/dev/block", w->sysfs);
        assert_int_equal(file_make_dirs(AT_FDCWD, path, 0700), 0);
        (void)snprintf(partition, sizeof(partition), "%s/devices/pci/block/vdz/vdz3", w->sysfs);
        assert_int_equal(file_make_dirs(AT_FDCWD, partition, 0700), 0);
        (void)snprintf(path, sizeof(path), "%s/dev/block/%u:%u", w->sysfs, major(st.st_dev),
                       minor(st.st_dev));
        assert_int_equal(symlink(partition, path), 0);
        assert_int_equal(choose_file(w), 0);
        assert_int_equal(begin(w), -EINVAL);
        assert_non_null(strstr(w->e.text, "overwritten"));
        assert_false(file_exists(AT_FDCWD, w->path));
}

static void wishes_are_weighed(void **state)
{
        struct world *w = *state;
        const struct {
                struct install_escrow_wishes wishes;
                bool attended;
                enum install_escrow_place place;
                unsigned warnings;
        } cases[] = {
                {{.none = true}, false, INSTALL_ESCROW_NONE, 0},
                {{.none = true}, true, INSTALL_ESCROW_NONE, 0},
                {{0}, false, INSTALL_ESCROW_NONE, 1},
                {{.file = w->path}, true, INSTALL_ESCROW_FILE, 0},
        };

        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                assert_int_equal(install_escrow_choose(&w->env, &cases[i].wishes, cases[i].attended,
                                                       &w->escrow, &w->e),
                                 0);
                assert_int_equal(w->escrow.place, cases[i].place);
                assert_int_equal(w->escrow.n_warnings, cases[i].warnings);
                if (cases[i].place == INSTALL_ESCROW_NONE) {
                        assert_int_equal(begin(w), 0);
                        assert_null(w->escrow.key);
                        assert_int_equal(install_escrow_deliver(&w->escrow, &w->e), 0);
                }
                install_escrow_done(&w->escrow);
        }
}

static void wishes_exclude_each_other(void **state)
{
        const struct {
                struct install_escrow_wishes wishes;
                int r;
        } cases[] = {
                {{0}, 0},
                {{.show = true}, 0},
                {{.file = "x"}, 0},
                {{.none = true}, 0},
                {{.show = true, .file = "x"}, -EINVAL},
                {{.show = true, .none = true}, -EINVAL},
                {{.none = true, .file = "x"}, -EINVAL},
                {{.file = "-"}, -EINVAL},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                struct error e = ERROR_INIT;

                assert_int_equal(install_escrow_check(&cases[i].wishes, &e), cases[i].r);
                assert_int_equal(e.class, cases[i].r < 0 ? ERROR_USAGE : ERROR_NONE);
        }
}

/* A pseudo terminal in place of standard error; what it was told is returned. */
static void shown_on_the_terminal(void **state)
{
        struct world *w = *state;
        const struct install_escrow_wishes wishes = {.show = true};
        int master = posix_openpt(O_RDWR | O_NOCTTY), saved = dup(STDERR_FILENO), slave;
        static char text[16384];
        char name[64];
        size_t n = 0;

        assert_true(master >= 0 && saved >= 0);
        assert_int_equal(grantpt(master) | unlockpt(master), 0);
        assert_int_equal(ptsname_r(master, name, sizeof(name)), 0);
        slave = open(name, O_RDWR | O_NOCTTY);
        assert_true(slave >= 0);

        /* Twin: standard error is no terminal, and there is no other. */
        assert_int_equal(dup2(open("/dev/null", O_WRONLY), STDERR_FILENO), STDERR_FILENO);
        assert_int_equal(install_escrow_choose(&w->env, &wishes, true, &w->escrow, &w->e), -ENOTTY);

        assert_int_equal(dup2(slave, STDERR_FILENO), STDERR_FILENO);
        assert_int_equal(install_escrow_choose(&w->env, &wishes, false, &w->escrow, &w->e), 0);
        assert_int_equal(begin(w), 0);
        assert_int_equal(install_escrow_deliver(&w->escrow, &w->e), 0);
        assert_int_equal(dup2(saved, STDERR_FILENO), STDERR_FILENO);
        (void)close(saved);
        (void)close(slave);
        close_p(&w->escrow.terminal);
        for (;;) {
                ssize_t got = read(master, text + n, sizeof(text) - 1 - n);

                if (got <= 0)
                        break; /* EIO: all of it was read, and nobody has the other end */
                n += (size_t)got;
        }
        (void)close(master);
        assert_non_null(memmem(text, n, w->escrow.key->data, w->escrow.key->len));
        assert_non_null(memmem(text, n, "\xe2\x96\x88\xe2\x96\x88", 6));
        assert_string_equal(install_escrow_place_name(w->escrow.place), "shown");
}

static void report_says_where_and_never_what(void **state)
{
        struct world *w = *state;
        _cleanup_json_ struct json_object *root = json_object_new_object();
        _cleanup_free_ char *letters = NULL, *said = NULL;
        const char *place, *text;
        size_t n = 0;
        FILE *plan;

        assert_int_equal(choose_file(w), 0);
        assert_int_equal(begin(w), 0);
        assert_int_equal(install_escrow_deliver(&w->escrow, &w->e), 0);
        assert_int_equal(install_escrow_report(&w->escrow, root), 0);
        assert_int_equal(json_get_str(root, "recovery_key", &place), 0);
        assert_string_equal(place, "file");
        text = json_object_to_json_string(root);
        plan = open_memstream(&said, &n);
        assert_non_null(plan);
        install_escrow_describe(&w->escrow, plan);
        assert_int_equal(fclose(plan), 0);
        assert_non_null(strstr(said, w->path));
        letters = strndup((const char *)w->escrow.key->data, 8);
        assert_null(strstr(text, letters));
        assert_null(strstr(said, letters));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
        const struct CMUnitTest tests[] = {
                TEST(new_file_gets_the_key_last),
                TEST(failure_leaves_no_file),
                TEST(next_run_takes_over_what_holds_no_key),
                TEST(key_in_memory_needs_a_session_that_stays),
                TEST(existing_files_are_not_touched),
                TEST(places_that_take_no_file),
                TEST(target_disk_is_no_place),
                TEST(wishes_are_weighed),
                TEST(wishes_exclude_each_other),
                TEST(shown_on_the_terminal),
                TEST(report_says_where_and_never_what),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
