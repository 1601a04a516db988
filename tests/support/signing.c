/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/signing.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>
#include <openssl/asn1t.h>
#include <openssl/objects.h>
#include <openssl/x509v3.h>

#include "base/file.h"
#include "base/num.h"
#include "tests/support/peimage.h"
#include "upgrade/authenticode.h"

static const uint8_t section_data[600] = "data";
static const struct peimage_section two[] = {
        {.name = ".text", .data = "code", .size = 4},
        {.name = ".data", .data = section_data, .size = sizeof(section_data)},
};

/* --- certificates --- */

static void set_name(X509_NAME *name, const char *cn)
{
        assert_int_equal(X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const uint8_t *)cn,
                                                    -1, -1, 0),
                         1);
}

void signing_identity(struct signing_identity *id, EVP_PKEY *key, const char *cn,
                      const struct signing_identity *issuer, bool ca, long from, long to)
{
        static long serial;
        X509_EXTENSION *ext = X509V3_EXT_conf_nid(NULL, NULL, NID_basic_constraints,
                                                  ca ? "critical,CA:TRUE" : "critical,CA:FALSE");

        assert_non_null(key);
        assert_non_null(ext);
        id->key = key;
        id->cert = X509_new();
        assert_int_equal(X509_set_version(id->cert, 2), 1);
        set_name(X509_get_subject_name(id->cert), cn);
        assert_int_equal(ASN1_INTEGER_set(X509_get_serialNumber(id->cert), ++serial), 1);
        assert_non_null(X509_gmtime_adj(X509_getm_notBefore(id->cert), from));
        assert_non_null(X509_gmtime_adj(X509_getm_notAfter(id->cert), to));
        assert_int_equal(X509_set_pubkey(id->cert, key), 1);
        assert_int_equal(X509_add_ext(id->cert, ext, -1), 1);
        X509_EXTENSION_free(ext);
        assert_int_equal(X509_set_issuer_name(
                                 id->cert, X509_get_subject_name(issuer ? issuer->cert : id->cert)),
                         1);
        assert_true(X509_sign(id->cert, issuer ? issuer->key : key, EVP_sha256()) > 0);
}

void signing_drop(struct signing_identity *id)
{
        EVP_PKEY_free(id->key);
        X509_free(id->cert);
}

/* --- images --- */

void signing_image(struct buf *image)
{
        _cleanup_close_ int fd = peimage_make(two, 2);
        struct stat st;
        uint8_t *p;

        assert_int_equal(fstat(fd, &st), 0);
        assert_int_equal(buf_reserve(image, (size_t)st.st_size, &p), 0);
        assert_int_equal(file_pread(fd, p, (size_t)st.st_size, 0), st.st_size);
        buf_commit(image, (size_t)st.st_size);
}

static int read_image(const struct buf *image, size_t step, unsigned mask,
                      struct authenticode_image **ret, struct error *e)
{
        _cleanup_(authenticode_image_free_p) struct authenticode_image *i = NULL;
        int r;

        assert_int_equal(authenticode_image_new(mask, &i), 0);
        for (size_t at = 0; at < image->len; at += step) {
                size_t n = image->len - at < step ? image->len - at : step;

                r = authenticode_image_push(i, image->data + at, n, e);
                if (r < 0)
                        return r;
        }
        r = authenticode_image_finish(i, e);
        if (r == 0)
                *ret = TAKE_PTR(i);
        return r;
}

int signing_read(const struct buf *image, size_t step, struct authenticode_image **ret,
                 struct error *e)
{
        return read_image(image, step, AUTHENTICODE_MASK_ALL, ret, e);
}

void signing_read_with(const struct buf *image, unsigned mask, struct authenticode_image **ret)
{
        assert_int_equal(read_image(image, image->len, mask, ret, NULL), 0);
}

void signing_digests(const struct buf *image, struct authenticode_digests *ret)
{
        _cleanup_(authenticode_image_free_p) struct authenticode_image *i = NULL;

        assert_int_equal(signing_read(image, 4096, &i, NULL), 0);
        *ret = *authenticode_image_digests(i);
}

/* --- signing, right and wrong --- */

static void add_statement(PKCS7 *p7, const struct buf *statement)
{
        PKCS7 *content = PKCS7_new();

        ASN1_OBJECT_free(content->type);
        content->type = OBJ_txt2obj(AUTHENTICODE_OID_INDIRECT_DATA, 1);
        content->d.other = ASN1_TYPE_new();
        ASN1_TYPE_set(content->d.other, V_ASN1_SEQUENCE, ASN1_STRING_new());
        assert_int_equal(ASN1_STRING_set(content->d.other->value.sequence, statement->data,
                                         (int)statement->len),
                         1);
        assert_int_equal(PKCS7_set_content(p7, content), 1);
}

