/* SPDX-License-Identifier: Apache-2.0 */
#include "upgrade/usi.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>
#include <openssl/evp.h>
#include <openssl/sha.h>

#include "base/codec.h"
#include "base/limits.h"
#include "tests/support/peimage.h"

#define TEXT(section, text)                                                                        \
        {                                                                                          \
                .name = (section), .data = (text), .size = sizeof(text) - 1                        \
        }
#define MAGIC(version) TEXT(".sdmagic", "#### LoaderInfo: systemd-stub " version " ####")

static int open_usi(const struct peimage_section *sections, unsigned n, struct usi **ret,
                    int *ret_fd)
{
        *ret_fd = peimage_make(sections, n);
        return usi_open(*ret_fd, ret, NULL);
}

static int pcr11_of(const struct peimage_section *sections, unsigned n, const char *path,
                    uint8_t ret[SHA256_SIZE])
{
        _cleanup_close_ int fd = -EBADF;
        _cleanup_(usi_free_p) struct usi *u = NULL;
        struct error e = ERROR_INIT;
        int r;

        assert_int_equal(open_usi(sections, n, &u, &fd), 0);
        r = usi_pcr11(u, path, ret, &e);
        if (r < 0)
                assert_int_equal(e.class, ERROR_REFUSED);
        return r;
}

/* A second opinion: the values the stub would extend, given as a list of (name, text). */
static void expect_pcr11(const char *const pairs[][2], unsigned n, uint8_t ret[SHA256_SIZE])
{
        uint8_t both[2 * SHA256_SIZE];

        memset(ret, 0, SHA256_SIZE);
        for (unsigned i = 0; i < n; i++) {
                memcpy(both, ret, SHA256_SIZE);
                assert_int_equal(sha256(pairs[i][0], strlen(pairs[i][0]) + 1, both + 32), 0);
                assert_int_equal(sha256(both, sizeof(both), both), 0);
                assert_int_equal(sha256(pairs[i][1], strlen(pairs[i][1]), both + 32), 0);
                assert_int_equal(sha256(both, sizeof(both), ret), 0);
        }
}

/* Vectors of systemd-measure: order of the sections in the file does not matter. */
static void test_known_values(void **state)
{
        static const struct peimage_section sections[] = {TEXT(".initrd", "foobar\n"),
                                                          TEXT(".linux", "HALLO\n")};
        static const struct {
                const char *path, *value;
        } table[] = {
                {"", "37b48bd0b222394dbe3cceff2fca4660c4b0a90ae9369ec90b42f14489989c13"},
                {"foo", "21c49c1242042649e09c156546fd7d425ccc3c67359f840507b30be4e0f6f699"},
                {"enter-initrd",
                 "0aa67f92271757adc73e44704977b080d37749d39c29a31d10c4f27f1e61bff0"},
        };
        _cleanup_close_ int fd = -EBADF;
        _cleanup_(usi_free_p) struct usi *u = NULL;

        (void)state;
        assert_int_equal(open_usi(sections, 2, &u, &fd), 0);
        for (int round = 0; round < 2; round++) {
                for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
                        uint8_t pcr[SHA256_SIZE], want[SHA256_SIZE];

                        assert_int_equal(hex_decode(table[i].value, want, sizeof(want)), 0);
                        assert_int_equal(usi_pcr11(u, table[i].path, pcr, NULL), 0);
                        assert_memory_equal(pcr, want, sizeof(want));
                }
        }
}

/* Each word is one extend: a path is the sum of its words. */
static void test_phase_words(void **state)
{
        static const struct peimage_section sections[] = {TEXT(".linux", "HALLO\n")};
        uint8_t one[SHA256_SIZE], two[SHA256_SIZE], both[2 * SHA256_SIZE];

        (void)state;
        assert_int_equal(pcr11_of(sections, 1, "enter-initrd", one), 0);
        memcpy(both, one, SHA256_SIZE);
        assert_int_equal(sha256("leave-initrd", 12, both + SHA256_SIZE), 0);
        assert_int_equal(sha256(both, sizeof(both), one), 0);
        assert_int_equal(pcr11_of(sections, 1, "enter-initrd:leave-initrd", two), 0);
        assert_memory_equal(one, two, SHA256_SIZE);
}

