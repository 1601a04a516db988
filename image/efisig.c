/* SPDX-License-Identifier: Apache-2.0 */
#include "image/efisig.h"

#include <openssl/bio.h>
#include <openssl/pkcs7.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/codec.h"
#include "base/digest.h"
#include "base/file.h"
#include "base/limits.h"
#include "base/num.h"

#define LIST_HEADER_SIZE 28u /* type GUID, list size, header size, signature size */
#define EFI_TIME_SIZE 16u
#define CERT_HEADER_SIZE 24u /* WIN_CERTIFICATE and the GUID of its type */
#define CERT_REVISION 0x0200u
#define CERT_TYPE_EFI_GUID 0x0ef1u
/* NON_VOLATILE | BOOTSERVICE | RUNTIME | TIME_BASED_AUTHENTICATED_WRITE: what the writer passes. */
#define VARIABLE_ATTRIBUTES 0x27u

/* GUIDs in EFI byte order: the first three fields little-endian. */
static const uint8_t guid_x509[EFISIG_GUID_SIZE] = {0xa1, 0x59, 0xc0, 0xa5, 0xe4, 0x94, 0xa7, 0x4a,
                                                    0x87, 0xb5, 0xab, 0x15, 0x5c, 0x2b, 0xf0, 0x72};
static const uint8_t guid_sha256[EFISIG_GUID_SIZE] = {0x26, 0x16, 0xc4, 0xc1, 0x4c, 0x50,
                                                      0x92, 0x40, 0xac, 0xa9, 0x41, 0xf9,
                                                      0x36, 0x93, 0x43, 0x28};
static const uint8_t guid_pkcs7[EFISIG_GUID_SIZE] = {0x9d, 0xd2, 0xaf, 0x4a, 0xdf, 0x68,
                                                     0xee, 0x49, 0x8a, 0xa9, 0x34, 0x7d,
                                                     0x37, 0x56, 0x65, 0xa7};
static const uint8_t guid_global[EFISIG_GUID_SIZE] = {0x61, 0xdf, 0xe4, 0x8b, 0xca, 0x93,
                                                      0xd2, 0x11, 0xaa, 0x0d, 0x00, 0xe0,
                                                      0x98, 0x03, 0x2b, 0x8c};
static const uint8_t guid_security[EFISIG_GUID_SIZE] = {0xcb, 0xb2, 0x19, 0xd7, 0x3a, 0x3d,
                                                        0x96, 0x45, 0xa3, 0xbc, 0xda, 0xd0,
                                                        0x0e, 0x67, 0x65, 0x6f};

static const struct {
        const char *name;
        const uint8_t *vendor;
} variables[EFISIG_VARIABLE_MAX] = {
        [EFISIG_PK] = {"PK", guid_global},
        [EFISIG_KEK] = {"KEK", guid_global},
        [EFISIG_DB] = {"db", guid_security},
};

static void openssl_free_p(uint8_t **p)
{
        OPENSSL_free(*p);
        *p = NULL;
}

static void bio_free_p(BIO **bio)
{
        BIO_free_all(*bio);
        *bio = NULL;
}

static void pkcs7_free_p(PKCS7 **p7)
{
        PKCS7_free(*p7);
        *p7 = NULL;
}

const char *efisig_name(enum efisig_variable v)
{
        return variables[v].name;
}

void efisig_guid_text(const uint8_t guid[EFISIG_GUID_SIZE], char ret[EFISIG_GUID_TEXT_SIZE])
{
        static const unsigned order[EFISIG_GUID_SIZE] = {3, 2, 1,  0,  5,  4,  7,  6,
                                                         8, 9, 10, 11, 12, 13, 14, 15};
        unsigned at = 0;

        for (unsigned i = 0; i < EFISIG_GUID_SIZE; i++) {
                if (i == 4 || i == 6 || i == 8 || i == 10)
                        ret[at++] = '-';
                hex_encode(guid + order[i], 1, ret + at);
                at += 2;
        }
}

int efisig_guid_random(uint8_t ret[EFISIG_GUID_SIZE])
{
        int r = random_bytes(ret, EFISIG_GUID_SIZE);

        if (r < 0)
                return r;
        ret[7] = (uint8_t)((ret[7] & 0x0f) | 0x40); /* version, high byte of the third field */
        ret[8] = (uint8_t)((ret[8] & 0x3f) | 0x80); /* variant */
        return 0;
}

static int add_list(const uint8_t type[EFISIG_GUID_SIZE], const uint8_t owner[EFISIG_GUID_SIZE],
                    const uint8_t *data, uint32_t n, struct buf *out)
{
        uint32_t entry = EFISIG_GUID_SIZE + n;
        uint8_t header[LIST_HEADER_SIZE];
        int r;

        memcpy(header, type, EFISIG_GUID_SIZE);
        put_le32(header + 16, LIST_HEADER_SIZE + entry);
        put_le32(header + 20, 0);
        put_le32(header + 24, entry);
        r = buf_add(out, header, sizeof(header));
        if (r == 0)
                r = buf_add(out, owner, EFISIG_GUID_SIZE);
        return r == 0 ? buf_add(out, data, n) : r;
}

