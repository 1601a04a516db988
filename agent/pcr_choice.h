/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which PCRs partitions may be bound to. By signature: the one that images are measured into. By
 * value: those that the firmware alone writes and that stay the same from boot to boot, as long as
 * nobody changes the firmware, its cards or its keys (TCG PC Client Platform Firmware Profile 1.05,
 * section 3.3.4). What moves with an upgrade or an installation would lock the data for good.
 */
#pragma once

#include <stdint.h>

#include "base/error.h"
#include "base/json.h"

#define PCR_CHOICE_SIGNED (UINT32_C(1) << 11)
#define PCR_CHOICE_LITERAL                                                                         \
        (UINT32_C(1) << 0 | UINT32_C(1) << 2 | UINT32_C(1) << 3 | UINT32_C(1) << 7 |               \
         UINT32_C(1) << 14)
#define PCR_CHOICE_LITERAL_COUNT 5u
_Static_assert(__builtin_popcount(PCR_CHOICE_LITERAL) == PCR_CHOICE_LITERAL_COUNT, "bits");
/* Always bound by value: with Secure Boot off everything else can be replayed. */
#define PCR_CHOICE_NEEDED (UINT32_C(1) << 7)

/* NULL when the PCR is one of the allowed ones (one of the two above), or why it is not. */
const char *pcr_choice_refusal(uint32_t allowed, uint64_t pcr);

/* "0,7" or "0+7" as mask. -EINVAL (ERROR_USAGE): no such list, one that cannot be bound by value,
 * or PCR 7 is missing; with the reason. */
int pcr_choice_parse(const char *text, uint32_t *ret, struct error *e) _must_check_;

/* "0, 7" into text; and as a JSON list (NULL: no memory). */
const char *pcr_choice_text(uint32_t mask, char *text, size_t n);
struct json_object *pcr_choice_json(uint32_t mask);
