/* SPDX-License-Identifier: Apache-2.0 */
/* Tokens as systemd 252 and 257 wrote them, and every way to be wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/codec.h"
#include "base/json.h"
#include "base/limits.h"
#include "partition/token.h"

static const char pem[] = "-----BEGIN PUBLIC KEY-----\n"
                          "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA0V0vFdTlEq413AwSSSIR\n"
                          "hQXxEav2VQDES5RowuJHQjPQwvKwJ0tgh07Nsj2stmsGU1KUEOBgc3sbFCwYVTk4\n"
                          "o6LJqeiN1pwhOGaVxM0P6Y2EV+CSSl75CHTo0AS5bZ74n0c99jKJreoMNtyYmXK1\n"
                          "+WrC6oB88tIG1vOKbSbNxib2DiQaNpgUlzTeOhPP0nMaKufuy0tGiNMuFxgNJkXr\n"
                          "Xk5AxtrRLsPjBIJtJodn8rK7tBRf0fWwx/l8hqT6pwZs3yU48bXWJ+8DiPdUqENX\n"
                          "mtNHhOYdzBmlqiRlwcfHM/z73yBr2uuZqeNJYJS4/a6mUYwA7lXcXhz2tG7AwNVT\n"
                          "sQIDAQAB\n"
                          "-----END PUBLIC KEY-----\n";

#define BLOB                                                                                       \
        "AJ4AICGYucw9G7m7rqZs3F/p2dOOrNZ2yBvqK1MP7f+IXsSkABAeHLrTLZrSifMBFtFQameFPVpkzeZPjmJa4q8e" \
        "ekz4iUGPgXq+d/fHazx47LoFAeqiti9hK1HAyiPv+fRYUxxL/XytXb0vMoTvsBCboWJ1Nd1loCSGUfC+NeCNghYB" \
        "C1bJZEVG574t2ZK8MlAE6x2sgsVgye9rYsKGngBOAAgACwAAABIAIP0VwRibFvajdX6/iHYhkHRkE18QJkkjFW0n" \
        "q675B/gpABAAICSuGhIBeH0VpRiYblZfNzOwoCDrWMolram2Uf/Nj5JG"
#define SRK                                                                                        \
        "gQAAAQAiAAtvNEVaFHWSMABQi6vqW2RGxdiVWs5GFBaL7CAoZ0mXJAAAAAEAWgAjAAsAAwRyAAAABgCAAEMAEAAD" \
        "ABAAIKFxbIEN0/+UTiiy5LkG3hO2StFCw+QEMIhlVUHkpek0ACD0t8W2U3kKHNLZKfqLgGsBOZjj3kKslqrsCZc2" \
        "gwEv7w=="
#define HASH "fd15c1189b16f6a3757ebf887621907464135f10264923156d27abaef907f829"

static const char base_text[] =
        "{\"type\":\"systemd-tpm2\",\"keyslots\":[\"1\"],\"tpm2-pcrs\":[],\"tpm2-pcr-bank\":"
        "\"sha256\","
        "\"tpm2-primary-alg\":\"ecc\",\"tpm2-pin\":false,\"tpm2_pubkey_pcrs\":[11],"
        "\"tpm2-policy-hash\":\"" HASH "\",\"tpm2-blob\":\"" BLOB "\"}";

/* A token of systemd 252. */
static struct json_object *base_token(void)
{
        _cleanup_(buf_done) struct buf key = BUF_INIT(4096);
        struct json_object *o;

        assert_int_equal(
                json_read_text(base_text, sizeof(base_text), LIMIT_TOKEN_JSON, "test", &o, NULL),
                0);
        assert_int_equal(base64_encode((const uint8_t *)pem, sizeof(pem) - 1, &key), 0);
        assert_int_equal(json_add_str(o, "tpm2_pubkey", buf_str(&key)), 0);
        return o;
}

/* Parses it with one field replaced, added (key new) or removed (value NULL). */
static int parse(const char *field, const char *value, struct token **ret, struct error *e)
{
        _cleanup_json_ struct json_object *o = base_token();
        const char *text;

        if (field && value)
                assert_int_equal(json_add_obj(o, field, json_tokener_parse(value)), 0);
        else if (field)
                json_object_object_del(o, field);
        text = json_object_to_json_string(o);
        return token_parse(text, strlen(text), ret, e);
}

static void test_252(void **state)
{
        _cleanup_(token_free_p) struct token *t = NULL;
        struct error e = ERROR_INIT;
        char hex[65];

        (void)state;
        assert_int_equal(parse(NULL, NULL, &t, &e), 0);
        assert_int_equal(t->keyslot, 1);
        assert_int_equal(t->literal_pcrs, 0);
        assert_int_equal(t->signed_pcrs, 1u << 11);
        assert_int_equal(t->blob_size, 240);
        assert_false(t->pin || t->persistent || t->rsa_primary || t->has_parent_name);
        assert_non_null(t->key);
        hex_encode(t->policy_hash, 32, hex);
        assert_string_equal(hex, HASH);
}

