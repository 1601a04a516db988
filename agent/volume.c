/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/volume.h"

#include "base/limits.h"
#include "partition/luks.h"
#include "partition/recovery_key.h"

#define SECTOR_MIN 512u
#define SECTOR_MAX 4096u

uint32_t volume_sector(const struct disk *d)
{
        if (d->sector_size <= SECTOR_MIN)
                return SECTOR_MIN;
        return d->sector_size < SECTOR_MAX ? (uint32_t)d->sector_size : SECTOR_MAX;
}

int volume_make(struct tpm *tpm, const struct volume_wish *wish, struct secret **ret_passphrase,
                int *ret_keyslot, struct error *e)
{
        const struct luks_format_options options = {
                .label = wish->label,
                .sector_size = wish->sector,
                .allow_discards = wish->allow_discards,
        };
        _cleanup_(secret_free_p) struct secret *secret = secret_random(SEAL_SECRET_SIZE),
                                               *passphrase = NULL;
        _cleanup_(luks_free_p) struct luks *luks = NULL;
        _cleanup_(token_free_p) struct token *token = NULL;
        _cleanup_(buf_done) struct buf json = BUF_INIT(LIMIT_TOKEN_JSON);
        int r;

        if (!secret)
                return error_errno(e, errno, "key material");
        passphrase = secret_base64(secret);
        if (!passphrase)
                return error_oom(e);
        r = luks_format(wish->path, &options, &luks, e);
        if (r == 0)
                r = seal_create(tpm, wish->policy, secret, &token, e);
        if (r == 0)
                r = luks_add_keyslot(luks, NULL, passphrase, ret_keyslot, e);
        if (r < 0)
                return r;
        token->keyslot = *ret_keyslot;
        r = token_format(token, &json, e);
        if (r == 0)
                r = luks_set_token(luks, LUKS_ANY_TOKEN, buf_str(&json), NULL, e);
        if (r == 0 && wish->recovery_key)
                r = recovery_key_enrol(luks, NULL, wish->recovery_key, e);
        if (r == 0)
                *ret_passphrase = TAKE_PTR(passphrase);
        return r;
}
