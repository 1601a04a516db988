/* SPDX-License-Identifier: Apache-2.0 */
/* The node's boot entry, on a folder that stands for efivarfs. */
#include "agent/firmware_entry.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "base/limits.h"
#include "tests/unit/efivar_world.h"

#define UUID "0b1fd3c5-7a2e-4c11-9d00-aabbccddeeff"
#define OLD_UUID "11111111-7a2e-4c11-9d00-aabbccddeeff"
#define GLOBAL "-" EFIVAR_GUID_GLOBAL

static const struct layout_partition esp = {.number = 1,
                                            .name = LAYOUT_ESP_NAME,
                                            .type = LAYOUT_TYPE_ESP,
                                            .uuid = UUID,
                                            .start = MIB,
                                            .size = 4 * GIB};

/* The loader says which ESP it came from. */
static void put_loader(void)
{
        uint8_t utf16[4 + 2 * sizeof(UUID)] = {EFIVAR_BOOTSERVICE | EFIVAR_RUNTIME};

        for (size_t i = 0; i < sizeof(UUID); i++)
                utf16[4 + 2 * i] = (uint8_t)UUID[i];
        scratch_put(&dir, "LoaderDevicePartUUID-" EFIVAR_GUID_LOADER, utf16, sizeof(utf16));
}

static int set_up(void **state)
{
        (void)efivar_world_make(state);
        put_loader();
        return 0;
}

static int tear_down(void **state)
{
        return efivar_world_end(state);
}

static void expect_status(const char *state, const char *entry)
{
        _cleanup_json_ struct json_object *root = json_object_new_object();
        struct json_object *o;
        const char *text;

        assert_int_equal(firmware_entry_status(&env, root), 0);
        assert_int_equal(json_get_obj(root, "firmware_entry", &o), 0);
        assert_int_equal(json_get_str(o, "state", &text), 0);
        assert_string_equal(text, state);
        assert_int_equal(json_get_str(o, "entry", &text), entry ? 0 : -EBADMSG);
        if (entry)
                assert_string_equal(text, entry);
}

static void expect_json(const struct firmware_entry *f, const char *expected)
{
        _cleanup_json_ struct json_object *root = json_object_new_object();

        assert_int_equal(firmware_entry_json(root, f), 0);
        assert_string_equal(json_object_to_json_string_ext(root, JSON_C_TO_STRING_PLAIN), expected);
}

static void put_order(const char *numbers, size_t n)
{
        assert_int_equal(
                efivar_write(&env, "BootOrder", EFIVAR_GUID_GLOBAL, EFIVAR_PERSISTENT, numbers, n),
                0);
}

static void test_install(void **state)
{
        _cleanup_(loadopt_free_p) struct loadopt *o = NULL;
        _cleanup_(buf_done) struct buf value = BUF_INIT(LIMIT_LOAD_OPTION);
        struct firmware_entry f;

        (void)state;
        expect_status("missing", NULL);
        firmware_entry_install(&env, &esp, 4096, "demo", NULL, &f);
        assert_int_equal(f.outcome, FIRMWARE_ENTRY_WRITTEN);
        expect_json(&f, "{\"firmware_entry\":{\"state\":\"written\",\"entry\":\"Boot0000\","
                        "\"reason\":null}}");
        expect_status("present", "Boot0000");
        assert_int_equal(efivar_read(&env, "Boot0000", EFIVAR_GUID_GLOBAL, &value, NULL), 0);
        assert_int_equal(loadopt_parse(value.data, value.len, &o), 0);
        assert_string_equal(loadopt_description(o), "demo");
        /* In sectors of the disk. */
        assert_int_equal(loadopt_disk(o)->start, 256);
        assert_int_equal(loadopt_disk(o)->size, MIB);
        firmware_entry_install(&env, &esp, 4096, "demo", NULL, &f);
        assert_int_equal(f.outcome, FIRMWARE_ENTRY_PRESENT);
        put_order("\1\0\0\0", 4);
        expect_status("not-first", "Boot0000");
        put_order("\1\0", 2);
        expect_status("not-listed", "Boot0000");
}

static void test_old_install_goes(void **state)
{
        static struct layout old = {.n = 2};
        struct layout_partition before = esp;
        struct firmware_gone gone = {.n = 0};
        struct firmware_entry f;

        (void)state;
        (void)snprintf(before.uuid, sizeof(before.uuid), OLD_UUID);
        old.partitions[0] = before;
        old.partitions[1] = (struct layout_partition){.type = LAYOUT_TYPE_LINUX, .uuid = UUID};
        firmware_entry_remember(&old, &gone);
        assert_int_equal(gone.n, 1);
        assert_string_equal(gone.uuid[0], OLD_UUID);
        firmware_entry_install(&env, &before, 512, NULL, NULL, &f);
        put_order("\5\0\0\0", 4);
        firmware_entry_install(&env, &esp, 512, "", &gone, &f);
        assert_int_equal(f.outcome, FIRMWARE_ENTRY_WRITTEN);
        assert_string_equal(f.name, "Boot0000");
        scratch_expect(&dir, "BootOrder" GLOBAL, "\7\0\0\0\0\0\5\0", 8);
        assert_false(file_exists(dir.fd, "Boot0001" GLOBAL));
}

/* Firmware that refuses costs a warning. */
static void test_failure_is_told(void **state)
{
        struct firmware_entry f;
        struct env nowhere = ENV_INIT;

        (void)state;
        assert_int_equal(mkdirat(dir.fd, "BootOrder" GLOBAL, 0700), 0);
        firmware_entry_install(&env, &esp, 512, NULL, NULL, &f);
        assert_int_equal(f.outcome, FIRMWARE_ENTRY_FAILED);
        assert_non_null(strstr(f.reason, "BootOrder"));
        assert_false(file_exists(dir.fd, "Boot0000" GLOBAL));
        nowhere.efivarfs = "/nonexistent";
        firmware_entry_install(&nowhere, &esp, 512, NULL, NULL, &f);
        assert_int_equal(f.outcome, FIRMWARE_ENTRY_FAILED);
        firmware_entry_repair(&nowhere, &f);
        assert_int_equal(f.outcome, FIRMWARE_ENTRY_FAILED);
        assert_true(*f.reason);
        expect_json(&(struct firmware_entry){.outcome = FIRMWARE_ENTRY_NOT_TRIED},
                    "{\"firmware_entry\":null}");
        env.efivarfs = "/nonexistent";
        expect_status("unknown", NULL);
}

/* One that is listed is nobody's to move. */
static void test_nothing_to_repair(void **state)
{
        struct firmware_entry f;

        (void)state;
        firmware_entry_install(&env, &esp, 512, NULL, NULL, &f);
        put_order("\5\0\0\0", 4);
        firmware_entry_repair(&env, &f);
        assert_int_equal(f.outcome, FIRMWARE_ENTRY_PRESENT);
        assert_string_equal(f.name, "Boot0000");
        expect_status("not-first", "Boot0000");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_install, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_old_install_goes, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_failure_is_told, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_nothing_to_repair, set_up, tear_down),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
