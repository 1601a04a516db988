/* SPDX-License-Identifier: Apache-2.0 */
#include "upgrade/pcrsig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/bio.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>

#include "base/codec.h"
#include "base/limits.h"

/* A key, a PCR value and the signature that systemd-measure made of them. */
static const char pem[] = "-----BEGIN PUBLIC KEY-----\n"
                          "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA0V0vFdTlEq413AwSSSIR\n"
                          "hQXxEav2VQDES5RowuJHQjPQwvKwJ0tgh07Nsj2stmsGU1KUEOBgc3sbFCwYVTk4\n"
                          "o6LJqeiN1pwhOGaVxM0P6Y2EV+CSSl75CHTo0AS5bZ74n0c99jKJreoMNtyYmXK1\n"
                          "+WrC6oB88tIG1vOKbSbNxib2DiQaNpgUlzTeOhPP0nMaKufuy0tGiNMuFxgNJkXr\n"
                          "Xk5AxtrRLsPjBIJtJodn8rK7tBRf0fWwx/l8hqT6pwZs3yU48bXWJ+8DiPdUqENX\n"
                          "mtNHhOYdzBmlqiRlwcfHM/z73yBr2uuZqeNJYJS4/a6mUYwA7lXcXhz2tG7AwNVT\n"
                          "sQIDAQAB\n"
                          "-----END PUBLIC KEY-----\n";
#define PCR11 "0aa67f92271757adc73e44704977b080d37749d39c29a31d10c4f27f1e61bff0"
#define PKFP "13c708c255635544094ec655c8cac175b32d6b449b132deac756b350570be2ad"
#define POL "3042fa12601830bb571a3f28aa7d4e9f520f1c0e094ab38c5d066ccc10aa3104"
#define SIG                                                                                        \
        "HSbnT+jdxY5/jqP01LfK2BsyERCP984IpfbTjFdOOiqRTxuKF3V+ze4KCMqVLP+WXhZkLPUyouri"             \
        "X+AgpICJJnHyex/cWl7+9+wpdKmoCtP+kbfrclP12uiZ0m6899AVEBmNcmlPuOXdOmgKN5i1Wgx3"             \
        "Ul8bg6ZzfJCPkkDQmPpFZfTNQCjEqg+xlHl5294IEUv3Q/mJC1+XjsZ2y50Nkkorzw9VVAjKY9yx"             \
        "jSoN9bF3n74ZH6RcQbAYoUBK0QDvCFSQm0HJe1xJjSnbaTU2WcrS47piR2EDt15sUMKPs8/8Obdm"             \
        "N6Jss8cKoBFNLXK/03rE2i1tZJPzqSOaWtYjHQ=="
#define ZEROS "0000000000000000000000000000000000000000000000000000000000000000"
#define ELEMENT(pcrs, pkfp, pol, sig)                                                              \
        "{\"pcrs\":" pcrs ",\"pkfp\":\"" pkfp "\",\"pol\":\"" pol "\",\"sig\":\"" sig "\"}"
#define GOOD ELEMENT("[11]", PKFP, POL, SIG)
#define DOCUMENT "{\"sha256\":[" GOOD "]}"

static void from_hex(const char *hex, uint8_t ret[SHA256_SIZE])
{
        assert_int_equal(hex_decode(hex, ret, SHA256_SIZE), 0);
}

static int parse(const char *text, struct pcrsig **ret)
{
        return pcrsig_parse(text, strlen(text), ret, NULL);
}

static void test_known_policy(void **state)
{
        uint8_t pcr[SHA256_SIZE], pol[SHA256_SIZE], want[SHA256_SIZE];

        (void)state;
        from_hex(PCR11, pcr);
        from_hex(POL, want);
        assert_int_equal(pcrsig_policy(pcr, pol), 0);
        assert_memory_equal(pol, want, SHA256_SIZE);
}

