/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Recovery keys, both ways with systemd and cryptsetup, on LUKS2 in a plain file: cryptsetup opens
 * what is enrolled here, and what systemd-cryptenroll --recovery-key enrols is opened here.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <libcryptsetup.h>
#include <sys/wait.h>

#include "base/file.h"
#include "base/limits.h"
#include "partition/recovery_key.h"
#include "tests/unit/scratch.h"

#define LABEL "COS_OEM"

struct world {
        struct scratch dir;
        char volume[96], keyfile[96];
        struct secret *sealed; /* passphrase of key slot 0, as if a TPM gave it */
        struct luks *luks;
        struct error e;
};

/* Runs a program; what it says on standard output goes to out. Returns its exit code. */
static int run(const char *password, const char *const *argv, struct buf *out)
{
        uint8_t text[4096];
        int ends[2], status;
        ssize_t got;
        pid_t pid;

        assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
        pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
                char *const *args;

                memcpy(&args, &argv, sizeof(args));
                (void)dup2(ends[1], STDOUT_FILENO);
                if (password)
                        (void)setenv("PASSWORD", password, 1);
                (void)execvp(argv[0], args);
                _exit(127);
        }
        (void)close(ends[1]);
        while ((got = read(ends[0], text, sizeof(text))) > 0)
                assert_int_equal(buf_add(out, text, (size_t)got), 0);
        (void)close(ends[0]);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

static int setup(void **state)
{
        const struct luks_format_options options = {.label = LABEL, .sector_size = 512};
        _cleanup_(secret_free_p) struct secret *raw = secret_random(32);
        struct world *w = calloc(1, sizeof(*w));
        int slot;

        assert_non_null(w);
        *state = w;
        scratch_make(&w->dir);
        (void)snprintf(w->volume, sizeof(w->volume), "%s/volume", w->dir.path);
        (void)snprintf(w->keyfile, sizeof(w->keyfile), "%s/key", w->dir.path);
        scratch_put_text(&w->dir, "volume", "");
        assert_int_equal(truncate(w->volume, (off_t)(24 * MIB)), 0);
        w->sealed = secret_base64(raw);
        assert_non_null(w->sealed);
        assert_int_equal(luks_format(w->volume, &options, &w->luks, &w->e), 0);
        assert_int_equal(luks_add_keyslot(w->luks, NULL, w->sealed, &slot, &w->e), 0);
        assert_int_equal(luks_set_token(w->luks, LUKS_ANY_TOKEN,
                                        "{\"type\":\"systemd-tpm2\",\"keyslots\":[\"0\"],"
                                        "\"tpm2-blob\":\"AAAA\",\"tpm2-pcrs\":[7],"
                                        "\"tpm2-policy-hash\":\"00\"}",
                                        NULL, &w->e),
                         0);
        return 0;
}

static int teardown(void **state)
{
        struct world *w = *state;

        luks_free(w->luks);
        secret_free(w->sealed);
        scratch_clean(&w->dir);
        free(w);
        return 0;
}

static void reopen(struct world *w)
{
        luks_free(w->luks);
        w->luks = NULL;
        assert_int_equal(luks_open(w->volume, &w->luks, &w->e), 0);
        if (luks_check_header(w->luks, LABEL, &w->e) < 0)
                fail_msg("%s", w->e.text);
}

static int cryptsetup_opens(struct world *w, const struct secret *key)
{
        const char *const argv[] = {"cryptsetup", "open",     "--test-passphrase",
                                    "--key-file", w->keyfile, w->volume,
                                    NULL};
        _cleanup_(buf_done) struct buf out = BUF_INIT(LIMIT_CHILD_OUTPUT);

        scratch_put(&w->dir, "key", key->data, key->len);
        return run(NULL, argv, &out);
}

