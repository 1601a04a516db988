/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Growable byte buffer with a mandatory ceiling. The content is always followed by a NUL byte that
 * does not count, so text can be used as a C string. Once an append failed, the content is what it
 * was before that append.
 *
 * Life cycle: struct buf b = BUF_INIT(limit); ... buf_done(&b), or _cleanup_(buf_done).
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"

struct buf {
        uint8_t *data; /* NULL while empty */
        size_t len;
        size_t allocated;
        size_t max; /* most bytes it may hold */
};

#define BUF_INIT(limit)                                                                            \
        {                                                                                          \
                .max = (size_t)(limit)                                                             \
        }

void buf_done(struct buf *b);

/* Forgets the content, keeps the memory. */
void buf_reset(struct buf *b);

/* Appends. -E2BIG above the ceiling, -ENOMEM. */
int buf_add(struct buf *b, const void *data, size_t n) _must_check_;
int buf_add_str(struct buf *b, const char *s) _must_check_;
int buf_printf(struct buf *b, const char *fmt, ...) _printf_(2, 3) _must_check_;

/* Makes room for n more bytes behind the content and returns where to write them; buf_commit() then
 * counts them. */
int buf_reserve(struct buf *b, size_t n, uint8_t **ret) _must_check_;
void buf_commit(struct buf *b, size_t n);

/* Content as text; "" while empty. Valid until the next change. */
const char *buf_str(const struct buf *b);
