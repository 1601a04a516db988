/* SPDX-License-Identifier: Apache-2.0 */
/* LUKS2 volumes in plain files: what we make, and what we refuse to touch. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <libcryptsetup.h>

#include "base/codec.h"
#include "base/file.h"
#include "base/json.h"
#include "base/limits.h"
#include "partition/luks.h"

#define LABEL "COS_PERSISTENT"
#define VOLUME_SIZE (24 * MIB)

struct world {
        char path[64];
        struct secret *secret;   /* passphrase of key slot 0, named by a TPM token */
        struct secret *recovery; /* of key slot 1, named by a recovery token */
        struct luks *luks;
        struct error e;
};

static void make_file(char path[static 64])
{
        _cleanup_close_ int fd = -EBADF;

        (void)snprintf(path, 64, "/tmp/tb-luks-XXXXXX");
        fd = mkstemp(path);
        assert_true(fd >= 0);
        assert_int_equal(ftruncate(fd, (off_t)VOLUME_SIZE), 0);
}

static struct secret *new_passphrase(void)
{
        _cleanup_(secret_free_p) struct secret *raw = secret_random(32);
        struct secret *text;

        assert_non_null(raw);
        text = secret_base64(raw);
        assert_non_null(text);
        return text;
}

static void reopen(struct world *w)
{
        luks_free(w->luks);
        w->luks = NULL;
        assert_int_equal(luks_open(w->path, &w->luks, &w->e), 0);
}

static int setup(void **state)
{
        struct world *w = calloc(1, sizeof(*w));
        const struct luks_format_options options = {.label = LABEL, .sector_size = 4096};
        _cleanup_(buf_done) struct buf token = BUF_INIT(LIMIT_TOKEN_JSON);
        int slot = -1, id = -1;

        assert_non_null(w);
        *state = w;
        make_file(w->path);
        w->secret = new_passphrase();
        w->recovery = new_passphrase();
        assert_int_equal(luks_format(w->path, &options, &w->luks, &w->e), 0);
        assert_int_equal(luks_add_keyslot(w->luks, NULL, w->secret, &slot, &w->e), 0);
        assert_int_equal(slot, 0);
        assert_int_equal(luks_set_token(w->luks, LUKS_ANY_TOKEN,
                                        "{\"type\":\"systemd-tpm2\",\"keyslots\":[\"0\"],"
                                        "\"tpm2-blob\":\"AAAA\",\"tpm2-pcrs\":[7],"
                                        "\"tpm2-policy-hash\":\"00\"}",
                                        &id, &w->e),
                         0);
        assert_int_equal(id, 0);
        assert_int_equal(luks_add_keyslot(w->luks, NULL, w->recovery, &slot, &w->e), 0);
        assert_int_equal(slot, 1);
        assert_int_equal(token_format_recovery(1, &token, &w->e), 0);
        assert_int_equal(luks_set_token(w->luks, LUKS_ANY_TOKEN, buf_str(&token), &id, &w->e), 0);
        assert_int_equal(id, 1);
        reopen(w);
        return 0;
}

static int teardown(void **state)
{
        struct world *w = *state;

        luks_free(w->luks);
        secret_free(w->secret);
        secret_free(w->recovery);
        (void)unlink(w->path);
        free(w);
        return 0;
}

