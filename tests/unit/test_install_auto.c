/* SPDX-License-Identifier: Apache-2.0 */
/* When an installation that nobody attends begins, and what is said of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "agent/install_auto.h"
#include "base/spawn.h"
#include "tests/unit/config_run.h"
#include "tests/unit/disk_world.h"

#define AUTO "#cloud-config\ninstall:\n  device: auto\n  auto: true\n"
#define OVERWRITE AUTO "  overwrite-node: true\n"

static const uint8_t image[SHA256_SIZE] = {1, 2, 3};

static struct config_run read_config(const char *text)
{
        struct config_run run = CONFIG_RUN_INIT;

        assert_int_equal(config_run(&run, text, NULL, NULL), 0);
        return run;
}

static void only_a_live_session_that_is_told_to(void **state)
{
        static const struct {
                const char *text;
                bool live;
                int r;
                enum error_class class;
        } cases[] = {
                {AUTO, true, 0, ERROR_NONE},
                {AUTO, false, -ENOTSUP, ERROR_PRECONDITION},
                {"#cloud-config\ninstall: {auto: no, device: auto}\n", true, -ENODATA,
                 ERROR_NOTHING},
                {"#cloud-config\n", true, -ENODATA, ERROR_NOTHING},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                struct config_run run = read_config(cases[i].text);
                struct env env = ENV_INIT;
                struct error e = ERROR_INIT;
                struct scratch s;

                scratch_make(&s);
                env.run = s.path;
                assert_int_equal(file_make_dirs(s.fd, "cos", 0755), 0);
                if (cases[i].live)
                        scratch_put_text(&s, "cos/live_mode", "1\n");
                assert_int_equal(install_auto_check(&env, run.c, &e), cases[i].r);
                assert_int_equal(e.class, cases[i].class);
                config_run_done(&run);
                scratch_clean(&s);
        }
}

static int judge(struct disk_world *w, const char *text, struct error *e)
{
        struct config_run run = read_config(text);
        struct disk *d = NULL;
        int r;

        *e = (struct error)ERROR_INIT;
        assert_int_equal(disk_open_name(&w->env, "vda", &d, NULL), 0);
        r = install_auto_check_disk(d, run.c, image, e);
        disk_free(d);
        config_run_done(&run);
        return r;
}

static void put_file_system(struct disk_world *w, const char *name, const char *label)
{
        char path[PATH_MAX];
        const char *const argv[] = {"/sbin/mke2fs", "-q", "-F", "-L", label, path, NULL};
        struct error e = ERROR_INIT;

        (void)snprintf(path, sizeof(path), "%s/%s", w->dev, name);
        assert_int_equal(truncate(path, (off_t)MIB), 0);
        if (spawn_check(argv, 30, &e) < 0)
                fail_msg("%s", e.text);
}

static void a_node_is_not_overwritten_unasked(void **state)
{
        static const struct {
                const char *label;
                bool node;
        } cases[] = {{"data", false},
                     {"COS_GRUB", true},
                     {"COS_OEM", true},
                     {"COS_PERSISTENT", true},
                     {"COS_OEM2", false}};
        struct disk_world w;
        struct error e;

        (void)state;
        world_make(&w);
        world_disk(&w, "pci0/virtio1", "vda", "252:0", 4 * MIB);
        assert_int_equal(judge(&w, AUTO, &e), 0);
        world_partition(&w, "vda", "vda1", "252:1");
        world_attribute(&w, "vda1", "start", "0");
        world_attribute(&w, "vda1", "size", "2048");
        /* What nobody can read might be one. */
        assert_true(judge(&w, AUTO, &e) < 0);
        world_put(&w, "dev/vda1", "");
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                put_file_system(&w, "vda1", cases[i].label);
                assert_int_equal(judge(&w, AUTO, &e), cases[i].node ? -EEXIST : 0);
                if (cases[i].node) {
                        assert_int_equal(e.class, ERROR_PRECONDITION);
                        assert_non_null(strstr(e.text, "vda: there is a node on it already"));
                        assert_non_null(strstr(e.advice, "overwrite-node: true"));
                }
                assert_int_equal(judge(&w, OVERWRITE, &e), 0);
        }
        world_end(&w);
}

static size_t read_mark(const struct config *c, const uint8_t of[SHA256_SIZE], char *ret, size_t n)
{
        struct error e = ERROR_INIT;
        struct scratch s;
        struct esp esp;
        ssize_t got;
        int fd;

        scratch_make(&s);
        esp = (struct esp)ESP_INIT(s.fd);
        assert_int_equal(esp_make_dir(&esp, "loader", &e), 0);
        if (install_auto_fill_esp(c, of, &esp, &e) < 0)
                fail_msg("%s", e.text);
        fd = openat(s.fd, INSTALL_AUTO_MARK, O_RDONLY | O_CLOEXEC);
        assert_true(fd >= 0);
        got = pread(fd, ret, n, 0);
        assert_true(got >= 0);
        assert_int_equal(close(fd), 0);
        scratch_clean(&s);
        return (size_t)got;
}

