/* SPDX-License-Identifier: Apache-2.0 */
/* Parent keys and sealed objects. */
#include "partition/tpm_esys.h"

#include <string.h>
#include <tss2/tss2_mu.h>

#include "base/limits.h"

void tpm_ref_done(struct tpm_ref *ref)
{
        if (ref->esys != ESYS_TR_NONE)
                (void)Esys_FlushContext(ref->tpm->esys,
                                        ref->esys); /* nothing to be done if it fails */
        ref->esys = ESYS_TR_NONE;
}

void tpm_ref_forget(struct tpm_ref *ref)
{
        /* The library may have closed it along with the last response: then this is refused. */
        if (ref->esys != ESYS_TR_NONE)
                (void)Esys_TR_Close(ref->tpm->esys, &ref->esys);
        ref->esys = ESYS_TR_NONE;
}

/* --- parents --- */

void tpm_parent_flush(struct tpm *t)
{
        struct tpm_ref ref = {.tpm = t, .esys = t->parent.esys};

        if (t->parent.kind == TPM_PARENT_PERSISTENT)
                tpm_ref_forget(&ref);
        else
                tpm_ref_done(&ref);
        t->parent = (struct tpm_parent){.kind = TPM_PARENT_NONE, .esys = ESYS_TR_NONE};
}

/*
 * systemd's legacy primary: a restricted storage key that the owner seed gives again at every
 * creation. Without noDA, unlike the storage root key of TCG; any other bit would make another key.
 */
static TPM2B_PUBLIC legacy_template(bool rsa)
{
        TPM2B_PUBLIC p = {
                .publicArea =
                        {
                                .type = rsa ? TPM2_ALG_RSA : TPM2_ALG_ECC,
                                .nameAlg = TPM2_ALG_SHA256,
                                .objectAttributes = TPMA_OBJECT_RESTRICTED | TPMA_OBJECT_DECRYPT |
                                                    TPMA_OBJECT_FIXEDTPM | TPMA_OBJECT_FIXEDPARENT |
                                                    TPMA_OBJECT_SENSITIVEDATAORIGIN |
                                                    TPMA_OBJECT_USERWITHAUTH,
                        },
        };
        const TPMT_SYM_DEF_OBJECT aes = {
                .algorithm = TPM2_ALG_AES, .keyBits.aes = 128, .mode.aes = TPM2_ALG_CFB};

        if (rsa) {
                p.publicArea.parameters.rsaDetail = (TPMS_RSA_PARMS){
                        .symmetric = aes, .scheme.scheme = TPM2_ALG_NULL, .keyBits = 2048};
        } else {
                p.publicArea.parameters.eccDetail = (TPMS_ECC_PARMS){.symmetric = aes,
                                                                     .scheme.scheme = TPM2_ALG_NULL,
                                                                     .curveID = TPM2_ECC_NIST_P256,
                                                                     .kdf.scheme = TPM2_ALG_NULL};
        }
        return p;
}

static int object_name(const TPM2B_PUBLIC *public, uint8_t ret[POLICY_NAME_SIZE], struct error *e)
{
        uint8_t area[sizeof(TPMT_PUBLIC)];
        size_t n = 0;

        if (public->publicArea.nameAlg != TPM2_ALG_SHA256 ||
            Tss2_MU_TPMT_PUBLIC_Marshal(&public->publicArea, area, sizeof(area), &n) !=
                    TSS2_RC_SUCCESS)
                return error_set(e, ERROR_PRECONDITION, EIO, "parent key of an unknown form");
        ret[0] = TPM2_ALG_SHA256 >> 8;
        ret[1] = TPM2_ALG_SHA256 & 0xff;
        return sha256(area, n, ret + 2) < 0 ? error_oom(e) : 0;
}

static int create_primary(struct tpm *t, ESYS_TR hierarchy, bool rsa, struct tpm_ref *ret,
                          uint8_t ret_name[POLICY_NAME_SIZE], struct error *e)
{
        const TPM2B_SENSITIVE_CREATE no_auth = {.size = 0};
        const TPM2B_DATA no_info = {.size = 0};
        const TPML_PCR_SELECTION no_pcrs = {.count = 0};
        const TPM2B_PUBLIC template = legacy_template(rsa);
        _cleanup_esys_ TPM2B_PUBLIC *public = NULL;
        TSS2_RC rc;

        tpm_parent_flush(t); /* one slot for parents is all we take */
        rc = Esys_CreatePrimary(t->esys, hierarchy, ESYS_TR_PASSWORD, ESYS_TR_NONE, ESYS_TR_NONE,
                                &no_auth, &template, &no_info, &no_pcrs, &ret->esys, &public, NULL,
                                NULL, NULL);
        if (rc != TSS2_RC_SUCCESS)
                return tpm_rc_error(rc, "cannot create the primary key", e);
        return object_name(public, ret_name, e);
}

