/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What upgrade/usi.c (queries, PCR 11) and upgrade/usi_reader.c (which fills it) share. Nobody else
 * includes this.
 */
#pragma once

#include "base/limits.h"
#include "upgrade/osrelease.h"
#include "upgrade/usi.h"

/* Kind of the stub's own identification, which no stub looks for. */
#define USI_MAGIC USI_SECTION_MAX

/* Group of sections: the base, then the profiles. */
#define USI_BASE 0u
#define USI_GROUP(profile) ((profile) + 1)

/* One section that stubs know, in table order. */
struct usi_part {
        enum usi_section kind;
        unsigned group;
        const struct pe_section *section;
        uint8_t digest[SHA256_SIZE];            /* when usi_is_hashed() */
        struct buf content;                     /* small sections */
        char release[LIMIT_KERNEL_RELEASE + 1]; /* of .linux and .uname; "" = it does not tell */
};

struct usi {
        struct pe *pe;
        uint64_t size;
        uint8_t sha256[SHA256_SIZE];
        struct usi_part *parts;
        unsigned n_parts;
        unsigned profiles;
        unsigned stub_version;
        struct osrelease *osrelease;
        struct buf cmdline; /* without what trails it */
};

/* Whether some stub measures this kind, whatever the hardware. */
bool usi_is_hashed(enum usi_section kind);

/* Several sections of this kind may stand side by side. */
bool usi_is_by_hardware(enum usi_section kind);

/* What a profile sees of a kind: its own section, else the base's; NULL when that is absent or
 * empty. */
const struct usi_part *usi_part(const struct usi *u, unsigned profile, enum usi_section kind);
