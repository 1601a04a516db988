/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/ddi.h"

#include <fcntl.h>
#include <libcryptsetup.h>
#include <openssl/pem.h>
#include <openssl/pkcs7.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/codec.h"
#include "base/crc32.h"
#include "base/file.h"
#include "base/num.h"

#define BLOCK 4096u
#define ENTRIES 128u
#define DEFAULT_BLOCKS 200u

/* Root, its hashes, their signature; then the same of /usr. */
#if defined(__x86_64__)
static const char *const types[] = {
        "e3bc684fcde8b14d96e7fbcaf984b709", "ed57732cd2ebd946aec123d437ec2bf5",
        "052b0941c89f2345994f2def0408b176", "0c6884842195c6489c11b0720656f69e",
        "635fff77b6e73346acf41565b864c0e6", "fb33bbe7cf06814e8273e543b413e2e2"};
#elif defined(__aarch64__)
static const char *const types[] = {
        "45b021b9f01dc341af444c6f280d3fae", "ce0033df9fd6924c978c9bfb0f38d820",
        "e69db66df4295847a7a5962190f00ce3", "5010e0b05fee90434a999101b17104e9",
        "e7a4116ecafbed4db9e9e1a512bb664e", "ff3ce4c244bd004bb2d4b41b3419e02a"};
#endif

static void put_u64(uint8_t *p, uint64_t v)
{
        put_le32(p, (uint32_t)v);
        put_le32(p + 4, (uint32_t)(v >> 32));
}

void ddi_done(struct ddi_made *d)
{
        buf_done(&d->image);
}

void ddi_identity(struct signing_identity *id, const char *cn)
{
        signing_identity(id, EVP_EC_gen("P-256"), cn, NULL, false, -3600, 3600);
}

void ddi_certificate(const struct signing_identity *id, struct buf *out)
{
        BIO *bio = BIO_new(BIO_s_mem());
        char *text;
        long n;

        assert_non_null(bio);
        assert_int_equal(PEM_write_bio_X509(bio, id->cert), 1);
        n = BIO_get_mem_data(bio, &text);
        assert_int_equal(buf_add(out, text, (size_t)n), 0);
        BIO_free_all(bio);
}

/* --- hashes --- */

/* Appends superblock and hashes of the data, which libcryptsetup makes in files. */
static void add_hashes(const char *folder, const struct ddi_how *how, const uint8_t *data,
                       size_t blocks, struct ddi_made *ret)
{
        char data_path[128], hash_path[128];
        struct crypt_device *cd = NULL;
        static const char salt[32] = "some salt";
        struct crypt_params_verity params = {.hash_name = "sha256",
                                             .data_device = data_path,
                                             .salt = salt,
                                             .salt_size = sizeof(salt),
                                             .hash_type = 1,
                                             .data_block_size = how->data_block ?: BLOCK,
                                             .hash_block_size = how->hash_block ?: BLOCK,
                                             .data_size =
                                                     blocks * BLOCK / (how->data_block ?: BLOCK),
                                             .flags = CRYPT_VERITY_CREATE_HASH};
        size_t n = SHA256_SIZE;

        (void)snprintf(data_path, sizeof(data_path), "%s/ddi.data", folder);
        (void)snprintf(hash_path, sizeof(hash_path), "%s/ddi.hash", folder);
        assert_int_equal(file_write_volatile(AT_FDCWD, data_path, data, blocks * BLOCK, 0600), 0);
        assert_int_equal(file_write_volatile(AT_FDCWD, hash_path, "", 0, 0600), 0);
        assert_int_equal(crypt_init(&cd, hash_path), 0);
        assert_int_equal(crypt_format(cd, CRYPT_VERITY, NULL, NULL, NULL, NULL, 0, &params), 0);
        assert_int_equal(
                crypt_volume_key_get(cd, CRYPT_ANY_SLOT, (char *)ret->root_hash, &n, NULL, 0), 0);
        crypt_free(cd);
        assert_int_equal(file_read(AT_FDCWD, hash_path, &ret->image), 0);
        assert_int_equal(unlink(data_path), 0);
        assert_int_equal(unlink(hash_path), 0);
}

/* --- signature --- */

