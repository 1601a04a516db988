/* SPDX-License-Identifier: Apache-2.0 */
/* The firmware's boot entries, on a folder that stands for efivarfs. */
#include "efivars/bootorder.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "base/num.h"
#include "tests/unit/efivar_world.h"

#define OUR_UUID "0b1fd3c5-7a2e-4c11-9d00-aabbccddeeff"
#define OLD_UUID "11111111-7a2e-4c11-9d00-aabbccddeeff"
#define FOREIGN_UUID "22222222-7a2e-4c11-9d00-aabbccddeeff"
#define PATH "EFI/systemd/systemd-bootx64.efi"
#define GLOBAL "-" EFIVAR_GUID_GLOBAL

static const struct bootorder_entry ours = {
        .disk = {.number = 1, .start = 2048, .size = 8192, .uuid = OUR_UUID},
        .path = PATH,
        .description = "demo",
};
static const char gone[][LOADOPT_UUID_SIZE] = {OLD_UUID};

static void put(const char *name, const void *data, size_t n)
{
        efivar_world_put(name, EFIVAR_GUID_GLOBAL, EFIVAR_PERSISTENT, data, n);
}

static void put_entry(const char *name, uint32_t attributes, const char *uuid, const char *path)
{
        _cleanup_(buf_done) struct buf value = BUF_INIT(LIMIT_LOAD_OPTION);
        struct loadopt_disk disk = ours.disk;

        (void)snprintf(disk.uuid, sizeof(disk.uuid), "%s", uuid);
        assert_int_equal(loadopt_format(attributes, "entry", &disk, path, &value), 0);
        put(name, value.data, value.len);
}

static void put_order(const uint16_t *list, size_t n)
{
        _cleanup_(buf_done) struct buf value = BUF_INIT(2 * LIMIT_BOOT_ORDER);

        assert_int_equal(loadopt_order_format(list, n, &value), 0);
        put("BootOrder", value.data, value.len);
}

static void expect_order(const uint16_t *list, size_t n)
{
        _cleanup_(buf_done) struct buf value = BUF_INIT(2 * LIMIT_BOOT_ORDER);
        uint16_t found[LIMIT_BOOT_ORDER];
        size_t count;

        assert_int_equal(efivar_read(&env, "BootOrder", EFIVAR_GUID_GLOBAL, &value, NULL), 0);
        assert_int_equal(
                loadopt_order_parse(value.data, value.len, found, LIMIT_BOOT_ORDER, &count), 0);
        assert_int_equal(count, n);
        assert_memory_equal(found, list, n * sizeof(*list));
}

/* Reads, plans and applies; how many variables it would have written. */
static unsigned settle(enum bootorder_wish wish, enum bootorder_state before, uint16_t number)
{
        _cleanup_(bootorder_done) struct bootorder b = {.n = 0};
        _cleanup_(bootorder_plan_done) struct bootorder_plan p = {.n_order = 0};
        struct error e = ERROR_INIT;

        assert_int_equal(bootorder_read(&env, &b, &e), 0);
        assert_int_equal(bootorder_plan(&b, &ours, wish, gone, ARRAY_SIZE(gone), &p, &e), 0);
        assert_int_equal(p.before, before);
        assert_int_equal(p.number, number);
        assert_int_equal(bootorder_apply(&env, &p, &e), 0);
        return (unsigned)p.write_entry + (unsigned)p.write_order + (unsigned)p.n_removed;
}

static unsigned make_first(enum bootorder_state before, uint16_t number)
{
        return settle(BOOTORDER_MAKE_FIRST, before, number);
}

static enum bootorder_state look(uint16_t *number)
{
        _cleanup_(bootorder_done) struct bootorder b = {.n = 0};

        assert_int_equal(bootorder_read(&env, &b, NULL), 0);
        return bootorder_find(&b, OUR_UUID, PATH, number);
}

/* The file is as it was: nobody wrote it again. */
struct stamp {
        struct timespec time;
        ino_t inode;
};

static struct stamp stamp_of(const char *name)
{
        struct stat st;

        assert_int_equal(fstatat(dir.fd, name, &st, 0), 0);
        return (struct stamp){st.st_mtim, st.st_ino};
}

static void test_empty_firmware(void **state)
{
        uint16_t number = 99;
        struct stamp entry, order, again;

        (void)state;
        assert_int_equal(look(&number), BOOTORDER_MISSING);
        assert_int_equal(number, 99);
        assert_int_equal(make_first(BOOTORDER_MISSING, 0), 2);
        expect_order((uint16_t[]){0}, 1);
        assert_int_equal(look(&number), BOOTORDER_FIRST);
        assert_int_equal(number, 0);

        /* A second run writes nothing. */
        entry = stamp_of("Boot0000" GLOBAL);
        order = stamp_of("BootOrder" GLOBAL);
        assert_int_equal(make_first(BOOTORDER_FIRST, 0), 0);
        again = stamp_of("Boot0000" GLOBAL);
        assert_memory_equal(&again.time, &entry.time, sizeof(entry.time));
        again = stamp_of("BootOrder" GLOBAL);
        assert_memory_equal(&again.time, &order.time, sizeof(order.time));
}

