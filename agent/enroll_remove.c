/* SPDX-License-Identifier: Apache-2.0 */
/* enroll finish, enroll drop: ways in that are not wanted any more. */
#include "agent/enroll.h"

#include <stdio.h>

#include "agent/key_input.h"
#include "partition/recovery_key.h"

/* What goes, as bits of the ways of each volume. */
struct removal {
        uint32_t bits[ARRAY_SIZE(((struct ways *)NULL)->volume)];
        bool clean[ARRAY_SIZE(((struct ways *)NULL)->volume)]; /* key slots of no token, too */
};

/*
 * The TPM opened this boot by a token that opens the next one as well: that is both the right to
 * remove others and the proof that they are not needed. A partition of the user's that a person
 * opened by a key of its own is left alone.
 */
static int find_proven(struct enroll *n, unsigned k, const struct way **ret, struct error *e)
{
        const struct ways_volume *v = &n->ways.volume[k];
        const char *name = v->volume->partition->name;

        *ret = ways_proven(v, &n->starters);
        if (*ret)
                return 0;
        if (!v->volume->label) {
                enroll_warn(n, "%s was not opened by a TPM token that stays: left as it is", name);
                return 0;
        }
        error_set(e, ERROR_PRECONDITION, EAGAIN,
                  *v->unlocked_with ? "%s: the token that opened this boot does not open the next "
                                      "one"
                                    : "%s was not opened by the TPM in this boot",
                  name);
        error_advise(e, *v->unlocked_with
                                ? "the Secure Boot state or the images changed: \"tb-agent enroll "
                                  "tpm\" seals for the next boot; start the node, then repeat this"
                                : "enrol the TPM with \"tb-agent enroll tpm\", start the node, "
                                  "then repeat this");
        return -EAGAIN;
}

static bool is_stale(enum way_state state)
{
        return state == WAY_OTHER_TPM || state == WAY_OTHER_STATE || state == WAY_OTHER_KEY;
}

/* Noted before: none of them is a way that is told apart later. */
int enroll_clean(struct enroll *n, struct ways_volume *v, struct error *e)
{
        int r;

        for (int slot = 0; slot < LIMIT_LUKS_KEYSLOTS; slot++)
                if (v->unnamed & UINT32_C(1) << slot)
                        enroll_note(n, v, false, "key slot %d: no token names it", slot);
        r = v->unnamed && !n->options->dry_run ? ways_clean(v, e) : 0;
        return r < 0 ? r : 0;
}

static int remove_all(struct enroll *n, const struct removal *removal, struct error *e)
{
        int r = 0;

        for (unsigned k = 0; k < n->ways.n && r >= 0; k++) {
                struct ways_volume *v = &n->ways.volume[k];

                if (removal->bits[k] || removal->clean[k])
                        r = enroll_clean(n, v, e);
                for (unsigned i = 0; i < v->n && r >= 0; i++) {
                        const struct way *w = &v->way[i];

                        if (!(removal->bits[k] & UINT32_C(1) << i))
                                continue;
                        if (!n->options->dry_run)
                                r = ways_remove(v, w, e);
                        if (r >= 0)
                                enroll_note(n, v, false, "%s%s: %.120s",
                                            w->token ? "TPM token " : "recovery key", w->id,
                                            w->why);
                }
        }
        if (r < 0 || n->options->dry_run)
                return r < 0 ? r : 0;
        return enroll_read_ways(n, e);
}

int enroll_finish(struct enroll *n, struct error *e)
{
        struct removal removal = {.bits = {0}};
        int r = 0;

        for (unsigned k = 0; k < n->ways.n && r == 0; k++) {
                const struct ways_volume *v = &n->ways.volume[k];
                const struct way *proven;

                r = find_proven(n, k, &proven, e);
                removal.clean[k] = r == 0 && proven;
                for (unsigned i = 0; i < v->n && r == 0 && proven; i++)
                        if (v->way[i].token && is_stale(v->way[i].state))
                                removal.bits[k] |= UINT32_C(1) << i;
        }
        return r < 0 ? r : remove_all(n, &removal, e);
}