static void sign(const struct ddi_how *how, const char *text, struct buf *out)
{
        int flags = PKCS7_BINARY | PKCS7_NOATTR | PKCS7_PARTIAL |
                    (how->attached ? 0 : PKCS7_DETACHED) |
                    (how->brings_certificate ? 0 : PKCS7_NOCERTS);
        BIO *content = BIO_new_mem_buf(text, -1);
        PKCS7 *p7 = PKCS7_sign(NULL, NULL, NULL, content, flags);
        uint8_t *der = NULL;
        int n;

        assert_non_null(p7);
        assert_non_null(PKCS7_sign_add_signer(p7, how->id->cert, how->id->key,
                                              EVP_get_digestbynid(how->hash ?: NID_sha256), flags));
        assert_int_equal(PKCS7_final(p7, content, flags), 1);
        n = i2d_PKCS7(p7, &der);
        assert_true(n > 0);
        assert_int_equal(base64_encode(der, (size_t)n, out), 0);
        OPENSSL_free(der);
        PKCS7_free(p7);
        BIO_free_all(content);
}

static void add_signature(const struct ddi_how *how, struct ddi_made *ret)
{
        _cleanup_(buf_done) struct buf signature = BUF_INIT(DDI_SIGNATURE_SIZE),
                                       json = BUF_INIT(DDI_SIGNATURE_SIZE);
        char hex[SHA256_HEX_SIZE];
        uint8_t *p;

        hex_encode(ret->root_hash, SHA256_SIZE, hex);
        sign(how, how->signed_text ?: hex, &signature);
        if (how->json)
                assert_int_equal(buf_add_str(&json, how->json), 0);
        else
                assert_int_equal(buf_printf(&json, "{\"rootHash\":\"%s\",\"signature\":\"%s\"}",
                                            hex, buf_str(&signature)),
                                 0);
        assert_int_equal(buf_reserve(&ret->image, DDI_SIGNATURE_SIZE, &p), 0);
        memset(p, 0, DDI_SIGNATURE_SIZE);
        memcpy(p, json.data, json.len);
        buf_commit(&ret->image, DDI_SIGNATURE_SIZE);
}

/* --- table --- */

static void put_entry(struct buf *image, unsigned i, const char *type, size_t start, size_t end)
{
        uint8_t *entry = image->data + DDI_ENTRIES + (size_t)i * DDI_ENTRY;

        assert_int_equal(hex_decode(type, entry, 16), 0);
        entry[16] = (uint8_t)(i + 1); /* its own GUID */
        put_u64(entry + 32, start / 512);
        put_u64(entry + 40, end / 512 - 1);
}

void ddi_repair(struct buf *image)
{
        uint8_t *header = image->data + DDI_HEADER;
        size_t size = (size_t)le32_at(header + 80) * DDI_ENTRY;

        if (size <= (size_t)ENTRIES * DDI_ENTRY)
                put_le32(header + 88, crc32_gpt(image->data + DDI_ENTRIES, size));
        put_le32(header + 16, 0);
        put_le32(header + 16, crc32_gpt(header, 92));
}

void ddi_make(const char *folder, const struct ddi_how *how, struct ddi_made *ret)
{
        size_t blocks = how->blocks ?: DEFAULT_BLOCKS, size = DDI_DATA + blocks * BLOCK;
        const char *const *type = types + (how->usr ? 3 : 0);
        uint8_t *p, *header;

        buf_reset(&ret->image);
        assert_int_equal(buf_reserve(&ret->image, size, &p), 0);
        memset(p, 0, size);
        for (size_t i = DDI_DATA; i < size; i++)
                p[i] = (uint8_t)(i * 7 + i / BLOCK);
        buf_commit(&ret->image, size);
        ret->verity = size;
        p = malloc(blocks * BLOCK);
        assert_non_null(p);
        memcpy(p, ret->image.data + DDI_DATA, blocks * BLOCK);
        add_hashes(folder, how, p, blocks, ret);
        free(p);
        ret->signature = ret->image.len;
        add_signature(how, ret);
        header = ret->image.data + DDI_HEADER;
        memcpy(header, "EFI PART\0\0\1\0", 12);
        put_le32(header + 12, 92);
        put_u64(header + 24, 1);
        put_u64(header + 40, DDI_DATA / 512 - 6);
        put_u64(header + 72, 2);
        put_le32(header + 80, ENTRIES);
        put_le32(header + 84, DDI_ENTRY);
        put_entry(&ret->image, 0, type[0], DDI_DATA, ret->verity);
        put_entry(&ret->image, 1, type[1], ret->verity, ret->signature);
        put_entry(&ret->image, 2, type[2], ret->signature, ret->image.len);
        ddi_repair(&ret->image);
}