static void test_made(void **state)
{
        struct world *w = *state;
        _cleanup_(secret_free_p) struct secret *a = NULL, *b = NULL;
        struct crypt_device *cd = NULL;
        struct crypt_pbkdf_type pbkdf;

        assert_string_equal(luks_label(w->luks), LABEL);
        assert_int_equal(strlen(luks_uuid(w->luks)), 36);
        assert_int_equal(luks_check_header(w->luks, LABEL, &w->e), 0);
        assert_int_equal(luks_test_secret(w->luks, 0, w->secret, &w->e), 0);
        assert_int_equal(luks_test_secret(w->luks, 1, w->recovery, &w->e), 0);
        assert_int_equal(luks_test_secret(w->luks, 0, w->recovery, &w->e), -EACCES);
        assert_int_equal(w->e.class, ERROR_PRECONDITION);
        assert_int_equal(luks_test_secret(w->luks, 2, w->recovery, &w->e), -EACCES);
        assert_int_equal(luks_get_volume_key(w->luks, 0, w->secret, &a, &w->e), 0);
        assert_int_equal(luks_get_volume_key(w->luks, 1, w->recovery, &b, &w->e), 0);
        assert_int_equal(a->len, LUKS_VOLUME_KEY_SIZE);
        assert_memory_equal(a->data, b->data, a->len);

        /* What others see. */
        assert_int_equal(crypt_init(&cd, w->path), 0);
        assert_int_equal(crypt_load(cd, CRYPT_LUKS2, NULL), 0);
        assert_int_equal(crypt_get_data_offset(cd) * 512, LUKS_HEADER_SIZE);
        assert_int_equal(crypt_get_sector_size(cd), 4096);
        assert_string_equal(crypt_get_cipher(cd), "aes");
        assert_string_equal(crypt_get_cipher_mode(cd), "xts-plain64");
        assert_int_equal(crypt_get_volume_key_size(cd), 64);
        assert_int_equal(crypt_keyslot_get_pbkdf(cd, 0, &pbkdf), 0);
        assert_string_equal(pbkdf.type, "pbkdf2");
        assert_string_equal(pbkdf.hash, "sha512");
        assert_int_equal(pbkdf.iterations, 1000);
        crypt_free(cd);
}

static void test_tokens(void **state)
{
        struct world *w = *state;
        struct token *t = NULL;
        int id = -1;

        assert_non_null(luks_token_json(w->luks, 0));
        assert_null(luks_token_json(w->luks, 2));
        assert_null(luks_token_json(w->luks, -1));
        assert_null(luks_token_json(w->luks, 99));
        assert_int_equal(luks_get_token(w->luks, 1, &t, &w->e), -ENOENT); /* recovery */
        assert_int_equal(luks_get_token(w->luks, 2, &t, &w->e), -ENOENT);
        assert_int_equal(luks_get_token(w->luks, 0, &t, &w->e), -EBADMSG);
        assert_int_equal(luks_remove_token(w->luks, 1, &w->e), 0);
        assert_int_equal(luks_remove_token(w->luks, 1, &w->e), -ENOENT);
        assert_int_equal(luks_unnamed_keyslots(w->luks), 1u << 1);
        assert_int_equal(luks_remove_keyslot(w->luks, 1, &w->e), 0);
        assert_int_equal(luks_remove_keyslot(w->luks, 1, &w->e), -ENOENT);
        assert_int_equal(luks_test_secret(w->luks, 1, w->recovery, &w->e), -EACCES);
        reopen(w);
        assert_int_equal(luks_check_header(w->luks, LABEL, &w->e), 0);
        assert_int_equal(luks_set_token(w->luks, 5, "no json", &id, &w->e), -EINVAL);
        assert_int_equal(id, -1);
}

/* A further slot on a volume opened later needs the volume key, and a wrong one is refused. */
static void test_add_later(void **state)
{
        struct world *w = *state;
        _cleanup_(secret_free_p) struct secret *key = NULL, *wrong = secret_random(64),
                                               *more = new_passphrase();
        int slot = -1;

        assert_int_equal(luks_get_volume_key(w->luks, 1, w->recovery, &key, &w->e), 0);
        assert_true(luks_add_keyslot(w->luks, wrong, more, &slot, &w->e) < 0);
        assert_int_equal(slot, -1);
        assert_int_equal(luks_add_keyslot(w->luks, key, more, &slot, &w->e), 0);
        assert_int_equal(slot, 2);
        assert_int_equal(luks_test_secret(w->luks, 2, more, &w->e), 0);
}

static void assert_not_luks2(const char *path)
{
        struct luks *l = NULL;
        struct error e = ERROR_INIT;

        assert_int_equal(luks_open(path, &l, &e), -EMEDIUMTYPE);
        assert_int_equal(e.class, ERROR_PRECONDITION);
        assert_true(e.advice[0] != '\0');
        assert_null(l);
}

