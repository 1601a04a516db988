/* SPDX-License-Identifier: Apache-2.0 */
#include "partition/token.h"

#include <string.h>

#include "base/codec.h"
#include "base/json.h"
#include "base/limits.h"
#include "base/num.h"

#define PCR_COUNT 24u
#define PARENT_NAME_FIELD "tb-parent-name"
/* Handles of persistent objects (TPM 2.0 part 2, section 7.2): 0x81000000 to 0x81ffffff. */
#define PERSISTENT_FIRST UINT32_C(0x81000000)
#define PERSISTENT_LAST UINT32_C(0x81ffffff)
/* Resource type "key" in a serialized handle of ESAPI. */
#define ESYS_RESOURCE_KEY 1u

struct token *token_new(void)
{
        struct token *t = calloc(1, sizeof(*t));

        if (t)
                t->keyslot = TOKEN_NO_KEYSLOT;
        return t;
}

void token_free(struct token *t)
{
        if (!t)
                return;
        policy_key_free(t->key);
        free(t->blob);
        free(t);
}

static int damaged(struct error *e, const char *field)
{
        int r = error_set(e, ERROR_PRECONDITION, EBADMSG, "TPM token: field \"%s\" is wrong",
                          field);

        error_advise(e, "Unlock with the recovery key and enrol again");
        return r;
}

static int unsupported(struct error *e, const char *what)
{
        int r = error_set(e, ERROR_PRECONDITION, EOPNOTSUPP, "TPM token: %s is not supported",
                          what);

        error_advise(e, "Unlock with the recovery key and enrol again");
        return r;
}

/* --- reading --- */

/* Base64 text of a field. -ENOENT when it is not there. */
static int get_bytes(struct json_object *o, const char *key, struct buf *out, struct error *e)
{
        const char *text;
        int r = json_get_str(o, key, &text);

        if (r == -ENOENT)
                return r;
        if (r < 0 || base64_decode(text, strlen(text), out) < 0 || out->len == 0)
                return damaged(e, key);
        return 0;
}

/* Array of PCR numbers as mask. -ENOENT when it is not there. */
static int get_mask(struct json_object *o, const char *key, uint32_t *ret, struct error *e)
{
        struct json_object *array;
        uint32_t mask = 0;
        int r = json_get_array(o, key, &array);

        if (r == -ENOENT)
                return r;
        if (r < 0 || json_object_array_length(array) > PCR_COUNT)
                return damaged(e, key);
        for (size_t i = 0; i < json_object_array_length(array); i++) {
                struct json_object *v = json_object_array_get_idx(array, i);
                int64_t pcr;

                if (!json_object_is_type(v, json_type_int))
                        return damaged(e, key);
                pcr = json_object_get_int64(v);
                if (pcr < 0 || pcr >= (int64_t)PCR_COUNT)
                        return damaged(e, key);
                mask |= 1u << pcr;
        }
        *ret = mask;
        return 0;
}

static int get_keyslot(struct json_object *o, int *ret, struct error *e)
{
        struct json_object *array, *v;
        uint64_t slot;

        if (json_get_array(o, "keyslots", &array) < 0 || json_object_array_length(array) > 1)
                return damaged(e, "keyslots");
        if (json_object_array_length(array) == 0) {
                *ret = TOKEN_NO_KEYSLOT;
                return 0;
        }
        v = json_object_array_get_idx(array, 0);
        if (!json_object_is_type(v, json_type_string) ||
            parse_u64_max(json_object_get_string(v), LIMIT_LUKS_KEYSLOTS - 1, &slot) < 0)
                return damaged(e, "keyslots");
        *ret = (int)slot;
        return 0;
}

static bool is_array(struct json_object *o, const char *key)
{
        struct json_object *array;

        return json_get_array(o, key, &array) == 0;
}

/* A boolean that may be absent. */
static int get_flag(struct json_object *o, const char *key, bool *ret, struct error *e)
{
        bool v = false;
        int r = json_get_bool(o, key, &v);

        if (r < 0 && r != -ENOENT)
                return damaged(e, key);
        *ret = r == 0 && v;
        return 0;
}

