/* SPDX-License-Identifier: Apache-2.0 */
#include "partition/seal.h"

#include <string.h>

#include "base/limits.h"
#include "partition/tpm_esys.h"

static const char advice_enrol[] = "Unlock with the recovery key and enrol again";

static size_t values_size(uint32_t mask)
{
        return SHA256_SIZE * (size_t)__builtin_popcount(mask);
}

/* Digest of the whole policy when the signing key goes by this name. */
static int final_digest(const uint8_t *key_name, uint32_t literal_pcrs, const uint8_t *values,
                        bool pin, uint8_t ret[SHA256_SIZE])
{
        int r = 0;

        memset(ret, 0, SHA256_SIZE);
        if (key_name)
                r = policy_authorize_name(ret, key_name);
        if (r >= 0 && literal_pcrs != 0)
                r = policy_pcr(ret, literal_pcrs, values, values_size(literal_pcrs));
        if (r >= 0 && pin)
                r = policy_auth_value(ret);
        return r;
}

int seal_policy_digest(const struct seal_policy *policy, uint8_t ret[SHA256_SIZE], struct error *e)
{
        const uint8_t *name = policy->signed_pcrs != 0 ? policy_key_name(policy->key) : NULL;

        if (policy->signed_pcrs == 0 && policy->literal_pcrs == 0)
                return error_set(e, ERROR_INTERNAL, EINVAL, "a policy that binds nothing");
        if (final_digest(name, policy->literal_pcrs, policy->literal_values, policy->pin != NULL,
                         ret) < 0)
                return error_set(e, ERROR_INTERNAL, EINVAL, "cannot compute the policy");
        return 0;
}

/* --- create --- */

/* The token owns a copy of the key. */
static int copy_key(const struct policy_key *key, struct policy_key **ret, struct error *e)
{
        size_t n;
        const uint8_t *pem = policy_key_pem(key, &n);

        return policy_key_from_pem(pem, n, ret, e);
}

int seal_create(struct tpm *tpm, const struct seal_policy *policy, const struct secret *secret,
                struct token **ret, struct error *e)
{
        _cleanup_(token_free_p) struct token *t = token_new();
        _cleanup_(buf_done) struct buf blob = BUF_INIT(LIMIT_TPM_BLOB);
        _cleanup_(secret_free_p) struct secret *auth = NULL;
        const struct tpm_parent *parent;
        int r;

        if (!t || (policy->pin && pin_auth(policy->pin, NULL, &auth) < 0))
                return error_oom(e);
        t->pin = policy->pin != NULL;
        t->signed_pcrs = policy->signed_pcrs;
        t->literal_pcrs = policy->literal_pcrs;
        r = seal_policy_digest(policy, t->policy_hash, e);
        if (r >= 0 && policy->signed_pcrs != 0)
                r = copy_key(policy->key, &t->key, e);
        if (r >= 0)
                r = tpm_parent_legacy(tpm, false, &parent, e);
        if (r >= 0)
                r = tpm_seal(tpm, parent, secret, auth, t->policy_hash, &blob, e);
        if (r < 0)
                return r;
        memcpy(t->parent_name, parent->name, POLICY_NAME_SIZE);
        t->has_parent_name = true;
        t->blob = TAKE_PTR(blob.data);
        t->blob_size = blob.len;
        *ret = TAKE_PTR(t);
        return 0;
}

/* --- common to proof and opening --- */

/* The blob in parts. The policy in its public area is the one the TPM enforces. */
static int get_blob(const struct token *token, struct tpm_blob *ret, struct error *e)
{
        int r = tpm_blob_parse(token->blob, token->blob_size, ret, e);

        if (r >= 0 &&
            memcmp(ret->public.publicArea.authPolicy.buffer, token->policy_hash, SHA256_SIZE) != 0)
                r = error_set(e, ERROR_PRECONDITION, EBADMSG,
                              "the token and its sealed blob name different policies");
        if (r < 0)
                error_advise(e, "%s", advice_enrol);
        return r;
}

static int get_parent(struct tpm *tpm, const struct token *token, const struct tpm_parent **ret,
                      struct error *e)
{
        const struct tpm_parent *p;
        int r;

        if (token->persistent)
                return tpm_parent_persistent(tpm, token->parent_handle, token->parent_name, ret, e);
        r = tpm_parent_legacy(tpm, token->rsa_primary, &p, e);
        if (r < 0)
                return r;
        if (token->has_parent_name && memcmp(p->name, token->parent_name, POLICY_NAME_SIZE) != 0)
                return tpm_rc_error(TPM2_RC_INTEGRITY, "the TPM's primary key is another one", e);
        *ret = p;
        return 0;
}