static void add_signer(PKCS7 *p7, const struct signing_identity *id, const struct signing_how *how,
                       const struct buf *statement)
{
        /* What is signed is the content of the SEQUENCE. */
        size_t skip = statement->data[1] == 0x81 ? 3 : 2;
        const EVP_MD *md = EVP_get_digestbynid(how->sign_hash ? how->sign_hash : NID_sha256);
        PKCS7_SIGNER_INFO *si = PKCS7_SIGNER_INFO_new();
        uint8_t digest[EVP_MAX_MD_SIZE];
        unsigned size = 0;
        EVP_PKEY *key = how->counterfeit ? how->counterfeit->key : id->key;

        assert_int_equal(PKCS7_SIGNER_INFO_set(si, id->cert, key, md), 1);
        assert_int_equal(PKCS7_add_signer(p7, si), 1);
        assert_int_equal(
                EVP_Digest(statement->data + skip, statement->len - skip, digest, &size, md, NULL),
                1);
        if (how->wrong_attribute)
                digest[0] ^= 1;
        if (how->no_attributes) {
                EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(key, NULL);
                uint8_t *sig = OPENSSL_malloc(1024);
                size_t len = 1024;

                assert_int_equal(EVP_PKEY_sign_init(ctx), 1);
                assert_int_equal(EVP_PKEY_CTX_set_signature_md(ctx, md), 1);
                assert_int_equal(EVP_PKEY_sign(ctx, sig, &len, digest, size), 1);
                ASN1_STRING_set0(si->enc_digest, sig, (int)len);
                EVP_PKEY_CTX_free(ctx);
                return;
        }
        assert_int_equal(PKCS7_add_signed_attribute(si, NID_pkcs9_contentType, V_ASN1_OBJECT,
                                                    OBJ_txt2obj(AUTHENTICODE_OID_INDIRECT_DATA, 1)),
                         1);
        assert_int_equal(PKCS7_add1_attrib_digest(si, digest, (int)size), 1);
        assert_int_equal(PKCS7_SIGNER_INFO_sign(si), 1);
}

/* The outermost length, in a second byte when it needs one. */
static void set_length(struct buf *der)
{
        size_t n = der->len - 2;

        if (n > 127) {
                assert_int_equal(buf_add(der, "", 1), 0);
                memmove(der->data + 3, der->data + 2, n);
                der->data[1] = 0x81;
        }
        der->data[n > 127 ? 2 : 1] = (uint8_t)n;
}

/* The DER of SpcIndirectDataContent for SHA-256, with another algorithm and digest when asked. */
static void make_statement(const struct buf *image, int nid, struct buf *out)
{
        static const struct {
                int nid;
                enum authenticode_hash hash;
                uint8_t last;
        } kinds[] = {
                {NID_sha384, AUTHENTICODE_SHA384, 2},
                {NID_sha512, AUTHENTICODE_SHA512, 3},
        };
        struct authenticode_digests d;

        signing_digests(image, &d);
        assert_int_equal(authenticode_content_build(d.value[AUTHENTICODE_SHA256], out), 0);
        for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
                size_t n = authenticode_hash_size(kinds[i].hash);
                uint8_t *p;

                if (kinds[i].nid != nid)
                        continue;
                /* SEQUENCE{SEQUENCE{oid, NULL}, OCTET STRING}: the lengths around it grow. */
                p = memmem(out->data, out->len, "\x65\x03\x04\x02\x01", 5);
                assert_non_null(p);
                p[4] = kinds[i].last;
                p[-9] = (uint8_t)(p[-9] + n - 32);
                p[8] = (uint8_t)n;
                out->len -= 32;
                assert_int_equal(buf_add(out, d.value[kinds[i].hash], n), 0);
                set_length(out);
        }
}

void signing_make(const struct buf *image, const struct signing_identity *id,
                  const struct signing_how *how, struct buf *out)
{
        _cleanup_(buf_done) struct buf statement = BUF_INIT(4096);
        _cleanup_(authenticode_pkcs7_p) PKCS7 *p7 = PKCS7_new();
        uint8_t *der = NULL;
        int n;

        make_statement(image, how->image_hash, &statement);
        assert_int_equal(PKCS7_set_type(p7, NID_pkcs7_signed), 1);
        add_statement(p7, &statement);
        add_signer(p7, id, how, &statement);
        if (how->second)
                add_signer(p7, how->second, how, &statement);
        if (!how->no_cert)
                assert_int_equal(PKCS7_add_certificate(p7, id->cert), 1);
        if (how->more)
                assert_int_equal(PKCS7_add_certificate(p7, how->more->cert), 1);
        n = i2d_PKCS7(p7, &der);
        assert_true(n > 0);
        assert_int_equal(buf_add(out, der, (size_t)n), 0);
        OPENSSL_free(der);
}

