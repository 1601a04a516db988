/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/boot.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/limits.h"
#include "base/log.h"
#include "partition/luks.h"
#include "partition/seal.h"
#include "upgrade/pcrsig.h"

/* What is known of one partition while it is being unlocked. */
struct attempt {
        struct boot *boot;
        const char *dm_name;
        char *device;
        struct luks *luks;
        struct pcrsig *signatures;
        char with[TOKEN_ID_SIZE]; /* the token that opened it; "" = none */
        uint64_t tpm_ms, activate_ms;
};

static void attempt_done(struct attempt *a)
{
        free(a->device);
        luks_free(a->luks);
        pcrsig_free(a->signatures);
}

/* systemd-stub unpacks the image's .pcrsig here. */
static int load_signatures(struct attempt *a, struct error *e)
{
        _cleanup_(buf_done) struct buf text = BUF_INIT(LIMIT_PCRSIG);
        _cleanup_free_ char *path = NULL;
        int r;

        if (asprintf(&path, "%s/tpm2-pcr-signature.json", a->boot->env->extra) < 0) {
                path = NULL;
                return error_oom(e);
        }
        r = file_read(AT_FDCWD, path, &text);
        if (r < 0) {
                error_set(e, ERROR_PRECONDITION, -r, "the image brings no PCR signature (%s)",
                          path);
                error_advise(e, "start an image that was built with a policy key");
                return r;
        }
        return pcrsig_parse(text.data, text.len, &a->signatures, e);
}

/* seal_find_signature_fn: tells "signed, but not for this state" from "never signed by this key".
 */
static int find_signature(void *ctx, const uint8_t pkfp[SHA256_SIZE],
                          const uint8_t pol[SHA256_SIZE], struct buf *sig)
{
        const struct attempt *a = ctx;
        const struct pcrsig_entry *entry = pcrsig_find(a->signatures, PCRSIG_MASK_PCR11, pkfp, pol);

        if (entry)
                return buf_add(sig, entry->sig.data, entry->sig.len);
        for (unsigned i = 0; (entry = pcrsig_at(a->signatures, i)); i++) {
                if (memcmp(entry->pkfp, pkfp, SHA256_SIZE) == 0)
                        return -ENOENT;
        }
        return -ENOKEY;
}

/* The volume key goes into PCR 15, so that later checks can tell which volumes this boot has open.
 */
static int measure_key(struct attempt *a, const struct secret *volume_key, struct error *e)
{
        return tpm_measure_volume_key(a->boot->tpm, a->dm_name, luks_uuid(a->luks), volume_key, e);
}

/* Asks for a PIN as long as that is what is missing. */
static int unseal(struct attempt *a, const struct token *token, struct secret **ret,
                  struct error *e)
{
        struct boot *b = a->boot;
        int r;

        for (;;) {
                uint64_t start = boot_report_now();

                r = seal_open(b->tpm, token, b->pin.text, find_signature, a, ret, e);
                a->tpm_ms += boot_report_now() - start;
                if (r != -ENOANO && r != -EILSEQ)
                        break;
                r = boot_pin_ask(b, r == -EILSEQ ? e->text : NULL, e);
                if (r < 0)
                        return r;
                error_clear(e);
        }
        if (r == -ENOLCK && token->pin)
                b->pin.given_up = true; /* no image could do better */
        if (r == 0 && token->pin)
                boot_pin_accepted(b);
        return r;
}

int boot_unseal(struct boot *b, const struct token *token, struct secret **ret, struct error *e)
{
        _cleanup_(attempt_done) struct attempt a = {.boot = b};
        _cleanup_(secret_free_p) struct secret *secret = NULL;
        int r = load_signatures(&a, e);

        if (r == 0)
                r = unseal(&a, token, &secret, e);
        if (r < 0)
                return r;
        *ret = secret_base64(secret);
        return *ret ? 0 : error_oom(e);
}

