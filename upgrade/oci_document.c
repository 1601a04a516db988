/* SPDX-License-Identifier: Apache-2.0 */
/* Manifests and indexes: the half of upgrade/oci.h that is about documents. */
#include <inttypes.h>
#include <string.h>

#include "base/limits.h"
#include "upgrade/oci_private.h"

struct entry {
        struct oci_descriptor document;
        bool has_platform;
        char os[OCI_WORD_SIZE], architecture[OCI_WORD_SIZE], variant[OCI_WORD_SIZE];
        struct oci_facts facts;
};

struct oci_index {
        unsigned n;
        struct entry *entries;
};

static int malformed(struct error *e, const char *why)
{
        return error_set(e, ERROR_REFUSED, EBADMSG, "manifest: %s", why);
}

/* --- descriptors --- */

static int parse_descriptor(struct json_object *o, struct oci_descriptor *ret, struct error *e)
{
        struct oci_descriptor d = {.media = OCI_MEDIA_UNKNOWN};
        const char *type, *digest;

        if (json_get_str(o, "mediaType", &type) < 0 || strlen(type) >= sizeof(d.type) || !type[0])
                return malformed(e, "a descriptor without a media type");
        if (json_get_str(o, "digest", &digest) < 0 || oci_digest_parse(digest, &d.digest) < 0)
                return malformed(e, "a descriptor without a digest that is known here (sha256, "
                                    "sha512)");
        if (json_get_u64(o, "size", &d.size) < 0 || d.size > LIMIT_OCI_BLOB)
                return malformed(e, "a descriptor without a size, or with one beyond all bounds");
        memcpy(d.type, type, strlen(type) + 1);
        d.media = oci_media_type(type);
        *ret = d;
        return 0;
}

/* --- manifests --- */

static bool title_is_efi(struct json_object *layer)
{
        struct json_object *annotations;
        const char *title;
        size_t n;

        if (json_get_obj(layer, "annotations", &annotations) < 0 ||
            json_get_str(annotations, "org.opencontainers.image.title", &title) < 0)
                return false;
        n = strlen(title);
        return n > 4 && strcasecmp(title + n - 4, ".efi") == 0;
}

/* Whether the only layer is the image itself. */
static bool is_raw(struct json_object *root, const struct oci_manifest *m,
                   struct json_object *layer)
{
        enum oci_media media = m->layers[0].blob.media;
        const char *type = "";

        if (media == OCI_MEDIA_USI)
                return true;
        if (media == OCI_MEDIA_UNKNOWN &&
            (oci_same_type(m->config.type, OCI_TYPE_USI) ||
             (json_get_str(root, "artifactType", &type) == 0 && oci_same_type(type, OCI_TYPE_USI))))
                return true;
        return title_is_efi(layer) &&
               (media == OCI_MEDIA_UNKNOWN || (media == OCI_MEDIA_TAR && !m->has_config));
}

static int parse_layer(struct json_object *o, struct oci_layer *l, struct error *e)
{
        int r = parse_descriptor(o, &l->blob, e);

        if (r < 0)
                return r;
        l->usable = true;
        switch (l->blob.media) {
        case OCI_MEDIA_TAR:
                l->format = LAYER_TAR;
                break;
        case OCI_MEDIA_TAR_GZIP:
                l->format = LAYER_TAR_GZIP;
                break;
        case OCI_MEDIA_TAR_ZSTD:
                l->format = LAYER_TAR_ZSTD;
                break;
        case OCI_MEDIA_UNKNOWN:
        case OCI_MEDIA_INDEX:
        case OCI_MEDIA_MANIFEST:
        case OCI_MEDIA_OBSOLETE:
        case OCI_MEDIA_CONFIG:
        case OCI_MEDIA_EMPTY:
        case OCI_MEDIA_USI:
                l->usable = false;
                break;
        }
        return 0;
}

