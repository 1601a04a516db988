/* SPDX-License-Identifier: Apache-2.0 */
#include "upgrade/image_profiles.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "upgrade/osrelease.h"
#include "upgrade/pcrsig.h"

unsigned image_profiles_count(const struct usi *u)
{
        unsigned n = usi_profiles(u);

        return n > 0 ? n : 1;
}

/* Policy digest of a profile's PCR 11 after the words of path. */
static int expected_policy(const struct usi *u, unsigned number, const char *path,
                           uint8_t ret_pcr11[SHA256_SIZE], uint8_t ret_pol[SHA256_SIZE])
{
        int r = usi_pcr11_profile(u, number, path, ret_pcr11, NULL);

        return r < 0 ? r : pcrsig_policy(ret_pcr11, ret_pol);
}

static bool is_signed(const struct usi *u, unsigned number, const char *path,
                      const struct pcrsig *signatures, const struct buf *pem)
{
        uint8_t pcr11[SHA256_SIZE];

        return usi_pcr11_profile(u, number, path, pcr11, NULL) == 0 &&
               pcrsig_check(signatures, pem->data, pem->len, pcr11, NULL, NULL) == 0;
}

/* ".profile" is a list of assignments like os-release: ID=factory-reset. */
static void read_id(const struct usi *u, unsigned number, char *ret, size_t n)
{
        const struct buf *text = usi_content(u, number, USI_PROFILE);
        _cleanup_(osrelease_free_p) struct osrelease *fields = NULL;
        const char *id;

        ret[0] = '\0';
        if (!text || osrelease_parse(text->data, text->len, &fields, NULL) < 0)
                return;
        id = osrelease_get(fields, "ID");
        if (id)
                (void)snprintf(ret, n, "%s", id);
        for (char *c = ret; *c; c++) {
                if (!isprint((unsigned char)*c))
                        *c = '?';
        }
}

void image_profile_name(const struct usi *u, unsigned number, struct image_profile *ret)
{
        *ret = (struct image_profile){.number = number};
        read_id(u, number, ret->id, sizeof(ret->id));
}

void image_profile_look(const struct usi *u, unsigned number, const char *path,
                        const char *const later[], size_t n_later, const struct policy_key *key,
                        struct image_profile *ret)
{
        const struct buf *text = usi_content(u, number, USI_PCRSIG),
                         *pem = usi_content(u, number, USI_PCRPKEY);
        _cleanup_(policy_key_free_p) struct policy_key *own = NULL;
        _cleanup_(pcrsig_free_p) struct pcrsig *signatures = NULL;

        image_profile_name(u, number, ret);
        if (!text || !pem || policy_key_from_pem(pem->data, pem->len, &own, NULL) < 0 ||
            memcmp(policy_key_fingerprint(own), policy_key_fingerprint(key), SHA256_SIZE) != 0 ||
            pcrsig_parse(text->data, text->len, &signatures, NULL) < 0)
                return;
        ret->unlocks = is_signed(u, number, path, signatures, pem);
        for (size_t i = 0; i < n_later && !ret->later_path; i++) {
                if (is_signed(u, number, later[i], signatures, pem))
                        ret->later_path = later[i];
        }
}

bool image_profiles_expect(const struct usi *u, const char *path, const uint8_t pol[SHA256_SIZE])
{
        for (unsigned i = 0; i < image_profiles_count(u); i++) {
                uint8_t pcr11[SHA256_SIZE], expected[SHA256_SIZE];

                if (expected_policy(u, i, path, pcr11, expected) == 0 &&
                    memcmp(expected, pol, SHA256_SIZE) == 0)
                        return true;
        }
        return false;
}
