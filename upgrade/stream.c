/* SPDX-License-Identifier: Apache-2.0 */
#include "upgrade/stream.h"

#include "base/file.h"

ssize_t stream_read_full(struct stream *s, void *buf, size_t n, struct error *e)
{
        size_t done = 0;

        while (done < n) {
                ssize_t got = stream_read(s, (uint8_t *)buf + done, n - done, e);

                if (got < 0)
                        return got;
                if (got == 0)
                        break;
                done += (size_t)got;
        }
        return (ssize_t)done;
}

static ssize_t stream_fd_read(struct stream *stream, void *buf, size_t n, struct error *e)
{
        struct stream_fd *s = (struct stream_fd *)stream;
        uint64_t left = s->end - s->at;
        ssize_t got = file_pread(s->fd, buf, left < n ? (size_t)left : n, s->at);

        if (got < 0)
                return error_errno(e, (int)-got, "reading the source");
        s->at += (uint64_t)got;
        return got;
}

static int stream_fd_skip(struct stream *stream, uint64_t n, struct error *e)
{
        struct stream_fd *s = (struct stream_fd *)stream;
        uint64_t left = s->end - s->at;

        (void)e; /* a file can always be read elsewhere */
        s->at += n < left ? n : left;
        return 0;
}

void stream_fd_init(struct stream_fd *s, int fd, uint64_t begin, uint64_t end)
{
        *s = (struct stream_fd){.stream = {.read = stream_fd_read, .skip = stream_fd_skip},
                                .fd = fd,
                                .at = begin,
                                .end = begin < end ? end : begin};
}
