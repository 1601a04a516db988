/* SPDX-License-Identifier: Apache-2.0 */
/* image/fat: judged by fsck.fat and by what mtools read back. */
#include "image/fat.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "base/spawn.h"
#include "image/fat_name.h"
#include "tests/unit/scratch.h"

static struct scratch dir;
static char path[128];

static int set_up(void **state)
{
        (void)state;
        scratch_make(&dir);
        (void)snprintf(path, sizeof(path), "%s/fat", dir.path);
        return 0;
}

static int tear_down(void **state)
{
        (void)state;
        scratch_clean(&dir);
        return 0;
}

static struct bundle *fresh(void)
{
        struct bundle *b = NULL;

        assert_int_equal(bundle_new(1700000000, &b, NULL), 0);
        return b;
}

static int write_out(const struct bundle *b)
{
        _cleanup_close_ int fd =
                openat(dir.fd, "fat", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

        assert_true(fd >= 0);
        return fat_write(b, "TESTDATA", 0x12345678, fd, NULL);
}

static void check(void)
{
        const char *const argv[] = {"fsck.fat", "-n", path, NULL};
        _cleanup_(buf_done) struct buf said = BUF_INIT(1 << 16);
        struct spawn_result r;

        assert_int_equal(spawn_run(argv, 60, &said, &r, NULL), 0);
        if (r.status != 0)
                print_message("%s\n", buf_str(&said));
        assert_int_equal(r.status, 0);
}

/* A file of the image through mtools, beside it as "copy". */
static void expect(const char *name, const void *data, size_t n)
{
        char from[512], to[160];
        const char *const argv[] = {"mcopy", "-n", "-i", path, from, to, NULL};
        struct error e = ERROR_INIT;

        (void)snprintf(from, sizeof(from), "::/%s", name);
        (void)snprintf(to, sizeof(to), "%s/copy", dir.path);
        (void)unlinkat(dir.fd, "copy", 0);
        if (spawn_check(argv, 60, &e) < 0)
                fail_msg("%s: %s", name, e.text);
        scratch_expect(&dir, "copy", data, n);
}

static void test_empty(void **state)
{
        _cleanup_(bundle_free_p) struct bundle *b = fresh();

        (void)state;
        assert_int_equal(write_out(b), 0);
        check();
}

static void test_names_and_sizes(void **state)
{
        _cleanup_(bundle_free_p) struct bundle *b = fresh();
        static const char *const names[] = {
                "EFI/BOOT/BOOTX64.EFI",
                "EFI/kairos/norole.efi",
                "loader/entries/norole.conf",
                "loader/entries/norole-2.conf",
                "loader/entries/norole-3.conf",
                "a.b.c/with blanks and. dots.text",
                "noextension",
                ".hidden",
                "UPPER.TXT",
                "Ünï/日本語.txt",
                "exactly-thirte",
                "exactly-thirt",
                "a-name-of-many-signs-with-more-than-four-records.configuration"};
        static uint8_t data[ARRAY_SIZE(names) * 1000];

        (void)state;
        for (size_t i = 0; i < sizeof(data); i++)
                data[i] = (uint8_t)(i * 7 + i / 251);
        for (size_t i = 0; i < ARRAY_SIZE(names); i++)
                assert_int_equal(bundle_add_data(b, names[i], data, i * 1000, NULL), 0);
        assert_int_equal(write_out(b), 0);
        check();
        for (size_t i = 0; i < ARRAY_SIZE(names); i++)
                if (names[i][0] > 0) /* mtools wants a locale: tests/image reads others */
                        expect(names[i], data, i * 1000);
}

/* Enough of them that a folder needs several clusters and short names get long tails. */
static void test_many_in_one_folder(void **state)
{
        _cleanup_(bundle_free_p) struct bundle *b = fresh();
        char name[64];

        (void)state;
        for (unsigned i = 0; i < 300; i++) {
                (void)snprintf(name, sizeof(name), "d/a name like the others %u.txt", i);
                assert_int_equal(bundle_add_data(b, name, name, strlen(name), NULL), 0);
        }
        assert_int_equal(write_out(b), 0);
        check();
        expect(name, name, strlen(name));
        expect("d/a name like the others 9.txt", "d/a name like the others 9.txt", 30);
}

/* Larger clusters when there is more to hold. */
static void test_large_file(void **state)
{
        _cleanup_(bundle_free_p) struct bundle *b = fresh();
        uint8_t head[512];
        FILE *f = tmpfile();
        int fd;

        (void)state;
        assert_non_null(f);
        assert_int_equal(ftruncate(fileno(f), (off_t)200 << 20), 0);
        assert_int_equal(bundle_add_fd(b, "large", fileno(f), NULL), 0);
        assert_int_equal(write_out(b), 0);
        check();
        fd = openat(dir.fd, "fat", O_RDONLY | O_CLOEXEC);
        assert_int_equal(file_pread(fd, head, 512, 0), 512);
        assert_int_equal(head[13], 4); /* sectors of a cluster */
        close_p(&fd);
        (void)fclose(f);
}

static void test_names_that_fat_cannot_hold(void **state)
{
        static const char *const bad[] = {"a:b", "x\x01", "dot.", "blank ", "\xff", "a\\b", "a\"b"};

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
                _cleanup_(bundle_free_p) struct bundle *b = fresh();

                assert_int_equal(bundle_add_data(b, bad[i], "", 0, NULL), 0);
                assert_int_equal(write_out(b), -EILSEQ);
        }
}

static void test_names_that_differ_by_case_only(void **state)
{
        _cleanup_(bundle_free_p) struct bundle *b = fresh();

        (void)state;
        assert_int_equal(bundle_add_data(b, "d/File", "", 0, NULL), 0);
        assert_int_equal(bundle_add_data(b, "e/FILE", "", 0, NULL), 0);
        assert_int_equal(write_out(b), 0);
        assert_int_equal(bundle_add_data(b, "d/fiLe", "", 0, NULL), 0);
        assert_int_equal(write_out(b), -EEXIST);
}

static void test_short_names(void **state)
{
        static const struct {
                const char *name, *brief;
                bool fits;
        } cases[] = {
                {"BOOTX64.EFI", "BOOTX64 EFI", true}, {"bootx64.efi", "BOOTX64 EFI", false},
                {"loader", "LOADER     ", false},     {"longer-than-8.conf", "LONGER-TCON", false},
                {"a.b.c", "A_B     C  ", false},      {".x", "_X         ", false},
                {"\xc3\xa4", "_          ", false}};

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                struct fat_name n;

                assert_int_equal(fat_name_make(cases[i].name, &n), 0);
                assert_memory_equal(n.brief, cases[i].brief, FAT_BRIEF_SIZE);
                assert_int_equal(n.fits, cases[i].fits);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_empty, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_names_and_sizes, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_many_in_one_folder, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_large_file, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_names_that_fat_cannot_hold, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_names_that_differ_by_case_only, set_up,
                                                tear_down),
                cmocka_unit_test(test_short_names),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
