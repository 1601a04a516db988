/* SPDX-License-Identifier: Apache-2.0 */
#include "image/epoch.h"

#include "base/num.h"

/* Last second of the year 9999: what an EFI_TIME can say. The newc format ends in 2106; cpio.c
 * clamps further. */
#define EPOCH_MAX UINT64_C(253402300799)

int epoch_get(uint64_t fallback, uint64_t *ret, struct error *e)
{
        const char *text = getenv("SOURCE_DATE_EPOCH");

        if (!text || text[0] == '\0') {
                *ret = fallback;
                return 0;
        }
        if (parse_u64_max(text, EPOCH_MAX, ret) < 0)
                return error_set(e, ERROR_CONFIG, EINVAL,
                                 "SOURCE_DATE_EPOCH is \"%s\", not a number of seconds", text);
        return 0;
}