/* The forms that would be misread if they were taken for what they resemble. */
static int check_supported(struct json_object *o, struct error *e)
{
        const char *text;
        bool pcrlock;
        int r;

        if (is_array(o, "tpm2-blob") || is_array(o, "tpm2-policy-hash"))
                return unsupported(e, "a secret in several shards");
        r = get_flag(o, "tpm2_pcrlock", &pcrlock, e);
        if (r < 0)
                return r;
        if (pcrlock)
                return unsupported(e, "a pcrlock policy");
        r = json_get_str(o, "tpm2_pubkey_ref", &text);
        if (r == -EBADMSG)
                return damaged(e, "tpm2_pubkey_ref");
        if (r == 0 && text[0] != '\0')
                return unsupported(e, "a policy reference");
        if (json_object_object_get_ex(o, "tpm2_argon2id_memcost", NULL))
                return unsupported(e, "a PIN that is stretched by Argon2");
        r = json_get_str(o, "tpm2-pcr-bank", &text);
        if (r == -EBADMSG)
                return damaged(e, "tpm2-pcr-bank");
        if (r == 0 && strcmp(text, "sha256") != 0)
                return unsupported(e, "a PCR bank other than sha256");
        return 0;
}

static int get_primary(struct json_object *o, bool *ret_rsa, struct error *e)
{
        const char *text;
        int r = json_get_str(o, "tpm2-primary-alg", &text);

        *ret_rsa = false;
        if (r == -ENOENT)
                return 0;
        if (r < 0)
                return damaged(e, "tpm2-primary-alg");
        if (strcmp(text, "rsa") == 0)
                *ret_rsa = true;
        else if (strcmp(text, "ecc") != 0)
                return unsupported(e, "this primary key algorithm");
        return 0;
}

static uint32_t be16_at(const uint8_t *p)
{
        return (uint32_t)p[0] << 8 | p[1];
}

static uint32_t be32_at(const uint8_t *p)
{
        return be16_at(p) << 16 | be16_at(p + 2);
}

/*
 * Serialized ESAPI handle: handle, TPM2B_NAME, resource type, TPM2B_PUBLIC. The name must be that
 * of the public area, and then names the parent.
 */
static int take_parent(struct token *t, const struct buf *srk, struct error *e)
{
        const size_t fixed = 4 + 2 + POLICY_NAME_SIZE + 4 + 2;
        const uint8_t *p = srk->data;
        uint8_t hash[SHA256_SIZE];
        size_t n;

        if (srk->len < fixed || be16_at(p + 4) != POLICY_NAME_SIZE || be16_at(p + 6) != 0x000b)
                return damaged(e, "tpm2_srk");
        t->parent_handle = be32_at(p);
        n = be16_at(p + fixed - 2);
        if (be32_at(p + fixed - 6) != ESYS_RESOURCE_KEY || n != srk->len - fixed ||
            t->parent_handle < PERSISTENT_FIRST || t->parent_handle > PERSISTENT_LAST)
                return damaged(e, "tpm2_srk");
        memcpy(t->parent_name, p + 6, POLICY_NAME_SIZE);
        if (sha256(p + fixed, n, hash) < 0)
                return error_oom(e);
        if (memcmp(hash, t->parent_name + 2, SHA256_SIZE) != 0)
                return damaged(e, "tpm2_srk");
        t->persistent = true;
        t->has_parent_name = true;
        return 0;
}

static int get_parent(struct json_object *o, struct token *t, struct error *e)
{
        _cleanup_(buf_done) struct buf srk = BUF_INIT(LIMIT_TPM_BLOB);
        const char *text;
        int r;

        r = get_primary(o, &t->rsa_primary, e);
        if (r < 0)
                return r;
        r = get_bytes(o, "tpm2_srk", &srk, e);
        if (r == 0)
                return take_parent(t, &srk, e);
        if (r != -ENOENT)
                return r;
        r = json_get_str(o, PARENT_NAME_FIELD, &text);
        if (r == -ENOENT)
                return 0;
        if (r < 0 || hex_decode(text, t->parent_name, POLICY_NAME_SIZE) < 0)
                return damaged(e, PARENT_NAME_FIELD);
        t->has_parent_name = true;
        return 0;
}

