/* SPDX-License-Identifier: Apache-2.0 */
/* What a store holds: the half of upgrade/archive_source.h that reads layouts and manifest.json. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/limits.h"
#include "upgrade/archive_source.h"

/* A whole document into out, which is bounded. -ENOENT when there is none. */
static int read_document(struct oci_store *s, const char *name, struct buf *out, struct error *e)
{
        struct stream *stream = NULL;
        uint64_t size;
        ssize_t n;
        uint8_t *p;
        int r;

        r = s->open(s, name, &stream, &size, e);
        if (r < 0)
                return r;
        if (size > out->max)
                return error_set(e, ERROR_REFUSED, E2BIG,
                                 "%s: %" PRIu64 " bytes, at most %zu are accepted", name, size,
                                 out->max);
        if (buf_reserve(out, (size_t)size, &p) < 0)
                return error_oom(e);
        n = stream_read_full(stream, p, (size_t)size, e);
        if (n < 0)
                return (int)n;
        buf_commit(out, (size_t)n);
        return 0;
}

/* Name of a blob in a layout. */
static void blob_name(const struct oci_digest *d, char *ret, size_t n)
{
        const char *colon = strchr(d->text, ':');

        (void)snprintf(ret, n, "blobs/%.*s/%s", (int)(colon - d->text), d->text, colon + 1);
}

#define BLOB_NAME_SIZE (sizeof("blobs//") + OCI_DIGEST_TEXT_SIZE)

/* A document by its descriptor: size and digest are checked. */
static int read_blob(struct oci_store *s, const struct oci_descriptor *d, struct buf *out,
                     struct error *e)
{
        char name[BLOB_NAME_SIZE];
        int r;

        blob_name(&d->digest, name, sizeof(name));
        r = read_document(s, name, out, e);
        if (r < 0)
                return r;
        if (out->len != d->size)
                return error_set(e, ERROR_REFUSED, EBADMSG,
                                 "%s: %zu bytes, %" PRIu64 " are announced", name, out->len,
                                 d->size);
        return oci_digest_check(&d->digest, out->data, out->len, name, e);
}

static int make_layers(unsigned n, struct local_image *i, struct error *e)
{
        i->layers = calloc(n, sizeof(*i->layers));
        if (!i->layers)
                return error_oom(e);
        i->n_layers = n;
        return 0;
}

/* --- OCI layout --- */

static int check_layout(struct oci_store *s, struct error *e)
{
        _cleanup_(buf_done) struct buf text = BUF_INIT(LIMIT_OCI_DOCUMENT);
        _cleanup_json_ struct json_object *root = NULL;
        const char *version;
        int r;

        r = read_document(s, "oci-layout", &text, e);
        if (r < 0)
                return r;
        r = json_read_text(buf_str(&text), text.len, text.max, "oci-layout", &root, e);
        if (r < 0)
                return r;
        if (json_get_str(root, "imageLayoutVersion", &version) < 0 ||
            strncmp(version, "1.", 2) != 0)
                return error_set(e, ERROR_REFUSED, EBADMSG,
                                 "oci-layout: not of a version known here");
        return 0;
}

/* From index.json down to the manifest. */
static int find_manifest(struct oci_store *s, const struct oci_platform *want,
                         struct local_image *i, struct oci_manifest **ret, struct error *e)
{
        _cleanup_(oci_index_free_p) struct oci_index *index = NULL;
        _cleanup_(oci_manifest_free_p) struct oci_manifest *m = NULL;
        _cleanup_(buf_done) struct buf text = BUF_INIT(LIMIT_OCI_DOCUMENT);
        int r;

