/* SPDX-License-Identifier: Apache-2.0 */
#include "efivars/sigdb.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/ec.h>
#include <openssl/pem.h>

#include "base/limits.h"
#include "base/num.h"
#include "tests/support/signing.h"
#include "tests/unit/efivar_world.h"

#define DB "db-" EFIVAR_GUID_SECURITY

static const uint8_t guid_x509[] = {0xa1, 0x59, 0xc0, 0xa5, 0xe4, 0x94, 0xa7, 0x4a,
                                    0x87, 0xb5, 0xab, 0x15, 0x5c, 0x2b, 0xf0, 0x72};
static const uint8_t guid_sha256[] = {0x26, 0x16, 0xc4, 0xc1, 0x4c, 0x50, 0x92, 0x40,
                                      0xac, 0xa9, 0x41, 0xf9, 0x36, 0x93, 0x43, 0x28};
static const uint8_t guid_tbs256[] = {0x92, 0xa4, 0xd2, 0x3b, 0xc0, 0x96, 0x79, 0x40,
                                      0xb4, 0x20, 0xfc, 0xf9, 0x8e, 0xf1, 0x03, 0xed};
static const uint8_t guid_strange[16] = {1, 2, 3};
static const uint8_t guid_pkcs7[] = {0x9d, 0xd2, 0xaf, 0x4a, 0xdf, 0x68, 0xee, 0x49,
                                     0x8a, 0xa9, 0x34, 0x7d, 0x37, 0x56, 0x65, 0xa7};

static struct signing_identity one, two;
static struct sigdb *db;

static int set_up_all(void **state)
{
        (void)state;
        signing_identity(&one, EVP_EC_gen("P-256"), "one", NULL, true, 0, 3600);
        signing_identity(&two, EVP_EC_gen("P-256"), "two", NULL, true, 0, 3600);
        return 0;
}

static int tear_down_all(void **state)
{
        (void)state;
        signing_drop(&one);
        signing_drop(&two);
        return 0;
}

static int set_up(void **state)
{
        (void)efivar_world_make(state);
        db = sigdb_new();
        assert_non_null(db);
        return 0;
}

static int tear_down(void **state)
{
        (void)state;
        sigdb_free_p(&db);
        return efivar_world_end(state);
}

/* Appends a list of n equal-sized entries, whose data without owners stands one after the other. */
static void add_list(struct buf *out, const uint8_t *guid, const void *data, size_t size,
                     unsigned n)
{
        static const uint8_t owner[16] = {0xaa, 0xbb};
        uint8_t header[28] = {0};

        memcpy(header, guid, 16);
        put_le32(header + 16, (uint32_t)(28 + n * (16 + size)));
        put_le32(header + 24, (uint32_t)(16 + size));
        assert_int_equal(buf_add(out, header, 28), 0);
        for (unsigned i = 0; i < n; i++) {
                assert_int_equal(buf_add(out, owner, 16), 0);
                assert_int_equal(buf_add(out, (const uint8_t *)data + i * size, size), 0);
        }
}

static void add_cert_list(struct buf *out, const struct signing_identity *id)
{
        uint8_t *der = NULL;
        int n = i2d_X509(id->cert, &der);

        assert_true(n > 0);
        add_list(out, guid_x509, der, (size_t)n, 1);
        OPENSSL_free(der);
}

static void test_lists(void **state)
{
        _cleanup_(buf_done) struct buf b = BUF_INIT(1 << 20);
        uint8_t tbs[48] = {7, [32] = 0xe8, 0x07, 2, 29, 23, 59, 58};
        uint8_t hashes[96] = {1, [32] = 2, [64] = 3};

        (void)state;
        add_cert_list(&b, &one);
        add_list(&b, guid_sha256, hashes, 32, 3);
        add_list(&b, guid_strange, hashes, 8, 5);
        add_list(&b, guid_x509, "no certificate", 14, 1);
        add_list(&b, guid_tbs256, tbs, 48, 1);
        assert_int_equal(sigdb_add_lists(db, b.data, b.len, "b", NULL), 0);
        assert_int_equal(sigdb_count(db), 5);
        assert_int_equal(sigdb_ignored(db), 6);
        assert_int_equal(sigdb_at(db, 0)->type, SIGDB_X509);
        assert_int_equal(X509_cmp(sigdb_at(db, 0)->cert, one.cert), 0);
        assert_int_equal(sigdb_at(db, 0)->owner[1], 0xbb);
        assert_int_equal(sigdb_at(db, 3)->type, SIGDB_IMAGE_SHA256);
        assert_int_equal(sigdb_at(db, 3)->hash[0], 3);
        assert_int_equal(sigdb_at(db, 4)->type, SIGDB_TBS_SHA256);
        assert_int_equal(sigdb_at(db, 4)->revoked.year, 2024);
        assert_int_equal(sigdb_at(db, 4)->revoked.month, 2);
        assert_int_equal(sigdb_at(db, 4)->revoked.day, 29);
        assert_int_equal(sigdb_at(db, 4)->revoked.second, 58);
        assert_null(sigdb_at(db, 5));
        assert_ptr_equal(sigdb_find_hash(db, SIGDB_IMAGE_SHA256, hashes + 32), sigdb_at(db, 2));
        assert_null(sigdb_find_hash(db, SIGDB_IMAGE_SHA256, tbs));
        assert_null(sigdb_find_hash(db, SIGDB_TBS_SHA256, hashes));
        assert_null(sigdb_find_hash(db, SIGDB_X509, hashes));
        assert_ptr_equal(sigdb_find_cert(db, one.cert), sigdb_at(db, 0));
        assert_null(sigdb_find_cert(db, two.cert));
        assert_null(sigdb_find_tbs(db, one.cert));
}