static void test_257(void **state)
{
        _cleanup_(token_free_p) struct token *t = NULL;
        char hex[2 * POLICY_NAME_SIZE + 1];

        (void)state;
        assert_int_equal(parse("tpm2_srk", "\"" SRK "\"", &t, NULL), 0);
        assert_true(t->persistent && t->has_parent_name);
        assert_int_equal(t->parent_handle, 0x81000001);
        hex_encode(t->parent_name, POLICY_NAME_SIZE, hex);
        assert_string_equal(hex,
                            "000b6f34455a1475923000508babea5b6446c5d8955ace4614168bec202867499724");
}

/* What may be absent or different and still is a good token. */
static void test_variants(void **state)
{
        static const struct {
                const char *field, *value;
        } good[] = {
                {"tpm2-pin", NULL},
                {"tpm2-pcr-bank", NULL},
                {"tpm2-primary-alg", NULL},
                {"tpm2-primary-alg", "\"rsa\""},
                {"tpm2_salt", "\"AAAA\""},
                {"tpm2-pin", "true"},
                {"tpm2-pcrs", "[7,0,23]"},
                {"keyslots", "[]"},
                {"tpm2_pubkey_ref", "\"\""},
                {"x-unknown", "{\"a\":[1,null]}"},
                {"tpm2-policy-hash",
                 "\"FD15C1189B16F6A3757EBF887621907464135F10264923156D27ABAEF907F829\""},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
                _cleanup_(token_free_p) struct token *t = NULL;

                assert_int_equal(parse(good[i].field, good[i].value, &t, NULL), 0);
                if (strcmp(good[i].field, "tpm2-pin") == 0)
                        assert_int_equal(t->pin, good[i].value != NULL);
                if (strcmp(good[i].field, "tpm2-pcrs") == 0)
                        assert_int_equal(t->literal_pcrs, 0x800081);
        }
}

static void test_refused(void **state)
{
        static const struct {
                const char *field, *value;
                int code;
        } bad[] = {
                {"type", NULL, EBADMSG},
                {"type", "\"systemd-recovery\"", ENOENT},
                {"keyslots", NULL, EBADMSG},
                {"keyslots", "\"1\"", EBADMSG},
                {"keyslots", "[1]", EBADMSG},
                {"keyslots", "[\"1\",\"2\"]", EBADMSG},
                {"keyslots", "[\"32\"]", EBADMSG},
                {"keyslots", "[\"-1\"]", EBADMSG},
                {"tpm2-pcrs", NULL, EBADMSG},
                {"tpm2-pcrs", "7", EBADMSG},
                {"tpm2-pcrs", "[24]", EBADMSG},
                {"tpm2-pcrs", "[-1]", EBADMSG},
                {"tpm2-pcrs", "[7.0]", EBADMSG},
                {"tpm2-pcrs", "[\"7\"]", EBADMSG},
                {"tpm2-pcrs", "[4294967303]", EBADMSG},
                {"tpm2-pcr-bank", "\"sha1\"", EOPNOTSUPP},
                {"tpm2-pcr-bank", "1", EBADMSG},
                {"tpm2-primary-alg", "\"rsa4096\"", EOPNOTSUPP},
                {"tpm2-primary-alg", "0", EBADMSG},
                {"tpm2-policy-hash", NULL, EBADMSG},
                {"tpm2-policy-hash", "\"fd15\"", EBADMSG},
                {"tpm2-policy-hash", "[\"" HASH "\",\"" HASH "\"]", EOPNOTSUPP},
                {"tpm2-blob", NULL, EBADMSG},
                {"tpm2-blob", "\"\"", EBADMSG},
                {"tpm2-blob", "\"!!!!\"", EBADMSG},
                {"tpm2-blob", "[\"" BLOB "\",\"" BLOB "\"]", EOPNOTSUPP},
                {"tpm2-pin", "1", EBADMSG},
                {"tpm2_argon2id_memcost", "67108864", EOPNOTSUPP},
                {"tpm2_pcrlock", "true", EOPNOTSUPP},
                {"tpm2_pubkey_ref", "\"initrd\"", EOPNOTSUPP},
                {"tpm2_pubkey_pcrs", "[]", EOPNOTSUPP}, /* bound to nothing */
                {"tpm2_pubkey", NULL, EBADMSG},
                {"tpm2_pubkey", "\"AAAA\"", EBADMSG},
                {"tpm2_srk", "\"gQAAAQAi\"", EBADMSG},
                {"tpm2_srk", "\"AQAAAQAi\"", EBADMSG},
                {"tb-parent-name", "\"00\"", EBADMSG},
                {"tb-parent-name", "1", EBADMSG},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
                struct token *t = NULL;
                struct error e = ERROR_INIT;
                int r = parse(bad[i].field, bad[i].value, &t, &e);

                if (r != -bad[i].code)
                        print_message("%s = %s: %d %s\n", bad[i].field, bad[i].value, r, e.text);
                assert_int_equal(r, -bad[i].code);
                assert_int_equal(e.class, ERROR_PRECONDITION);
                assert_null(t);
        }
}

