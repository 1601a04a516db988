/* SPDX-License-Identifier: Apache-2.0 */
#include "partition/xts.h"

#include <openssl/evp.h>

#include "base/num.h"
#include "partition/luks.h"

#define TWEAK_SIZE 16u
#define TWEAK_UNIT 512u

struct xts {
        uint32_t sector;
        EVP_CIPHER_CTX *encrypt, *decrypt; /* keyed; each sector brings its tweak */
};

void xts_free(struct xts *x)
{
        if (!x)
                return;
        EVP_CIPHER_CTX_free(x->encrypt); /* wipes the key */
        EVP_CIPHER_CTX_free(x->decrypt);
        free(x);
}

int xts_new(const struct secret *volume_key, uint32_t sector_size, struct xts **ret,
            struct error *e)
{
        _cleanup_(xts_free_p) struct xts *x = calloc(1, sizeof(*x));

        if (!x)
                return error_oom(e);
        if (volume_key->len != LUKS_VOLUME_KEY_SIZE || sector_size < TWEAK_UNIT ||
            sector_size % TWEAK_UNIT != 0)
                return error_set(e, ERROR_INTERNAL, EINVAL, "key or sector of another cipher");
        x->sector = sector_size;
        x->encrypt = EVP_CIPHER_CTX_new();
        x->decrypt = EVP_CIPHER_CTX_new();
        if (!x->encrypt || !x->decrypt ||
            EVP_EncryptInit_ex(x->encrypt, EVP_aes_256_xts(), NULL, volume_key->data, NULL) != 1 ||
            EVP_DecryptInit_ex(x->decrypt, EVP_aes_256_xts(), NULL, volume_key->data, NULL) != 1)
                return error_set(e, ERROR_INTERNAL, EIO, "the crypto library has no AES-256-XTS");
        *ret = TAKE_PTR(x);
        return 0;
}

/* enc: as EVP_CipherInit_ex() has it. */
static int run(EVP_CIPHER_CTX *ctx, int enc, uint32_t sector, uint64_t at, uint8_t *data, size_t n)
{
        if (at % sector != 0 || n % sector != 0)
                return -EINVAL;
        for (size_t done = 0; done < n; done += sector) {
                uint64_t number = (at + done) / TWEAK_UNIT;
                uint8_t tweak[TWEAK_SIZE] = {0};
                int got;

                put_le32(tweak, (uint32_t)number);
                put_le32(tweak + 4, (uint32_t)(number >> 32));
                if (EVP_CipherInit_ex(ctx, NULL, NULL, NULL, tweak, enc) != 1 ||
                    EVP_CipherUpdate(ctx, data + done, &got, data + done, (int)sector) != 1 ||
                    (uint32_t)got != sector)
                        return -EIO;
        }
        return 0;
}

int xts_encrypt(struct xts *x, uint64_t at, uint8_t *data, size_t n)
{
        return run(x->encrypt, 1, x->sector, at, data, n);
}

int xts_decrypt(struct xts *x, uint64_t at, uint8_t *data, size_t n)
{
        return run(x->decrypt, 0, x->sector, at, data, n);
}
