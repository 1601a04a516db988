/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/enroll.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "agent/console.h"
#include "agent/key_input.h"
#include "base/codec.h"
#include "base/file.h"
#include "base/limits.h"
#include "base/log.h"
#include "partition/recovery_key.h"

void enroll_init(struct enroll *n, const struct env *env, const struct enroll_options *options)
{
        *n = (struct enroll){.env = env,
                             .options = options,
                             .esp = {.fd = -EBADF},
                             .escrow = INSTALL_ESCROW_INIT};
}

void enroll_done(struct enroll *n)
{
        for (unsigned i = 0; i < ARRAY_SIZE(n->volume_key); i++)
                secret_free(n->volume_key[i]);
        install_escrow_done(&n->escrow);
        ways_done(&n->ways);
        starters_done(&n->starters);
        keychange_done(&n->keys);
        tpm_free(n->tpm);
        /* Nothing was written there. */
        if (n->esp.node && node_esp_close(n->env, &n->esp, 0, NULL) < 0)
                log_warning("the EFI system partition is still mounted");
}

void enroll_note(struct enroll *n, const struct ways_volume *v, bool added, const char *fmt, ...)
{
        struct enroll_change *c = &n->change[n->n_changes];
        va_list args;

        if (n->n_changes == ENROLL_CHANGES_MAX)
                return;
        c->volume = v->volume->partition->name;
        c->added = added;
        va_start(args, fmt);
        (void)vsnprintf(c->what, sizeof(c->what), fmt, args);
        va_end(args);
        n->n_changes++;
}

void enroll_warn(struct enroll *n, const char *fmt, ...)
{
        va_list args;

        if (n->n_warnings == ENROLL_WARNINGS_MAX)
                return;
        va_start(args, fmt);
        (void)vsnprintf(n->warning[n->n_warnings], sizeof(n->warning[0]), fmt, args);
        va_end(args);
        log_warning("%s", n->warning[n->n_warnings]);
        n->n_warnings++;
}

/* --- what is there --------------------------------------------------------------------------- */

static int look_at_images(struct enroll *n, struct error *e)
{
        int r = keychange_read(n->env, n->options->next.item, n->options->next.n, &n->keys, e);

        return r < 0 ? r : starters_read(n->env, &n->esp.esp, n->tpm, &n->keys, &n->starters, e);
}

int enroll_read_ways(struct enroll *n, struct error *e)
{
        ways_done(&n->ways);
        return ways_read(n->env, n->esp.node, n->tpm, n->tpm ? &n->starters : NULL, &n->ways, e);
}

int enroll_open(struct enroll *n, bool with_tpm, struct error *e)
{
        int r = node_esp_open(n->env, false, &n->esp, e);

        if (r < 0)
                return r;
        r = tpm_open(n->env->tcti, &n->tpm, &n->tpm_error);
        if (r == 0)
                r = tpm_try_storage_key(n->tpm, &n->tpm_error);
        if (r < 0 && with_tpm) {
                *e = n->tpm_error;
                return r;
        }
        if (r < 0) {
                enroll_warn(n, "%.240s", n->tpm_error.text);
                tpm_free(n->tpm);
                n->tpm = NULL;
        }
        r = n->tpm ? look_at_images(n, e) : 0;
        return r < 0 ? r : enroll_read_ways(n, e);
}

/* --- policy keys ----------------------------------------------------------------------------- */

bool enroll_same_key(const struct policy_key *a, const struct policy_key *b)
{
        return memcmp(policy_key_fingerprint(a), policy_key_fingerprint(b), SHA256_SIZE) == 0;
}

