/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The signatures in an image's certificate table (UEFI 2.10, section 32.2.4; PKCS #7 1.5): are they
 * statements about this very image, and did the key of the certificate they carry make them?
 * Whether anybody trusts that certificate is trust_check()'s question.
 *
 * What counts is what firmware takes: entries of type PKCS#7 whose DER has two-byte lengths, the
 * digest algorithm at its fixed place, SHA-256, SHA-384 or SHA-512. Beyond that one signer, whose
 * certificate is inside, with an RSA key of 2048 to 4096 bits or an ECDSA key on P-256, P-384 or
 * P-521.
 */
#pragma once

#include <openssl/pkcs7.h>
#include <openssl/x509.h>
#include <stdbool.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/error.h"
#include "base/limits.h"
#include "upgrade/authenticode_image.h"

enum authenticode_state {
        AUTHENTICODE_MALFORMED,   /* zero: what nobody checked is not valid */
        AUTHENTICODE_MISMATCH,    /* about another image, or not made by its signer's key */
        AUTHENTICODE_UNSUPPORTED, /* an entry type, algorithm or key that does not count */
        AUTHENTICODE_VALID,
};

struct authenticode_signature {
        enum authenticode_state state;
        char why[256]; /* in words; "" when valid */
        /* Firmware recognises the digest algorithm, hashes the image with it and looks further. */
        bool hash_known;
        bool no_memory; /* for looking at it */
        enum authenticode_hash hash;
        PKCS7 *p7;    /* NULL when it cannot be read */
        X509 *signer; /* borrowed from p7; NULL when p7 does not have it */
};

struct authenticode_signatures {
        unsigned n;
        struct authenticode_signature at[LIMIT_PE_SIGNATURES];
};

/*
 * Reads and checks every entry of a certificate table. 0 and a list (empty for an empty table),
 * whatever is wrong with single signatures. Refused: -EBADMSG when the entries do not fill the
 * table exactly (firmware denies such an image as a whole), -E2BIG beyond LIMIT_PE_SIGNATURES.
 * -EINVAL (ERROR_INTERNAL) when a signature needs a digest that is not there.
 */
int authenticode_signatures_read(const struct buf *table,
                                 const struct authenticode_digests *digests,
                                 struct authenticode_signatures **ret, struct error *e)
        _must_check_;

/*
 * The digests (AUTHENTICODE_MASK) that signatures are about and that are not there. 0 also for a
 * table that cannot be read: authenticode_signatures_read() says why.
 */
unsigned authenticode_signatures_missing(const struct buf *table,
                                         const struct authenticode_digests *digests);
void authenticode_signatures_free(struct authenticode_signatures *list);
DEFINE_CLEANUP(struct authenticode_signatures, authenticode_signatures_free)
