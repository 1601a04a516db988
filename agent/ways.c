/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/ways.h"

#include <stdio.h>
#include <string.h>

#include "agent/boot_report.h"
#include "agent/pcr_choice.h"
#include "base/codec.h"
#include "base/limits.h"
#include "base/log.h"
#include "partition/recovery_key.h"

void ways_volume_done(struct ways_volume *v)
{
        for (unsigned i = 0; i < v->n; i++)
                token_free(v->way[i].token);
        luks_free(v->luks);
        free(v->device);
        *v = (struct ways_volume){.volume = v->volume};
}

void ways_done(struct ways *w)
{
        for (unsigned i = 0; i < w->n; i++)
                ways_volume_done(&w->volume[i]);
        w->n = 0;
}

const char *way_state_name(enum way_state state)
{
        static const char *const names[WAY_STATE_MAX] = {[WAY_UNKNOWN] = "unknown",
                                                         [WAY_RECOVERY_KEY] = "recovery-key",
                                                         [WAY_OPENS] = "opens",
                                                         [WAY_OTHER_TPM] = "other-tpm",
                                                         [WAY_OTHER_STATE] = "other-state",
                                                         [WAY_OTHER_KEY] = "other-key"};

        return state < WAY_STATE_MAX ? names[state] : names[WAY_UNKNOWN];
}

/* --- judging --------------------------------------------------------------------------------- */

static bool is_for_key(const struct token *t, const struct policy_key *key)
{
        return t->key && memcmp(policy_key_fingerprint(t->key), policy_key_fingerprint(key),
                                SHA256_SIZE) == 0;
}

/* Of our kind: what the proof takes values for. */
static bool is_ours(const struct token *t)
{
        return t->signed_pcrs == PCR_CHOICE_SIGNED && t->literal_pcrs & PCR_CHOICE_NEEDED &&
               !(t->literal_pcrs & ~PCR_CHOICE_LITERAL);
}

/* values: of the PCRs that the token is bound to by value. */
static int prove(struct tpm *tpm, const struct token *token, const struct starter *s,
                 const uint8_t *values, struct error *e)
{
        const struct buf *sig = image_policy_signature(s->image);

        return seal_prove(tpm, token, image_pcr11(s->image), values, sig->data, sig->len, e);
}

static void set_why(struct way *w, enum way_state state, const char *text)
{
        w->state = state;
        (void)snprintf(w->why, sizeof(w->why), "%.250s", text);
}

static void set_other_state(struct way *w)
{
        char pcrs[64];

        set_why(w, WAY_OTHER_STATE,
                "sealed to another Secure Boot state (PCR 7) than that of the next boot");
        if (w->token->literal_pcrs != PCR_CHOICE_NEEDED)
                (void)snprintf(w->why, sizeof(w->why),
                               "sealed to other values of PCRs %s than those of the next boot",
                               pcr_choice_text(w->token->literal_pcrs, pcrs, sizeof(pcrs)));
}

static void judge_for(struct way *w, struct tpm *tpm, const struct starters *all, unsigned i)
{
        const struct starter *s = &all->item[i];
        uint8_t values[PCR_CHOICE_LITERAL_COUNT * SHA256_SIZE];
        struct error error = ERROR_INIT;
        int r;

        starters_literal(all, s, w->token->literal_pcrs, values);
        r = prove(tpm, w->token, s, values, &error);
        if (r == 0)
                w->opens |= 1u << i;
        else if (w->state == WAY_UNKNOWN)
                return; /* nobody may take it for stale any more */
        else if (r == -EREMOTE)
                set_why(w, WAY_OTHER_TPM, error.text);
        else if (r == -EPERM)
                set_other_state(w);
        else
                set_why(w, WAY_UNKNOWN, error.text);
}

