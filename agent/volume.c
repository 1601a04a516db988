/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/volume.h"

#include <stdio.h>

#include "base/limits.h"
#include "partition/recovery_key.h"
#include "partition/seal.h"

#define ENCRYPTION_SECTOR_MIN 512u
#define ENCRYPTION_SECTOR_MAX 4096u

static int seal_to_image(const struct volume_keys *keys, const struct secret *secret,
                         struct token **ret, struct error *e)
{
        const struct seal_policy policy = {
                .key = image_policy_key(keys->image),
                .signed_pcrs = VOLUME_SIGNED_PCRS,
                .literal_pcrs = keys->literal_pcrs,
                .literal_values = keys->literal_values,
                .pin = keys->pin,
        };

        return seal_create(keys->tpm, &policy, secret, ret, e);
}

/* The device's own sectors: what it writes as one is encrypted as one, and a volume looks to what
 * is above it like the disk below. */
static uint32_t encryption_sector(uint64_t device_sector)
{
        if (device_sector <= ENCRYPTION_SECTOR_MIN)
                return ENCRYPTION_SECTOR_MIN;
        return device_sector < ENCRYPTION_SECTOR_MAX ? (uint32_t)device_sector
                                                     : ENCRYPTION_SECTOR_MAX;
}

int volume_enrol(const struct volume_keys *keys, struct volume *v, struct error *e)
{
        const struct luks_format_options options = {
                .label = v->label,
                .sector_size = encryption_sector(v->device_sector),
                .allow_discards = v->allow_discards,
        };
        _cleanup_(secret_free_p) struct secret *secret = secret_random(SEAL_SECRET_SIZE);
        _cleanup_(luks_free_p) struct luks *luks = NULL;
        _cleanup_(token_free_p) struct token *token = NULL;
        _cleanup_(buf_done) struct buf json = BUF_INIT(LIMIT_TOKEN_JSON);
        int r;

        if (!secret)
                return error_errno(e, errno, "key material");
        v->passphrase = secret_base64(secret);
        if (!v->passphrase)
                return error_oom(e);
        r = luks_format(v->device, &options, &luks, e);
        if (r < 0)
                return r;
        (void)snprintf(v->uuid, sizeof(v->uuid), "%s", luks_uuid(luks));
        r = seal_to_image(keys, secret, &token, e);
        if (r == 0)
                r = luks_add_keyslot(luks, NULL, v->passphrase, &v->keyslot, e);
        if (r < 0)
                return r;
        token->keyslot = v->keyslot;
        r = token_format(token, &json, e);
        if (r == 0)
                r = luks_set_token(luks, LUKS_ANY_TOKEN, buf_str(&json), NULL, e);
        if (r == 0 && keys->recovery_key)
                r = recovery_key_enrol(luks, NULL, keys->recovery_key, e);
        return r;
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
        if (r == 0)
                r = luks_test_secret(luks, token->keyslot, v->passphrase, e);
        if (r == 0 && keys->recovery_key)
                r = recovery_key_find_slot(luks, keys->recovery_key, e);
        return r < 0 ? error_wrap(e, r, "proving the enrolment") : 0;
}

int volume_activate(const struct volume *v, const char *name, struct error *e)
{
        _cleanup_(luks_free_p) struct luks *luks = NULL;
        int r = luks_open(v->device, &luks, e);

        return r < 0 ? r : luks_activate(luks, name, v->keyslot, v->passphrase, NULL, e);
}

void volume_done(struct volume *v)
{
        secret_free(v->passphrase);
        v->passphrase = NULL;
}
