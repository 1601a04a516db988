/* SPDX-License-Identifier: Apache-2.0 */
#include "partition/luks.h"

#include <libcryptsetup.h>
#include <string.h>

#include "base/limits.h"
#include "base/log.h"

#define SECTOR 512u

struct luks {
        struct crypt_device *cd;
        char message[256]; /* last error line of libcryptsetup */
};

/* libcryptsetup prints its own errors: they belong into our error text, not on the console. */
static void take_message(int level, const char *text, void *ctx)
{
        struct luks *l = ctx;
        size_t n = strcspn(text, "\n");

        log_debug("cryptsetup: %.*s", (int)n, text);
        if (level == CRYPT_LOG_ERROR && l)
                (void)snprintf(l->message, sizeof(l->message), "%.*s", (int)n, text);
}

static int luks_error(const struct luks *l, int r, const char *what, struct error *e)
{
        int code = r < 0 ? -r : EIO;

        if (l->message[0] == '\0')
                return error_errno(e, code, "%s", what);
        (void)error_errno(e, code, "%s", what);
        return error_set(e, e ? e->class : ERROR_IO, code, "%s: %s", what, l->message);
}

static int luks_new(const char *path, struct luks **ret, struct error *e)
{
        _cleanup_(luks_free_p) struct luks *l = calloc(1, sizeof(*l));
        int r;

        if (!l)
                return error_oom(e);
        /* No code from plug-in folders runs here: tokens are our own business. */
        crypt_token_external_disable();
        /* Until the handle exists, messages go to the global callback. */
        crypt_set_log_callback(NULL, take_message, NULL);
        if (access(path, F_OK) < 0)
                return error_errno(e, errno, "cannot open %s", path);
        r = crypt_init(&l->cd, path);
        if (r < 0) {
                l->cd = NULL;
                return error_errno(e, -r, "cannot open %s", path);
        }
        crypt_set_log_callback(l->cd, take_message, l);
        crypt_set_rng_type(l->cd, CRYPT_RNG_URANDOM);
        *ret = TAKE_PTR(l);
        return 0;
}

void luks_free(struct luks *l)
{
        if (!l)
                return;
        crypt_free(l->cd);
        free(l);
}

static const struct crypt_pbkdf_type *full_entropy_pbkdf(void)
{
        static const struct crypt_pbkdf_type pbkdf = {
                .type = CRYPT_KDF_PBKDF2,
                .hash = "sha512",
                .iterations = LUKS_PBKDF2_ITERATIONS,
                .flags = CRYPT_PBKDF_NO_BENCHMARK,
        };

        return &pbkdf;
}

int luks_format(const char *path, const struct luks_format_options *options, struct luks **ret,
                struct error *e)
{
        _cleanup_(luks_free_p) struct luks *l = NULL;
        _cleanup_(secret_free_p) struct secret *volume_key = NULL;
        struct crypt_params_luks2 params = {
                .pbkdf = full_entropy_pbkdf(),
                .sector_size = options->sector_size,
                .label = options->label,
        };
        int r;

        r = luks_new(path, &l, e);
        if (r < 0)
                return r;
        volume_key = secret_random(LUKS_VOLUME_KEY_SIZE);
        if (!volume_key)
                return error_oom(e);
        r = crypt_set_data_offset(l->cd, LUKS_HEADER_SIZE / SECTOR);
        if (r >= 0)
                r = crypt_format(l->cd, CRYPT_LUKS2, "aes", "xts-plain64", NULL,
                                 (const char *)volume_key->data, volume_key->len, &params);
        if (r >= 0 && options->allow_discards)
                r = crypt_persistent_flags_set(l->cd, CRYPT_FLAGS_ACTIVATION,
                                               CRYPT_ACTIVATE_ALLOW_DISCARDS);
        if (r < 0) {
                r = luks_error(l, r, "cannot format a LUKS2 volume", e);
                return error_wrap(e, r, "%s", path);
        }
        *ret = TAKE_PTR(l);
        return 0;
}

