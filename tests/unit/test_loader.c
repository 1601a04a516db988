/* SPDX-License-Identifier: Apache-2.0 */
#include "efivars/loader.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "base/codec.h"
#include "base/limits.h"
#include "tests/unit/efivar_world.h"

static void put(const char *name, const char *guid, const void *data, size_t n)
{
        efivar_world_put(name, guid, EFIVAR_BOOTSERVICE | EFIVAR_RUNTIME, data, n);
}

static void put_text(const char *name, const char *text)
{
        _cleanup_(buf_done) struct buf wide = BUF_INIT(4096);

        assert_int_equal(utf8_to_utf16(text, &wide), 0);
        put(name, EFIVAR_GUID_LOADER, wide.data, wide.len);
}

/* A persistent variable, as a running system can leave it. */
static void plant(const char *name, const char *text)
{
        _cleanup_(buf_done) struct buf wide = BUF_INIT(4096);

        assert_int_equal(utf8_to_utf16(text, &wide), 0);
        efivar_world_put(name, EFIVAR_GUID_LOADER, EFIVAR_PERSISTENT, wide.data, wide.len);
}

static bool there(const char *name)
{
        char file[NAME_MAX + 1];

        (void)snprintf(file, sizeof(file), "%s-" EFIVAR_GUID_LOADER, name);
        return file_exists(dir.fd, file);
}

static void test_text(void **state)
{
        _cleanup_(buf_done) struct buf a = BUF_INIT(100), b = BUF_INIT(100), c = BUF_INIT(4);

        (void)state;
        assert_int_equal(loader_entry_selected(&env, &a), -ENOENT);
        put_text("LoaderEntrySelected", "active+3-0.conf");
        put_text("LoaderBootCountPath", "\\loader\\entries\\active+2-1.conf");
        assert_int_equal(loader_entry_selected(&env, &a), 0);
        assert_string_equal(buf_str(&a), "active+3-0.conf");
        assert_int_equal(loader_boot_count_path(&env, &b), 0);
        assert_string_equal(buf_str(&b), "\\loader\\entries\\active+2-1.conf");
        assert_int_equal(loader_entry_selected(&env, &c), -E2BIG);
        assert_int_equal(c.len, 0);
        put("LoaderEntrySelected", EFIVAR_GUID_LOADER, "\0\xd8", 2); /* half a surrogate pair */
        assert_int_equal(loader_entry_selected(&env, &a), -EBADMSG);
        assert_string_equal(buf_str(&a), "active+3-0.conf");
        put("LoaderEntrySelected", EFIVAR_GUID_LOADER, "abc", 3);
        assert_int_equal(loader_entry_selected(&env, &a), -EBADMSG);
}

static void test_part_uuid(void **state)
{
        static const struct {
                const char *value;
                int result;
        } table[] = {
                {"0123ABCD-4567-89ab-CDEF-0123456789AB", 0},
                {"0123abcd-4567-89ab-cdef-0123456789ab", 0},
                {"0123abcd-4567-89ab-cdef-0123456789a", -EBADMSG},
                {"0123abcd-4567-89ab-cdef-0123456789abc", -EBADMSG},
                {"0123abcd04567-89ab-cdef-0123456789ab", -EBADMSG},
                {"0123abcd-4567-89ab-cdef-0123456789a/", -EBADMSG},
                {"", -EBADMSG},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
                char uuid[LOADER_UUID_SIZE] = "untouched";

                put_text("LoaderDevicePartUUID", table[i].value);
                assert_int_equal(loader_device_part_uuid(&env, uuid), table[i].result);
                assert_string_equal(uuid, table[i].result == 0
                                                  ? "0123abcd-4567-89ab-cdef-0123456789ab"
                                                  : "untouched");
        }
}

