/* SPDX-License-Identifier: Apache-2.0 */
/* enroll pin, and the PIN of a node that is sealed for again. */
#include "agent/enroll.h"

#include <inttypes.h>

#include "agent/install_pin.h"
#include "agent/pcr_choice.h"

/* --- what is asked for now --- */

static int refuse(const struct ways_volume *v, const struct way *w, struct error *e)
{
        error_set(e, ERROR_PRECONDITION, EOPNOTSUPP,
                  "%s: token %d binds other PCRs than are sealed to here",
                  v->volume->partition->name, w->number);
        error_advise(e, "remove it with the program that made it, or open the node by its recovery "
                        "key until it is installed anew");
        return -EOPNOTSUPP;
}

int enroll_read_choice(const struct enroll *n, struct enroll_choice *ret, struct error *e)
{
        struct enroll_choice choice = {.literal_pcrs = PCR_CHOICE_NEEDED};

        for (unsigned k = 0; k < n->ways.n; k++) {
                const struct ways_volume *v = &n->ways.volume[k];

                for (unsigned i = 0; i < v->n; i++) {
                        const struct token *t = v->way[i].token;

                        if (!t)
                                continue;
                        if (t->signed_pcrs != PCR_CHOICE_SIGNED ||
                            !(t->literal_pcrs & PCR_CHOICE_NEEDED) ||
                            t->literal_pcrs & ~PCR_CHOICE_LITERAL)
                                return refuse(v, &v->way[i], e);
                        choice.literal_pcrs |= t->literal_pcrs;
                        choice.pin = choice.pin || t->pin;
                }
        }
        *ret = choice;
        return 0;
}

/* --- the PIN --- */

/* 0 from each stops the walk with 0; what fn returns else is taken up. */
static int for_each_pin(const struct enroll *n,
                        int (*fn)(const struct enroll *n, const struct ways_volume *v,
                                  const struct way *w, const struct secret *pin, struct error *e),
                        const struct secret *pin, struct error *e)
{
        int r = 0;

        for (unsigned k = 0; k < n->ways.n && r == 0; k++) {
                const struct ways_volume *v = &n->ways.volume[k];

                for (unsigned i = 0; i < v->n && r == 0; i++)
                        if (v->way[i].token && v->way[i].token->pin)
                                r = fn(n, v, &v->way[i], pin, e);
        }
        return r;
}

static int is_known(const struct enroll *n, const struct ways_volume *v, const struct way *w,
                    const struct secret *pin, struct error *e)
{
        (void)v;
        (void)pin;
        (void)e;
        return seal_loads(n->tpm, w->token, NULL) == 0;
}

/* A wrong one is told with what it cost, and no run makes the try after which a start of the node
 * would have none. */
static int compare(const struct enroll *n, const struct ways_volume *v, const struct way *w,
                   const struct secret *pin, struct error *e)
{
        struct error error = ERROR_INIT;
        int r = seal_check_pin(n->tpm, w->token, pin, &error);
        struct tpm_info info;

        if (r == 0 || r == -EREMOTE || r == -EBADMSG || r == -EOPNOTSUPP)
                return 0;
        *e = error;
        if (r == -EILSEQ && tpm_get_info(n->tpm, &info, NULL) == 0 &&
            info.lockout_max > info.lockout_counter) {
                e->advice[0] = '\0';
                error_advise(e,
                             "the TPM locks itself after %" PRIu32 " more wrong ones; \"tb-agent "
                             "enroll pin\" sets another PIN by the recovery key",
                             info.lockout_max - info.lockout_counter);
        }
        return error_wrap(e, r, "%s, token %d", v->volume->partition->name, w->number);
}

int enroll_take_pin(const struct enroll *n, const struct enroll_choice *choice, struct secret **ret,
                    struct error *e)
{
        const struct install_pin_wishes wishes = {.ask = !n->options->pin_file,
                                                  .file = n->options->pin_file};
        _cleanup_(secret_free_p) struct secret *pin = NULL;
        int r;

        /* Of another TPM, or of this one before it was cleared: nobody can compare it any more. */
        if (choice->new_pin || for_each_pin(n, is_known, NULL, NULL) == 0)
                return install_pin_read(n->env, &wishes, ret, e);
        r = tpm_check_tries(n->tpm, e);
        if (r == -ENOLCK)
                error_advise(e, "\"tb-agent enroll pin\" sets another PIN by the recovery key");
        if (r == 0)
                r = install_pin_known(n->env, wishes.file, &pin, e);
        if (r == 0)
                r = for_each_pin(n, compare, pin, e);
        if (r == 0)
                *ret = TAKE_PTR(pin);
        return r;
}

/* --- the action --- */

/* Of a run that was cut when the last token was gone, and its key slot was not. */
static bool has_rest(const struct enroll *n)
{
        for (unsigned k = 0; k < n->ways.n; k++)
                if (n->ways.volume[k].unnamed)
                        return true;
        return false;
}

int enroll_pin(struct enroll *n, struct error *e)
{
        struct enroll_choice choice;
        int r = enroll_read_choice(n, &choice, e);

        if (r < 0 || (n->options->remove && !choice.pin && !has_rest(n)))
                return r;
        choice.pin = choice.new_pin = !n->options->remove;
        choice.replace = true;
        return enroll_seal(n, &choice, e);
}
