/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bytes that are pulled: of a blob in a registry, of a file, of a member of an archive. Whoever
 * needs bytes calls; whoever has them is a struct that begins with a struct stream:
 *
 *     struct stream_fd file;
 *     stream_fd_init(&file, fd, 0, UINT64_MAX);
 *     n = stream_read(&file.stream, buf, sizeof(buf), e);
 *
 * A stream is read by one thread, from its begin to its end, once. After the end or an error every
 * further call gives the same again; the owner frees it, never the reader.
 */
#pragma once

#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"

struct stream {
        /*
         * Between 1 and n bytes into buf, as many as there are without waiting for more than one;
         * 0: the end, and everything that was promised about the bytes (size, digest) held;
         * negative errno with e filled. n is never 0.
         */
        ssize_t (*read)(struct stream *s, void *buf, size_t n, struct error *e);
        /*
         * Passes over n bytes without reading them; NULL: it can only read. Behind the end is not
         * noticed before the next read. What was promised about the bytes as a whole (a digest) can
         * no longer be held and is not checked. 0, or negative errno with e filled.
         */
        int (*skip)(struct stream *s, uint64_t n, struct error *e);
};

static inline _must_check_ ssize_t stream_read(struct stream *s, void *buf, size_t n,
                                               struct error *e)
{
        return s->read(s, buf, n, e);
}

/* Reads until n bytes are there or the stream ends. The number of bytes, or negative errno. */
ssize_t stream_read_full(struct stream *s, void *buf, size_t n, struct error *e) _must_check_;

/* The bytes of a file between two offsets; the position of the descriptor, which is borrowed, does
 * not matter and does not move. An end of the file before the second offset is the end. */
struct stream_fd {
        struct stream stream;
        int fd;
        uint64_t at, end;
};

void stream_fd_init(struct stream_fd *s, int fd, uint64_t begin, uint64_t end);