/* --- a policy key ---------------------------------------------------------------------------- */

/* Names of the images in a set of bits; "" when it is empty. */
static void name_images(const struct starters *s, unsigned bits, char *out, size_t size)
{
        size_t used = 0;

        *out = '\0';
        for (unsigned i = 0; i < s->n && used < size; i++) {
                char roles[STARTERS_ROLES_SIZE];

                if (!(bits & 1u << i))
                        continue;
                starters_roles(&s->item[i], roles);
                used += (size_t)snprintf(out + used, size - used, "%s%s (%s)", used > 0 ? ", " : "",
                                         s->item[i].file, roles);
        }
}

/* What runs and what comes next stay in any case; others only fall when somebody insists. */
int enroll_check_loss(struct enroll *n, const struct ways_volume *v, uint32_t bits, unsigned gained,
                      struct error *e)
{
        unsigned lost = ways_opened(v, 0) & ~ways_opened(v, bits) & ~gained, needed = 0;
        char names[256];

        for (unsigned i = 0; i < n->starters.n; i++)
                if (n->starters.item[i].running || n->starters.item[i].next)
                        needed |= 1u << i;
        if (!lost)
                return 0;
        name_images(&n->starters, lost, names, sizeof(names));
        if (n->options->force && !(lost & needed)) {
                enroll_warn(n, "%s: no longer opened by %.180s", v->volume->partition->name, names);
                return 0;
        }
        error_set(e, ERROR_PRECONDITION, EBUSY, "%s: would no longer be opened by %s",
                  v->volume->partition->name, names);
        error_advise(e, lost & needed ? "upgrade to an image of another policy key first"
                                      : "upgrade these too (tb-agent upgrade --all), or insist "
                                        "with --force");
        return -EBUSY;
}

static int drop_policy_key(struct enroll *n, struct error *e)
{
        _cleanup_(policy_key_free_p) struct policy_key *key = NULL;
        struct removal removal = {.bits = {0}};
        int r = enroll_read_policy_key(n, &key, e);

        for (unsigned k = 0; k < n->ways.n && r == 0; k++) {
                const struct ways_volume *v = &n->ways.volume[k];
                const struct way *proven;

                r = find_proven(n, k, &proven, e);
                for (unsigned i = 0; i < v->n && r == 0 && proven; i++) {
                        const struct token *t = v->way[i].token;

                        if (t && t->key && enroll_same_key(t->key, key))
                                removal.bits[k] |= UINT32_C(1) << i;
                }
                if (r == 0)
                        r = enroll_check_loss(n, v, removal.bits[k], 0, e);
        }
        return r < 0 ? r : remove_all(n, &removal, e);
}

/* --- a recovery key -------------------------------------------------------------------------- */

static int drop_recovery_key(struct enroll *n, struct error *e)
{
        _cleanup_(secret_free_p) struct secret *key = NULL;
        struct removal removal = {.bits = {0}};
        bool any = false;
        int r = key_input_read(n->options->key_file, &key, e);

        for (unsigned k = 0; k < n->ways.n && r == 0; k++) {
                const struct ways_volume *v = &n->ways.volume[k];
                struct error error = ERROR_INIT;
                const struct way *proven;
                int slot = recovery_key_find_slot(v->luks, key, &error);

                if (slot == -EACCES || slot == -ENOKEY)
                        continue;
                if (slot < 0) {
                        *e = error;
                        return slot;
                }
                any = true;
                r = find_proven(n, k, &proven, e);
                for (unsigned i = 0; i < v->n && r == 0 && proven; i++)
                        if (v->way[i].state == WAY_RECOVERY_KEY && v->way[i].keyslot == slot)
                                removal.bits[k] |= UINT32_C(1) << i;
        }
        if (r == 0 && !any)
                r = error_set(e, ERROR_PRECONDITION, EACCES,
                              "this is no recovery key of this node");
        return r < 0 ? r : remove_all(n, &removal, e);
}

int enroll_drop(struct enroll *n, struct error *e)
{
        return n->options->policy_key ? drop_policy_key(n, e) : drop_recovery_key(n, e);
}
