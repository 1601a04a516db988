/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A second policy key, for phases after the one that unlocks: what is sealed to it by others (a
 * service's secret) opens in those phases and never the data. The key that unlocks signs
 * enter-initrd and nothing else, in any case. In a key directory, beside that key:
 *
 *   tpm2-pcr-later-private.pem, tpm2-pcr-later-public.pem
 *   tpm2-pcr-later.phases                                   the phase paths, one a line
 */
#pragma once

#include <openssl/evp.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/limits.h"

#define LATER_PHASES_MAX 8u
#define LATER_PHASES_TEXT ((LIMIT_PHASE_PATH + 1) * LATER_PHASES_MAX)

struct later {
        unsigned n; /* 0: there is no such key */
        char path[LATER_PHASES_MAX][LIMIT_PHASE_PATH + 1];
        EVP_PKEY *key;
        struct buf public; /* PEM */
};

#define LATER_INIT                                                                                 \
        {                                                                                          \
                .public = BUF_INIT(LIMIT_PCRPKEY)                                                  \
        }

/*
 * Reads paths with one of the separators after each but the last: "a:b,a:b:c". Refused
 * (ERROR_CONFIG): none, too many, one twice, enter-initrd alone, and the word by which nodes close
 * their policy.
 */
int later_parse(const char *text, const char *separators, struct later *ret, struct error *e)
        _must_check_;

/* What a key directory has of it; n is 0 when that is nothing. */
int later_load(int dirfd, struct later *ret, struct error *e) _must_check_;
void later_done(struct later *l);
