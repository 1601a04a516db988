/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a fetch needs to know before its child is cut off from the world: servers to ask in order,
 * logins, authorities, proxies. All of it comes from the user, files of this machine and the
 * environment, never from a network. For upgrade/fetch.c and its child.
 */
#pragma once

#include "upgrade/fetch.h"
#include "upgrade/http.h"
#include "upgrade/registry.h"

struct fetch_config {
        const struct source_name *name; /* borrowed */
        const struct fetch_options *options;
        struct buf ca; /* PEM; empty: none found */
        struct http_proxies proxies;
        char *proxy_http, *proxy_https, *proxy_none;
        unsigned n_endpoints; /* of an oci source */
        struct registry_endpoint *endpoints;
        /* Every host that the user named, in whatever role. */
        unsigned n_named;
        char **named;
};

/* Whether the words of the options have the form they must have, whatever source is asked: pure.
 * -EINVAL or -EPERM (ERROR_USAGE), with the right form as advice. */
int fetch_config_check(const struct fetch_options *options, struct error *e) _must_check_;

/* -ENOENT, -EBADMSG... of class ERROR_CONFIG or ERROR_USAGE for files and words that are wrong. */
int fetch_config_read(const struct source_name *name, const struct fetch_options *options,
                      struct fetch_config *ret, struct error *e) _must_check_;
void fetch_config_done(struct fetch_config *c);

/* Wipes the logins of the endpoints. */
void fetch_config_forget(struct fetch_config *c);