/* Vectors of the digests of words that systems in the field extend; the PCR holds nothing else of
 * a word. */
static void test_known_words(void **state)
{
        static const struct peimage_section sections[] = {TEXT(".linux", "HALLO\n")};
        static const struct {
                const char *word, *digest;
        } table[] = {
                {"enter-initrd",
                 "51e6b92f405d1f98d96e3de343d61d420ad6923b25de21d766f9298192f14fed"},
                {"leave-initrd",
                 "3be261aff7db92bf507eae947f4003ffa2bcad0bffe3524601d62d0bc8be7135"},
                {"sysinit", "730bb5a583ba880c277e656d2dc8aba1a314a11b14d25b05153d2bab82567a48"},
                {"ready", "b24d6d33736ecd5604a4b17bc9c6481039fac362bb7df044ef1c10a2bfd21db6"},
                {"os-separator",
                 "ff5b9d73dad709633ae76adf444012b57e913a12ed7403c3931145862f35f841"},
                {"start-the-world",
                 "ff82bb450dc7f89edd102d72da0413f164e75e6bcaf496ccd8f232043f3d78a9"},
        };
        uint8_t both[2 * SHA256_SIZE], want[SHA256_SIZE], pcr[SHA256_SIZE];

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
                assert_int_equal(pcr11_of(sections, 1, "", both), 0);
                assert_int_equal(hex_decode(table[i].digest, both + SHA256_SIZE, SHA256_SIZE), 0);
                assert_int_equal(sha256(both, sizeof(both), want), 0);
                assert_int_equal(pcr11_of(sections, 1, table[i].word, pcr), 0);
                assert_memory_equal(pcr, want, SHA256_SIZE);
        }
}

static void extend_sha1(uint8_t pcr[SHA_DIGEST_LENGTH], const char *data, size_t n)
{
        uint8_t both[2 * SHA_DIGEST_LENGTH];

        memcpy(both, pcr, SHA_DIGEST_LENGTH);
        assert_int_equal(EVP_Digest(data, n, both + SHA_DIGEST_LENGTH, NULL, EVP_sha1(), NULL), 1);
        assert_int_equal(EVP_Digest(both, sizeof(both), pcr, NULL, EVP_sha1(), NULL), 1);
}

/*
 * A vector of all sections that some stub measures, each "HALLO\n", and the word foo. It exists for
 * the sha1 bank only, which nothing here predicts; what it proves are names and order.
 */
static void test_known_order(void **state)
{
        uint8_t pcr[SHA_DIGEST_LENGTH] = {0}, want[SHA_DIGEST_LENGTH];
        unsigned measured = 0;

        (void)state;
        for (unsigned k = 0; k < USI_SECTION_MAX; k++) {
                const char *name = usi_section_name((enum usi_section)k);

                if (k == USI_PCRSIG)
                        continue;
                extend_sha1(pcr, name, strlen(name) + 1);
                extend_sha1(pcr, "HALLO\n", 6);
                measured++;
        }
        extend_sha1(pcr, "foo", 3);
        assert_int_equal(measured, 14);
        assert_int_equal(hex_decode("8a625cbc3c497b9a86dcf4f6a32582895ce969bb", want, sizeof(want)),
                         0);
        assert_memory_equal(pcr, want, sizeof(want));
}

static void test_malformed_phases(void **state)
{
        static const struct peimage_section sections[] = {TEXT(".linux", "HALLO\n")};
        static const char *const table[] = {":", "a:", ":a", "a::b"};
        char longest[LIMIT_PHASE_PATH + 2];
        uint8_t pcr[SHA256_SIZE];

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(table); i++)
                assert_int_equal(pcr11_of(sections, 1, table[i], pcr), -EINVAL);
        memset(longest, 'a', sizeof(longest));
        longest[LIMIT_PHASE_PATH + 1] = '\0';
        assert_int_equal(pcr11_of(sections, 1, longest, pcr), -EINVAL);
        longest[LIMIT_PHASE_PATH] = '\0';
        assert_int_equal(pcr11_of(sections, 1, longest, pcr), 0);
}

