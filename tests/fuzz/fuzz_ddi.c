/* SPDX-License-Identifier: Apache-2.0 */
/* Signed disk images: table, signature and hashes. The checksums of the table are made right, so
 * that changes get past them. */
#include <openssl/evp.h>
#include <openssl/pem.h>

#include "base/buf.h"
#include "base/crc32.h"
#include "base/num.h"
#include "partition/verity.h"
#include "tests/fuzz/fuzz.h"

#define HEADER 512u
#define HEADER_SIZE 92u
#define ENTRY_SIZE 128u

/* Some certificate; nothing that is tried here was signed by its key. */
static const struct buf *certificate(void)
{
        static struct buf text = BUF_INIT(65536);
        EVP_PKEY *key;
        X509 *cert;
        BIO *bio;
        char *pem;
        long n;

        if (text.len > 0)
                return &text;
        key = EVP_EC_gen("P-256");
        cert = X509_new();
        bio = BIO_new(BIO_s_mem());
        FUZZ_CHECK(key && cert && bio);
        FUZZ_CHECK(X509_set_pubkey(cert, key) == 1 && X509_sign(cert, key, EVP_sha256()) > 0);
        FUZZ_CHECK(PEM_write_bio_X509(bio, cert) == 1);
        n = BIO_get_mem_data(bio, &pem);
        FUZZ_CHECK(buf_add(&text, pem, (size_t)n) == 0);
        BIO_free_all(bio);
        X509_free(cert);
        EVP_PKEY_free(key);
        return &text;
}

static void repair(uint8_t *image, size_t size)
{
        uint8_t *header = image + HEADER;
        uint64_t at, n;

        if (size < HEADER + HEADER_SIZE)
                return;
        n = (uint64_t)le32_at(header + 80) * ENTRY_SIZE;
        if (mul_u64(le64_at(header + 72), 512, &at) == 0 && range_fits(at, n, size))
                put_le32(header + 88, crc32_gpt(image + at, (size_t)n));
        put_le32(header + 16, 0);
        put_le32(header + 16, crc32_gpt(header, HEADER_SIZE));
}

static bool is_inside(const struct ddi_part *p, size_t size)
{
        return p->size > 0 && range_fits(p->offset, p->size, size);
}

static void use(int fd, size_t size, const struct ddi *d)
{
        uint8_t root_hash[SHA256_SIZE] = {0};
        const struct buf *pem = certificate();
        struct verity v;
        struct error e = ERROR_INIT;
        int r;

        FUZZ_CHECK(is_inside(&d->data, size) && is_inside(&d->verity, size) &&
                   is_inside(&d->signature, size));
        r = ddi_check_signature(fd, d, pem->data, pem->len, root_hash, &e);
        fuzz_check_error(r, &e);
        FUZZ_CHECK(r < 0);
        e = (struct error)ERROR_INIT;
        r = verity_read(fd, d, &v, &e);
        fuzz_check_error(r, &e);
        if (r == 0)
                FUZZ_CHECK(v.blocks > 0 && v.blocks * v.data_block <= d->data.size);
        e = (struct error)ERROR_INIT;
        r = verity_check(fd, d, root_hash, &e);
        fuzz_check_error(r, &e);
        FUZZ_CHECK(r < 0); /* no tree has this root */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        _cleanup_free_ uint8_t *copy = malloc(size + 1);
        _cleanup_close_ int fd = -EBADF;
        struct error e = ERROR_INIT;
        struct ddi ddi;
        int r;

        FUZZ_CHECK(copy);
        if (size > 0)
                memcpy(copy, data, size);
        repair(copy, size);
        fd = fuzz_file(copy, size);
        r = ddi_read(fd, size, &ddi, &e);
        fuzz_check_error(r, &e);
        if (r == 0)
                use(fd, size, &ddi);
        return 0;
}
