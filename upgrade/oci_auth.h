/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Words of registry logins: challenges of servers (RFC 9110, section 11), tokens, and the files in
 * which docker, podman and others keep passwords. Pure: no file and no network.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/limits.h"
#include "base/secret.h"

enum oci_scheme {
        OCI_SCHEME_OTHER, /* Negotiate and the like */
        OCI_SCHEME_BASIC,
        OCI_SCHEME_BEARER,
};

struct oci_challenge {
        enum oci_scheme scheme;
        char *realm; /* each is NULL when it was not given */
        char *service;
        char *scope;
        char *error;
};

struct oci_challenges {
        unsigned n;
        struct oci_challenge list[LIMIT_AUTH_CHALLENGES];
};

/*
 * Appends the challenges of one WWW-Authenticate header: call it for each such header of an answer,
 * beginning with zeros. -EBADMSG (ERROR_REFUSED), then nothing was added; -E2BIG; -ENOMEM.
 */
int oci_challenges_add(struct oci_challenges *c, const char *value, struct error *e) _must_check_;
void oci_challenges_done(struct oci_challenges *c);

/* The first of a scheme, NULL. */
const struct oci_challenge *oci_challenges_find(const struct oci_challenges *c,
                                                enum oci_scheme scheme);

struct oci_token {
        struct secret *token; /* without a NUL; visible ASCII only, fit for a header */
        uint64_t seconds;     /* from when it was issued; 60 when the server does not say */
};

/* Answer of a token server. The secret never passes through ordinary memory here; text is the
 * caller's to wipe. -EBADMSG, -E2BIG (ERROR_REFUSED). */
int oci_token_parse(const void *text, size_t n, struct oci_token *ret, struct error *e)
        _must_check_;
void oci_token_done(struct oci_token *t);

/*
 * The login for a repository from the text of a config.json (docker) or auth.json (podman). The
 * most specific key wins: registry/name/space, then the registry. Keys are known in all usual
 * spellings: with scheme, with /v1/ or /v2/ behind, and docker.io as index.docker.io.
 *
 * *ret gets "user:password", or NULL when the file has no login for it: anonymous then. When the
 * login is in a credential helper, that is NULL too and *ret_helper names the helper (caller frees;
 * else NULL), for the message when the registry wants one. ERROR_CONFIG: -EBADMSG for a file that
 * is malformed, -ENOTSUP for an identity token. what names the file.
 */
int oci_login_find(const void *text, size_t n, const char *what, const char *registry,
                   const char *repository, struct secret **ret, char **ret_helper, struct error *e)
        _must_check_;
