/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Logging in at one registry: answers the challenges of upgrade/http.h with Basic credentials or
 * with a token that is asked for at the realm the challenge names. For upgrade/registry.c.
 */
#pragma once

#include "base/secret.h"
#include "upgrade/http.h"

struct registry_login {
        struct http_auth auth;
        struct http *http;
        const struct secret *login; /* "user:password"; NULL: anonymous */
        const char *repository;
        struct secret *header; /* in use now */
        bool basic;            /* it is the credentials themselves */
};

/* All is borrowed. */
void registry_login_init(struct registry_login *l, struct http *http, const struct secret *login,
                         const char *repository);
void registry_login_done(struct registry_login *l);

/* An Authorization value from "user:password" that is shown without a challenge, for files. */
int registry_login_basic(struct registry_login *l, struct error *e) _must_check_;
