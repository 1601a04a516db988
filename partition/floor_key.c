/* SPDX-License-Identifier: Apache-2.0 */
/* The key of the floor's index, and signatures by it in the TPM's form. */
#include "partition/floor_key.h"

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/pem.h>
#include <string.h>
#include <tss2/tss2_mu.h>

/* PEM of a P-256 key in PKCS #8 is about 240 bytes. */
#define PEM_MAX 4096u

struct floor_key {
        EVP_PKEY *pkey;
        TPM2B_PUBLIC public;
        uint8_t policy[SHA256_SIZE];
};

void floor_key_free(struct floor_key *k)
{
        if (!k)
                return;
        EVP_PKEY_free(k->pkey);
        free(k);
}

static void bio_free_p(BIO **b)
{
        if (*b)
                (void)BIO_free(*b);
}

static void sig_free_p(ECDSA_SIG **s)
{
        ECDSA_SIG_free(*s);
}

static int coordinate(const EVP_PKEY *pkey, const char *param, TPM2B_ECC_PARAMETER *ret)
{
        BIGNUM *n = NULL;
        int ok = EVP_PKEY_get_bn_param(pkey, param, &n) == 1 &&
                 BN_bn2binpad(n, ret->buffer, FLOOR_KEY_FIELD) == (int)FLOOR_KEY_FIELD;

        BN_free(n);
        ret->size = FLOOR_KEY_FIELD;
        return ok ? 0 : -EBADMSG;
}

static int make_public(const EVP_PKEY *pkey, TPM2B_PUBLIC *ret)
{
        TPM2B_PUBLIC p = {
                .publicArea =
                        {
                                .type = TPM2_ALG_ECC,
                                .nameAlg = TPM2_ALG_SHA256,
                                .objectAttributes =
                                        TPMA_OBJECT_USERWITHAUTH | TPMA_OBJECT_SIGN_ENCRYPT,
                                .parameters.eccDetail = {.symmetric.algorithm = TPM2_ALG_NULL,
                                                         .scheme.scheme = TPM2_ALG_NULL,
                                                         .curveID = TPM2_ECC_NIST_P256,
                                                         .kdf.scheme = TPM2_ALG_NULL},
                        },
        };

        if (coordinate(pkey, OSSL_PKEY_PARAM_EC_PUB_X, &p.publicArea.unique.ecc.x) < 0 ||
            coordinate(pkey, OSSL_PKEY_PARAM_EC_PUB_Y, &p.publicArea.unique.ecc.y) < 0)
                return -EBADMSG;
        *ret = p;
        return 0;
}

/*
 * H(H(zeros || TPM_CC_PolicySigned || name of the key) || policyRef), with an empty policyRef
 * (TPM 2.0 Library, part 3, section 23.3; part 1, section 19.7.5.2).
 */
static int make_policy(const TPM2B_PUBLIC *public, uint8_t ret[SHA256_SIZE])
{
        static const uint8_t command[4] = {0, 0, 0x01, 0x60}, alg[2] = {0, TPM2_ALG_SHA256};
        uint8_t area[sizeof(TPMT_PUBLIC)], input[SHA256_SIZE + 4 + 2 + SHA256_SIZE] = {0};
        size_t n = 0;
        int r;

        if (Tss2_MU_TPMT_PUBLIC_Marshal(&public->publicArea, area, sizeof(area), &n) !=
            TSS2_RC_SUCCESS)
                return -EBADMSG;
        memcpy(input + SHA256_SIZE, command, sizeof(command));
        memcpy(input + SHA256_SIZE + 4, alg, sizeof(alg));
        r = sha256(area, n, input + SHA256_SIZE + 6);
        if (r >= 0)
                r = sha256(input, sizeof(input), ret);
        return r < 0 ? r : sha256(ret, SHA256_SIZE, ret);
}