/* Everything a stub 252 measures, in its order, and nothing else. */
static void test_order(void **state)
{
        static const struct peimage_section sections[] = {
                MAGIC("252.39-1~deb12u2"), TEXT(".pcrpkey", "7"), TEXT(".pcrsig", "{}"),
                TEXT(".dtb", "6"),         TEXT(".splash", "5"),  TEXT(".initrd", "4"),
                TEXT(".cmdline", "3"),     TEXT(".osrel", "A=2"), TEXT(".linux", "1"),
                TEXT(".sbat", "sbat,1\n"), TEXT(".uname", "6.1"), TEXT(".foreign", "x"),
        };
        static const char *const pairs[][2] = {
                {".linux", "1"},  {".osrel", "A=2"}, {".cmdline", "3"}, {".initrd", "4"},
                {".splash", "5"}, {".dtb", "6"},     {".pcrpkey", "7"}};
        uint8_t pcr[SHA256_SIZE], want[SHA256_SIZE];

        (void)state;
        expect_pcr11(pairs, ARRAY_SIZE(pairs), want);
        assert_int_equal(pcr11_of(sections, ARRAY_SIZE(sections), "", pcr), 0);
        assert_memory_equal(pcr, want, SHA256_SIZE);
}

/* Later stubs measure more; the image's own stub decides. */
static void test_stub_versions(void **state)
{
        struct peimage_section sections[] = {
                MAGIC("252"),        TEXT(".linux", "1"), TEXT(".ucode", "2"),
                TEXT(".uname", "3"), TEXT(".sbat", "4"),  TEXT(".hwids", "5"),
        };
        static const struct peimage_section versions[] = {
                MAGIC("252.39-1~deb12u2"), MAGIC("253"), MAGIC("254.1"),
                MAGIC("255.4-1"),          MAGIC("256"), MAGIC("257.13-1~deb13u1"),
                MAGIC("258~rc1"),
        };
        static const char *const old[][2] = {{".linux", "1"}};
        static const char *const v254[][2] = {{".linux", "1"}, {".uname", "3"}, {".sbat", "4"}};
        static const char *const v256[][2] = {
                {".linux", "1"}, {".ucode", "2"}, {".uname", "3"}, {".sbat", "4"}};
        static const char *const v257[][2] = {
                {".linux", "1"}, {".ucode", "2"}, {".uname", "3"}, {".sbat", "4"}, {".hwids", "5"}};
        static const struct {
                const char *const (*pairs)[2];
                unsigned n;
        } expected[] = {{old, 1}, {old, 1}, {v254, 3}, {v254, 3}, {v256, 4}, {v257, 5}, {v257, 5}};

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(versions); i++) {
                uint8_t pcr[SHA256_SIZE], want[SHA256_SIZE];

                sections[0] = versions[i];
                expect_pcr11(expected[i].pairs, expected[i].n, want);
                assert_int_equal(pcr11_of(sections, ARRAY_SIZE(sections), "", pcr), 0);
                if (memcmp(pcr, want, SHA256_SIZE) != 0)
                        fail_msg("%s", (const char *)versions[i].data);
        }
}

