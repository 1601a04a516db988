/* SPDX-License-Identifier: Apache-2.0 */
#include "partition/policy.h"

#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <string.h>

#include "base/limits.h"

#define RSA_BITS_MIN 2048
#define RSA_BITS_MAX 4096
#define RSA_EXPONENT 65537u

/* TPM_CC of the policy commands, mixed into the digest. */
#define CC_POLICY_AUTHORIZE 0x0000016au
#define CC_POLICY_AUTH_VALUE 0x0000016bu
#define CC_POLICY_PCR 0x0000017fu

#define ALG_SHA256 0x000bu
#define PCR_COUNT 24u

struct policy_key {
        EVP_PKEY *pkey;
        uint8_t *pem;
        size_t pem_size;
        uint8_t modulus[RSA_BITS_MAX / 8];
        size_t modulus_size;
        uint8_t fingerprint[SHA256_SIZE];
        uint8_t name[POLICY_NAME_SIZE];
        uint8_t name_exponent0[POLICY_NAME_SIZE];
};

static inline void bio_free_p(BIO **b)
{
        (void)BIO_free(*b);
}

static inline void bn_free_p(BIGNUM **b)
{
        BN_free(*b);
}

static inline void pkey_free_p(EVP_PKEY **k)
{
        EVP_PKEY_free(*k);
}

static inline void md_ctx_free_p(EVP_MD_CTX **c)
{
        EVP_MD_CTX_free(*c);
}

static inline void openssl_free_p(unsigned char **p)
{
        OPENSSL_free(*p);
}

static uint8_t *put_be16(uint8_t *p, uint32_t v)
{
        *p++ = (uint8_t)(v >> 8);
        *p++ = (uint8_t)v;
        return p;
}

static uint8_t *put_be32(uint8_t *p, uint32_t v)
{
        return put_be16(put_be16(p, v >> 16), v);
}

/* Name = algorithm and hash of the marshalled TPMT_PUBLIC (part 2, section 12.2.4). */
static int make_name(const struct policy_key *k, uint32_t exponent, uint8_t name[POLICY_NAME_SIZE])
{
        uint8_t area[32 + RSA_BITS_MAX / 8];
        uint8_t *p = area;

        p = put_be16(p, 0x0001);     /* type RSA */
        p = put_be16(p, ALG_SHA256); /* nameAlg */
        p = put_be32(p, 0x00060040); /* userWithAuth | decrypt | sign */
        p = put_be16(p, 0);          /* authPolicy: empty */
        p = put_be16(p, 0x0010);     /* symmetric NULL */
        p = put_be16(p, 0x0010);     /* scheme NULL */
        p = put_be16(p, (uint32_t)k->modulus_size * 8);
        p = put_be32(p, exponent);
        p = put_be16(p, (uint32_t)k->modulus_size);
        memcpy(p, k->modulus, k->modulus_size);
        p += k->modulus_size;
        (void)put_be16(name, ALG_SHA256);
        return sha256(area, (size_t)(p - area), name + 2);
}

static int check_rsa(const EVP_PKEY *pkey, struct error *e)
{
        _cleanup_(bn_free_p) BIGNUM *exponent = NULL;
        int bits;

        if (!EVP_PKEY_is_a(pkey, "RSA"))
                return error_set(e, ERROR_REFUSED, EOPNOTSUPP,
                                 "policy key: not an RSA key, and TPM policies of this kind know "
                                 "no other");
        bits = EVP_PKEY_get_bits(pkey);
        if (bits < RSA_BITS_MIN || bits > RSA_BITS_MAX || bits % 8 != 0)
                return error_set(e, ERROR_REFUSED, EOPNOTSUPP,
                                 "policy key: RSA with %d bits, accepted are %d to %d", bits,
                                 RSA_BITS_MIN, RSA_BITS_MAX);
        if (!EVP_PKEY_get_bn_param(pkey, OSSL_PKEY_PARAM_RSA_E, &exponent))
                return error_oom(e);
        if (!BN_is_word(exponent, RSA_EXPONENT))
                return error_set(e, ERROR_REFUSED, EOPNOTSUPP, "policy key: RSA exponent is not %u",
                                 RSA_EXPONENT);
        return 0;
}

static int derive(struct policy_key *k, struct error *e)
{
        _cleanup_(bn_free_p) BIGNUM *n = NULL;
        _cleanup_(openssl_free_p) unsigned char *der = NULL;
        int size;

        if (!EVP_PKEY_get_bn_param(k->pkey, OSSL_PKEY_PARAM_RSA_N, &n))
                return error_oom(e);
        size = BN_bn2bin(n, k->modulus);
        k->modulus_size = (size_t)size;
        size = i2d_PublicKey(k->pkey, &der);
        if (size <= 0 || sha256(der, (size_t)size, k->fingerprint) < 0 ||
            make_name(k, RSA_EXPONENT, k->name) < 0 || make_name(k, 0, k->name_exponent0) < 0)
                return error_oom(e);
        return 0;
}