static int load_blob(struct tpm *tpm, const struct token *token, const struct tpm_parent *parent,
                     const struct tpm_blob *blob, struct tpm_ref *ret, struct error *e)
{
        int r = tpm_load(tpm, parent, blob, ret, e);

        /* Where the parent is known to be the right one, it can only be the blob. */
        if (r == -EREMOTE && token->has_parent_name) {
                error_clear(e);
                r = error_set(e, ERROR_PRECONDITION, EBADMSG, "sealed blob is damaged");
                error_advise(e, "%s", advice_enrol);
        }
        return r;
}

/* --- proof --- */

static int trial_digest(struct tpm *tpm, const struct token *token, const uint8_t *signed_values,
                        const uint8_t *literal_values, uint8_t ret[SHA256_SIZE], struct error *e)
{
        _cleanup_tpm_ref_ struct tpm_ref session = TPM_REF_INIT(tpm);
        int r;

        r = tpm_session(tpm, NULL, TPM2_SE_TRIAL, TPMA_SESSION_CONTINUESESSION, &session, e);
        if (r >= 0 && token->signed_pcrs != 0)
                r = tpm_policy_pcr(tpm, &session, token->signed_pcrs, signed_values, e);
        if (r >= 0 && token->signed_pcrs != 0)
                r = tpm_policy_authorize(tpm, &session, e);
        if (r >= 0 && token->literal_pcrs != 0)
                r = tpm_policy_pcr(tpm, &session, token->literal_pcrs, literal_values, e);
        if (r >= 0 && token->pin)
                r = tpm_policy_auth_value(tpm, &session, e);
        return r < 0 ? r : tpm_policy_digest(tpm, &session, ret, e);
}

int seal_prove(struct tpm *tpm, const struct token *token, const uint8_t *signed_values,
               const uint8_t *literal_values, const uint8_t *sig, size_t sig_len, struct error *e)
{
        _cleanup_tpm_ref_ struct tpm_ref object = TPM_REF_INIT(tpm);
        uint8_t pol[SHA256_SIZE] = {0}, digest[SHA256_SIZE];
        const struct tpm_parent *parent;
        struct tpm_blob blob;
        int r;

        r = get_blob(token, &blob, e);
        if (r >= 0)
                r = get_parent(tpm, token, &parent, e);
        if (r >= 0)
                r = load_blob(tpm, token, parent, &blob, &object, e);
        /* The slots of a TPM are few: the key comes after the blob has gone. */
        tpm_ref_done(&object);
        if (r >= 0 && token->signed_pcrs != 0) {
                r = policy_pcr(pol, token->signed_pcrs, signed_values,
                               values_size(token->signed_pcrs));
                if (r < 0)
                        return error_oom(e);
                r = tpm_approve(tpm, token->key, false, pol, sig, sig_len, e);
        }
        if (r >= 0)
                r = trial_digest(tpm, token, signed_values, literal_values, digest, e);
        if (r < 0)
                return r;
        if (memcmp(digest, blob.public.publicArea.authPolicy.buffer, SHA256_SIZE) != 0) {
                r = error_set(e, ERROR_PRECONDITION, EPERM,
                              "the token would not open: its policy is another one");
                error_advise(e, "Enrol again for the values that the next boot will have");
                return r;
        }
        return 0;
}

int seal_loads(struct tpm *tpm, const struct token *token, struct error *e)
{
        _cleanup_tpm_ref_ struct tpm_ref object = TPM_REF_INIT(tpm);
        const struct tpm_parent *parent;
        struct tpm_blob blob;
        int r = get_blob(token, &blob, e);

        if (r >= 0)
                r = get_parent(tpm, token, &parent, e);
        return r < 0 ? r : load_blob(tpm, token, parent, &blob, &object, e);
}

int seal_check_pin(struct tpm *tpm, const struct token *token, const struct secret *pin,
                   struct error *e)
{
        _cleanup_tpm_ref_ struct tpm_ref object = TPM_REF_INIT(tpm);
        _cleanup_(secret_free_p) struct secret *auth = NULL;
        const struct tpm_parent *parent;
        struct tpm_blob blob;
        int r = get_blob(token, &blob, e);

