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
        struct policy_key *running;
        struct policy_key *named; /* NULL: none */
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
        return enroll_same_key(a->key, b->key) && memcmp(a->pcr7, b->pcr7, SHA256_SIZE) == 0;
}

static void want(struct wants *w, const struct ways_seal *seal)
{
        for (unsigned i = 0; i < w->n; i++)
                if (same_policy(&w->item[i], seal))
                        return;
        w->item[w->n++] = *seal;
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
                want(w, &(struct ways_seal){.tpm = n->tpm,
                                            .key = image_policy_key(s->image),
                                            .pcr7 = s->pcr7,
                                            .prove = s});
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
        want(w, &(struct ways_seal){.tpm = n->tpm, .key = w->named, .pcr7 = as->pcr7});
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
        char key[17], pcr7[17];

        hex_encode(policy_key_fingerprint(seal->key), (sizeof(key) - 1) / 2, key);
        hex_encode(seal->pcr7, (sizeof(pcr7) - 1) / 2, pcr7);
        enroll_note(n, v, true, "TPM token for policy key %s..., PCR 7 %s...", key, pcr7);
}

/* Bit i of missing[k]: volume k lacks want i. Whether anything is missing. */
static bool find_missing(struct enroll *n, const struct wants *w, uint32_t *missing)
{
        bool any = false;

        for (unsigned k = 0; k < n->ways.n; k++) {
                missing[k] = 0;
                for (unsigned i = 0; i < w->n; i++)
                        if (!ways_has(&n->ways.volume[k], &w->item[i]))
                                missing[k] |= UINT32_C(1) << i;
                any = any || missing[k] != 0;
        }
        return any;
}

static int add_missing(struct enroll *n, const struct wants *w, const uint32_t *missing,
                       struct error *e)
{
        int r = 0;

        for (unsigned k = 0; k < n->ways.n && r >= 0; k++) {
                struct ways_volume *v = &n->ways.volume[k];

                if (!n->volume_key[k])
                        continue;
                r = ways_clean(v, e);
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
        uint32_t missing[ARRAY_SIZE(n->ways.volume)];
        int r = enroll_read_ways(n, e);

        if (r < 0)
                return r;
        (void)find_missing(n, w, missing);
        for (unsigned k = 0; k < n->ways.n; k++)
                if (missing[k] && n->volume_key[k])
                        return error_set(e, ERROR_IO, EIO,
                                         "%s: a token that was written is not there",
                                         n->ways.volume[k].volume->partition->name);
        return 0;
}

static int seal_all(struct enroll *n, const struct wants *w, struct error *e)
{
        uint32_t missing[ARRAY_SIZE(n->ways.volume)];
        int r;

        if (!find_missing(n, w, missing))
                return 0;
        if (n->options->dry_run) {
                for (unsigned k = 0; k < n->ways.n; k++)
                        for (unsigned i = 0; i < w->n; i++)
                                if (missing[k] & UINT32_C(1) << i)
                                        note(n, &n->ways.volume[k], &w->item[i]);
                return 0;
        }
        r = enroll_authenticate(n, e);
        /* Before anything opens by it: a TPM that was cleared, or is another one, knows nothing of
         * this node, and the next boot could already be one with exchanged volumes. */
        if (r == 0)
                r = tpm_mark_set(n->tpm, e);
        if (r == 0)
                r = add_missing(n, w, missing, e);
        return r < 0 ? r : check_result(n, w, e);
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

/* Somebody decided that the data asks for more than what is sealed here: nothing that asks for less
 * comes beside it. */
static int check_others(const struct enroll *n, struct error *e)
{
        for (unsigned k = 0; k < n->ways.n; k++) {
                const struct ways_volume *v = &n->ways.volume[k];

                for (unsigned i = 0; i < v->n; i++) {
                        const struct token *t = v->way[i].token;

                        if (!t || (!t->pin && t->signed_pcrs == PCR_CHOICE_SIGNED &&
                                   t->literal_pcrs == PCR_CHOICE_NEEDED))
                                continue;
                        error_set(e, ERROR_PRECONDITION, EOPNOTSUPP,
                                  "%s: token %d %s; what would be sealed here does not",
                                  v->volume->partition->name, v->way[i].number,
                                  t->pin ? "wants a PIN" : "binds other PCRs");
                        error_advise(e, "open the node by its recovery key until it is installed "
                                        "anew");
                        return -EOPNOTSUPP;
                }
        }
        return 0;
}

int enroll_tpm(struct enroll *n, struct error *e)
{
        _cleanup_(wants_done) struct wants w = {.n = 0};
        int r = check_others(n, e);

        if (r == 0)
                r = check_kind(n, e);
        if (r == 0)
                r = find_wants(n, &w, e);
        return r < 0 ? r : seal_all(n, &w, e);
}
