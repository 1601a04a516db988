/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keys and certificates in PEM files of a key directory. Private keys live in OpenSSL's objects and
 * are never copied into buffers of this program. What cannot be read or used is ERROR_CONFIG.
 */
#pragma once

#include <openssl/evp.h>
#include <openssl/x509.h>

#include "base/buf.h"
#include "base/error.h"

/* Names inside a key directory. */
#define KEYFILE_DB_KEY "db.key"
#define KEYFILE_DB_CERT "db.pem"
#define KEYFILE_POLICY_PRIVATE "tpm2-pcr-private.pem"
#define KEYFILE_POLICY_PUBLIC "tpm2-pcr-public.pem"
/* image/later.h */
#define KEYFILE_LATER_PRIVATE "tpm2-pcr-later-private.pem"
#define KEYFILE_LATER_PUBLIC "tpm2-pcr-later-public.pem"
#define KEYFILE_LATER_PHASES "tpm2-pcr-later.phases"
/* Stands in a directory while its keys are being made. */
#define KEYFILE_INCOMPLETE "INCOMPLETE"

static inline void keyfile_pkey_p(EVP_PKEY **key)
{
        EVP_PKEY_free(*key);
        *key = NULL;
}

static inline void keyfile_x509_p(X509 **cert)
{
        X509_free(*cert);
        *cert = NULL;
}

/* Opens a key directory; refuses one that a killed "tb-image keys" left half-made. */
int keyfile_open_dir(const char *path, struct error *e) _must_check_;

/* An unencrypted RSA private key of at least 2048 bits, or the key in a token that the file names
 * (image/token.h). */
int keyfile_private(int dirfd, const char *name, EVP_PKEY **ret, struct error *e) _must_check_;

/* Whether a key is of a kind that firmware and TPMs take; name is for the message. ERROR_CONFIG. */
int keyfile_check_private(const EVP_PKEY *key, const char *name, struct error *e) _must_check_;

int keyfile_cert(int dirfd, const char *name, X509 **ret, struct error *e) _must_check_;

/* A key directory of which only the public files are wanted, and the certificate that has to have
 * signed what goes with them. */
int keyfile_open_public(const char *path, int *ret_dir, X509 **ret_cert, struct error *e)
        _must_check_;

/* db.key and db.pem, which have to belong together. */
int keyfile_signer(int dirfd, EVP_PKEY **ret_key, X509 **ret_cert, struct error *e) _must_check_;

/* Appends the bytes of a public file, e.g. the policy key's public half. */
int keyfile_bytes(int dirfd, const char *name, struct buf *out, struct error *e) _must_check_;