static void the_mark_is_of_configuration_and_image(void **state)
{
        static const uint8_t other[SHA256_SIZE] = {3, 2, 1};
        struct config_run a = read_config(AUTO), b = read_config(AUTO "# more\n");
        struct config_run split = CONFIG_RUN_INIT;
        char first[128], second[128];

        (void)state;
        assert_int_equal(read_mark(a.c, image, first, sizeof(first)), SHA256_HEX_SIZE);
        assert_int_equal(first[SHA256_HEX_SIZE - 1], '\n');
        assert_int_equal(read_mark(a.c, image, second, sizeof(second)), SHA256_HEX_SIZE);
        assert_memory_equal(first, second, SHA256_HEX_SIZE);
        assert_int_equal(read_mark(b.c, image, second, sizeof(second)), SHA256_HEX_SIZE);
        assert_memory_not_equal(first, second, SHA256_HEX_SIZE);
        assert_int_equal(read_mark(a.c, other, second, sizeof(second)), SHA256_HEX_SIZE);
        assert_memory_not_equal(first, second, SHA256_HEX_SIZE);
        assert_int_equal(config_run(&split, AUTO, "#cloud-config\n", NULL), 0);
        assert_int_equal(read_mark(split.c, image, second, sizeof(second)), SHA256_HEX_SIZE);
        assert_memory_not_equal(first, second, SHA256_HEX_SIZE);
        config_run_done(&a);
        config_run_done(&b);
        config_run_done(&split);
}

static void expect_end_in(bool live, const struct error *e, bool installed, enum install_end end,
                          const char *said)
{
        _cleanup_(buf_done) struct buf text = BUF_INIT(8192);
        struct env env = ENV_INIT;
        struct scratch s;
        int r;

        scratch_make(&s);
        env.run = s.path;
        env.proc = env.dev = "/nonexistent";
        assert_int_equal(file_make_dirs(s.fd, "cos", 0755), 0);
        if (live)
                scratch_put_text(&s, "cos/live_mode", "1\n");
        install_auto_end(&env, end, installed, e);
        r = file_read(s.fd, "issue.d/tb-agent.issue", &text);
        assert_int_equal(r, said ? 0 : -ENOENT);
        if (said)
                assert_string_equal(buf_str(&text), said);
        scratch_clean(&s);
}

static void expect_end(const struct error *e, bool installed, enum install_end end,
                       const char *said)
{
        expect_end_in(true, e, installed, end, said);
}

static void how_it_ended_is_told(void **state)
{
        struct error e = ERROR_INIT;

        (void)state;
        expect_end(NULL, true, INSTALL_END_REBOOT, "\nThe node is installed; restarting.\n\n");
        expect_end(&e, true, INSTALL_END_STAY,
                   "\nThe node is installed. Take the medium out and restart.\n\n");
        error_set(&e, ERROR_REFUSED, EINVAL, "two disks:\n  a\033[2J\n  b");
        error_advise(&e, "name one");
        expect_end(&e, false, INSTALL_END_REBOOT,
                   "\nThe unattended installation FAILED (exit code 6):\n"
                   "  - two disks:\n  -   a?[2J\n  -   b\nWhat can be done:\n  - name one\n"
                   "In full: journalctl -u tb-agent-install\n\n");
        error_set(&e, ERROR_IO, EIO, "hook");
        error_advise(&e, "do it by hand");
        expect_end(&e, true, INSTALL_END_REBOOT,
                   "\nThe node is installed, but something failed after that (exit code 9):\n"
                   "  - hook\nWhat can be done:\n  - do it by hand\n"
                   "In full: journalctl -u tb-agent-install\n\n");
        error_clear(&e);
        error_set(&e, ERROR_NOTHING, EALREADY, "vda: there already");
        error_advise(&e, "go away");
        expect_end(&e, false, INSTALL_END_REBOOT,
                   "\nNothing was installed: vda: there already\ngo away\n\n");
        expect_end_in(false, &e, false, INSTALL_END_REBOOT, NULL);
        error_set(&e, ERROR_NOTHING, ENODATA, "nobody asked");
        expect_end(&e, false, INSTALL_END_REBOOT, NULL);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(only_a_live_session_that_is_told_to),
                cmocka_unit_test(a_node_is_not_overwritten_unasked),
                cmocka_unit_test(the_mark_is_of_configuration_and_image),
                cmocka_unit_test(how_it_ended_is_told),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
