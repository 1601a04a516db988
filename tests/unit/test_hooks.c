/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "agent/hooks.h"
#include "agent/scripts.h"
#include "base/log.h"
#include "base/spawn.h"
#include "tests/unit/scratch.h"

static struct scratch dir;

static int set_up(void **state)
{
        (void)state;
        scratch_make(&dir);
        log_set_level(LOG_LEVEL_ERROR);
        return 0;
}

static int tear_down(void **state)
{
        (void)state;
        scratch_clean(&dir);
        return 0;
}

static void put_script(const char *folder, const char *name, const char *text)
{
        char path[128];

        assert_int_equal(file_make_dirs(dir.fd, folder, 0755), 0);
        (void)snprintf(path, sizeof(path), "%s/%s", folder, name);
        assert_int_equal(file_write_volatile(dir.fd, path, text, strlen(text), 0755), 0);
}

/* Programs of this system that scripts need, seen in a root of their own: without being root there
 * is no chroot(). */
static bool make_root(void)
{
        static const char *const folders[] = {"usr", "bin", "lib", "lib64", "dev"};

        if (geteuid() != 0)
                return false;
        for (size_t i = 0; i < ARRAY_SIZE(folders); i++)
                assert_int_equal(file_make_dirs(dir.fd, folders[i], 0755), 0);
        return true;
}

static void environment_describes_the_upgrade(void **state)
{
        static const char *const environment[] = {"TB_A=1 2", "TB_B=", NULL};
        const char *const argv[] = {"sh", "-c", "echo \"<$TB_A><${TB_B-unset}><$LC_ALL>\"", NULL};
        const struct spawn_how how = {.timeout_seconds = 10, .environment = environment};
        _cleanup_(buf_done) struct buf output = BUF_INIT(4096);
        struct spawn_result result;

        (void)state;
        assert_int_equal(spawn_run_how(argv, &how, &output, &result, NULL), 0);
        assert_int_equal(result.status, 0);
        assert_string_equal(buf_str(&output), "<1 2><><C>\n");
}

/* A root without a program in it: whatever happens there, it does not run the scripts of ours. */
static void scripts_run_in_their_root(void **state)
{
        const char *const dirs[] = {"/hooks", NULL};
        struct scripts s = {
                .what = "hook", .dirs = dirs, .root = dir.path, .timeout_seconds = 10, .max = 4};
        struct error e = ERROR_INIT;
        unsigned run = 7;

        (void)state;
        assert_int_equal(scripts_run(&s, &run, &e), 0);
        assert_int_equal(run, 0);
        if (!make_root())
                skip();
        put_script("hooks", "10-needs-a-shell", "#!/bin/sh\nexit 0\n");
        assert_int_equal(scripts_run(&s, &run, &e), -ESCRIPT);
        assert_int_equal(run, 0);
        assert_non_null(strstr(e.text, "/hooks/10-needs-a-shell"));
        assert_null(strstr(e.text, dir.path));
}

static void time_limit_is_a_failure(void **state)
{
        char folder[96];
        const char *const dirs[] = {folder, NULL};
        const struct scripts s = {
                .what = "hook", .dirs = dirs, .root = "", .timeout_seconds = 1, .max = 4};
        struct error e = ERROR_INIT;
        unsigned run;

        (void)state;
        (void)snprintf(folder, sizeof(folder), "%s/h", dir.path);
        put_script("h", "10-slow", "#!/bin/sh\nsleep 60\n");
        assert_int_equal(scripts_run(&s, &run, &e), -ESCRIPT);
        assert_non_null(strstr(e.text, "1 seconds"));
}

/* The folders of hooks are found below the root, and no hooks are no trouble. */
static void events_have_folders_of_their_own(void **state)
{
        const struct hook_facts facts = {.source = "oci:registry/name", .target = "active"};
        const struct hook_places places = {.root = dir.path, .folders = hook_folders};
        struct error e = ERROR_INIT;
        unsigned run;

        (void)state;
        assert_int_equal(hooks_run(&places, HOOK_BEFORE_UPGRADE, &facts, &run, &e), 0);
        assert_int_equal(file_make_dirs(dir.fd, "etc/tb-agent/hooks.d/before-upgrade", 0755), 0);
        scratch_put_text(&dir, "etc/tb-agent/hooks.d/before-upgrade/10-no", "not executable");
        assert_int_equal(hooks_run(&places, HOOK_AFTER_UPGRADE, &facts, &run, &e), 0);
        assert_int_equal(hooks_run(&places, HOOK_BEFORE_UPGRADE, &facts, &run, &e), -ESCRIPT);
        assert_int_equal(e.class, ERROR_PRECONDITION);
        assert_non_null(strstr(e.text, "10-no"));
}

