/* SPDX-License-Identifier: Apache-2.0 */
#include "upgrade/image_profiles.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/bio.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>

#include "base/limits.h"
#include "tests/support/peimage.h"
#include "upgrade/image.h"
#include "upgrade/pcrsig.h"

#define PATH "enter-initrd"
#define LATER PATH ":leave-initrd"
#define PROFILES 3u

static const char *const later[] = {"", LATER};

struct keys {
        EVP_PKEY *key;
        char *pem;
        struct policy_key *policy;
};

static void make_key(struct keys *k)
{
        BIO *b = BIO_new(BIO_s_mem());
        char *text;
        long n;

        k->key = EVP_RSA_gen(2048);
        assert_non_null(k->key);
        assert_int_equal(PEM_write_bio_PUBKEY(b, k->key), 1);
        n = BIO_get_mem_data(b, &text);
        k->pem = strndup(text, (size_t)n);
        assert_non_null(k->pem);
        BIO_free(b);
        assert_int_equal(policy_key_from_pem(k->pem, strlen(k->pem), &k->policy, NULL), 0);
}

static void drop_key(struct keys *k)
{
        EVP_PKEY_free(k->key);
        policy_key_free(k->policy);
        free(k->pem);
}

/* A file with three profiles; signature: of each, "" leaves the section out. */
static int file_with(const struct keys *k, const char *const signature[PROFILES])
{
        const struct peimage_section sections[] = {
                {.name = ".sdmagic",
                 .data = "#### LoaderInfo: systemd-stub 258.1 ####",
                 .size = 40},
                {.name = ".linux", .data = "kernel", .size = 6},
                {.name = ".pcrpkey", .data = k->pem, .size = strlen(k->pem)},
                {.name = ".profile", .data = "ID=main\n", .size = 8},
                {.name = ".cmdline", .data = "quiet", .size = 5},
                {.name = ".pcrsig", .data = signature[0], .size = strlen(signature[0])},
                {.name = ".profile", .data = "ID=other\n", .size = 9},
                {.name = ".cmdline", .data = "debug", .size = 5},
                {.name = ".pcrsig", .data = signature[1], .size = strlen(signature[1])},
                {.name = ".profile", .data = "ID='a\tb'\n", .size = 9},
                {.name = ".cmdline", .data = "reset", .size = 5},
                {.name = ".pcrsig", .data = signature[2], .size = strlen(signature[2])},
        };

        return peimage_make(sections, ARRAY_SIZE(sections));
}

static struct usi *image_with(const struct keys *k, const char *const signature[PROFILES])
{
        _cleanup_close_ int fd = file_with(k, signature);
        struct error e = ERROR_INIT;
        struct usi *u = NULL;
        int r = usi_open(fd, &u, &e);

        if (r < 0)
                fail_msg("%s", e.text);
        return u;
}

/* The document that signs a profile's PCR 11 for one or two paths. */
static char *sign(const struct keys *measured, const struct keys *k, unsigned profile,
                  const char *path, const char *second)
{
        static const char *const none[PROFILES] = {"{}", "{}", "{}"};
        _cleanup_(usi_free_p) struct usi *u = image_with(measured, none);
        _cleanup_(buf_done) struct buf out = BUF_INIT(LIMIT_PCRSIG);
        uint8_t pcr11[2][SHA256_SIZE];

        assert_int_equal(usi_pcr11_profile(u, profile, path, pcr11[0], NULL), 0);
        if (second)
                assert_int_equal(usi_pcr11_profile(u, profile, second, pcr11[1], NULL), 0);
        assert_int_equal(pcrsig_build(k->key, k->pem, strlen(k->pem),
                                      (const uint8_t(*)[SHA256_SIZE])pcr11, second ? 2 : 1, &out,
                                      NULL),
                         0);
        return strndup(buf_str(&out), out.len);
}

static void look(const struct usi *u, const struct keys *k, unsigned n, struct image_profile *ret)
{
        image_profile_look(u, n, PATH, later, ARRAY_SIZE(later), k->policy, ret);
        assert_int_equal(ret->number, n);
}

