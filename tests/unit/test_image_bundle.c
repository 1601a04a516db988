/* SPDX-License-Identifier: Apache-2.0 */
/* image/bundle: names, order, and what becomes of files that change. That the tar is one,
 * tests/image says with tar(1). */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "image/bundle.h"

static int to_buf(void *ctx, const void *data, size_t n, struct error *e)
{
        return buf_add(ctx, data, n) < 0 ? error_oom(e) : 0;
}

static struct bundle *fresh(void)
{
        struct bundle *b = NULL;

        assert_int_equal(bundle_new(1700000000, &b, NULL), 0);
        return b;
}

static void test_folders_stand_before_what_is_in_them(void **state)
{
        _cleanup_(bundle_free_p) struct bundle *b = fresh();
        static const char *const names[] = {"a", "a/b", "a/b/one", "a/b/two", "a/c"};

        (void)state;
        assert_int_equal(bundle_add_data(b, "a/b/one", "1", 1, NULL), 0);
        assert_int_equal(bundle_add_data(b, "a/b/two", "", 0, NULL), 0);
        assert_int_equal(bundle_add_folder(b, "a/c", NULL), 0);
        assert_int_equal(bundle_add_folder(b, "a/c", NULL), 0);
        for (size_t i = 0; i < ARRAY_SIZE(names); i++)
                assert_string_equal(bundle_at(b, i)->name, names[i]);
        assert_null(bundle_at(b, ARRAY_SIZE(names)));
}

static void test_names_that_cannot_be(void **state)
{
        _cleanup_(bundle_free_p) struct bundle *b = fresh();
        _cleanup_(buf_done) struct buf out = BUF_INIT(1 << 20);
        char name[102];

        (void)state;
        assert_int_equal(bundle_add_data(b, "a/b", "1", 1, NULL), 0);
        assert_int_equal(bundle_add_data(b, "a/b", "1", 1, NULL), -EEXIST);
        assert_int_equal(bundle_add_data(b, "a", "1", 1, NULL), -EEXIST);
        assert_int_equal(bundle_add_data(b, "a/b/c", "1", 1, NULL), -ENOTDIR);
        assert_int_equal(bundle_add_data(b, "a//c", "1", 1, NULL), -EINVAL);
        assert_int_equal(bundle_add_data(b, "/c", "1", 1, NULL), -EINVAL);
        assert_int_equal(bundle_add_data(b, "a/", "1", 1, NULL), -EINVAL);
        assert_int_equal(bundle_add_data(b, "../c", "1", 1, NULL), -EINVAL);
        memset(name, 'x', sizeof(name));
        name[101] = '\0';
        assert_int_equal(bundle_add_data(b, name + 1, "1", 1, NULL), 0);
        assert_int_equal(bundle_write_tar(b, to_buf, &out, NULL), 0);
        assert_int_equal(bundle_add_data(b, name, "1", 1, NULL), 0);
        assert_int_equal(bundle_write_tar(b, to_buf, &out, NULL), -ENAMETOOLONG);
}

static void test_size_is_told_before_it_is_written(void **state)
{
        _cleanup_(bundle_free_p) struct bundle *b = fresh();
        _cleanup_(buf_done) struct buf out = BUF_INIT(1 << 20), again = BUF_INIT(1 << 20);
        struct bundle *inner = fresh();
        uint8_t told[SHA256_SIZE], seen[SHA256_SIZE];

        (void)state;
        assert_int_equal(bundle_add_data(inner, "x", told, 1, NULL), 0);
        assert_int_equal(bundle_add_data(b, "one", "1", 1, NULL), 0);
        assert_int_equal(bundle_add_tar(b, "d/inner", inner, NULL), 0);
        assert_int_equal(bundle_write_tar(b, to_buf, &out, NULL), 0);
        /* one: header and block; d: header; inner: header and its five blocks; the end: two */
        assert_int_equal(bundle_tar_size(b), 512 * (2 + 1 + 6 - 1 + 2));
        assert_int_equal(out.len, bundle_tar_size(b));
        assert_int_equal(bundle_write_tar(b, to_buf, &again, NULL), 0);
        assert_memory_equal(out.data, again.data, out.len);
        assert_int_equal(bundle_tar_digest(b, told, NULL), 0);
        assert_int_equal(sha256(out.data, out.len, seen), 0);
        assert_memory_equal(told, seen, SHA256_SIZE);
}

static void test_file_that_changes(void **state)
{
        _cleanup_(bundle_free_p) struct bundle *b = fresh();
        _cleanup_(buf_done) struct buf out = BUF_INIT(1 << 20);
        FILE *f = tmpfile();

        (void)state;
        assert_non_null(f);
        assert_int_equal(ftruncate(fileno(f), 1000), 0);
        assert_int_equal(bundle_add_fd(b, "f", fileno(f), NULL), 0);
        assert_int_equal(bundle_write_tar(b, to_buf, &out, NULL), 0);
        assert_int_equal(ftruncate(fileno(f), 999), 0);
        assert_int_equal(bundle_write_tar(b, to_buf, &out, NULL), -ESTALE);
        assert_int_equal(ftruncate(fileno(f), 1001), 0);
        assert_int_equal(bundle_write_tar(b, to_buf, &out, NULL), -ESTALE);
        (void)fclose(f);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_folders_stand_before_what_is_in_them),
                cmocka_unit_test(test_names_that_cannot_be),
                cmocka_unit_test(test_size_is_told_before_it_is_written),
                cmocka_unit_test(test_file_that_changes),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