/* The policy key; some versions store one that is bound to no PCR, and that one does not count. */
static int get_key(struct json_object *o, struct token *t, struct error *e)
{
        _cleanup_(buf_done) struct buf pem = BUF_INIT(LIMIT_PCRPKEY);
        int r;

        r = get_mask(o, "tpm2_pubkey_pcrs", &t->signed_pcrs, e);
        if (r < 0 && r != -ENOENT)
                return r;
        if (t->signed_pcrs == 0)
                return 0;
        r = get_bytes(o, "tpm2_pubkey", &pem, e);
        if (r < 0)
                return r == -ENOENT ? damaged(e, "tpm2_pubkey") : r;
        r = policy_key_from_pem(pem.data, pem.len, &t->key, e);
        if (r < 0) {
                /* There the key comes from an image; here it is the machine's state that is wrong.
                 */
                if (e && e->class == ERROR_REFUSED)
                        e->class = ERROR_PRECONDITION;
                return error_wrap(e, r, "TPM token");
        }
        return 0;
}

/* Of a PIN, from systemd 253 on. */
static int get_salt(struct json_object *o, struct token *t, struct error *e)
{
        _cleanup_(buf_done) struct buf salt = BUF_INIT(LIMIT_TPM_BLOB);
        int r = get_bytes(o, "tpm2_salt", &salt, e);

        if (r == -ENOENT)
                return 0;
        if (r < 0 || salt.len != PIN_SALT_SIZE)
                return r < 0 ? r : damaged(e, "tpm2_salt");
        memcpy(t->salt, salt.data, PIN_SALT_SIZE);
        t->has_salt = true;
        return 0;
}

static int get_blob(struct json_object *o, struct token *t, struct error *e)
{
        _cleanup_(buf_done) struct buf blob = BUF_INIT(LIMIT_TPM_BLOB);
        int r = get_bytes(o, "tpm2-blob", &blob, e);

        if (r < 0)
                return r == -ENOENT ? damaged(e, "tpm2-blob") : r;
        t->blob = TAKE_PTR(blob.data);
        t->blob_size = blob.len;
        return 0;
}

static int read_fields(struct json_object *o, struct token *t, struct error *e)
{
        const char *text;
        int r;

        r = check_supported(o, e);
        if (r >= 0)
                r = get_keyslot(o, &t->keyslot, e);
        if (r >= 0)
                r = get_mask(o, "tpm2-pcrs", &t->literal_pcrs, e);
        if (r == -ENOENT)
                return damaged(e, "tpm2-pcrs");
        if (r >= 0)
                r = get_key(o, t, e);
        if (r >= 0)
                r = get_parent(o, t, e);
        if (r >= 0)
                r = get_flag(o, "tpm2-pin", &t->pin, e);
        if (r >= 0 && t->pin)
                r = get_salt(o, t, e);
        if (r >= 0)
                r = get_blob(o, t, e);
        if (r < 0)
                return r;
        if (json_get_str(o, "tpm2-policy-hash", &text) < 0 ||
            hex_decode(text, t->policy_hash, SHA256_SIZE) < 0)
                return damaged(e, "tpm2-policy-hash");
        if (t->literal_pcrs == 0 && t->signed_pcrs == 0 && !t->pin)
                return unsupported(e, "a secret that is bound to nothing");
        return 0;
}

int token_parse(const char *text, size_t n, struct token **ret, struct error *e)
{
        _cleanup_(token_free_p) struct token *t = NULL;
        _cleanup_json_ struct json_object *o = NULL;
        const char *type;
        int r;

        r = json_read_text(text, n, LIMIT_TOKEN_JSON, "TPM token", &o, e);
        if (r < 0) {
                if (e && e->class == ERROR_REFUSED)
                        e->class = ERROR_PRECONDITION;
                return r;
        }
        if (json_get_str(o, "type", &type) < 0)
                return damaged(e, "type");
        if (strcmp(type, TOKEN_TYPE_TPM2) != 0)
                return error_set(e, ERROR_PRECONDITION, ENOENT, "token of type %.64s", type);
        t = token_new();
        if (!t)
                return error_oom(e);
        r = read_fields(o, t, e);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(t);
        return 0;
}

/* --- writing --- */

