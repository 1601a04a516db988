/* SPDX-License-Identifier: Apache-2.0 */
#include "partition/floor.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "partition/floor_nv.h"
#include "tests/unit/scratch.h"

static struct floor make(const char *product, const char *version)
{
        struct floor f;

        assert_int_equal(floor_make(product, version, &f, NULL), 0);
        return f;
}

static void test_make(void **state)
{
        static char long_version[FLOOR_VERSION_MAX + 2], long_product[FLOOR_PRODUCT_MAX + 2];
        static const struct {
                const char *product, *version;
                int result;
        } table[] = {
                {"os", "1.2.3", 0},
                {"", "1", 0},
                {NULL, "1", 0},
                {"os", NULL, -EINVAL},
                {"os", "", -EINVAL},
                {"os", "1 2", -EINVAL},
                {"os", "1\n", -EINVAL},
                {"o s", "1", -EINVAL},
                {"os", "\xc3\xa4", -EINVAL},
                {"os", long_version, -EINVAL},
                {long_product, "1", -EINVAL},
                {long_product + 1, long_version + 1, 0},
        };
        struct error e = ERROR_INIT;
        struct floor f;

        (void)state;
        memset(long_version, '1', FLOOR_VERSION_MAX + 1);
        memset(long_product, 'p', FLOOR_PRODUCT_MAX + 1);
        for (size_t i = 0; i < ARRAY_SIZE(table); i++)
                assert_int_equal(floor_make(table[i].product, table[i].version, &f, &e),
                                 table[i].result);
        assert_int_equal(e.class, ERROR_REFUSED);
}

static void test_allows(void **state)
{
        static const struct {
                const char *floor_product, *floor_version, *product, *version;
                int result;
        } table[] = {
                {"os", "1.10", "os", "1.10", 0},
                {"os", "1.10", "os", "1.11", 0},
                {"os", "1.10", "os", "2", 0},
                {"os", "1.10", "os", "1.9", -EPERM},
                {"os", "1.10", "os", "1.10~rc1", -EPERM},
                {"os", "1.10", "", "2", -EXDEV},
                {"os", "1.10", "other", "2", -EXDEV},
                {"", "1.10", "other", "2", 0},
                {"", "1.10", "other", "1", -EPERM},
                {"os", "00000000000000000001", "os", "1", 0},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
                struct floor floor = make(table[i].floor_product, table[i].floor_version),
                             image = make(table[i].product, table[i].version);
                struct error e = ERROR_INIT;

                assert_int_equal(floor_allows(&floor, &image, &e), table[i].result);
                if (table[i].result == 0)
                        continue;
                assert_int_equal(e.class, ERROR_VERSION);
                assert_non_null(strstr(e.text, floor.version));
                if (table[i].result == -EPERM)
                        assert_non_null(strstr(e.text, image.version));
                assert_true(e.advice[0] != '\0');
        }
}

static void test_effective(void **state)
{
        struct floor low = make("os", "1.9"), high = make("os", "1.10"), other = make("x", "3");

        (void)state;
        assert_ptr_equal(floor_effective(&low, &high), &high);
        assert_ptr_equal(floor_effective(&high, &low), &high);
        assert_ptr_equal(floor_effective(&high, NULL), &high);
        assert_ptr_equal(floor_effective(NULL, &low), &low);
        assert_null(floor_effective(NULL, NULL));
        assert_ptr_equal(floor_effective(&low, &other), &low);
}

/* Each byte of a record matters. */
static void test_record(void **state)
{
        struct floor f = make("os", "1.2.3"), got;
        uint8_t record[FLOOR_RECORD_SIZE];

        (void)state;
        assert_int_equal(FLOOR_RECORD_SIZE, 232);
        assert_int_equal(floor_pack(&f, record), 0);
        assert_int_equal(floor_unpack(record, sizeof(record), &got), 0);
        assert_memory_equal(&got, &f, sizeof(f));
        assert_int_equal(floor_unpack(record, sizeof(record) - 1, &got), -EBADMSG);
        assert_int_equal(floor_unpack(record, 0, &got), -EBADMSG);
        for (size_t i = 0; i < sizeof(record); i++) {
                for (unsigned bit = 0; bit < 8; bit++) {
                        record[i] ^= (uint8_t)(1u << bit);
                        assert_int_equal(floor_unpack(record, sizeof(record), &got), -EBADMSG);
                        record[i] ^= (uint8_t)(1u << bit);
                }
        }
}

