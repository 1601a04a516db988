/* SPDX-License-Identifier: Apache-2.0 */
#include "upgrade/authenticode.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#include "base/file.h"
#include "base/limits.h"
#include "base/num.h"
#include "tests/support/peimage.h"

static const struct peimage_section two[] = {
        {.name = ".text", .data = "code", .size = 4},
        {.name = ".data", .data = "data", .size = 4},
};

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
        assert_int_equal(ASN1_INTEGER_set(X509_get_serialNumber(cert), 7), 1);
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

static void read_all(int fd, struct buf *out)
{
        struct stat st;
        uint8_t *p;

        assert_int_equal(fstat(fd, &st), 0);
        assert_int_equal(buf_reserve(out, (size_t)st.st_size, &p), 0);
        assert_int_equal(file_pread(fd, p, (size_t)st.st_size, 0), st.st_size);
        buf_commit(out, (size_t)st.st_size);
}

static void digest_of(int fd, uint8_t ret[SHA256_SIZE])
{
        _cleanup_(pe_free_p) struct pe *pe = NULL;

        assert_int_equal(pe_open(fd, &pe, NULL), 0);
        assert_int_equal(authenticode_digest(pe, ret, NULL), 0);
}

/* For an image without gaps the digest is that of the file without three holes. */
static void flat_digest(int fd, size_t end, uint8_t ret[SHA256_SIZE])
{
        _cleanup_(buf_done) struct buf file = BUF_INIT(1 << 20), rest = BUF_INIT(1 << 20);

        read_all(fd, &file);
        assert_int_equal(buf_add(&rest, file.data, PEIMAGE_CHECKSUM), 0);
        assert_int_equal(buf_add(&rest, file.data + PEIMAGE_CHECKSUM + 4,
                                 PEIMAGE_SECURITY - PEIMAGE_CHECKSUM - 4),
                         0);
        assert_int_equal(
                buf_add(&rest, file.data + PEIMAGE_SECURITY + 8, end - PEIMAGE_SECURITY - 8), 0);
        assert_int_equal(sha256(rest.data, rest.len, ret), 0);
}

static void test_digest(void **state)
{
        _cleanup_close_ int fd = peimage_make(two, 2);
        uint8_t a[SHA256_SIZE], b[SHA256_SIZE];

        (void)state;
        digest_of(fd, a);
        flat_digest(fd, 0x600, b);
        assert_memory_equal(a, b, SHA256_SIZE);
}

/* The order is that of the file, not that of the table; what follows the sections counts too. */
static void test_digest_order(void **state)
{
        _cleanup_close_ int fd = peimage_make(two, 2);
        uint8_t a[SHA256_SIZE], b[SHA256_SIZE];

        (void)state;
        peimage_patch(fd, PEIMAGE_SECTION(0) + 20, 4, 0x400);
        peimage_patch(fd, PEIMAGE_SECTION(1) + 20, 4, 0x200);
        assert_int_equal(file_pwrite(fd, "overlay", 7, 0x600), 0);
        digest_of(fd, a);
        flat_digest(fd, 0x607, b);
        assert_memory_equal(a, b, SHA256_SIZE);
}

/* Every byte counts but the checksum and the directory entry. */
static void test_digest_covers(void **state)
{
        uint8_t good[SHA256_SIZE], bad[SHA256_SIZE];
        _cleanup_close_ int fd = peimage_make(two, 2);

        (void)state;
        digest_of(fd, good);
        peimage_patch(fd, PEIMAGE_CHECKSUM, 4, 0x12345678);
        digest_of(fd, bad);
        assert_memory_equal(good, bad, SHA256_SIZE);
        for (uint64_t at = PEIMAGE_TABLE + 80; at < 0x600; at += 61) {
                uint8_t byte;

                assert_int_equal(file_pread(fd, &byte, 1, at), 1);
                peimage_patch(fd, at, 1, byte ^ 1u);
                digest_of(fd, bad);
                assert_memory_not_equal(good, bad, SHA256_SIZE);
                peimage_patch(fd, at, 1, byte);
        }
}

static void expect_claim(int fd, unsigned n_signatures)
{
        _cleanup_(pe_free_p) struct pe *pe = NULL;
        uint8_t digest[SHA256_SIZE], claim[SHA256_SIZE];
        uint64_t offset = 0;
        unsigned n = 0;

        assert_int_equal(pe_open(fd, &pe, NULL), 0);
        assert_int_equal(authenticode_digest(pe, digest, NULL), 0);
        for (;;) {
                _cleanup_(authenticode_pkcs7_p) PKCS7 *p7 = NULL;
                int r = authenticode_next(pe, &offset, &p7, NULL);

                assert_true(r >= 0);
                if (r == 0)
                        break;
                assert_int_equal(authenticode_claim(p7, claim, NULL), 0);
                assert_memory_equal(claim, digest, SHA256_SIZE);
                n++;
        }
        assert_int_equal(n, n_signatures);
}