int efisig_list(const uint8_t owner[EFISIG_GUID_SIZE], X509 *cert, struct buf *out)
{
        _cleanup_(openssl_free_p) uint8_t *der = NULL;
        int n = i2d_X509(cert, &der);

        if (n <= 0)
                return -ENOMEM;
        if ((uint64_t)n > LIMIT_KEY_FILE)
                return -E2BIG;
        return add_list(guid_x509, owner, der, (uint32_t)n, out);
}

int efisig_hash_list(const uint8_t owner[EFISIG_GUID_SIZE], const uint8_t *sha256, struct buf *out)
{
        return add_list(guid_sha256, owner, sha256, SHA256_SIZE, out);
}

static int make_time(uint64_t epoch, uint8_t ret[EFI_TIME_SIZE])
{
        time_t t = (time_t)epoch;
        struct tm tm;

        if (!gmtime_r(&t, &tm))
                return -EOVERFLOW;
        memset(ret, 0, EFI_TIME_SIZE); /* no fraction, UTC, no daylight saving: has to be so */
        put_le16(ret, (uint16_t)(tm.tm_year + 1900));
        ret[2] = (uint8_t)(tm.tm_mon + 1);
        ret[3] = (uint8_t)tm.tm_mday;
        ret[4] = (uint8_t)tm.tm_hour;
        ret[5] = (uint8_t)tm.tm_min;
        ret[6] = (uint8_t)tm.tm_sec;
        return 0;
}

/* What is signed: name in UTF-16 without NUL, vendor, attributes, time, payload. */
static int make_message(enum efisig_variable v, const uint8_t time[EFI_TIME_SIZE],
                        const struct buf *payload, struct buf *out)
{
        uint8_t attributes[4];
        int r;

        r = utf8_to_utf16(variables[v].name, out);
        if (r < 0)
                return r;
        out->len -= 2; /* the NUL character */
        put_le32(attributes, VARIABLE_ATTRIBUTES);
        r = buf_add(out, variables[v].vendor, EFISIG_GUID_SIZE);
        if (r == 0)
                r = buf_add(out, attributes, sizeof(attributes));
        if (r == 0)
                r = buf_add(out, time, EFI_TIME_SIZE);
        if (r == 0)
                r = buf_add(out, payload->data, payload->len);
        return r;
}

/* Detached, without attributes, and the bare SignedData without its ContentInfo, as the
 * specification asks for. */
static int sign_message(const struct buf *message, EVP_PKEY *key, X509 *cert, struct buf *out)
{
        const int flags = PKCS7_BINARY | PKCS7_DETACHED | PKCS7_NOATTR;
        _cleanup_(bio_free_p) BIO *bio = BIO_new_mem_buf(message->data, (int)message->len);
        _cleanup_(pkcs7_free_p) PKCS7 *p7 = NULL;
        _cleanup_(openssl_free_p) uint8_t *der = NULL;
        int n;

        if (!bio)
                return -ENOMEM;
        p7 = PKCS7_sign(NULL, NULL, NULL, bio, flags | PKCS7_PARTIAL);
        if (!p7 || !PKCS7_sign_add_signer(p7, cert, key, EVP_sha256(), flags) ||
            PKCS7_final(p7, bio, flags) != 1)
                return -EIO;
        n = i2d_PKCS7_SIGNED(p7->d.sign, &der);
        if (n <= 0)
                return -ENOMEM;
        return buf_add(out, der, (size_t)n);
}

int efisig_auth(enum efisig_variable v, uint64_t epoch, const struct buf *payload, EVP_PKEY *key,
                X509 *cert, struct buf *out, struct error *e)
{
        _cleanup_(buf_done) struct buf message = BUF_INIT(LIMIT_EFI_VARIABLE);
        _cleanup_(buf_done) struct buf blob = BUF_INIT(LIMIT_KEY_FILE);
        uint8_t time[EFI_TIME_SIZE], header[CERT_HEADER_SIZE];
        int r;

        r = make_time(epoch, time);
        if (r == 0)
                r = make_message(v, time, payload, &message);
        if (r == 0)
                r = sign_message(&message, key, cert, &blob);
        if (r < 0)
                return error_set(e, ERROR_INTERNAL, -r, "cannot sign variable %s",
                                 variables[v].name);
        put_le32(header, CERT_HEADER_SIZE + (uint32_t)blob.len);
        put_le16(header + 4, CERT_REVISION);
        put_le16(header + 6, CERT_TYPE_EFI_GUID);
        memcpy(header + 8, guid_pkcs7, EFISIG_GUID_SIZE);
        r = buf_add(out, time, sizeof(time));
        if (r == 0)
                r = buf_add(out, header, sizeof(header));
        if (r == 0)
                r = buf_add(out, blob.data, blob.len);
        if (r == 0)
                r = buf_add(out, payload->data, payload->len);
        return r < 0 ? error_set(e, ERROR_INTERNAL, -r, "cannot build %s.auth", variables[v].name)
                     : 0;
}