/* A salt counts where there is a PIN, and has the size that systemd gives it. */
static void test_salt(void **state)
{
        static const struct {
                const char *salt;
                int r;
        } cases[] = {
                {"\"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\"", 0},
                {"\"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHg==\"", -EBADMSG},
                {"\"\"", -EBADMSG},
                {"1", -EBADMSG},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                _cleanup_json_ struct json_object *o = base_token();
                _cleanup_(token_free_p) struct token *t = NULL;
                const char *text;

                assert_int_equal(json_add_obj(o, "tpm2-pin", json_tokener_parse("true")), 0);
                assert_int_equal(json_add_obj(o, "tpm2_salt", json_tokener_parse(cases[i].salt)),
                                 0);
                text = json_object_to_json_string(o);
                assert_int_equal(token_parse(text, strlen(text), &t, NULL), cases[i].r);
                if (cases[i].r < 0)
                        continue;
                assert_true(t->pin && t->has_salt);
                assert_int_equal(t->salt[0], 0);
                assert_int_equal(t->salt[31], 31);
        }
}

/* One changed byte anywhere in the parent makes its name wrong, or the form. */
static void test_srk_bits(void **state)
{
        _cleanup_(buf_done) struct buf srk = BUF_INIT(1024);

        (void)state;
        assert_int_equal(base64_decode(SRK, strlen(SRK), &srk), 0);
        for (size_t i = 4; i < srk.len; i++) {
                _cleanup_(buf_done) struct buf text = BUF_INIT(1024);
                struct token *t = NULL;

                srk.data[i] ^= 0x40;
                assert_int_equal(buf_add_str(&text, "\""), 0);
                assert_int_equal(base64_encode(srk.data, srk.len, &text), 0);
                assert_int_equal(buf_add_str(&text, "\""), 0);
                assert_int_equal(parse("tpm2_srk", buf_str(&text), &t, NULL), -EBADMSG);
                assert_null(t);
                srk.data[i] ^= 0x40;
        }
}

static void test_text(void **state)
{
        static char big[LIMIT_TOKEN_JSON + 2];
        struct token *t = NULL;
        struct error e = ERROR_INIT;

        (void)state;
        memset(big, ' ', sizeof(big));
        assert_int_equal(token_parse(big, sizeof(big), &t, &e), -E2BIG);
        assert_int_equal(token_parse("", 0, &t, &e), -EBADMSG);
        assert_int_equal(token_parse("[]", 2, &t, &e), -EBADMSG);
        assert_int_equal(token_parse("{\"type\":", 8, &t, &e), -EBADMSG);
        assert_int_equal(e.class, ERROR_PRECONDITION);
        assert_null(t);
}

static void test_round_trip(void **state)
{
        _cleanup_(token_free_p) struct token *t = NULL, *again = NULL;
        _cleanup_(buf_done) struct buf text = BUF_INIT(LIMIT_TOKEN_JSON);
        struct error e = ERROR_INIT;

        (void)state;
        assert_int_equal(parse("tpm2-pcrs", "[7]", &t, &e), 0);
        t->has_parent_name = true;
        memset(t->parent_name, 0x5a, sizeof(t->parent_name));
        assert_int_equal(token_format(t, &text, &e), 0);
        assert_non_null(strstr(buf_str(&text), "\"tpm2-pcrs\":[7]"));
        assert_non_null(strstr(buf_str(&text), "\"tpm2_pubkey_pcrs\":[11]"));
        assert_non_null(strstr(buf_str(&text), "\"tpm2-pin\":false"));
        assert_non_null(strstr(buf_str(&text), "\"tpm2-blob\":\"" BLOB "\""));
        assert_null(strstr(buf_str(&text), "srk"));
        assert_int_equal(token_parse(buf_str(&text), text.len, &again, &e), 0);
        assert_int_equal(again->keyslot, t->keyslot);
        assert_int_equal(again->literal_pcrs, 1u << 7);
        assert_memory_equal(again->blob, t->blob, t->blob_size);
        assert_memory_equal(again->parent_name, t->parent_name, POLICY_NAME_SIZE);
        assert_memory_equal(policy_key_name(again->key), policy_key_name(t->key), POLICY_NAME_SIZE);

        buf_reset(&text);
        t->keyslot = TOKEN_NO_KEYSLOT;
        assert_int_equal(token_format(t, &text, &e), -EINVAL);
        t->keyslot = 0;
        t->has_salt = true;
        assert_int_equal(token_format(t, &text, &e), -EINVAL);
        assert_int_equal(text.len, 0);
        assert_int_equal(token_format_recovery(3, &text, &e), 0);
        assert_string_equal(buf_str(&text), "{\"type\":\"systemd-recovery\",\"keyslots\":[\"3\"]}");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_252),     cmocka_unit_test(test_salt),
                cmocka_unit_test(test_257),     cmocka_unit_test(test_variants),
                cmocka_unit_test(test_refused), cmocka_unit_test(test_srk_bits),
                cmocka_unit_test(test_text),    cmocka_unit_test(test_round_trip),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