static void test_no_luks(void **state)
{
        struct world *w = *state;
        struct crypt_device *cd = NULL;
        struct luks *l = NULL;
        char path[64];
        struct crypt_pbkdf_type pbkdf = {.type = CRYPT_KDF_PBKDF2,
                                         .hash = "sha256",
                                         .iterations = 1000,
                                         .flags = CRYPT_PBKDF_NO_BENCHMARK};

        make_file(path);
        assert_not_luks2(path); /* plaintext */
        assert_int_equal(crypt_init(&cd, path), 0);
        assert_int_equal(crypt_set_pbkdf_type(cd, &pbkdf), 0);
        assert_int_equal(crypt_format(cd, CRYPT_LUKS1, "aes", "xts-plain64", NULL, NULL, 64, NULL),
                         0);
        crypt_free(cd);
        assert_not_luks2(path);
        assert_int_equal(unlink(path), 0);
        assert_int_equal(luks_open(path, &l, &w->e), -ENOENT);
        assert_null(l);
}

/* --- the check --- */

static void refused(struct world *w)
{
        reopen(w);
        error_clear(&w->e);
        assert_int_equal(luks_check_header(w->luks, LABEL, &w->e), -EBADMSG);
        assert_int_equal(w->e.class, ERROR_PRECONDITION);
}

static void test_label(void **state)
{
        struct world *w = *state;

        assert_int_equal(luks_check_header(w->luks, "COS_OEM", &w->e), -EBADMSG);
        assert_int_equal(luks_check_header(w->luks, "", &w->e), -EBADMSG);
}

/* What cryptsetup adds for a person: the cost of the key derivation tells it from ours. */
static void test_password_slot(void **state)
{
        static const struct crypt_pbkdf_type pbkdf = {.type = CRYPT_KDF_PBKDF2,
                                                      .hash = "sha512",
                                                      .iterations = 1001,
                                                      .flags = CRYPT_PBKDF_NO_BENCHMARK};
        struct world *w = *state;
        _cleanup_(secret_free_p) struct secret *key = NULL;
        struct crypt_device *cd = NULL;

        assert_int_equal(luks_get_volume_key(w->luks, 0, w->secret, &key, &w->e), 0);
        assert_int_equal(crypt_init(&cd, w->path), 0);
        assert_int_equal(crypt_load(cd, CRYPT_LUKS2, NULL), 0);
        assert_int_equal(crypt_set_pbkdf_type(cd, &pbkdf), 0);
        assert_true(crypt_keyslot_add_by_volume_key(cd, CRYPT_ANY_SLOT, (const char *)key->data,
                                                    key->len, "secret", 6) > 0);
        crypt_free(cd);
        refused(w);
        assert_non_null(strstr(w->e.text, "no token names"));
}

/* The power went between the two writes of an enrolment: the node has to start all the same. */
static void test_leftover_slot(void **state)
{
        struct world *w = *state;
        _cleanup_(secret_free_p) struct secret *key = NULL, *other = secret_random(32);
        int slot;

        assert_int_equal(luks_unnamed_keyslots(w->luks), 0);
        assert_int_equal(luks_get_volume_key(w->luks, 0, w->secret, &key, &w->e), 0);
        assert_int_equal(luks_add_keyslot(w->luks, key, other, &slot, &w->e), 0);
        reopen(w);
        assert_int_equal(luks_check_header(w->luks, LABEL, &w->e), 0);
        assert_int_equal(luks_unnamed_keyslots(w->luks), 1u << slot);
        assert_int_equal(luks_remove_keyslot(w->luks, slot, &w->e), 0);
        assert_int_equal(luks_unnamed_keyslots(w->luks), 0);
}