static void test_among_others(void **state)
{
        (void)state;
        put_entry("Boot0000", LOADOPT_ACTIVE, FOREIGN_UUID, PATH);
        put_entry("Boot0001", LOADOPT_ACTIVE, OUR_UUID, "EFI/other/loader.efi");
        put("Boot0003", "malformed", 9);
        /* A number that BootOrder waits for is not free either. */
        put_order((uint16_t[]){3, 0, 2, 1}, 4);
        assert_int_equal(make_first(BOOTORDER_MISSING, 4), 2);
        expect_order((uint16_t[]){4, 3, 0, 2, 1}, 5);
        scratch_expect(&dir, "Boot0003" GLOBAL, "\x07\0\0\0malformed", 13);
        assert_int_equal(make_first(BOOTORDER_FIRST, 4), 0);
}

static void test_found_by_content(void **state)
{
        uint16_t number;

        (void)state;
        put_entry("Boot0000", LOADOPT_ACTIVE, FOREIGN_UUID, PATH);
        put_entry("Boot00AB", LOADOPT_ACTIVE, "0B1FD3C5-7A2E-4C11-9D00-AABBCCDDEEFF",
                  "\\efi\\SYSTEMD\\systemd-bootx64.EFI");
        put_order((uint16_t[]){0, 0xab}, 2);
        assert_int_equal(look(&number), BOOTORDER_NOT_FIRST);
        assert_int_equal(number, 0xab);
        assert_int_equal(make_first(BOOTORDER_NOT_FIRST, 0xab), 1);
        expect_order((uint16_t[]){0xab, 0}, 2);
}

/* A partition that grew, and an entry that was switched off. */
static void test_wrong_entry_is_made_right(void **state)
{
        _cleanup_(buf_done) struct buf value = BUF_INIT(LIMIT_LOAD_OPTION);
        struct loadopt_disk smaller = ours.disk;

        (void)state;
        smaller.size--;
        assert_int_equal(loadopt_format(LOADOPT_ACTIVE, "entry", &smaller, PATH, &value), 0);
        put("Boot0000", value.data, value.len);
        put_order((uint16_t[]){0}, 1);
        assert_int_equal(make_first(BOOTORDER_FIRST, 0), 1);
        assert_int_equal(make_first(BOOTORDER_FIRST, 0), 0);
        put_entry("Boot0000", 0, OUR_UUID, PATH);
        assert_int_equal(settle(BOOTORDER_REPAIR, BOOTORDER_FIRST, 0), 0);
        assert_int_equal(make_first(BOOTORDER_FIRST, 0), 1);
}

static void test_old_installs_and_doubles_go(void **state)
{
        (void)state;
        put_entry("Boot0000", LOADOPT_ACTIVE, OLD_UUID, PATH);
        put_entry("Boot0001", LOADOPT_ACTIVE, OLD_UUID, "EFI/other/loader.efi");
        put_entry("Boot0002", LOADOPT_ACTIVE, FOREIGN_UUID, PATH);
        put_entry("Boot0003", LOADOPT_ACTIVE, OUR_UUID, PATH);
        put_entry("Boot0004", LOADOPT_ACTIVE, OUR_UUID, PATH);
        put_order((uint16_t[]){0, 1, 4, 2, 3}, 5);
        assert_int_equal(make_first(BOOTORDER_NOT_FIRST, 4), 3);
        expect_order((uint16_t[]){4, 1, 2}, 3);
        assert_false(file_exists(dir.fd, "Boot0000" GLOBAL));
        assert_true(file_exists(dir.fd, "Boot0001" GLOBAL));
        assert_true(file_exists(dir.fd, "Boot0002" GLOBAL));
        assert_false(file_exists(dir.fd, "Boot0003" GLOBAL));
        assert_int_equal(make_first(BOOTORDER_FIRST, 4), 0);
}

/* The number of what is removed may be taken again: also when the memory is full. */
static void test_number_of_an_old_install(void **state)
{
        (void)state;
        put_entry("Boot0000", LOADOPT_ACTIVE, OLD_UUID, PATH);
        put_order((uint16_t[]){0}, 1);
        assert_int_equal(make_first(BOOTORDER_MISSING, 0), 2);
        assert_int_equal(make_first(BOOTORDER_FIRST, 0), 0);
}

static void test_repair(void **state)
{
        (void)state;
        put_entry("Boot0000", LOADOPT_ACTIVE, OLD_UUID, PATH);
        put_entry("Boot0001", LOADOPT_ACTIVE, OUR_UUID, PATH);
        /* Somebody wants another system first: that is not for us to decide. */
        put_order((uint16_t[]){0, 1}, 2);
        assert_int_equal(settle(BOOTORDER_REPAIR, BOOTORDER_NOT_FIRST, 1), 0);
        expect_order((uint16_t[]){0, 1}, 2);
        put_order((uint16_t[]){0}, 1);
        assert_int_equal(settle(BOOTORDER_REPAIR, BOOTORDER_UNLISTED, 1), 1);
        expect_order((uint16_t[]){1, 0}, 2);
        assert_int_equal(efivar_delete(&env, "Boot0001", EFIVAR_GUID_GLOBAL), 0);
        put_order((uint16_t[]){0}, 1);
        assert_int_equal(settle(BOOTORDER_REPAIR, BOOTORDER_MISSING, 1), 2);
        expect_order((uint16_t[]){1, 0}, 2);
        assert_true(file_exists(dir.fd, "Boot0000" GLOBAL));
}