/* Appends a certificate table entry, and keeps the directory right. */
void signing_attach(struct buf *image, uint16_t type, const void *data, size_t n)
{
        static const uint8_t zeros[8];
        uint8_t header[8];
        uint32_t start = le32_at(image->data + PEIMAGE_SECURITY);

        if (start == 0)
                start = (uint32_t)image->len;
        put_le32(header, (uint32_t)(8 + n));
        put_le16(header + 4, 0x0200);
        put_le16(header + 6, type);
        assert_int_equal(buf_add(image, header, 8), 0);
        assert_int_equal(buf_add(image, data, n), 0);
        assert_int_equal(buf_add(image, zeros, -(image->len) % 8), 0);
        put_le32(image->data + PEIMAGE_SECURITY, start);
        put_le32(image->data + PEIMAGE_SECURITY + 4, (uint32_t)(image->len - start));
}

void signing_sign_how(struct buf *image, const struct signing_identity *id,
                      const struct signing_how *how)
{
        _cleanup_(buf_done) struct buf der = BUF_INIT(SIGNING_IMAGE_MAX);

        signing_make(image, id, how, &der);
        signing_attach(image, 2, der.data, der.len);
}

void signing_sign(struct buf *image, const struct signing_identity *id)
{
        const struct signing_how how = {0};

        signing_sign_how(image, id, &how);
}

/* --- databases --- */

static void add_list(struct sigdb *db, const uint8_t *guid, const void *data, size_t n)
{
        _cleanup_(buf_done) struct buf list = BUF_INIT(SIGNING_IMAGE_MAX);
        uint8_t header[28 + 16] = {0};

        memcpy(header, guid, 16);
        put_le32(header + 16, (uint32_t)(sizeof(header) + n));
        put_le32(header + 24, (uint32_t)(16 + n));
        assert_int_equal(buf_add(&list, header, sizeof(header)), 0);
        assert_int_equal(buf_add(&list, data, n), 0);
        assert_int_equal(sigdb_add_lists(db, list.data, list.len, "test", NULL), 0);
}

void signing_add_cert(struct sigdb *db, const X509 *cert)
{
        static const uint8_t guid[] = {0xa1, 0x59, 0xc0, 0xa5, 0xe4, 0x94, 0xa7, 0x4a,
                                       0x87, 0xb5, 0xab, 0x15, 0x5c, 0x2b, 0xf0, 0x72};
        uint8_t *der = NULL;
        int n = i2d_X509(cert, &der);

        assert_true(n > 0);
        add_list(db, guid, der, (size_t)n);
        OPENSSL_free(der);
}

void signing_add_hash(struct sigdb *db, const struct authenticode_digests *d,
                      enum authenticode_hash hash)
{
        static const uint8_t guids[AUTHENTICODE_HASH_MAX][16] = {
                {0x26, 0x16, 0xc4, 0xc1, 0x4c, 0x50, 0x92, 0x40, 0xac, 0xa9, 0x41, 0xf9, 0x36, 0x93,
                 0x43, 0x28},
                {0x07, 0x53, 0x3e, 0xff, 0xd0, 0x9f, 0xc9, 0x48, 0x85, 0xf1, 0x8a, 0xd5, 0x6c, 0x70,
                 0x1e, 0x01},
                {0xae, 0x0f, 0x3e, 0x09, 0xc4, 0xa6, 0x50, 0x4f, 0x9f, 0x1b, 0xd4, 0x1e, 0x2b, 0x89,
                 0xc1, 0x9a},
        };

        add_list(db, guids[hash], d->value[hash], authenticode_hash_size(hash));
}

void signing_add_tbs(struct sigdb *db, X509 *cert, enum authenticode_hash hash, uint16_t year)
{
        static const uint8_t guids[AUTHENTICODE_HASH_MAX][16] = {
                {0x92, 0xa4, 0xd2, 0x3b, 0xc0, 0x96, 0x79, 0x40, 0xb4, 0x20, 0xfc, 0xf9, 0x8e, 0xf1,
                 0x03, 0xed},
                {0x6e, 0x87, 0x76, 0x70, 0xc2, 0x80, 0xe6, 0x4e, 0xaa, 0xd2, 0x28, 0xb3, 0x49, 0xa6,
                 0x86, 0x5b},
                {0x63, 0xbf, 0x6d, 0x44, 0x02, 0x25, 0xda, 0x4c, 0xbc, 0xfa, 0x24, 0x65, 0xd2, 0xb0,
                 0xfe, 0x9d},
        };
        const EVP_MD *md = hash == AUTHENTICODE_SHA256   ? EVP_sha256()
                           : hash == AUTHENTICODE_SHA384 ? EVP_sha384()
                                                         : EVP_sha512();
        uint8_t data[64 + 16] = {0}, *der = NULL;
        size_t size = authenticode_hash_size(hash);
        int n = i2d_re_X509_tbs(cert, &der);

        assert_true(n > 0);
        assert_int_equal(EVP_Digest(der, (size_t)n, data, NULL, md, NULL), 1);
        OPENSSL_free(der);
        put_le16(data + size, year);
        data[size + 2] = data[size + 3] = year > 0;
        add_list(db, guids[hash], data, size + 16);
}