int luks_open(const char *path, struct luks **ret, struct error *e)
{
        _cleanup_(luks_free_p) struct luks *l = NULL;
        int r;

        r = luks_new(path, &l, e);
        if (r < 0)
                return r;
        r = crypt_load(l->cd, CRYPT_LUKS2, NULL);
        if (r == -EINVAL) {
                r = error_set(e, ERROR_PRECONDITION, EMEDIUMTYPE, "%s is not a LUKS2 volume", path);
                error_advise(e, "The partition must be encrypted by an installation; nothing was "
                                "changed on it");
                return r;
        }
        if (r < 0) {
                r = luks_error(l, r, "cannot read the LUKS2 header", e);
                return error_wrap(e, r, "%s", path);
        }
        *ret = TAKE_PTR(l);
        return 0;
}

const char *luks_uuid(const struct luks *l)
{
        const char *uuid = crypt_get_uuid(l->cd);

        return uuid ? uuid : "";
}

const char *luks_label(const struct luks *l)
{
        const char *label = crypt_get_label(l->cd);

        return label ? label : "";
}

uint64_t luks_data_offset(const struct luks *l)
{
        return crypt_get_data_offset(l->cd) * SECTOR;
}

bool luks_allows_discards(const struct luks *l)
{
        uint32_t flags = 0;

        return crypt_persistent_flags_get(l->cd, CRYPT_FLAGS_ACTIVATION, &flags) == 0 &&
               (flags & CRYPT_ACTIVATE_ALLOW_DISCARDS) != 0;
}

int luks_set_label(struct luks *l, const char *label, struct error *e)
{
        int r = crypt_set_label(l->cd, label, NULL);

        return r < 0 ? luks_error(l, r, "cannot set the label", e) : 0;
}

int luks_add_keyslot(struct luks *l, const struct secret *volume_key,
                     const struct secret *passphrase, int *ret_keyslot, struct error *e)
{
        int r;

        r = crypt_set_pbkdf_type(l->cd, full_entropy_pbkdf());
        if (r >= 0)
                r = crypt_keyslot_add_by_volume_key(
                        l->cd, CRYPT_ANY_SLOT, volume_key ? (const char *)volume_key->data : NULL,
                        volume_key ? volume_key->len : 0, (const char *)passphrase->data,
                        passphrase->len);
        if (r < 0)
                return luks_error(l, r, "cannot add a key slot", e);
        *ret_keyslot = r;
        return 0;
}

int luks_remove_keyslot(struct luks *l, int keyslot, struct error *e)
{
        crypt_keyslot_info info = crypt_keyslot_status(l->cd, keyslot);
        int r;

        if (info == CRYPT_SLOT_INVALID || info == CRYPT_SLOT_INACTIVE)
                return error_set(e, ERROR_PRECONDITION, ENOENT, "key slot %d is empty", keyslot);
        r = crypt_keyslot_destroy(l->cd, keyslot);
        return r < 0 ? luks_error(l, r, "cannot remove a key slot", e) : 0;
}

int luks_set_token(struct luks *l, int token, const char *json, int *ret_token, struct error *e)
{
        int r = crypt_token_json_set(l->cd, token == LUKS_ANY_TOKEN ? CRYPT_ANY_TOKEN : token,
                                     json);

        if (r < 0)
                return luks_error(l, r, "cannot write a token", e);
        if (ret_token)
                *ret_token = r;
        return 0;
}

int luks_remove_token(struct luks *l, int token, struct error *e)
{
        int r;

        if (!luks_token_json(l, token))
                return error_set(e, ERROR_PRECONDITION, ENOENT, "there is no token %d", token);
        r = crypt_token_json_set(l->cd, token, NULL);
        return r < 0 ? luks_error(l, r, "cannot remove a token", e) : 0;
}

const char *luks_token_json(const struct luks *l, int token)
{
        const char *json = NULL;

        if (token < 0 || token >= LIMIT_LUKS_TOKENS ||
            crypt_token_json_get(l->cd, token, &json) < 0)
                return NULL;
        return json;
}

int luks_get_token(const struct luks *l, int token, struct token **ret, struct error *e)
{
        const char *json = luks_token_json(l, token);

        if (!json)
                return error_set(e, ERROR_PRECONDITION, ENOENT, "there is no token %d", token);
        return token_parse(json, strlen(json), ret, e);
}