static void test_foreign_token(void **state)
{
        struct world *w = *state;

        assert_int_equal(luks_set_token(w->luks, LUKS_ANY_TOKEN,
                                        "{\"type\":\"clevis\",\"keyslots\":[\"0\"],\"jwe\":{}}",
                                        NULL, &w->e),
                         0);
        refused(w);
}

static void test_no_keyslot(void **state)
{
        struct world *w = *state;
        const struct luks_format_options options = {.label = LABEL, .sector_size = 512};

        luks_free(w->luks);
        w->luks = NULL;
        assert_int_equal(luks_format(w->path, &options, &w->luks, &w->e), 0);
        refused(w);
}

/* LUKS2 on-disk format, section 2.2: both headers, and where the checksum is in each. */
#define HEADER_COPY 16384u
#define CHECKSUM_AT 448u

/* Puts text of the same length into both copies of the metadata, behind a mark, and signs them. */
static void forge(const char *path, const char *mark, const char *from, const char *to)
{
        static uint8_t header[HEADER_COPY];
        _cleanup_close_ int fd = open(path, O_RDWR | O_CLOEXEC);

        assert_true(fd >= 0);
        assert_int_equal(strlen(from), strlen(to));
        for (unsigned copy = 0; copy < 2; copy++) {
                char *at;

                assert_int_equal(file_pread(fd, header, sizeof(header), copy * HEADER_COPY),
                                 sizeof(header));
                at = strstr((char *)header + 4096, mark);
                assert_non_null(at);
                at = strstr(at, from);
                assert_non_null(at);
                memcpy(at, to, strlen(to));
                memset(header + CHECKSUM_AT, 0, 64);
                assert_int_equal(sha256(header, sizeof(header), header + CHECKSUM_AT), 0);
                assert_int_equal(file_pwrite(fd, header, sizeof(header), copy * HEADER_COPY), 0);
        }
}

/* The attack on machines nobody watches: a volume whose data are written in clear. */
static void test_null_cipher(void **state)
{
        struct world *w = *state;

        forge(w->path, "\"segments\"", "aes-xts-plain64", "cipher_null-ecb");
        refused(w);
        assert_non_null(strstr(w->e.text, "cipher"));
}

/* The same for the key slot, which would hold the volume key in clear. */
static void test_null_keyslot(void **state)
{
        struct world *w = *state;

        forge(w->path, "\"keyslots\"", "aes-xts-plain64", "cipher_null-ecb");
        refused(w);
        assert_non_null(strstr(w->e.text, "key slot"));
}

