/* SPDX-License-Identifier: Apache-2.0 */
/* Sessions and policy assertions. */
#include "partition/tpm_esys.h"

#include <string.h>

static const TPMT_SYM_DEF session_cipher = {
        .algorithm = TPM2_ALG_AES, .keyBits.aes = 128, .mode.aes = TPM2_ALG_CFB};

int tpm_session(struct tpm *t, const struct tpm_parent *parent, TPM2_SE type,
                TPMA_SESSION attributes, struct tpm_ref *ret, struct error *e)
{
        static const TPMT_SYM_DEF no_cipher = {.algorithm = TPM2_ALG_NULL};
        TSS2_RC rc;

        rc = Esys_StartAuthSession(t->esys, parent ? parent->esys : ESYS_TR_NONE, ESYS_TR_NONE,
                                   ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, NULL, type,
                                   parent ? &session_cipher : &no_cipher, TPM2_ALG_SHA256,
                                   &ret->esys);
        if (rc != TSS2_RC_SUCCESS) {
                ret->esys = ESYS_TR_NONE;
                return tpm_rc_error(rc, "cannot start a TPM session", e);
        }
        rc = Esys_TRSess_SetAttributes(t->esys, ret->esys, attributes, 0xff);
        if (rc != TSS2_RC_SUCCESS)
                return tpm_rc_error(rc, "cannot set up a TPM session", e);
        return 0;
}

int tpm_policy_pcr(struct tpm *t, const struct tpm_ref *session, uint32_t mask,
                   const uint8_t *values, struct error *e)
{
        TPM2B_DIGEST digest = {.size = SHA256_SIZE};
        const TPML_PCR_SELECTION selection = {
                .count = 1,
                .pcrSelections[0] = {.hash = TPM2_ALG_SHA256,
                                     .sizeofSelect = TPM_PCR_COUNT / 8,
                                     .pcrSelect = {(uint8_t)mask, (uint8_t)(mask >> 8),
                                                   (uint8_t)(mask >> 16)}},
        };
        TSS2_RC rc;
        int r;

        r = sha256(values, SHA256_SIZE * (size_t)__builtin_popcount(mask), digest.buffer);
        if (r < 0)
                return error_oom(e);
        rc = Esys_PolicyPCR(t->esys, session->esys, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE,
                            &digest, &selection);
        /* The digest given does not fit: between our reading and now something was measured. */
        if (tpm_rc_base(rc) == TPM2_RC_VALUE)
                rc = TPM2_RC_PCR_CHANGED;
        return rc == TSS2_RC_SUCCESS ? 0 : tpm_rc_error(rc, "cannot assert PCR values", e);
}

/* The public area whose name policy_key_name() computes. */
static TPM2B_PUBLIC key_public(const struct policy_key *key, bool exponent0)
{
        TPM2B_PUBLIC p = {
                .publicArea =
                        {
                                .type = TPM2_ALG_RSA,
                                .nameAlg = TPM2_ALG_SHA256,
                                .objectAttributes = TPMA_OBJECT_USERWITHAUTH | TPMA_OBJECT_DECRYPT |
                                                    TPMA_OBJECT_SIGN_ENCRYPT,
                                .parameters.rsaDetail =
                                        {
                                                .symmetric.algorithm = TPM2_ALG_NULL,
                                                .scheme.scheme = TPM2_ALG_NULL,
                                                .exponent = exponent0 ? 0 : 65537,
                                        },
                        },
        };
        size_t n;
        const uint8_t *modulus = policy_key_modulus(key, &n);

        p.publicArea.parameters.rsaDetail.keyBits = (uint16_t)(n * 8);
        p.publicArea.unique.rsa.size = (uint16_t)n;
        memcpy(p.publicArea.unique.rsa.buffer, modulus, n);
        return p;
}

static int verify_on_tpm(struct tpm *t, const struct tpm_ref *key, const uint8_t *pol,
                         const uint8_t *sig, size_t sig_len, struct error *e)
{
        TPMT_SIGNATURE signature = {
                .sigAlg = TPM2_ALG_RSASSA,
                .signature.rsassa = {.hash = TPM2_ALG_SHA256, .sig.size = (uint16_t)sig_len},
        };
        TPM2B_DIGEST digest = {.size = SHA256_SIZE};
        _cleanup_esys_ TPMT_TK_VERIFIED *ticket = NULL;
        TSS2_RC rc;

        if (sha256(pol, SHA256_SIZE, digest.buffer) < 0)
                return error_oom(e);
        memcpy(signature.signature.rsassa.sig.buffer, sig, sig_len);
        rc = Esys_VerifySignature(t->esys, key->esys, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE,
                                  &digest, &signature, &ticket);
        if (rc != TSS2_RC_SUCCESS)
                return tpm_rc_error(rc, "cannot verify the policy signature", e);
        t->approval.ticket = *ticket;
        return 0;
}

