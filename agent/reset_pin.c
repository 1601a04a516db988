/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/reset_pin.h"

#include "agent/data.h"
#include "base/limits.h"
#include "partition/luks.h"
#include "partition/seal.h"

/* 0: go on with the next token; anything else ends the walk. */
typedef int (*token_fn)(struct tpm *tpm, const struct token *token, const struct secret *pin,
                        struct error *e);

static int walk_tokens(const struct luks *luks, token_fn fn, struct tpm *tpm,
                       const struct secret *pin, struct error *e)
{
        int r = 0;

        for (int id = 0; id < LIMIT_LUKS_TOKENS && r == 0; id++) {
                _cleanup_(token_free_p) struct token *token = NULL;

                if (luks_get_token(luks, id, &token, NULL) == 0 && token->pin)
                        r = fn(tpm, token, pin, e);
        }
        return r;
}

static int walk(const struct node *node, const struct reset_journal *j, token_fn fn,
                struct tpm *tpm, const struct secret *pin, struct error *e)
{
        struct data_list list;
        int r = 0;

        data_list(node, &list);
        for (size_t i = 0; i < list.n && r == 0; i++) {
                const struct data_volume *v = &list.item[i];
                _cleanup_(luks_free_p) struct luks *luks = NULL;
                _cleanup_free_ char *device = NULL;

                if (reset_journal_names(j, v->partition->name) ||
                    data_open_header(node, v, &device, &luks, NULL) < 0)
                        continue;
                r = walk_tokens(luks, fn, tpm, pin, e);
                if (r < 0)
                        return error_wrap(e, r, "%s, which stays", v->partition->name);
        }
        return r;
}

static int is_of_this_tpm(struct tpm *tpm, const struct token *token, const struct secret *pin,
                          struct error *e)
{
        (void)pin;
        (void)e;
        return seal_loads(tpm, token, NULL) == 0;
}

bool reset_pin_stays(const struct node *node, const struct reset_journal *j, struct tpm *tpm)
{
        return walk(node, j, is_of_this_tpm, tpm, NULL, NULL) > 0;
}

static int compare(struct tpm *tpm, const struct token *token, const struct secret *pin,
                   struct error *e)
{
        struct error error = ERROR_INIT;
        int r = seal_loads(tpm, token, NULL) < 0 ? 0 : seal_check_pin(tpm, token, pin, &error);

        if (r == -EOPNOTSUPP)
                return 0;
        if (r < 0)
                *e = error;
        return r;
}

int reset_pin_compare(const struct node *node, const struct reset_journal *j, struct tpm *tpm,
                      const struct secret *pin, struct error *e)
{
        int r = tpm_check_tries(tpm, e);

        return r < 0 ? r : walk(node, j, compare, tpm, pin, e);
}