static void test_each_profile_is_judged_by_its_own_signature(void **state)
{
        struct keys k;
        struct image_profile p;

        (void)state;
        make_key(&k);
        {
                _cleanup_free_ char *first = sign(&k, &k, 0, PATH, NULL),
                                    *second = sign(&k, &k, 1, PATH, LATER);
                /* The third has the signature of the second: right key, wrong measurement. */
                const char *const signature[PROFILES] = {first, second, second};
                _cleanup_(usi_free_p) struct usi *u = image_with(&k, signature);

                assert_int_equal(image_profiles_count(u), PROFILES);
                look(u, &k, 0, &p);
                assert_true(p.unlocks);
                assert_null(p.later_path);
                assert_string_equal(p.id, "main");
                look(u, &k, 1, &p);
                assert_true(p.unlocks);
                assert_string_equal(p.later_path, LATER);
                assert_string_equal(p.id, "other");
                look(u, &k, 2, &p);
                assert_false(p.unlocks);
                assert_null(p.later_path);
                assert_string_equal(p.id, "a?b");
        }
        drop_key(&k);
}

static void test_signature_of_another_key_does_not_unlock(void **state)
{
        struct keys k, other;
        struct image_profile p;

        (void)state;
        make_key(&k);
        make_key(&other);
        {
                _cleanup_free_ char *good = sign(&k, &k, 0, PATH, NULL),
                                    *bad = sign(&k, &other, 1, PATH, NULL);
                const char *const signature[PROFILES] = {good, bad, ""};
                _cleanup_(usi_free_p) struct usi *u = image_with(&k, signature);

                look(u, &k, 0, &p);
                assert_true(p.unlocks);
                look(u, &k, 1, &p);
                assert_false(p.unlocks);
                look(u, &k, 2, &p);
                assert_false(p.unlocks);
                /* A key that is not the one of profile 0 opens nothing here. */
                look(u, &other, 0, &p);
                assert_false(p.unlocks);
        }
        drop_key(&k);
        drop_key(&other);
}

static void test_expected_measurements(void **state)
{
        struct keys k;

        (void)state;
        make_key(&k);
        {
                static const char *const none[PROFILES] = {"{}", "{}", "{}"};
                _cleanup_(usi_free_p) struct usi *u = image_with(&k, none);
                uint8_t pcr11[SHA256_SIZE], pol[SHA256_SIZE];

                for (unsigned i = 0; i < PROFILES; i++) {
                        assert_int_equal(usi_pcr11_profile(u, i, PATH, pcr11, NULL), 0);
                        assert_int_equal(pcrsig_policy(pcr11, pol), 0);
                        assert_true(image_profiles_expect(u, PATH, pol));
                        assert_false(image_profiles_expect(u, LATER, pol));
                }
                pol[0] ^= 1;
                assert_false(image_profiles_expect(u, PATH, pol));
        }
        drop_key(&k);
}

/* The proofs of an image that is refused for its missing Authenticode signature. */
static void proofs_of(const struct keys *k, const char *const signature[PROFILES],
                      struct proofs *ret)
{
        _cleanup_close_ int fd = file_with(k, signature);
        struct verified_image *v = NULL;
        const struct image_demands demands = {.db = NULL};

        assert_true(image_verify(fd, "test", &demands, ret, &v, NULL) < 0);
}

