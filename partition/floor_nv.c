/* SPDX-License-Identifier: Apache-2.0 */
/* The NV index of the version floor. */
#include "partition/floor_nv.h"

#include <string.h>
#include <tss2/tss2_mu.h>

#include "partition/floor_key.h"
#include "partition/tpm_esys.h"

/*
 * Anyone reads (the password of the index is empty); only the policy writes, and the whole record
 * at once. No dictionary attack protection: there is nothing to guess, and a lockout caused by
 * something else must not keep the floor from being read.
 */
#define INDEX_ATTRIBUTES                                                                           \
        (TPMA_NV_AUTHREAD | TPMA_NV_OWNERREAD | TPMA_NV_POLICYWRITE | TPMA_NV_WRITEALL |           \
         TPMA_NV_NO_DA)

static TPM2B_NV_PUBLIC index_template(const struct floor_key *k)
{
        TPM2B_NV_PUBLIC p = {
                .nvPublic = {.nvIndex = FLOOR_NV_INDEX,
                             .nameAlg = TPM2_ALG_SHA256,
                             .attributes = INDEX_ATTRIBUTES,
                             .authPolicy.size = SHA256_SIZE,
                             .dataSize = FLOOR_RECORD_SIZE},
        };

        memcpy(p.nvPublic.authPolicy.buffer, floor_key_policy(k), SHA256_SIZE);
        return p;
}

/* The index as the library knows it; nothing of it is in the TPM, so that forgetting is enough. */
static void index_done(struct tpm_ref *ref)
{
        tpm_ref_forget(ref);
}
#define _cleanup_index_ _cleanup_(index_done)

/* -ENOENT when there is none. */
static int find_index(struct tpm *tpm, struct tpm_ref *ret, struct error *e)
{
        TSS2_RC rc = Esys_TR_FromTPMPublic(tpm->esys, FLOOR_NV_INDEX, ESYS_TR_NONE, ESYS_TR_NONE,
                                           ESYS_TR_NONE, &ret->esys);

        if (rc == TSS2_RC_SUCCESS)
                return 0;
        ret->esys = ESYS_TR_NONE;
        if (tpm_rc_base(rc) == TPM2_RC_HANDLE)
                return error_set(e, ERROR_PRECONDITION, ENOENT, "the TPM holds no version floor");
        return tpm_rc_error(rc, "cannot look for the version floor", e);
}

static int read_public(struct tpm *tpm, const struct tpm_ref *index, struct floor_nv *nv,
                       struct error *e)
{
        _cleanup_esys_ TPM2B_NV_PUBLIC *public = NULL;
        const TPMS_NV_PUBLIC *p;
        TSS2_RC rc;

        rc = Esys_NV_ReadPublic(tpm->esys, index->esys, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE,
                                &public, NULL);
        if (rc != TSS2_RC_SUCCESS)
                return tpm_rc_error(rc, "cannot look at the version floor", e);
        p = &public->nvPublic;
        nv->exists = true;
        nv->shaped = p->nvIndex == FLOOR_NV_INDEX && p->nameAlg == TPM2_ALG_SHA256 &&
                     (p->attributes & ~TPMA_NV_WRITTEN) == INDEX_ATTRIBUTES &&
                     p->authPolicy.size == SHA256_SIZE && p->dataSize == FLOOR_RECORD_SIZE;
        if (!nv->shaped)
                return 0;
        nv->written = (p->attributes & TPMA_NV_WRITTEN) != 0;
        memcpy(nv->policy, p->authPolicy.buffer, SHA256_SIZE);
        return 0;
}

static int read_record(struct tpm *tpm, const struct tpm_ref *index, struct floor_nv *nv,
                       struct error *e)
{
        _cleanup_esys_ TPM2B_MAX_NV_BUFFER *data = NULL;
        TSS2_RC rc;

