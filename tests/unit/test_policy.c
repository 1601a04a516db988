/* SPDX-License-Identifier: Apache-2.0 */
/* Golden values: policy digests, key name and fingerprint that systemd 252 and 257 produced. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <openssl/evp.h>
#include <openssl/pem.h>

#include "base/codec.h"
#include "base/limits.h"
#include "partition/policy.h"

static const char golden_pem[] =
        "-----BEGIN PUBLIC KEY-----\n"
        "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA0V0vFdTlEq413AwSSSIR\n"
        "hQXxEav2VQDES5RowuJHQjPQwvKwJ0tgh07Nsj2stmsGU1KUEOBgc3sbFCwYVTk4\n"
        "o6LJqeiN1pwhOGaVxM0P6Y2EV+CSSl75CHTo0AS5bZ74n0c99jKJreoMNtyYmXK1\n"
        "+WrC6oB88tIG1vOKbSbNxib2DiQaNpgUlzTeOhPP0nMaKufuy0tGiNMuFxgNJkXr\n"
        "Xk5AxtrRLsPjBIJtJodn8rK7tBRf0fWwx/l8hqT6pwZs3yU48bXWJ+8DiPdUqENX\n"
        "mtNHhOYdzBmlqiRlwcfHM/z73yBr2uuZqeNJYJS4/a6mUYwA7lXcXhz2tG7AwNVT\n"
        "sQIDAQAB\n"
        "-----END PUBLIC KEY-----\n";

static const char golden_sig[] =
        "HSbnT+jdxY5/"
        "jqP01LfK2BsyERCP984IpfbTjFdOOiqRTxuKF3V+ze4KCMqVLP+WXhZkLPUyouriX+AgpICJJnHyex/"
        "cWl7+9+wpdKmoCtP+"
        "kbfrclP12uiZ0m6899AVEBmNcmlPuOXdOmgKN5i1Wgx3Ul8bg6ZzfJCPkkDQmPpFZfTNQCjEqg"
        "+xlHl5294IEUv3Q/"
        "mJC1+XjsZ2y50Nkkorzw9VVAjKY9yxjSoN9bF3n74ZH6RcQbAYoUBK0QDvCFSQm0HJe1xJjSnba"
        "TU2WcrS47piR2EDt15sUMKPs8/8ObdmN6Jss8cKoBFNLXK/03rE2i1tZJPzqSOaWtYjHQ==";

#define PCR7 "71a0f8dfc7fde003d0ab1e4799b93b62d633751cb214a046224e9e94d06bb893"
#define PCR11 "0aa67f92271757adc73e44704977b080d37749d39c29a31d10c4f27f1e61bff0"

static void assert_hex(const uint8_t *data, size_t n, const char *hex)
{
        char text[2 * 64 + 1];

        assert_true(n <= 64);
        hex_encode(data, n, text);
        assert_string_equal(text, hex);
}

static struct policy_key *golden_key(void)
{
        struct policy_key *k = NULL;
        struct error e = ERROR_INIT;

        assert_int_equal(policy_key_from_pem(golden_pem, sizeof(golden_pem) - 1, &k, &e), 0);
        return k;
}

static void test_key(void **state)
{
        _cleanup_(policy_key_free_p) struct policy_key *k = golden_key();
        size_t n;

        (void)state;
        assert_hex(policy_key_fingerprint(k), 32,
                   "13c708c255635544094ec655c8cac175b32d6b449b132deac756b350570be2ad");
        assert_hex(policy_key_name(k), POLICY_NAME_SIZE,
                   "000b7a6edab3a74469123ce46f9a203802843b586cdde0e41f71c65d40d7aae43336");
        assert_memory_not_equal(policy_key_name(k), policy_key_name_exponent0(k), POLICY_NAME_SIZE);
        assert_int_equal(policy_key_modulus(k, &n)[0], 0xd1);
        assert_int_equal(n, 256);
        assert_memory_equal(policy_key_pem(k, &n), golden_pem, sizeof(golden_pem) - 1);
        assert_int_equal(n, sizeof(golden_pem) - 1);
}

static void test_signature(void **state)
{
        _cleanup_(policy_key_free_p) struct policy_key *k = golden_key();
        _cleanup_(buf_done) struct buf sig = BUF_INIT(1024);
        uint8_t pcr11[32], pol[32] = {0};

        (void)state;
        assert_int_equal(hex_decode(PCR11, pcr11, 32), 0);
        assert_int_equal(policy_pcr(pol, 1u << 11, pcr11, 32), 0);
        assert_hex(pol, 32, "3042fa12601830bb571a3f28aa7d4e9f520f1c0e094ab38c5d066ccc10aa3104");

        assert_int_equal(base64_decode(golden_sig, sizeof(golden_sig) - 1, &sig), 0);
        assert_int_equal(policy_key_verify(k, pol, sig.data, sig.len), 0);
        assert_int_equal(policy_key_verify(k, pol, sig.data, sig.len - 1), -EKEYREJECTED);
        assert_int_equal(policy_key_verify(k, pcr11, sig.data, sig.len), -EKEYREJECTED);
        sig.data[17] ^= 1;
        assert_int_equal(policy_key_verify(k, pol, sig.data, sig.len), -EKEYREJECTED);
        assert_int_equal(policy_key_verify(k, pol, NULL, 0), -EKEYREJECTED);
}

static void test_digests(void **state)
{
        _cleanup_(policy_key_free_p) struct policy_key *k = golden_key();
        uint8_t d[32], pcr7[32];

        (void)state;
        assert_int_equal(hex_decode(PCR7, pcr7, 32), 0);
        /* The start value must not matter: PolicyAuthorize resets. */
        for (size_t i = 0; i < 32; i++)
                d[i] = 0xaa;
        assert_int_equal(policy_authorize(d, k), 0);
        assert_hex(d, 32, "fd15c1189b16f6a3757ebf887621907464135f10264923156d27abaef907f829");
        assert_int_equal(policy_pcr(d, 1u << 7, pcr7, 32), 0);
        assert_hex(d, 32, "96c8e3afda44280c61bf72d16f26429cbf9e9af6509702a10afcaf8129efac68");
        assert_int_equal(policy_auth_value(d), 0);
        assert_hex(d, 32, "30157a6086a09ababdd0bf55ec4bea63a34fd377116c5c3aa7fecaae3db74094");
}