static void judge(struct way *w, struct tpm *tpm, const struct starters *starters)
{
        if (!is_ours(w->token)) {
                set_why(w, WAY_UNKNOWN, "a token of another policy than this program makes");
                return;
        }
        set_why(w, WAY_OTHER_KEY, "no image here is signed by its policy key");
        for (unsigned i = 0; i < starters->n; i++) {
                const struct starter *s = &starters->item[i];

                if (s->image && s->has_pcr7 && is_for_key(w->token, image_policy_key(s->image)))
                        judge_for(w, tpm, starters, i);
        }
        if (w->opens)
                set_why(w, WAY_OPENS,
                        w->token->pin ? "opens at the next boot, with its PIN"
                                      : "opens at the next boot");
}

/* --- reading --------------------------------------------------------------------------------- */

static int read_way(struct ways_volume *v, int number, struct tpm *tpm,
                    const struct starters *starters, struct error *e)
{
        struct way *w = &v->way[v->n];
        struct error error = ERROR_INIT;
        int at = number, r;

        if (!luks_token_json(v->luks, number))
                return 0;
        *w = (struct way){.number = number, .keyslot = -1};
        v->n++;
        r = luks_get_token(v->luks, number, &w->token, &error);
        if (r == 0) {
                w->keyslot = w->token->keyslot;
                if (token_id(w->token, w->id) < 0)
                        return error_oom(e);
                if (starters)
                        judge(w, tpm, starters);
                return 0;
        }
        r = recovery_key_next_slot(v->luks, &at);
        if (r >= 0 && at == number + 1) {
                w->keyslot = r;
                set_why(w, WAY_RECOVERY_KEY, "a recovery key");
        } else {
                set_why(w, WAY_UNKNOWN, error.text);
        }
        return 0;
}

int ways_judge(struct ways_volume *v, struct tpm *tpm, const struct starters *starters,
               struct error *e)
{
        int r = 0;

        for (int number = 0; number < LIMIT_LUKS_TOKENS && r == 0; number++)
                r = read_way(v, number, tpm, starters, e);
        v->unnamed = luks_unnamed_keyslots(v->luks);
        return r;
}

/* What the boot stage noted about this volume. */
static void read_note(struct json_object *report, struct ways_volume *v)
{
        struct json_object *array;

        if (!report || json_get_array(report, "partitions", &array) < 0)
                return;
        for (size_t i = 0; i < json_object_array_length(array); i++) {
                struct json_object *o = json_object_array_get_idx(array, i);
                const char *name, *with;

                if (json_get_str(o, "name", &name) == 0 &&
                    strcmp(name, v->volume->partition->name) == 0 &&
                    json_get_str(o, "unlocked_with", &with) == 0)
                        (void)snprintf(v->unlocked_with, sizeof(v->unlocked_with), "%s", with);
        }
}

static int read_volume(const struct node *node, const struct data_volume *volume, struct tpm *tpm,
                       const struct starters *starters, struct json_object *report,
                       struct ways *ways, struct error *e)
{
        struct ways_volume *v = &ways->volume[ways->n];
        struct error error = ERROR_INIT;
        int r;

        *v = (struct ways_volume){.volume = volume};
        r = data_open_header(node, volume, &v->device, &v->luks, &error);
        if (r < 0 && !volume->label) {
                if (r != -EMEDIUMTYPE)
                        log_warning("%s is left out: %s", volume->partition->name, error.text);
                ways_volume_done(v);
                return 0;
        }
        ways->n++;
        if (r < 0) {
                if (e)
                        *e = error;
                return error_wrap(e, r, "%s", volume->partition->name);
        }
        read_note(report, v);
        return ways_judge(v, tpm, starters, e);
}

int ways_read(const struct env *env, const struct node *node, struct tpm *tpm,
              const struct starters *starters, struct ways *ret, struct error *e)
{
        _cleanup_json_ struct json_object *report = NULL;
        int r = 0;

        ret->n = 0;
        if (!node->oem || !node->persistent)
                return error_set(e, ERROR_PRECONDITION, ENXIO,
                                 "%s: no node's disk: a data partition is missing",
                                 node->disk->path);
        if (boot_report_read(env, &report, NULL) < 0)
                report = NULL;
        data_list(node, &ret->list);
        for (size_t i = 0; i < ret->list.n && r == 0; i++)
                r = read_volume(node, &ret->list.item[i], tpm, starters, report, ret, e);
        if (r < 0)
                ways_done(ret);
        return r;
}

