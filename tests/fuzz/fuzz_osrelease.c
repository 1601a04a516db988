/* SPDX-License-Identifier: Apache-2.0 */
/* os-release. */
#include "tests/fuzz/fuzz.h"
#include "upgrade/osrelease.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        static const char *const keys[] = {"ID", "IMAGE_ID", "IMAGE_VERSION", "PRETTY_NAME", ""};
        _cleanup_(osrelease_free_p) struct osrelease *o = NULL;
        struct error e = ERROR_INIT;
        int r = osrelease_parse(data, size, &o, &e);

        fuzz_check_error(r, &e);
        for (size_t i = 0; r == 0 && i < ARRAY_SIZE(keys); i++) {
                const char *value = osrelease_get(o, keys[i]);

                FUZZ_CHECK(!value || strlen(value) <= size);
        }
        return 0;
}
