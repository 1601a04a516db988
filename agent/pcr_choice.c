/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/pcr_choice.h"

#include <stdio.h>
#include <string.h>

#include "base/num.h"

#define PCR_COUNT 24u

static const char *why_not_literal(uint64_t pcr)
{
        static const char by_image[] = "it depends on the image and what lies beside it, which an "
                                       "upgrade changes";
        static const char *const reasons[PCR_COUNT] = {
                [1] = "it holds settings and boot entries of the firmware, which an installation "
                      "changes",
                [4] = "it names boot loader and image, which an upgrade changes",
                [5] = "it holds partition table and loader.conf, which an installation changes",
                [6] = "it says how the machine was switched on",
                [8] = by_image,
                [9] = by_image,
                [10] = "it changes while the system runs",
                [11] = "images are measured into it, so it is bound by their signature",
                [12] = by_image,
                [13] = by_image,
                [15] = "the keys of the partitions are measured into it",
        };

        return pcr < PCR_COUNT && reasons[pcr] ? reasons[pcr] : "it is none of the boot's";
}

const char *pcr_choice_refusal(uint32_t allowed, uint64_t pcr)
{
        if (pcr < PCR_COUNT && allowed & UINT32_C(1) << pcr)
                return NULL;
        return allowed == PCR_CHOICE_SIGNED
                       ? "an image is measured into PCR 11 and signed for nothing else"
                       : why_not_literal(pcr);
}

static int add(const char *word, uint32_t *mask, struct error *e)
{
        const char *why;
        uint64_t pcr;

        if (parse_u64_max(word, PCR_COUNT - 1, &pcr) < 0)
                return error_set(e, ERROR_USAGE, EINVAL,
                                 "--bind-pcrs: \"%.64s\" is not the number of a PCR", word);
        why = pcr_choice_refusal(PCR_CHOICE_LITERAL, pcr);
        if (why)
                return error_set(e, ERROR_USAGE, EINVAL,
                                 "--bind-pcrs: PCR %u cannot be bound by value: %s", (unsigned)pcr,
                                 why);
        *mask |= UINT32_C(1) << pcr;
        return 0;
}

int pcr_choice_parse(const char *text, uint32_t *ret, struct error *e)
{
        uint32_t mask = 0;
        int r = 0;

        while (r == 0) {
                size_t n = strcspn(text, ",+");
                _cleanup_free_ char *word = strndup(text, n);

                r = word ? add(word, &mask, e) : error_oom(e);
                if (!text[n])
                        break;
                text += n + 1;
        }
        if (r == 0 && !(mask & PCR_CHOICE_NEEDED)) {
                r = error_set(e, ERROR_USAGE, EINVAL,
                              "--bind-pcrs: PCR 7 is missing: without the Secure Boot state all "
                              "else can be imitated");
                error_advise(e, "add 7 to the list");
        }
        if (r == 0)
                *ret = mask;
        return r;
}

const char *pcr_choice_text(uint32_t mask, char *text, size_t n)
{
        size_t at = 0;

        *text = '\0';
        for (unsigned i = 0; i < PCR_COUNT && at < n; i++) {
                if (mask & UINT32_C(1) << i)
                        at += (size_t)snprintf(text + at, n - at, "%s%u", at > 0 ? ", " : "", i);
        }
        return text;
}

struct json_object *pcr_choice_json(uint32_t mask)
{
        _cleanup_json_ struct json_object *a = json_object_new_array();
        int r = a ? 0 : -ENOMEM;

        for (unsigned i = 0; i < PCR_COUNT && r == 0; i++) {
                if (mask & UINT32_C(1) << i)
                        r = json_append(a, json_object_new_int((int)i));
        }
        return r < 0 ? NULL : TAKE_PTR(a);
}