int tpm_parent_legacy(struct tpm *t, bool rsa, const struct tpm_parent **ret, struct error *e)
{
        enum tpm_parent_kind kind = rsa ? TPM_PARENT_LEGACY_RSA : TPM_PARENT_LEGACY_ECC;
        _cleanup_tpm_ref_ struct tpm_ref primary = TPM_REF_INIT(t);
        struct tpm_parent made = {.kind = kind};
        int r;

        if (t->parent.kind == kind) {
                *ret = &t->parent;
                return 0;
        }
        r = create_primary(t, ESYS_TR_RH_OWNER, rsa, &primary, made.name, e);
        if (r < 0)
                return r;
        made.esys = primary.esys;
        primary.esys = ESYS_TR_NONE;
        t->parent = made;
        *ret = &t->parent;
        return 0;
}

int tpm_identity(struct tpm *t, uint8_t ret[SHA256_SIZE], struct error *e)
{
        _cleanup_tpm_ref_ struct tpm_ref primary = TPM_REF_INIT(t);
        uint8_t name[POLICY_NAME_SIZE];
        int r = create_primary(t, ESYS_TR_RH_ENDORSEMENT, false, &primary, name, e);

        if (r == 0)
                memcpy(ret, name + POLICY_NAME_SIZE - SHA256_SIZE, SHA256_SIZE);
        return r;
}

int tpm_try_storage_key(struct tpm *t, struct error *e)
{
        const struct tpm_parent *parent;

        return tpm_parent_legacy(t, false, &parent, e);
}

int tpm_parent_persistent(struct tpm *t, TPM2_HANDLE handle, const uint8_t name[POLICY_NAME_SIZE],
                          const struct tpm_parent **ret, struct error *e)
{
        struct tpm_parent found = {.kind = TPM_PARENT_PERSISTENT, .handle = handle};
        _cleanup_esys_ TPM2B_NAME *got = NULL;
        TSS2_RC rc;

        if (t->parent.kind == TPM_PARENT_PERSISTENT && t->parent.handle == handle &&
            memcmp(t->parent.name, name, POLICY_NAME_SIZE) == 0) {
                *ret = &t->parent;
                return 0;
        }
        tpm_parent_flush(t);
        rc = Esys_TR_FromTPMPublic(t->esys, handle, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE,
                                   &found.esys);
        if (rc != TSS2_RC_SUCCESS && tpm_rc_base(rc) != TPM2_RC_HANDLE)
                return tpm_rc_error(rc, "cannot read the storage root key", e);
        if (rc == TSS2_RC_SUCCESS) {
                /* From here on tpm_parent_flush() knows it, also if the name is the wrong one. */
                t->parent = found;
                rc = Esys_TR_GetName(t->esys, found.esys, &got);
                if (rc != TSS2_RC_SUCCESS)
                        return tpm_rc_error(rc, "cannot name the storage root key", e);
        }
        if (!got || got->size != POLICY_NAME_SIZE || memcmp(got->name, name, POLICY_NAME_SIZE) != 0)
                return tpm_rc_error(TPM2_RC_INTEGRITY, "storage root key is missing or another one",
                                    e);
        memcpy(t->parent.name, name, POLICY_NAME_SIZE);
        *ret = &t->parent;
        return 0;
}

/* --- sealed objects --- */

static TPM2B_PUBLIC sealed_template(const uint8_t policy[SHA256_SIZE], bool guessable)
{
        TPM2B_PUBLIC p = {
                .publicArea =
                        {
                                .type = TPM2_ALG_KEYEDHASH,
                                .nameAlg = TPM2_ALG_SHA256,
                                /* noDA: a full-entropy secret needs no guessing protection, and a
                                 * lockout caused by something else must not keep a node from
                                 * booting. */
                                .objectAttributes = TPMA_OBJECT_FIXEDTPM | TPMA_OBJECT_FIXEDPARENT |
                                                    TPMA_OBJECT_NODA,
                                .authPolicy.size = SHA256_SIZE,
                                .parameters.keyedHashDetail.scheme.scheme = TPM2_ALG_NULL,
                        },
        };

        memcpy(p.publicArea.authPolicy.buffer, policy, SHA256_SIZE);
        if (guessable)
                p.publicArea.objectAttributes &= ~TPMA_OBJECT_NODA;
        return p;
}

