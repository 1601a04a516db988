/* SPDX-License-Identifier: Apache-2.0 */
#include "base/digest.h"

#include <openssl/evp.h>

#include "base/file.h"
#include "base/limits.h"

struct digest {
        EVP_MD_CTX *ctx;
};

int sha256(const void *data, size_t n, uint8_t ret[SHA256_SIZE])
{
        return EVP_Digest(data, n, ret, NULL, EVP_sha256(), NULL) == 1 ? 0 : -EIO;
}

struct digest *digest_new(void)
{
        struct digest *d = calloc(1, sizeof(*d));

        if (!d)
                return NULL;
        d->ctx = EVP_MD_CTX_new();
        if (!d->ctx || EVP_DigestInit_ex(d->ctx, EVP_sha256(), NULL) != 1) {
                digest_free(d);
                return NULL;
        }
        return d;
}

void digest_free(struct digest *d)
{
        if (!d)
                return;
        EVP_MD_CTX_free(d->ctx);
        free(d);
}

int digest_add(struct digest *d, const void *data, size_t n)
{
        return EVP_DigestUpdate(d->ctx, data, n) == 1 ? 0 : -EIO;
}

int digest_final(struct digest *d, uint8_t ret[SHA256_SIZE])
{
        return EVP_DigestFinal_ex(d->ctx, ret, NULL) == 1 ? 0 : -EIO;
}

int digest_fd(int fd, uint8_t ret[SHA256_SIZE], uint64_t *ret_size)
{
        _cleanup_(digest_free_p) struct digest *d = digest_new();
        _cleanup_free_ uint8_t *chunk = malloc(FILE_CHUNK);
        uint64_t offset = 0;
        ssize_t n;
        int r;

        if (!d || !chunk)
                return -ENOMEM;
        while ((n = file_pread(fd, chunk, FILE_CHUNK, offset)) > 0) {
                r = digest_add(d, chunk, (size_t)n);
                if (r < 0)
                        return r;
                offset += (uint64_t)n;
        }
        if (n < 0)
                return (int)n;
        r = digest_final(d, ret);
        if (r < 0)
                return r;
        if (ret_size)
                *ret_size = offset;
        return 0;
}