        if (r < 0)
                return r;
        if (!token->pin || blob.public.publicArea.objectAttributes & TPMA_OBJECT_ADMINWITHPOLICY)
                return error_set(e, ERROR_PRECONDITION, EOPNOTSUPP,
                                 "the token has no PIN that could be compared");
        if (pin_auth(pin, token->has_salt ? token->salt : NULL, &auth) < 0)
                return error_oom(e);
        r = get_parent(tpm, token, &parent, e);
        if (r >= 0)
                r = load_blob(tpm, token, parent, &blob, &object, e);
        return r < 0 ? r : tpm_compare_auth(tpm, parent, &object, auth, e);
}

/* --- opening --- */

/* One attempt: what the machine measures now, and the policy that follows. */
struct attempt {
        uint8_t signed_values[TPM_PCR_COUNT * SHA256_SIZE];
        uint8_t literal_values[TPM_PCR_COUNT * SHA256_SIZE];
        uint8_t pol[SHA256_SIZE];
        bool exponent0;
};

/* Reads both sets with one command and sorts them out. */
static int read_values(struct tpm *tpm, const struct token *token, struct attempt *a,
                       struct error *e)
{
        uint8_t all[TPM_PCR_COUNT * SHA256_SIZE];
        uint8_t *s = a->signed_values, *l = a->literal_values;
        const uint8_t *at = all;
        int r;

        r = tpm_read_pcrs(tpm, token->signed_pcrs | token->literal_pcrs, all, e);
        if (r < 0)
                return r;
        for (uint32_t bit = 1; bit < 1u << TPM_PCR_COUNT; bit <<= 1) {
                if (token->signed_pcrs & bit) {
                        memcpy(s, at, SHA256_SIZE);
                        s += SHA256_SIZE;
                }
                if (token->literal_pcrs & bit) {
                        memcpy(l, at, SHA256_SIZE);
                        l += SHA256_SIZE;
                }
                if ((token->signed_pcrs | token->literal_pcrs) & bit)
                        at += SHA256_SIZE;
        }
        return 0;
}

/*
 * Compares with the policy in the blob. A key enrolled with the exponent field 0 has another name
 * and so gives another policy: computing both costs nothing.
 */
static int check_policy(const struct token *token, const struct tpm_blob *blob, struct attempt *a,
                        struct error *e)
{
        const uint8_t *want = blob->public.publicArea.authPolicy.buffer;
        uint8_t digest[SHA256_SIZE];
        int r;

        for (unsigned exponent0 = 0; exponent0 < (token->key ? 2u : 1u); exponent0++) {
                const uint8_t *name = !token->key ? NULL
                                      : exponent0 ? policy_key_name_exponent0(token->key)
                                                  : policy_key_name(token->key);

                if (final_digest(name, token->literal_pcrs, a->literal_values, token->pin, digest) <
                    0)
                        return error_oom(e);
                if (memcmp(digest, want, SHA256_SIZE) == 0) {
                        a->exponent0 = exponent0 != 0;
                        return 0;
                }
        }
        if (token->literal_pcrs == 0) {
                r = error_set(e, ERROR_PRECONDITION, EBADMSG,
                              "the sealed blob belongs to another policy key than the token says");
                error_advise(e, "%s", advice_enrol);
                return r;
        }
        r = error_set(e, ERROR_PRECONDITION, EPERM,
                      "the machine's state is not what the secret was sealed to (PCR mask 0x%x)",
                      token->literal_pcrs);
        error_advise(e, "Restore the Secure Boot settings, or unlock with the recovery key and "
                        "enrol again");
        return r;
}

static int no_signature(int r, struct error *e)
{
        switch (r) {
        case -ENOENT:
                r = error_set(e, ERROR_PRECONDITION, ENOSTR,
                              "no signature covers the current value of the signed PCRs");
                error_advise(e, "Only an image signed by the enrolled policy key unlocks, and only "
                                "early in its boot: start another entry, or use the recovery key");
                return r;
        case -ENOKEY:
                r = error_set(e, ERROR_PRECONDITION, ENOKEY,
                              "the image brings no signature by the enrolled policy key");
                error_advise(e, "Start an image signed by that key, or unlock with the recovery "
                                "key and enrol again");
                return r;
        case -ENOMEM:
                return error_oom(e);
        default:
                return error_set(e, ERROR_PRECONDITION, -r, "cannot look for a policy signature");
        }
}

