/* SPDX-License-Identifier: Apache-2.0 */
#include "image/keyfile.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>

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

static void put_key(const char *name, EVP_PKEY *key)
{
        BIO *bio = BIO_new(BIO_s_mem());
        char *data;
        long n;

        assert_non_null(key);
        assert_int_equal(PEM_write_bio_PKCS8PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL), 1);
        n = BIO_get_mem_data(bio, &data);
        scratch_put(&dir, name, data, (size_t)n);
        BIO_free_all(bio);
}

static void test_private(void **state)
{
        _cleanup_(keyfile_pkey_p) EVP_PKEY *key = EVP_RSA_gen(2048), *back = NULL;

        (void)state;
        put_key("key", key);
        assert_int_equal(keyfile_private(dir.fd, "key", &back, NULL), 0);
        assert_int_equal(EVP_PKEY_eq(key, back), 1);
}

static void expect_refused(const char *name, int code)
{
        EVP_PKEY *key = NULL;
        struct error e = ERROR_INIT;

        assert_int_equal(keyfile_private(dir.fd, name, &key, &e), -code);
        assert_int_equal(e.class, ERROR_CONFIG);
        assert_null(key);
}

static void test_unusable(void **state)
{
        _cleanup_(keyfile_pkey_p) EVP_PKEY *small = EVP_RSA_gen(1024), *ec = EVP_EC_gen("P-256");

        (void)state;
        put_key("small", small);
        put_key("ec", ec);
        scratch_put_text(&dir, "garbage", "-----BEGIN PRIVATE KEY-----\nAAAA\n");
        scratch_put_text(&dir, "empty", "");
        expect_refused("small", EOPNOTSUPP);
        expect_refused("ec", EOPNOTSUPP);
        expect_refused("garbage", EBADMSG);
        expect_refused("empty", EBADMSG);
        expect_refused("none", ENOENT);
}

static void test_directory(void **state)
{
        struct error e = ERROR_INIT;
        int fd;

        (void)state;
        fd = keyfile_open_dir(dir.path, &e);
        assert_true(fd >= 0);
        close_p(&fd);
        scratch_put_text(&dir, KEYFILE_INCOMPLETE, "");
        assert_int_equal(keyfile_open_dir(dir.path, &e), -EINVAL);
        assert_int_equal(e.class, ERROR_CONFIG);
        error_clear(&e);
        assert_int_equal(keyfile_open_dir("/nonexistent", &e), -ENOENT);
        assert_int_equal(e.class, ERROR_CONFIG);
        assert_non_null(strstr(e.advice, "tb-image keys"));
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_private, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_unusable, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_directory, set_up, tear_down),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
