/* SPDX-License-Identifier: Apache-2.0 */
/* Streams for tests: bytes in memory, given out in pieces, that may fail on the way. */
#pragma once

#include <stdbool.h>
#include <string.h>

#include "upgrade/stream.h"

struct stream_data {
        struct stream stream;
        const uint8_t *data;
        size_t n, at;
        size_t piece;   /* most bytes of one read */
        size_t fail_at; /* a connection reset at this byte; SIZE_MAX: none */
        size_t given;   /* bytes read */
        unsigned skips;
};

static inline ssize_t stream_data_read(struct stream *stream, void *buf, size_t n, struct error *e)
{
        struct stream_data *s = (struct stream_data *)stream;
        size_t left = s->n - s->at;

        if (s->at >= s->fail_at)
                return error_set(e, ERROR_SOURCE, ECONNRESET, "reset");
        if (n > left)
                n = left;
        if (n > s->piece)
                n = s->piece;
        if (n > 0)
                memcpy(buf, s->data + s->at, n);
        s->at += n;
        s->given += n;
        return (ssize_t)n;
}

static inline int stream_data_skip(struct stream *stream, uint64_t n, struct error *e)
{
        struct stream_data *s = (struct stream_data *)stream;

        (void)e;
        s->at = n < s->n - s->at ? s->at + (size_t)n : s->n;
        s->skips++;
        return 0;
}

static inline struct stream_data stream_data_make(const void *data, size_t n, size_t piece)
{
        return (struct stream_data){.stream = {.read = stream_data_read},
                                    .data = data,
                                    .n = n,
                                    .piece = piece,
                                    .fail_at = SIZE_MAX};
}
