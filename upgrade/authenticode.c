/* SPDX-License-Identifier: Apache-2.0 */
#include "upgrade/authenticode.h"

#include <openssl/asn1t.h>
#include <openssl/objects.h>
#include <string.h>

#include "base/file.h"
#include "base/limits.h"
#include "base/num.h"

#define OID_PE_IMAGE_DATA "1.3.6.1.4.1.311.2.1.15"

#define MASK_SHA256 AUTHENTICODE_MASK(AUTHENTICODE_SHA256)

#define WIN_CERT_HEADER_SIZE 8u
#define WIN_CERT_REVISION 0x0200u
#define WIN_CERT_TYPE_PKCS7 0x0002u

/*
 * SpcIndirectDataContent ::= SEQUENCE {
 *     data SEQUENCE { type OBJECT IDENTIFIER, value [PE image data] OPTIONAL },
 *     messageDigest SEQUENCE { digestAlgorithm AlgorithmIdentifier, digest OCTET STRING } }
 *
 * The value is an SpcPeImageData that no verifier reads; when reading it is taken as it comes.
 */
typedef struct {
        ASN1_OBJECT *type;
        ASN1_TYPE *value;
} SPC_ATTRIBUTE;

typedef struct {
        X509_ALGOR *algorithm;
        ASN1_OCTET_STRING *digest;
} SPC_DIGEST;

typedef struct {
        SPC_ATTRIBUTE *data;
        SPC_DIGEST *message_digest;
} SPC_INDIRECT_DATA;

DECLARE_ASN1_FUNCTIONS(SPC_ATTRIBUTE)
DECLARE_ASN1_FUNCTIONS(SPC_DIGEST)
DECLARE_ASN1_FUNCTIONS(SPC_INDIRECT_DATA)

/* clang-format off */
ASN1_SEQUENCE(SPC_ATTRIBUTE) = {
        ASN1_SIMPLE(SPC_ATTRIBUTE, type, ASN1_OBJECT),
        ASN1_OPT(SPC_ATTRIBUTE, value, ASN1_ANY),
} ASN1_SEQUENCE_END(SPC_ATTRIBUTE)
IMPLEMENT_ASN1_FUNCTIONS(SPC_ATTRIBUTE)

ASN1_SEQUENCE(SPC_DIGEST) = {
        ASN1_SIMPLE(SPC_DIGEST, algorithm, X509_ALGOR),
        ASN1_SIMPLE(SPC_DIGEST, digest, ASN1_OCTET_STRING),
} ASN1_SEQUENCE_END(SPC_DIGEST)
IMPLEMENT_ASN1_FUNCTIONS(SPC_DIGEST)

ASN1_SEQUENCE(SPC_INDIRECT_DATA) = {
        ASN1_SIMPLE(SPC_INDIRECT_DATA, data, SPC_ATTRIBUTE),
        ASN1_SIMPLE(SPC_INDIRECT_DATA, message_digest, SPC_DIGEST),
} ASN1_SEQUENCE_END(SPC_INDIRECT_DATA)
IMPLEMENT_ASN1_FUNCTIONS(SPC_INDIRECT_DATA)
        /* clang-format on */

        /*
         * SpcPeImageData ::= SEQUENCE { flags BIT STRING, file [0] EXPLICIT SpcLink }: no flags,
         * and the link is the string "<<<Obsolete>>>" as BMPString, because that is what every
         * signing tool writes and some firmware compares.
         */
        static const uint8_t pe_image_data[] = {
                0x30, 0x25, 0x03, 0x01, 0x00, 0xa0, 0x20, 0xa2, 0x1e, 0x80, 0x1c, 0x00, 0x3c,
                0x00, 0x3c, 0x00, 0x3c, 0x00, 0x4f, 0x00, 0x62, 0x00, 0x73, 0x00, 0x6f, 0x00,
                0x6c, 0x00, 0x65, 0x00, 0x74, 0x00, 0x65, 0x00, 0x3e, 0x00, 0x3e, 0x00, 0x3e,
};

static void spc_free_p(SPC_INDIRECT_DATA **p)
{
        SPC_INDIRECT_DATA_free(*p);
        *p = NULL;
}

static void openssl_free_p(uint8_t **p)
{
        OPENSSL_free(*p);
        *p = NULL;
}

