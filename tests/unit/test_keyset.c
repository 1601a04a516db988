/* SPDX-License-Identifier: Apache-2.0 */
/* Sets of Secure Boot keys: from files, from a folder that stands for efivarfs, and between them.
 */
#include "efivars/keyset.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <openssl/rsa.h>

#include "base/limits.h"
#include "efivars/efivar.h"
#include "image/efisig.h"
#include "tests/support/signing.h"
#include "tests/unit/scratch.h"

#define KEYS "keys"
#define VARS "vars"

static struct scratch dir;
static struct env env = ENV_INIT;
static char keys[96], vars[96];
static struct signing_identity ids[EFISIG_VARIABLE_MAX];

static int set_up_keys(void **state)
{
        (void)state;
        for (unsigned i = 0; i < EFISIG_VARIABLE_MAX; i++)
                signing_identity(&ids[i], EVP_RSA_gen(2048), efisig_name((enum efisig_variable)i),
                                 NULL, false, 0, 3600);
        return 0;
}

static int tear_down_keys(void **state)
{
        (void)state;
        for (unsigned i = 0; i < EFISIG_VARIABLE_MAX; i++)
                signing_drop(&ids[i]);
        return 0;
}

static void make_list(const struct signing_identity *id, struct buf *out)
{
        static const uint8_t owner[EFISIG_GUID_SIZE] = {1, 2, 3};

        assert_int_equal(efisig_list(owner, id->cert, out), 0);
}

static void put_auth(const char *name, enum efisig_variable v, const struct buf *payload)
{
        _cleanup_(buf_done) struct buf auth = BUF_INIT(LIMIT_EFI_VARIABLE);
        char path[64];

        assert_int_equal(efisig_auth(v, 1700000000, payload, ids[v].key, ids[v].cert, &auth, NULL),
                         0);
        (void)snprintf(path, sizeof(path), KEYS "/%s.auth", name);
        scratch_put(&dir, path, auth.data, auth.len);
}

static void put_keys(void)
{
        for (unsigned i = 0; i < EFISIG_VARIABLE_MAX; i++) {
                _cleanup_(buf_done) struct buf list = BUF_INIT(LIMIT_EFI_VARIABLE);

                make_list(&ids[i], &list);
                put_auth(efisig_name((enum efisig_variable)i), (enum efisig_variable)i, &list);
        }
}

static int set_up(void **state)
{
        (void)state;
        scratch_make(&dir);
        (void)snprintf(keys, sizeof(keys), "%s/" KEYS, dir.path);
        (void)snprintf(vars, sizeof(vars), "%s/" VARS, dir.path);
        assert_int_equal(mkdirat(dir.fd, KEYS, 0700), 0);
        assert_int_equal(mkdirat(dir.fd, VARS, 0700), 0);
        env.efivarfs = vars;
        put_keys();
        return 0;
}

static int tear_down(void **state)
{
        (void)state;
        scratch_clean(&dir);
        return 0;
}

static void put_variable(const char *name, const char *guid, const struct buf *content)
{
        assert_int_equal(
                efivar_write(&env, name, guid, EFIVAR_PERSISTENT, content->data, content->len), 0);
}

static void test_load(void **state)
{
        _cleanup_(keyset_done) struct keyset k = {0};
        _cleanup_(buf_done) struct buf list = BUF_INIT(LIMIT_EFI_VARIABLE);
        struct error e = ERROR_INIT;
        const void *lists;
        size_t n;

        (void)state;
        assert_int_equal(keyset_load(keys, &k, &e), 0);
        assert_true(k.item[KEYSET_PK].given && k.item[KEYSET_KEK].given && k.item[KEYSET_DB].given);
        assert_false(k.item[KEYSET_DBX].given);
        make_list(&ids[EFISIG_DB], &list);
        lists = keyset_lists(&k, KEYSET_DB, &n);
        assert_int_equal(n, list.len);
        assert_memory_equal(lists, list.data, n);
        assert_null(keyset_lists(&k, KEYSET_DBX, &n));
        assert_int_equal(n, 0);
        assert_non_null(sigdb_find_cert(k.item[KEYSET_PK].db, ids[EFISIG_PK].cert));
}

