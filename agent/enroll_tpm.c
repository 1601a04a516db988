/* SPDX-License-Identifier: Apache-2.0 */
/* enroll tpm: sealing for what starts next. */
#include "agent/enroll.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "agent/pcr_choice.h"
#include "agent/preflight.h"
#include "base/codec.h"
#include "base/file.h"
#include "base/limits.h"
#include "partition/tpm_mark.h"

/* One for each image, one for a key that has no image yet. */
#define WANTS_MAX (STARTERS_MAX + 1)

/* Images on the ESP may be anybody's that db vouches for, and so may the keys that a header names:
 * sealed is for the key of the system that runs, and for the one that a person named. */
struct wants {
        struct ways_seal item[WANTS_MAX];
        unsigned n;
        const struct enroll_choice *choice;
        struct policy_key *running;
        struct policy_key *named; /* NULL: none */
};

/* Of the volumes, as bits: items of the wants that one lacks, and numbers of tokens that go. */
struct work {
        uint32_t missing[ARRAY_SIZE(((struct ways *)NULL)->volume)];
        uint32_t replaced[ARRAY_SIZE(((struct ways *)NULL)->volume)];
};

static void wants_done(struct wants *w)
{
        policy_key_free(w->running);
        policy_key_free(w->named);
}

static bool is_trusted(const struct wants *w, const struct policy_key *key)
{
        return enroll_same_key(key, w->running) || (w->named && enroll_same_key(key, w->named));
}

static bool same_policy(const struct ways_seal *a, const struct ways_seal *b)
{
        return enroll_same_key(a->key, b->key) &&
               memcmp(a->literal_values, b->literal_values, sizeof(a->literal_values)) == 0;
}

/* For the state in which an image will start. */
static void want(const struct enroll *n, struct wants *w, const struct policy_key *key,
                 const struct starter *as, const struct starter *prove)
{
        struct ways_seal seal = {.tpm = n->tpm,
                                 .key = key,
                                 .literal_pcrs = w->choice->literal_pcrs,
                                 .with_pin = w->choice->pin,
                                 .prove = prove};

        starters_literal(&n->starters, as, seal.literal_pcrs, seal.literal_values);
        for (unsigned i = 0; i < w->n; i++)
                if (same_policy(&w->item[i], &seal))
                        return;
        w->item[w->n++] = seal;
}

static int not_trusted(const struct starter *s, const char *roles, struct error *e)
{
        char hex[SHA256_HEX_SIZE];

        hex_encode(policy_key_fingerprint(image_policy_key(s->image)), SHA256_SIZE, hex);
        error_set(e, ERROR_POLICY_KEY, EKEYREJECTED,
                  "%s (%s) has another policy key than the running system: SHA-256 %s", s->file,
                  roles, hex);
        error_advise(e, "if this key is yours, give --policy-key with its file or these 64 digits");
        return -EKEYREJECTED;
}

/* What runs now and what comes next have to open; of the others it is enough to tell. */
static int want_image(struct enroll *n, struct starter *s, struct wants *w, struct error *e)
{
        struct error error = s->error;
        char roles[STARTERS_ROLES_SIZE];
        int r = -error.code;

        starters_roles(s, roles);
        if (s->image && s->has_pcr7 && is_trusted(w, image_policy_key(s->image))) {
                want(n, w, image_policy_key(s->image), s, s);
                return 0;
        }
        if (s->image && s->has_pcr7)
                r = not_trusted(s, roles, &error);
        else
                r = error_wrap(&error, r, "%s (%s)", s->file, roles);
        if (s->running || s->next) {
                *e = error;
                return r;
        }
        enroll_warn(n, "not sealed for: %.230s", error.text);
        return 0;
}

/* systemd-stub unpacks the .pcrpkey of the image that runs here. */
static int read_running_key(const struct env *env, struct policy_key **ret, struct error *e)
{
        _cleanup_(buf_done) struct buf pem = BUF_INIT(LIMIT_PCRPKEY);
        _cleanup_free_ char *path = NULL;
        int r;

        if (asprintf(&path, "%s/tpm2-pcr-public-key.pem", env->extra) < 0) {
                path = NULL;
                return error_oom(e);
        }
        r = file_read(AT_FDCWD, path, &pem);
        if (r < 0)
                return error_set(e, ERROR_PRECONDITION, -r,
                                 "the running image brings no policy key (%s)", path);
        return policy_key_from_pem(pem.data, pem.len, ret, e);
}

/* Where no image brings the key yet: the one that will is expected to be vouched for as the running
 * one is. */