static int blob_format(const TPM2B_PRIVATE *private, const TPM2B_PUBLIC *public,
                       struct buf *ret_blob, struct error *e)
{
        uint8_t out[sizeof(*private) + sizeof(*public)];
        size_t n = 0;

        if (Tss2_MU_TPM2B_PRIVATE_Marshal(private, out, sizeof(out), &n) != TSS2_RC_SUCCESS ||
            Tss2_MU_TPM2B_PUBLIC_Marshal(public, out, sizeof(out), &n) != TSS2_RC_SUCCESS)
                return error_set(e, ERROR_INTERNAL, EIO, "cannot marshal a sealed object");
        return buf_add(ret_blob, out, n) < 0 ? error_oom(e) : 0;
}

int tpm_seal(struct tpm *t, const struct tpm_parent *parent, const struct secret *data,
             const struct secret *auth, const uint8_t policy[SHA256_SIZE], struct buf *ret_blob,
             struct error *e)
{
        const TPM2B_PUBLIC template = sealed_template(policy, auth != NULL);
        const TPM2B_DATA no_info = {.size = 0};
        const TPML_PCR_SELECTION no_pcrs = {.count = 0};
        _cleanup_(secret_free_p) struct secret *room = secret_new(sizeof(TPM2B_SENSITIVE_CREATE));
        _cleanup_tpm_ref_ struct tpm_ref session = TPM_REF_INIT(t);
        _cleanup_esys_ TPM2B_PRIVATE *private = NULL;
        _cleanup_esys_ TPM2B_PUBLIC *public = NULL;
        TPM2B_SENSITIVE_CREATE *sensitive;
        TSS2_RC rc;
        int r;

        if (!room)
                return error_oom(e);
        sensitive = (TPM2B_SENSITIVE_CREATE *)(void *)room->data;
        if (data->len == 0 || data->len > TPM2_MAX_SYM_DATA || (auth && auth->len > SHA256_SIZE))
                return error_set(e, ERROR_INTERNAL, EINVAL, "secret of %zu bytes", data->len);
        if (auth) {
                sensitive->sensitive.userAuth.size = (uint16_t)auth->len;
                memcpy(sensitive->sensitive.userAuth.buffer, auth->data, auth->len);
        }
        sensitive->sensitive.data.size = (uint16_t)data->len;
        memcpy(sensitive->sensitive.data.buffer, data->data, data->len);
        /* The session authorizes the use of the parent, encrypts the secret on its way, and ends
         * with the command. */
        r = tpm_session(t, parent, TPM2_SE_HMAC, TPMA_SESSION_DECRYPT, &session, e);
        if (r < 0)
                return r;
        rc = Esys_Create(t->esys, parent->esys, session.esys, ESYS_TR_NONE, ESYS_TR_NONE, sensitive,
                         &template, &no_info, &no_pcrs, &private, &public, NULL, NULL, NULL);
        if (rc != TSS2_RC_SUCCESS)
                return tpm_rc_error(rc, "cannot seal", e);
        tpm_ref_forget(&session);
        return blob_format(private, public, ret_blob, e);
}

int tpm_blob_parse(const uint8_t *data, size_t n, struct tpm_blob *ret, struct error *e)
{
        struct tpm_blob blob = {.private = {.size = 0}};
        const TPMT_PUBLIC *p = &blob.public.publicArea;
        TPM2B_ENCRYPTED_SECRET seed;
        size_t at = 0;

        if (n > LIMIT_TPM_BLOB ||
            Tss2_MU_TPM2B_PRIVATE_Unmarshal(data, n, &at, &blob.private) != TSS2_RC_SUCCESS ||
            Tss2_MU_TPM2B_PUBLIC_Unmarshal(data, n, &at, &blob.public) != TSS2_RC_SUCCESS)
                return error_set(e, ERROR_PRECONDITION, EBADMSG, "sealed blob is damaged");
        if (at != n) {
                if (Tss2_MU_TPM2B_ENCRYPTED_SECRET_Unmarshal(data, n, &at, &seed) ==
                            TSS2_RC_SUCCESS &&
                    at == n)
                        return error_set(
                                e, ERROR_PRECONDITION, EOPNOTSUPP,
                                "sealed blob must be imported first, which is not supported");
                return error_set(e, ERROR_PRECONDITION, EBADMSG, "sealed blob is damaged");
        }
        if (p->type != TPM2_ALG_KEYEDHASH || p->nameAlg != TPM2_ALG_SHA256 ||
            p->authPolicy.size != SHA256_SIZE || (p->objectAttributes & TPMA_OBJECT_USERWITHAUTH))
                return error_set(e, ERROR_PRECONDITION, EBADMSG,
                                 "sealed blob is no data sealed to a policy");
        *ret = blob;
        return 0;
}

