/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/volume.h"

#include <stdio.h>

#include "agent/pcr_choice.h"
#include "base/limits.h"
#include "partition/recovery_key.h"
#include "partition/seal.h"

#define ENCRYPTION_SECTOR_MIN 512u
#define ENCRYPTION_SECTOR_MAX 4096u

uint32_t volume_sector(uint64_t device_sector)
{
        if (device_sector <= ENCRYPTION_SECTOR_MIN)
                return ENCRYPTION_SECTOR_MIN;
        return device_sector < ENCRYPTION_SECTOR_MAX ? (uint32_t)device_sector
                                                     : ENCRYPTION_SECTOR_MAX;
}

static int enrol(struct tpm *tpm, const struct volume_wish *wish, struct luks *luks,
                 const struct secret *secret, struct volume_made *made, struct error *e)
{
        _cleanup_(token_free_p) struct token *token = NULL;
        _cleanup_(buf_done) struct buf json = BUF_INIT(LIMIT_TOKEN_JSON);
        int r = seal_create(tpm, wish->policy, secret, &token, e);

        if (r == 0)
                r = luks_add_keyslot(luks, NULL, made->passphrase, &made->keyslot, e);
        if (r < 0)
                return r;
        token->keyslot = made->keyslot;
        r = token_format(token, &json, e);
        if (r == 0)
                r = luks_set_token(luks, LUKS_ANY_TOKEN, buf_str(&json), NULL, e);
        if (r == 0 && wish->recovery_key)
                r = recovery_key_enrol(luks, NULL, wish->recovery_key, e);
        return r;
}

int volume_make(struct tpm *tpm, const struct volume_wish *wish, struct volume_made *ret,
                struct error *e)
{
        const struct luks_format_options options = {
                .label = wish->label,
                .sector_size = wish->sector,
                .allow_discards = wish->allow_discards,
        };
        _cleanup_(secret_free_p) struct secret *secret = secret_random(SEAL_SECRET_SIZE);
        _cleanup_(volume_made_done) struct volume_made made = {.keyslot = -1};
        _cleanup_(luks_free_p) struct luks *luks = NULL;
        int r;

        if (!secret)
                return error_errno(e, errno, "key material");
        made.passphrase = secret_base64(secret);
        if (!made.passphrase)
                return error_oom(e);
        r = luks_format(wish->path, &options, &luks, e);
        if (r < 0)
                return r;
        (void)snprintf(made.uuid, sizeof(made.uuid), "%s", luks_uuid(luks));
        r = enrol(tpm, wish, luks, secret, &made, e);
        if (r < 0)
                return r;
        *ret = made;
        made.passphrase = NULL;
        return 0;
}

void volume_made_done(struct volume_made *made)
{
        secret_free(made->passphrase);
        made->passphrase = NULL;
}

int volume_enrol(const struct volume_keys *keys, struct volume *v, struct error *e)
{
        const struct seal_policy policy = {
                .key = image_policy_key(keys->image),
                .signed_pcrs = PCR_CHOICE_SIGNED,
                .literal_pcrs = keys->literal_pcrs,
                .literal_values = keys->literal_values,
                .pin = keys->pin,
        };
        const struct volume_wish wish = {
                .path = v->device,
                .label = v->label,
                .sector = volume_sector(v->device_sector),
                .allow_discards = v->allow_discards,
                .policy = &policy,
                .recovery_key = keys->recovery_key,
        };

        return volume_make(keys->tpm, &wish, &v->made, e);
}

int volume_prove(const struct volume_keys *keys, const struct volume *v, struct error *e)
{
        const struct buf *sig = image_policy_signature(keys->image);
        _cleanup_(luks_free_p) struct luks *luks = NULL;
        _cleanup_(token_free_p) struct token *token = NULL;
        int r;

        r = luks_open(v->device, &luks, e);
        if (r == 0)
                r = luks_check_header(luks, v->label, e);
        if (r == 0)
                r = luks_get_token(luks, 0, &token, e);
        if (r == 0)
                r = seal_prove(keys->tpm, token, image_pcr11(keys->image), keys->literal_values,
                               sig->data, sig->len, e);
        if (r == 0 && keys->pin)
                r = seal_check_pin(keys->tpm, token, keys->pin, e);
        if (r == 0)
                r = luks_test_secret(luks, token->keyslot, v->made.passphrase, e);
        if (r == 0 && keys->recovery_key)
                r = recovery_key_find_slot(luks, keys->recovery_key, e);
        return r < 0 ? error_wrap(e, r, "proving the enrolment") : 0;
}

int volume_activate(const struct volume *v, const char *name, struct error *e)
{
        _cleanup_(luks_free_p) struct luks *luks = NULL;
        int r = luks_open(v->device, &luks, e);

        return r < 0 ? r : luks_activate(luks, name, v->made.keyslot, v->made.passphrase, NULL, e);
}

void volume_done(struct volume *v)
{
        volume_made_done(&v->made);
}