static void test_proofs_tell_of_profiles(void **state)
{
        struct proofs proofs;
        struct keys k;

        (void)state;
        make_key(&k);
        {
                _cleanup_free_ char *first = sign(&k, &k, 0, PATH, NULL),
                                    *second = sign(&k, &k, 1, PATH, NULL),
                                    *third = sign(&k, &k, 2, PATH, NULL),
                                    *open = sign(&k, &k, 2, PATH, LATER);
                const struct proof *said = &proofs.item[PROOF_PCR_SIGNATURE],
                                   *phases = &proofs.item[PROOF_PHASES];

                proofs_of(&k, (const char *const[]){first, second, third}, &proofs);
                assert_int_equal(said->state, PROOF_PASSED);
                assert_non_null(strstr(said->text, "each of its 3 profiles"));
                assert_int_equal(phases->state, PROOF_PASSED);
                proofs_of(&k, (const char *const[]){first, second, second}, &proofs);
                assert_int_equal(said->state, PROOF_WARNING);
                assert_non_null(strstr(said->text, "with profile 2 a?b it could not unlock"));
                proofs_of(&k, (const char *const[]){first, second, open}, &proofs);
                assert_int_equal(said->state, PROOF_PASSED);
                assert_int_equal(phases->state, PROOF_WARNING);
                assert_non_null(strstr(phases->text, LATER));
                proofs_of(&k, (const char *const[]){second, second, third}, &proofs);
                assert_int_equal(said->state, PROOF_FAILED);
        }
        drop_key(&k);
}

/* A plain image of this stub text, its PCR 11 signed, and what is said of the signature. */
static void signed_with_stub(const struct keys *k, const char *magic, struct proofs *ret)
{
        char *signature = NULL;

        for (int round = 0; round < 2; round++) {
                const struct peimage_section sections[] = {
                        {.name = ".sdmagic", .data = magic, .size = strlen(magic)},
                        {.name = ".linux", .data = "kernel", .size = 6},
                        {.name = ".osrel", .data = "ID=x\n", .size = 5},
                        {.name = ".cmdline", .data = "quiet", .size = 5},
                        {.name = ".initrd", .data = "root", .size = 4},
                        {.name = ".pcrpkey", .data = k->pem, .size = strlen(k->pem)},
                        {.name = ".pcrsig",
                         .data = signature ?: "{}",
                         .size = strlen(signature ?: "{}")},
                };
                _cleanup_close_ int fd = peimage_make(sections, ARRAY_SIZE(sections));
                const struct image_demands demands = {.db = NULL};
                _cleanup_(buf_done) struct buf out = BUF_INIT(LIMIT_PCRSIG);
                _cleanup_(usi_free_p) struct usi *u = NULL;
                struct verified_image *v = NULL;
                uint8_t pcr11[1][SHA256_SIZE];

                if (round > 0) {
                        assert_true(image_verify(fd, "test", &demands, ret, &v, NULL) < 0);
                        free(signature);
                        return;
                }
                assert_int_equal(usi_open(fd, &u, NULL), 0);
                assert_int_equal(usi_pcr11(u, PATH, pcr11[0], NULL), 0);
                assert_int_equal(pcrsig_build(k->key, k->pem, strlen(k->pem),
                                              (const uint8_t(*)[SHA256_SIZE])pcr11, 1, &out, NULL),
                                 0);
                signature = strndup(buf_str(&out), out.len);
                assert_non_null(signature);
        }
}

/* The signature is right for the sections, but who knows what such a program measures. */
static void test_signature_counts_only_with_a_known_stub(void **state)
{
        static const char *const foreign[] = {"#### LoaderInfo: systemd-boot 252 ####", "none"};
        struct proofs proofs;
        struct keys k;

        (void)state;
        make_key(&k);
        signed_with_stub(&k, "#### LoaderInfo: systemd-stub 252 ####", &proofs);
        assert_int_equal(proofs.item[PROOF_PCR_SIGNATURE].state, PROOF_PASSED);
        for (size_t i = 0; i < ARRAY_SIZE(foreign); i++) {
                const struct proof *said = &proofs.item[PROOF_PCR_SIGNATURE];

                signed_with_stub(&k, foreign[i], &proofs);
                assert_int_equal(said->state, PROOF_FAILED);
                assert_int_equal(said->class, ERROR_PCR_SIGNATURE);
                assert_non_null(strstr(said->text, "systemd-stub"));
                assert_non_null(strstr(said->advice, "252"));
        }
        drop_key(&k);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_each_profile_is_judged_by_its_own_signature),
                cmocka_unit_test(test_signature_of_another_key_does_not_unlock),
                cmocka_unit_test(test_expected_measurements),
                cmocka_unit_test(test_proofs_tell_of_profiles),
                cmocka_unit_test(test_signature_counts_only_with_a_known_stub),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