#define bad(e, ...) error_set(e, ERROR_REFUSED, EBADMSG, "Authenticode: " __VA_ARGS__)

int authenticode_digest(const struct pe *pe, uint8_t ret[SHA256_SIZE], struct error *e)
{
        _cleanup_(authenticode_image_free_p) struct authenticode_image *image = NULL;
        int r;

        r = authenticode_image_read(pe_fd(pe), MASK_SHA256, &image, e);
        if (r < 0)
                return r;
        memcpy(ret, authenticode_image_digests(image)->value[AUTHENTICODE_SHA256], SHA256_SIZE);
        return 0;
}

/* --- the statement --- */

static ASN1_TYPE *make_sequence(const uint8_t *der, size_t n)
{
        ASN1_TYPE *type = ASN1_TYPE_new();
        ASN1_STRING *string = ASN1_STRING_new();

        if (!type || !string || ASN1_STRING_set(string, der, (int)n) != 1) {
                ASN1_TYPE_free(type);
                ASN1_STRING_free(string);
                return NULL;
        }
        ASN1_TYPE_set(type, V_ASN1_SEQUENCE, string);
        return type;
}

int authenticode_content_build(const uint8_t digest[SHA256_SIZE], struct buf *out)
{
        _cleanup_(spc_free_p) SPC_INDIRECT_DATA *spc = SPC_INDIRECT_DATA_new();
        _cleanup_(openssl_free_p) uint8_t *der = NULL;
        int n;

        if (!spc)
                return -ENOMEM;
        ASN1_OBJECT_free(spc->data->type);
        spc->data->type = OBJ_txt2obj(OID_PE_IMAGE_DATA, 1);
        ASN1_TYPE_free(spc->data->value);
        spc->data->value = make_sequence(pe_image_data, sizeof(pe_image_data));
        if (!spc->data->type || !spc->data->value)
                return -ENOMEM;
        if (X509_ALGOR_set0(spc->message_digest->algorithm, OBJ_nid2obj(NID_sha256), V_ASN1_NULL,
                            NULL) != 1 ||
            ASN1_OCTET_STRING_set(spc->message_digest->digest, digest, SHA256_SIZE) != 1)
                return -ENOMEM;
        n = i2d_SPC_INDIRECT_DATA(spc, &der);
        if (n <= 0)
                return -ENOMEM;
        return buf_add(out, der, (size_t)n);
}

static bool object_is(const ASN1_OBJECT *object, const char *oid)
{
        char text[80];

        return OBJ_obj2txt(text, sizeof(text), object, 1) > 0 && strcmp(text, oid) == 0;
}

static bool hash_of(const X509_ALGOR *algor, enum authenticode_hash *ret)
{
        const ASN1_OBJECT *algorithm;

        X509_ALGOR_get0(&algorithm, NULL, NULL, algor);
        switch (OBJ_obj2nid(algorithm)) {
        case NID_sha256:
                *ret = AUTHENTICODE_SHA256;
                return true;
        case NID_sha384:
                *ret = AUTHENTICODE_SHA384;
                return true;
        case NID_sha512:
                *ret = AUTHENTICODE_SHA512;
                return true;
        default:
                return false;
        }
}

/*
 * mask: the digest algorithms that are taken. Only what has to be ours (SHA-256) has to say that it
 * is about a PE image: signing tools wrote other types there, and firmware does not look.
 */
static int parse_content(const void *der, size_t n, unsigned mask, enum authenticode_hash *ret_hash,
                         uint8_t ret[AUTHENTICODE_DIGEST_MAX], struct error *e)
{
        _cleanup_(spc_free_p) SPC_INDIRECT_DATA *spc = NULL;
        const uint8_t *p = der;
        enum authenticode_hash hash;

        if (n > LIMIT_PE_CERT_TABLE)
                return bad(e, "statement of %zu bytes", n);
        spc = d2i_SPC_INDIRECT_DATA(NULL, &p, (long)n);
        if (!spc || p != (const uint8_t *)der + n)
                return bad(e, "the signed statement cannot be read");
        if (mask == MASK_SHA256 && !object_is(spc->data->type, OID_PE_IMAGE_DATA))
                return bad(e, "the signed statement is not about a PE image");
        if (!hash_of(spc->message_digest->algorithm, &hash) || !(mask & AUTHENTICODE_MASK(hash)))
                return error_set(e, ERROR_REFUSED, ENOTSUP, "Authenticode: the digest is not %s",
                                 mask == MASK_SHA256 ? "SHA-256" : "SHA-256, SHA-384 or SHA-512");
        if (ASN1_STRING_length(spc->message_digest->digest) != (int)authenticode_hash_size(hash))
                return bad(e, "the signed digest has a wrong length");
        memcpy(ret, ASN1_STRING_get0_data(spc->message_digest->digest),
               authenticode_hash_size(hash));
        *ret_hash = hash;
        return 0;
}

