/* SPDX-License-Identifier: Apache-2.0 */
/* docker-archive and oci-archive. */
#include "base/limits.h"
#include "tests/fuzz/fuzz_stream.h"
#include "upgrade/archive_source.h"

struct ranges {
        struct file_ranges ranges;
        const uint8_t *data;
        size_t size;
        struct fuzz_stream stream;
};

static int ranges_open(struct file_ranges *ranges, uint64_t begin, uint64_t end,
                       struct stream **ret, struct error *e)
{
        struct ranges *r = (struct ranges *)ranges;
        size_t from = begin < r->size ? (size_t)begin : r->size;
        size_t to = end < r->size ? (size_t)end : r->size;

        (void)e;
        FUZZ_CHECK(begin <= end);
        r->stream = fuzz_stream_make(r->data + from, to - from, 3000);
        *ret = &r->stream.stream;
        return 0;
}

static void read_layer(struct oci_store *s, const struct local_layer *l)
{
        struct oci_checked c = {.hash = NULL};
        struct error e = ERROR_INIT;
        uint8_t chunk[4096];
        uint64_t total = 0;
        ssize_t n;
        int r = local_image_open_layer(s, l, &c, &e);

        fuzz_check_error(r, &e);
        while (r == 0 && (n = stream_read(&c.stream, chunk, sizeof(chunk), &e)) > 0)
                total += (uint64_t)n;
        FUZZ_CHECK(total <= l->size);
        oci_checked_done(&c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct ranges f = {.ranges.open = ranges_open, .data = data, .size = size};
        _cleanup_(archive_store_free_p) struct archive_store *s = NULL;
        _cleanup_(local_image_free_p) struct local_image *m = NULL;
        struct error e = ERROR_INIT;
        int r = archive_store_open(&f.ranges, &s, &e);

        fuzz_check_error(r, &e);
        if (r < 0)
                return 0;
        r = local_image_find(archive_store_get(s), oci_platform_here(), &m, &e);
        fuzz_check_error(r, &e);
        if (r < 0)
                return 0;
        FUZZ_CHECK(m->n_layers >= 1 && m->n_layers <= LIMIT_OCI_LAYERS);
        for (unsigned i = 0; i < m->n_layers; i++)
                read_layer(archive_store_get(s), &m->layers[i]);
        return 0;
}