static void expect_refusal(int code, const char *file)
{
        struct keyset k = {0};
        struct error e = ERROR_INIT;

        assert_int_equal(keyset_load(keys, &k, &e), -code);
        assert_int_equal(e.class, ERROR_CONFIG);
        assert_non_null(strstr(e.text, file));
        assert_false(k.item[KEYSET_DB].given);
}

static void test_load_refused(void **state)
{
        _cleanup_(buf_done) struct buf lists = BUF_INIT(LIMIT_EFI_VARIABLE);
        _cleanup_(buf_done) struct buf none = BUF_INIT(LIMIT_EFI_VARIABLE);

        (void)state;
        scratch_put_text(&dir, KEYS "/dbx.auth", "no signed write of anything, but long enough");
        expect_refusal(EBADMSG, "dbx.auth");
        assert_int_equal(unlinkat(dir.fd, KEYS "/dbx.auth", 0), 0);
        /* Lists alone cannot be written to a variable. */
        make_list(&ids[EFISIG_KEK], &lists);
        scratch_put(&dir, KEYS "/KEK.auth", lists.data, lists.len);
        expect_refusal(EBADMSG, "KEK.auth");
        put_keys();
        put_auth("db", EFISIG_DB, &none);
        expect_refusal(EBADMSG, "db.auth");
        put_keys();
        make_list(&ids[EFISIG_PK], &lists);
        put_auth("PK", EFISIG_PK, &lists);
        expect_refusal(EBADMSG, "PK.auth");
        assert_int_equal(unlinkat(dir.fd, KEYS "/PK.auth", 0), 0);
        expect_refusal(ENOENT, "PK.auth");
}

/* What the machine has and the set does not goes; what both have is no change. */
static void test_compare(void **state)
{
        _cleanup_(keyset_done) struct keyset now = {0}, next = {0};
        _cleanup_(buf_done) struct buf db = BUF_INIT(LIMIT_EFI_VARIABLE);
        _cleanup_(buf_done) struct buf kek = BUF_INIT(LIMIT_EFI_VARIABLE);
        _cleanup_(buf_done) struct buf dbx = BUF_INIT(LIMIT_EFI_VARIABLE);
        _cleanup_free_ struct keyset_change *list = NULL;
        char text[KEYSET_TEXT_SIZE];
        size_t n;

        (void)state;
        make_list(&ids[EFISIG_PK], &db);
        make_list(&ids[EFISIG_DB], &db);
        make_list(&ids[EFISIG_KEK], &kek);
        make_list(&ids[EFISIG_PK], &dbx);
        put_variable("db", EFIVAR_GUID_SECURITY, &db);
        put_variable("dbx", EFIVAR_GUID_SECURITY, &dbx);
        put_variable("KEK", EFIVAR_GUID_GLOBAL, &kek);
        assert_int_equal(keyset_load(keys, &next, NULL), 0);
        assert_int_equal(keyset_read(&env, &now, NULL), 0);
        assert_int_equal(keyset_compare(&now, &next, &list, &n), 0);
        assert_int_equal(n, 2);
        assert_int_equal(list[0].variable, KEYSET_DB);
        assert_false(list[0].added);
        keyset_describe(list[0].entry, text);
        assert_non_null(strstr(text, "certificate CN=PK, SHA-256 "));
        assert_int_equal(list[1].variable, KEYSET_PK);
        assert_true(list[1].added);
}