int authenticode_content_parse(const void *der, size_t n, uint8_t ret[SHA256_SIZE], struct error *e)
{
        uint8_t digest[AUTHENTICODE_DIGEST_MAX];
        enum authenticode_hash hash;
        int r = parse_content(der, n, MASK_SHA256, &hash, digest, e);

        if (r < 0)
                return r;
        memcpy(ret, digest, SHA256_SIZE);
        return 0;
}

static int read_claim(const PKCS7 *p7, unsigned mask, enum authenticode_hash *ret_hash,
                      uint8_t ret[AUTHENTICODE_DIGEST_MAX], struct error *e)
{
        const PKCS7 *content;
        const ASN1_STRING *statement;

        if (OBJ_obj2nid(p7->type) != NID_pkcs7_signed || !p7->d.sign || !p7->d.sign->contents)
                return bad(e, "the certificate entry is no signature");
        content = p7->d.sign->contents;
        /* The type decides which member of the union is there: it has to be looked at first. */
        if (!object_is(content->type, AUTHENTICODE_OID_INDIRECT_DATA) || !content->d.other ||
            content->d.other->type != V_ASN1_SEQUENCE)
                return bad(e, "the signature is about something else than an image");
        statement = content->d.other->value.sequence;
        return parse_content(ASN1_STRING_get0_data(statement),
                             (size_t)ASN1_STRING_length(statement), mask, ret_hash, ret, e);
}

int authenticode_claim_any(const PKCS7 *p7, enum authenticode_hash *ret_hash,
                           uint8_t ret[AUTHENTICODE_DIGEST_MAX], struct error *e)
{
        return read_claim(p7, AUTHENTICODE_MASK_ALL, ret_hash, ret, e);
}

int authenticode_claim(const PKCS7 *p7, uint8_t ret[SHA256_SIZE], struct error *e)
{
        uint8_t digest[AUTHENTICODE_DIGEST_MAX];
        enum authenticode_hash hash;
        int r = read_claim(p7, MASK_SHA256, &hash, digest, e);

        if (r < 0)
                return r;
        memcpy(ret, digest, SHA256_SIZE);
        return 0;
}

/* --- the certificate table --- */

int authenticode_next(const struct pe *pe, uint64_t *offset, PKCS7 **ret, struct error *e)
{
        const struct pe_header *h = pe_header(pe);
        uint8_t header[WIN_CERT_HEADER_SIZE];
        _cleanup_free_ uint8_t *blob = NULL;
        const uint8_t *p;
        uint64_t length, step;
        ssize_t got;
        PKCS7 *p7;

        if (*offset >= h->cert_size)
                return 0;
        if (!range_fits(*offset, sizeof(header), h->cert_size))
                return bad(e, "the certificate table is cut short");
        got = file_pread(pe_fd(pe), header, sizeof(header), h->cert_offset + *offset);
        if (got != (ssize_t)sizeof(header))
                return bad(e, "the certificate table cannot be read");
        length = le32_at(header);
        if (length <= sizeof(header) || !range_fits(*offset, length, h->cert_size) ||
            align_up_u64(length, 8, &step) < 0)
                return bad(e, "certificate entry of %llu bytes", (unsigned long long)length);
        if (le16_at(header + 4) != WIN_CERT_REVISION || le16_at(header + 6) != WIN_CERT_TYPE_PKCS7)
                return bad(e, "certificate entry of type %u", (unsigned)le16_at(header + 6));
        length -= sizeof(header);
        blob = malloc((size_t)length);
        if (!blob)
                return error_oom(e);
        got = file_pread(pe_fd(pe), blob, (size_t)length,
                         h->cert_offset + *offset + sizeof(header));
        if (got != (ssize_t)length)
                return bad(e, "the certificate table cannot be read");
        p = blob;
        p7 = d2i_PKCS7(NULL, &p, (long)length);
        if (!p7)
                return bad(e, "the certificate entry is not PKCS#7");
        *offset += step;
        *ret = p7;
        return 1;
}

