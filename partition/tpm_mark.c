/* SPDX-License-Identifier: Apache-2.0 */
#include "partition/tpm_mark.h"

#include "partition/tpm_esys.h"

/* Nobody writes it, so what it allows does not matter; the TPM wants each index to be readable and
 * writable by somebody. */
#define INDEX_ATTRIBUTES (TPMA_NV_OWNERWRITE | TPMA_NV_OWNERREAD | TPMA_NV_AUTHREAD | TPMA_NV_NO_DA)
#define INDEX_SIZE 8u

int tpm_mark_look(struct tpm *t, struct error *e)
{
        ESYS_TR index = ESYS_TR_NONE;
        TSS2_RC rc = Esys_TR_FromTPMPublic(t->esys, TPM_MARK_NV_INDEX, ESYS_TR_NONE, ESYS_TR_NONE,
                                           ESYS_TR_NONE, &index);

        if (rc == TSS2_RC_SUCCESS) {
                (void)Esys_TR_Close(t->esys, &index); /* the library's memory, nothing in the TPM */
                return 1;
        }
        return tpm_rc_base(rc) == TPM2_RC_HANDLE
                       ? 0
                       : tpm_rc_error(rc, "cannot ask whether it belongs to a node", e);
}

int tpm_mark_set(struct tpm *t, struct error *e)
{
        const TPM2B_NV_PUBLIC public = {
                .nvPublic = {.nvIndex = TPM_MARK_NV_INDEX,
                             .nameAlg = TPM2_ALG_SHA256,
                             .attributes = INDEX_ATTRIBUTES,
                             .dataSize = INDEX_SIZE},
        };
        const TPM2B_AUTH no_auth = {.size = 0};
        ESYS_TR index = ESYS_TR_NONE;
        TSS2_RC rc;
        int r = tpm_mark_look(t, e);

        if (r != 0)
                return r < 0 ? r : 0;
        rc = Esys_NV_DefineSpace(t->esys, ESYS_TR_RH_OWNER, ESYS_TR_PASSWORD, ESYS_TR_NONE,
                                 ESYS_TR_NONE, &no_auth, &public, &index);
        if (rc == TSS2_RC_SUCCESS) {
                (void)Esys_TR_Close(t->esys, &index); /* likewise */
                return 0;
        }
        if (tpm_rc_base(rc) != TPM2_RC_NV_SPACE)
                return tpm_rc_error(rc, "cannot note that it belongs to a node", e);
        r = error_set(e, ERROR_PRECONDITION, ENOSPC,
                      "the TPM has no room to note that it belongs to a node");
        error_advise(e, "Remove NV indices that nobody uses any more (tpm2_getcap "
                        "handles-nv-index, tpm2_nvundefine)");
        return r;
}
