/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Makes connections for a child that has no network (base/sandbox.h). The child names a host and a
 * port; names are resolved and sockets connected here, both families, one address after the other.
 *
 * A child that was taken over can ask for any host, because a server may redirect to any. What it
 * cannot have: this machine itself and its link (loopback, cloud metadata services), unless a host
 * that the user named lies there; and more than LIMIT_FETCH_CONNECTS connections.
 */
#pragma once

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "upgrade/http_url.h"

/* Where an address lies. */
enum broker_zone {
        BROKER_ZONE_NETWORK,
        BROKER_ZONE_LOCAL, /* loopback and unspecified */
        BROKER_ZONE_LINK,
        BROKER_ZONE_NOWHERE, /* multicast and what is no address of a server */
        BROKER_ZONE_MAX,
};

enum broker_zone broker_zone(const struct sockaddr *address);

struct broker {
        struct http_hosts named;    /* by the user: source, mirrors, proxies; borrowed */
        bool open[BROKER_ZONE_MAX]; /* a named host was there */
        unsigned connects;
        unsigned connect_seconds; /* for each address; 0 = LIMIT_FETCH_CONNECT_SECONDS */
        bool (*stop)(void *arg);  /* NULL: never; see upgrade/fetch.h */
        void *stop_arg;
};

/* A connected socket. -EPERM (ERROR_REFUSED): not allowed; -ECANCELED (ERROR_INTERRUPTED); else
 * ERROR_SOURCE. */
int broker_connect(struct broker *b, const char *host, uint16_t port, struct error *e) _must_check_;
