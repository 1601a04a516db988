/* SPDX-License-Identifier: Apache-2.0 */
#include "partition/tpm_note.h"

#include <string.h>

#include "partition/tpm_esys.h"

#define INDEX_ATTRIBUTES (TPMA_NV_OWNERWRITE | TPMA_NV_OWNERREAD | TPMA_NV_AUTHREAD | TPMA_NV_NO_DA)

/* 1: *ret is the index, as the library knows it; 0: there is none. */
static int find_index(struct tpm *t, ESYS_TR *ret, struct error *e)
{
        TSS2_RC rc = Esys_TR_FromTPMPublic(t->esys, TPM_NOTE_NV_INDEX, ESYS_TR_NONE, ESYS_TR_NONE,
                                           ESYS_TR_NONE, ret);

        if (rc == TSS2_RC_SUCCESS)
                return 1;
        return tpm_rc_base(rc) == TPM2_RC_HANDLE
                       ? 0
                       : tpm_rc_error(rc, "cannot look for the note of a reset", e);
}

/* 1: one of ours that was written; 0: another. */
static int check_public(struct tpm *t, ESYS_TR index, struct error *e)
{
        _cleanup_esys_ TPM2B_NV_PUBLIC *public = NULL;
        const TPMS_NV_PUBLIC *p;
        TSS2_RC rc = Esys_NV_ReadPublic(t->esys, index, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE,
                                        &public, NULL);

        if (rc != TSS2_RC_SUCCESS)
                return tpm_rc_error(rc, "cannot look at the note of a reset", e);
        p = &public->nvPublic;
        return p->nvIndex == TPM_NOTE_NV_INDEX && p->nameAlg == TPM2_ALG_SHA256 &&
               p->attributes == (INDEX_ATTRIBUTES | TPMA_NV_WRITTEN) && p->authPolicy.size == 0 &&
               p->dataSize == SHA256_SIZE;
}

static int read_index(struct tpm *t, ESYS_TR index, uint8_t ret[SHA256_SIZE], struct error *e)
{
        _cleanup_esys_ TPM2B_MAX_NV_BUFFER *data = NULL;
        TSS2_RC rc;
        int r = check_public(t, index, e);

        if (r <= 0)
                return r;
        rc = Esys_NV_Read(t->esys, index, index, ESYS_TR_PASSWORD, ESYS_TR_NONE, ESYS_TR_NONE,
                          SHA256_SIZE, 0, &data);
        switch (rc == TSS2_RC_SUCCESS ? rc : tpm_rc_base(rc)) {
        case TSS2_RC_SUCCESS:
                break;
        case TPM2_RC_AUTH_FAIL:
        case TPM2_RC_BAD_AUTH:
                return 0; /* made with a password, so not by us */
        default:
                return tpm_rc_error(rc, "cannot read the note of a reset", e);
        }
        if (data->size != SHA256_SIZE)
                return 0;
        memcpy(ret, data->buffer, SHA256_SIZE);
        return 1;
}

int tpm_note_read(struct tpm *t, uint8_t ret[SHA256_SIZE], struct error *e)
{
        ESYS_TR index = ESYS_TR_NONE;
        int r = find_index(t, &index, e);

        if (r <= 0)
                return r;
        r = read_index(t, index, ret, e);
        (void)Esys_TR_Close(t->esys, &index); /* the library's memory, nothing in the TPM */
        return r;
}

static int define_index(struct tpm *t, ESYS_TR *ret, struct error *e)
{
        const TPM2B_NV_PUBLIC public = {
                .nvPublic = {.nvIndex = TPM_NOTE_NV_INDEX,
                             .nameAlg = TPM2_ALG_SHA256,
                             .attributes = INDEX_ATTRIBUTES,
                             .dataSize = SHA256_SIZE},
        };
        const TPM2B_AUTH no_auth = {.size = 0};
        TSS2_RC rc = Esys_NV_DefineSpace(t->esys, ESYS_TR_RH_OWNER, ESYS_TR_PASSWORD, ESYS_TR_NONE,
                                         ESYS_TR_NONE, &no_auth, &public, ret);
        int r;

        if (rc == TSS2_RC_SUCCESS)
                return 0;
        if (tpm_rc_base(rc) != TPM2_RC_NV_SPACE)
                return tpm_rc_error(rc, "cannot make room for the note of a reset", e);
        r = error_set(e, ERROR_PRECONDITION, ENOSPC, "the TPM has no room for the note of a reset");
        error_advise(e, "Remove NV indices that nobody uses any more (tpm2_getcap "
                        "handles-nv-index, tpm2_nvundefine)");
        return r;
}

int tpm_note_write(struct tpm *t, const uint8_t digest[SHA256_SIZE], struct error *e)
{
        TPM2B_MAX_NV_BUFFER data = {.size = SHA256_SIZE};
        ESYS_TR index = ESYS_TR_NONE;
        TSS2_RC rc;
        int r = tpm_note_remove(t, e);

        if (r == 0)
                r = define_index(t, &index, e);
        if (r < 0)
                return r;
        memcpy(data.buffer, digest, SHA256_SIZE);
        rc = Esys_NV_Write(t->esys, ESYS_TR_RH_OWNER, index, ESYS_TR_PASSWORD, ESYS_TR_NONE,
                           ESYS_TR_NONE, &data, 0);
        (void)Esys_TR_Close(t->esys, &index); /* likewise */
        return rc == TSS2_RC_SUCCESS ? 0 : tpm_rc_error(rc, "cannot write the note of a reset", e);
}

int tpm_note_remove(struct tpm *t, struct error *e)
{
        ESYS_TR index = ESYS_TR_NONE;
        TSS2_RC rc;
        int r = find_index(t, &index, e);

        if (r <= 0)
                return r;
        rc = Esys_NV_UndefineSpace(t->esys, ESYS_TR_RH_OWNER, index, ESYS_TR_PASSWORD, ESYS_TR_NONE,
                                   ESYS_TR_NONE);
        if (rc == TSS2_RC_SUCCESS)
                return 0; /* the library forgot it along with the TPM */
        (void)Esys_TR_Close(t->esys, &index);
        return tpm_rc_error(rc, "cannot remove the note of a reset", e);
}