static void test_info(void **state)
{
        static const struct {
                const char *value;
                int result;
                const char *name, *version;
                bool systemd_boot;
                unsigned major;
        } table[] = {
                {"systemd-boot 257.13-1~deb13u1", 0, "systemd-boot", "257.13-1~deb13u1", true, 257},
                {"systemd-boot 252.39-1~deb12u1", 0, "systemd-boot", "252.39-1~deb12u1", true, 252},
                {"systemd-boot", 0, "systemd-boot", "", true, 0},
                {"systemd-boot v258", 0, "systemd-boot", "v258", true, 0},
                {"systemd-boot 99999999999999999999", 0, "systemd-boot", "99999999999999999999",
                 true, 0},
                {"GRUB 2.06", 0, "GRUB", "2.06", false, 2},
                {"systemd-bootx 257", 0, "systemd-bootx", "257", false, 257},
                {" 257", -EBADMSG, NULL, NULL, false, 0},
                {"", -EBADMSG, NULL, NULL, false, 0},
        };
        struct loader_info info;
        char longest[400];

        (void)state;
        assert_int_equal(loader_info(&env, &info), -ENOENT);
        for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
                put_text("LoaderInfo", table[i].value);
                assert_int_equal(loader_info(&env, &info), table[i].result);
                if (table[i].result < 0)
                        continue;
                assert_string_equal(info.name, table[i].name);
                assert_string_equal(info.version, table[i].version);
                assert_int_equal(info.systemd_boot, table[i].systemd_boot);
                assert_int_equal(info.major, table[i].major);
        }
        memset(longest, 'x', sizeof(longest));
        longest[sizeof(longest) - 1] = '\0';
        put_text("LoaderInfo", longest);
        assert_int_equal(loader_info(&env, &info), -EBADMSG);
        longest[1] = ' ';
        put_text("LoaderInfo", longest);
        assert_int_equal(loader_info(&env, &info), -EBADMSG);
}

static void test_wishes(void **state)
{
        (void)state;
        assert_int_equal(loader_set_oneshot(&env, "ab.conf"), 0);
        scratch_expect(&dir, "LoaderEntryOneShot-" EFIVAR_GUID_LOADER,
                       "\x07\0\0\0a\0b\0.\0c\0o\0n\0f\0\0\0", 20);
        assert_int_equal(loader_set_oneshot(&env, ""), -EINVAL);
        assert_int_equal(loader_set_oneshot(&env, "\xff"), -EINVAL);
        assert_int_equal(loader_clear(&env, "LoaderEntryOneShot"), 0);
        assert_false(file_exists(dir.fd, "LoaderEntryOneShot-" EFIVAR_GUID_LOADER));
        assert_int_equal(loader_clear(&env, "LoaderEntryDefault"), 0);
        assert_int_equal(loader_clear(&env, "LoaderSystemToken"), -EINVAL);
        assert_int_equal(loader_clear(&env, "PK"), -EINVAL);
}

static void test_secure_boot(void **state)
{
        struct secureboot_state s = {true, true};

        (void)state;
        assert_int_equal(secureboot_state(&env, &s), -ENOENT);
        put("SecureBoot", EFIVAR_GUID_GLOBAL, "\1", 1);
        assert_int_equal(secureboot_state(&env, &s), 0);
        assert_true(s.secure_boot);
        assert_false(s.setup_mode);
        put("SetupMode", EFIVAR_GUID_GLOBAL, "\1", 1);
        put("SecureBoot", EFIVAR_GUID_GLOBAL, "\0", 1);
        assert_int_equal(secureboot_state(&env, &s), 0);
        assert_false(s.secure_boot);
        assert_true(s.setup_mode);
        put("SecureBoot", EFIVAR_GUID_GLOBAL, "\2", 1);
        assert_int_equal(secureboot_state(&env, &s), -EBADMSG);
        put("SecureBoot", EFIVAR_GUID_GLOBAL, "\1\0", 2);
        assert_int_equal(secureboot_state(&env, &s), -EBADMSG);
        assert_false(s.secure_boot); /* untouched by the failures */
}

static void test_stub(void **state)
{
        (void)state;
        assert_false(stub_measured(&env));
        put_text("StubPcrKernelImage", "12");
        assert_false(stub_measured(&env));
        put_text("StubPcrKernelImage", "11");
        assert_true(stub_measured(&env));
}