/* --- questions ------------------------------------------------------------------------------- */

const struct way *ways_proven(const struct ways_volume *v, const struct starters *starters)
{
        for (unsigned i = 0; i < v->n; i++) {
                const struct way *w = &v->way[i];

                for (unsigned k = 0; k < starters->n; k++)
                        if (*w->id && strcmp(w->id, v->unlocked_with) == 0 &&
                            starters->item[k].running && w->opens & 1u << k)
                                return w;
        }
        return NULL;
}

unsigned ways_opened(const struct ways_volume *v, uint32_t without)
{
        unsigned opened = 0;

        for (unsigned i = 0; i < v->n; i++)
                if (!(without & UINT32_C(1) << i))
                        opened |= v->way[i].opens;
        return opened;
}

static struct seal_policy policy_of(const struct ways_seal *seal, const struct secret *pin)
{
        return (struct seal_policy){.key = seal->key,
                                    .signed_pcrs = PCR_CHOICE_SIGNED,
                                    .literal_pcrs = seal->literal_pcrs,
                                    .literal_values = seal->literal_values,
                                    .pin = pin};
}

/* With the image's own PCR 7, whatever was sealed to. */
static int prove_seal(const struct ways_seal *seal, const struct token *token, struct error *e)
{
        unsigned at = (unsigned)__builtin_popcount(seal->literal_pcrs & (PCR_CHOICE_NEEDED - 1));
        uint8_t values[sizeof(seal->literal_values)];

        if (!seal->prove)
                return seal_loads(seal->tpm, token, e);
        memcpy(values, seal->literal_values, sizeof(values));
        memcpy(values + at * SHA256_SIZE, seal->prove->pcr7, SHA256_SIZE);
        return prove(seal->tpm, token, seal->prove, values, e);
}

bool ways_has(const struct ways_volume *v, const struct ways_seal *seal)
{
        /* The policy says that there is a PIN, and not which. */
        static const struct secret some;
        const struct seal_policy policy = policy_of(seal, seal->with_pin ? &some : NULL);
        uint8_t digest[SHA256_SIZE];

        if (seal_policy_digest(&policy, digest, NULL) < 0)
                return false;
        for (unsigned i = 0; i < v->n; i++) {
                const struct token *t = v->way[i].token;

                if (!t || !is_ours(t) || memcmp(t->policy_hash, digest, SHA256_SIZE) != 0 ||
                    t->literal_pcrs != seal->literal_pcrs || t->pin != seal->with_pin)
                        continue;
                if (prove_seal(seal, t, NULL) == 0)
                        return true;
        }
        return false;
}

/* --- changes --------------------------------------------------------------------------------- */

int ways_clean(struct ways_volume *v, struct error *e)
{
        uint32_t unnamed = luks_unnamed_keyslots(v->luks);
        int n = 0, r = 0;

        for (int slot = 0; slot < LIMIT_LUKS_KEYSLOTS && r == 0; slot++) {
                if (!(unnamed & UINT32_C(1) << slot))
                        continue;
                log_info("%s: key slot %d is left of an interrupted change, it is wiped", v->device,
                         slot);
                r = luks_remove_keyslot(v->luks, slot, e);
                n++;
        }
        return r < 0 ? r : n;
}

int ways_remove(struct ways_volume *v, const struct way *way, struct error *e)
{
        int r = luks_remove_token(v->luks, way->number, e);

        if (r == 0 && way->keyslot >= 0 &&
            luks_unnamed_keyslots(v->luks) & UINT32_C(1) << way->keyslot)
                r = luks_remove_keyslot(v->luks, way->keyslot, e);
        return r < 0 ? error_wrap(e, r, "%s", v->volume->partition->name) : 0;
}

