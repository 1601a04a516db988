/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/bootentry.h"

#include "base/codec.h"
#include "base/log.h"
#include "efivars/efivar.h"
#include "tests/unit/esp_world.h"

static struct env env = ENV_INIT;
static struct situation s;

static int set_up_node(void **state)
{
        (void)set_up(state);
        log_set_level(LOG_LEVEL_ERROR);
        assert_int_equal(file_make_dirs(dir.fd, "efivars", 0755), 0);
        env.run = dir.path;
        assert_true(asprintf((char **)(uintptr_t)&env.efivarfs, "%s/efivars", dir.path) > 0);
        assert_int_equal(add_image(1), 0);
        assert_int_equal(add_image(2), 0);
        assert_int_equal(add_image(3), 0);
        return 0;
}

static int tear_down_node(void **state)
{
        situation_done(&s);
        free((char *)(uintptr_t)env.efivarfs);
        return tear_down(state);
}

static void loader_says(const char *name, const char *text)
{
        _cleanup_(buf_done) struct buf wide = BUF_INIT(4096);

        assert_int_equal(utf8_to_utf16(text, &wide), 0);
        assert_int_equal(efivar_write(&env, name, EFIVAR_GUID_LOADER,
                                      EFIVAR_BOOTSERVICE | EFIVAR_RUNTIME, wide.data, wide.len),
                         0);
}

static void read_again(void)
{
        situation_done(&s);
        assert_int_equal(situation_read(&env, &esp, &s, NULL), 0);
}

/* active on trial, a bad trial of something else, passive and recovery. */
static void usual_entries(const char *version)
{
        char info[64];

        assert_int_equal(add_entry("active+2-1.conf", "10", 2), 0);
        assert_int_equal(add_entry("passive.conf", "20", 1), 0);
        assert_int_equal(add_entry("recovery.conf", "30", 3), 0);
        assert_int_equal(add_entry("test+0-3.conf", "40", 3), 0);
        (void)snprintf(info, sizeof(info), "systemd-boot %s", version);
        loader_says("LoaderInfo", info);
        read_again();
}

static void expect_wish(const char *variable, const char *text)
{
        char wish[NAME_MAX + 1];

        bootentry_wish(&env, variable, wish);
        assert_string_equal(wish, text);
}

static void names_are_found(void **state)
{
        static const struct {
                const char *name, *file;
        } cases[] = {
                {"active", "active+2-1.conf"},
                {"active.conf", "active+2-1.conf"},
                {"ACTIVE+2-1", "active+2-1.conf"},
                {"active+2-1.conf", "active+2-1.conf"},
                {"Passive.CONF", "passive.conf"},
                {"test", "test+0-3.conf"},
                {"active+3-0", NULL},
                {"act", NULL},
                {"", NULL},
                {".conf", NULL},
                {"statereset", NULL},
                {"../passive", NULL},
        };

        (void)state;
        usual_entries("252.39");
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                const struct entry_file *f;

                error_clear(&error);
                f = bootentry_find(&s, cases[i].name, &error);
                if (cases[i].file) {
                        assert_non_null(f);
                        assert_string_equal(f->file, cases[i].file);
                } else {
                        assert_null(f);
                        assert_int_equal(error.class, ERROR_USAGE);
                        assert_non_null(strstr(error.advice, "passive.conf"));
                }
        }
}

static void confirmed_twin_is_meant(void **state)
{
        (void)state;
        usual_entries("252.39");
        assert_int_equal(add_entry("active.conf", "10", 2), 0);
        read_again();
        assert_string_equal(bootentry_find(&s, "active", NULL)->file, "active.conf");
        assert_string_equal(bootentry_find(&s, "active+2-1", NULL)->file, "active+2-1.conf");
}