static void test_find(void **state)
{
        _cleanup_(pcrsig_free_p) struct pcrsig *p = NULL;
        uint8_t pkfp[SHA256_SIZE], pol[SHA256_SIZE];

        (void)state;
        from_hex(PKFP, pkfp);
        from_hex(POL, pol);
        assert_int_equal(parse(DOCUMENT, &p), 0);
        assert_non_null(pcrsig_find(p, PCRSIG_MASK_PCR11, pkfp, pol));
        assert_int_equal(pcrsig_find(p, PCRSIG_MASK_PCR11, pkfp, pol)->sig.len, 256);
        assert_null(pcrsig_find(p, PCRSIG_MASK_PCR11 | 1, pkfp, pol));
        pkfp[31] ^= 1;
        assert_null(pcrsig_find(p, PCRSIG_MASK_PCR11, pkfp, pol));
        pkfp[31] ^= 1;
        pol[0] ^= 1;
        assert_null(pcrsig_find(p, PCRSIG_MASK_PCR11, pkfp, pol));
}

static void test_check(void **state)
{
        _cleanup_(pcrsig_free_p) struct pcrsig *p = NULL;
        struct error e = ERROR_INIT;
        uint8_t pcr[SHA256_SIZE], pol[SHA256_SIZE], want[SHA256_SIZE];

        (void)state;
        from_hex(PCR11, pcr);
        from_hex(POL, want);
        assert_int_equal(parse(DOCUMENT, &p), 0);
        assert_int_equal(pcrsig_check(p, pem, strlen(pem), pcr, pol, &e), 0);
        assert_memory_equal(pol, want, SHA256_SIZE);
        pcr[0] ^= 1;
        assert_int_equal(pcrsig_check(p, pem, strlen(pem), pcr, NULL, &e), -ENOENT);
        assert_int_equal(e.class, ERROR_REFUSED);
        assert_true(pcrsig_check(p, "no key", 6, pcr, NULL, &e) < 0);
}

/* The right element with the signature of another policy. */
static void test_wrong_signature(void **state)
{
        static const char text[] = "{\"sha256\":[" ELEMENT("[11]", PKFP, POL, "AAAA") "]}";
        _cleanup_(pcrsig_free_p) struct pcrsig *p = NULL;
        struct error e = ERROR_INIT;
        uint8_t pcr[SHA256_SIZE];

        (void)state;
        from_hex(PCR11, pcr);
        assert_int_equal(parse(text, &p), 0);
        assert_int_equal(pcrsig_check(p, pem, strlen(pem), pcr, NULL, &e), -EKEYREJECTED);
        assert_int_equal(e.class, ERROR_REFUSED);
}

static void test_well_formed(void **state)
{
        static const struct {
                const char *text;
                unsigned n;
        } table[] = {
                {"{}", 0},
                {"{\"sha256\":[]}", 0},
                {DOCUMENT, 1},
                {"{\"sha256\":[" GOOD "," GOOD "]}", 2},
                {"{\"sha1\":[" GOOD "],\"sha256\":[" GOOD "],\"sha384\":[],\"sha512\":[]}", 1},
                {"{\"sha1\":[" GOOD "]}", 0},
                {"{\"sha256\":[" ELEMENT("[0,7,23]", PKFP, POL, "AA==") "]}", 1},
                {"{\"sha3_256\":7,\"sha256\":[" GOOD "]}", 1}, /* a bank nobody here knows */
                {"{\"sha256\":[{\"pcrs\":[11],\"pkfp\":\"" PKFP "\",\"pol\":\"" POL
                 "\",\"sig\":\"AA==\",\"ref\":\"initrd\"}," GOOD "]}",
                 1},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
                _cleanup_(pcrsig_free_p) struct pcrsig *p = NULL;

                if (parse(table[i].text, &p) != 0)
                        fail_msg("%s", table[i].text);
                assert_null(pcrsig_at(p, table[i].n));
                assert_true(table[i].n == 0 || pcrsig_at(p, table[i].n - 1));
        }
}