static void test_describe_hash(void **state)
{
        struct sigdb_entry entry = {.type = SIGDB_IMAGE_SHA256, .hash = {0xab, 0xcd}};
        char text[KEYSET_TEXT_SIZE];

        (void)state;
        keyset_describe(&entry, text);
        assert_memory_equal(text, "hash of an image, SHA-256 abcd00", 32);
        entry.type = SIGDB_TBS_SHA384;
        keyset_describe(&entry, text);
        assert_memory_equal(text, "hash of a certificate, SHA-384 abcd00", 37);
}

/*
 * A folder keeps what is written, time and signature included, where firmware keeps the lists
 * alone: that the variable reads back otherwise has to be noticed.
 */
static void test_write_is_read_back(void **state)
{
        _cleanup_(keyset_done) struct keyset k = {0};
        struct error e = ERROR_INIT;
        uint8_t attributes[] = {0x27, 0, 0, 0};
        _cleanup_(buf_done) struct buf raw = BUF_INIT(LIMIT_EFI_VARIABLE);

        (void)state;
        assert_int_equal(keyset_load(keys, &k, &e), 0);
        assert_int_equal(keyset_write(&env, &k, &e), -EKEYREJECTED);
        assert_int_equal(e.class, ERROR_PRECONDITION);
        assert_non_null(strstr(e.text, "db"));
        assert_int_equal(file_read(dir.fd, VARS "/db-" EFIVAR_GUID_SECURITY, &raw), 0);
        assert_memory_equal(raw.data, attributes, sizeof(attributes));
        assert_int_equal(raw.len, 4 + k.item[KEYSET_DB].raw.len);
        assert_memory_equal(raw.data + 4, k.item[KEYSET_DB].raw.data, raw.len - 4);
        /* The platform key ends setup mode: not before everything else is right. */
        assert_false(file_exists(dir.fd, VARS "/KEK-" EFIVAR_GUID_GLOBAL));
        assert_false(file_exists(dir.fd, VARS "/PK-" EFIVAR_GUID_GLOBAL));
}

static void test_what_is_there_is_not_written(void **state)
{
        _cleanup_(keyset_done) struct keyset k = {0};
        struct stat before, after;

        (void)state;
        assert_int_equal(keyset_load(keys, &k, NULL), 0);
        for (unsigned i = 0; i < EFISIG_VARIABLE_MAX; i++) {
                _cleanup_(buf_done) struct buf list = BUF_INIT(LIMIT_EFI_VARIABLE);

                make_list(&ids[i], &list);
                put_variable(efisig_name((enum efisig_variable)i),
                             i == EFISIG_DB ? EFIVAR_GUID_SECURITY : EFIVAR_GUID_GLOBAL, &list);
        }
        assert_int_equal(fstatat(dir.fd, VARS "/db-" EFIVAR_GUID_SECURITY, &before, 0), 0);
        assert_int_equal(keyset_write(&env, &k, NULL), 0);
        assert_int_equal(fstatat(dir.fd, VARS "/db-" EFIVAR_GUID_SECURITY, &after, 0), 0);
        assert_memory_equal(&before.st_mtim, &after.st_mtim, sizeof(before.st_mtim));
}

static void test_read_damaged(void **state)
{
        struct keyset k = {0};
        struct error e = ERROR_INIT;

        (void)state;
        scratch_put(&dir, VARS "/KEK-" EFIVAR_GUID_GLOBAL, "\7\0\0\0damaged", 11);
        assert_int_equal(keyset_read(&env, &k, &e), -EBADMSG);
        assert_int_equal(e.class, ERROR_PRECONDITION);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_load, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_load_refused, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_compare, set_up, tear_down),
                cmocka_unit_test(test_describe_hash),
                cmocka_unit_test_setup_teardown(test_write_is_read_back, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_what_is_there_is_not_written, set_up,
                                                tear_down),
                cmocka_unit_test_setup_teardown(test_read_damaged, set_up, tear_down),
        };

        return cmocka_run_group_tests(tests, set_up_keys, tear_down_keys);
}