/* --- signing --- */

/* The bytes the signature covers: the content of the statement's SEQUENCE, without tag and length
 * (PKCS #7 1.5, section 9.3). */
static int hash_statement(const struct buf *statement, uint8_t ret[SHA256_SIZE])
{
        const uint8_t *p = statement->data;
        int tag, class;
        long length;

        if ((ASN1_get_object(&p, &length, &tag, &class, (long)statement->len) & 0x80) != 0)
                return -EBADMSG;
        return sha256(p, (size_t)length, ret);
}

static int add_signer(PKCS7 *p7, EVP_PKEY *key, X509 *cert, const uint8_t digest[SHA256_SIZE])
{
        PKCS7_SIGNER_INFO *si = PKCS7_add_signature(p7, cert, key, EVP_sha256());
        ASN1_OBJECT *type;

        if (!si)
                return -EIO;
        type = OBJ_txt2obj(AUTHENTICODE_OID_INDIRECT_DATA, 1);
        if (!type)
                return -ENOMEM;
        if (PKCS7_add_signed_attribute(si, NID_pkcs9_contentType, V_ASN1_OBJECT, type) != 1) {
                ASN1_OBJECT_free(type);
                return -ENOMEM;
        }
        if (PKCS7_add1_attrib_digest(si, digest, SHA256_SIZE) != 1)
                return -ENOMEM;
        return PKCS7_SIGNER_INFO_sign(si) == 1 ? 0 : -EIO;
}

/* Puts the statement in as the content; the generic PKCS#7 functions only know the data type. */
static int set_content(PKCS7 *p7, const struct buf *statement)
{
        PKCS7 *content = PKCS7_new();

        if (!content)
                return -ENOMEM;
        ASN1_OBJECT_free(content->type);
        content->type = OBJ_txt2obj(AUTHENTICODE_OID_INDIRECT_DATA, 1);
        content->d.other = make_sequence(statement->data, statement->len);
        if (!content->type || !content->d.other || PKCS7_set_content(p7, content) != 1) {
                PKCS7_free(content);
                return -ENOMEM;
        }
        return 0;
}

static int build_pkcs7(EVP_PKEY *key, X509 *cert, const uint8_t image_digest[SHA256_SIZE],
                       struct buf *out)
{
        _cleanup_(authenticode_pkcs7_p) PKCS7 *p7 = PKCS7_new();
        _cleanup_(openssl_free_p) uint8_t *der = NULL;
        _cleanup_(buf_done) struct buf statement = BUF_INIT(4 * KIB);
        uint8_t digest[SHA256_SIZE];
        int r, n;

        r = authenticode_content_build(image_digest, &statement);
        if (r == 0)
                r = hash_statement(&statement, digest);
        if (r < 0)
                return r;
        if (!p7 || PKCS7_set_type(p7, NID_pkcs7_signed) != 1)
                return -ENOMEM;
        r = set_content(p7, &statement);
        if (r == 0)
                r = add_signer(p7, key, cert, digest);
        if (r < 0)
                return r;
        if (PKCS7_add_certificate(p7, cert) != 1)
                return -ENOMEM;
        n = i2d_PKCS7(p7, &der);
        if (n <= 0)
                return -ENOMEM;
        return buf_add(out, der, (size_t)n);
}

/* PE checksum: 16-bit one's complement sum of the file without the field itself, plus its size. */
static int update_checksum(int fd, uint64_t offset, uint64_t size, struct error *e)
{
        _cleanup_free_ uint8_t *chunk = malloc(FILE_CHUNK);
        uint8_t field[4] = {0};
        uint64_t sum = 0;
        int r;

        if (!chunk)
                return error_oom(e);
        r = file_pwrite(fd, field, sizeof(field), offset);
        if (r < 0)
                return error_errno(e, -r, "cannot write the image");
        for (uint64_t at = 0; at < size; at += FILE_CHUNK) {
                ssize_t got = file_pread(fd, chunk, FILE_CHUNK, at);

                if (got < 0)
                        return error_errno(e, (int)-got, "cannot read the image");
                if (got % 2 != 0)
                        chunk[got++] = 0;
                for (ssize_t i = 0; i < got; i += 2)
                        sum += le16_at(chunk + i);
        }
        while (sum > 0xffff)
                sum = (sum & 0xffff) + (sum >> 16);
        put_le32(field, (uint32_t)(sum + size));
        r = file_pwrite(fd, field, sizeof(field), offset);
        return r < 0 ? error_errno(e, -r, "cannot write the image") : 0;
}

