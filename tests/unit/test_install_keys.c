/* SPDX-License-Identifier: Apache-2.0 */
/* Keys that an installation brings: what goes to the ESP, and what becomes of the variables. */
#include "agent/install_keys.h"

#include <dirent.h>

#include <openssl/rsa.h>

#include "base/limits.h"
#include "efivars/efivar.h"
#include "image/efisig.h"
#include "tests/support/signing.h"
#include "tests/unit/esp_world.h"

static struct scratch keys, vars;
static struct env env = ENV_INIT;
static struct signing_identity id;
static struct buf list = BUF_INIT(LIMIT_EFI_VARIABLE); /* one certificate */

static int set_up_keys(void **state)
{
        static const uint8_t owner[EFISIG_GUID_SIZE] = {1};

        (void)state;
        scratch_make(&keys);
        signing_identity(&id, EVP_RSA_gen(2048), "key", NULL, false, 0, 3600);
        assert_int_equal(efisig_list(owner, id.cert, &list), 0);
        for (unsigned i = 0; i < EFISIG_VARIABLE_MAX; i++) {
                _cleanup_(buf_done) struct buf auth = BUF_INIT(LIMIT_EFI_VARIABLE);
                char name[32];

                assert_int_equal(efisig_auth((enum efisig_variable)i, 1, &list, id.key, id.cert,
                                             &auth, NULL),
                                 0);
                (void)snprintf(name, sizeof(name), "%s.auth", efisig_name((enum efisig_variable)i));
                scratch_put(&keys, name, auth.data, auth.len);
        }
        return 0;
}

static int tear_down_keys(void **state)
{
        (void)state;
        signing_drop(&id);
        buf_done(&list);
        scratch_clean(&keys);
        return 0;
}

static int set_up_machine(void **state)
{
        scratch_make(&vars);
        env.efivarfs = vars.path;
        return set_up(state);
}

static int tear_down_machine(void **state)
{
        scratch_clean(&vars);
        return tear_down(state);
}

static void put_mode(bool setup_mode)
{
        uint8_t on[] = {EFIVAR_BOOTSERVICE | EFIVAR_RUNTIME, 0, 0, 0, setup_mode};
        uint8_t off[] = {EFIVAR_BOOTSERVICE | EFIVAR_RUNTIME, 0, 0, 0, 0};

        scratch_put(&vars, "SetupMode-" EFIVAR_GUID_GLOBAL, on, sizeof(on));
        scratch_put(&vars, "SecureBoot-" EFIVAR_GUID_GLOBAL, off, sizeof(off));
}

static void put_db(void)
{
        assert_int_equal(efivar_write(&env, "db", EFIVAR_GUID_SECURITY, EFIVAR_PERSISTENT,
                                      list.data, list.len),
                         0);
}

static void test_wishes(void **state)
{
        struct install_keys k = {.wanted = false};

        (void)state;
        assert_int_equal(install_keys_load(&env, NULL, NULL, &k, &error), 0);
        assert_false(k.wanted);
        assert_int_equal(install_keys_fill_esp(&k, &esp, &error), 0);
        install_keys_enrol(&env, &k);
        assert_int_equal(k.outcome, INSTALL_KEYS_NOT_TRIED);
        assert_int_equal(install_keys_load(&env, NULL, "agent", &k, &error), -EINVAL);
        assert_int_equal(error.class, ERROR_USAGE);
        assert_int_equal(install_keys_load(&env, keys.path, "nobody", &k, &error), -EINVAL);
        assert_int_equal(error.class, ERROR_USAGE);
        assert_int_equal(install_keys_load(&env, vars.path, NULL, &k, &error), -ENOENT);
        assert_int_equal(error.class, ERROR_CONFIG);
        assert_false(k.wanted);
}

/* The name of the one folder that begins with "old-"; "" when there is none. */
static void find_old(char ret[64])
{
        DIR *d = fdopendir(file_open_dir(dir.fd, "loader/keys"));
        const struct dirent *e;

        assert_non_null(d);
        *ret = '\0';
        while ((e = readdir(d)))
                if (strncmp(e->d_name, "old-", 4) == 0)
                        (void)snprintf(ret, 64, "loader/keys/%.40s", e->d_name);
        (void)closedir(d);
}

