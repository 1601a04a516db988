/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Authenticode of EFI images (Microsoft "Windows Authenticode Portable Executable Signature
 * Format"; UEFI 2.10, section 32.2.4): the digest of an image, the signed statement about it, and
 * signing. Reading any image as firmware does is authenticode_image.h, checking the signatures of
 * others authenticode_signature.h.
 *
 * The statement is SpcIndirectDataContent, which carries the digest; it is the content of a PKCS#7
 * SignedData with the authenticated attributes contentType and messageDigest, and no signing time,
 * so that equal input gives equal bytes. The blob stands in a WIN_CERTIFICATE (revision 0x0200,
 * type 2) at the end of the file. What is made here is SHA-256.
 */
#pragma once

#include <openssl/evp.h>
#include <openssl/pkcs7.h>
#include <openssl/x509.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/digest.h"
#include "base/error.h"
#include "upgrade/authenticode_image.h"
#include "upgrade/pe.h"

/* Object identifier of SpcIndirectDataContent, the content type of every Authenticode signature. */
#define AUTHENTICODE_OID_INDIRECT_DATA "1.3.6.1.4.1.311.2.1.4"

static inline void authenticode_pkcs7_p(PKCS7 **p7)
{
        PKCS7_free(*p7);
        *p7 = NULL;
}

/*
 * SHA-256 Authenticode digest, computed as firmware does: the headers without CheckSum and without
 * the certificate directory entry, the sections in file order, then what is left of the file before
 * the certificate table.
 */
int authenticode_digest(const struct pe *pe, uint8_t ret[SHA256_SIZE], struct error *e)
        _must_check_;

/* Appends the DER form of SpcIndirectDataContent for a digest. -ENOMEM. */
int authenticode_content_build(const uint8_t digest[SHA256_SIZE], struct buf *out) _must_check_;

/*
 * Reads the DER form back: type PE image data, algorithm SHA-256, nothing behind it. Refused
 * (-EBADMSG, or -ENOTSUP for another hash) otherwise.
 */
int authenticode_content_parse(const void *der, size_t n, uint8_t ret[SHA256_SIZE], struct error *e)
        _must_check_;

/*
 * The image digest that a PKCS#7 from the certificate table is about. Only reads: neither the
 * signature nor the messageDigest attribute is checked. Refused (-EBADMSG, -ENOTSUP) when the
 * content is no SpcIndirectDataContent or authenticode_content_parse() does not take it.
 */
int authenticode_claim(const PKCS7 *p7, uint8_t ret[SHA256_SIZE], struct error *e) _must_check_;

/*
 * The same for what firmware takes: any digest of enum authenticode_hash (ret gets
 * authenticode_hash_size() bytes), and whatever type the statement says the signed thing has.
 */
int authenticode_claim_any(const PKCS7 *p7, enum authenticode_hash *ret_hash,
                           uint8_t ret[AUTHENTICODE_DIGEST_MAX], struct error *e) _must_check_;

/*
 * Reads the certificate table entry at *offset (0 to start) as PKCS#7 and moves *offset on.
 * Returns 1 and a structure the caller frees with PKCS7_free(), 0 at the end of the table, or a
 * negative errno (refused) when the table or the entry is malformed. Entries of another type than
 * PKCS#7 are refused too: firmware would ignore them, so nothing of use can stand there.
 */
int authenticode_next(const struct pe *pe, uint64_t *offset, PKCS7 **ret, struct error *e)
        _must_check_;

/*
 * Signs the image in place: pads the file to 8 bytes, appends the certificate entry (behind
 * existing ones, as further signature), sets the directory entry and the checksum. fd must be
 * readable and writable. key must be the RSA key of cert. When it fails the file is not usable.
 */
int authenticode_sign(int fd, EVP_PKEY *key, X509 *cert, struct error *e) _must_check_;
