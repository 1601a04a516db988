/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Gets documents and large files over HTTP/1.1 and TLS, on libcurl, within a child that has neither
 * network nor files (base/sandbox.h): sockets come connected from the owner's connect(), and no
 * name is ever resolved here.
 *
 * One http_get() is one file, whatever happens on the way: redirects are followed by hand, and only
 * where http_url_allowed() lets them; the Authorization header never leaves the origin it was made
 * for. What fails for the moment (dropped connections, 408, 429, 5xx, less than the low speed) is
 * tried again with exponential back-off, or as the server's Retry-After says, and goes on with
 * Range where it stopped. A server that answers 200 to that has its first bytes skipped; 206 with
 * another begin or total is refused. The body never exceeds the size that is known or the most that
 * is accepted.
 *
 * Errors: ERROR_SOURCE when all tries failed, ERROR_REFUSED for what no repetition heals. Messages
 * may quote a server; they are printable ASCII.
 *
 *     http_new() -> http_get() -> http_body_stream()... -> http_body_free() -> http_free()
 *
 * One transfer at a time moves; an unfinished body holds its connection meanwhile.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/error.h"
#include "base/secret.h"
#include "upgrade/http_head.h"
#include "upgrade/http_url.h"
#include "upgrade/stream.h"

/* Borrowed as long as the client lives. */
struct http_options {
        /* A stream socket connected to this host, whose name is not resolved yet; negative errno
         * with e filled. */
        int (*connect)(void *ctx, const char *host, uint16_t port, struct error *e);
        /* Before a wait for another try: why and for how long. NULL: nobody wants to know. */
        void (*note)(void *ctx, const char *text, uint64_t wait_ms);
        void *ctx;
        const struct buf *ca; /* PEM; empty: no https but to insecure hosts */
        struct http_hosts insecure;
        struct http_proxies proxies;
        uint64_t rate_limit;        /* bytes a second, 0 = none */
        unsigned attempts;          /* 0 = LIMIT_FETCH_ATTEMPTS */
        unsigned delay_ms;          /* before the second try, 0 = LIMIT_FETCH_DELAY_MS */
        uint64_t low_speed;         /* bytes a second, 0 = LIMIT_FETCH_SPEED */
        unsigned low_speed_seconds; /* 0 = LIMIT_FETCH_SPEED_SECONDS */
};

struct http;

int http_new(const struct http_options *options, struct http **ret, struct error *e) _must_check_;
void http_free(struct http *h);
DEFINE_CLEANUP(struct http, http_free)

/* Hosts that may be spoken to without protection. */
const struct http_hosts *http_insecure(const struct http *h);

/* Totals of the client. */
struct http_counters {
        uint64_t network; /* body bytes received, needed or not */
        uint32_t retries;
};

const struct http_counters *http_counters(const struct http *h);

/* Who knows how to log in at an origin. */
struct http_auth {
        /* Value of the Authorization header, with a NUL behind; NULL: none. Borrowed until the next
         * call. */
        const struct secret *(*header)(struct http_auth *a);
        /*
         * The server said 401. 1: header() has something new to try; 0: there is nothing more to
         * try; negative errno with e filled. May use the same client.
         */
        int (*challenged)(struct http_auth *a, const struct http_head *answer, struct error *e);
};

#define HTTP_SIZE_UNKNOWN UINT64_MAX

/* Borrowed during http_get() only, but auth as long as the body. */
struct http_request {
        const char *url;
        const char *accept;     /* NULL: everything */
        struct http_auth *auth; /* NULL: anonymous */
        uint64_t begin;         /* first byte wanted */
        uint64_t end;           /* behind the last byte wanted; 0 = to the end of the file */
        uint64_t size;          /* of the whole file, or HTTP_SIZE_UNKNOWN */
        uint64_t max;           /* most bytes the file may have; 0 = no more than size */
        /* All parts must be of one state of the file, by ETag and Last-Modified: else -ESTALE. Not
         * for what has a digest: two servers may have the same bytes. */
        bool validate;
        const char *etag, *modified; /* of an earlier answer; NULL */
        unsigned attempts;           /* 0 = of the client */
        /* How long TLS may take to begin, 0 = no limit of its own. A server that speaks plain http
         * may wait for the end of a line that never comes. */
        unsigned handshake_seconds;
};

struct http_body;

/* Asks, and waits until the bytes begin to come. */
int http_get(struct http *h, const struct http_request *request, struct http_body **ret,
             struct error *e) _must_check_;
void http_body_free(struct http_body *b);
DEFINE_CLEANUP(struct http_body, http_body_free)

/* The bytes wanted. Skips by asking for a later range. */
struct stream *http_body_stream(struct http_body *b);

/* Head of the latest answer. */
const struct http_head *http_body_head(const struct http_body *b);

/* Size of the whole file, or HTTP_SIZE_UNKNOWN. */
uint64_t http_body_size(const struct http_body *b);

/* Whether the server gave a part when asked for one. */
bool http_body_ranges(const struct http_body *b);

/* A whole document into out, at most out->max bytes. ret_head (may be NULL) gets the head of the
 * answer: http_head_done(). */
int http_get_document(struct http *h, const struct http_request *request, struct buf *out,
                      struct http_head *ret_head, struct error *e) _must_check_;
