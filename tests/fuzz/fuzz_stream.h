/* SPDX-License-Identifier: Apache-2.0 */
/* The input as a stream that gives it out in pieces. */
#pragma once

#include "tests/fuzz/fuzz.h"
#include "upgrade/stream.h"

struct fuzz_stream {
        struct stream stream;
        const uint8_t *data;
        size_t size, at, piece;
};

static inline ssize_t fuzz_stream_read(struct stream *stream, void *buf, size_t n, struct error *e)
{
        struct fuzz_stream *s = (struct fuzz_stream *)stream;
        size_t left = s->size - s->at;

        (void)e;
        FUZZ_CHECK(n > 0);
        n = n < left ? n : left;
        n = n < s->piece ? n : s->piece;
        if (n > 0)
                memcpy(buf, s->data + s->at, n);
        s->at += n;
        return (ssize_t)n;
}

static inline int fuzz_stream_skip(struct stream *stream, uint64_t n, struct error *e)
{
        struct fuzz_stream *s = (struct fuzz_stream *)stream;

        (void)e;
        s->at = n < s->size - s->at ? s->at + (size_t)n : s->size;
        return 0;
}

static inline struct fuzz_stream fuzz_stream_make(const uint8_t *data, size_t size, size_t piece)
{
        return (struct fuzz_stream){
                .stream = {.read = fuzz_stream_read}, .data = data, .size = size, .piece = piece};
}