        r = read_document(s, "index.json", &text, e);
        if (r == 0)
                r = oci_document_parse(buf_str(&text), text.len, NULL, OCI_MEDIA_INDEX, &m, &index,
                                       e);
        if (r == 0 && oci_index_count(index, want) > 1) {
                error_set(e, ERROR_REFUSED, ENOTUNIQ, "index.json: several images for %s/%s",
                          want->os, want->architecture);
                error_advise(e, "put one image into the archive or folder, not several");
                return -ENOTUNIQ;
        }
        for (unsigned depth = 0; r == 0 && index; depth++) {
                const struct oci_descriptor *d;
                struct oci_index *next = NULL;
                struct oci_facts facts;

                if (depth > LIMIT_OCI_NESTING)
                        return error_set(e, ERROR_REFUSED, ELOOP, "index.json: nested too deep");
                r = oci_index_pick(index, want, &d, &facts, e);
                if (r == 0)
                        r = oci_facts_merge(&i->facts, &facts, e);
                buf_reset(&text);
                if (r == 0)
                        r = read_blob(s, d, &text, e);
                if (r == 0 && depth == 0)
                        memcpy(i->manifest, d->digest.text, sizeof(i->manifest));
                if (r == 0)
                        r = oci_document_parse(buf_str(&text), text.len, NULL, d->media, &m, &next,
                                               e);
                oci_index_free(index);
                index = next;
        }
        if (r < 0)
                return r;
        *ret = TAKE_PTR(m);
        return 0;
}

static int read_config(struct oci_store *s, const struct oci_manifest *m,
                       const struct oci_platform *want, struct oci_facts *facts, struct error *e)
{
        _cleanup_(buf_done) struct buf text = BUF_INIT(LIMIT_OCI_DOCUMENT);
        struct oci_facts more;
        int r;

        if (!m->has_config)
                return 0;
        r = read_blob(s, &m->config, &text, e);
        if (r == 0)
                r = oci_config_parse(buf_str(&text), text.len, want, &more, e);
        return r < 0 ? r : oci_facts_merge(facts, &more, e);
}

static int find_in_layout(struct oci_store *s, const struct oci_platform *want,
                          struct local_image *i, struct error *e)
{
        _cleanup_(oci_manifest_free_p) struct oci_manifest *m = NULL;
        struct oci_facts facts;
        int r;

        r = find_manifest(s, want, i, &m, e);
        if (r < 0)
                return r;
        /* What stands closest to the image counts first. */
        facts = m->facts;
        r = oci_facts_merge(&facts, &i->facts, e);
        if (r == 0)
                r = read_config(s, m, want, &facts, e);
        if (r == 0)
                r = make_layers(m->n_layers, i, e);
        if (r < 0)
                return r;
        i->facts = facts;
        i->raw = m->raw;
        for (unsigned n = 0; n < m->n_layers; n++) {
                const struct oci_layer *from = &m->layers[n];
                char name[BLOB_NAME_SIZE];

                blob_name(&from->blob.digest, name, sizeof(name));
                i->layers[n] = (struct local_layer){.name = strdup(name),
                                                    .format = from->format,
                                                    .usable = from->usable,
                                                    .has_digest = true,
                                                    .digest = from->blob.digest,
                                                    .size = from->blob.size};
                if (!i->layers[n].name)
                        return error_oom(e);
        }
        return 0;
}

/* --- docker-archive --- */

static int bad_manifest(struct error *e, const char *why)
{
        return error_set(e, ERROR_REFUSED, EBADMSG, "manifest.json: %s", why);
}

static int docker_config(struct oci_store *s, struct json_object *image,
                         const struct oci_platform *want, struct local_image *i, struct error *e)
{
        _cleanup_(buf_done) struct buf text = BUF_INIT(LIMIT_OCI_DOCUMENT);
        const char *name;
        int r;

        if (json_get_str(image, "Config", &name) < 0)
                return bad_manifest(e, "an image without configuration");
        r = read_document(s, name, &text, e);
        return r < 0 ? r : oci_config_parse(buf_str(&text), text.len, want, &i->facts, e);
}

/* Nothing says how the layers are packed but they themselves. */
static int docker_layer(struct oci_store *s, const char *name, struct local_layer *l,
                        struct error *e)
{
        struct stream *stream = NULL;
        uint8_t begin[4];
        ssize_t n;
        int r;

        r = s->open(s, name, &stream, &l->size, e);
        if (r < 0)
                return r;
        if (l->size > LIMIT_OCI_BLOB)
                return bad_manifest(e, "a layer beyond all bounds");
        n = stream_read_full(stream, begin, sizeof(begin), e);
        if (n < 0)
                return (int)n;
        l->format = layer_format_detect(begin, (size_t)n);
        /* The name of a first member may begin with anything. */
        if (l->format == LAYER_RAW)
                l->format = LAYER_TAR;
        l->usable = true;
        l->name = strdup(name);
        return l->name ? 0 : error_oom(e);
}