uint32_t luks_unnamed_keyslots(const struct luks *l)
{
        uint32_t unnamed = 0;

        for (int slot = 0; slot < LIMIT_LUKS_KEYSLOTS; slot++) {
                crypt_keyslot_info info = crypt_keyslot_status(l->cd, slot);
                bool named = info == CRYPT_SLOT_INVALID || info == CRYPT_SLOT_INACTIVE;

                for (int token = 0; token < LIMIT_LUKS_TOKENS && !named; token++)
                        named = crypt_token_is_assigned(l->cd, token, slot) == 0;
                if (!named)
                        unnamed |= UINT32_C(1) << slot;
        }
        return unnamed;
}

int luks_check_header(const struct luks *l, const char *label, struct error *e)
{
        const char *json = NULL;
        int r;

        if (strcmp(luks_label(l), label) != 0)
                return error_set(e, ERROR_PRECONDITION, EBADMSG,
                                 "LUKS2 header: label is \"%s\", expected is \"%s\"", luks_label(l),
                                 label);
        r = crypt_dump_json(l->cd, &json, 0);
        if (r < 0 || !json)
                return luks_error(l, r, "cannot read the LUKS2 metadata", e);
        return luks_check_metadata(json, strlen(json), e);
}

int luks_test_secret(const struct luks *l, int keyslot, const struct secret *passphrase,
                     struct error *e)
{
        _cleanup_(secret_free_p) struct secret *volume_key = NULL;

        return luks_get_volume_key(l, keyslot, passphrase, &volume_key, e);
}

int luks_get_volume_key(const struct luks *l, int keyslot, const struct secret *passphrase,
                        struct secret **ret, struct error *e)
{
        _cleanup_(secret_free_p) struct secret *key = secret_new(LUKS_VOLUME_KEY_SIZE);
        crypt_keyslot_info info = crypt_keyslot_status(l->cd, keyslot);
        size_t n;
        int r;

        if (!key)
                return error_oom(e);
        n = key->len;
        r = crypt_volume_key_get(l->cd, keyslot, (char *)key->data, &n,
                                 (const char *)passphrase->data, passphrase->len);
        if (r == -EPERM || info == CRYPT_SLOT_INVALID || info == CRYPT_SLOT_INACTIVE) {
                r = error_set(e, ERROR_PRECONDITION, EACCES, "the secret does not open key slot %d",
                              keyslot);
                error_advise(e, "Unlock with the recovery key and enrol again");
                return r;
        }
        if (r < 0)
                return luks_error(l, r, "cannot open a key slot", e);
        key->len = n;
        *ret = TAKE_PTR(key);
        return 0;
}

int luks_activate(struct luks *l, const char *name, int keyslot, const struct secret *passphrase,
                  struct secret **ret_volume_key, struct error *e)
{
        _cleanup_(secret_free_p) struct secret *key = NULL;
        int r;

        r = luks_get_volume_key(l, keyslot, passphrase, &key, e);
        if (r < 0)
                return r;
        /* The flags that the header keeps are added by the library. */
        r = crypt_activate_by_volume_key(l->cd, name, (const char *)key->data, key->len, 0);
        if (r < 0) {
                r = luks_error(l, r, "cannot activate the volume", e);
                return error_wrap(e, r, "%s", name);
        }
        if (ret_volume_key)
                *ret_volume_key = TAKE_PTR(key);
        return 0;
}

int luks_set_data_device(struct luks *l, const char *path, struct error *e)
{
        int r = crypt_set_data_device(l->cd, path);

        if (r < 0) {
                r = luks_error(l, r, "cannot use the device", e);
                return error_wrap(e, r, "%s", path);
        }
        return 0;
}

int luks_deactivate(const char *name, struct error *e)
{
        int r;

        crypt_set_log_callback(NULL, take_message, NULL);
        r = crypt_deactivate(NULL, name);

        return r < 0 ? error_errno(e, -r, "cannot deactivate %s", name) : 0;
}