static void test_file(void **state)
{
        struct floor f = make("os", "1.2.3");
        _cleanup_(floor_state_free_p) struct floor_state *s = NULL, *got = NULL, *last = NULL;
        struct scratch dir;
        struct stat st;

        (void)state;
        scratch_make(&dir);
        assert_int_equal(floor_load_file(dir.fd, FLOOR_FILE, &got, NULL), -ENOENT);
        assert_int_equal(floor_state_new(&f, &s, NULL), 0);
        assert_int_equal(s->stage, FLOOR_STAGE_PENDING);
        s->stage = FLOOR_STAGE_DEFINED;
        assert_int_equal(floor_store_file(dir.fd, FLOOR_FILE, s, NULL), 0);
        assert_int_equal(fstatat(dir.fd, FLOOR_FILE, &st, 0), 0);
        assert_int_equal(st.st_mode & 07777, 0600);
        assert_int_equal(floor_load_file(dir.fd, FLOOR_FILE, &got, NULL), 0);
        assert_int_equal(got->stage, FLOOR_STAGE_DEFINED);
        assert_memory_equal(&got->floor, &f, sizeof(f));
        /* The same key, seen from outside. */
        assert_memory_equal(floor_key_policy(got->key), floor_key_policy(s->key), SHA256_SIZE);

        /* Cleared without giving up the key, or not cleared without one. */
        s->stage = FLOOR_STAGE_CLEARED;
        assert_int_equal(floor_store_file(dir.fd, FLOOR_FILE, s, NULL), -EINVAL);
        floor_key_free(TAKE_PTR(s->key));
        assert_int_equal(floor_store_file(dir.fd, FLOOR_FILE, s, NULL), 0);
        assert_int_equal(floor_load_file(dir.fd, FLOOR_FILE, &last, NULL), 0);
        assert_int_equal(last->stage, FLOOR_STAGE_CLEARED);
        assert_null(last->key);
        s->stage = FLOOR_STAGE_DEFINED;
        assert_int_equal(floor_store_file(dir.fd, FLOOR_FILE, s, NULL), -EINVAL);
        scratch_clean(&dir);
}

static void test_damaged_file(void **state)
{
        static const char *const texts[] = {
                "",
                "{",
                "[]",
                "{}",
                "{\"schema\":2,\"stage\":\"cleared\",\"product\":\"\",\"version\":\"1\"}",
                "{\"schema\":1,\"stage\":\"gone\",\"product\":\"\",\"version\":\"1\"}",
                "{\"schema\":1,\"stage\":\"cleared\",\"product\":\"\",\"version\":\"\"}",
                "{\"schema\":1,\"stage\":\"cleared\",\"product\":\"\",\"version\":1}",
                "{\"schema\":1,\"stage\":\"cleared\",\"product\":\"\"}",
                "{\"schema\":1,\"stage\":\"cleared\",\"product\":\"\",\"version\":\"1\",\"key\":"
                "\"\"}",
                "{\"schema\":1,\"stage\":\"defined\",\"product\":\"\",\"version\":\"1\"}",
                "{\"schema\":1,\"stage\":\"defined\",\"product\":\"\",\"version\":\"1\",\"key\":"
                "\"\"}",
                "{\"schema\":1,\"stage\":\"defined\",\"product\":\"\",\"version\":\"1\",\"key\":\"-"
                "----"
                "BEGIN PRIVATE KEY-----\\nMAA=\\n-----END PRIVATE KEY-----\\n\"}",
        };
        _cleanup_(floor_state_free_p) struct floor_state *s = NULL;
        struct scratch dir;

        (void)state;
        scratch_make(&dir);
        for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
                struct error e = ERROR_INIT;

                scratch_put_text(&dir, FLOOR_FILE, texts[i]);
                assert_int_equal(floor_load_file(dir.fd, FLOOR_FILE, &s, &e), -EBADMSG);
                assert_null(s);
                assert_int_equal(e.class, ERROR_PRECONDITION);
                assert_true(e.advice[0] != '\0');
        }
        scratch_put_text(&dir, FLOOR_FILE,
                         "{\"schema\":1,\"stage\":\"cleared\",\"product\":\"\",\"version\":\"1\"}");
        assert_int_equal(floor_load_file(dir.fd, FLOOR_FILE, &s, NULL), 0);
        scratch_clean(&dir);
}

