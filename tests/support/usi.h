/* SPDX-License-Identifier: Apache-2.0 */
/* Whole images that give every proof: signed for Secure Boot, with a policy key and the signature
 * of their own measurement. All functions fail the test when they cannot do what they are asked. */
#pragma once

#include "base/buf.h"
#include "tests/support/signing.h"
#include "tests/support/swtpm_policy.h"
#include "upgrade/image.h"

struct test_usi_world {
        struct signing_identity vendor;
        struct test_key *policy;
        struct sigdb *db, *dbx;
        struct image_demands demands; /* that its images meet */
        struct signing_how how;       /* they are signed */
};

void test_usi_world_make(struct test_usi_world *w);
void test_usi_world_drop(struct test_usi_world *w);

/* Appends an image of product "test" with an initrd of so many bytes. SIGNING_IMAGE_MAX holds it.
 */
void test_usi_make(const struct test_usi_world *w, const char *version, size_t initrd,
                   struct buf *image);