static int want_named(struct enroll *n, struct wants *w, struct error *e)
{
        const struct starter *as = NULL;

        for (unsigned i = 0; i < n->starters.n; i++) {
                const struct starter *s = &n->starters.item[i];

                if (s->has_pcr7 && (!as || s->running))
                        as = s;
        }
        if (!as)
                return error_set(e, ERROR_PRECONDITION, ENODATA,
                                 "no image here says what PCR 7 will be");
        want(n, w, w->named, as, NULL);
        return 0;
}

static int find_wants(struct enroll *n, struct wants *w, struct error *e)
{
        int r = read_running_key(n->env, &w->running, e);

        if (r == 0 && n->options->policy_key)
                r = enroll_read_policy_key(n, &w->named, e);
        for (unsigned i = 0; i < n->starters.n && r == 0; i++)
                r = want_image(n, &n->starters.item[i], w, e);
        if (r == 0 && w->n == 0)
                r = error_set(e, ERROR_PRECONDITION, ENOENT, "no image of this node will start");
        if (r == 0 && w->named)
                r = want_named(n, w, e);
        return r;
}

static void note(struct enroll *n, const struct ways_volume *v, const struct ways_seal *seal)
{
        unsigned at = (unsigned)__builtin_popcount(seal->literal_pcrs & (PCR_CHOICE_NEEDED - 1));
        char key[17], pcr7[17], pcrs[64], more[96] = "";

        hex_encode(policy_key_fingerprint(seal->key), (sizeof(key) - 1) / 2, key);
        hex_encode(seal->literal_values + at * SHA256_SIZE, (sizeof(pcr7) - 1) / 2, pcr7);
        if (seal->literal_pcrs != PCR_CHOICE_NEEDED)
                (void)snprintf(more, sizeof(more), ", PCRs %s",
                               pcr_choice_text(seal->literal_pcrs, pcrs, sizeof(pcrs)));
        enroll_note(n, v, true, "TPM token for policy key %s..., PCR 7 %s...%s%s", key, pcr7, more,
                    seal->with_pin ? ", with a PIN" : "");
}

static bool is_replaced(const struct enroll_choice *c, const struct token *t)
{
        return c->replace && (c->new_pin || t->pin != c->pin || t->literal_pcrs != c->literal_pcrs);
}

static uint32_t find_missing(const struct ways_volume *v, const struct wants *w, bool all)
{
        uint32_t missing = 0;

        for (unsigned i = 0; i < w->n; i++)
                if (all || !ways_has(v, &w->item[i]))
                        missing |= UINT32_C(1) << i;
        return missing;
}

/* What a volume loses must not be needed. */
static int find_replaced(struct enroll *n, const struct ways_volume *v, const struct wants *w,
                         uint32_t *ret, struct error *e)
{
        uint32_t bits = 0;
        unsigned gained = 0;

        *ret = 0;
        for (unsigned i = 0; i < v->n; i++) {
                if (!v->way[i].token || !is_replaced(w->choice, v->way[i].token))
                        continue;
                bits |= UINT32_C(1) << i;
                *ret |= UINT32_C(1) << v->way[i].number;
        }
        for (unsigned i = 0; i < n->starters.n; i++) {
                const struct starter *s = &n->starters.item[i];

                if (s->image && s->has_pcr7 && is_trusted(w, image_policy_key(s->image)))
                        gained |= 1u << i;
        }
        return bits ? enroll_check_loss(n, v, bits, gained, e) : 0;
}

/* Whether there is anything to do: 1, 0. A run that was cut behind its last token has left what
 * that token is in place of, without its token, and nothing else. */
static int find_work(struct enroll *n, const struct wants *w, struct work *ret, struct error *e)
{
        bool any = false;
        int r = 0;

        for (unsigned k = 0; k < n->ways.n && r == 0; k++) {
                const struct ways_volume *v = &n->ways.volume[k];

                ret->missing[k] = find_missing(v, w, w->choice->new_pin);
                r = find_replaced(n, v, w, &ret->replaced[k], e);
                any = any || ret->missing[k] != 0 || ret->replaced[k] != 0 || v->unnamed != 0;
        }
        return r < 0 ? r : any;
}

static int add_missing(struct enroll *n, const struct wants *w, const uint32_t *missing,
                       struct error *e)
{
        int r = 0;

        for (unsigned k = 0; k < n->ways.n && r >= 0; k++) {
                struct ways_volume *v = &n->ways.volume[k];

                if (!n->volume_key[k])
                        continue;
                r = enroll_clean(n, v, e);
                for (unsigned i = 0; i < w->n && r >= 0; i++) {
                        if (!(missing[k] & UINT32_C(1) << i))
                                continue;
                        r = ways_add_tpm(v, n->volume_key[k], &w->item[i], e);
                        if (r == 0)
                                note(n, v, &w->item[i]);
                }
        }
        return r < 0 ? r : 0;
}

