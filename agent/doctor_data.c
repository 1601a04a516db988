/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "agent/doctor.h"
#include "agent/pcr_choice.h"
#include "base/codec.h"

/* Of a fingerprint, enough to tell keys apart. */
#define SHORT_FINGERPRINT 8u

bool doctor_is_locked(const struct ways_volume *v, const struct measured *was)
{
        bool other = false;

        for (unsigned i = 0; i < v->n; i++) {
                const struct way *w = &v->way[i];

                if (w->state == WAY_OPENS)
                        return false;
                other = other || w->state == WAY_OTHER_STATE ||
                        (w->token && was && measured_is_of(was, w->token));
        }
        return other;
}

/* --- tokens ---------------------------------------------------------------------------------- */

/* "PCR 7 by value, PCR 11 by the key 12345678, and a PIN" */
static void describe_policy(const struct token *t, char *ret, size_t size)
{
        char literal[64], by_key[64], hex[SHA256_HEX_SIZE] = "";

        if (t->key)
                hex_encode(policy_key_fingerprint(t->key), SHA256_SIZE, hex);
        hex[SHORT_FINGERPRINT] = '\0';
        (void)snprintf(ret, size, "PCR %s by value, PCR %s signed by policy key %s%s",
                       t->literal_pcrs ? pcr_choice_text(t->literal_pcrs, literal, sizeof(literal))
                                       : "none",
                       t->signed_pcrs ? pcr_choice_text(t->signed_pcrs, by_key, sizeof(by_key))
                                      : "none",
                       *hex ? hex : "none", t->pin ? ", and a PIN" : "");
}

static void describe_images(const struct starters *s, unsigned opens, char *ret, size_t size)
{
        size_t used = 0;

        *ret = '\0';
        for (unsigned i = 0; s && i < s->n && used < size; i++) {
                char roles[STARTERS_ROLES_SIZE];

                if (!(opens & 1u << i))
                        continue;
                starters_roles(&s->item[i], roles);
                used += (size_t)snprintf(ret + used, size - used, "%s%s", used > 0 ? ", " : "",
                                         roles);
        }
}

static const char *advice_for(enum way_state state)
{
        switch (state) {
        case WAY_OTHER_TPM:
        case WAY_OTHER_KEY:
                return "when a boot was opened by another token, \"tb-agent enroll finish\" "
                       "removes "
                       "this one";
        case WAY_OTHER_STATE:
                return "\"tb-agent enroll tpm\" seals to the state of the next boot; or change the "
                       "firmware's Secure Boot settings back";
        case WAY_UNKNOWN:
        case WAY_RECOVERY_KEY:
        case WAY_OPENS:
        case WAY_STATE_MAX:
                break;
        }
        return NULL;
}

static const char *token_id_of(enum way_state state)
{
        return state == WAY_OTHER_TPM     ? "token-other-tpm"
               : state == WAY_OTHER_STATE ? "token-other-state"
               : state == WAY_OTHER_KEY   ? "token-other-key"
                                          : "token-unknown";
}

/* Such an image cannot be asked for its key. */
static bool any_refused(const struct starters *s)
{
        for (unsigned i = 0; s && i < s->n; i++) {
                if (!s->item[i].image)
                        return true;
        }
        return false;
}

static void judge_token(const struct ways_volume *v, const struct way *w,
                        const struct starters *starters, const struct measured *was, bool opened,
                        struct doctor_list *list)
{
        char policy[200], images[200];
        const char *name = v->volume->partition->name;
        bool of_before = was && measured_is_of(was, w->token);

        describe_policy(w->token, policy, sizeof(policy));
        describe_images(starters, w->opens, images, sizeof(images));
        if (w->state == WAY_OPENS)
                (void)doctor_add(list, DOCTOR_DATA, DOCTOR_OK, "token-opens", name, NULL,
                                 "token %d (%s; %s) opens in the initrd of %s; not now, as PCR 11 "
                                 "is closed by then",
                                 w->number, w->id, policy, images);
        else
                (void)doctor_add(list, DOCTOR_DATA, opened ? DOCTOR_NOTE : DOCTOR_WARNING,
                                 token_id_of(w->state), name, advice_for(w->state),
                                 "token %d (%s; %s) will not open: %s%s%s", w->number, w->id,
                                 policy, *w->why ? w->why : "nothing is known of the images here",
                                 w->state == WAY_OTHER_KEY && any_refused(starters)
                                         ? " (those that the firmware refuses are not counted)"
                                         : "",
                                 of_before
                                         ? "; it is sealed to what was measured before, see above "
                                           "for what changed"
                                         : "");
}

/* --- volumes --------------------------------------------------------------------------------- */

static void judge_keys(const struct ways_volume *v, unsigned keys, struct doctor_list *list)
{
        const char *name = v->volume->partition->name;

        if (keys == 0)
                (void)doctor_add(
                        list, DOCTOR_DATA, DOCTOR_WARNING, "no-recovery-key", name,
                        "a recovery key can only be added while there is one; a reset makes "
                        "new ones (tb-agent reset --recovery-key-file)",
                        "there is no recovery key: a broken TPM would lock it for ever");
        else
                (void)doctor_add(list, DOCTOR_DATA, DOCTOR_OK, "recovery-key", name, NULL,
                                 "%u recovery key%s", keys, keys == 1 ? "" : "s");
        if (v->unnamed != 0)
                (void)doctor_add(
                        list, DOCTOR_DATA, DOCTOR_WARNING, "keyslots-unnamed", name,
                        "\"tb-agent enroll finish\" wipes them, in a boot that the TPM "
                        "opened",
                        "%d key slot%s that no token names: what an interrupted change left",
                        __builtin_popcount(v->unnamed),
                        __builtin_popcount(v->unnamed) == 1 ? "" : "s");
}

