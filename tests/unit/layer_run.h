/* SPDX-License-Identifier: Apache-2.0 */
/* Reads a whole layer and keeps what came out of it. */
#pragma once

#include <string.h>

#include "tests/unit/stream_data.h"
#include "tests/unit/tar_data.h"
#include "upgrade/layer.h"

#define IMAGE_SIZE ((size_t)(300 * 1024 + 77))
#define LOADER_SIZE ((size_t)(70 * 1024 + 5))
#define ROOM (UINT64_C(1) << 29)

static uint8_t image[IMAGE_SIZE], loader[LOADER_SIZE];

static inline int layer_set_up(void **state)
{
        (void)state;
        tar_fill(image, sizeof(image), 1);
        tar_fill(loader, sizeof(loader), 2);
        return 0;
}

/* What came out of a layer. */
struct outcome {
        int r;
        struct error e;
        enum layer_state state;
        struct buf image, loader;
        bool has_size;
        uint64_t size;
        size_t given;
        unsigned skips;
};

static inline void outcome_done(struct outcome *o)
{
        buf_done(&o->image);
        buf_done(&o->loader);
}

static inline void read_all(struct layer *l, struct outcome *o)
{
        static uint8_t chunk[50000];
        struct error again = ERROR_INIT;
        ssize_t n;

        while ((n = layer_read(l, chunk, sizeof(chunk), &o->e)) > 0)
                assert_int_equal(buf_add(&o->image, chunk, (size_t)n), 0);
        o->r = (int)n;
        /* The end, or the failure, stays. */
        assert_int_equal(layer_read(l, chunk, sizeof(chunk), &again), n);
        assert_string_equal(again.text, o->e.text);
}

static inline struct outcome run_stream(struct stream_data *s, enum layer_format format,
                                        struct layer_wish wish)
{
        struct outcome o = {.image = BUF_INIT(ROOM), .loader = BUF_INIT(ROOM)};
        _cleanup_(layer_free_p) struct layer *l = NULL;

        o.r = layer_open(&s->stream, format, &wish, &l, &o.e);
        if (o.r == 0) {
                read_all(l, &o);
                o.state = layer_state(l);
                o.has_size = layer_image_size(l, &o.size);
                assert_int_equal(buf_add(&o.loader, layer_loader(l)->data, layer_loader(l)->len),
                                 0);
        }
        o.given = s->given;
        o.skips = s->skips;
        assert_int_equal(o.e.code, -o.r);
        return o;
}

static inline struct outcome run(const struct buf *blob, enum layer_format format, size_t piece)
{
        struct stream_data s = stream_data_make(blob->data, blob->len, piece);

        return run_stream(&s, format, (struct layer_wish){.loader = true});
}

static inline int filter_of(enum layer_format f)
{
        return f == LAYER_TAR_GZIP ? ARCHIVE_FILTER_GZIP : ARCHIVE_FILTER_ZSTD;
}

/* The tar in a format. */
static inline void pack(struct buf *out, const struct buf *tar, enum layer_format f)
{
        if (f == LAYER_TAR)
                assert_int_equal(buf_add(out, tar->data, tar->len), 0);
        else
                tar_compress(out, filter_of(f), tar->data, tar->len);
}

static inline void expect_image(const struct outcome *o, const char *what)
{
        if (o->r != 0)
                fail_msg("%s: %s", what, o->e.text);
        assert_int_equal(o->state, LAYER_IMAGE);
        assert_int_equal(o->image.len, sizeof(image));
        assert_memory_equal(o->image.data, image, sizeof(image));
}

static inline void expect_refused(const struct outcome *o, int r, const char *what)
{
        if (o->r != r)
                fail_msg("%s: %d (%s), not %d", what, o->r, o->e.text, r);
        assert_int_equal(o->e.class, ERROR_REFUSED);
        assert_int_equal(o->state, LAYER_READING);
}