/* Takes the key over in every case. */
static int wrap(EVP_PKEY *pkey, struct floor_key **ret)
{
        _cleanup_(floor_key_free_p) struct floor_key *k = calloc(1, sizeof(*k));
        char group[32];
        size_t n;

        if (!k) {
                EVP_PKEY_free(pkey);
                return -ENOMEM;
        }
        k->pkey = pkey;
        if (!pkey || EVP_PKEY_get_base_id(pkey) != EVP_PKEY_EC ||
            EVP_PKEY_get_group_name(pkey, group, sizeof(group), &n) != 1 ||
            strcmp(group, "prime256v1") != 0 || make_public(pkey, &k->public) < 0 ||
            make_policy(&k->public, k->policy) < 0)
                return -EBADMSG;
        *ret = TAKE_PTR(k);
        return 0;
}

int floor_key_new(struct floor_key **ret, struct error *e)
{
        return wrap(EVP_EC_gen("P-256"), ret) < 0
                       ? error_set(e, ERROR_INTERNAL, EIO,
                                   "cannot make a key for the version floor")
                       : 0;
}

/* A file of ours is never encrypted: nobody is to be asked. */
static int no_password(char *out, int n, int writing, void *ctx)
{
        (void)out;
        (void)n;
        (void)writing;
        (void)ctx;
        return -1;
}

int floor_key_from_pem(const char *pem, struct floor_key **ret)
{
        _cleanup_(bio_free_p) BIO *bio = NULL;
        size_t n = strlen(pem);

        if (n > PEM_MAX)
                return -EBADMSG;
        bio = BIO_new_mem_buf(pem, (int)n);
        return bio ? wrap(PEM_read_bio_PrivateKey(bio, NULL, no_password, NULL), ret) : -ENOMEM;
}

int floor_key_to_pem(const struct floor_key *k, struct buf *out)
{
        _cleanup_(bio_free_p) BIO *bio = BIO_new(BIO_s_secmem());
        char *pem;
        long n;

        if (!bio || PEM_write_bio_PKCS8PrivateKey(bio, k->pkey, NULL, NULL, 0, NULL, NULL) != 1)
                return -ENOMEM;
        n = BIO_get_mem_data(bio, &pem);
        return n > 0 ? buf_add(out, pem, (size_t)n) : -ENOMEM;
}

const uint8_t *floor_key_policy(const struct floor_key *k)
{
        return k->policy;
}

const TPM2B_PUBLIC *floor_key_public(const struct floor_key *k)
{
        return &k->public;
}

static int to_tpm(const ECDSA_SIG *s, TPMT_SIGNATURE *ret)
{
        TPMT_SIGNATURE t = {.sigAlg = TPM2_ALG_ECDSA,
                            .signature.ecdsa = {.hash = TPM2_ALG_SHA256,
                                                .signatureR.size = FLOOR_KEY_FIELD,
                                                .signatureS.size = FLOOR_KEY_FIELD}};

        if (BN_bn2binpad(ECDSA_SIG_get0_r(s), t.signature.ecdsa.signatureR.buffer,
                         FLOOR_KEY_FIELD) < 0 ||
            BN_bn2binpad(ECDSA_SIG_get0_s(s), t.signature.ecdsa.signatureS.buffer,
                         FLOOR_KEY_FIELD) < 0)
                return -EIO;
        *ret = t;
        return 0;
}

int floor_key_sign(const struct floor_key *k, const void *data, size_t n, TPMT_SIGNATURE *ret)
{
        EVP_MD_CTX *ctx = EVP_MD_CTX_new();
        _cleanup_(sig_free_p) ECDSA_SIG *s = NULL;
        uint8_t der[128];
        const uint8_t *p = der;
        size_t len = sizeof(der);
        bool ok = ctx && EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, k->pkey) == 1 &&
                  EVP_DigestSign(ctx, der, &len, data, n) == 1;

        EVP_MD_CTX_free(ctx);
        if (ok)
                s = d2i_ECDSA_SIG(NULL, &p, (long)len);
        return s ? to_tpm(s, ret) : -EIO;
}