int tpm_load(struct tpm *t, const struct tpm_parent *parent, const struct tpm_blob *blob,
             struct tpm_ref *ret, struct error *e)
{
        TSS2_RC rc;

        rc = Esys_Load(t->esys, parent->esys, ESYS_TR_PASSWORD, ESYS_TR_NONE, ESYS_TR_NONE,
                       &blob->private, &blob->public, &ret->esys);
        if (rc == TSS2_RC_SUCCESS)
                return 0;
        ret->esys = ESYS_TR_NONE;
        switch (tpm_rc_base(rc)) {
        case TPM2_RC_SIZE: /* how some TPMs put it when the parent is another one */
                return tpm_rc_error(TPM2_RC_INTEGRITY, "cannot load the sealed blob", e);
        case TPM2_RC_BINDING:
        case TPM2_RC_SENSITIVE:
        case TPM2_RC_INSUFFICIENT:
        case TPM2_RC_ATTRIBUTES:
        case TPM2_RC_TYPE:
                return error_set(e, ERROR_PRECONDITION, EBADMSG, "sealed blob is damaged (0x%x)",
                                 rc);
        default:
                return tpm_rc_error(rc, "cannot load the sealed blob", e);
        }
}

int tpm_set_auth(struct tpm *t, const struct tpm_ref *object, const struct secret *auth,
                 struct error *e)
{
        TPM2B_AUTH value = {.size = (uint16_t)auth->len};
        TSS2_RC rc;

        if (auth->len > SHA256_SIZE)
                return error_set(e, ERROR_INTERNAL, EINVAL, "authorization value");
        memcpy(value.buffer, auth->data, auth->len);
        rc = Esys_TR_SetAuth(t->esys, object->esys, &value);
        explicit_bzero(&value, sizeof(value));
        return rc == TSS2_RC_SUCCESS ? 0 : tpm_rc_error(rc, "cannot use the PIN", e);
}

static int wrong_pin(struct error *e)
{
        error_set(e, ERROR_PRECONDITION, EILSEQ, "this is not the PIN");
        error_advise(e, "The TPM counts wrong PINs, and locks itself after too many");
        return -EILSEQ;
}

int tpm_compare_auth(struct tpm *t, const struct tpm_parent *parent, const struct tpm_ref *object,
                     const struct secret *auth, struct error *e)
{
        _cleanup_tpm_ref_ struct tpm_ref session = TPM_REF_INIT(t);
        _cleanup_esys_ TPM2B_PRIVATE *copy = NULL;
        TPM2B_AUTH same = {.size = (uint16_t)auth->len};
        TSS2_RC rc;
        int r = tpm_set_auth(t, object, auth, e);

        if (r == 0)
                r = tpm_session(t, parent, TPM2_SE_HMAC, TPMA_SESSION_DECRYPT, &session, e);
        if (r < 0)
                return r;
        memcpy(same.buffer, auth->data, auth->len);
        rc = Esys_ObjectChangeAuth(t->esys, object->esys, parent->esys, session.esys, ESYS_TR_NONE,
                                   ESYS_TR_NONE, &same, &copy);
        explicit_bzero(&same, sizeof(same));
        if (tpm_rc_base(rc) == TPM2_RC_AUTH_FAIL || tpm_rc_base(rc) == TPM2_RC_BAD_AUTH)
                return wrong_pin(e);
        if (rc != TSS2_RC_SUCCESS)
                return tpm_rc_error(rc, "cannot compare the PIN", e);
        tpm_ref_forget(&session);
        return 0;
}

int tpm_unseal(struct tpm *t, const struct tpm_ref *object, struct tpm_ref *session,
               struct secret **ret, struct error *e)
{
        _cleanup_(secret_free_p) struct secret *s = NULL;
        TPM2B_SENSITIVE_DATA *data = NULL;
        TSS2_RC rc;

        rc = Esys_Unseal(t->esys, object->esys, session->esys, ESYS_TR_NONE, ESYS_TR_NONE, &data);
        if (tpm_rc_base(rc) == TPM2_RC_AUTH_FAIL || tpm_rc_base(rc) == TPM2_RC_BAD_AUTH)
                return wrong_pin(e);
        if (rc != TSS2_RC_SUCCESS)
                return tpm_rc_error(rc, "cannot unseal", e);
        tpm_ref_forget(session);
        s = secret_new(data->size);
        if (s)
                memcpy(s->data, data->buffer, data->size);
        explicit_bzero(data, sizeof(*data));
        Esys_Free(data);
        if (!s)
                return error_oom(e);
        *ret = TAKE_PTR(s);
        return 0;
}