static void test_small_digests(void **state)
{
        static const uint8_t zeros[64];
        uint8_t d[32] = {0}, p[32] = {0};

        (void)state;
        assert_int_equal(policy_auth_value(d), 0);
        assert_hex(d, 32, "8fcd2169ab92694e0c633f1ab772842b8241bbc20288981fc7ac1eddc1fddb0e");
        assert_int_equal(policy_pcr(p, 1u << 7, zeros, 32), 0);
        assert_hex(p, 32, "8b5682d81b29435d08d79278150611dc7e5923b2fefcce684a09577b40130a8b");

        assert_int_equal(policy_pcr(p, 0, zeros, 0), -EINVAL);
        assert_int_equal(policy_pcr(p, 1u << 24, zeros, 32), -EINVAL);
        assert_int_equal(policy_pcr(p, 3, zeros, 32), -EINVAL);
        assert_int_equal(policy_pcr(p, 3, zeros, 64), 0);
}

static size_t make_pem(EVP_PKEY *key, char *out, size_t size)
{
        BIO *bio = BIO_new(BIO_s_mem());
        char *data;
        long n;

        assert_non_null(key);
        assert_int_equal(PEM_write_bio_PUBKEY(bio, key), 1);
        n = BIO_get_mem_data(bio, &data);
        assert_true(n > 0 && (size_t)n < size);
        memcpy(out, data, (size_t)n);
        (void)BIO_free(bio);
        EVP_PKEY_free(key);
        return (size_t)n;
}

static void assert_refused(const void *pem, size_t n, int code)
{
        struct policy_key *k = NULL;
        struct error e = ERROR_INIT;

        assert_int_equal(policy_key_from_pem(pem, n, &k, &e), -code);
        assert_int_equal(e.class, ERROR_REFUSED);
        assert_null(k);
}

static void test_refused_keys(void **state)
{
        static char big[LIMIT_PCRPKEY + 2];
        char pem[4096];
        size_t n;

        (void)state;
        assert_refused("", 0, EBADMSG);
        assert_refused("", 1, EBADMSG);
        assert_refused("no key", 6, EBADMSG);
        assert_refused(golden_pem, sizeof(golden_pem) / 2, EBADMSG);
        memset(big, 'A', sizeof(big));
        assert_refused(big, sizeof(big), E2BIG);
        n = make_pem(EVP_RSA_gen(1024), pem, sizeof(pem));
        assert_refused(pem, n, EOPNOTSUPP);
        n = make_pem(EVP_EC_gen("P-256"), pem, sizeof(pem));
        assert_refused(pem, n, EOPNOTSUPP);
}

static void test_trailing_nul(void **state)
{
        _cleanup_(policy_key_free_p) struct policy_key *k = NULL;
        size_t n;

        (void)state;
        assert_int_equal(policy_key_from_pem(golden_pem, sizeof(golden_pem), &k, NULL), 0);
        (void)policy_key_pem(k, &n);
        assert_int_equal(n, sizeof(golden_pem) - 1);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_key),          cmocka_unit_test(test_signature),
                cmocka_unit_test(test_digests),      cmocka_unit_test(test_small_digests),
                cmocka_unit_test(test_refused_keys), cmocka_unit_test(test_trailing_nul),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