/* From the disk: every image that was sealed for opens every volume of ours. */
static int check_result(struct enroll *n, const struct wants *w, struct error *e)
{
        int r = enroll_read_ways(n, e);

        for (unsigned k = 0; k < n->ways.n && r == 0; k++)
                if (n->volume_key[k] && find_missing(&n->ways.volume[k], w, false))
                        r = error_set(e, ERROR_IO, EIO, "%s: a token that was written is not there",
                                      n->ways.volume[k].volume->partition->name);
        return r;
}

static int remove_replaced(struct enroll *n, const uint32_t *replaced, struct error *e)
{
        bool real = !n->options->dry_run, any = false;
        int r = 0;

        for (unsigned k = 0; k < n->ways.n && r == 0; k++) {
                struct ways_volume *v = &n->ways.volume[k];

                for (unsigned i = 0; i < v->n && r == 0; i++) {
                        const struct way *way = &v->way[i];

                        if (!(replaced[k] & UINT32_C(1) << way->number) ||
                            (real && !n->volume_key[k]))
                                continue;
                        any = true;
                        if (real)
                                r = ways_remove(v, way, e);
                        if (r == 0)
                                enroll_note(n, v, false, "TPM token %s%s", way->id,
                                            way->token && way->token->pin ? ", with a PIN" : "");
                }
        }
        return r == 0 && real && any ? enroll_read_ways(n, e) : r;
}

static int do_work(struct enroll *n, struct wants *w, const struct work *work, struct error *e)
{
        _cleanup_(secret_free_p) struct secret *pin = NULL;
        bool adds = false;
        int r = enroll_authenticate(n, e);

        for (unsigned k = 0; k < n->ways.n; k++)
                adds = adds || work->missing[k];
        if (r == 0 && w->choice->pin && adds)
                r = enroll_take_pin(n, w->choice, &pin, e);
        for (unsigned i = 0; i < w->n; i++)
                w->item[i].pin = pin;
        /* Before anything opens by it: a TPM that was cleared, or is another one, knows nothing of
         * this node, and the next boot could already be one with exchanged volumes. */
        if (r == 0)
                r = tpm_mark_set(n->tpm, e);
        if (r == 0)
                r = add_missing(n, w, work->missing, e);
        if (r == 0)
                r = check_result(n, w, e);
        for (unsigned i = 0; i < w->n; i++)
                w->item[i].pin = NULL;
        return r < 0 ? r : remove_replaced(n, work->replaced, e);
}

static int seal_all(struct enroll *n, struct wants *w, struct error *e)
{
        struct work work;
        int r = find_work(n, w, &work, e);

        if (r <= 0)
                return r;
        if (!n->options->dry_run)
                return do_work(n, w, &work, e);
        for (unsigned k = 0; k < n->ways.n; k++) {
                r = enroll_clean(n, &n->ways.volume[k], e);
                if (r < 0)
                        return r;
                for (unsigned i = 0; i < w->n; i++)
                        if (work.missing[k] & UINT32_C(1) << i)
                                note(n, &n->ways.volume[k], &w->item[i]);
        }
        return remove_replaced(n, work.replaced, e);
}

/* As an installation: secrets of a TPM that is a program lie in a file. */
static int check_kind(const struct enroll *n, struct error *e)
{
        struct tpm_info info;
        int r = tpm_get_info(n->tpm, &info, e);

        if (r < 0 || n->options->allow_software_tpm ||
            preflight_tpm_kind(&info) != PREFLIGHT_TPM_SOFTWARE)
                return r;
        error_set(e, ERROR_PRECONDITION, EPERM,
                  "a software TPM (%s): its secrets lie in a file, and whoever has that opens the "
                  "disk",
                  info.manufacturer);
        error_advise(e, "use a machine with a TPM, or accept this one with --allow-software-tpm, "
                        "for tests and virtual machines");
        return -EPERM;
}

int enroll_seal(struct enroll *n, const struct enroll_choice *choice, struct error *e)
{
        _cleanup_(wants_done) struct wants w = {.choice = choice};
        int r = check_kind(n, e);

        if (r == 0)
                r = find_wants(n, &w, e);
        return r < 0 ? r : seal_all(n, &w, e);
}

int enroll_tpm(struct enroll *n, struct error *e)
{
        struct enroll_choice choice;
        int r = enroll_read_choice(n, &choice, e);

        if (r == 0 && n->options->pcrs) {
                r = pcr_choice_parse(n->options->pcrs, &choice.literal_pcrs, e);
                choice.replace = true;
        }
        if (r == 0 && n->options->pin_file && !choice.pin) {
                error_set(e, ERROR_USAGE, EINVAL, "the data of this node has no PIN");
                error_advise(e, "\"tb-agent enroll pin\" sets one");
                r = -EINVAL;
        }
        return r < 0 ? r : enroll_seal(n, &choice, e);
}