static void once_names_any_version_of_the_entry(void **state)
{
        (void)state;
        usual_entries("252.39");
        assert_int_equal(
                bootentry_once(&env, &s, bootentry_find(&s, "recovery", NULL), false, NULL), 0);
        expect_wish("LoaderEntryOneShot", "recovery.conf");
        assert_int_equal(bootentry_once(&env, &s, bootentry_find(&s, "active", NULL), false, NULL),
                         0);
        expect_wish("LoaderEntryOneShot", "active*.conf");
        /* A pattern that would match a neighbour is made narrower. */
        assert_int_equal(add_entry("active-old.conf", "50", 1), 0);
        read_again();
        assert_int_equal(bootentry_once(&env, &s, bootentry_find(&s, "active", NULL), false, NULL),
                         0);
        expect_wish("LoaderEntryOneShot", "active+*.conf");
        loader_says("LoaderInfo", "systemd-boot 257.9");
        read_again();
        assert_int_equal(bootentry_once(&env, &s, bootentry_find(&s, "active", NULL), false, NULL),
                         0);
        expect_wish("LoaderEntryOneShot", "active.conf");
}

static void bad_entries_need_force(void **state)
{
        const struct entry_file *bad;

        (void)state;
        usual_entries("260.1");
        bad = bootentry_find(&s, "test", NULL);
        error_clear(&error);
        assert_int_equal(bootentry_once(&env, &s, bad, false, &error), -EPERM);
        assert_int_equal(error.class, ERROR_PRECONDITION);
        assert_int_equal(bootentry_prefer(&env, &s, bad, false, &error), -EPERM);
        expect_wish("LoaderEntryOneShot", "");
        assert_int_equal(bootentry_once(&env, &s, bad, true, NULL), 0);
        expect_wish("LoaderEntryOneShot", "test*.conf");
}

static void old_loader_never_pins_a_counted_entry(void **state)
{
        const struct entry_file *active, *passive;

        (void)state;
        usual_entries("257.9");
        active = bootentry_find(&s, "active", NULL);
        passive = bootentry_find(&s, "passive", NULL);
        error_clear(&error);
        assert_int_equal(bootentry_prefer(&env, &s, active, false, &error), -EPERM);
        assert_int_equal(error.class, ERROR_PRECONDITION);
        assert_int_equal(bootentry_prefer(&env, &s, active, true, &error), -EPERM);
        expect_wish("LoaderEntryDefault", "");
        assert_int_equal(bootentry_prefer(&env, &s, passive, false, NULL), 0);
        expect_wish("LoaderEntryDefault", "passive.conf");
        expect_wish("LoaderEntryPreferred", "");
}

static void new_loader_prefers(void **state)
{
        (void)state;
        usual_entries("260~rc1");
        assert_int_equal(
                bootentry_prefer(&env, &s, bootentry_find(&s, "active", NULL), false, NULL), 0);
        expect_wish("LoaderEntryPreferred", "active*.conf");
        expect_wish("LoaderEntryDefault", "");
}

static void clear_takes_all_back(void **state)
{
        unsigned cleared = 9;

        (void)state;
        usual_entries("257.9");
        assert_int_equal(bootentry_clear(&env, &cleared, NULL), 0);
        assert_int_equal(cleared, 0);
        assert_int_equal(
                bootentry_prefer(&env, &s, bootentry_find(&s, "passive", NULL), false, NULL), 0);
        assert_int_equal(bootentry_once(&env, &s, bootentry_find(&s, "active", NULL), false, NULL),
                         0);
        assert_int_equal(bootentry_clear(&env, &cleared, NULL), 0);
        assert_int_equal(cleared, 2);
        expect_wish("LoaderEntryDefault", "");
        expect_wish("LoaderEntryOneShot", "");
}

static void variables_that_cannot_be_written(void **state)
{
        char *const there_before = (char *)(uintptr_t)env.efivarfs;

        (void)state;
        usual_entries("257.9");
        env.efivarfs = "/proc/self/nonexistent";
        error_clear(&error);
        assert_int_equal(
                bootentry_once(&env, &s, bootentry_find(&s, "passive", NULL), false, &error),
                -ENOENT);
        assert_int_equal(error.class, ERROR_PRECONDITION);
        assert_non_null(strstr(error.text, "no EFI variables"));
        env.efivarfs = there_before;
}