/* Reads the header again, and finds what was just written. */
static int prove_token(struct ways_volume *v, const struct ways_seal *seal, int number,
                       const struct secret *passphrase, struct error *e)
{
        _cleanup_(luks_free_p) struct luks *luks = NULL;
        _cleanup_(token_free_p) struct token *token = NULL;
        int r = luks_open(v->device, &luks, e);

        if (r == 0)
                r = luks_check_header(luks, v->volume->label ?: luks_label(luks), e);
        if (r == 0)
                r = luks_get_token(luks, number, &token, e);
        if (r == 0)
                r = prove_seal(seal, token, e);
        if (r == 0 && seal->with_pin)
                r = seal_check_pin(seal->tpm, token, seal->pin, e);
        if (r == 0)
                r = luks_test_secret(luks, token->keyslot, passphrase, e);
        return r < 0 ? error_wrap(e, r, "proving the new token") : 0;
}

/* After a failure, whose error is the one to tell. */
static void take_back(struct ways_volume *v, int number, int slot)
{
        if (number >= 0 && luks_remove_token(v->luks, number, NULL) < 0)
                log_warning("%s: token %d, which was not proven, is left", v->device, number);
        if (slot >= 0 && luks_remove_keyslot(v->luks, slot, NULL) < 0)
                log_warning("%s: key slot %d, which was not proven, is left", v->device, slot);
}

static int write_token(struct ways_volume *v, struct token *token, int *ret_number, struct error *e)
{
        _cleanup_(buf_done) struct buf json = BUF_INIT(LIMIT_TOKEN_JSON);
        int r = token_format(token, &json, e);

        return r < 0 ? r : luks_set_token(v->luks, LUKS_ANY_TOKEN, buf_str(&json), ret_number, e);
}

int ways_add_tpm(struct ways_volume *v, const struct secret *volume_key,
                 const struct ways_seal *seal, struct error *e)
{
        const struct seal_policy policy = policy_of(seal, seal->with_pin ? seal->pin : NULL);
        _cleanup_(secret_free_p) struct secret *secret = secret_random(SEAL_SECRET_SIZE),
                                               *passphrase = NULL;
        _cleanup_(token_free_p) struct token *token = NULL;
        int slot = -1, number = -1, r;

        passphrase = secret ? secret_base64(secret) : NULL;
        if (!passphrase)
                return error_errno(e, errno, "key material");
        if (seal->with_pin && !seal->pin)
                return error_set(e, ERROR_INTERNAL, EINVAL, "a PIN is missing");
        r = seal_create(seal->tpm, &policy, secret, &token, e);
        if (r == 0)
                r = luks_add_keyslot(v->luks, volume_key, passphrase, &slot, e);
        if (r == 0) {
                token->keyslot = slot;
                r = write_token(v, token, &number, e);
        }
        if (r == 0)
                r = prove_token(v, seal, number, passphrase, e);
        if (r < 0)
                take_back(v, number, slot);
        return r < 0 ? error_wrap(e, r, "%s", v->volume->partition->name) : 0;
}

static int prove_key(struct ways_volume *v, const struct secret *key, struct error *e)
{
        _cleanup_(luks_free_p) struct luks *luks = NULL;
        int r = luks_open(v->device, &luks, e);

        if (r == 0)
                r = luks_check_header(luks, v->volume->label ?: luks_label(luks), e);
        if (r == 0)
                r = recovery_key_find_slot(luks, key, e);
        return r < 0 ? error_wrap(e, r, "proving the new recovery key") : 0;
}

int ways_add_key(struct ways_volume *v, const struct secret *volume_key, const struct secret *key,
                 struct error *e)
{
        int r = recovery_key_enrol(v->luks, volume_key, key, e);

        if (r == 0)
                r = prove_key(v, key, e);
        return r < 0 ? error_wrap(e, r, "%s", v->volume->partition->name) : 0;
}