int tpm_approve(struct tpm *t, const struct policy_key *key, bool exponent0,
                const uint8_t pol[SHA256_SIZE], const uint8_t *sig, size_t sig_len, struct error *e)
{
        const uint8_t *name = exponent0 ? policy_key_name_exponent0(key) : policy_key_name(key);
        const TPM2B_PUBLIC public = key_public(key, exponent0);
        _cleanup_tpm_ref_ struct tpm_ref loaded = TPM_REF_INIT(t);
        struct tpm_approval *a = &t->approval;
        TSS2_RC rc;
        int r;

        /* Also when the TPM was already convinced: this very signature must be good. */
        if (policy_key_verify(key, pol, sig, sig_len) < 0)
                return tpm_rc_error(TPM2_RC_SIGNATURE, "policy signature", e);
        if (a->valid && memcmp(a->key_name, name, POLICY_NAME_SIZE) == 0 &&
            memcmp(a->pol, pol, SHA256_SIZE) == 0)
                return 0;
        a->valid = false;
        rc = Esys_LoadExternal(t->esys, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, NULL, &public,
                               ESYS_TR_RH_OWNER, &loaded.esys);
        if (rc != TSS2_RC_SUCCESS) {
                loaded.esys = ESYS_TR_NONE;
                return tpm_rc_error(rc, "cannot load the policy key", e);
        }
        r = verify_on_tpm(t, &loaded, pol, sig, sig_len, e);
        if (r < 0)
                return r;
        memcpy(a->key_name, name, POLICY_NAME_SIZE);
        memcpy(a->pol, pol, SHA256_SIZE);
        a->valid = true;
        return 0;
}

int tpm_policy_authorize(struct tpm *t, const struct tpm_ref *session, struct error *e)
{
        const struct tpm_approval *a = &t->approval;
        const TPM2B_NONCE no_ref = {.size = 0};
        TPM2B_DIGEST approved = {.size = SHA256_SIZE};
        TPM2B_NAME name = {.size = POLICY_NAME_SIZE};
        TSS2_RC rc;

        if (!a->valid)
                return error_set(e, ERROR_INTERNAL, EINVAL, "no approved policy");
        memcpy(approved.buffer, a->pol, SHA256_SIZE);
        memcpy(name.name, a->key_name, POLICY_NAME_SIZE);
        rc = Esys_PolicyAuthorize(t->esys, session->esys, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE,
                                  &approved, &no_ref, &name, &a->ticket);
        return rc == TSS2_RC_SUCCESS ? 0 : tpm_rc_error(rc, "cannot authorize the policy", e);
}

int tpm_policy_auth_value(struct tpm *t, const struct tpm_ref *session, struct error *e)
{
        TSS2_RC rc = Esys_PolicyAuthValue(t->esys, session->esys, ESYS_TR_NONE, ESYS_TR_NONE,
                                          ESYS_TR_NONE);

        return rc == TSS2_RC_SUCCESS ? 0 : tpm_rc_error(rc, "cannot demand a PIN", e);
}

int tpm_policy_digest(struct tpm *t, const struct tpm_ref *session, uint8_t ret[SHA256_SIZE],
                      struct error *e)
{
        _cleanup_esys_ TPM2B_DIGEST *digest = NULL;
        TSS2_RC rc;

        rc = Esys_PolicyGetDigest(t->esys, session->esys, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE,
                                  &digest);
        if (rc != TSS2_RC_SUCCESS)
                return tpm_rc_error(rc, "cannot read the policy digest", e);
        if (digest->size != SHA256_SIZE)
                return error_set(e, ERROR_PRECONDITION, EIO, "policy digest of wrong size");
        memcpy(ret, digest->buffer, SHA256_SIZE);
        return 0;
}

int tpm_policy_restart(struct tpm *t, const struct tpm_ref *session, struct error *e)
{
        TSS2_RC rc = Esys_PolicyRestart(t->esys, session->esys, ESYS_TR_NONE, ESYS_TR_NONE,
                                        ESYS_TR_NONE);

        return rc == TSS2_RC_SUCCESS ? 0 : tpm_rc_error(rc, "cannot restart the policy", e);
}