void doctor_judge_volume(const struct ways_volume *v, const struct starters *starters,
                         const struct measured *was, struct doctor_list *list)
{
        unsigned keys = 0, tokens = 0, next = 0, opens = ways_opened(v, 0);
        const char *name = v->volume->partition->name;

        for (unsigned i = 0; starters && i < starters->n; i++)
                next |= starters->item[i].next ? 1u << i : 0;
        for (unsigned i = 0; i < v->n; i++) {
                const struct way *w = &v->way[i];

                keys += w->state == WAY_RECOVERY_KEY;
                tokens += w->token != NULL;
                if (w->token)
                        judge_token(v, w, starters, was, opens != 0, list);
                else if (w->state != WAY_RECOVERY_KEY)
                        (void)doctor_add(list, DOCTOR_DATA, DOCTOR_NOTE, "token-foreign", name,
                                         NULL, "token %d: %s", w->number, w->why);
        }
        judge_keys(v, keys, list);
        if (tokens > 0 && starters && opens == 0)
                (void)doctor_add(list, DOCTOR_DATA, DOCTOR_PROBLEM, "no-way-in", name,
                                 keys > 0 ? "start the recovery entry, give the recovery key, and "
                                            "run \"tb-agent enroll tpm\""
                                          : "restore what changed (see above), or reset the node",
                                 "no image of this node will open it by the TPM");
        else if (starters && next != 0 && (opens & next) == 0 && tokens > 0)
                (void)doctor_add(list, DOCTOR_DATA, DOCTOR_PROBLEM, "next-locked", name,
                                 "run \"tb-agent enroll tpm\" before the next boot",
                                 "the image that starts next will not open it; others will");
}

/* --- this boot ------------------------------------------------------------------------------- */

/* How the boot stage found it. */
static void judge_boot(struct doctor *d)
{
        struct json_object *array;
        bool closed;

        if (!d->boot)
                return;
        if (json_get_bool(d->boot, "closed", &closed) == 0 && !closed)
                (void)doctor_add(&d->list, DOCTOR_DATA, DOCTOR_PROBLEM, "policy-open", NULL,
                                 "start the node again; if it stays so, do not run programs on it "
                                 "that you do not trust",
                                 "PCR 11 is not closed: whoever is root can unseal now");
        if (json_get_array(d->boot, "partitions", &array) < 0)
                return;
        for (size_t i = 0; i < json_object_array_length(array); i++) {
                struct json_object *o = json_object_array_get_idx(array, i);
                const char *name, *why;

                if (json_get_str(o, "name", &name) == 0 && json_get_str(o, "error", &why) == 0)
                        (void)doctor_add(&d->list, DOCTOR_DATA, DOCTOR_PROBLEM, "not-opened", name,
                                         "\"tb-agent unlock\" opens it by the recovery key; the "
                                         "tokens below tell more",
                                         "the boot stage did not open it: %s", why);
        }
}

static void judge_partitions(struct doctor *d)
{
        if (!d->node->oem || !d->node->persistent)
                (void)doctor_add(&d->list, DOCTOR_DATA, DOCTOR_PROBLEM, "partition-missing",
                                 d->node->oem ? LAYOUT_PERSISTENT_NAME : LAYOUT_OEM_NAME,
                                 "if it was deleted by mistake, restore the partition table before "
                                 "anything is written; else install the node again",
                                 "%s has no such partition", d->node->disk->path);
}

static bool has_changed(const struct doctor *d)
{
        struct measured_change change;

        for (unsigned pcr = 0; pcr < TPM_PCR_COUNT && d->has_was && d->has_now; pcr++) {
                if (d->was.pcrs & d->now.pcrs & UINT32_C(1) << pcr &&
                    measured_compare(&d->was, &d->now, pcr, &change, 1) > 0)
                        return true;
        }
        return false;
}

void doctor_data(struct doctor *d)
{
        const struct measured *before = has_changed(d) ? &d->was : NULL;

        if (!d->node) {
                doctor_add_error(&d->list, DOCTOR_DATA,
                                 strcmp(d->role, "live") == 0 ? DOCTOR_WARNING : DOCTOR_PROBLEM,
                                 "disk-unknown", NULL, &d->node_error);
                return;
        }
        judge_boot(d);
        judge_partitions(d);
        if (!d->has_starters)
                doctor_add_error(&d->list, DOCTOR_DATA, DOCTOR_WARNING, "tokens-unknown", NULL,
                                 &d->starters_error);
        for (size_t i = 0; i < d->volumes.n; i++) {
                struct ways_volume *v = &d->volume[i];
                const struct error *e = &d->volume_error[i];

                if (e->code == EMEDIUMTYPE && !v->volume->label)
                        continue; /* the user's, and not encrypted */
                if (e->code != 0) {
                        doctor_add_error(&d->list, DOCTOR_DATA, DOCTOR_PROBLEM, "header-bad",
                                         v->volume->partition->name, e);
                        continue;
                }
                doctor_judge_volume(v, d->has_starters ? &d->starters : NULL, before, &d->list);
        }
}