static int parse_layers(struct json_object *list, struct oci_manifest *m, struct error *e)
{
        size_t n = json_object_array_length(list);

        if (n == 0 || n > LIMIT_OCI_LAYERS)
                return error_set(e, ERROR_REFUSED, n == 0 ? EBADMSG : E2BIG,
                                 "manifest: %zu layers, 1 to %u are accepted", n, LIMIT_OCI_LAYERS);
        m->layers = calloc(n, sizeof(*m->layers));
        if (!m->layers)
                return error_oom(e);
        for (m->n_layers = 0; m->n_layers < n; m->n_layers++) {
                int r = parse_layer(json_object_array_get_idx(list, m->n_layers),
                                    &m->layers[m->n_layers], e);

                if (r < 0)
                        return r;
        }
        return 0;
}

/* The one layer is the image: its digest and size are known. */
static int make_raw(struct oci_manifest *m, struct error *e)
{
        struct oci_layer *l = &m->layers[0];
        struct oci_facts known = {.size = l->blob.size,
                                  .has_sha256 = l->blob.digest.algorithm == OCI_SHA256};

        if (l->blob.size == 0 || l->blob.size > LIMIT_IMAGE_SIZE)
                return error_set(e, ERROR_REFUSED, E2BIG,
                                 "manifest: an image of %" PRIu64 " bytes, 1 to %" PRIu64
                                 " are accepted",
                                 l->blob.size, (uint64_t)LIMIT_IMAGE_SIZE);
        m->raw = true;
        l->usable = true;
        l->format = LAYER_RAW;
        memcpy(known.sha256, l->blob.digest.bytes, sizeof(known.sha256));
        return oci_facts_merge(&m->facts, &known, e);
}

static int check_layers(struct oci_manifest *m, struct error *e)
{
        bool usable = false;

        for (unsigned i = 0; i < m->n_layers; i++) {
                if (m->layers[i].blob.media == OCI_MEDIA_USI)
                        return malformed(e, "a layer that is an image stands beside others");
                usable = usable || m->layers[i].usable;
        }
        if (usable)
                return 0;
        error_set(e, ERROR_REFUSED, EBADMSG,
                  "manifest: no layer is of a kind that can hold an "
                  "image");
        error_advise(e,
                     "push the image as an artifact of type %s, or in a layer of an ordinary "
                     "image",
                     OCI_TYPE_USI);
        return -EBADMSG;
}

static int parse_manifest(struct json_object *root, struct oci_manifest **ret, struct error *e)
{
        _cleanup_(oci_manifest_free_p) struct oci_manifest *m = calloc(1, sizeof(*m));
        struct json_object *config, *layers;
        int r;

        if (!m)
                return error_oom(e);
        if (json_get_obj(root, "config", &config) < 0 ||
            json_get_array(root, "layers", &layers) < 0)
                return malformed(e, "no configuration, or no list of layers");
        r = parse_descriptor(config, &m->config, e);
        if (r < 0)
                return r;
        m->has_config = m->config.media == OCI_MEDIA_CONFIG;
        if (m->has_config && m->config.size > LIMIT_OCI_DOCUMENT)
                return malformed(e, "the image configuration is too large");
        r = parse_layers(layers, m, e);
        if (r < 0)
                return r;
        r = oci_facts_read(root, &m->facts, e);
        if (r < 0)
                return r;
        if (m->n_layers == 1 && is_raw(root, m, json_object_array_get_idx(layers, 0)))
                r = make_raw(m, e);
        else
                r = check_layers(m, e);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(m);
        return 0;
}

void oci_manifest_free(struct oci_manifest *m)
{
        if (!m)
                return;
        free(m->layers);
        free(m);
}

/* --- indexes --- */

static int take_word(struct json_object *platform, const char *key, char ret[OCI_WORD_SIZE])
{
        const char *text = "";
        int r = json_get_str(platform, key, &text);

        if (r < 0 && r != -ENOENT)
                return r;
        oci_word_copy(text, ret);
        return 0;
}