static void test_tbs(void **state)
{
        (void)state;
        for (enum authenticode_hash h = 0; h < AUTHENTICODE_HASH_MAX; h++) {
                _cleanup_(sigdb_free_p) struct sigdb *some = sigdb_new();

                signing_add_tbs(some, two.cert, h, 2020);
                assert_null(sigdb_find_tbs(some, one.cert));
                signing_add_tbs(some, one.cert, h, 0);
                assert_ptr_equal(sigdb_find_tbs(some, one.cert), sigdb_at(some, 1));
                assert_int_equal(sigdb_find_tbs(some, two.cert)->revoked.year, 2020);
        }
}

/* Refused, and nothing of it stays. */
static void test_malformed(void **state)
{
        static const struct {
                const char *what;
                uint32_t offset; /* in the second of two lists with three hashes each */
                uint32_t value;
        } table[] = {
                {"list size 0", 16, 0},
                {"list size below its header", 16, 27},
                {"... so that what wraps is full of entries", 16, 12},
                {"list longer than the data", 16, 28 + 3 * 48 + 1},
                {"list size of 4 GiB", 16, 0xffffffff},
                {"header larger than the list", 20, 3 * 48 + 1},
                {"header of 4 GiB", 20, 0xffffffff},
                {"header that leaves half an entry", 20, 1},
                {"entry size 0", 24, 0},
                {"entry without data", 24, 16},
                {"entry size that does not divide", 24, 47},
                {"entry size of another type", 24, 72},
                {"entry size of 4 GiB", 24, 0xffffffff},
        };
        uint8_t hashes[96] = {1};
        uint8_t other[1] = {0};

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
                _cleanup_(buf_done) struct buf b = BUF_INIT(1 << 20);
                struct error e = ERROR_INIT;
                size_t at;

                add_list(&b, guid_strange, other, 1, 1);
                add_list(&b, guid_sha256, hashes, 32, 3);
                at = b.len;
                add_list(&b, guid_sha256, hashes, 32, 3);
                put_le32(b.data + at + table[i].offset, table[i].value);
                if (sigdb_add_lists(db, b.data, b.len, "the list", &e) != -EBADMSG)
                        fail_msg("%s", table[i].what);
                assert_int_equal(e.class, ERROR_CONFIG);
                assert_non_null(strstr(e.text, "the list"));
                assert_int_equal(sigdb_count(db), 0);
                assert_int_equal(sigdb_ignored(db), 0);
        }
}

static void test_cut_short(void **state)
{
        _cleanup_(buf_done) struct buf b = BUF_INIT(1 << 20);
        uint8_t hashes[96] = {1};
        size_t first;

        (void)state;
        add_list(&b, guid_sha256, hashes, 32, 3);
        first = b.len;
        add_cert_list(&b, &one);
        for (size_t n = 1; n < b.len; n++)
                assert_int_equal(sigdb_add_lists(db, b.data, n, "b", NULL),
                                 n == first ? 0 : -EBADMSG);
        assert_int_equal(sigdb_count(db), 3);
        assert_int_equal(sigdb_add_lists(db, b.data, 0, "b", NULL), 0);
}

static void test_limits(void **state)
{
        _cleanup_(buf_done) struct buf b = BUF_INIT(LIMIT_EFI_VARIABLE + 1);
        static uint8_t hashes[32 * LIMIT_SIGDB_ENTRIES];
        struct error e = ERROR_INIT;
        uint8_t *p;

        (void)state;
        add_list(&b, guid_sha256, hashes, 32, LIMIT_SIGDB_ENTRIES);
        assert_int_equal(sigdb_add_lists(db, b.data, b.len, "b", &e), 0);
        assert_int_equal(sigdb_count(db), LIMIT_SIGDB_ENTRIES);
        assert_int_equal(sigdb_add_lists(db, b.data, b.len, "b", &e), -E2BIG);
        assert_int_equal(sigdb_count(db), LIMIT_SIGDB_ENTRIES);
        assert_int_equal(buf_reserve(&b, b.max - b.len, &p), 0);
        buf_commit(&b, b.max - b.len);
        assert_int_equal(sigdb_add_lists(db, b.data, b.len, "b", &e), -E2BIG);
}