static int add_keyslot(struct json_object *o, int keyslot)
{
        struct json_object *array = json_object_new_array();
        char text[16];
        int r;

        r = json_add_obj(o, "keyslots", array);
        if (r < 0)
                return r;
        (void)snprintf(text, sizeof(text), "%d", keyslot);
        return json_append(array, json_object_new_string(text));
}

static int add_mask(struct json_object *o, const char *key, uint32_t mask)
{
        struct json_object *array = json_object_new_array();
        int r;

        r = json_add_obj(o, key, array);
        for (unsigned i = 0; r >= 0 && i < PCR_COUNT; i++)
                if (mask & 1u << i)
                        r = json_append(array, json_object_new_int((int)i));
        return r;
}

static int add_bytes(struct json_object *o, const char *key, const uint8_t *data, size_t n)
{
        _cleanup_(buf_done) struct buf text = BUF_INIT(LIMIT_TOKEN_JSON);
        int r = base64_encode(data, n, &text);

        return r < 0 ? r : json_add_str(o, key, buf_str(&text));
}

static int add_hex(struct json_object *o, const char *key, const uint8_t *data, size_t n)
{
        char text[2 * POLICY_NAME_SIZE + 1];

        if (n > POLICY_NAME_SIZE)
                return -EINVAL;
        hex_encode(data, n, text);
        return json_add_str(o, key, text);
}

static int fill(struct json_object *o, const struct token *t)
{
        int r;

        r = json_add_str(o, "type", TOKEN_TYPE_TPM2);
        if (r >= 0)
                r = add_keyslot(o, t->keyslot);
        if (r >= 0)
                r = add_bytes(o, "tpm2-blob", t->blob, t->blob_size);
        if (r >= 0)
                r = add_mask(o, "tpm2-pcrs", t->literal_pcrs);
        if (r >= 0)
                r = json_add_str(o, "tpm2-pcr-bank", "sha256");
        if (r >= 0)
                r = json_add_str(o, "tpm2-primary-alg", t->rsa_primary ? "rsa" : "ecc");
        if (r >= 0)
                r = add_hex(o, "tpm2-policy-hash", t->policy_hash, SHA256_SIZE);
        if (r >= 0)
                r = json_add_bool(o, "tpm2-pin", t->pin);
        if (r >= 0 && t->key) {
                size_t n;
                const uint8_t *pem = policy_key_pem(t->key, &n);

                r = add_mask(o, "tpm2_pubkey_pcrs", t->signed_pcrs);
                if (r >= 0)
                        r = add_bytes(o, "tpm2_pubkey", pem, n);
        }
        if (r >= 0 && t->has_parent_name)
                r = add_hex(o, PARENT_NAME_FIELD, t->parent_name, POLICY_NAME_SIZE);
        return r;
}

static int add_text(struct json_object *o, struct buf *out, struct error *e)
{
        const char *text = json_object_to_json_string_ext(
                o, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);

        return !text || buf_add_str(out, text) < 0 ? error_oom(e) : 0;
}

int token_format(const struct token *t, struct buf *out, struct error *e)
{
        _cleanup_json_ struct json_object *o = NULL;

        if (t->has_salt || t->persistent || !t->blob || t->keyslot < 0 ||
            t->keyslot >= LIMIT_LUKS_KEYSLOTS || (t->signed_pcrs != 0) != (t->key != NULL))
                return error_set(e, ERROR_INTERNAL, EINVAL, "not a token of the portable form");
        o = json_object_new_object();
        if (!o || fill(o, t) < 0)
                return error_oom(e);
        return add_text(o, out, e);
}

int token_format_recovery(int keyslot, struct buf *out, struct error *e)
{
        _cleanup_json_ struct json_object *o = json_object_new_object();

        if (!o || json_add_str(o, "type", TOKEN_TYPE_RECOVERY) < 0 || add_keyslot(o, keyslot) < 0)
                return error_oom(e);
        return add_text(o, out, e);
}

int token_id(const struct token *t, char ret[TOKEN_ID_SIZE])
{
        uint8_t hash[SHA256_SIZE];
        int r = sha256(t->blob, t->blob_size, hash);

        if (r == 0)
                hex_encode(hash, (TOKEN_ID_SIZE - 1) / 2, ret);
        return r;
}
