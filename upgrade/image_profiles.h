/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the further profiles of an image would come to on a sealed disk. Profile 0 is what boots
 * when nobody chooses and has to give every proof (upgrade/image.h); the others are started by
 * somebody at the boot menu, some of them on purpose without the disk ("factory reset"), so they
 * are told about and no reason to refuse.
 */
#pragma once

#include <stdbool.h>

#include "base/buf.h"
#include "partition/policy.h"
#include "upgrade/usi.h"

struct image_profile {
        unsigned number;
        char id[64];            /* ID= of its .profile section, printable; "" = none */
        bool unlocks;           /* its PCR 11 for the path is signed by the key of profile 0 */
        const char *later_path; /* a later phase path that is signed for it as well; NULL = none */
};

/* Number of profiles, at least 1. */
unsigned image_profiles_count(const struct usi *u);

/* Number and name of a profile alone. */
void image_profile_name(const struct usi *u, unsigned number, struct image_profile *ret);

/*
 * Looks at one profile. key: the policy key of the image, with pem its public half. -ENOMEM and
 * refusals mean that the profile cannot unlock: *ret says so in any case.
 */
void image_profile_look(const struct usi *u, unsigned number, const char *path,
                        const char *const later[], size_t n_later, const struct policy_key *key,
                        struct image_profile *ret);

/* Whether pol is the policy of some profile's PCR 11 for the path. */
bool image_profiles_expect(const struct usi *u, const char *path, const uint8_t pol[SHA256_SIZE]);