/* What cannot be known is refused, never guessed. */
static void test_unknown_is_refused(void **state)
{
        static const struct {
                const char *what;
                struct peimage_section sections[3];
        } table[] = {
                {"no version", {TEXT(".linux", "1"), TEXT(".sbat", "2"), TEXT(".x", "3")}},
                {"not the stub's magic",
                 {TEXT(".linux", "1"), TEXT(".sbat", "2"),
                  TEXT(".sdmagic", "#### LoaderInfo: systemd-boot 257 ####")}},
                {"no number",
                 {TEXT(".linux", "1"), TEXT(".sbat", "2"),
                  TEXT(".sdmagic", "#### LoaderInfo: systemd-stub v257 ####")}},
                {"older than 252", {TEXT(".linux", "1"), TEXT(".osrel", "A=1"), MAGIC("251")}},
                {"profiles, old stub",
                 {TEXT(".linux", "1"), TEXT(".profile", "ID=x"), MAGIC("256")}},
                {"profiles, no version",
                 {TEXT(".linux", "1"), TEXT(".profile", ""), TEXT(".x", "1")}},
                {"device trees by hardware",
                 {TEXT(".linux", "1"), TEXT(".dtbauto", "x"), MAGIC("257")}},
                {"firmware by hardware", {TEXT(".linux", "1"), TEXT(".efifw", "x"), MAGIC("258")}},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
                uint8_t pcr[SHA256_SIZE];

                if (pcr11_of(table[i].sections, 3, "", pcr) != -EOPNOTSUPP)
                        fail_msg("%s", table[i].what);
        }
}

/* Bytes of the file that are not loaded do not count; bytes that are not in the file are zeros. */
static void test_sizes(void **state)
{
        static const struct peimage_section shorter[] = {
                {.name = ".linux", .data = "HALLO\nrest", .size = 10, .virtual_size = 6},
                TEXT(".initrd", "foobar\n")};
        static const struct peimage_section plain[] = {TEXT(".linux", "HALLO\n"),
                                                       TEXT(".initrd", "foobar\n")};
        static uint8_t tail[1000] = "x";
        static const struct peimage_section longer[] = {
                {.name = ".linux", .data = "x", .size = 1, .virtual_size = sizeof(tail)}};
        static const struct peimage_section full[] = {
                {.name = ".linux", .data = tail, .size = sizeof(tail)}};
        uint8_t a[SHA256_SIZE], b[SHA256_SIZE];

        (void)state;
        assert_int_equal(pcr11_of(shorter, 2, "", a), 0);
        assert_int_equal(pcr11_of(plain, 2, "", b), 0);
        assert_memory_equal(a, b, SHA256_SIZE);
        assert_int_equal(pcr11_of(longer, 1, "", a), 0);
        assert_int_equal(pcr11_of(full, 1, "", b), 0);
        assert_memory_equal(a, b, SHA256_SIZE);
}

/* A section without content is not there, for the stub and for us. */
static void test_empty_section(void **state)
{
        static const struct peimage_section with[] = {TEXT(".linux", "1"), TEXT(".osrel", "")};
        static const struct peimage_section without[] = {TEXT(".linux", "1")};
        uint8_t a[SHA256_SIZE], b[SHA256_SIZE];
        _cleanup_close_ int fd = -EBADF;
        _cleanup_(usi_free_p) struct usi *u = NULL;

        (void)state;
        assert_int_equal(pcr11_of(with, 2, "", a), 0);
        assert_int_equal(pcr11_of(without, 1, "", b), 0);
        assert_memory_equal(a, b, SHA256_SIZE);
        assert_int_equal(open_usi(with, 2, &u, &fd), 0);
        assert_null(usi_section(u, USI_OSREL));
}

static void test_facts(void **state)
{
        static const struct peimage_section sections[] = {
                TEXT(".osrel", "IMAGE_ID=demo\nIMAGE_VERSION=7\nPRETTY_NAME=\"Demo 7\"\n"),
                TEXT(".cmdline", "console=ttyS0 quiet\n\0"),
                TEXT(".pcrpkey", "key"),
                TEXT(".pcrsig", "sig"),
                TEXT(".linux", "1"),
                MAGIC("252.39-1~deb12u2"),
        };
        _cleanup_close_ int fd = -EBADF;
        _cleanup_(usi_free_p) struct usi *u = NULL;

        (void)state;
        assert_int_equal(open_usi(sections, ARRAY_SIZE(sections), &u, &fd), 0);
        assert_string_equal(usi_image_id(u), "demo");
        assert_string_equal(usi_image_version(u), "7");
        assert_string_equal(usi_pretty_name(u), "Demo 7");
        assert_string_equal(usi_cmdline(u), "console=ttyS0 quiet");
        assert_int_equal(usi_pcrpkey(u)->len, 3);
        assert_memory_equal(usi_pcrsig(u)->data, "sig", 3);
        assert_int_equal(usi_stub_version(u), 252);
        assert_int_equal(usi_profiles(u), 0);
        assert_string_equal(usi_section_name(USI_LINUX), ".linux");
        assert_ptr_equal(usi_section(u, USI_LINUX), pe_find(usi_pe(u), ".linux"));
}

