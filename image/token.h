/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Private keys that never leave a token or a hardware security module: named by a PKCS #11 URI
 * (RFC 7512), used through what OpenSSL has for such names: a provider "pkcs11", else the engine.
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

/* -EINVAL (ERROR_USAGE) for a name with the PIN itself in it (pin-value): everybody sees command
 * lines, and key directories are not made for it. */
int token_check_uri(const char *uri, struct error *e) _must_check_;

/*
 * The private key of that name. ERROR_CONFIG: -ENOENT when there is none (or no way in to it),
 * -EOPNOTSUPP when OpenSSL has nothing for such names, -EINVAL as above.
 */
int token_private(const char *uri, EVP_PKEY **ret, struct error *e) _must_check_;
