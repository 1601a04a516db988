/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The head of an HTTP answer: status line and header fields, bounded, and the fields that a
 * download depends on. Pure.
 *
 * Fields are kept as the server wrote them, so they may hold anything printable; http_text()
 * makes a part of one fit for a message.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/limits.h"

struct http_head {
        unsigned status;
        bool complete;   /* the empty line behind a final status (200 and above) was seen */
        struct buf text; /* "name: value" with a NUL behind each */
        uint64_t bytes;  /* of all lines, also of interim answers */
};

#define HTTP_HEAD_INIT                                                                             \
        {                                                                                          \
                .text = BUF_INIT(LIMIT_HTTP_HEADERS)                                               \
        }

void http_head_done(struct http_head *h);
void http_head_reset(struct http_head *h);

/*
 * Takes one line as it came, line end included. Lines behind the complete head (trailers) count but
 * do not matter. -E2BIG above LIMIT_HTTP_HEADERS, -EBADMSG for control characters or a status line
 * that is none: ERROR_REFUSED.
 */
int http_head_line(struct http_head *h, const char *line, size_t n, struct error *e) _must_check_;

/* The value of the nth field (from 0) of a name in lower case, without blanks around it; NULL. */
const char *http_head_find(const struct http_head *h, const char *name, unsigned nth);

/* Content-Length. -ENOENT, -EBADMSG when it is malformed or there are two that differ. */
int http_head_length(const struct http_head *h, uint64_t *ret) _must_check_;

/* Span and total, each of which the server may leave open with a star, not both. */
struct http_range {
        bool has_span, has_total;
        uint64_t first, last, total;
};

/* Content-Range: -EBADMSG for other units and for spans that make no sense. */
int http_range_parse(const char *value, struct http_range *ret) _must_check_;

/* Retry-After, in seconds or as a date, as seconds from now (in seconds since 1970). A date in the
 * past is 0. -EBADMSG. */
int http_retry_after(const char *value, int64_t now, uint64_t *ret) _must_check_;

/* Whether a status tells of a state that may pass: 408, 429, and all 5xx. */
bool http_status_temporary(unsigned status);

/* Whether it is one of the redirections that a Location goes with. */
bool http_status_redirect(unsigned status);

/*
 * Copies what is printable ASCII, other bytes as "?", blanks folded, at most size - 1 bytes, with
 * a NUL. Returns out.
 */
char *http_text(const char *text, size_t n, char *out, size_t size);
