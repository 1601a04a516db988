/* SPDX-License-Identifier: Apache-2.0 */
/* The boot entry that asks for a reset: when it is there, what it leads to, and who it obeys. */
#include "agent/statereset.h"

#include "agent/boot.h"
#include "efivars/efivar.h"
#include "tests/unit/esp_world.h"

static struct env env = ENV_INIT;
static char oem_path[96], root_path[96], run_path[96];

static int make(void **state)
{
        int r = set_up(state);

        (void)snprintf(oem_path, sizeof(oem_path), "%s/oem", dir.path);
        (void)snprintf(root_path, sizeof(root_path), "%s/root", dir.path);
        (void)snprintf(run_path, sizeof(run_path), "%s/run", dir.path);
        assert_int_equal(file_make_dirs(dir.fd, "oem", 0755), 0);
        assert_int_equal(file_make_dirs(dir.fd, "root/etc/kairos", 0755), 0);
        assert_int_equal(file_make_dirs(dir.fd, "efivars", 0755), 0);
        env.oem = oem_path;
        env.root = root_path;
        env.run = run_path;
        env.persistent = "/nonexistent";
        env.efivarfs = strdup(dir.path);
        return r;
}

static int drop(void **state)
{
        free((char *)(uintptr_t)env.efivarfs);
        return tear_down(state);
}

/* --- the configuration --- */

static void test_allowed(void **state)
{
        static const char yes[] = "#cloud-config\nreset:\n  unattended: true\n";

        (void)state;
        assert_int_equal(statereset_allowed(&env, &error), 0);
        scratch_put_text(&dir, "oem/90.yaml", "#cloud-config\nreset:\n  reset-oem: true\n");
        assert_int_equal(statereset_allowed(&env, &error), 0);
        scratch_put_text(&dir, "root/etc/kairos/10.yaml", yes);
        assert_int_equal(statereset_allowed(&env, &error), 1);
        scratch_put_text(&dir, "oem/90.yaml", "#cloud-config\nreset:\n  unattended: false\n");
        assert_int_equal(statereset_allowed(&env, &error), 0);
        scratch_put_text(&dir, "oem/90.yaml", yes);
        assert_int_equal(statereset_allowed(&env, &error), 1);
        /* Whatever else is wrong: nobody knows what was meant. */
        scratch_put_text(&dir, "oem/91.yaml", "#cloud-config\nreset:\n  unattendet: true\n");
        assert_true(statereset_allowed(&env, &error) < 0);
        assert_int_equal(error.class, ERROR_CONFIG);
}

/* --- the entry --- */

static void make_node(void)
{
        for (uint32_t i = 1; i <= 3; i++)
                assert_int_equal(add_image(i), 0);
        assert_int_equal(add_entry("active.conf", "0001", 1), 0);
        assert_int_equal(add_entry("passive.conf", "0002", 1), 0);
        assert_int_equal(add_entry("recovery.conf", "0003", 2), 0);
}

static bool leads_to(const char *file, uint32_t image, const char *title)
{
        _cleanup_free_ struct entry_file *list = NULL;
        char name[64], path[PATH_MAX];
        size_t n = 0;

        image_name(image, name);
        assert_int_equal(esp_list_entries(&esp, &list, &n, &error), 0);
        for (size_t i = 0; i < n; i++) {
                if (strcmp(list[i].file, file) != 0)
                        continue;
                assert_int_equal(list[i].size, ENTRY_SIZE);
                assert_int_equal(entry_image_path(&list[i].entry, path), 0);
                return strcmp(path, name) == 0 && strcmp(list[i].entry.title, title) == 0 &&
                       list[i].name.role == ENTRY_ROLE_NONE;
        }
        return false;
}

static void syncs(bool allowed, bool changes)
{
        int before = faults.changes;

        if (statereset_sync(&esp, allowed, &error) < 0)
                fail_msg("%s", error.text);
        assert_int_equal(faults.changes != before, changes);
}