/* One edit of the metadata. path is dotted; "" removes. */
static const struct {
        const char *object, *field, *value;
} edits[] = {
        {"", "extra", "{}"},
        {"", "segments", "{}"},
        {"", "tokens", "[]"},
        {"", "digests", ""},
        {"config", "requirements", "{\"mandatory\":[\"online-reencrypt-v2\"]}"},
        {"config", "requirements", "{\"optional\":[]}"},
        {"config", "requirements", "[\"x\"]"},
        {"config", "requirements", "1"},
        {"config", "flags", "[\"no-journal\"]"},
        {"config", "flags", "[1]"},
        {"config", "flags", "{}"},
        {"config", "json_size", "\"99999999999999999999\""},
        {"config", "keyslots_size", "16777216"},
        {"config", "surprise", "1"},
        {"segments", "1", "{\"type\":\"crypt\"}"},
        {"segments.0", "type", "\"linear\""},
        {"segments.0", "encryption", "\"cipher_null-ecb\""},
        {"segments.0", "encryption", "\"aes-cbc-plain\""},
        {"segments.0", "encryption", ""},
        {"segments.0", "offset", "\"0\""},
        {"segments.0", "offset", "\"32768\""},
        {"segments.0", "offset", "\"18446744073709547520\""},
        {"segments.0", "offset", "16777216"},
        {"segments.0", "size", "\"4096\""},
        {"segments.0", "iv_tweak", "\"8\""},
        {"segments.0", "integrity", "{\"type\":\"hmac(sha256)\"}"},
        {"segments.0", "flags", "[\"in-reencryption\"]"},
        {"segments.0", "sector_size", "3000"},
        {"segments.0", "sector_size", "8192"},
        {"segments.0", "sector_size", "\"512\""},
        {"digests", "1", "{}"},
        {"digests.0", "type", "\"sha256\""},
        {"digests.0", "keyslots", "[\"0\"]"},
        {"digests.0", "keyslots", "[\"0\",\"7\"]"},
        {"digests.0", "segments", "[]"},
        {"digests.0", "segments", "[\"1\"]"},
        {"digests.0", "iterations", "4294967295"},
        {"keyslots.0", "type", "\"reencrypt\""},
        {"keyslots.0", "key_size", "32"},
        {"keyslots.0", "key_size", "\"64\""},
        {"keyslots.0", "kdf", ""},
        {"keyslots.0.area", "encryption", "\"cipher_null-ecb\""},
        {"keyslots.0.area", "type", "\"none\""},
        {"keyslots.0.area", "key_size", "1"},
        {"keyslots.0.af", "stripes", "1"},
        {"keyslots.0.af", "type", "\"none\""},
        {"keyslots.0.kdf", "type", "\"plain\""},
        {"keyslots.0.kdf", "iterations", "4294967295"},
        {"keyslots.0.kdf", "iterations", "-1"},
        {"keyslots.0.kdf", "iterations", "0"},
        {"keyslots", "2", "{\"type\":\"luks2\"}"},
        {"keyslots", "zero", "{}"},
        {"keyslots", "0", ""},
        {"tokens.0", "type", "\"luks2-keyring\""},
        {"tokens.0", "type", "1"},
        {"tokens.0", "keyslots", "[]"},
        {"tokens.0", "keyslots", "[\"1\"]"},
        {"tokens.0", "keyslots", "[\"0\",\"1\"]"},
        {"tokens.0", "keyslots", "[\"31\"]"},
        {"tokens.0", "keyslots", "[0]"},
        {"tokens.0", "keyslots", "\"0\""},
        {"tokens.1", "type", "\"systemd-fido2\""},
        {"tokens.1", "type", "\"systemd-recovery2\""},
        {"tokens.1", "hint", "\"x\""},
        {"tokens.1", "keyslots", "[\"0\",\"1\"]"},
        {"tokens.1", "keyslots", "[]"},
        {"tokens", "2", "{\"type\":\"systemd-recovery\",\"keyslots\":[\"1\"]}"},
        {"tokens", "2", "{\"type\":\"systemd-recovery\",\"keyslots\":[\"0\"]}"},
        {"tokens", "2", "{\"type\":\"systemd-tpm2\",\"keyslots\":[\"1\"]}"},
};

static struct json_object *find_object(struct json_object *o, const char *path)
{
        while (*path) {
                size_t n = strcspn(path, ".");
                char key[32];

                (void)snprintf(key, sizeof(key), "%.*s", (int)n, path);
                assert_true(json_object_object_get_ex(o, key, &o));
                path += n + (path[n] == '.');
        }
        return o;
}

static void test_metadata(void **state)
{
        struct world *w = *state;
        struct crypt_device *cd = NULL;
        const char *json = NULL;
        size_t n;

        assert_int_equal(crypt_init(&cd, w->path), 0);
        assert_int_equal(crypt_load(cd, CRYPT_LUKS2, NULL), 0);
        assert_int_equal(crypt_dump_json(cd, &json, 0), 0);
        n = strlen(json);
        assert_int_equal(luks_check_metadata(json, n, &w->e), 0);
        assert_int_equal(luks_check_metadata(json, n - 2, &w->e), -EBADMSG);
        assert_int_equal(luks_check_metadata("", 0, &w->e), -EBADMSG);
        for (size_t i = 0; i < ARRAY_SIZE(edits); i++) {
                _cleanup_json_ struct json_object *o = json_tokener_parse(json);
                struct json_object *at = find_object(o, edits[i].object);
                const char *text;

                if (edits[i].value[0])
                        assert_int_equal(json_add_obj(at, edits[i].field,
                                                      json_tokener_parse(edits[i].value)),
                                         0);
                else
                        json_object_object_del(at, edits[i].field);
                text = json_object_to_json_string(o);
                if (luks_check_metadata(text, strlen(text), &w->e) != -EBADMSG)
                        fail_msg("accepted: %s.%s = %s", edits[i].object, edits[i].field,
                                 edits[i].value);
                assert_int_equal(w->e.class, ERROR_PRECONDITION);
        }
        crypt_free(cd);
}