/* The algorithm of the specification, the slow way. */
static uint32_t reference_checksum(int fd)
{
        _cleanup_(buf_done) struct buf file = BUF_INIT(1 << 20);
        uint32_t sum = 0;

        read_all(fd, &file);
        put_le32(file.data + PEIMAGE_CHECKSUM, 0);
        for (size_t i = 0; i < file.len; i += 2) {
                sum += le16_at(file.data + i);
                sum = (sum & 0xffff) + (sum >> 16);
        }
        return sum + (uint32_t)file.len;
}

static void test_sign(void **state)
{
        _cleanup_close_ int fd = peimage_make(two, 2);
        uint8_t before[SHA256_SIZE], after[SHA256_SIZE], field[4];

        (void)state;
        digest_of(fd, before);
        expect_claim(fd, 0);
        assert_int_equal(authenticode_sign(fd, key, cert, NULL), 0);
        digest_of(fd, after);
        assert_memory_equal(before, after, SHA256_SIZE);
        expect_claim(fd, 1);
        assert_int_equal(file_pread(fd, field, 4, PEIMAGE_CHECKSUM), 4);
        assert_int_equal(le32_at(field), reference_checksum(fd));
        assert_int_equal(authenticode_sign(fd, key, cert, NULL), 0);
        digest_of(fd, after);
        assert_memory_equal(before, after, SHA256_SIZE);
        expect_claim(fd, 2);
}

static void test_sign_is_deterministic(void **state)
{
        _cleanup_close_ int a = peimage_make(two, 2), b = peimage_make(two, 2);
        _cleanup_(buf_done) struct buf x = BUF_INIT(1 << 20), y = BUF_INIT(1 << 20);

        (void)state;
        assert_int_equal(authenticode_sign(a, key, cert, NULL), 0);
        assert_int_equal(authenticode_sign(b, key, cert, NULL), 0);
        read_all(a, &x);
        read_all(b, &y);
        assert_int_equal(x.len, y.len);
        assert_memory_equal(x.data, y.data, x.len);
}

/* An odd length is padded before it is hashed. */
static void test_sign_pads(void **state)
{
        _cleanup_close_ int fd = peimage_make(two, 2);
        _cleanup_(pe_free_p) struct pe *pe = NULL;

        (void)state;
        assert_int_equal(file_pwrite(fd, "odd", 3, 0x600), 0);
        assert_int_equal(authenticode_sign(fd, key, cert, NULL), 0);
        expect_claim(fd, 1);
        assert_int_equal(pe_open(fd, &pe, NULL), 0);
        assert_int_equal(pe_header(pe)->cert_offset, 0x608);
}

/* The signed attributes: content type and the digest of the statement, no time. */
static void test_attributes(void **state)
{
        _cleanup_close_ int fd = peimage_make(two, 2);
        _cleanup_(pe_free_p) struct pe *pe = NULL;
        _cleanup_(authenticode_pkcs7_p) PKCS7 *p7 = NULL;
        PKCS7_SIGNER_INFO *si;
        uint64_t offset = 0;

        (void)state;
        assert_int_equal(authenticode_sign(fd, key, cert, NULL), 0);
        assert_int_equal(pe_open(fd, &pe, NULL), 0);
        assert_int_equal(authenticode_next(pe, &offset, &p7, NULL), 1);
        assert_int_equal(sk_PKCS7_SIGNER_INFO_num(PKCS7_get_signer_info(p7)), 1);
        si = sk_PKCS7_SIGNER_INFO_value(PKCS7_get_signer_info(p7), 0);
        assert_int_equal(sk_X509_ATTRIBUTE_num(PKCS7_get_signed_attributes(si)), 2);
        assert_non_null(PKCS7_get_signed_attribute(si, NID_pkcs9_contentType));
        assert_non_null(PKCS7_get_signed_attribute(si, NID_pkcs9_messageDigest));
        assert_null(PKCS7_get_signed_attribute(si, NID_pkcs9_signingTime));
}