static void test_stub_may_have(void **state)
{
        static const char *const values[] = {"11", "12", "", "x"};
        char missing[128], no_dir[128];

        (void)state;
        assert_false(stub_may_have_measured(&env));
        for (size_t i = 0; i < ARRAY_SIZE(values); i++) {
                put_text("StubPcrKernelImage", values[i]);
                assert_true(stub_may_have_measured(&env));
        }
        assert_int_equal(efivar_delete(&env, "StubPcrKernelImage", EFIVAR_GUID_LOADER), 0);
        assert_false(stub_may_have_measured(&env));
        plant("StubPcrKernelImage", "11");
        assert_false(stub_measured(&env));
        assert_true(stub_may_have_measured(&env));
        /* Of any form. */
        scratch_put(&dir, "StubPcrKernelImage-" EFIVAR_GUID_LOADER, "", 0);
        assert_false(stub_measured(&env));
        assert_true(stub_may_have_measured(&env));
        scratch_put(&dir, "StubPcrKernelImage-" EFIVAR_GUID_LOADER, "x", 1);
        assert_true(stub_may_have_measured(&env));

        /* No UEFI; a folder that cannot be looked into; one that is not mounted. */
        (void)snprintf(missing, sizeof(missing), "%s/missing", dir.path);
        (void)snprintf(no_dir, sizeof(no_dir), "%s/file", dir.path);
        scratch_put_text(&dir, "file", "");
        env.efivarfs = missing;
        assert_false(stub_may_have_measured(&env));
        env.efivarfs = no_dir;
        assert_true(stub_may_have_measured(&env));
        env.efivarfs = "/sys/kernel";
        assert_true(stub_may_have_measured(&env));
}

static void test_planted_readers(void **state)
{
        _cleanup_(buf_done) struct buf out = BUF_INIT(100);
        char uuid[LOADER_UUID_SIZE] = "untouched";
        struct loader_info info = {.major = 7};

        (void)state;
        plant("LoaderEntrySelected", "active.conf");
        plant("LoaderBootCountPath", "\\loader\\entries\\active+2-1.conf");
        plant("LoaderDevicePartUUID", "0123abcd-4567-89ab-cdef-0123456789ab");
        plant("LoaderInfo", "systemd-boot 257");
        plant("StubInfo", "systemd-stub 257");
        assert_int_equal(loader_entry_selected(&env, &out), -EUCLEAN);
        assert_int_equal(loader_boot_count_path(&env, &out), -EUCLEAN);
        assert_int_equal(loader_device_part_uuid(&env, uuid), -EUCLEAN);
        assert_int_equal(loader_info(&env, &info), -EUCLEAN);
        assert_int_equal(loader_get(&env, "StubInfo", &out), -EUCLEAN);
        assert_int_equal(out.len, 0);
        assert_string_equal(uuid, "untouched");
        assert_int_equal(info.major, 7);
        /* Wishes and what others keep there are persistent by right. */
        plant("LoaderEntryDefault", "a");
        plant("LoaderSomething", "b");
        assert_int_equal(loader_get(&env, "LoaderEntryDefault", &out), 0);
        assert_int_equal(loader_get(&env, "LoaderSomething", &out), 0);
        assert_string_equal(buf_str(&out), "ab");
}

/* Neither nonsense nor a size that no loader writes hides what a variable is. */
static void test_planted_values(void **state)
{
        static uint8_t big[4 + 8 * LIMIT_LOADER_VARIABLE];
        _cleanup_(buf_done) struct buf out = BUF_INIT(100);

        (void)state;
        scratch_put(&dir, "LoaderInfo-" EFIVAR_GUID_LOADER, "\7\0\0\0abc", 7);
        assert_int_equal(loader_get(&env, "LoaderInfo", &out), -EUCLEAN);
        scratch_put(&dir, "LoaderInfo-" EFIVAR_GUID_LOADER, "\7\0\0\0", 4);
        assert_int_equal(loader_get(&env, "LoaderInfo", &out), -EUCLEAN);
        scratch_put(&dir, "LoaderInfo-" EFIVAR_GUID_LOADER, "\x27\0\0\0a\0", 6);
        assert_int_equal(loader_get(&env, "LoaderInfo", &out), -EUCLEAN);
        big[0] = EFIVAR_PERSISTENT;
        scratch_put(&dir, "LoaderInfo-" EFIVAR_GUID_LOADER, big, sizeof(big));
        assert_int_equal(loader_get(&env, "LoaderInfo", &out), -EUCLEAN);
        big[0] = EFIVAR_BOOTSERVICE | EFIVAR_RUNTIME;
        memset(big + 4, 'a', sizeof(big) - 4);
        scratch_put(&dir, "LoaderInfo-" EFIVAR_GUID_LOADER, big, sizeof(big));
        assert_int_equal(loader_get(&env, "LoaderInfo", &out), -E2BIG);
}

