/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Addresses: which server a URL means, what counts as another server, where a redirect may lead,
 * and which proxy is in between. Pure; the syntax is libcurl's, so that nobody reads a URL
 * differently later.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/error.h"

struct http_url {
        char *text; /* whole, without user, password and fragment */
        char *host; /* lower case; IPv6 addresses without brackets */
        uint16_t port;
        bool tls;
        char *user, *password; /* NULL: none */
};

void http_url_done(struct http_url *u);

/* http and https only. -EINVAL (ERROR_USAGE) says what is wrong, and never shows a password. */
int http_url_parse(const char *text, struct http_url *ret, struct error *e) _must_check_;

/* What a Location means that came with base. Names of users are refused: -EBADMSG (ERROR_REFUSED).
 */
int http_url_join(const struct http_url *base, const char *location, struct http_url *ret,
                  struct error *e) _must_check_;

/* Same scheme, host and port: only then credentials for one may be shown to the other. */
bool http_url_same_origin(const struct http_url *a, const struct http_url *b);

/* HOST (any port) or HOST:PORT, "[::1]:5000" for addresses of IPv6. */
struct http_hosts {
        const char *const *names;
        unsigned n;
};

bool http_hosts_have(const struct http_hosts *hosts, const char *host, uint16_t port);

/*
 * Whether this URL may be asked at all, and after from (NULL: as the first): https always, http
 * only for an insecure host and never after https. -EPERM, ERROR_REFUSED, or ERROR_USAGE for the
 * first.
 */
int http_url_allowed(const struct http_url *from, const struct http_url *to,
                     const struct http_hosts *insecure, struct error *e) _must_check_;

/* As in the environment: URLs, and for whom none is used. Each may be NULL. */
struct http_proxies {
        const char *http, *https;
        const char *none; /* no_proxy: names, ".suffix", addresses, networks; "*" */
};

bool http_proxy_bypassed(const char *none, const char *host, uint16_t port);

/* The proxy for a URL, NULL = direct. */
const char *http_proxy_for(const struct http_proxies *p, const struct http_url *u);
