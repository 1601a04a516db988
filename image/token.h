/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Private keys that never leave a token or a hardware security module: named by a PKCS #11 URI
 * (RFC 7512), used through whatever OpenSSL has for such names, a provider or the engine "pkcs11".
 * A PIN comes from the URI's pin-source or from the module itself; nobody is asked.
 */
#pragma once

#include <openssl/evp.h>
#include <stdbool.h>

#include "base/error.h"

#define TOKEN_SCHEME "pkcs11:"
/* Longest URI. */
#define TOKEN_URI_MAX 1024u

/* Whether the text is the name of a key, and not a key. */
bool token_is_uri(const char *text);

/*
 * The private key of that name. ERROR_CONFIG: -ENOENT when there is none (or no way in to it),
 * -EOPNOTSUPP when OpenSSL has nothing for such names.
 */
int token_private(const char *uri, EVP_PKEY **ret, struct error *e) _must_check_;