static void test_remove_planted(void **state)
{
        static const char *const names[] = {
                "LoaderBootCountPath",
                "LoaderDevicePartUUID",
                "LoaderEntrySelected",
                "LoaderInfo",
                "LoaderFeatures",
                "StubPcrKernelImage",
                "StubInfo",
                "StubProfile",
        };
        static const char *const wishes[] = {
                "LoaderEntryDefault",    "LoaderEntryOneShot",  "LoaderEntryPreferred",
                "LoaderEntrySysFail",    "LoaderConfigTimeout", "LoaderConfigTimeoutOneShot",
                "LoaderEntryLastBooted", "LoaderSystemToken",   "LoaderBootSecret",
        };
        unsigned removed = 1;

        (void)state;
        assert_int_equal(loader_remove_planted(&env, &removed), 0);
        assert_int_equal(removed, 0);
        for (size_t i = 0; i < ARRAY_SIZE(names); i++)
                plant(names[i], "x");
        for (size_t i = 0; i < ARRAY_SIZE(wishes); i++)
                plant(wishes[i], "x");
        put_text("LoaderEntries", "a");
        put_text("StubFeatures", "b");
        assert_int_equal(loader_remove_planted(&env, &removed), 0);
        assert_int_equal(removed, ARRAY_SIZE(names));
        for (size_t i = 0; i < ARRAY_SIZE(names); i++)
                assert_false(there(names[i]));
        for (size_t i = 0; i < ARRAY_SIZE(wishes); i++)
                assert_true(there(wishes[i]));
        assert_true(there("LoaderEntries"));
        assert_true(there("StubFeatures"));
        assert_int_equal(loader_remove_planted(&env, &removed), 0);
        assert_int_equal(removed, 0);
}

/* One that cannot be judged fails the call, after the others are gone. */
static void test_remove_planted_failures(void **state)
{
        char missing[128];
        unsigned removed = 1;

        (void)state;
        scratch_put(&dir, "LoaderEntries-" EFIVAR_GUID_LOADER, "\7", 1);
        plant("LoaderBootCountPath", "x");
        plant("StubProfile", "x");
        assert_int_equal(loader_remove_planted(&env, &removed), -EBADMSG);
        assert_int_equal(removed, 2);
        assert_false(there("LoaderBootCountPath"));
        assert_false(there("StubProfile"));
        assert_true(there("LoaderEntries"));
        (void)snprintf(missing, sizeof(missing), "%s/missing", dir.path);
        env.efivarfs = missing;
        assert_int_equal(loader_remove_planted(&env, &removed), 0);
        assert_int_equal(removed, 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_text, efivar_world_make, efivar_world_end),
                cmocka_unit_test_setup_teardown(test_part_uuid, efivar_world_make,
                                                efivar_world_end),
                cmocka_unit_test_setup_teardown(test_info, efivar_world_make, efivar_world_end),
                cmocka_unit_test_setup_teardown(test_wishes, efivar_world_make, efivar_world_end),
                cmocka_unit_test_setup_teardown(test_secure_boot, efivar_world_make,
                                                efivar_world_end),
                cmocka_unit_test_setup_teardown(test_stub, efivar_world_make, efivar_world_end),
                cmocka_unit_test_setup_teardown(test_stub_may_have, efivar_world_make,
                                                efivar_world_end),
                cmocka_unit_test_setup_teardown(test_planted_readers, efivar_world_make,
                                                efivar_world_end),
                cmocka_unit_test_setup_teardown(test_planted_values, efivar_world_make,
                                                efivar_world_end),
                cmocka_unit_test_setup_teardown(test_remove_planted, efivar_world_make,
                                                efivar_world_end),
                cmocka_unit_test_setup_teardown(test_remove_planted_failures, efivar_world_make,
                                                efivar_world_end),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