/* One bad element spoils the document, wherever it stands. */
static void test_malformed(void **state)
{
        static const char *const elements[] = {
                "7",
                "null",
                "[]",
                "\"x\"",
                "{}",
                ELEMENT("11", PKFP, POL, SIG),
                ELEMENT("[]", PKFP, POL, SIG),
                ELEMENT("[24]", PKFP, POL, SIG),
                ELEMENT("[-1]", PKFP, POL, SIG),
                ELEMENT("[11,11]", PKFP, POL, SIG),
                ELEMENT("[4294967307]", PKFP, POL, SIG),
                ELEMENT("[\"11\"]", PKFP, POL, SIG),
                ELEMENT("[11.0]", PKFP, POL, SIG),
                ELEMENT("[0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,23]", PKFP,
                        POL, SIG),
                ELEMENT("[11]", "13c7", POL, SIG),
                ELEMENT("[11]", PKFP "00", POL, SIG),
                ELEMENT("[11]", "", POL, SIG),
                ELEMENT("[11]", PKFP, "xy" POL, SIG),
                ELEMENT("[11]", PKFP, POL, ""),
                ELEMENT("[11]", PKFP, POL, "A"),
                ELEMENT("[11]", PKFP, POL, "AA=A"),
                ELEMENT("[11]", PKFP, POL, "A A="),
                "{\"pcrs\":[11],\"pkfp\":7,\"pol\":\"" POL "\",\"sig\":\"AA==\"}",
                "{\"pcrs\":[11],\"pkfp\":\"" PKFP "\",\"pol\":\"" POL "\",\"sig\":null}",
                "{\"pcrs\":[11],\"pkfp\":\"" PKFP "\",\"pol\":\"" POL "\"}",
                "{\"pcrs\":[11],\"pkfp\":\"" PKFP "\",\"pol\":\"" POL
                "\",\"sig\":\"AA==\",\"ref\":7}",
        };
        static const char *const banks[] = {"sha256", "sha1", "sha512"};

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(elements) * ARRAY_SIZE(banks) * 2; i++) {
                const char *element = elements[i / 2 / ARRAY_SIZE(banks)];
                const char *bank = banks[i / 2 % ARRAY_SIZE(banks)];
                _cleanup_(buf_done) struct buf text = BUF_INIT(8192);
                struct pcrsig *p = NULL;
                struct error e = ERROR_INIT;

                if (i % 2)
                        assert_int_equal(buf_printf(&text, "{\"%s\":[%s,%s]}", bank, element, GOOD),
                                         0);
                else
                        assert_int_equal(buf_printf(&text, "{\"%s\":[%s,%s]}", bank, GOOD, element),
                                         0);
                if (pcrsig_parse(text.data, text.len, &p, &e) != -EBADMSG)
                        fail_msg("accepted: %s", buf_str(&text));
                assert_int_equal(e.class, ERROR_REFUSED);
                assert_null(p);
        }
}

static void test_malformed_documents(void **state)
{
        static const char *const table[] = {
                "",
                "{",
                "[]",
                "7",
                "null",
                "\"x\"",
                DOCUMENT "x",
                "{\"sha256\":{}}",
                "{\"sha256\":null}",
                "{\"sha256\":7}",
                "{\"sha1\":\"x\"}",
                "{'sha256':[]}",
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
                struct pcrsig *p = NULL;

                if (parse(table[i], &p) != -EBADMSG)
                        fail_msg("accepted: %s", table[i]);
        }
}

static void test_trailing_nul(void **state)
{
        _cleanup_(pcrsig_free_p) struct pcrsig *p = NULL;

        (void)state;
        assert_int_equal(pcrsig_parse(DOCUMENT, sizeof(DOCUMENT), &p, NULL), 0);
}

