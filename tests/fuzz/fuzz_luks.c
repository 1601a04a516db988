/* SPDX-License-Identifier: Apache-2.0 */
/* LUKS2 metadata before a volume is opened. */
#include "partition/luks.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct error e = ERROR_INIT;

        fuzz_check_error(luks_check_metadata((const char *)data, size, &e), &e);
        return 0;
}
