/* SPDX-License-Identifier: Apache-2.0 */
/* The end of a volume, in a plain file. */
#include "partition/erase.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>
#include <libcryptsetup.h>

#include "base/limits.h"
#include "partition/luks.h"
#include "tests/unit/scratch.h"

static struct scratch dir;
static char path[128];
static struct error error;
static char steps[512];
static uint64_t last_done, last_total;

static void make(uint64_t size)
{
        _cleanup_close_ int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

        assert_true(fd >= 0);
        assert_int_equal(ftruncate(fd, (off_t)size), 0);
        /* The last block, which no header reaches. */
        if (size > BUFSIZ)
                assert_int_equal(file_pwrite(fd, "cipher", 6, size - 4096), 0);
}

static int set_up(void **state)
{
        (void)state;
        scratch_make(&dir);
        (void)snprintf(path, sizeof(path), "%s/volume", dir.path);
        error_clear(&error);
        steps[0] = '\0';
        return 0;
}

static int tear_down(void **state)
{
        (void)state;
        scratch_clean(&dir);
        return 0;
}

static int note_step(void *arg, const char *what)
{
        size_t n = strlen(steps);

        (void)arg;
        (void)snprintf(steps + n, sizeof(steps) - n, "%s ", what);
        return 0;
}

static int fail_late(void *arg, const char *what)
{
        (void)arg;
        return strcmp(what, "erase-header") == 0 ? -EIO : 0;
}

static void note_progress(void *arg, uint64_t done, uint64_t total)
{
        (void)arg;
        last_done = done;
        last_total = total;
}

static bool all_zero(uint64_t from, uint64_t n)
{
        _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
        uint8_t block[4096];
        static const uint8_t zeros[sizeof(block)];

        for (uint64_t at = from; at < from + n; at += sizeof(block)) {
                assert_int_equal(file_pread(fd, block, sizeof(block), at), sizeof(block));
                if (memcmp(block, zeros, sizeof(block)) != 0)
                        return false;
        }
        return true;
}

static void test_volume(void **state)
{
        const struct luks_format_options options = {.label = "L", .sector_size = 512};
        const struct erase_hooks hooks = {.step = note_step, .progress = note_progress};
        _cleanup_(luks_free_p) struct luks *l = NULL, *gone = NULL;
        struct erase_report report;

        (void)state;
        make(20 * MIB);
        assert_int_equal(luks_format(path, &options, &l, &error), 0);
        assert_int_equal(erase_volume(path, false, &hooks, &report, &error), 0);
        assert_int_equal(report.overwritten, LUKS_HEADER_SIZE);
        assert_true(report.discarded && report.reads_zero);
        assert_false(report.zeroed);
        assert_true(all_zero(0, 20 * MIB));
        assert_int_equal(luks_open(path, &gone, NULL), -EMEDIUMTYPE);
        assert_string_equal(steps, "erase-key-slots erase-half erase-header discard ");
        assert_true(last_done > 0 && last_done <= last_total);
}

/* Until the key slots are gone for certain, the header tells whose volume this is. */
static void test_header_goes_last(void **state)
{
        const struct luks_format_options options = {.label = "L", .sector_size = 512};
        const struct erase_hooks hooks = {.step = fail_late};
        _cleanup_(secret_free_p) struct secret *raw = secret_random(32), *key = secret_base64(raw);
        _cleanup_(luks_free_p) struct luks *l = NULL, *left = NULL;
        struct erase_report report;
        int slot;

        (void)state;
        make(20 * MIB);
        assert_int_equal(luks_format(path, &options, &l, &error), 0);
        assert_int_equal(luks_add_keyslot(l, NULL, key, &slot, &error), 0);
        assert_int_equal(erase_volume(path, false, &hooks, &report, &error), -EIO);
        assert_int_equal(luks_open(path, &left, &error), 0);
        assert_string_equal(luks_uuid(left), luks_uuid(l));
        assert_true(luks_test_secret(left, slot, key, NULL) < 0);
        assert_int_equal(erase_volume(path, false, NULL, &report, &error), 0);
}

/* A volume of other tools may have its data, and its key slots, further behind. */
static void test_larger_header(void **state)
{
        struct crypt_device *cd = NULL;
        struct crypt_params_luks2 params = {.sector_size = 512};
        struct erase_report report;

        (void)state;
        make(40 * MIB);
        assert_int_equal(crypt_init(&cd, path), 0);
        assert_int_equal(crypt_set_data_offset(cd, 32 * MIB / 512), 0);
        assert_int_equal(
                crypt_format(cd, CRYPT_LUKS2, "aes", "xts-plain64", NULL, NULL, 64, &params), 0);
        crypt_free(cd);
        assert_int_equal(erase_volume(path, false, NULL, &report, &error), 0);
        assert_int_equal(report.overwritten, 32 * MIB);
}

static void test_overwrite(void **state)
{
        struct erase_report report;

        (void)state;
        make(20 * MIB + 12345 / 512 * 512);
        assert_int_equal(erase_volume(path, true, NULL, &report, &error), 0);
        assert_true(report.zeroed && report.reads_zero);
        assert_true(all_zero(16 * MIB, 4 * MIB));
}

static void test_what_is_no_volume(void **state)
{
        struct erase_report report;

        (void)state;
        make(4096);
        assert_int_equal(erase_volume(path, false, NULL, &report, &error), -EINVAL);
        assert_int_equal(erase_volume(dir.path, false, NULL, &report, &error), -EISDIR);
        assert_int_equal(erase_volume("/nonexistent", false, NULL, &report, &error), -ENOENT);
        assert_int_equal(erase_volume("/dev/null", false, NULL, &report, &error), -ENOTBLK);
}

static void test_label(void **state)
{
        const struct luks_format_options options = {
                .label = "before", .sector_size = 512, .allow_discards = true};
        _cleanup_(luks_free_p) struct luks *l = NULL, *again = NULL;

        (void)state;
        make(20 * MIB);
        assert_int_equal(luks_format(path, &options, &l, &error), 0);
        assert_true(luks_allows_discards(l));
        assert_int_equal(luks_data_offset(l), LUKS_HEADER_SIZE);
        assert_int_equal(luks_set_label(l, "behind", &error), 0);
        assert_int_equal(luks_open(path, &again, &error), 0);
        assert_string_equal(luks_label(again), "behind");
        assert_string_equal(luks_uuid(again), luks_uuid(l));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_volume, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_header_goes_last, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_larger_header, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_overwrite, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_what_is_no_volume, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_label, set_up, tear_down),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