static void test_facts_absent(void **state)
{
        static const struct peimage_section sections[] = {TEXT(".linux", "1")};
        _cleanup_close_ int fd = -EBADF;
        _cleanup_(usi_free_p) struct usi *u = NULL;

        (void)state;
        assert_int_equal(open_usi(sections, 1, &u, &fd), 0);
        assert_null(usi_image_id(u));
        assert_null(usi_cmdline(u));
        assert_null(usi_pcrpkey(u));
        assert_null(usi_pcrsig(u));
        assert_int_equal(usi_stub_version(u), 0);
}

static void test_refused(void **state)
{
        static char big[LIMIT_PCRPKEY + 1];
        static const struct {
                const char *what;
                struct peimage_section sections[2];
                int result;
        } table[] = {
                {"no kernel", {TEXT(".osrel", "A=1"), TEXT(".x", "1")}, -EBADMSG},
                {"empty kernel", {TEXT(".linux", ""), TEXT(".x", "1")}, -EBADMSG},
                {"kernel twice", {TEXT(".linux", "1"), TEXT(".linux", "2")}, -EBADMSG},
                {"a name older stubs confuse",
                 {TEXT(".linux", "1"), TEXT(".linux2", "2")},
                 -EBADMSG},
                {"another such name", {TEXT(".linux", "1"), TEXT(".pcrsigx", "2")}, -EBADMSG},
                {"bad os-release", {TEXT(".linux", "1"), TEXT(".osrel", "A=$x")}, -EBADMSG},
                {"NUL in the command line",
                 {TEXT(".linux", "1"), TEXT(".cmdline", "a\0b")},
                 -EBADMSG},
                {"key too large",
                 {TEXT(".linux", "1"), {.name = ".pcrpkey", .data = big, .size = sizeof(big)}},
                 -E2BIG},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
                _cleanup_close_ int fd = peimage_make(table[i].sections, 2);
                struct usi *u = NULL;
                struct error e = ERROR_INIT;

                if (usi_open(fd, &u, &e) != table[i].result)
                        fail_msg("%s: %s", table[i].what, e.text);
                assert_int_equal(e.class, ERROR_REFUSED);
                assert_null(u);
        }
}

static void test_not_an_application(void **state)
{
        static const struct peimage_section sections[] = {TEXT(".linux", "1")};
        _cleanup_close_ int fd = peimage_make(sections, 1);
        struct usi *u = NULL;

        (void)state;
        peimage_patch(fd, PEIMAGE_OPTIONAL + 68, 2, 11); /* boot service driver */
        assert_int_equal(usi_open(fd, &u, NULL), -EBADMSG);
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_known_values),
                cmocka_unit_test(test_phase_words),
                cmocka_unit_test(test_known_words),
                cmocka_unit_test(test_known_order),
                cmocka_unit_test(test_malformed_phases),
                cmocka_unit_test(test_order),
                cmocka_unit_test(test_stub_versions),
                cmocka_unit_test(test_unknown_is_refused),
                cmocka_unit_test(test_sizes),
                cmocka_unit_test(test_empty_section),
                cmocka_unit_test(test_facts),
                cmocka_unit_test(test_facts_absent),
                cmocka_unit_test(test_refused),
                cmocka_unit_test(test_not_an_application),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
