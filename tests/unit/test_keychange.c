/* SPDX-License-Identifier: Apache-2.0 */
/* Planned changes of key variables: what is read, what the variables will hold, what is written. */
#include "efivars/keychange.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <openssl/rsa.h>

#include "base/limits.h"
#include "base/num.h"
#include "efivars/efivar.h"
#include "image/efisig.h"
#include "tests/support/signing.h"
#include "tests/unit/scratch.h"

static struct scratch dir;
static struct env env = ENV_INIT;
static char vars[96];
static struct signing_identity a, b;
static struct buf list_a = BUF_INIT(LIMIT_EFI_VARIABLE), list_b = BUF_INIT(LIMIT_EFI_VARIABLE);
static const uint8_t owner[EFISIG_GUID_SIZE] = {1, 2, 3}, stranger[EFISIG_GUID_SIZE] = {9};

static int set_up_keys(void **state)
{
        (void)state;
        signing_identity(&a, EVP_RSA_gen(2048), "a", NULL, false, 0, 3600);
        signing_identity(&b, EVP_RSA_gen(2048), "b", NULL, false, 0, 3600);
        assert_int_equal(efisig_list(owner, a.cert, &list_a), 0);
        assert_int_equal(efisig_list(owner, b.cert, &list_b), 0);
        return 0;
}

static int tear_down_keys(void **state)
{
        (void)state;
        signing_drop(&a);
        signing_drop(&b);
        buf_done(&list_a);
        buf_done(&list_b);
        return 0;
}

static void put_auth(const char *name, const struct buf *payload)
{
        _cleanup_(buf_done) struct buf auth = BUF_INIT(LIMIT_EFI_VARIABLE);

        assert_int_equal(efisig_auth(EFISIG_DB, 1700000000, payload, a.key, a.cert, &auth, NULL),
                         0);
        scratch_put(&dir, name, auth.data, auth.len);
}

static int set_up(void **state)
{
        (void)state;
        scratch_make(&dir);
        (void)snprintf(vars, sizeof(vars), "%s/vars", dir.path);
        assert_int_equal(mkdirat(dir.fd, "vars", 0700), 0);
        env.efivarfs = vars;
        assert_int_equal(efivar_write(&env, "db", EFIVAR_GUID_SECURITY, EFIVAR_PERSISTENT,
                                      list_a.data, list_a.len),
                         0);
        put_auth("a.auth", &list_a);
        put_auth("b.auth", &list_b);
        return 0;
}

static int tear_down(void **state)
{
        (void)state;
        scratch_clean(&dir);
        return 0;
}

/* "db+=" and a file of the scratch folder. */
static const char *word(const char *change, const char *file)
{
        static char text[4][160];
        static unsigned turn;

        turn = (turn + 1) % ARRAY_SIZE(text);
        (void)snprintf(text[turn], sizeof(text[0]), "%s%s/%s", change, dir.path, file);
        return text[turn];
}

static void read_one(const char *change, const char *file, struct keychange *k)
{
        const char *words[] = {word(change, file)};
        struct error e = ERROR_INIT;

        if (keychange_read(&env, words, 1, k, &e) < 0)
                fail_msg("%s", e.text);
}

static void assert_holds(const struct buf *have, const struct buf *first, const struct buf *second)
{
        size_t n = first->len + (second ? second->len : 0);

        assert_int_equal(have->len, n);
        assert_memory_equal(have->data, first->data, first->len);
        if (second)
                assert_memory_equal(have->data + first->len, second->data, second->len);
}

static void test_nothing_planned(void **state)
{
        struct keychange k;

        (void)state;
        assert_int_equal(keychange_read(&env, NULL, 0, &k, NULL), 0);
        assert_false(keychange_differs(&k));
        assert_true(k.item[KEYSET_DB].exists);
        assert_holds(&k.item[KEYSET_DB].next, &list_a, NULL);
        assert_false(k.item[KEYSET_DBX].exists);
        assert_int_equal(k.item[KEYSET_DBX].next.len, 0);
        keychange_done(&k);
}

static void test_replace_and_append(void **state)
{
        struct keychange k;

        (void)state;
        read_one("db=", "b.auth", &k);
        assert_holds(&k.item[KEYSET_DB].next, &list_b, NULL);
        assert_true(keychange_differs(&k) && !k.item[KEYSET_DB].append);
        keychange_done(&k);
        read_one("db+=", "b.auth", &k);
        assert_holds(&k.item[KEYSET_DB].next, &list_a, &list_b);
        assert_holds(&k.item[KEYSET_DB].now, &list_a, NULL);
        assert_true(keychange_differs(&k) && k.item[KEYSET_DB].append);
        keychange_done(&k);
        read_one("dbx+=", "b.auth", &k); /* absent so far */
        assert_holds(&k.item[KEYSET_DBX].next, &list_b, NULL);
        keychange_done(&k);
}