        rc = Esys_NV_Read(tpm->esys, index->esys, index->esys, ESYS_TR_PASSWORD, ESYS_TR_NONE,
                          ESYS_TR_NONE, FLOOR_RECORD_SIZE, 0, &data);
        switch (rc == TSS2_RC_SUCCESS ? rc : tpm_rc_base(rc)) {
        case TSS2_RC_SUCCESS:
                nv->valid = floor_unpack(data->buffer, data->size, &nv->floor) >= 0;
                return 0;
        case TPM2_RC_AUTH_FAIL:
        case TPM2_RC_BAD_AUTH:
                /* Made with a password, which the attributes do not show. */
                nv->shaped = nv->written = false;
                return 0;
        default:
                return tpm_rc_error(rc, "cannot read the version floor", e);
        }
}

int floor_nv_look(struct tpm *tpm, struct floor_nv *ret, struct error *e)
{
        _cleanup_index_ struct tpm_ref index = TPM_REF_INIT(tpm);
        struct floor_nv nv = {.exists = false};
        struct error absent = ERROR_INIT;
        int r;

        r = find_index(tpm, &index, &absent);
        if (r == -ENOENT) {
                *ret = nv;
                return 0;
        }
        if (r < 0) {
                if (e)
                        *e = absent;
                return r;
        }
        r = read_public(tpm, &index, &nv, e);
        if (r >= 0 && nv.written)
                r = read_record(tpm, &index, &nv, e);
        if (r < 0)
                return r;
        *ret = nv;
        return 0;
}

int floor_nv_define(struct tpm *tpm, const struct floor_key *k, struct error *e)
{
        const TPM2B_NV_PUBLIC public = index_template(k);
        const TPM2B_AUTH no_auth = {.size = 0};
        _cleanup_index_ struct tpm_ref index = TPM_REF_INIT(tpm);
        TSS2_RC rc;
        int r;

        rc = Esys_NV_DefineSpace(tpm->esys, ESYS_TR_RH_OWNER, ESYS_TR_PASSWORD, ESYS_TR_NONE,
                                 ESYS_TR_NONE, &no_auth, &public, &index.esys);
        if (rc == TSS2_RC_SUCCESS)
                return 0;
        index.esys = ESYS_TR_NONE;
        switch (tpm_rc_base(rc)) {
        case TPM2_RC_NV_DEFINED:
                return error_set(e, ERROR_PRECONDITION, EEXIST,
                                 "NV index 0x%08x of the TPM is in use", FLOOR_NV_INDEX);
        case TPM2_RC_NV_SPACE:
                r = error_set(e, ERROR_PRECONDITION, ENOSPC,
                              "the TPM has no room for the version floor");
                error_advise(e, "Remove NV indices that nobody uses any more (tpm2_getcap "
                                "handles-nv-index, tpm2_nvundefine)");
                return r;
        default:
                return tpm_rc_error(rc, "cannot make the version floor", e);
        }
}

/* --- writing --- */

/* Hash of the one command that the signature allows: TPM2_NV_Write of this record to the index. */
static int command_hash(struct tpm *tpm, const struct tpm_ref *index,
                        const TPM2B_MAX_NV_BUFFER *record, TPM2B_DIGEST *ret)
{
        _cleanup_esys_ TPM2B_NAME *name = NULL;
        uint8_t input[4 + 2 * sizeof(TPMU_NAME) + sizeof(*record) + 2];
        size_t n = 0;

        if (Esys_TR_GetName(tpm->esys, index->esys, &name) != TSS2_RC_SUCCESS ||
            Tss2_MU_UINT32_Marshal(TPM2_CC_NV_Write, input, sizeof(input), &n) != TSS2_RC_SUCCESS)
                return -EIO;
        /* It stands for itself twice: as what authorizes, and as what is written. */
        for (int i = 0; i < 2; i++) {
                memcpy(input + n, name->name, name->size);
                n += name->size;
        }
        if (Tss2_MU_TPM2B_MAX_NV_BUFFER_Marshal(record, input, sizeof(input), &n) !=
                    TSS2_RC_SUCCESS ||
            Tss2_MU_UINT16_Marshal(0, input, sizeof(input), &n) != TSS2_RC_SUCCESS)
                return -EIO;
        ret->size = SHA256_SIZE;
        return sha256(input, n, ret->buffer);
}