int policy_key_from_pem(const void *pem, size_t n, struct policy_key **ret, struct error *e)
{
        _cleanup_(policy_key_free_p) struct policy_key *k = NULL;
        _cleanup_(bio_free_p) BIO *bio = NULL;
        int r;

        if (n > 0 && ((const char *)pem)[n - 1] == '\0')
                n--;
        if (n == 0)
                return error_set(e, ERROR_REFUSED, EBADMSG, "policy key: empty");
        if (n > LIMIT_PCRPKEY)
                return error_set(e, ERROR_REFUSED, E2BIG,
                                 "policy key: %zu bytes, at most %zu are accepted", n,
                                 (size_t)LIMIT_PCRPKEY);
        k = calloc(1, sizeof(*k));
        if (!k)
                return error_oom(e);
        k->pem = malloc(n);
        bio = BIO_new_mem_buf(pem, (int)n);
        if (!k->pem || !bio)
                return error_oom(e);
        memcpy(k->pem, pem, n);
        k->pem_size = n;
        k->pkey = PEM_read_bio_PUBKEY(bio, NULL, NULL, NULL);
        if (!k->pkey)
                return error_set(e, ERROR_REFUSED, EBADMSG, "policy key: not a PEM public key");
        r = check_rsa(k->pkey, e);
        if (r < 0)
                return r;
        r = derive(k, e);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(k);
        return 0;
}

void policy_key_free(struct policy_key *k)
{
        if (!k)
                return;
        pkey_free_p(&k->pkey);
        free(k->pem);
        free(k);
}

const uint8_t *policy_key_fingerprint(const struct policy_key *k)
{
        return k->fingerprint;
}

const uint8_t *policy_key_name(const struct policy_key *k)
{
        return k->name;
}

const uint8_t *policy_key_name_exponent0(const struct policy_key *k)
{
        return k->name_exponent0;
}

const uint8_t *policy_key_modulus(const struct policy_key *k, size_t *ret_size)
{
        *ret_size = k->modulus_size;
        return k->modulus;
}

const uint8_t *policy_key_pem(const struct policy_key *k, size_t *ret_size)
{
        *ret_size = k->pem_size;
        return k->pem;
}

int policy_key_verify(const struct policy_key *k, const uint8_t pol[SHA256_SIZE],
                      const uint8_t *sig, size_t sig_len)
{
        _cleanup_(md_ctx_free_p) EVP_MD_CTX *ctx = NULL;

        if (sig_len != k->modulus_size)
                return -EKEYREJECTED;
        ctx = EVP_MD_CTX_new();
        /* PKCS#1 v1.5 is the default padding of RSA keys. */
        if (!ctx || EVP_DigestVerifyInit(ctx, NULL, EVP_sha256(), NULL, k->pkey) != 1)
                return -ENOMEM;
        if (EVP_DigestVerify(ctx, sig, sig_len, pol, SHA256_SIZE) != 1)
                return -EKEYREJECTED;
        return 0;
}

/* digest = SHA-256(digest || command code || more): the shape of every policy assertion. */
static int extend(uint8_t digest[SHA256_SIZE], uint32_t code, const uint8_t *more, size_t n)
{
        uint8_t input[SHA256_SIZE + 4 + 64];
        uint8_t *p = input + SHA256_SIZE;

        memcpy(input, digest, SHA256_SIZE);
        p = put_be32(p, code);
        if (n > 0)
                memcpy(p, more, n);
        return sha256(input, SHA256_SIZE + 4 + n, digest);
}

int policy_pcr(uint8_t digest[SHA256_SIZE], uint32_t mask, const uint8_t *values, size_t n)
{
        uint8_t more[10 + SHA256_SIZE];
        uint8_t *p = more;
        int r;

        if (mask == 0 || mask >> PCR_COUNT != 0 ||
            n != SHA256_SIZE * (size_t)__builtin_popcount(mask))
                return -EINVAL;
        /* TPML_PCR_SELECTION: one bank, three bytes of bitmap, PCR 0 in the lowest bit of the
         * first. */
        p = put_be32(p, 1);
        p = put_be16(p, ALG_SHA256);
        *p++ = PCR_COUNT / 8;
        *p++ = (uint8_t)mask;
        *p++ = (uint8_t)(mask >> 8);
        *p++ = (uint8_t)(mask >> 16);
        r = sha256(values, n, p);
        if (r < 0)
                return r;
        return extend(digest, CC_POLICY_PCR, more, sizeof(more));
}

int policy_authorize_name(uint8_t digest[SHA256_SIZE], const uint8_t name[POLICY_NAME_SIZE])
{
        int r;

        memset(digest, 0, SHA256_SIZE);
        r = extend(digest, CC_POLICY_AUTHORIZE, name, POLICY_NAME_SIZE);
        if (r < 0)
                return r;
        /* The second hash takes policyRef, which is empty here. */
        return sha256(digest, SHA256_SIZE, digest);
}

int policy_authorize(uint8_t digest[SHA256_SIZE], const struct policy_key *k)
{
        return policy_authorize_name(digest, k->name);
}

int policy_auth_value(uint8_t digest[SHA256_SIZE])
{
        return extend(digest, CC_POLICY_AUTH_VALUE, NULL, 0);
}