/* What firmware has, it leaves out: the measurement would be another one. */
static void test_append_what_is_there(void **state)
{
        _cleanup_(buf_done) struct buf now = BUF_INIT(4096), out = BUF_INIT(8192),
                                       more = BUF_INIT(4096);
        struct keychange k;
        uint8_t hashes[28 + 3 * 48] = {0x26, 0x16, 0xc4, 0xc1};

        (void)state;
        read_one("db+=", "a.auth", &k);
        assert_false(keychange_differs(&k));
        keychange_done(&k);

        /* One list of three hashes, the second of which is there; a fourth comes in a list of its
         * own, from another owner. */
        put_le32(hashes + 16, sizeof(hashes));
        put_le32(hashes + 24, 48);
        for (unsigned i = 0; i < 3; i++)
                memset(hashes + 28 + 48 * i, (int)i + 1, 48);
        assert_int_equal(buf_add(&now, hashes, 28), 0);
        assert_int_equal(buf_add(&now, hashes + 28 + 48, 48), 0);
        put_le32(now.data + 16, 28 + 48);
        assert_int_equal(keychange_append(&now, hashes, sizeof(hashes), &out), 0);
        assert_int_equal(out.len, now.len + 28 + 2 * 48);
        assert_memory_equal(out.data, now.data, now.len);
        assert_int_equal(le32_at(out.data + now.len + 16), 28 + 2 * 48);
        assert_memory_equal(out.data + now.len + 28, hashes + 28, 48);
        assert_memory_equal(out.data + now.len + 28 + 48, hashes + 28 + 96, 48);

        buf_reset(&out);
        assert_int_equal(efisig_list(stranger, a.cert, &more), 0);
        assert_int_equal(keychange_append(&list_a, more.data, more.len, &out), 0);
        assert_holds(&out, &list_a, &more);
        buf_reset(&out);
        assert_int_equal(keychange_append(&list_a, hashes, sizeof(hashes) - 1, &out), -EBADMSG);
}

static void test_words(void **state)
{
        static const char *const wrong[] = {"db",     "db=",   "db+",    "db+=", "dbt=x",
                                            "db-=/x", "=/tmp", "db+/x=", "D=/x"};
        struct keychange k;
        struct error e = ERROR_INIT;

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
                assert_int_equal(keychange_read(&env, &wrong[i], 1, &k, &e), -EINVAL);
                assert_int_equal(e.class, ERROR_USAGE);
        }
        {
                const char *twice[] = {word("db=", "a.auth"), word("db+=", "b.auth")};
                const char *absent[] = {word("db=", "none.auth")};
                const char *other[] = {word("db=", "vars/db-" EFIVAR_GUID_SECURITY)};

                assert_int_equal(keychange_read(&env, twice, 2, &k, &e), -EINVAL);
                assert_int_equal(e.class, ERROR_USAGE);
                assert_int_equal(keychange_read(&env, absent, 1, &k, &e), -ENOENT);
                assert_int_equal(e.class, ERROR_CONFIG);
                assert_int_equal(keychange_read(&env, other, 1, &k, &e), -EBADMSG);
                assert_int_equal(e.class, ERROR_CONFIG);
        }
}

/* A folder takes the bytes as they are: good enough to see what was written, and that a firmware
 * that makes something else of it is noticed. */
static void test_write(void **state)
{
        _cleanup_(buf_done) struct buf seen = BUF_INIT(LIMIT_EFI_VARIABLE);
        const char *words[] = {word("db+=", "b.auth"), word("KEK=", "a.auth")};
        bool written[KEYSET_MAX];
        struct error e = ERROR_INIT;
        uint32_t attributes = 0;
        struct keychange k;

        (void)state;
        assert_int_equal(keychange_read(&env, words, 2, &k, &e), 0);
        assert_int_equal(keychange_write(&env, &k, written, &e), -EKEYREJECTED);
        assert_int_equal(e.class, ERROR_PRECONDITION);
        assert_false(written[KEYSET_DB] || written[KEYSET_KEK]);
        assert_int_equal(efivar_read(&env, "db", EFIVAR_GUID_SECURITY, &seen, &attributes), 0);
        assert_int_equal(attributes, 0x67);
        assert_holds(&seen, &k.item[KEYSET_DB].write, NULL);
        assert_int_equal(efivar_read(&env, "KEK", EFIVAR_GUID_GLOBAL, &seen, NULL), -ENOENT);
        keychange_done(&k);
}

static void test_write_nothing(void **state)
{
        _cleanup_(buf_done) struct buf seen = BUF_INIT(LIMIT_EFI_VARIABLE);
        bool written[KEYSET_MAX];
        struct keychange k;

        (void)state;
        read_one("db=", "a.auth", &k);
        assert_int_equal(keychange_write(&env, &k, written, NULL), 0);
        assert_false(written[KEYSET_DB]);
        assert_int_equal(efivar_read(&env, "db", EFIVAR_GUID_SECURITY, &seen, NULL), 0);
        assert_holds(&seen, &list_a, NULL);
        keychange_done(&k);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
        const struct CMUnitTest tests[] = {
                TEST(test_nothing_planned),
                TEST(test_replace_and_append),
                TEST(test_append_what_is_there),
                TEST(test_words),
                TEST(test_write),
                TEST(test_write_nothing),
        };

        return cmocka_run_group_tests(tests, set_up_keys, tear_down_keys);
}
