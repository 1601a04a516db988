/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/swtpm_policy.h"

#include <assert.h>
#include <fcntl.h>
#include <openssl/pem.h>

#include "base/codec.h"
#include "base/file.h"
#include "base/json.h"

/* A test without its key is pointless. */
static void must(bool ok)
{
        if (!ok)
                abort();
}

struct test_key *test_key_new(unsigned bits)
{
        struct test_key *k = calloc(1, sizeof(*k));
        BIO *bio = BIO_new(BIO_s_mem());
        char *pem;
        long n;

        must(k && bio);
        k->pkey = EVP_RSA_gen(bits);
        must(k->pkey && PEM_write_bio_PUBKEY(bio, k->pkey) == 1);
        n = BIO_get_mem_data(bio, &pem);
        must(n > 0 && policy_key_from_pem(pem, (size_t)n, &k->policy, NULL) == 0);
        (void)BIO_free(bio);
        return k;
}

void test_key_free(struct test_key *k)
{
        if (!k)
                return;
        EVP_PKEY_free(k->pkey);
        policy_key_free(k->policy);
        free(k);
}

void test_key_sign(const struct test_key *k, const uint8_t pol[SHA256_SIZE], struct buf *sig)
{
        EVP_MD_CTX *ctx = EVP_MD_CTX_new();
        uint8_t out[512];
        size_t n = sizeof(out);

        must(ctx && EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, k->pkey) == 1 &&
             EVP_DigestSign(ctx, out, &n, pol, SHA256_SIZE) == 1 && buf_add(sig, out, n) == 0);
        EVP_MD_CTX_free(ctx);
}

void test_pol(unsigned pcr, const uint8_t value[SHA256_SIZE], uint8_t ret[SHA256_SIZE])
{
        memset(ret, 0, SHA256_SIZE);
        must(policy_pcr(ret, 1u << pcr, value, SHA256_SIZE) == 0);
}

void test_write_signature_file(const char *path, const struct test_key *k,
                               const uint8_t pol[SHA256_SIZE])
{
        _cleanup_(buf_done) struct buf sig = BUF_INIT(1024), sig64 = BUF_INIT(2048),
                                       text = BUF_INIT(8192);
        char pkfp_hex[SHA256_HEX_SIZE], pol_hex[SHA256_HEX_SIZE];

        test_key_sign(k, pol, &sig);
        hex_encode(policy_key_fingerprint(k->policy), SHA256_SIZE, pkfp_hex);
        hex_encode(pol, SHA256_SIZE, pol_hex);
        must(base64_encode(sig.data, sig.len, &sig64) == 0 &&
             buf_printf(&text,
                        "{\"sha256\":[{\"pcrs\":[11],\"pkfp\":\"%s\",\"pol\":\"%s\",\"sig\":\"%s\"}"
                        "]}",
                        pkfp_hex, pol_hex, buf_str(&sig64)) == 0 &&
             file_write_volatile(AT_FDCWD, path, text.data, text.len, 0600) == 0);
}

int test_find_signature(void *ctx, const uint8_t pkfp[SHA256_SIZE], const uint8_t pol[SHA256_SIZE],
                        struct buf *sig)
{
        struct test_signer *s = ctx;

        s->calls++;
        if (!s->key || memcmp(pkfp, policy_key_fingerprint(s->key->policy), SHA256_SIZE) != 0)
                return -ENOKEY;
        if (memcmp(pol, s->pol, SHA256_SIZE) != 0)
                return -ENOENT;
        test_key_sign(s->key, pol, sig);
        if (s->broken)
                sig->data[3] ^= 1;
        return 0;
}