/* --- telling --------------------------------------------------------------------------------- */

static int add_opens(struct json_object *o, const struct way *w, const struct starters *starters)
{
        struct json_object *array = json_object_new_array();
        int r = json_add_obj(o, "opens", array);

        for (unsigned i = 0; starters && i < starters->n && r == 0; i++)
                if (w->opens & 1u << i)
                        r = json_append(array, json_new_str(starters->item[i].file));
        return r;
}

static int add_policy_key(struct json_object *o, const struct way *w)
{
        char hex[SHA256_HEX_SIZE];

        if (!w->token || !w->token->key)
                return json_add_null(o, "policy_key");
        hex_encode(policy_key_fingerprint(w->token->key), SHA256_SIZE, hex);
        return json_add_str(o, "policy_key", hex);
}

/* null and false for what is no token of a TPM. */
static int add_demands(struct json_object *o, const struct token *t)
{
        int r = t ? json_add_obj(o, "pcrs", pcr_choice_json(t->signed_pcrs | t->literal_pcrs))
                  : json_add_null(o, "pcrs");

        return r < 0 ? r : json_add_bool(o, "pin", t && t->pin);
}

static int add_way(struct json_object *array, const struct ways_volume *v, const struct way *w,
                   const struct starters *starters)
{
        struct json_object *o = json_object_new_object();
        int r = json_append(array, o);

        if (r == 0)
                r = json_add_u64(o, "token", (uint64_t)w->number);
        if (r == 0)
                r = w->keyslot < 0 ? json_add_null(o, "keyslot")
                                   : json_add_u64(o, "keyslot", (uint64_t)w->keyslot);
        if (r == 0)
                r = json_add_str(o, "kind",
                                 w->token                       ? "tpm2"
                                 : w->state == WAY_RECOVERY_KEY ? "recovery-key"
                                                                : NULL);
        if (r == 0)
                r = json_add_str(o, "id", *w->id ? w->id : NULL);
        if (r == 0)
                r = json_add_str(o, "state", way_state_name(w->state));
        if (r == 0)
                r = add_opens(o, w, starters);
        if (r == 0)
                r = add_policy_key(o, w);
        if (r == 0)
                r = add_demands(o, w->token);
        if (r == 0)
                r = json_add_bool(o, "unlocked_this_boot",
                                  *w->id && strcmp(w->id, v->unlocked_with) == 0);
        if (r == 0)
                r = json_add_str(o, "text", *w->why ? w->why : NULL);
        return r;
}

static int add_unnamed(struct json_object *o, uint32_t slots)
{
        struct json_object *array = json_object_new_array();
        int r = json_add_obj(o, "unnamed_keyslots", array);

        for (int slot = 0; slot < LIMIT_LUKS_KEYSLOTS && r == 0; slot++)
                if (slots & UINT32_C(1) << slot)
                        r = json_append(array, json_object_new_int(slot));
        return r;
}

static int add_volume(struct json_object *array, const struct ways_volume *v,
                      const struct starters *starters)
{
        struct json_object *o = json_object_new_object(), *ways = json_object_new_array();
        int r = json_append(array, o);

        if (json_add_obj(o, "ways", ways) < 0)
                r = -ENOMEM;
        if (r == 0)
                r = json_add_str(o, "name", v->volume->partition->name);
        if (r == 0)
                r = json_add_str(o, "device", v->device);
        for (unsigned i = 0; i < v->n && r == 0; i++)
                r = add_way(ways, v, &v->way[i], starters);
        return r < 0 ? r : add_unnamed(o, v->unnamed);
}

struct json_object *ways_json(const struct ways *w, const struct starters *starters)
{
        _cleanup_json_ struct json_object *array = json_object_new_array();
        int r = array ? 0 : -ENOMEM;

        for (unsigned i = 0; i < w->n && r == 0; i++)
                r = add_volume(array, &w->volume[i], starters);
        return r < 0 ? NULL : TAKE_PTR(array);
}
