/* SPDX-License-Identifier: Apache-2.0 */
#include "partition/pin.h"

#include <openssl/evp.h>
#include <stdbool.h>

#define PIN_ITERATIONS 10000

int pin_check(const struct secret *pin, struct error *e)
{
        bool fit = pin->len >= PIN_MIN && pin->len <= PIN_MAX;

        for (size_t i = 0; i < pin->len; i++)
                fit &= pin->data[i] >= ' ' && pin->data[i] < 0x7f;
        return fit ? 0
                   : error_set(e, ERROR_USAGE, EINVAL,
                               "a PIN has %u to %u characters: letters, digits, signs, blanks",
                               PIN_MIN, PIN_MAX);
}

/* What systemd of 253 and later hashes in place of the PIN. */
static struct secret *stretch(const struct secret *pin, const uint8_t *salt)
{
        _cleanup_(secret_free_p) struct secret *key = secret_new(SHA256_SIZE);

        if (!key || PKCS5_PBKDF2_HMAC((const char *)pin->data, (int)pin->len, salt, PIN_SALT_SIZE,
                                      PIN_ITERATIONS, EVP_sha256(), SHA256_SIZE, key->data) != 1)
                return NULL;
        return secret_base64(key);
}

int pin_auth(const struct secret *pin, const uint8_t *salt, struct secret **ret)
{
        _cleanup_(secret_free_p) struct secret *auth = secret_new(SHA256_SIZE), *stretched = NULL;
        int r;

        if (salt)
                stretched = stretch(pin, salt);
        if (!auth || (salt && !stretched))
                return -ENOMEM;
        r = salt ? sha256(stretched->data, stretched->len, auth->data)
                 : sha256(pin->data, pin->len, auth->data);
        if (r < 0)
                return r;
        while (auth->len > 0 && auth->data[auth->len - 1] == 0)
                auth->len--;
        *ret = TAKE_PTR(auth);
        return 0;
}