static void test_sync(void **state)
{
        char best[NAME_MAX + 1];

        (void)state;
        make_node();
        syncs(false, false);
        syncs(true, true);
        assert_true(leads_to(STATERESET_FILE, 2, "Test entry (statereset)"));
        syncs(true, false);
        /* It follows recovery. */
        assert_int_equal(switch_entry("recovery.conf", "0003", 3), 0);
        syncs(true, true);
        assert_true(leads_to(STATERESET_FILE, 3, "Test entry (statereset)"));
        /* It is the last that falling back would come to. */
        assert_bootable(best);
        assert_string_equal(best, "active.conf");
        assert_int_equal(esp_remove(&esp, ESP_ENTRY_DIR "/active.conf", &error), 0);
        assert_int_equal(esp_remove(&esp, ESP_ENTRY_DIR "/passive.conf", &error), 0);
        assert_bootable(best);
        assert_string_equal(best, "recovery.conf");
        syncs(false, true);
        assert_false(there(ESP_ENTRY_DIR "/" STATERESET_FILE));
        syncs(false, false);
        /* Without recovery there is nothing that it could start. */
        syncs(true, true);
        assert_int_equal(esp_remove(&esp, ESP_ENTRY_DIR "/recovery.conf", &error), 0);
        assert_int_equal(add_entry("active.conf", "0001", 1), 0);
        syncs(true, true);
        assert_false(there(ESP_ENTRY_DIR "/" STATERESET_FILE));
}

/* Of a system that was here before. */
static void test_other_systems(void **state)
{
        struct entry e = {.key = ENTRY_KEY_EFI, .title = "Reset", .image = "/EFI/kairos/reset.efi"};
        char text[ENTRY_SIZE];

        (void)state;
        make_node();
        scratch_put(&dir, "EFI/kairos/reset.efi", "x", 1);
        assert_int_equal(entry_format(&e, text), 0);
        assert_int_equal(esp_add_entry(&esp, STATERESET_FILE, text, &error), 0);
        syncs(false, false);
        syncs(true, false);
        assert_true(there(ESP_ENTRY_DIR "/" STATERESET_FILE));
}

/* --- who chose it --- */

static bool chosen(void)
{
        _cleanup_free_ struct entry_file *list = NULL;
        size_t n = 0;

        assert_int_equal(esp_list_entries(&esp, &list, &n, &error), 0);
        return statereset_was_chosen(&env, list, n, 257);
}

static void wish(const char *variable, const char *id)
{
        uint8_t wide[128] = {0};
        size_t n = 0;

        for (; *id; id++, n += 2)
                wide[n] = (uint8_t)*id;
        assert_int_equal(efivar_write(&env, variable, EFIVAR_GUID_LOADER,
                                      EFIVAR_NON_VOLATILE | EFIVAR_BOOTSERVICE | EFIVAR_RUNTIME,
                                      wide, n + 2),
                         0);
}

static void test_chosen(void **state)
{
        char text[ENTRY_SIZE];

        (void)state;
        make_node();
        syncs(true, true);
        assert_true(chosen());
        /* All tries of the others are used up: recovery would be next, so it was somebody. */
        assert_int_equal(esp_remove(&esp, ESP_ENTRY_DIR "/active.conf", &error), 0);
        assert_int_equal(esp_remove(&esp, ESP_ENTRY_DIR "/passive.conf", &error), 0);
        assert_int_equal(add_entry("active+0-3.conf", "0001", 1), 0);
        assert_true(chosen());
        /* Recovery is lost: falling back ends here. */
        assert_int_equal(esp_remove(&esp, ESP_ENTRY_DIR "/recovery.conf", &error), 0);
        assert_false(chosen());
        /* A bad one that sorts before it is no better. */
        entry_text("entry", "0001", 1, text);
        assert_int_equal(esp_remove(&esp, ESP_ENTRY_DIR "/" STATERESET_FILE, &error), 0);
        assert_false(chosen());
}