/* --- situation: what runs --- */

static void expect_running(enum entry_role role, const char *image, bool on_trial, bool confirmed)
{
        read_again();
        assert_int_equal(s.running.role, role);
        assert_string_equal(s.running.image, image);
        assert_int_equal(s.running.on_trial, on_trial);
        assert_int_equal(s.running.confirmed, confirmed);
}

static void running_image_of_a_trial(void **state)
{
        (void)state;
        usual_entries("257.9");
        loader_says("LoaderEntrySelected", "active.conf");
        loader_says("LoaderBootCountPath", "\\loader\\entries\\active+2-1.conf");
        expect_running(ENTRY_ROLE_ACTIVE, "usi-00000002.efi", true, false);
        assert_int_equal(esp_bless(&esp, "\\loader\\entries\\active+2-1.conf", NULL), 0);
        expect_running(ENTRY_ROLE_ACTIVE, "usi-00000002.efi", true, true);
        assert_string_equal(s.running.version, "2");
        assert_true(s.running.has_sha256);
}

/* Entries move under a running system: the note keeps what runs. */
static void running_image_is_noted(void **state)
{
        (void)state;
        assert_int_equal(add_entry("active.conf", "10", 1), 0);
        assert_int_equal(add_entry("passive.conf", "20", 1), 0);
        loader_says("LoaderEntrySelected", "active.conf");
        expect_running(ENTRY_ROLE_ACTIVE, "usi-00000001.efi", false, true);
        assert_int_equal(situation_note(&env, &s, NULL), 0);
        assert_int_equal(add_entry("active+3-0.conf", "10", 2), 0);
        assert_int_equal(esp_remove(&esp, "loader/entries/active.conf", NULL), 0);
        expect_running(ENTRY_ROLE_ACTIVE, "usi-00000001.efi", false, true);
        assert_string_equal(situation_next(&s)->file, "active+3-0.conf");
}

static void noted_trial_is_confirmed_later(void **state)
{
        (void)state;
        usual_entries("257.9");
        loader_says("LoaderEntrySelected", "active+3-0.conf");
        loader_says("LoaderBootCountPath", "\\loader\\entries\\active+2-1.conf");
        expect_running(ENTRY_ROLE_ACTIVE, "usi-00000002.efi", true, false);
        assert_int_equal(situation_note(&env, &s, NULL), 0);
        expect_running(ENTRY_ROLE_ACTIVE, "usi-00000002.efi", true, false);
        assert_int_equal(esp_bless(&esp, "\\loader\\entries\\active+2-1.conf", NULL), 0);
        expect_running(ENTRY_ROLE_ACTIVE, "usi-00000002.efi", true, true);
}

static void foreign_boots_run_nothing_of_ours(void **state)
{
        (void)state;
        usual_entries("257.9");
        expect_running(ENTRY_ROLE_NONE, "", false, false);
        loader_says("LoaderEntrySelected", "installer.conf");
        expect_running(ENTRY_ROLE_NONE, "", false, false);
        assert_int_equal(situation_note(&env, &s, NULL), 0);
        assert_false(there("tb-agent/running.json"));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up_node, tear_down_node)

int main(void)
{
        const struct CMUnitTest tests[] = {
                TEST(names_are_found),
                TEST(confirmed_twin_is_meant),
                TEST(once_names_any_version_of_the_entry),
                TEST(bad_entries_need_force),
                TEST(old_loader_never_pins_a_counted_entry),
                TEST(new_loader_prefers),
                TEST(clear_takes_all_back),
                TEST(variables_that_cannot_be_written),
                TEST(running_image_of_a_trial),
                TEST(running_image_is_noted),
                TEST(noted_trial_is_confirmed_later),
                TEST(foreign_boots_run_nothing_of_ours),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
