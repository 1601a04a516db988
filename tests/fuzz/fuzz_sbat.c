/* SPDX-License-Identifier: Apache-2.0 */
/* SBAT documents: one as image and as level, and against itself. */
#include "base/limits.h"
#include "tests/fuzz/fuzz.h"
#include "upgrade/sbat.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        static const char level_text[] = "sbat,1,2023012900\nshim,2\ngrub,3\nsystemd,1\n";
        _cleanup_(sbat_free_p) struct sbat *s = NULL, *level = NULL;
        const struct sbat_component *c;
        struct error e = ERROR_INIT;
        int r = sbat_parse(data, size, "fuzz", &s, &e);

        fuzz_check_error(r, &e);
        if (r < 0)
                return 0;
        for (unsigned i = 0; (c = sbat_at(s, i)); i++)
                FUZZ_CHECK(i < LIMIT_SBAT_COMPONENTS && c->name[0] && c->generation <= 65535 &&
                           strlen(c->rest) <= size);
        FUZZ_CHECK(sbat_parse(level_text, sizeof(level_text) - 1, "level", &level, NULL) == 0);
        fuzz_check_error(sbat_check(s, level, &e), &e);
        error_clear(&e);
        fuzz_check_error(sbat_check(level, s, &e), &e);
        FUZZ_CHECK(sbat_check(s, NULL, NULL) == 0);
        return 0;
}
