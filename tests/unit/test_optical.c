/* SPDX-License-Identifier: Apache-2.0 */
/* partition/optical: the catalog of a disc. That xorriso writes such a one, tests/image says; that
 * Linux mounts it, vm-tests. */
#include "partition/optical.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "base/num.h"
#include "tests/unit/scratch.h"

#define SECTOR 2048u
#define CATALOG 20u
#define IMAGE 30u

static struct scratch dir;

static int set_up(void **state)
{
        (void)state;
        scratch_make(&dir);
        return 0;
}

static int tear_down(void **state)
{
        (void)state;
        scratch_clean(&dir);
        return 0;
}

static uint8_t disc[40 * SECTOR];

static void make_disc(void)
{
        uint8_t *record = disc + 17 * SECTOR, *catalog = disc + CATALOG * SECTOR;
        uint16_t sum = 0;

        memset(disc, 0, sizeof(disc));
        memcpy(record, "\0CD001\1EL TORITO SPECIFICATION", 30);
        put_le32(record + 0x47, CATALOG);
        catalog[0] = 1;
        catalog[1] = 0xef;
        catalog[30] = 0x55;
        catalog[31] = 0xaa;
        for (unsigned i = 0; i < 32; i += 2)
                sum = (uint16_t)(sum + le16_at(catalog + i));
        put_le16(catalog + 28, (uint16_t)(0x10000u - sum));
        catalog[32] = 0x88;
        put_le32(catalog + 32 + 8, IMAGE);
}

static int find(size_t size, uint64_t *offset, uint64_t *left)
{
        _cleanup_close_ int fd = -EBADF;

        scratch_put(&dir, "disc", disc, size);
        fd = openat(dir.fd, "disc", O_RDONLY | O_CLOEXEC);
        assert_true(fd >= 0);
        return optical_find_image(fd, offset, left, NULL);
}

static void test_image_is_found(void **state)
{
        uint64_t offset = 0, left = 0;

        (void)state;
        make_disc();
        assert_int_equal(find(sizeof(disc), &offset, &left), 0);
        assert_int_equal(offset, IMAGE * SECTOR);
        assert_int_equal(left, 10 * SECTOR);
}

static void test_broken_discs(void **state)
{
        static const struct {
                size_t at;
                uint8_t value;
        } changes[] = {
                {17 * SECTOR + 1, 'X'},             /* no volume descriptor */
                {17 * SECTOR + 7, 'X'},             /* no boot record */
                {17 * SECTOR + 0x49, 0xff},         /* catalog beyond the end */
                {CATALOG * SECTOR, 2},              /* no header */
                {CATALOG * SECTOR + 1, 0},          /* for a BIOS */
                {CATALOG * SECTOR + 4, 1},          /* sum */
                {CATALOG * SECTOR + 32, 0},         /* not bootable */
                {CATALOG * SECTOR + 33, 2},         /* a floppy */
                {CATALOG * SECTOR + 32 + 8, 1},     /* in front of the file system */
                {CATALOG * SECTOR + 32 + 8, 40},    /* at the end */
                {CATALOG * SECTOR + 32 + 11, 0xff}, /* far beyond it */
        };
        uint64_t offset, left;

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(changes); i++) {
                make_disc();
                disc[changes[i].at] = changes[i].value;
                assert_int_equal(find(sizeof(disc), &offset, &left), -ENODATA);
        }
        make_disc();
        for (size_t size = 0; size <= IMAGE * SECTOR; size += SECTOR)
                assert_int_equal(find(size, &offset, &left), -ENODATA);
}

static void test_drives(void **state)
{
        struct env env = ENV_INIT;
        _cleanup_(sysblock_names_done) struct sysblock_names names = {0};
        char sysfs[128];
        static const char *const devices[] = {"sr10", "sda", "sr2", "loop0"};

        (void)state;
        (void)snprintf(sysfs, sizeof(sysfs), "%s/sys", dir.path);
        env.sysfs = sysfs;
        assert_true(optical_list(&env, &names, NULL) < 0);
        for (size_t i = 0; i < ARRAY_SIZE(devices); i++) {
                char path[64];

                (void)snprintf(path, sizeof(path), "sys/block/%s", devices[i]);
                assert_int_equal(file_make_dirs(dir.fd, path, 0700), 0);
        }
        assert_int_equal(optical_list(&env, &names, NULL), 0);
        assert_int_equal(names.n, 2);
        assert_string_equal(names.name[0], "sr2");
        assert_string_equal(names.name[1], "sr10");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_image_is_found, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_broken_discs, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_drives, set_up, tear_down),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