/* Without a root of their own they are this system's programs: the description arrives. */
static void hooks_get_a_description(void **state)
{
        char folder[96], text[160];
        const char *const folders[] = {folder, NULL};
        const struct hook_places places = {.root = "", .folders = folders};
        const struct hook_facts facts = {.source = "oci:registry/name",
                                         .target = "active",
                                         .from_version = "1",
                                         .to_version = "2\nTB_RESULT=3"};
        _cleanup_(buf_done) struct buf said = BUF_INIT(4096);
        struct error e = ERROR_INIT;
        unsigned run;

        (void)state;
        (void)snprintf(folder, sizeof(folder), "%s/hooks", dir.path);
        (void)snprintf(text, sizeof(text), "#!/bin/sh\nenv | grep ^TB_ | sort > %s/said\n",
                       dir.path);
        put_script("hooks/after-upgrade", "10-tell", text);
        assert_int_equal(hooks_run(&places, HOOK_AFTER_UPGRADE, &facts, &run, &e), 0);
        assert_int_equal(run, 1);
        assert_int_equal(file_read(dir.fd, "said", &said), 0);
        assert_string_equal(buf_str(&said), "TB_DISK=\nTB_EVENT=after-upgrade\nTB_FROM_SHA256=\n"
                                            "TB_FROM_VERSION=1\nTB_RESULT=\n"
                                            "TB_SOURCE=oci:registry/name\nTB_TARGET=active\n"
                                            "TB_TO_MANIFEST=\nTB_TO_SHA256=\n"
                                            "TB_TO_VERSION=2?TB_RESULT=3\n");
}

/* Those of a configuration come after those of the folders, in the order they were named; the first
 * that fails is the last that runs. */
static void named_programs_run_in_order(void **state)
{
        char folder[96], a[96], b[96], text[160];
        const char *const folders[] = {folder, NULL};
        const char *programs[] = {b, a, b};
        const struct hook_facts facts = {.source = "dir:/x", .disk = "/dev/vda"};
        const struct hook_places places = {
                .root = "", .folders = folders, .programs = programs, .n_programs = 3};
        _cleanup_(buf_done) struct buf said = BUF_INIT(4096);
        struct error e = ERROR_INIT;
        unsigned run;

        (void)state;
        (void)snprintf(folder, sizeof(folder), "%s/hooks", dir.path);
        (void)snprintf(a, sizeof(a), "%s/own/a", dir.path);
        (void)snprintf(b, sizeof(b), "%s/own/b", dir.path);
        (void)snprintf(text, sizeof(text), "#!/bin/sh\necho $TB_EVENT $TB_DISK >> %s/said\n",
                       dir.path);
        put_script("hooks/before-install", "10-folder", text);
        (void)snprintf(text, sizeof(text), "#!/bin/sh\necho b >> %s/said\n", dir.path);
        put_script("own", "b", text);
        put_script("own", "a", "#!/bin/sh\necho no room; exit 3\n");
        assert_int_equal(hooks_run(&places, HOOK_BEFORE_INSTALL, &facts, &run, &e), -ESCRIPT);
        assert_int_equal(run, 2);
        assert_int_equal(e.class, ERROR_PRECONDITION);
        assert_non_null(strstr(e.text, "no room"));
        assert_int_equal(file_read(dir.fd, "said", &said), 0);
        assert_string_equal(buf_str(&said), "before-install /dev/vda\nb\n");
        assert_string_equal(hook_event_name(HOOK_AFTER_INSTALL), "after-install");
        programs[1] = "/nowhere/at/all";
        assert_int_equal(hooks_run(&places, HOOK_BEFORE_INSTALL, &facts, &run, &e), -ESCRIPT);
}

static void too_many_files_are_refused(void **state)
{
        char folder[96], name[32];
        const char *const dirs[] = {folder, NULL};
        const struct scripts s = {
                .what = "hook", .dirs = dirs, .root = "", .timeout_seconds = 10, .max = 2};
        struct error e = ERROR_INIT;
        unsigned run;

        (void)state;
        (void)snprintf(folder, sizeof(folder), "%s/h", dir.path);
        for (unsigned i = 0; i < 3; i++) {
                (void)snprintf(name, sizeof(name), "%u", i);
                put_script("h", name, "#!/bin/sh\n");
        }
        assert_int_equal(scripts_run(&s, &run, &e), -E2BIG);
        assert_int_equal(run, 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(environment_describes_the_upgrade, set_up,
                                                tear_down),
                cmocka_unit_test_setup_teardown(scripts_run_in_their_root, set_up, tear_down),
                cmocka_unit_test_setup_teardown(time_limit_is_a_failure, set_up, tear_down),
                cmocka_unit_test_setup_teardown(events_have_folders_of_their_own, set_up,
                                                tear_down),
                cmocka_unit_test_setup_teardown(hooks_get_a_description, set_up, tear_down),
                cmocka_unit_test_setup_teardown(named_programs_run_in_order, set_up, tear_down),
                cmocka_unit_test_setup_teardown(too_many_files_are_refused, set_up, tear_down),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
