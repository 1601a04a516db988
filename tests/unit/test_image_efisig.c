/* SPDX-License-Identifier: Apache-2.0 */
#include "image/efisig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/pkcs7.h>
#include <openssl/rsa.h>

#include "base/limits.h"
#include "base/num.h"

static EVP_PKEY *key;
static X509 *cert;

static int set_up(void **state)
{
        X509_NAME *name;

        (void)state;
        key = EVP_RSA_gen(2048);
        cert = X509_new();
        assert_non_null(key);
        assert_non_null(cert);
        name = X509_get_subject_name(cert);
        assert_int_equal(X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
                                                    (const uint8_t *)"test", -1, -1, 0),
                         1);
        assert_int_equal(X509_set_issuer_name(cert, name), 1);
        assert_non_null(X509_gmtime_adj(X509_getm_notBefore(cert), 0));
        assert_non_null(X509_gmtime_adj(X509_getm_notAfter(cert), 3600));
        assert_int_equal(X509_set_pubkey(cert, key), 1);
        assert_true(X509_sign(cert, key, EVP_sha256()) > 0);
        return 0;
}

static int tear_down(void **state)
{
        (void)state;
        EVP_PKEY_free(key);
        X509_free(cert);
        return 0;
}

static void test_guid_text(void **state)
{
        static const uint8_t global[] = {0x61, 0xdf, 0xe4, 0x8b, 0xca, 0x93, 0xd2, 0x11,
                                         0xaa, 0x0d, 0x00, 0xe0, 0x98, 0x03, 0x2b, 0x8c};
        char text[EFISIG_GUID_TEXT_SIZE];

        (void)state;
        efisig_guid_text(global, text);
        assert_string_equal(text, "8be4df61-93ca-11d2-aa0d-00e098032b8c");
}

static void test_guid_random(void **state)
{
        uint8_t a[EFISIG_GUID_SIZE], b[EFISIG_GUID_SIZE];
        char text[EFISIG_GUID_TEXT_SIZE];

        (void)state;
        assert_int_equal(efisig_guid_random(a), 0);
        assert_int_equal(efisig_guid_random(b), 0);
        assert_memory_not_equal(a, b, sizeof(a));
        efisig_guid_text(a, text);
        assert_int_equal(text[14], '4');
        assert_non_null(strchr("89ab", text[19]));
}

static void test_list(void **state)
{
        static const uint8_t owner[EFISIG_GUID_SIZE] = "0123456789abcdef";
        _cleanup_(buf_done) struct buf list = BUF_INIT(8192), small = BUF_INIT(100);
        const uint8_t *p;
        X509 *back;

        (void)state;
        assert_int_equal(efisig_list(owner, cert, &list), 0);
        assert_int_equal(le32_at(list.data), 0xa5c059a1);
        assert_int_equal(le32_at(list.data + 16), list.len);
        assert_int_equal(le32_at(list.data + 20), 0);
        assert_int_equal(le32_at(list.data + 24), list.len - 28);
        assert_memory_equal(list.data + 28, owner, sizeof(owner));
        p = list.data + 44;
        back = d2i_X509(NULL, &p, (long)(list.len - 44));
        assert_non_null(back);
        assert_ptr_equal(p, list.data + list.len);
        assert_int_equal(X509_cmp(back, cert), 0);
        X509_free(back);
        assert_int_equal(efisig_list(owner, cert, &small), -E2BIG);
}

/* What firmware checks: SignedData over name, vendor, attributes, time and payload. */
static void test_auth(void **state)
{
        static const uint8_t message_start[] = {'d',  0,    'b',  0,    0xcb, 0xb2, 0x19, 0xd7,
                                                0x3a, 0x3d, 0x96, 0x45, 0xa3, 0xbc, 0xda, 0xd0,
                                                0x0e, 0x67, 0x65, 0x6f, 0x27, 0,    0,    0};
        static const uint8_t time[16] = {0xe7, 0x07, 11, 14, 22, 13, 20}; /* 2023-11-14 22:13:20 */
        _cleanup_(buf_done) struct buf payload = BUF_INIT(100), out = BUF_INIT(8192),
                                       message = BUF_INIT(1000);
        PKCS7 *p7 = PKCS7_new();
        const uint8_t *p;
        uint32_t length;
        BIO *bio;

        (void)state;
        assert_int_equal(buf_add_str(&payload, "payload"), 0);
        assert_int_equal(efisig_auth(EFISIG_DB, 1700000000, &payload, key, cert, &out, NULL), 0);
        assert_memory_equal(out.data, time, sizeof(time));
        length = le32_at(out.data + 16);
        assert_int_equal(le16_at(out.data + 20), 0x0200);
        assert_int_equal(le16_at(out.data + 22), 0x0ef1);
        assert_int_equal(out.len, 16 + length + payload.len);
        assert_memory_equal(out.data + 16 + length, "payload", 7);

        assert_int_equal(buf_add(&message, message_start, sizeof(message_start)), 0);
        assert_int_equal(buf_add(&message, time, sizeof(time)), 0);
        assert_int_equal(buf_add(&message, payload.data, payload.len), 0);
        p = out.data + 40;
        p7->type = OBJ_nid2obj(NID_pkcs7_signed);
        p7->d.sign = d2i_PKCS7_SIGNED(NULL, &p, (long)length - 24);
        assert_non_null(p7->d.sign);
        assert_ptr_equal(p, out.data + 16 + length);
        bio = BIO_new_mem_buf(message.data, (int)message.len);
        assert_int_equal(PKCS7_verify(p7, NULL, NULL, bio, NULL, PKCS7_NOVERIFY | PKCS7_BINARY), 1);
        BIO_free(bio);
        PKCS7_free(p7);
}

static void test_names(void **state)
{
        (void)state;
        assert_string_equal(efisig_name(EFISIG_PK), "PK");
        assert_string_equal(efisig_name(EFISIG_KEK), "KEK");
        assert_string_equal(efisig_name(EFISIG_DB), "db");
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_guid_text), cmocka_unit_test(test_guid_random),
                cmocka_unit_test(test_list),      cmocka_unit_test(test_auth),
                cmocka_unit_test(test_names),
        };

        return cmocka_run_group_tests(tests, set_up, tear_down);
}
