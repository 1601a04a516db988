/* SPDX-License-Identifier: Apache-2.0 */
/* LUKS2 tokens: what is read and can be written is read again as the same. */
#include "base/limits.h"
#include "partition/token.h"
#include "tests/fuzz/fuzz.h"

static void check_same(const struct token *a, const struct token *b)
{
        FUZZ_CHECK(a->keyslot == b->keyslot && a->literal_pcrs == b->literal_pcrs);
        FUZZ_CHECK(a->signed_pcrs == b->signed_pcrs && a->rsa_primary == b->rsa_primary);
        FUZZ_CHECK(memcmp(a->policy_hash, b->policy_hash, SHA256_SIZE) == 0);
        FUZZ_CHECK(a->blob_size == b->blob_size && memcmp(a->blob, b->blob, a->blob_size) == 0);
        FUZZ_CHECK((a->key != NULL) == (b->key != NULL));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        _cleanup_(token_free_p) struct token *t = NULL, *again = NULL;
        _cleanup_(buf_done) struct buf text = BUF_INIT(LIMIT_TOKEN_JSON);
        struct error e = ERROR_INIT;
        int r = token_parse((const char *)data, size, &t, &e);

        fuzz_check_error(r, &e);
        if (r < 0)
                return 0;
        FUZZ_CHECK(t->blob_size <= LIMIT_TPM_BLOB && (t->signed_pcrs == 0) == (t->key == NULL));
        if (token_format(t, &text, NULL) < 0)
                return 0;
        FUZZ_CHECK(token_parse((const char *)text.data, text.len, &again, NULL) == 0);
        check_same(t, again);
        return 0;
}
