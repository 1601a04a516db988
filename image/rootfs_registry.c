/* SPDX-License-Identifier: Apache-2.0 */
/* Roots out of registries: the part of image/rootfs_tar.h that loads them. */
#include <string.h>

#include "image/rootfs_tar.h"

/* The bytes of one layer, as the fetch gives them. */
struct layer_stream {
        struct stream stream;
        struct fetch *fetch;
};

static ssize_t layer_stream_read(struct stream *s, void *buf, size_t n, struct error *e)
{
        return fetch_read(((struct layer_stream *)s)->fetch, buf, n, e);
}

/* Lowest layer first. */
static int load_layers(struct fetch *f, unsigned n, struct rootfs **ret, struct error *e)
{
        _cleanup_(rootfs_free_p) struct rootfs *fs = NULL;
        struct layer_stream layer = {.stream = {.read = layer_stream_read}, .fetch = f};
        int r = rootfs_new(&fs, e);

        for (unsigned i = 0; i < n && r == 0; i++) {
                r = fetch_begin_layer(f, i, e);
                if (r == 0)
                        r = rootfs_add_tar(fs, &layer.stream, true, e);
                if (r < 0)
                        return error_wrap(e, r, "layer %u", i + 1);
        }
        if (r < 0)
                return r;
        *ret = TAKE_PTR(fs);
        return 0;
}

static int load(const struct source_name *name, const struct fetch_options *options,
                char manifest[OCI_DIGEST_TEXT_SIZE], struct rootfs **ret, struct error *e)
{
        _cleanup_(fetch_free_p) struct fetch *f = NULL;
        const struct fetch_info *info = NULL;
        int r = fetch_open(name, options, &f, e);

        if (r == 0)
                r = fetch_resolve(f, &info, e);
        if (r < 0)
                return r;
        memcpy(manifest, info->manifest, OCI_DIGEST_TEXT_SIZE - 1);
        manifest[OCI_DIGEST_TEXT_SIZE - 1] = '\0'; /* it is a digest: nothing is cut off */
        do {
                error_clear(e);
                r = load_layers(f, info->n_layers, ret, e);
                /* Where a mirror gave other bytes, nothing of them stays. */
        } while (r < 0 && fetch_again(f));
        return r;
}

int rootfs_from_registry(const char *name, const struct fetch_options *how,
                         char manifest[OCI_DIGEST_TEXT_SIZE], struct rootfs **ret, struct error *e)
{
        _cleanup_(source_name_done) struct source_name source = {.text = NULL};
        struct fetch_options options = *how;
        int r = source_name_parse(name, &source, e);

        if (r < 0)
                return r;
        options.layers = true;
        r = load(&source, &options, manifest, ret, e);
        if (r < 0 && e->class == ERROR_SOURCE)
                error_advise(e, "check the name of the image and the network of this machine, and "
                                "run the command again");
        return r < 0 ? error_wrap(e, r, "%s", source.text) : 0;
}