static const struct policy_key *find_key(const struct enroll *n, const uint8_t fp[SHA256_SIZE])
{
        for (unsigned i = 0; i < n->starters.n; i++) {
                const struct verified_image *image = n->starters.item[i].image;

                if (image &&
                    memcmp(policy_key_fingerprint(image_policy_key(image)), fp, SHA256_SIZE) == 0)
                        return image_policy_key(image);
        }
        for (unsigned k = 0; k < n->ways.n; k++) {
                for (unsigned i = 0; i < n->ways.volume[k].n; i++) {
                        const struct token *t = n->ways.volume[k].way[i].token;

                        if (t && t->key &&
                            memcmp(policy_key_fingerprint(t->key), fp, SHA256_SIZE) == 0)
                                return t->key;
                }
        }
        return NULL;
}

static int read_key_file(const char *path, struct policy_key **ret, struct error *e)
{
        _cleanup_(buf_done) struct buf pem = BUF_INIT(LIMIT_PCRPKEY);
        int r = file_read(AT_FDCWD, path, &pem);

        if (r < 0)
                return error_set(e, ERROR_CONFIG, -r, "%s: %s", path, file_strerror(r));
        r = policy_key_from_pem(pem.data, pem.len, ret, e);
        if (r < 0 && e && e->class == ERROR_REFUSED)
                e->class = ERROR_CONFIG;
        return r < 0 ? error_wrap(e, r, "%s", path) : 0;
}

int enroll_read_policy_key(const struct enroll *n, struct policy_key **ret, struct error *e)
{
        const char *named = n->options->policy_key;
        const struct policy_key *key;
        uint8_t fp[SHA256_SIZE];
        const uint8_t *pem;
        size_t size;

        if (strlen(named) != SHA256_HEX_SIZE - 1 || hex_decode(named, fp, sizeof(fp)) < 0)
                return read_key_file(named, ret, e);
        key = find_key(n, fp);
        if (!key)
                return error_set(e, ERROR_USAGE, ENOKEY,
                                 "no image and no token of this node has the policy key %s", named);
        pem = policy_key_pem(key, &size);
        return policy_key_from_pem(pem, size, ret, e);
}

/* --- the right to change --------------------------------------------------------------------- */

static void forget_keys(struct enroll *n)
{
        for (unsigned i = 0; i < ARRAY_SIZE(n->volume_key); i++) {
                secret_free(n->volume_key[i]);
                n->volume_key[i] = NULL;
        }
}

/* console_attempt_fn */
static int take_key(void *ctx, const struct secret *key, struct error *e)
{
        struct enroll *n = ctx;

        forget_keys(n);
        for (unsigned i = 0; i < n->ways.n; i++) {
                struct ways_volume *v = &n->ways.volume[i];
                struct error error = ERROR_INIT;
                int r = recovery_key_find_slot(v->luks, key, &error);

                if (r >= 0)
                        r = luks_get_volume_key(v->luks, r, key, &n->volume_key[i], &error);
                if (r >= 0 || !v->volume->label)
                        continue;
                forget_keys(n);
                *e = error;
                if (r == -ENOKEY)
                        error_advise(e, "without a recovery key nobody can add a way in: install "
                                        "the node again, with one");
                return error_wrap(e, r, "%s", v->volume->partition->name);
        }
        return 0;
}

static int take_typed(struct enroll *n, struct error *e)
{
        _cleanup_(console_close_p) struct console *terminal = NULL;
        int r = console_open_terminal(n->env, &terminal, e);

        if (r == -ENOTTY)
                error_advise(e, "give the key with --key-file, \"-\" for standard input");
        return r < 0 ? r
                     : console_ask_key(terminal, "Recovery key (it is not shown): ", 0, take_key, n,
                                       e);
}

int enroll_authenticate(struct enroll *n, struct error *e)
{
        _cleanup_(secret_free_p) struct secret *key = NULL;
        int r;

        if (n->options->key_file) {
                r = key_input_read(n->options->key_file, &key, e);
                if (r == 0)
                        r = take_key(n, key, e);
        } else {
                r = take_typed(n, e);
        }
        for (unsigned i = 0; i < n->ways.n && r == 0; i++) {
                if (!n->volume_key[i])
                        enroll_warn(n, "%s has another recovery key, and is left as it is",
                                    n->ways.volume[i].volume->partition->name);
        }
        return r;
}