static void test_variable(void **state)
{
        _cleanup_(buf_done) struct buf b = BUF_INIT(1 << 20);
        struct error e = ERROR_INIT;

        (void)state;
        assert_int_equal(sigdb_add_variable(db, &env, "db", &e), 0);
        assert_int_equal(buf_add(&b, "\x27\0\0\0", 4), 0);
        add_cert_list(&b, &one);
        scratch_put(&dir, DB, b.data, b.len);
        assert_int_equal(sigdb_add_variable(db, &env, "dbx", &e), 0);
        assert_int_equal(sigdb_add_variable(db, &env, "db", &e), 1);
        assert_int_equal(sigdb_count(db), 1);
        scratch_put(&dir, DB, b.data, b.len - 1);
        assert_int_equal(sigdb_add_variable(db, &env, "db", &e), -EBADMSG);
        assert_int_equal(e.class, ERROR_PRECONDITION);
        scratch_put(&dir, DB, b.data, 3);
        assert_int_equal(sigdb_add_variable(db, &env, "db", &e), -EBADMSG);
        assert_int_equal(e.class, ERROR_PRECONDITION);
        assert_int_equal(sigdb_count(db), 1);
}

static int add_file(const void *data, size_t n)
{
        char path[128];
        struct error e = ERROR_INIT;
        int r;

        scratch_put(&dir, "file", data, n);
        (void)snprintf(path, sizeof(path), "%s/file", dir.path);
        r = sigdb_add_file(db, path, &e);
        if (r < 0) {
                assert_int_equal(e.class, ERROR_CONFIG);
                assert_non_null(strstr(e.text, path));
        }
        return r;
}

static void test_files(void **state)
{
        _cleanup_(buf_done) struct buf list = BUF_INIT(1 << 20), auth = BUF_INIT(1 << 20);
        BIO *pem = BIO_new(BIO_s_mem());
        uint8_t *der = NULL, header[40] = {0xe8, 0x07, 1, 1};
        char *text;
        int n = i2d_X509(one.cert, &der);
        long size;

        (void)state;
        add_cert_list(&list, &one);
        assert_int_equal(add_file(list.data, list.len), 0);
        put_le32(header + 16, 24 + 5);
        put_le16(header + 20, 0x0200);
        put_le16(header + 22, 0x0ef1);
        memcpy(header + 24, guid_pkcs7, 16);
        assert_int_equal(buf_add(&auth, header, 40), 0);
        assert_int_equal(buf_add(&auth, "pkcs7", 5), 0);
        assert_int_equal(buf_add(&auth, list.data, list.len), 0);
        assert_int_equal(add_file(auth.data, auth.len), 0);
        assert_int_equal(add_file(der, (size_t)n), 0);
        assert_int_equal(sigdb_count(db), 3);
        assert_int_equal(PEM_write_bio_X509(pem, one.cert), 1);
        assert_int_equal(PEM_write_bio_X509(pem, two.cert), 1);
        size = BIO_get_mem_data(pem, &text);
        assert_int_equal(add_file(text, (size_t)size), 0);
        assert_int_equal(sigdb_count(db), 5);
        for (size_t i = 0; i < 4; i++)
                assert_int_equal(X509_cmp(sigdb_at(db, i)->cert, one.cert), 0);
        assert_int_equal(X509_cmp(sigdb_at(db, 4)->cert, two.cert), 0);

        /* Broken forms of each. */
        assert_int_equal(add_file(list.data, list.len - 1), -EBADMSG);
        assert_int_equal(add_file(auth.data, auth.len - 1), -EBADMSG);
        assert_int_equal(add_file(auth.data, 45), -EBADMSG); /* deletes the variable: no entry */
        put_le32(auth.data + 16, 23);
        assert_int_equal(add_file(auth.data, auth.len), -EBADMSG);
        put_le32(auth.data + 16, (uint32_t)auth.len);
        assert_int_equal(add_file(auth.data, auth.len), -EBADMSG);
        put_le32(auth.data + 16, 0xffffffff);
        assert_int_equal(add_file(auth.data, auth.len), -EBADMSG);
        assert_int_equal(add_file(der, (size_t)n - 1), -EBADMSG);
        assert_int_equal(add_file(text, (size_t)size - 20), -EBADMSG); /* the second one is cut */
        text[size / 4] = '!';
        assert_int_equal(add_file(text, (size_t)size), -EBADMSG);
        assert_int_equal(add_file("", 0), -EBADMSG);
        assert_int_equal(add_file("garbage", 7), -EBADMSG);
        assert_int_equal(add_file("-----BEGIN PRIVATE KEY-----\n", 28), -EBADMSG);
        assert_int_equal(sigdb_add_file(db, "/nowhere", NULL), -ENOENT);
        assert_int_equal(sigdb_count(db), 5);
        BIO_free(pem);
        OPENSSL_free(der);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_lists, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_tbs, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_malformed, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_cut_short, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_limits, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_variable, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_files, set_up, tear_down),
        };

        return cmocka_run_group_tests(tests, set_up_all, tear_down_all);
}
