/* SPDX-License-Identifier: Apache-2.0 */
/* Signed disk images for tests, in right and wrong ways; the hashes are made by libcryptsetup. All
 * functions fail the test when they cannot do what they are asked. */
#pragma once

#include <stdbool.h>

#include "base/buf.h"
#include "base/digest.h"
#include "tests/support/signing.h"

#define DDI_IMAGE_MAX (8u << 20)
/* Where the table and its parts lie. */
#define DDI_HEADER 512u
#define DDI_ENTRIES 1024u
#define DDI_ENTRY 128u
#define DDI_DATA 20480u
#define DDI_SIGNATURE_SIZE 16384u

struct ddi_how {
        size_t blocks;                   /* of data, 4096 bytes; 0 = 200 */
        uint32_t data_block, hash_block; /* of the hashes; 0 = 4096 */
        bool usr;
        int hash;                          /* NID of the signature; 0 = SHA-256 */
        bool attached;                     /* the signature has its content inside */
        bool brings_certificate;           /* and that of who signs */
        const char *signed_text;           /* instead of the root hash */
        const char *json;                  /* instead of all that is signed */
        const struct signing_identity *id; /* who signs */
};

struct ddi_made {
        struct buf image;
        uint8_t root_hash[SHA256_SIZE];
        size_t verity, signature; /* offsets */
};

#define DDI_MADE_INIT                                                                              \
        {                                                                                          \
                .image = BUF_INIT(DDI_IMAGE_MAX)                                                   \
        }

/* folder: for files that are made on the way. */
void ddi_make(const char *folder, const struct ddi_how *how, struct ddi_made *ret);
void ddi_done(struct ddi_made *d);

/* Makes the checksums of the table right again after a change. */
void ddi_repair(struct buf *image);

/* A key and its certificate. */
void ddi_identity(struct signing_identity *id, const char *cn);
/* Appends the certificate as PEM. */
void ddi_certificate(const struct signing_identity *id, struct buf *out);