/* Parameters that others write and that are fine. */
static void test_metadata_allowed(void **state)
{
        struct world *w = *state;
        struct crypt_device *cd = NULL;
        const char *json = NULL, *text;
        _cleanup_json_ struct json_object *o = NULL;

        assert_int_equal(crypt_init(&cd, w->path), 0);
        assert_int_equal(crypt_load(cd, CRYPT_LUKS2, NULL), 0);
        assert_int_equal(crypt_dump_json(cd, &json, 0), 0);
        o = json_tokener_parse(json);
        assert_int_equal(json_add_obj(find_object(o, "config"), "requirements",
                                      json_tokener_parse("{\"mandatory\":[]}")),
                         0);
        assert_int_equal(json_add_obj(find_object(o, "config"), "flags",
                                      json_tokener_parse("[\"allow-discards\"]")),
                         0);
        assert_int_equal(
                json_add_obj(find_object(o, "keyslots.1"), "kdf",
                             json_tokener_parse("{\"type\":\"argon2id\",\"time\":4,"
                                                "\"memory\":1048576,\"cpus\":4,\"salt\":\"\"}")),
                0);
        text = json_object_to_json_string(o);
        assert_int_equal(luks_check_metadata(text, strlen(text), &w->e), 0);
        crypt_free(cd);
}

/* What is decided when a volume is made: kept in the header, accepted by the check. */
static void test_format_options(void **state)
{
        static const struct luks_format_options options[] = {
                {.label = LABEL, .sector_size = 512},
                {.label = LABEL, .sector_size = 4096},
                {.label = LABEL, .sector_size = 512, .allow_discards = true},
                {.label = LABEL, .sector_size = 4096, .allow_discards = true},
        };
        struct world *w = *state;

        for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
                struct crypt_device *cd = NULL;
                uint32_t flags = 0;
                int slot;

                luks_free(w->luks);
                w->luks = NULL;
                assert_int_equal(luks_format(w->path, &options[i], &w->luks, &w->e), 0);
                assert_int_equal(luks_add_keyslot(w->luks, NULL, w->recovery, &slot, &w->e), 0);
                assert_int_equal(luks_set_token(w->luks, LUKS_ANY_TOKEN,
                                                "{\"type\":\"systemd-recovery\",\"keyslots\":["
                                                "\"0\"]}",
                                                NULL, &w->e),
                                 0);
                reopen(w);
                assert_int_equal(luks_check_header(w->luks, LABEL, &w->e), 0);
                assert_int_equal(crypt_init(&cd, w->path), 0);
                assert_int_equal(crypt_load(cd, CRYPT_LUKS2, NULL), 0);
                assert_int_equal(crypt_get_sector_size(cd), options[i].sector_size);
                assert_int_equal(crypt_persistent_flags_get(cd, CRYPT_FLAGS_ACTIVATION, &flags), 0);
                assert_int_equal(flags,
                                 options[i].allow_discards ? CRYPT_ACTIVATE_ALLOW_DISCARDS : 0);
                crypt_free(cd);
        }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
        const struct CMUnitTest tests[] = {
                TEST(test_made),
                TEST(test_tokens),
                TEST(test_add_later),
                TEST(test_no_luks),
                TEST(test_label),
                TEST(test_password_slot),
                TEST(test_leftover_slot),
                TEST(test_foreign_token),
                TEST(test_no_keyslot),
                TEST(test_null_cipher),
                TEST(test_null_keyslot),
                TEST(test_metadata),
                TEST(test_metadata_allowed),
                TEST(test_format_options),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