static void test_content(void **state)
{
        _cleanup_(buf_done) struct buf der = BUF_INIT(4096);
        uint8_t digest[SHA256_SIZE] = {1, 2, 3}, out[SHA256_SIZE];

        (void)state;
        assert_int_equal(authenticode_content_build(digest, &der), 0);
        assert_int_equal(authenticode_content_parse(der.data, der.len, out, NULL), 0);
        assert_memory_equal(out, digest, SHA256_SIZE);
        for (size_t n = 0; n < der.len; n++)
                assert_int_equal(authenticode_content_parse(der.data, n, out, NULL), -EBADMSG);
        assert_int_equal(buf_add(&der, "x", 1), 0);
        assert_int_equal(authenticode_content_parse(der.data, der.len, out, NULL), -EBADMSG);
}

/* Replaces the first occurrence of a byte string in the DER form. */
static void replace(struct buf *der, const char *from, const char *to, size_t n)
{
        uint8_t *p = memmem(der->data, der->len, from, n);

        assert_non_null(p);
        memcpy(p, to, n);
}

static void test_content_of_another_kind(void **state)
{
        static const struct {
                const char *from, *to;
                size_t n;
                int result;
        } table[] = {
                /* another kind of file, SHA-384, a digest of 31 bytes */
                {"\x02\x01\x0f", "\x02\x01\x19", 3, -EBADMSG},
                {"\x65\x03\x04\x02\x01", "\x65\x03\x04\x02\x02", 5, -ENOTSUP},
                {"\x04\x20", "\x04\x1f", 2, -EBADMSG},
        };
        uint8_t digest[SHA256_SIZE] = {1}, out[SHA256_SIZE];

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
                _cleanup_(buf_done) struct buf der = BUF_INIT(4096);
                struct error e = ERROR_INIT;

                assert_int_equal(authenticode_content_build(digest, &der), 0);
                replace(&der, table[i].from, table[i].to, table[i].n);
                assert_int_equal(authenticode_content_parse(der.data, der.len, out, &e),
                                 table[i].result);
                assert_int_equal(e.class, ERROR_REFUSED);
        }
}

static void test_malformed_table(void **state)
{
        static const struct {
                const char *what;
                uint32_t offset; /* in the entry */
                unsigned width;
                uint32_t value;
        } table[] = {
                {"length 0", 0, 4, 0},
                {"length of the header alone", 0, 4, 8},
                {"length beyond the table", 0, 4, 0x10000},
                {"length wraps around", 0, 4, 0xffffffff},
                {"revision 1", 4, 2, 0x100},
                {"X.509 entry", 6, 2, 1},
                {"no DER", 8, 4, 0},
                {"DER longer than the entry", 10, 2, 0xffff},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
                _cleanup_close_ int fd = peimage_make(two, 2);
                _cleanup_(pe_free_p) struct pe *pe = NULL;
                struct error e = ERROR_INIT;
                uint64_t offset = 0;
                PKCS7 *p7 = NULL;

                assert_int_equal(authenticode_sign(fd, key, cert, NULL), 0);
                peimage_patch(fd, 0x600 + table[i].offset, table[i].width, table[i].value);
                assert_int_equal(pe_open(fd, &pe, NULL), 0);
                if (authenticode_next(pe, &offset, &p7, &e) != -EBADMSG)
                        fail_msg("%s", table[i].what);
                assert_int_equal(e.class, ERROR_REFUSED);
                assert_null(p7);
        }
}

/* A PKCS#7 of another kind must not be read as a statement about an image. */
static void test_claim_of_other_content(void **state)
{
        _cleanup_(authenticode_pkcs7_p) PKCS7 *p7 = PKCS7_new();
        uint8_t out[SHA256_SIZE];

        (void)state;
        assert_int_equal(PKCS7_set_type(p7, NID_pkcs7_data), 1);
        assert_int_equal(authenticode_claim(p7, out, NULL), -EBADMSG);
        authenticode_pkcs7_p(&p7);
        p7 = PKCS7_new();
        assert_int_equal(PKCS7_set_type(p7, NID_pkcs7_signed), 1);
        assert_int_equal(PKCS7_content_new(p7, NID_pkcs7_signed), 1);
        assert_int_equal(authenticode_claim(p7, out, NULL), -EBADMSG);
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_digest),
                cmocka_unit_test(test_digest_order),
                cmocka_unit_test(test_digest_covers),
                cmocka_unit_test(test_sign),
                cmocka_unit_test(test_sign_is_deterministic),
                cmocka_unit_test(test_sign_pads),
                cmocka_unit_test(test_attributes),
                cmocka_unit_test(test_content),
                cmocka_unit_test(test_content_of_another_kind),
                cmocka_unit_test(test_malformed_table),
                cmocka_unit_test(test_claim_of_other_content),
        };

        return cmocka_run_group_tests(tests, set_up, tear_down);
}