static void test_limits(void **state)
{
        _cleanup_(buf_done) struct buf text = BUF_INIT(2 * LIMIT_PCRSIG);
        struct pcrsig *p = NULL;

        (void)state;
        assert_int_equal(buf_add_str(&text, "{\"sha256\":["), 0);
        for (unsigned i = 0; i <= LIMIT_PCRSIG_ENTRIES; i++)
                assert_int_equal(buf_printf(&text, "%s%s", i > 0 ? "," : "",
                                            ELEMENT("[11]", PKFP, POL, "AA==")),
                                 0);
        assert_int_equal(buf_add_str(&text, "]}"), 0);
        assert_int_equal(pcrsig_parse(text.data, text.len, &p, NULL), -E2BIG);
        while (text.len <= LIMIT_PCRSIG)
                assert_int_equal(buf_add_str(&text, " "), 0);
        assert_int_equal(pcrsig_parse(text.data, text.len, &p, NULL), -E2BIG);
        assert_null(p);
}

/* --- building --- */

static EVP_PKEY *make_key(struct buf *public)
{
        EVP_PKEY *key = EVP_RSA_gen(2048);
        BIO *bio = BIO_new(BIO_s_mem());
        char *data;
        long n;

        assert_non_null(key);
        assert_int_equal(PEM_write_bio_PUBKEY(bio, key), 1);
        n = BIO_get_mem_data(bio, &data);
        assert_int_equal(buf_add(public, data, (size_t)n), 0);
        BIO_free_all(bio);
        return key;
}

static void test_build(void **state)
{
        _cleanup_(buf_done) struct buf public = BUF_INIT(LIMIT_PCRPKEY),
                                       one = BUF_INIT(LIMIT_PCRSIG), two = BUF_INIT(LIMIT_PCRSIG);
        const uint8_t values[2][SHA256_SIZE] = {{1}, {2}}, foreign[SHA256_SIZE] = {3};
        EVP_PKEY *key = make_key(&public);
        _cleanup_(pcrsig_free_p) struct pcrsig *p = NULL;

        (void)state;
        assert_int_equal(pcrsig_build(key, public.data, public.len, values, 2, &one, NULL), 0);
        assert_int_equal(pcrsig_build(key, public.data, public.len, values, 2, &two, NULL), 0);
        assert_int_equal(one.len, two.len);
        assert_memory_equal(one.data, two.data, one.len);
        assert_null(strchr(buf_str(&one), ' '));
        assert_memory_equal(one.data, "{\"sha256\":[{\"pcrs\":[11],\"pkfp\":\"", 32);
        assert_int_equal(pcrsig_parse(one.data, one.len, &p, NULL), 0);
        for (int i = 0; i < 2; i++)
                assert_int_equal(pcrsig_check(p, public.data, public.len, values[i], NULL, NULL),
                                 0);
        assert_int_equal(pcrsig_check(p, public.data, public.len, foreign, NULL, NULL), -ENOENT);
        EVP_PKEY_free(key);
}

static void test_build_with_foreign_key(void **state)
{
        _cleanup_(buf_done) struct buf public = BUF_INIT(LIMIT_PCRPKEY),
                                       out = BUF_INIT(LIMIT_PCRSIG);
        const uint8_t values[1][SHA256_SIZE] = {{1}};
        EVP_PKEY *key = make_key(&public);
        struct error e = ERROR_INIT;

        (void)state;
        assert_int_equal(pcrsig_build(key, pem, strlen(pem), values, 1, &out, &e), -EKEYREJECTED);
        assert_int_equal(e.class, ERROR_CONFIG);
        assert_int_equal(out.len, 0);
        EVP_PKEY_free(key);
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_known_policy),
                cmocka_unit_test(test_find),
                cmocka_unit_test(test_check),
                cmocka_unit_test(test_wrong_signature),
                cmocka_unit_test(test_well_formed),
                cmocka_unit_test(test_malformed),
                cmocka_unit_test(test_malformed_documents),
                cmocka_unit_test(test_trailing_nul),
                cmocka_unit_test(test_limits),
                cmocka_unit_test(test_build),
                cmocka_unit_test(test_build_with_foreign_key),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
