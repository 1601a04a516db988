/* SPDX-License-Identifier: Apache-2.0 */
#include "efivars/efivar.h"

#include <linux/fs.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/ioctl.h>

#include <cmocka.h>

#include "base/limits.h"
#include "tests/unit/efivar_world.h"

#define FILE_NAME "LoaderEntryOneShot-" EFIVAR_GUID_LOADER

static int read_it(struct buf *out, uint32_t *attributes)
{
        return efivar_read(&env, "LoaderEntryOneShot", EFIVAR_GUID_LOADER, out, attributes);
}

static int write_it(uint32_t attributes, const char *data, size_t n)
{
        return efivar_write(&env, "LoaderEntryOneShot", EFIVAR_GUID_LOADER, attributes, data, n);
}

static void test_read(void **state)
{
        static const struct {
                const char *content;
                size_t n;
                int result;
                size_t value_size;
        } table[] = {
                {"\x06\0\0\0\x01", 5, 0, 1},  {"\x07\0\0\0ab", 6, 0, 2},
                {"\x07\0\0\0", 4, 0, 0},      {"", 0, -ENOENT, 0}, /* created, never committed */
                {"\x07\0\0", 3, -EBADMSG, 0},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
                _cleanup_(buf_done) struct buf out = BUF_INIT(100);
                uint32_t attributes = 99;

                scratch_put(&dir, FILE_NAME, table[i].content, table[i].n);
                assert_int_equal(read_it(&out, &attributes), table[i].result);
                assert_int_equal(out.len, table[i].value_size);
                if (table[i].result < 0) {
                        assert_int_equal(attributes, 99);
                        continue;
                }
                assert_int_equal(attributes, table[i].content[0]);
                if (out.len > 0)
                        assert_memory_equal(out.data, table[i].content + 4, out.len);
        }
}

static void test_read_absent(void **state)
{
        _cleanup_(buf_done) struct buf out = BUF_INIT(100);
        struct env nowhere = ENV_INIT;

        (void)state;
        assert_int_equal(read_it(&out, NULL), -ENOENT);
        nowhere.efivarfs = "/nonexistent";
        assert_int_equal(efivar_read(&nowhere, "LoaderInfo", EFIVAR_GUID_LOADER, &out, NULL),
                         -ENOENT);
}

static void test_read_bounds(void **state)
{
        _cleanup_(buf_done) struct buf big = BUF_INIT(2 * LIMIT_EFI_VARIABLE);
        _cleanup_(buf_done) struct buf out = BUF_INIT(2 * LIMIT_EFI_VARIABLE);
        _cleanup_(buf_done) struct buf small = BUF_INIT(3);
        uint8_t *p;

        (void)state;
        assert_int_equal(buf_reserve(&big, LIMIT_EFI_VARIABLE + 5, &p), 0);
        memset(p, 7, LIMIT_EFI_VARIABLE + 5);
        scratch_put(&dir, FILE_NAME, p, LIMIT_EFI_VARIABLE + 5);
        assert_int_equal(read_it(&out, NULL), -E2BIG);
        scratch_put(&dir, FILE_NAME, p, LIMIT_EFI_VARIABLE + 4);
        assert_int_equal(read_it(&out, NULL), 0);
        assert_int_equal(out.len, LIMIT_EFI_VARIABLE);
        assert_int_equal(read_it(&small, NULL), -E2BIG);
        assert_int_equal(small.len, 0);
}

static void test_names(void **state)
{
        static const struct {
                const char *name, *guid;
                int result;
        } table[] = {
                {"", EFIVAR_GUID_LOADER, -EINVAL},
                {"../x", EFIVAR_GUID_LOADER, -EINVAL},
                {"x", "../../../../../../../../../../etc/pw", -EINVAL},
                {"x", "short", -EINVAL},
                {"x", EFIVAR_GUID_LOADER, -ENOENT},
        };
        char longest[300];

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
                _cleanup_(buf_done) struct buf out = BUF_INIT(100);

                assert_int_equal(efivar_read(&env, table[i].name, table[i].guid, &out, NULL),
                                 table[i].result);
        }
        memset(longest, 'x', sizeof(longest));
        longest[sizeof(longest) - 1] = '\0';
        assert_int_equal(efivar_delete(&env, longest, EFIVAR_GUID_LOADER), -ENAMETOOLONG);
}