/* Keys of other kinds, and a key behind a password. */
static void test_foreign_keys(void **state)
{
        static const char p384[] =
                "-----BEGIN PRIVATE KEY-----\n"
                "MIG2AgEAMBAGByqGSM49AgEGBSuBBAAiBIGeMIGbAgEBBDAaDp8gk/3OMZWA2rxG\n"
                "3Zpmq5Pz22iuKHjRPm4nicShWYCgWmhBYIOxGz2kN7YKZ72hZANiAAQrm7iOoUi/\n"
                "AWM5pAZRRh7Y12QCPKxlBXrrriHZa9lkvntTr2Z5V0uI/51/LY0KaZcKirBUe/xp\n"
                "ECwinjjjcEIyirqSZIyo+3KYMp6jLF7GEZBupwtkcjyRQCxMYyRpAYo=\n"
                "-----END PRIVATE KEY-----\n";
        static const char locked[] =
                "-----BEGIN ENCRYPTED PRIVATE KEY-----\n"
                "MIHrMFYGCSqGSIb3DQEFDTBJMCgGCSqGSIb3DQEFDDAbBAiLnAmbOGmUjAIBATAM\n"
                "BggqhkiG9w0CCQUAMB0GCWCGSAFlAwQBKgQQhIQwJPiJ5dJMvUgEUvKNSwSBkI+a\n"
                "bWMraYDLdmbLtczrtBc11kNOzNewbabRwCowhy4FCVvPV1JpEiuFxnTxUbENMJiI\n"
                "ehJzfqnPbS5fhR4x8EPr/hu+yS3q38K3agjoJ/8iLyI1BtLq4cTd4ABzvfxg3w9j\n"
                "C1h6WniLjZxa1S1a55EIgfNyA7tWNhTg2XWEpajWqtGQcB+W14QivlrcfjmnbQ==\n"
                "-----END ENCRYPTED PRIVATE KEY-----\n";
        static const char public[] =
                "-----BEGIN PUBLIC KEY-----\n"
                "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEvSPGnqxfKelVFGUlOP7HhmFF4QE7\n"
                "ADcsY7OqFYnkui4Ym08Nd+EG1VSc+fQiBu35M6Po1tZq8VWqlDxi1Psm9g==\n"
                "-----END PUBLIC KEY-----\n";
        static const char ed25519[] =
                "-----BEGIN PRIVATE KEY-----\n"
                "MC4CAQAwBQYDK2VwBCIEIBJq9eXOdpcrTpLMIBgx7Jn0+f2NjTBB42OOzgNN+xBp\n"
                "-----END PRIVATE KEY-----\n";
        static const char good[] =
                "-----BEGIN PRIVATE KEY-----\n"
                "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg5Hbn2uImGEE3QsHv\n"
                "qBEQzL45XYkxoJFa/dbxuVk+02qhRANCAAS9I8aerF8p6VUUZSU4/seGYUXhATsA\n"
                "Nyxjs6oVieS6LhibTw134QbVVJz59CIG7fkzo+jW1mrxVaqUPGLU+yb2\n"
                "-----END PRIVATE KEY-----\n";
        struct floor_key *k = NULL;

        (void)state;
        assert_int_equal(floor_key_from_pem(p384, &k), -EBADMSG);
        assert_int_equal(floor_key_from_pem(locked, &k), -EBADMSG);
        assert_int_equal(floor_key_from_pem(public, &k), -EBADMSG);
        assert_int_equal(floor_key_from_pem(ed25519, &k), -EBADMSG);
        assert_null(k);
        assert_int_equal(floor_key_from_pem(good, &k), 0);
        floor_key_free(k);
}

static void test_findings(void **state)
{
        (void)state;
        for (unsigned i = 0; i < FLOOR_FINDING_MAX; i++) {
                assert_non_null(floor_finding_name((enum floor_finding)i));
                assert_true(strlen(floor_finding_text((enum floor_finding)i)) > 10);
        }
        assert_false(floor_finding_alarming(FLOOR_AGREE));
        assert_true(floor_finding_alarming(FLOOR_INDEX_MISSING));
        assert_true(floor_finding_alarming(FLOOR_FINDING_MAX));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_make),         cmocka_unit_test(test_allows),
                cmocka_unit_test(test_effective),    cmocka_unit_test(test_record),
                cmocka_unit_test(test_file),         cmocka_unit_test(test_damaged_file),
                cmocka_unit_test(test_foreign_keys), cmocka_unit_test(test_findings),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
