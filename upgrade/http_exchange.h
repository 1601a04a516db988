/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One request and its answer on libcurl: for upgrade/http.c alone, which decides what to ask and
 * what to think of the answer. Errors of class ERROR_SOURCE may pass, others will not.
 */
#pragma once

#include <curl/curl.h>

#include "upgrade/http.h"

struct http {
        struct http_options options;
        CURLM *multi;
        struct http_counters counters;
};

/* Milliseconds of a clock that nobody sets. */
int64_t http_now_ms(void);

struct exchange_request {
        const struct http_url *url;
        const char *accept;
        const char *range;    /* "5-" or "0-511"; NULL: everything */
        const char *if_range; /* the range only when the file is still this one */
        const struct secret *authorization;
        unsigned handshake_seconds; /* see struct http_request */
};

struct exchange;

int exchange_begin(struct http *h, const struct exchange_request *request, struct exchange **ret,
                   struct error *e) _must_check_;
void exchange_free(struct exchange *x);
DEFINE_CLEANUP(struct exchange, exchange_free)

/* Waits for the head of the answer. */
int exchange_head(struct exchange *x, const struct http_head **ret, struct error *e) _must_check_;

/* The next bytes of the body; 0: the answer is complete as far as HTTP can tell. */
ssize_t exchange_read(struct exchange *x, void *buf, size_t n, struct error *e) _must_check_;

/* Whether body bytes have come that nobody has read. */
bool exchange_pending(const struct exchange *x);

/* Reads the rest of the body, up to a bound, so that the connection can be used again, and frees.
 * The begin of the body goes to text (NULL: nowhere), printable, at most size - 1 bytes. */
void exchange_drain(struct exchange *x, char *text, size_t size);