static void test_names_that_are_none(void **state)
{
        uint16_t number;

        (void)state;
        put_entry("Boot0001", LOADOPT_ACTIVE, OUR_UUID, PATH);
        scratch_put_text(&dir, "Boot0002-" EFIVAR_GUID_LOADER, "x");
        scratch_put_text(&dir, "Boot000g" GLOBAL, "x");
        scratch_put_text(&dir, "BootNext" GLOBAL, "x");
        scratch_put_text(&dir, "Boot", "x");
        scratch_put_text(&dir, "Boot0003" GLOBAL, ""); /* created, never committed */
        assert_int_equal(look(&number), BOOTORDER_UNLISTED);
        assert_int_equal(make_first(BOOTORDER_UNLISTED, 1), 1);
}

static void test_unreadable(void **state)
{
        struct bootorder b = {.n = 0};
        struct error e = ERROR_INIT;
        struct env nowhere = {.efivarfs = "/nonexistent"};

        (void)state;
        assert_int_equal(bootorder_read(&nowhere, &b, &e), -ENOENT);
        assert_int_equal(e.class, ERROR_PRECONDITION);
        put("BootOrder", "odd", 3);
        assert_int_equal(bootorder_read(&env, &b, &e), -EBADMSG);
        assert_non_null(strstr(e.text, "BootOrder"));
}

static void test_bounds(void **state)
{
        struct bootorder b = {.n = 0};
        struct error e = ERROR_INIT;
        uint16_t order[LIMIT_BOOT_ORDER];
        struct bootorder_plan p;

        (void)state;
        for (unsigned i = 0; i <= LIMIT_BOOT_ORDER; i++) {
                char name[64];

                (void)snprintf(name, sizeof(name), "Boot%04X" GLOBAL, i);
                scratch_put(&dir, name, "\7\0\0\0x", 5);
        }
        assert_int_equal(bootorder_read(&env, &b, &e), -E2BIG);
        scratch_clean(&dir);
        scratch_make(&dir);
        for (unsigned i = 0; i < LIMIT_BOOT_ORDER; i++)
                order[i] = (uint16_t)(i + 1);
        put_order(order, LIMIT_BOOT_ORDER);
        assert_int_equal(bootorder_read(&env, &b, &e), 0);
        assert_int_equal(bootorder_plan(&b, &ours, BOOTORDER_MAKE_FIRST, NULL, 0, &p, &e), -E2BIG);
        assert_int_equal(e.class, ERROR_PRECONDITION);
        bootorder_done(&b);
}

/* A variable that cannot be written is told by name, and nothing behind it is tried. */
static void test_write_fails(void **state)
{
        _cleanup_(bootorder_done) struct bootorder b = {.n = 0};
        _cleanup_(bootorder_plan_done) struct bootorder_plan p = {.n_order = 0};
        struct error e = ERROR_INIT;

        (void)state;
        assert_int_equal(bootorder_read(&env, &b, &e), 0);
        assert_int_equal(bootorder_plan(&b, &ours, BOOTORDER_MAKE_FIRST, NULL, 0, &p, &e), 0);
        assert_int_equal(mkdirat(dir.fd, "Boot0000" GLOBAL, 0700), 0);
        assert_true(bootorder_apply(&env, &p, &e) < 0);
        assert_non_null(strstr(e.text, "Boot0000"));
        assert_true(*e.advice);
        assert_false(file_exists(dir.fd, "BootOrder" GLOBAL));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_empty_firmware, efivar_world_make,
                                                efivar_world_end),
                cmocka_unit_test_setup_teardown(test_among_others, efivar_world_make,
                                                efivar_world_end),
                cmocka_unit_test_setup_teardown(test_found_by_content, efivar_world_make,
                                                efivar_world_end),
                cmocka_unit_test_setup_teardown(test_wrong_entry_is_made_right, efivar_world_make,
                                                efivar_world_end),
                cmocka_unit_test_setup_teardown(test_old_installs_and_doubles_go, efivar_world_make,
                                                efivar_world_end),
                cmocka_unit_test_setup_teardown(test_number_of_an_old_install, efivar_world_make,
                                                efivar_world_end),
                cmocka_unit_test_setup_teardown(test_repair, efivar_world_make, efivar_world_end),
                cmocka_unit_test_setup_teardown(test_names_that_are_none, efivar_world_make,
                                                efivar_world_end),
                cmocka_unit_test_setup_teardown(test_unreadable, efivar_world_make,
                                                efivar_world_end),
                cmocka_unit_test_setup_teardown(test_bounds, efivar_world_make, efivar_world_end),
                cmocka_unit_test_setup_teardown(test_write_fails, efivar_world_make,
                                                efivar_world_end),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