static int parse_entry(struct json_object *o, struct entry *x, struct error *e)
{
        struct json_object *platform;
        int r;

        r = parse_descriptor(o, &x->document, e);
        if (r < 0)
                return r;
        r = json_get_obj(o, "platform", &platform);
        if (r == 0) {
                x->has_platform = true;
                if (take_word(platform, "os", x->os) < 0 ||
                    take_word(platform, "architecture", x->architecture) < 0 ||
                    take_word(platform, "variant", x->variant) < 0)
                        r = -EBADMSG;
        }
        /* null is what some tools write for "none". */
        if (r == -EBADMSG && (x->has_platform || json_object_object_get(o, "platform")))
                return malformed(e, "an entry with a malformed platform");
        return oci_facts_read(o, &x->facts, e);
}

static int parse_index(struct json_object *root, struct oci_index **ret, struct error *e)
{
        _cleanup_(oci_index_free_p) struct oci_index *x = calloc(1, sizeof(*x));
        struct json_object *list;
        size_t n;

        if (!x)
                return error_oom(e);
        if (json_get_array(root, "manifests", &list) < 0)
                return malformed(e, "the list of manifests is none");
        n = json_object_array_length(list);
        if (n == 0 || n > LIMIT_OCI_ENTRIES)
                return error_set(e, ERROR_REFUSED, n == 0 ? EBADMSG : E2BIG,
                                 "manifest: an index of %zu entries, 1 to %u are accepted", n,
                                 LIMIT_OCI_ENTRIES);
        x->entries = calloc(n, sizeof(*x->entries));
        if (!x->entries)
                return error_oom(e);
        for (x->n = 0; x->n < n; x->n++) {
                int r = parse_entry(json_object_array_get_idx(list, x->n), &x->entries[x->n], e);

                if (r < 0)
                        return r;
        }
        *ret = TAKE_PTR(x);
        return 0;
}

void oci_index_free(struct oci_index *x)
{
        if (!x)
                return;
        free(x->entries);
        free(x);
}

/* The variant that every machine of an architecture has; naming it says nothing. */
static const char *baseline(const char *architecture)
{
        if (strcmp(architecture, "amd64") == 0)
                return "v1";
        return strcmp(architecture, "arm64") == 0 ? "v8" : "";
}

/* 0: not for this platform; the higher the better. */
static int fitness(const struct oci_index *x, const struct entry *n,
                   const struct oci_platform *want)
{
        if (n->document.media != OCI_MEDIA_MANIFEST && n->document.media != OCI_MEDIA_INDEX)
                return 0;
        if (!n->has_platform)
                return x->n == 1;
        if (strcmp(n->os, want->os) != 0 || strcmp(n->architecture, want->architecture) != 0)
                return 0;
        if (strcmp(n->variant, want->variant) == 0)
                return 2;
        return !n->variant[0] || strcmp(n->variant, baseline(n->architecture)) == 0;
}

static int nothing_fits(const struct oci_index *x, const struct oci_platform *want, struct error *e)
{
        _cleanup_(buf_done) struct buf list = BUF_INIT(512);

        /* A list too long for the message is cut short. */
        for (unsigned i = 0; i < x->n; i++) {
                const struct entry *n = &x->entries[i];

                if (buf_printf(&list, "%s%s%s%s%s%s", i > 0 ? ", " : "",
                               n->has_platform ? n->os : "none", n->has_platform ? "/" : "",
                               n->architecture, n->variant[0] ? "/" : "", n->variant) < 0)
                        break;
        }
        return error_set(e, ERROR_REFUSED, ENOENT,
                         "manifest: there is none for %s/%s in this index (but for: %s)", want->os,
                         want->architecture, buf_str(&list));
}

unsigned oci_index_count(const struct oci_index *x, const struct oci_platform *want)
{
        int best = 0;
        unsigned n = 0;

        for (unsigned i = 0; i < x->n; i++) {
                int f = fitness(x, &x->entries[i], want);

                if (f > best)
                        n = 0;
                best = f > best ? f : best;
                n += f == best && f > 0;
        }
        return n;
}