/* Zeros up to a multiple of 8, as the certificate table has to start there. They are hashed. */
static int pad_file(int fd, uint64_t size, uint64_t *ret, struct error *e)
{
        static const uint8_t zeros[8];
        uint64_t padded;
        int r;

        if (align_up_u64(size, sizeof(zeros), &padded) < 0)
                return bad(e, "the image is too large");
        r = file_pwrite(fd, zeros, (size_t)(padded - size), size);
        if (r < 0)
                return error_errno(e, -r, "cannot write the image");
        *ret = padded;
        return 0;
}

/* header + blob + padding. The length field counts the padding too: firmware that rounds up and
 * firmware that forgets to both find the end of the table. */
static int wrap_certificate(const struct buf *blob, struct buf *out)
{
        uint8_t header[WIN_CERT_HEADER_SIZE], zeros[8] = {0};
        uint64_t length;
        int r;

        r = align_up_u64(sizeof(header) + blob->len, 8, &length);
        if (r < 0)
                return r;
        put_le32(header, (uint32_t)length);
        put_le16(header + 4, WIN_CERT_REVISION);
        put_le16(header + 6, WIN_CERT_TYPE_PKCS7);
        r = buf_add(out, header, sizeof(header));
        if (r == 0)
                r = buf_add(out, blob->data, blob->len);
        if (r == 0)
                r = buf_add(out, zeros, (size_t)(length - sizeof(header) - blob->len));
        return r;
}

static int append_certificate(int fd, const struct pe_header *h, const struct buf *blob,
                              struct error *e)
{
        _cleanup_(buf_done) struct buf entry = BUF_INIT(LIMIT_PE_CERT_TABLE);
        uint64_t start = h->cert_offset > 0 ? h->cert_offset : h->file_size;
        uint64_t table_size = h->file_size - start;
        uint8_t directory[8];
        int r;

        r = wrap_certificate(blob, &entry);
        if (r == -ENOMEM)
                return error_oom(e);
        if (r < 0 || entry.len > LIMIT_PE_CERT_TABLE - table_size ||
            !range_fits(h->file_size, entry.len, LIMIT_IMAGE_SIZE))
                return error_set(e, ERROR_REFUSED, E2BIG, "no room for one more signature");
        put_le32(directory, (uint32_t)start);
        put_le32(directory + 4, (uint32_t)(table_size + entry.len));
        r = file_pwrite(fd, entry.data, entry.len, h->file_size);
        if (r == 0)
                r = file_pwrite(fd, directory, sizeof(directory), h->security_offset);
        if (r < 0)
                return error_errno(e, -r, "cannot write the signature");
        return update_checksum(fd, h->checksum_offset, h->file_size + entry.len, e);
}

int authenticode_sign(int fd, EVP_PKEY *key, X509 *cert, struct error *e)
{
        _cleanup_(pe_free_p) struct pe *pe = NULL;
        _cleanup_(buf_done) struct buf blob = BUF_INIT(LIMIT_PE_CERT_TABLE);
        uint8_t digest[SHA256_SIZE];
        uint64_t size;
        int r;

        r = pe_open(fd, &pe, e);
        if (r < 0)
                return r;
        if (pe_header(pe)->file_size % 8 != 0) {
                r = pad_file(fd, pe_header(pe)->file_size, &size, e);
                if (r < 0)
                        return r;
                pe_free_p(&pe);
                r = pe_open(fd, &pe, e);
                if (r < 0)
                        return r;
        }
        r = authenticode_digest(pe, digest, e);
        if (r < 0)
                return r;
        r = build_pkcs7(key, cert, digest, &blob);
        if (r < 0)
                return error_set(e, ERROR_INTERNAL, -r, "cannot build the signature");
        return append_certificate(fd, pe_header(pe), &blob, e);
}