static void ours_opens_elsewhere(void **state)
{
        struct world *w = *state;
        _cleanup_(secret_free_p) struct secret *key = recovery_key_new(),
                                               *other = recovery_key_new();
        struct crypt_pbkdf_type pbkdf;
        struct crypt_device *cd = NULL;

        assert_int_equal(recovery_key_enrol(w->luks, NULL, key, &w->e), 0);
        reopen(w);
        assert_string_equal(luks_token_json(w->luks, 1),
                            "{\"type\":\"systemd-recovery\",\"keyslots\":[\"1\"]}");
        assert_int_equal(cryptsetup_opens(w, key), 0);
        assert_int_equal(cryptsetup_opens(w, other), 2);
        assert_int_equal(crypt_init(&cd, w->volume), 0);
        assert_int_equal(crypt_load(cd, CRYPT_LUKS2, NULL), 0);
        assert_int_equal(crypt_keyslot_get_pbkdf(cd, 1, &pbkdf), 0);
        assert_string_equal(pbkdf.type, "pbkdf2");
        assert_string_equal(pbkdf.hash, "sha512");
        assert_int_equal(pbkdf.iterations, 1000);
        crypt_free(cd);
}

static void theirs_opens_here(void **state)
{
        struct world *w = *state;
        const char *const argv[] = {"systemd-cryptenroll", "--recovery-key", w->volume, NULL};
        _cleanup_(buf_done) struct buf out = BUF_INIT(LIMIT_CHILD_OUTPUT);
        _cleanup_(secret_free_p) struct secret *key = NULL;
        char password[64];

        (void)snprintf(password, sizeof(password), "%.*s", (int)w->sealed->len,
                       (const char *)w->sealed->data);
        assert_int_equal(run(password, argv, &out), 0);
        assert_int_equal(recovery_key_parse(out.data, out.len, &key, &w->e), 0);
        reopen(w);
        assert_int_equal(recovery_key_find_slot(w->luks, key, &w->e), 1);
        assert_int_equal(cryptsetup_opens(w, key), 0);
}

static void only_recovery_slots_are_tried(void **state)
{
        struct world *w = *state;
        _cleanup_(secret_free_p) struct secret *key = recovery_key_new(),
                                               *other = recovery_key_new();

        assert_int_equal(recovery_key_find_slot(w->luks, key, &w->e), -ENOKEY);
        assert_int_equal(recovery_key_enrol(w->luks, NULL, key, &w->e), 0);
        reopen(w);
        assert_int_equal(recovery_key_find_slot(w->luks, key, &w->e), 1);
        assert_int_equal(recovery_key_find_slot(w->luks, other, &w->e), -EACCES);
        assert_int_equal(w->e.class, ERROR_PRECONDITION);
        /* It opens key slot 0, which belongs to the TPM. */
        assert_int_equal(luks_test_secret(w->luks, 0, w->sealed, &w->e), 0);
        assert_int_equal(recovery_key_find_slot(w->luks, w->sealed, &w->e), -EACCES);
}

/* One key in two slots of one volume, and a second key: each is found where it is. */
static void several_keys(void **state)
{
        struct world *w = *state;
        _cleanup_(secret_free_p) struct secret *a = recovery_key_new(), *b = recovery_key_new();
        int token = 0;

        assert_int_equal(recovery_key_enrol(w->luks, NULL, a, &w->e), 0);
        assert_int_equal(recovery_key_enrol(w->luks, NULL, b, &w->e), 0);
        reopen(w);
        assert_int_equal(recovery_key_find_slot(w->luks, a, &w->e), 1);
        assert_int_equal(recovery_key_find_slot(w->luks, b, &w->e), 2);
        assert_int_equal(recovery_key_next_slot(w->luks, &token), 1);
        assert_int_equal(recovery_key_next_slot(w->luks, &token), 2);
        assert_int_equal(recovery_key_next_slot(w->luks, &token), -ENOENT);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
        const struct CMUnitTest tests[] = {
                TEST(ours_opens_elsewhere),
                TEST(theirs_opens_here),
                TEST(only_recovery_slots_are_tried),
                TEST(several_keys),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