int oci_index_pick(const struct oci_index *x, const struct oci_platform *want,
                   const struct oci_descriptor **ret, struct oci_facts *ret_facts, struct error *e)
{
        const struct entry *best = NULL;
        int best_fitness = 0;

        for (unsigned i = 0; i < x->n; i++) {
                int f = fitness(x, &x->entries[i], want);

                if (f > best_fitness) {
                        best = &x->entries[i];
                        best_fitness = f;
                }
        }
        if (!best)
                return nothing_fits(x, want, e);
        if (best->document.size > LIMIT_OCI_DOCUMENT)
                return error_set(e, ERROR_REFUSED, E2BIG,
                                 "manifest: one of %" PRIu64 " bytes, at most %" PRIu64
                                 " are accepted",
                                 best->document.size, (uint64_t)LIMIT_OCI_DOCUMENT);
        *ret = &best->document;
        *ret_facts = best->facts;
        return 0;
}

/* --- both --- */

static int check_schema(struct json_object *root, struct error *e)
{
        uint64_t version;

        if (!json_object_is_type(root, json_type_object) ||
            json_get_u64(root, "schemaVersion", &version) < 0)
                return malformed(e, "this is none (no schemaVersion)");
        if (version == 1) {
                error_set(e, ERROR_REFUSED, ENOTSUP, "manifest: obsolete Docker schema 1");
                error_advise(e, "push the image again with a tool of this decade");
                return -ENOTSUP;
        }
        return version == 2 ? 0 : malformed(e, "an unknown schemaVersion");
}

/*
 * Which of the two it is. A document that could be read as either would be one thing to us and
 * another to whoever signed or scanned it, so its shape and everybody's word must be one.
 */
static int decide_kind(struct json_object *root, const char *content_type, enum oci_media expected,
                       enum oci_media *ret, struct error *e)
{
        bool index = json_object_object_get_ex(root, "manifests", NULL);
        bool manifest = json_object_object_get_ex(root, "layers", NULL) ||
                        json_object_object_get_ex(root, "config", NULL);
        enum oci_media kind = index ? OCI_MEDIA_INDEX : OCI_MEDIA_MANIFEST;
        enum oci_media said[3] = {oci_media_type(content_type), OCI_MEDIA_UNKNOWN, expected};
        const char *type = NULL;
        int r = json_get_str(root, "mediaType", &type);

        if (r < 0 && r != -ENOENT)
                return malformed(e, "the media type is no text");
        if (index == manifest)
                return malformed(e, index ? "both a manifest and an index"
                                          : "neither a manifest nor an index");
        said[1] = oci_media_type(type);
        if (type && said[1] == OCI_MEDIA_UNKNOWN)
                return malformed(e, "its media type is unknown");
        if (said[0] != OCI_MEDIA_UNKNOWN && said[1] != OCI_MEDIA_UNKNOWN &&
            !oci_same_type(content_type, type))
                return malformed(e, "the server and the document name different media types");
        for (size_t i = 0; i < ARRAY_SIZE(said); i++) {
                if (said[i] != OCI_MEDIA_UNKNOWN && said[i] != kind)
                        return malformed(e, "its content does not fit its media type");
        }
        *ret = kind;
        return 0;
}

int oci_document_parse(const void *text, size_t n, const char *content_type,
                       enum oci_media expected, struct oci_manifest **ret_manifest,
                       struct oci_index **ret_index, struct error *e)
{
        _cleanup_json_ struct json_object *root = NULL;
        struct oci_manifest *manifest = NULL;
        struct oci_index *index = NULL;
        enum oci_media kind = OCI_MEDIA_UNKNOWN;
        int r;

        /* What captive portals and broken proxies answer with. */
        if (content_type && oci_same_type(content_type, "text/html"))
                return malformed(e, "the server answered with a web page");
        r = json_read_text(text, n, LIMIT_OCI_DOCUMENT, "manifest", &root, e);
        if (r < 0)
                return r;
        r = check_schema(root, e);
        if (r < 0)
                return r;
        r = decide_kind(root, content_type, expected, &kind, e);
        if (r < 0)
                return r;
        r = kind == OCI_MEDIA_INDEX ? parse_index(root, &index, e)
                                    : parse_manifest(root, &manifest, e);
        if (r < 0)
                return r;
        *ret_manifest = manifest;
        *ret_index = index;
        return 0;
}
