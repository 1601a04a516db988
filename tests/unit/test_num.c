/* SPDX-License-Identifier: Apache-2.0 */
#include "base/num.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void test_arithmetic(void **state)
{
        uint64_t v = 42;

        (void)state;
        assert_int_equal(add_u64(UINT64_MAX, 1, &v), -EOVERFLOW);
        assert_int_equal(mul_u64(UINT64_MAX, 2, &v), -EOVERFLOW);
        assert_int_equal(mul_u64(UINT64_C(1) << 32, UINT64_C(1) << 32, &v), -EOVERFLOW);
        assert_int_equal(align_up_u64(UINT64_MAX, 4096, &v), -EOVERFLOW);
        assert_int_equal(v, 42);
        assert_int_equal(add_u64(UINT64_MAX - 1, 1, &v), 0);
        assert_true(v == UINT64_MAX);
        assert_int_equal(mul_u64(UINT64_C(1) << 32, (UINT64_C(1) << 32) - 1, &v), 0);
        assert_true(v == UINT64_MAX - UINT32_MAX);
        /* The operands may be the output. */
        v = 7;
        assert_int_equal(mul_u64(v, 3, &v), 0);
        assert_int_equal(v, 21);
}

static void test_align(void **state)
{
        static const struct {
                uint64_t v, align, result;
        } table[] = {
                {0, 512, 0},
                {1, 512, 512},
                {512, 512, 512},
                {513, 512, 1024},
                {5, 1, 5},
                {4095, 4096, 4096},
                {UINT64_MAX - 4095, 4096, UINT64_MAX - 4095},
        };
        uint64_t v;

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
                assert_int_equal(align_up_u64(table[i].v, table[i].align, &v), 0);
                assert_true(v == table[i].result);
        }
}

static void test_range(void **state)
{
        static const struct {
                uint64_t offset, size, limit;
                bool fits;
        } table[] = {
                {0, 0, 0, true},
                {0, 1, 0, false},
                {10, 0, 10, true},
                {11, 0, 10, false},
                {3, 7, 10, true},
                {3, 8, 10, false},
                {UINT64_MAX, 1, UINT64_MAX, false},
                {1, UINT64_MAX, UINT64_MAX, false},
                {UINT64_MAX, UINT64_MAX, 10, false},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(table); i++)
                assert_int_equal(range_fits(table[i].offset, table[i].size, table[i].limit),
                                 table[i].fits);
}

static void test_little_endian(void **state)
{
        const uint8_t bytes[] = {0, 0xf1, 0xe2, 0xd3, 0xc4, 0xb5, 0xa6, 0x97, 0x88};
        uint8_t out[5] = {0};

        (void)state;
        assert_int_equal(le16_at(bytes + 1), 0xe2f1);
        assert_int_equal(le32_at(bytes + 1), 0xc4d3e2f1);
        assert_true(le64_at(bytes + 1) == UINT64_C(0x8897a6b5c4d3e2f1));
        put_le32(out + 1, 0xc4d3e2f1);
        assert_memory_equal(out, bytes, 5);
        put_le16(out + 1, 0x1234);
        assert_int_equal(le16_at(out + 1), 0x1234);
        assert_int_equal(out[3], 0xd3);
}

static void test_parse_u64(void **state)
{
        static const struct {
                const char *s;
                uint64_t max;
                int result;
                uint64_t value;
        } table[] = {
                {"0", UINT64_MAX, 0, 0},
                {"007", UINT64_MAX, 0, 7},
                {"18446744073709551615", UINT64_MAX, 0, UINT64_MAX},
                {"18446744073709551616", UINT64_MAX, -ERANGE, 0},
                {"99999999999999999999999", UINT64_MAX, -ERANGE, 0},
                {"10", 10, 0, 10},
                {"11", 10, -ERANGE, 0},
                {"", 10, -EINVAL, 0},
                {"-1", 10, -EINVAL, 0},
                {"+1", 10, -EINVAL, 0},
                {" 1", 10, -EINVAL, 0},
                {"1 ", 10, -EINVAL, 0},
                {"1\n", 10, -EINVAL, 0},
                {"0x1", 10, -EINVAL, 0},
                {"1.5", 10, -EINVAL, 0},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
                uint64_t v = 99;

                assert_int_equal(parse_u64_max(table[i].s, table[i].max, &v), table[i].result);
                assert_true(v == (table[i].result == 0 ? table[i].value : 99));
                if (table[i].max == UINT64_MAX)
                        assert_int_equal(parse_u64(table[i].s, &v), table[i].result);
        }
}

static void test_parse_size(void **state)
{
        static const struct {
                const char *s;
                int result;
                uint64_t value;
        } table[] = {
                {"0", 0, 0},
                {"512", 0, 512},
                {"4K", 0, 4096},
                {"4KiB", 0, 4096},
                {"128MiB", 0, UINT64_C(128) << 20},
                {"4G", 0, UINT64_C(4) << 30},
                {"2TiB", 0, UINT64_C(2) << 40},
                {"16777215T", 0, UINT64_C(16777215) << 40},
                {"16777216T", -ERANGE, 0},
                {"18446744073709551616", -ERANGE, 0},
                {"", -EINVAL, 0},
                {"K", -EINVAL, 0},
                {"4k", -EINVAL, 0},
                {"4KB", -EINVAL, 0},
                {"4Ki", -EINVAL, 0},
                {"4KiBx", -EINVAL, 0},
                {"4 K", -EINVAL, 0},
                {"-4K", -EINVAL, 0},
                {"1.5G", -EINVAL, 0},
                {"4P", -EINVAL, 0},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
                uint64_t v = 99;

                assert_int_equal(parse_size(table[i].s, &v), table[i].result);
                assert_true(v == (table[i].result == 0 ? table[i].value : 99));
        }
}

static void test_format_size(void **state)
{
        static const struct {
                uint64_t v;
                const char *text;
        } table[] = {
                {0, "0 B"},
                {1023, "1023 B"},
                {1024, "1 KiB"},
                {1536, "1.5 KiB"},
                {UINT64_C(128) << 20, "128 MiB"},
                {(UINT64_C(3) << 30) / 2, "1.5 GiB"},
                {UINT64_MAX, "15.9 EiB"},
        };
        char out[32], tiny[4];

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(table); i++)
                assert_string_equal(format_size(table[i].v, out, sizeof(out)), table[i].text);
        assert_int_equal(strlen(format_size(1023, tiny, sizeof(tiny))), 3);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_arithmetic),  cmocka_unit_test(test_align),
                cmocka_unit_test(test_range),       cmocka_unit_test(test_little_endian),
                cmocka_unit_test(test_parse_u64),   cmocka_unit_test(test_parse_size),
                cmocka_unit_test(test_format_size),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