static int open_with(struct attempt *a, const struct token *token, struct error *e)
{
        _cleanup_(secret_free_p) struct secret *secret = NULL, *passphrase = NULL,
                                               *volume_key = NULL;
        int r = unseal(a, token, &secret, e);
        uint64_t start;

        if (r < 0)
                return r;
        passphrase = secret_base64(secret);
        if (!passphrase)
                return error_oom(e);
        start = boot_report_now();
        r = luks_activate(a->luks, a->dm_name, token->keyslot, passphrase, &volume_key, e);
        a->activate_ms += boot_report_now() - start;
        if (r < 0)
                return r;
        r = measure_key(a, volume_key, e);
        if (r < 0) {
                /* Open, but not on record: then it must not stay open. */
                if (luks_deactivate(a->dm_name, NULL) < 0)
                        log_error("%s cannot be closed again", a->dm_name);
                return r;
        }
        boot_pair_take(a->boot, a->dm_name, volume_key);
        return 0;
}

/* *r stays as it is when the token is not one to be tried now. */
static void try_token(struct attempt *a, int id, bool pin, int *r, struct error *e)
{
        _cleanup_(token_free_p) struct token *token = NULL;
        struct error error = ERROR_INIT;
        int got = luks_get_token(a->luks, id, &token, &error);

        if (got == -ENOENT) /* no token, or a recovery key's */
                return;
        if ((got == 0 && token->pin) != pin)
                return;
        if (got == 0)
                got = open_with(a, token, &error);
        *r = got;
        if (got == 0) {
                if (token_id(token, a->with) < 0)
                        a->with[0] = '\0';
                error_clear(e); /* of tokens that did not open it */
                return;
        }
        log_warning("%s: token %d: %s", a->device, id, error.text);
        *e = error;
}

/*
 * Every token gets its chance; nobody is asked for a PIN while another one may do. The error that
 * is kept is the one of the token that was tried last: with one token it is the reason, with
 * several the log has the others.
 */
static int try_tokens(struct attempt *a, struct error *e)
{
        int r = error_set(e, ERROR_PRECONDITION, ENOKEY, "no token for a TPM");

        for (int id = 0; id < LIMIT_LUKS_TOKENS && r < 0; id++)
                try_token(a, id, false, &r, e);
        for (int id = 0; id < LIMIT_LUKS_TOKENS && r < 0; id++)
                try_token(a, id, true, &r, e);
        return r;
}

static int unlock(struct attempt *a, const struct data_volume *v, struct error *e)
{
        uint64_t start = boot_report_now();
        int r = data_open_header(a->boot->node, v, &a->device, &a->luks, e);

        boot_report_cost(a->boot->report, BOOT_COST_DISK, boot_report_now() - start);
        if (r < 0)
                return r;
        r = load_signatures(a, e);
        return r < 0 ? r : try_tokens(a, e);
}

int boot_unlock(struct boot *b, const struct data_volume *v, struct error *e)
{
        _cleanup_(attempt_done) struct attempt a = {.boot = b, .dm_name = v->mapping};
        int r = unlock(&a, v, e);
        bool users = !v->label;

        if (r == -EMEDIUMTYPE && users) {
                error_clear(e);
                return 0; /* a plain partition of the user's */
        }
        boot_report_cost(b->report, BOOT_COST_DISK, a.activate_ms);
        if (r < 0)
                (void)error_wrap(e, r, "%s", v->partition->name);
        boot_report_partition(
                b->report, &(struct boot_report_volume){.name = v->partition->name,
                                                        .device = a.device,
                                                        .uuid = a.luks ? luks_uuid(a.luks) : NULL,
                                                        .encrypted = a.luks != NULL,
                                                        .tpm_ms = a.tpm_ms,
                                                        .activate_ms = a.activate_ms,
                                                        .unlocked_by = r == 0 ? "tpm2" : NULL,
                                                        .unlocked_with = *a.with ? a.with : NULL,
                                                        .error = r < 0 ? e->text : NULL});
        return r;
}