static void test_esp(void **state)
{
        _cleanup_(install_keys_done) struct install_keys k = {.wanted = false};
        _cleanup_(buf_done) struct buf auth = BUF_INIT(LIMIT_EFI_VARIABLE);
        char old[64], path[96];

        (void)state;
        put_db();
        assert_int_equal(install_keys_load(&env, keys.path, NULL, &k, &error), 0);
        /* The machine has one of the certificates already. */
        assert_int_equal(k.n_changes, 2);
        assert_int_equal(install_keys_fill_esp(&k, &esp, &error), 0);
        assert_int_equal(file_read(keys.fd, "PK.auth", &auth), 0);
        scratch_expect(&dir, "loader/keys/auto/PK.auth", auth.data, auth.len);
        assert_true(file_exists(dir.fd, "loader/keys/auto/db.auth"));
        assert_true(file_exists(dir.fd, "loader/keys/auto/KEK.auth"));
        assert_false(file_exists(dir.fd, "loader/keys/auto/dbx.auth"));
        find_old(old);
        (void)snprintf(path, sizeof(path), "%s/db.esl", old);
        scratch_expect(&dir, path, list.data, list.len);
        (void)snprintf(path, sizeof(path), "%s/KEK.esl", old);
        assert_false(file_exists(dir.fd, path));
}

static void test_nothing_old(void **state)
{
        _cleanup_(install_keys_done) struct install_keys k = {.wanted = false};
        char old[64];

        (void)state;
        assert_int_equal(install_keys_load(&env, keys.path, "loader", &k, &error), 0);
        assert_int_equal(install_keys_fill_esp(&k, &esp, &error), 0);
        find_old(old);
        assert_string_equal(old, "");
        install_keys_enrol(&env, &k);
        assert_int_equal(k.outcome, INSTALL_KEYS_LEFT);
        assert_false(file_exists(vars.fd, "PK-" EFIVAR_GUID_GLOBAL));
}

static void expect_result(const struct install_keys *k, const char *state)
{
        _cleanup_json_ struct json_object *root = json_object_new_object();
        struct json_object *o;
        const char *text;

        assert_int_equal(install_keys_add_result(root, k), 0);
        assert_int_equal(json_get_obj(root, "keys", &o), 0);
        assert_int_equal(json_get_str(o, "state", &text), 0);
        assert_string_equal(text, state);
}

/* A folder is no firmware: what was written is not what it reads then. The boot loader is left. */
static void test_refused_by_the_firmware(void **state)
{
        _cleanup_(install_keys_done) struct install_keys k = {.wanted = false};

        (void)state;
        put_mode(true);
        assert_int_equal(install_keys_load(&env, keys.path, "agent", &k, &error), 0);
        expect_result(&k, "planned");
        install_keys_enrol(&env, &k);
        assert_int_equal(k.outcome, INSTALL_KEYS_FAILED);
        assert_true(*k.reason);
        expect_result(&k, "failed");
}

/* All is there, as the firmware would show it. */
static void test_mode_after_the_enrolment(void **state)
{
        (void)state;
        put_db();
        for (unsigned i = 0; i < 2; i++)
                assert_int_equal(efivar_write(&env, i == 0 ? "PK" : "KEK", EFIVAR_GUID_GLOBAL,
                                              EFIVAR_PERSISTENT, list.data, list.len),
                                 0);
        for (unsigned setup = 0; setup < 2; setup++) {
                _cleanup_(install_keys_done) struct install_keys k = {.wanted = false};

                put_mode(setup == 1);
                assert_int_equal(install_keys_load(&env, keys.path, "agent", &k, &error), 0);
                assert_int_equal(k.n_changes, 0);
                install_keys_enrol(&env, &k);
                assert_int_equal(k.outcome, setup ? INSTALL_KEYS_FAILED : INSTALL_KEYS_WRITTEN);
        }
}

static void test_plan(void **state)
{
        _cleanup_(install_keys_done) struct install_keys k = {.wanted = false};
        _cleanup_json_ struct json_object *root = json_object_new_object();
        struct json_object *o, *changes;
        const char *text;

        (void)state;
        assert_int_equal(install_keys_load(&env, keys.path, "loader", &k, &error), 0);
        assert_int_equal(install_keys_add_plan(root, &k), 0);
        assert_int_equal(json_get_obj(root, "keys", &o), 0);
        assert_int_equal(json_get_str(o, "by", &text), 0);
        assert_string_equal(text, "loader");
        assert_int_equal(json_get_array(o, "changes", &changes), 0);
        assert_int_equal(json_object_array_length(changes), 3);
        o = json_object_array_get_idx(changes, 0);
        assert_int_equal(json_get_str(o, "entry", &text), 0);
        assert_non_null(strstr(text, "CN=key"));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_wishes, set_up_machine, tear_down_machine),
                cmocka_unit_test_setup_teardown(test_esp, set_up_machine, tear_down_machine),
                cmocka_unit_test_setup_teardown(test_nothing_old, set_up_machine,
                                                tear_down_machine),
                cmocka_unit_test_setup_teardown(test_refused_by_the_firmware, set_up_machine,
                                                tear_down_machine),
                cmocka_unit_test_setup_teardown(test_mode_after_the_enrolment, set_up_machine,
                                                tear_down_machine),
                cmocka_unit_test_setup_teardown(test_plan, set_up_machine, tear_down_machine),
        };

        return cmocka_run_group_tests(tests, set_up_keys, tear_down_keys);
}
