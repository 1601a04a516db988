/* SPDX-License-Identifier: Apache-2.0 */
#include "image/cpio.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "tests/unit/scratch.h"

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

static int collect(void *ctx, const void *data, size_t n, struct error *e)
{
        (void)e;
        return buf_add(ctx, data, n);
}

static int refuse(void *ctx, const void *data, size_t n, struct error *e)
{
        (void)ctx;
        (void)data;
        (void)n;
        return error_set(e, ERROR_SPACE, ENOSPC, "no room here");
}

static void pack(unsigned level, struct buf *out)
{
        _cleanup_(tree_free_p) struct tree *t = NULL;

        assert_int_equal(tree_scan(dir.path, &t, NULL), 0);
        assert_int_equal(cpio_write(t, 0, level, collect, out, NULL), 0);
}

static void test_same_bytes(void **state)
{
        _cleanup_(buf_done) struct buf a = BUF_INIT(1 << 20), b = BUF_INIT(1 << 20);

        (void)state;
        scratch_put_text(&dir, "one", "1");
        scratch_put_text(&dir, "two", "2");
        pack(3, &a);
        scratch_put_text(&dir, "new", "1"); /* another inode, another time */
        assert_int_equal(renameat(dir.fd, "new", dir.fd, "one"), 0);
        pack(3, &b);
        assert_int_equal(a.len, b.len);
        assert_memory_equal(a.data, b.data, a.len);
        assert_memory_equal(a.data, "\x28\xb5\x2f\xfd", 4); /* zstd frame */
}

/* The error of whoever takes the bytes comes back as it was. */
static void test_sink_fails(void **state)
{
        _cleanup_(tree_free_p) struct tree *t = NULL;
        struct error e = ERROR_INIT;

        (void)state;
        scratch_put_text(&dir, "one", "1");
        assert_int_equal(tree_scan(dir.path, &t, NULL), 0);
        assert_int_equal(cpio_write(t, 0, 1, refuse, NULL, &e), -ENOSPC);
        assert_int_equal(e.class, ERROR_SPACE);
        assert_string_equal(e.text, "no room here");
}

static void test_file_vanishes(void **state)
{
        _cleanup_(tree_free_p) struct tree *t = NULL;
        _cleanup_(buf_done) struct buf out = BUF_INIT(1 << 20);
        struct error e = ERROR_INIT;

        (void)state;
        scratch_put_text(&dir, "one", "1");
        assert_int_equal(tree_scan(dir.path, &t, NULL), 0);
        assert_int_equal(unlinkat(dir.fd, "one", 0), 0);
        assert_int_equal(cpio_write(t, 0, 1, collect, &out, &e), -ENOENT);
        assert_non_null(strstr(e.text, "one"));
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_same_bytes, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_sink_fails, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_file_vanishes, set_up, tear_down),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
