/* SPDX-License-Identifier: Apache-2.0 */
/* Layers: what comes out does not depend on the pieces the bytes come in. */
#include "base/limits.h"
#include "tests/fuzz/fuzz_stream.h"
#include "upgrade/layer.h"

#define MAX_IMAGE (UINT64_C(1) << 20)

struct outcome {
        ssize_t end;
        uint64_t bytes, sum;
        enum layer_state state;
        size_t loader;
};

static struct outcome run(struct fuzz_stream *s, enum layer_format format, uint64_t offset)
{
        const struct layer_wish wish = {.loader = true, .max_image = MAX_IMAGE, .offset = offset};
        _cleanup_(layer_free_p) struct layer *l = NULL;
        struct outcome o = {.end = 0};
        struct error e = ERROR_INIT;
        static uint8_t chunk[8192];
        uint64_t announced;

        o.end = layer_open(&s->stream, format, &wish, &l, &e);
        fuzz_check_error((int)o.end, &e);
        if (o.end < 0)
                return o;
        while ((o.end = layer_read(l, chunk, sizeof(chunk), &e)) > 0) {
                for (ssize_t i = 0; i < o.end; i++)
                        o.sum = o.sum * 31 + chunk[i];
                o.bytes += (uint64_t)o.end;
        }
        fuzz_check_error((int)o.end, &e);
        o.state = layer_state(l);
        o.loader = layer_loader(l)->len;
        FUZZ_CHECK(o.bytes + offset <= MAX_IMAGE || o.bytes == 0);
        FUZZ_CHECK((o.end == 0) == (o.state != LAYER_READING));
        FUZZ_CHECK(o.end == 0 || e.class == ERROR_REFUSED);
        FUZZ_CHECK(o.loader <= LIMIT_BOOT_LOADER);
        if (o.state == LAYER_IMAGE && format != LAYER_RAW)
                FUZZ_CHECK(layer_image_size(l, &announced) && announced == o.bytes + offset);
        if (o.state == LAYER_ABSENT || o.state == LAYER_HIDDEN)
                FUZZ_CHECK(o.bytes == 0);
        return o;
}

/* The first byte: the format, the pieces, and whether an offset is asked for. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        static const size_t pieces[] = {1, 7, 512, 4096};
        struct outcome whole, pieced;
        enum layer_format format;
        struct fuzz_stream s;

        if (size < 1)
                return 0;
        format = (enum layer_format)(data[0] & 3);
        s = fuzz_stream_make(data + 1, size - 1, SIZE_MAX);
        whole = run(&s, format, 0);
        s = fuzz_stream_make(data + 1, size - 1, pieces[data[0] >> 2 & 3]);
        pieced = run(&s, format, 0);
        FUZZ_CHECK(whole.end == pieced.end && whole.state == pieced.state);
        if (whole.end == 0)
                FUZZ_CHECK(whole.bytes == pieced.bytes && whole.sum == pieced.sum &&
                           whole.loader == pieced.loader);
        if (data[0] & 16 && format != LAYER_RAW) {
                uint64_t offset = whole.bytes > 0 ? whole.bytes * (data[0] >> 5) / 7 : data[0];

                s = fuzz_stream_make(data + 1, size - 1, 512);
                s.stream.skip = fuzz_stream_skip;
                pieced = run(&s, format, offset);
                if (whole.end == 0 && whole.state == LAYER_IMAGE)
                        FUZZ_CHECK(pieced.end == 0 && pieced.bytes == whole.bytes - offset);
        }
        return 0;
}
