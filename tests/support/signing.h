/* SPDX-License-Identifier: Apache-2.0 */
/* Certificates, images signed with them in right and wrong ways, and key databases, for tests. All
 * functions fail the test when they cannot do what they are asked. */
#pragma once

#include <openssl/evp.h>
#include <openssl/x509.h>
#include <stdbool.h>

#include "base/buf.h"
#include "base/error.h"
#include "efivars/sigdb.h"
#include "upgrade/authenticode_image.h"

#define SIGNING_IMAGE_MAX (1 << 20)

struct signing_identity {
        EVP_PKEY *key;
        X509 *cert;
};

struct signing_how {
        int image_hash, sign_hash;             /* NIDs; 0 = SHA-256 */
        const struct signing_identity *more;   /* a further certificate that goes along */
        const struct signing_identity *second; /* signs too */
        bool no_cert;                          /* leaves the signer's certificate out */
        bool no_attributes;
        bool wrong_attribute;                       /* messageDigest of something else */
        const struct signing_identity *counterfeit; /* signs in the name of the other */
};

/* Takes the key. issuer NULL: signed by itself. Validity in seconds from now. */
void signing_identity(struct signing_identity *id, EVP_PKEY *key, const char *cn,
                      const struct signing_identity *issuer, bool ca, long from, long to);
void signing_drop(struct signing_identity *id);

/* Appends an unsigned image of two sections, laid out as peimage_make() does. */
void signing_image(struct buf *image);

/* Pushes the bytes in steps; results of authenticode_image_push() and _finish(). */
int signing_read(const struct buf *image, size_t step, struct authenticode_image **ret,
                 struct error *e);
/* Reads an image that is one, with these digests. */
void signing_read_with(const struct buf *image, unsigned mask, struct authenticode_image **ret);
void signing_digests(const struct buf *image, struct authenticode_digests *ret);

/* Appends the DER of a signature of the image. */
void signing_make(const struct buf *image, const struct signing_identity *id,
                  const struct signing_how *how, struct buf *out);

/* Appends a certificate table entry, and keeps the directory right. */
void signing_attach(struct buf *image, uint16_t type, const void *data, size_t n);

/* Both of these; the second one in the ordinary way. */
void signing_sign_how(struct buf *image, const struct signing_identity *id,
                      const struct signing_how *how);
void signing_sign(struct buf *image, const struct signing_identity *id);

/* Entries for databases: a certificate, an image, the hash of a certificate revoked since January
 * 1st of year (0 = always). */
void signing_add_cert(struct sigdb *db, const X509 *cert);
void signing_add_hash(struct sigdb *db, const struct authenticode_digests *d,
                      enum authenticode_hash hash);
void signing_add_tbs(struct sigdb *db, X509 *cert, enum authenticode_hash hash, uint16_t year);
