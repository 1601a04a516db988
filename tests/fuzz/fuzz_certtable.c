/* SPDX-License-Identifier: Apache-2.0 */
/* The certificate table alone, without the image around it, and the statement inside a signature.
 */
#include "base/limits.h"
#include "tests/fuzz/fuzz.h"
#include "upgrade/authenticode.h"
#include "upgrade/authenticode_signature.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        _cleanup_(authenticode_signatures_free_p) struct authenticode_signatures *list = NULL;
        _cleanup_(buf_done) struct buf table = BUF_INIT(LIMIT_PE_CERT_TABLE);
        static const struct authenticode_digests digests = {.mask = AUTHENTICODE_MASK_ALL};
        uint8_t digest[AUTHENTICODE_DIGEST_MAX];
        struct error e = ERROR_INIT;
        enum authenticode_hash hash;
        int r;

        fuzz_check_error(authenticode_content_parse(data, size, digest, &e), &e);
        error_clear(&e);
        if (buf_add(&table, data, size) < 0)
                return 0;
        r = authenticode_signatures_read(&table, &digests, &list, &e);
        fuzz_check_error(r, &e);
        for (unsigned i = 0; r == 0 && i < list->n; i++) {
                const struct authenticode_signature *s = &list->at[i];

                FUZZ_CHECK((s->state == AUTHENTICODE_VALID) == !s->why[0]);
                FUZZ_CHECK(s->state != AUTHENTICODE_VALID || (s->p7 && s->signer));
                /* What verified had a statement to verify. */
                if (s->p7 && authenticode_claim_any(s->p7, &hash, digest, NULL) < 0)
                        FUZZ_CHECK(s->state != AUTHENTICODE_VALID);
        }
        return 0;
}