static int docker_layers(struct oci_store *s, struct json_object *image, struct local_image *i,
                         struct error *e)
{
        struct json_object *list;
        size_t n;
        int r;

        if (json_get_array(image, "Layers", &list) < 0)
                return bad_manifest(e, "an image without layers");
        n = json_object_array_length(list);
        if (n == 0 || n > LIMIT_OCI_LAYERS)
                return error_set(e, ERROR_REFUSED, n == 0 ? EBADMSG : E2BIG,
                                 "manifest.json: %zu layers, 1 to %u are accepted", n,
                                 LIMIT_OCI_LAYERS);
        r = make_layers((unsigned)n, i, e);
        for (unsigned k = 0; r == 0 && k < n; k++) {
                struct json_object *name = json_object_array_get_idx(list, k);

                if (!json_object_is_type(name, json_type_string))
                        return bad_manifest(e, "the name of a layer is no text");
                r = docker_layer(s, json_object_get_string(name), &i->layers[k], e);
        }
        return r;
}

static int find_in_docker(struct oci_store *s, const struct oci_platform *want,
                          struct local_image *i, struct error *e)
{
        _cleanup_(buf_done) struct buf text = BUF_INIT(LIMIT_OCI_DOCUMENT);
        _cleanup_json_ struct json_object *root = NULL;
        struct json_object *image;
        int r;

        r = read_document(s, "manifest.json", &text, e);
        if (r == -ENOENT) {
                error_set(e, ERROR_REFUSED, ENOENT,
                          "neither an OCI layout (index.json) nor a Docker archive "
                          "(manifest.json)");
                error_advise(e, "make one with \"docker save\" or \"skopeo copy ... "
                                "oci-archive:FILE\"");
                return -ENOENT;
        }
        if (r == 0)
                r = json_read_text(buf_str(&text), text.len, text.max, "manifest.json", &root, e);
        if (r < 0)
                return r;
        if (!json_object_is_type(root, json_type_array))
                return bad_manifest(e, "no list of images");
        if (json_object_array_length(root) != 1) {
                error_set(e, ERROR_REFUSED, ENOTUNIQ, "manifest.json: %zu images, one is wanted",
                          json_object_array_length(root));
                error_advise(e, "put one image into the archive");
                return -ENOTUNIQ;
        }
        image = json_object_array_get_idx(root, 0);
        r = docker_config(s, image, want, i, e);
        return r < 0 ? r : docker_layers(s, image, i, e);
}

/* --- both --- */

int local_image_find(struct oci_store *s, const struct oci_platform *want, struct local_image **ret,
                     struct error *e)
{
        _cleanup_(local_image_free_p) struct local_image *i = calloc(1, sizeof(*i));
        struct error own = ERROR_INIT;
        int r;

        if (!i)
                return error_oom(e);
        r = check_layout(s, &own);
        if (r == 0) {
                r = find_in_layout(s, want, i, &own);
        } else if (r == -ENOENT) {
                error_clear(&own);
                r = find_in_docker(s, want, i, &own);
        }
        if (r < 0) {
                if (e)
                        *e = own;
                return r;
        }
        *ret = TAKE_PTR(i);
        return 0;
}

void local_image_free(struct local_image *i)
{
        if (!i)
                return;
        for (unsigned n = 0; n < i->n_layers; n++)
                free(i->layers[n].name);
        free(i->layers);
        free(i);
}

int local_image_open_layer(struct oci_store *s, const struct local_layer *layer,
                           struct oci_checked *checked, struct error *e)
{
        struct stream *stream = NULL;
        uint64_t size;
        int r;

        r = s->open(s, layer->name, &stream, &size, e);
        if (r < 0)
                return r;
        if (size != layer->size)
                return error_set(e, ERROR_REFUSED, EBADMSG,
                                 "%s: %" PRIu64 " bytes, %" PRIu64 " are announced", layer->name,
                                 size, layer->size);
        return oci_checked_init(checked, stream, layer->has_digest ? &layer->digest : NULL, size,
                                e);
}