/* The bytes signed: nonceTPM || expiration (none) || cpHashA || policyRef (empty). */
static int sign_command(const struct floor_key *k, const TPM2B_NONCE *nonce,
                        const TPM2B_DIGEST *command, TPMT_SIGNATURE *ret)
{
        uint8_t input[sizeof(nonce->buffer) + 4 + SHA256_SIZE] = {0};
        size_t n = nonce->size;

        if (n > sizeof(nonce->buffer))
                return -EIO;
        memcpy(input, nonce->buffer, n);
        n += 4;
        memcpy(input + n, command->buffer, SHA256_SIZE);
        return floor_key_sign(k, input, n + SHA256_SIZE, ret);
}

static int authorize(struct tpm *tpm, const struct floor_key *k, const struct tpm_ref *session,
                     const TPM2B_DIGEST *command, struct error *e)
{
        _cleanup_tpm_ref_ struct tpm_ref key = TPM_REF_INIT(tpm);
        _cleanup_esys_ TPM2B_NONCE *nonce = NULL;
        const TPM2B_NONCE no_ref = {.size = 0};
        TPMT_SIGNATURE signature;
        TSS2_RC rc;

        rc = Esys_TRSess_GetNonceTPM(tpm->esys, session->esys, &nonce);
        if (rc != TSS2_RC_SUCCESS || sign_command(k, nonce, command, &signature) < 0)
                return error_set(e, ERROR_INTERNAL, EIO, "cannot sign for the version floor");
        rc = Esys_LoadExternal(tpm->esys, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, NULL,
                               floor_key_public(k), ESYS_TR_RH_NULL, &key.esys);
        if (rc != TSS2_RC_SUCCESS) {
                key.esys = ESYS_TR_NONE;
                return tpm_rc_error(rc, "cannot load the key of the version floor", e);
        }
        rc = Esys_PolicySigned(tpm->esys, key.esys, session->esys, ESYS_TR_NONE, ESYS_TR_NONE,
                               ESYS_TR_NONE, nonce, command, &no_ref, 0, &signature, NULL, NULL);
        return rc == TSS2_RC_SUCCESS ? 0
                                     : tpm_rc_error(rc, "cannot authorize the version floor", e);
}

int floor_nv_write(struct tpm *tpm, const struct floor_key *k, const struct floor *floor,
                   struct error *e)
{
        _cleanup_index_ struct tpm_ref index = TPM_REF_INIT(tpm);
        _cleanup_tpm_ref_ struct tpm_ref session = TPM_REF_INIT(tpm);
        TPM2B_MAX_NV_BUFFER record = {.size = FLOOR_RECORD_SIZE};
        TPM2B_DIGEST command;
        TSS2_RC rc;
        int r;

        if (floor_pack(floor, record.buffer) < 0)
                return error_oom(e);
        r = find_index(tpm, &index, e);
        if (r < 0)
                return r;
        if (command_hash(tpm, &index, &record, &command) < 0)
                return error_oom(e);
        r = tpm_session(tpm, NULL, TPM2_SE_POLICY, 0, &session, e);
        if (r >= 0)
                r = authorize(tpm, k, &session, &command, e);
        if (r < 0)
                return r;
        rc = Esys_NV_Write(tpm->esys, index.esys, index.esys, session.esys, ESYS_TR_NONE,
                           ESYS_TR_NONE, &record, 0);
        if (rc != TSS2_RC_SUCCESS)
                return tpm_rc_error(rc, "cannot write the version floor", e);
        tpm_ref_forget(&session); /* it ended with the command */
        return 0;
}

int floor_nv_undefine(struct tpm *tpm, struct error *e)
{
        _cleanup_index_ struct tpm_ref index = TPM_REF_INIT(tpm);
        TSS2_RC rc;
        int r;

        r = find_index(tpm, &index, e);
        if (r == -ENOENT) {
                error_clear(e);
                return 0;
        }
        if (r < 0)
                return r;
        rc = Esys_NV_UndefineSpace(tpm->esys, ESYS_TR_RH_OWNER, index.esys, ESYS_TR_PASSWORD,
                                   ESYS_TR_NONE, ESYS_TR_NONE);
        if (rc != TSS2_RC_SUCCESS)
                return tpm_rc_error(rc, "cannot remove the version floor", e);
        index.esys = ESYS_TR_NONE; /* the library forgot it along with the TPM */
        return 0;
}