static void test_started_always(void **state)
{
        (void)state;
        make_node();
        syncs(true, true);
        wish("LoaderEntryDefault", "active.conf");
        assert_true(chosen());
        wish("LoaderEntryDefault", "state*");
        assert_false(chosen());
        wish("LoaderEntryDefault", "passive.conf");
        wish("LoaderEntryPreferred", STATERESET_FILE);
        assert_false(chosen());
}

/* --- the boot stage --- */

/* What stands between such a boot and a reset; none of these gets as far as beginning one. */
static void test_ordinary_session(void **state)
{
        static const struct {
                bool chosen, by_tpm, has_oem, proven;
                const char *config, *text;
        } cases[] = {
                {false, true, true, true, "true", "by itself"},
                {true, false, true, true, "true", "TPM did not open"},
                {true, true, false, true, "true", "TPM did not open"},
                {true, true, true, false, "true", "nothing vouches"},
                {true, true, true, true, "false", "reset.unattended"},
                {true, true, true, true, "maybe", "unattended"},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                struct boot b = {.env = &env,
                                 .report = boot_report_new(),
                                 .entry = {.role = ENTRY_ROLE_RECOVERY, .base = ENTRY_RESET_BASE},
                                 .pair = {.proven = cases[i].proven},
                                 .chosen = cases[i].chosen};
                _cleanup_json_ struct json_object *report = NULL;
                struct json_object *problems;
                char text[128];

                (void)snprintf(text, sizeof(text), "#cloud-config\nreset:\n  unattended: %s\n",
                               cases[i].config);
                scratch_put_text(&dir, "oem/90.yaml", text);
                assert_false(boot_statereset(&b, cases[i].by_tpm, cases[i].has_oem));
                boot_report_free(b.report);
                assert_int_equal(boot_report_read(&env, &report, NULL), 0);
                assert_int_equal(json_get_array(report, "problems", &problems), 0);
                assert_int_equal(json_object_array_length(problems), 1);
                if (!strstr(json_object_to_json_string(problems), cases[i].text) ||
                    !strstr(json_object_to_json_string(problems), "no unattended reset"))
                        fail_msg("%s", json_object_to_json_string(problems));
        }
}

/* Another entry is none of its business. */
static void test_other_entries(void **state)
{
        struct boot b = {.env = &env,
                         .entry = {.role = ENTRY_ROLE_RECOVERY, .base = "recovery"},
                         .chosen = true};

        (void)state;
        scratch_put_text(&dir, "oem/90.yaml", "#cloud-config\nreset:\n  unattended: true\n");
        assert_false(boot_statereset(&b, true, true));
}

/* Allowed and wanted, the reset begins; what fails in its process is told, and the session goes on.
 * There is no node here. */
static void test_failed_reset(void **state)
{
        struct boot b = {.env = &env,
                         .report = boot_report_new(),
                         .entry = {.role = ENTRY_ROLE_RECOVERY, .base = ENTRY_RESET_BASE},
                         .pair = {.proven = true},
                         .chosen = true};
        _cleanup_json_ struct json_object *report = NULL;

        (void)state;
        scratch_put_text(&dir, "oem/90.yaml", "#cloud-config\nreset:\n  unattended: true\n");
        assert_false(boot_statereset(&b, true, true));
        boot_report_free(b.report);
        assert_int_equal(boot_report_read(&env, &report, NULL), 0);
        assert_non_null(strstr(json_object_to_json_string(report), "the reset failed: "));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, make, drop)

int main(void)
{
        const struct CMUnitTest tests[] = {
                TEST(test_allowed),       TEST(test_sync),           TEST(test_other_systems),
                TEST(test_chosen),        TEST(test_started_always), TEST(test_ordinary_session),
                TEST(test_other_entries), TEST(test_failed_reset),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
