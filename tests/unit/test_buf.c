/* SPDX-License-Identifier: Apache-2.0 */
#include "base/buf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void test_empty(void **state)
{
        _cleanup_(buf_done) struct buf b = BUF_INIT(10);

        (void)state;
        assert_string_equal(buf_str(&b), "");
        assert_null(b.data);
        assert_int_equal(buf_add(&b, NULL, 0), 0);
        assert_int_equal(b.len, 0);
        buf_reset(&b);
        buf_done(&b);
        buf_done(&b);
}

static void test_limit(void **state)
{
        static const size_t maxima[] = {0, 1, 127, 128, 129, 255, 1000};

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(maxima); i++) {
                _cleanup_(buf_done) struct buf b = BUF_INIT(maxima[i]);

                for (size_t k = 0; k < maxima[i]; k++) {
                        assert_int_equal(buf_add(&b, "x", 1), 0);
                        assert_int_equal(strlen(buf_str(&b)), k + 1);
                }
                assert_int_equal(buf_add(&b, "x", 1), -E2BIG);
                assert_int_equal(buf_add(&b, "x", 0), 0);
                assert_int_equal(b.len, maxima[i]);
        }
}

static void test_huge_requests(void **state)
{
        _cleanup_(buf_done) struct buf b = BUF_INIT(100);
        uint8_t *p = NULL;

        (void)state;
        assert_int_equal(buf_add_str(&b, "abc"), 0);
        assert_int_equal(buf_reserve(&b, SIZE_MAX, &p), -E2BIG);
        assert_int_equal(buf_reserve(&b, SIZE_MAX - 1, &p), -E2BIG);
        assert_int_equal(buf_reserve(&b, 98, &p), -E2BIG);
        assert_null(p);
        assert_int_equal(buf_reserve(&b, 97, &p), 0);
        assert_ptr_equal(p, b.data + 3);
}

static void test_failure_keeps_content(void **state)
{
        _cleanup_(buf_done) struct buf b = BUF_INIT(6);

        (void)state;
        assert_int_equal(buf_add_str(&b, "abc"), 0);
        assert_int_equal(buf_add_str(&b, "defg"), -E2BIG);
        assert_int_equal(buf_printf(&b, "%d", 12345), -E2BIG);
        assert_string_equal(buf_str(&b), "abc");
        assert_int_equal(b.len, 3);
        assert_int_equal(buf_printf(&b, "%03d", 7), 0);
        assert_string_equal(buf_str(&b), "abc007");
}

static void test_binary_and_reset(void **state)
{
        _cleanup_(buf_done) struct buf b = BUF_INIT(1000);
        uint8_t *p;

        (void)state;
        assert_int_equal(buf_add(&b, "a\0b", 3), 0);
        assert_memory_equal(b.data, "a\0b", 4);
        assert_int_equal(buf_reserve(&b, 2, &p), 0);
        memcpy(p, "cd", 2);
        buf_commit(&b, 1);
        assert_int_equal(b.len, 4);
        assert_memory_equal(b.data, "a\0bc", 5);
        buf_reset(&b);
        assert_int_equal(b.len, 0);
        assert_string_equal(buf_str(&b), "");
        assert_true(b.allocated > 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_empty),
                cmocka_unit_test(test_limit),
                cmocka_unit_test(test_huge_requests),
                cmocka_unit_test(test_failure_keeps_content),
                cmocka_unit_test(test_binary_and_reset),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
