/* SPDX-License-Identifier: Apache-2.0 */
/* What an upgrade takes from a configuration, and what the command line keeps from it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>

#include "agent/upgrade_config.h"
#include "tests/unit/config_run.h"
#include "tests/unit/scratch.h"

#define HEAD "#cloud-config\n"
#define BOTH                                                                                       \
        HEAD "upgrade: {system: {uri: \"oci:registry.example.com/os:1\"}, recovery-system: "       \
             "{uri: \"oci:registry.example.com/rescue:1\"}, allow-insecure-registries: true"

struct run {
        struct config_run config;
        struct upgrade_config c;
        struct upgrade_options o;
};

#define RUN_INIT                                                                                   \
        {                                                                                          \
                .config = CONFIG_RUN_INIT                                                          \
        }

static void run_done(struct run *run)
{
        config_run_done(&run->config);
}

static void apply(struct run *run, const char *text)
{
        assert_int_equal(config_run(&run->config, text, NULL, NULL), 0);
        assert_int_equal(upgrade_config_apply(run->config.c, &run->c, &run->o, &run->config.error),
                         0);
}

static void silence_is_filled(void **state)
{
        _cleanup_(run_done) struct run run = RUN_INIT;

        (void)state;
        apply(&run, BOTH ", reboot: true}\n");
        assert_string_equal(run.o.source, "oci:registry.example.com/os:1");
        assert_false(run.o.recovery);
        assert_true(run.c.reboot && !run.c.power_off);
        assert_int_equal(run.o.from.insecure.n, 1);
        assert_string_equal(run.o.from.insecure.item[0], "registry.example.com");
}

static void recovery_has_a_source_of_its_own(void **state)
{
        _cleanup_(run_done) struct run by_option = RUN_INIT, by_config = RUN_INIT, one = RUN_INIT;

        (void)state;
        by_option.o.recovery = true;
        apply(&by_option, BOTH "}\n");
        assert_string_equal(by_option.o.source, "oci:registry.example.com/rescue:1");
        apply(&by_config, BOTH ", entry: recovery}\n");
        assert_true(by_config.o.recovery);
        assert_string_equal(by_config.o.source, "oci:registry.example.com/rescue:1");
        apply(&one, HEAD "upgrade: {recovery: true, source: \"oci:registry.example.com/os:1\"}\n");
        assert_true(one.o.recovery);
        assert_string_equal(one.o.source, "oci:registry.example.com/os:1");
        assert_int_equal(one.o.from.insecure.n, 0);
}

/* Also that an unprotected server is one of the configuration's own source alone. */
static void command_line_comes_first(void **state)
{
        _cleanup_(run_done) struct run run = RUN_INIT;

        (void)state;
        run.o.source = "oci:other.example.com/os:2";
        run.o.all = true;
        run.c.power_off = true;
        apply(&run, BOTH ", reboot: true, entry: recovery}\n");
        assert_string_equal(run.o.source, "oci:other.example.com/os:2");
        assert_int_equal(run.o.from.insecure.n, 0);
        assert_false(run.o.recovery);
        assert_true(run.c.power_off && !run.c.reboot);
}

static void nothing_said(void **state)
{
        _cleanup_(run_done) struct run run = RUN_INIT;

        (void)state;
        apply(&run, HEAD "reset: {reboot: true}\n");
        assert_null(run.o.source);
        assert_false(run.c.reboot || run.c.power_off || run.o.recovery);
        assert_int_equal(upgrade_check_source(&run.o, &run.config.error), -EINVAL);
        assert_int_equal(run.config.error.class, ERROR_USAGE);
        assert_non_null(strstr(run.config.error.text, "upgrade.source"));
}

/* The node's own folders are read when nothing else names a source, and not otherwise. */
static void folders_of_the_node(void **state)
{
        struct scratch dir;
        _cleanup_free_ char *oem = NULL, *run_folder = NULL;
        struct env env = ENV_INIT;
        _cleanup_(upgrade_config_done) struct upgrade_config c = {.known_folders = false},
                                                             other = {.known_folders = false};
        struct upgrade_options silent = {.source = NULL}, said = {.source = "dir:/x"};
        struct error e = ERROR_INIT;

        (void)state;
        scratch_make(&dir);
        assert_int_equal(mkdirat(dir.fd, "oem", 0700), 0);
        assert_true(asprintf(&oem, "%s/oem", dir.path) > 0);
        assert_true(asprintf(&run_folder, "%s/run", dir.path) > 0);
        env.oem = oem;
        env.run = run_folder;
        scratch_put_text(&dir, "oem/90.yaml",
                         HEAD "upgrade: {source: \"oci:registry.example.com/os:1\", hooks: "
                              "{before: [/usr/local/bin/drain]}}\n");
        assert_int_equal(upgrade_config_read(&env, &c, &silent, &e), 0);
        assert_string_equal(silent.source, "oci:registry.example.com/os:1");
        assert_int_equal(c.config->upgrade.hooks.before.n, 1);
        assert_int_equal(upgrade_config_read(&env, &other, &said, &e), 0);
        assert_null(other.config);
        other.known_folders = true;
        assert_int_equal(upgrade_config_read(&env, &other, &said, &e), 0);
        assert_string_equal(said.source, "dir:/x");
        assert_int_equal(other.config->upgrade.hooks.before.n, 1);
        scratch_clean(&dir);
}

static void broken_configuration_upgrades_nothing(void **state)
{
        _cleanup_(run_done) struct run run = RUN_INIT;

        (void)state;
        assert_int_equal(config_run(&run.config, HEAD "upgrade: {sauce: x}\n", NULL, NULL),
                         -EBADMSG);
        assert_int_equal(run.config.error.class, ERROR_CONFIG);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(silence_is_filled),
                cmocka_unit_test(recovery_has_a_source_of_its_own),
                cmocka_unit_test(command_line_comes_first),
                cmocka_unit_test(nothing_said),
                cmocka_unit_test(folders_of_the_node),
                cmocka_unit_test(broken_configuration_upgrades_nothing),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