static void test_write(void **state)
{
        struct timespec past[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
        struct stat st;

        (void)state;
        assert_int_equal(write_it(7, "hello", 5), 0);
        scratch_expect(&dir, FILE_NAME, "\x07\0\0\0hello", 9);
        /* A shorter value leaves nothing of the longer one. */
        assert_int_equal(write_it(7, "ab", 2), 0);
        scratch_expect(&dir, FILE_NAME, "\x07\0\0\0ab", 6);
        /* The same value again is not written. */
        assert_int_equal(utimensat(dir.fd, FILE_NAME, past, 0), 0);
        assert_int_equal(write_it(7, "ab", 2), 0);
        assert_int_equal(fstatat(dir.fd, FILE_NAME, &st, 0), 0);
        assert_int_equal(st.st_mtim.tv_sec, 1000);
        /* Other attributes are a change. */
        assert_int_equal(write_it(6, "ab", 2), 0);
        assert_int_equal(fstatat(dir.fd, FILE_NAME, &st, 0), 0);
        assert_int_not_equal(st.st_mtim.tv_sec, 1000);
        assert_int_equal(write_it(7, "", 0), -EINVAL);
}

static void test_delete(void **state)
{
        (void)state;
        assert_int_equal(efivar_delete(&env, "LoaderEntryOneShot", EFIVAR_GUID_LOADER), 0);
        scratch_put_text(&dir, FILE_NAME, "1234x");
        assert_int_equal(efivar_delete(&env, "LoaderEntryOneShot", EFIVAR_GUID_LOADER), 0);
        assert_false(file_exists(dir.fd, FILE_NAME));
}

static int change_flags(int add, int drop)
{
        _cleanup_close_ int fd = openat(dir.fd, FILE_NAME, O_RDONLY | O_CLOEXEC);
        int flags = 0;

        assert_true(fd >= 0);
        if (ioctl(fd, FS_IOC_GETFLAGS, &flags) < 0)
                return -errno;
        flags = (flags | add) & ~drop;
        if (ioctl(fd, FS_IOC_SETFLAGS, &flags) < 0)
                return -errno;
        return flags;
}

static void test_immutable(void **state)
{
        _cleanup_close_ int fd = -EBADF;
        int flags = 0;

        (void)state;
        scratch_put_text(&dir, FILE_NAME, "1234x");
        if (change_flags(FS_IMMUTABLE_FL, 0) < 0)
                skip(); /* needs a file system with flags, and the right to set them */
        assert_true(openat(dir.fd, FILE_NAME, O_WRONLY | O_CLOEXEC) < 0);
        assert_int_equal(write_it(7, "new", 3), 0);
        scratch_expect(&dir, FILE_NAME, "\x07\0\0\0new", 7);
        fd = openat(dir.fd, FILE_NAME, O_RDONLY | O_CLOEXEC);
        assert_int_equal(ioctl(fd, FS_IOC_GETFLAGS, &flags), 0);
        assert_true(flags & FS_IMMUTABLE_FL);
        assert_int_equal(efivar_delete(&env, "LoaderEntryOneShot", EFIVAR_GUID_LOADER), 0);
        assert_false(file_exists(dir.fd, FILE_NAME));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_read, efivar_world_make, efivar_world_end),
                cmocka_unit_test_setup_teardown(test_read_absent, efivar_world_make,
                                                efivar_world_end),
                cmocka_unit_test_setup_teardown(test_read_bounds, efivar_world_make,
                                                efivar_world_end),
                cmocka_unit_test_setup_teardown(test_names, efivar_world_make, efivar_world_end),
                cmocka_unit_test_setup_teardown(test_write, efivar_world_make, efivar_world_end),
                cmocka_unit_test_setup_teardown(test_delete, efivar_world_make, efivar_world_end),
                cmocka_unit_test_setup_teardown(test_immutable, efivar_world_make,
                                                efivar_world_end),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
