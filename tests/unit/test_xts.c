/* SPDX-License-Identifier: Apache-2.0 */
/* Sectors as dm-crypt has them. */
#include "partition/xts.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "base/codec.h"
#include "base/num.h"
#include "partition/luks.h"

#define SECTOR 512u
#define LARGE 4096u

/* IEEE 1619-2007, annex B, vector 10: 256 bit keys, data unit 0xff of 512 bytes. */
static const char key_text[] = "2718281828459045235360287471352662497757247093699959574966967627"
                               "3141592653589793238462643383279502884197169399375105820974944592";
static const char first_text[] = "1c3b3a102f770386e4836c99e370cf9bea00803f5e482357a4ae12d414a3e63b";
static const char last_text[] = "36ffda9fcea70b9c6e693e148c151";

static struct secret *key(void)
{
        struct secret *k = secret_new(LUKS_VOLUME_KEY_SIZE);

        assert_non_null(k);
        assert_int_equal(hex_decode(key_text, k->data, k->len), 0);
        return k;
}

static void fill(uint8_t *data, size_t n)
{
        for (size_t i = 0; i < n; i++)
                data[i] = (uint8_t)i;
}

static void test_vector_of_the_standard(void **state)
{
        _cleanup_(secret_free_p) struct secret *k = key();
        _cleanup_(xts_free_p) struct xts *x = NULL;
        uint8_t data[SECTOR], plain[SECTOR];
        char hex[2 * SECTOR + 1];

        (void)state;
        fill(plain, sizeof(plain));
        memcpy(data, plain, sizeof(data));
        assert_int_equal(xts_new(k, SECTOR, &x, NULL), 0);
        assert_int_equal(xts_encrypt(x, 0xff * SECTOR, data, sizeof(data)), 0);
        hex_encode(data, sizeof(data), hex);
        assert_memory_equal(hex, first_text, strlen(first_text));
        assert_string_equal(hex + strlen(hex) - strlen(last_text), last_text);
        assert_int_equal(xts_decrypt(x, 0xff * SECTOR, data, sizeof(data)), 0);
        assert_memory_equal(data, plain, sizeof(data));
}

/* Many at once are each by itself, also far behind the 32 bits of "plain". */
static void test_sectors_are_numbered(void **state)
{
        static const uint64_t places[] = {0, 7 * SECTOR, (UINT64_C(1) << 41) - SECTOR,
                                          UINT64_C(3) << 45};
        _cleanup_(secret_free_p) struct secret *k = key();
        _cleanup_(xts_free_p) struct xts *x = NULL;
        uint8_t all[4 * SECTOR], one[SECTOR];

        (void)state;
        assert_int_equal(xts_new(k, SECTOR, &x, NULL), 0);
        for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
                memset(all, 0, sizeof(all));
                assert_int_equal(xts_encrypt(x, places[i], all, sizeof(all)), 0);
                for (unsigned n = 0; n < 4; n++) {
                        memset(one, 0, sizeof(one));
                        assert_int_equal(xts_encrypt(x, places[i] + n * SECTOR, one, SECTOR), 0);
                        assert_memory_equal(all + n * SECTOR, one, SECTOR);
                        assert_true(n == 0 || memcmp(all, one, SECTOR) != 0);
                }
        }
        /* 2^32 sectors on, the tweak is another. */
        memset(all, 0, SECTOR);
        memset(one, 0, SECTOR);
        assert_int_equal(xts_encrypt(x, 0, all, SECTOR), 0);
        assert_int_equal(xts_encrypt(x, UINT64_C(1) << 41, one, SECTOR), 0);
        assert_memory_not_equal(all, one, SECTOR);
}

/* A large sector has the tweak of the first small one in it, and goes on with it. */
static void test_large_sectors_count_in_small_ones(void **state)
{
        _cleanup_(secret_free_p) struct secret *k = key();
        _cleanup_(xts_free_p) struct xts *small = NULL, *large = NULL;
        uint8_t a[LARGE], b[LARGE];

        (void)state;
        assert_int_equal(xts_new(k, SECTOR, &small, NULL), 0);
        assert_int_equal(xts_new(k, LARGE, &large, NULL), 0);
        fill(a, sizeof(a));
        fill(b, sizeof(b));
        assert_int_equal(xts_encrypt(small, 3 * LARGE, a, sizeof(a)), 0);
        assert_int_equal(xts_encrypt(large, 3 * LARGE, b, sizeof(b)), 0);
        assert_memory_equal(a, b, SECTOR);
        assert_memory_not_equal(a + SECTOR, b + SECTOR, SECTOR);
}

static void test_what_is_no_sector(void **state)
{
        _cleanup_(secret_free_p) struct secret *k = key(), *shorter = secret_new(32);
        _cleanup_(xts_free_p) struct xts *x = NULL;
        struct error e = ERROR_INIT;
        uint8_t data[LARGE] = {0};

        (void)state;
        assert_int_equal(xts_new(shorter, SECTOR, &x, &e), -EINVAL);
        assert_int_equal(xts_new(k, 500, &x, &e), -EINVAL);
        assert_int_equal(xts_new(k, 0, &x, &e), -EINVAL);
        assert_int_equal(xts_new(k, LARGE, &x, &e), 0);
        assert_int_equal(xts_encrypt(x, SECTOR, data, LARGE), -EINVAL);
        assert_int_equal(xts_decrypt(x, LARGE, data, SECTOR), -EINVAL);
        assert_int_equal(xts_encrypt(x, LARGE, data, 0), 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_vector_of_the_standard),
                cmocka_unit_test(test_sectors_are_numbered),
                cmocka_unit_test(test_large_sectors_count_in_small_ones),
                cmocka_unit_test(test_what_is_no_sector),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