/* Everything that needs no secret: values, policy, signature. */
static int prepare(struct tpm *tpm, const struct token *token, const struct tpm_blob *blob,
                   seal_find_signature_fn find, void *ctx, struct attempt *a, struct error *e)
{
        _cleanup_(buf_done) struct buf sig = BUF_INIT(LIMIT_PCRSIG);
        int r;

        r = read_values(tpm, token, a, e);
        if (r >= 0)
                r = check_policy(token, blob, a, e);
        if (r < 0 || token->signed_pcrs == 0)
                return r;
        memset(a->pol, 0, sizeof(a->pol));
        if (policy_pcr(a->pol, token->signed_pcrs, a->signed_values,
                       values_size(token->signed_pcrs)) < 0)
                return error_oom(e);
        r = find(ctx, policy_key_fingerprint(token->key), a->pol, &sig);
        if (r < 0)
                return no_signature(r, e);
        return tpm_approve(tpm, token->key, a->exponent0, a->pol, sig.data, sig.len, e);
}

static int satisfy(struct tpm *tpm, const struct token *token, const struct attempt *a,
                   const struct tpm_ref *session, struct error *e)
{
        int r = 0;

        if (token->signed_pcrs != 0) {
                r = tpm_policy_pcr(tpm, session, token->signed_pcrs, a->signed_values, e);
                if (r >= 0)
                        r = tpm_policy_authorize(tpm, session, e);
        }
        if (r >= 0 && token->literal_pcrs != 0)
                r = tpm_policy_pcr(tpm, session, token->literal_pcrs, a->literal_values, e);
        if (r >= 0 && token->pin)
                r = tpm_policy_auth_value(tpm, session, e);
        return r;
}

/* Parent, object and session of one opening; the last two are made when first needed. */
struct opening {
        const struct tpm_parent *parent;
        struct tpm_ref object;
        struct tpm_ref session;
        struct secret *auth; /* of the PIN; NULL: there is none */
};

static int no_pin(struct error *e)
{
        error_set(e, ERROR_PRECONDITION, ENOANO, "the TPM wants a PIN");
        error_advise(e, "Type the PIN at the console when the node starts");
        return -ENOANO;
}

static int open_once(struct tpm *tpm, const struct token *token, const struct tpm_blob *blob,
                     const struct attempt *a, struct opening *o, struct secret **ret,
                     struct error *e)
{
        int r = 0;

        if (o->object.esys == ESYS_TR_NONE)
                r = load_blob(tpm, token, o->parent, blob, &o->object, e);
        /* Nobody is asked for a PIN that would not help. */
        if (r >= 0 && token->pin && !o->auth)
                return no_pin(e);
        if (r >= 0 && o->auth)
                r = tpm_set_auth(tpm, &o->object, o->auth, e);
        if (r < 0)
                return r;
        /* One session does both: it satisfies the policy and encrypts the answer. Without
         * "continue" it ends with the answer. */
        if (o->session.esys == ESYS_TR_NONE)
                r = tpm_session(tpm, o->parent, TPM2_SE_POLICY, TPMA_SESSION_ENCRYPT, &o->session,
                                e);
        else
                r = tpm_policy_restart(tpm, &o->session, e);
        if (r >= 0)
                r = satisfy(tpm, token, a, &o->session, e);
        return r < 0 ? r : tpm_unseal(tpm, &o->object, &o->session, ret, e);
}

static int open_with_retries(struct tpm *tpm, const struct token *token,
                             const struct tpm_blob *blob, seal_find_signature_fn find, void *ctx,
                             struct opening *o, struct secret **ret, struct error *e)
{
        struct attempt a = {.exponent0 = false};
        int r = -ESTALE;

        for (unsigned i = 0; r == -ESTALE && i < LIMIT_TPM_PCR_RETRIES; i++) {
                error_clear(e);
                r = prepare(tpm, token, blob, find, ctx, &a, e);
                if (r >= 0)
                        r = open_once(tpm, token, blob, &a, o, ret, e);
        }
        return r;
}

int seal_open(struct tpm *tpm, const struct token *token, const struct secret *pin,
              seal_find_signature_fn find, void *ctx, struct secret **ret, struct error *e)
{
        struct opening o = {.object = TPM_REF_INIT(tpm), .session = TPM_REF_INIT(tpm)};
        struct tpm_blob blob;
        int r;

        if (token->pin && pin && pin_auth(pin, token->has_salt ? token->salt : NULL, &o.auth) < 0)
                return error_oom(e);
        r = get_blob(token, &blob, e);
        /* The parent first: "another TPM" explains everything that would come after. */
        if (r >= 0)
                r = get_parent(tpm, token, &o.parent, e);
        if (r >= 0)
                r = open_with_retries(tpm, token, &blob, find, ctx, &o, ret, e);
        tpm_ref_done(&o.session);
        tpm_ref_done(&o.object);
        secret_free(o.auth);
        return r;
}
