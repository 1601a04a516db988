/* SPDX-License-Identifier: Apache-2.0 */
#include "image/container.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/json.h"
#include "base/limits.h"
#include "upgrade/oci.h"

#define TYPE_INDEX "application/vnd.oci.image.index.v1+json"
#define TYPE_MANIFEST "application/vnd.oci.image.manifest.v1+json"
#define TYPE_CONFIG "application/vnd.oci.image.config.v1+json"
#define TYPE_LAYER "application/vnd.oci.image.layer.v1.tar"
#define TYPE_EMPTY "application/vnd.oci.empty.v1+json"
#define ANNOTATION_CREATED "org.opencontainers.image.created"
#define ANNOTATION_TITLE "org.opencontainers.image.title"
#define ANNOTATION_TAG "org.opencontainers.image.ref.name"
#define BLOBS "blobs/sha256/"
#define NAME_SIZE 96u

/* A blob: its digest, and how documents call it. */
struct blob {
        uint8_t sha256[SHA256_SIZE];
        uint64_t size;
        char hex[SHA256_HEX_SIZE];
        char digest[SHA256_HEX_SIZE + 7]; /* "sha256:..." */
        char path[NAME_SIZE];             /* in a layout */
};

static void name_blob(struct blob *b)
{
        hex_encode(b->sha256, SHA256_SIZE, b->hex);
        (void)snprintf(b->digest, sizeof(b->digest), "sha256:%s", b->hex);
        (void)snprintf(b->path, sizeof(b->path), BLOBS "%s", b->hex);
}

static int hash_text(const char *text, struct blob *ret, struct error *e)
{
        *ret = (struct blob){.size = strlen(text)};
        if (sha256(text, strlen(text), ret->sha256) < 0)
                return error_oom(e);
        name_blob(ret);
        return 0;
}

/* Borrowed text of a document; NULL when memory ran out. */
static const char *text_of(struct json_object *document)
{
        return document ? json_object_to_json_string_ext(
                                  document, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE)
                        : NULL;
}

/* --- what the documents say --- */

static void created(const struct container *c, char ret[32])
{
        time_t t = (time_t)c->epoch;
        struct tm tm = {0};

        (void)gmtime_r(&t, &tm);
        (void)strftime(ret, 32, "%Y-%m-%dT%H:%M:%SZ", &tm);
}

static bool said(const char *value)
{
        return value && *value;
}

/* Name and version: the labels of an image, and the first of the annotations. */
static int add_names(const struct container *c, struct json_object *o)
{
        const char *id = usi_image_id(c->image->usi), *version = usi_image_version(c->image->usi);
        int r = 0;

        if (said(id))
                r = json_add_str(o, ANNOTATION_TITLE, id);
        if (r == 0 && said(version))
                r = json_add_str(o, OCI_ANNOTATION_VERSION, version);
        return r;
}

/* Annotations of the manifest and of its entry in the index: what makes "nothing to do" known
 * before a layer is loaded. The tag is for the index. */
static struct json_object *annotations(const struct container *c, const char *tag)
{
        _cleanup_json_ struct json_object *o = json_object_new_object();
        char hex[SHA256_HEX_SIZE], size[24], when[32];
        int r = add_names(c, o);

        hex_encode(usi_sha256(c->image->usi), SHA256_SIZE, hex);
        (void)snprintf(size, sizeof(size), "%" PRIu64, usi_size(c->image->usi));
        created(c, when);
        if (r == 0)
                r = json_add_str(o, OCI_ANNOTATION_SHA256, hex);
        if (r == 0)
                r = json_add_str(o, OCI_ANNOTATION_SIZE, size);
        if (r == 0)
                r = json_add_str(o, ANNOTATION_CREATED, when);
        if (r == 0 && tag)
                r = json_add_str(o, ANNOTATION_TAG, tag);
        return r < 0 ? NULL : TAKE_PTR(o);
}

static struct json_object *new_object(struct json_object *parent, const char *key)
{
        struct json_object *o = json_object_new_object();

        return json_add_obj(parent, key, o) < 0 ? NULL : o;
}

static struct json_object *new_array(struct json_object *parent, const char *key)
{
        struct json_object *o = json_object_new_array();

        return json_add_obj(parent, key, o) < 0 ? NULL : o;
}

static int add_history(const struct container *c, struct json_object *config)
{
        _cleanup_json_ struct json_object *step = json_object_new_object();
        struct json_object *list = new_array(config, "history");
        char when[32];
        int r;

        created(c, when);
        r = json_add_str(step, "created", when);
        if (r == 0)
                r = json_add_str(step, "created_by", "tb-image upgrade-image");
        return r < 0 ? r : json_append(list, TAKE_PTR(step));
}

/* The configuration of an image with that one layer. */
static struct json_object *new_config(const struct container *c, const struct blob *layer)
{
        _cleanup_json_ struct json_object *root = json_object_new_object();
        struct json_object *rootfs;
        char when[32];
        int r;

        created(c, when);
        r = json_add_str(root, "created", when);
        if (r == 0)
                r = json_add_str(root, "architecture", finished_architecture(c->image));
        if (r == 0)
                r = json_add_str(root, "os", "linux");
        if (r == 0)
                r = add_names(c, new_object(new_object(root, "config"), "Labels"));
        rootfs = new_object(root, "rootfs");
        if (r == 0)
                r = json_add_str(rootfs, "type", "layers");
        if (r == 0)
                r = json_append(new_array(rootfs, "diff_ids"), json_new_str(layer->digest));
        if (r == 0)
                r = add_history(c, root);
        return r < 0 ? NULL : TAKE_PTR(root);
}

static struct json_object *new_descriptor(const char *type, const struct blob *b)
{
        _cleanup_json_ struct json_object *o = json_object_new_object();
        int r = json_add_str(o, "mediaType", type);

        if (r == 0)
                r = json_add_str(o, "digest", b->digest);
        if (r == 0)
                r = json_add_u64(o, "size", b->size);
        return r < 0 ? NULL : TAKE_PTR(o);
}

static struct json_object *new_document(const char *type)
{
        _cleanup_json_ struct json_object *o = json_object_new_object();
        int r = json_add_u64(o, "schemaVersion", 2);

        if (r == 0)
                r = json_add_str(o, "mediaType", type);
        return r < 0 ? NULL : TAKE_PTR(o);
}

static struct json_object *new_manifest(const struct container *c, bool raw,
                                        const struct blob *config, const struct blob *layer)
{
        _cleanup_json_ struct json_object *root = new_document(TYPE_MANIFEST);
        int r = 0;

        if (raw)
                r = json_add_str(root, "artifactType", OCI_TYPE_USI);
        if (r == 0)
                r = json_add_obj(root, "config",
                                 new_descriptor(raw ? TYPE_EMPTY : TYPE_CONFIG, config));
        if (r == 0)
                r = json_append(new_array(root, "layers"),
                                new_descriptor(raw ? OCI_TYPE_USI : TYPE_LAYER, layer));
        if (r == 0)
                r = json_add_obj(root, "annotations", annotations(c, NULL));
        return r < 0 ? NULL : TAKE_PTR(root);
}

static struct json_object *new_index(const struct container *c, const struct blob *manifest)
{
        _cleanup_json_ struct json_object *root = new_document(TYPE_INDEX);
        _cleanup_json_ struct json_object *entry = new_descriptor(TYPE_MANIFEST, manifest);
        struct json_object *platform = new_object(entry, "platform");
        int r;

        r = json_add_str(platform, "architecture", finished_architecture(c->image));
        if (r == 0)
                r = json_add_str(platform, "os", "linux");
        if (r == 0)
                r = json_add_obj(entry, "annotations", annotations(c, c->tag));
        if (r == 0)
                r = json_append(new_array(root, "manifests"), TAKE_PTR(entry));
        return r < 0 ? NULL : TAKE_PTR(root);
}

/* --- putting it together --- */

static int hash_layer(const struct container *c, const struct bundle *layer, struct blob *ret,
                      struct error *e)
{
        *ret = (struct blob){.size = layer ? bundle_tar_size(layer) : usi_size(c->image->usi)};
        if (layer) {
                int r = bundle_tar_digest(layer, ret->sha256, e);

                if (r < 0)
                        return r;
        } else {
                memcpy(ret->sha256, usi_sha256(c->image->usi), SHA256_SIZE);
        }
        name_blob(ret);
        return 0;
}

static int add_text(struct bundle *b, const char *name, const char *text, struct error *e)
{
        return bundle_add_data(b, name, text, strlen(text), e);
}

static void tell(struct container_facts *facts, const struct blob *manifest,
                 const struct blob *layer)
{
        memcpy(facts->manifest, manifest->sha256, SHA256_SIZE);
        memcpy(facts->layer, layer->sha256, SHA256_SIZE);
        facts->layer_size = layer->size;
}

/* Takes the layer over. */
static int add_layer(const struct container *c, struct bundle *out, const char *name,
                     struct bundle **layer, struct error *e)
{
        if (*layer)
                return bundle_add_tar(out, name, TAKE_PTR(*layer), e);
        return bundle_add_fd(out, name, c->image->fd, e);
}

/* What both kinds begin with. layer NULL: the layer is the image itself. */
static int begin(const struct container *c, const struct bundle *layer, struct bundle **ret,
                 struct blob *ret_layer, struct error *e)
{
        int r = bundle_new(c->epoch, ret, e);

        return r == 0 ? hash_layer(c, layer, ret_layer, e) : r;
}

/* Text of a document, which it keeps, and its digest. */
static int finish_text(struct json_object *document, const char **ret_text, struct blob *ret,
                       struct error *e)
{
        *ret_text = text_of(document);
        return *ret_text ? hash_text(*ret_text, ret, e) : error_oom(e);
}

int container_oci(const struct container *c, struct bundle *layer_taken, struct bundle **ret,
                  struct container_facts *facts, struct error *e)
{
        _cleanup_(bundle_free_p) struct bundle *layer = layer_taken, *out = NULL;
        _cleanup_json_ struct json_object *config = NULL, *manifest = NULL, *index = NULL;
        struct blob config_blob, manifest_blob, layer_blob;
        const char *config_text, *manifest_text, *index_text;
        bool raw = !layer;
        int r;

        r = begin(c, layer, &out, &layer_blob, e);
        if (r < 0)
                return r;
        config = raw ? json_object_new_object() : new_config(c, &layer_blob);
        r = finish_text(config, &config_text, &config_blob, e);
        if (r < 0)
                return r;
        manifest = new_manifest(c, raw, &config_blob, &layer_blob);
        r = finish_text(manifest, &manifest_text, &manifest_blob, e);
        if (r < 0)
                return r;
        index = new_index(c, &manifest_blob);
        index_text = text_of(index);
        if (!index_text)
                return error_oom(e);
        r = add_text(out, "oci-layout", "{\"imageLayoutVersion\":\"1.0.0\"}", e);
        if (r == 0)
                r = add_text(out, "index.json", index_text, e);
        if (r == 0)
                r = add_text(out, manifest_blob.path, manifest_text, e);
        if (r == 0)
                r = add_text(out, config_blob.path, config_text, e);
        if (r == 0)
                r = add_layer(c, out, layer_blob.path, &layer, e);
        if (r < 0)
                return r;
        tell(facts, &manifest_blob, &layer_blob);
        *ret = TAKE_PTR(out);
        return 0;
}

/* manifest.json: an array with the only image. */
static struct json_object *docker_manifest(const struct container *c, const char *config,
                                           const char *layer)
{
        _cleanup_json_ struct json_object *root = json_object_new_array();
        _cleanup_json_ struct json_object *o = json_object_new_object();
        _cleanup_(buf_done) struct buf tag = BUF_INIT(1024);
        struct json_object *tags;
        int r = json_add_str(o, "Config", config);

        tags = new_array(o, "RepoTags");
        if (r == 0 && c->name)
                r = buf_printf(&tag, "%s:%s", c->name, c->tag);
        if (r == 0 && c->name)
                r = json_append(tags, json_new_str(buf_str(&tag)));
        if (r == 0)
                r = json_append(new_array(o, "Layers"), json_new_str(layer));
        if (r == 0)
                r = json_append(root, TAKE_PTR(o));
        return r < 0 ? NULL : TAKE_PTR(root);
}

int container_docker(const struct container *c, struct bundle *layer_taken, struct bundle **ret,
                     struct container_facts *facts, struct error *e)
{
        _cleanup_(bundle_free_p) struct bundle *layer = layer_taken, *out = NULL;
        _cleanup_json_ struct json_object *config = NULL, *manifest = NULL;
        char config_name[NAME_SIZE], layer_name[NAME_SIZE];
        struct blob config_blob, layer_blob;
        const char *config_text, *manifest_text;
        int r;

        r = begin(c, layer, &out, &layer_blob, e);
        if (r < 0)
                return r;
        config = new_config(c, &layer_blob);
        r = finish_text(config, &config_text, &config_blob, e);
        if (r < 0)
                return r;
        (void)snprintf(config_name, sizeof(config_name), "%s.json", config_blob.hex);
        (void)snprintf(layer_name, sizeof(layer_name), "%s.tar", layer_blob.hex);
        manifest = docker_manifest(c, config_name, layer_name);
        manifest_text = text_of(manifest);
        if (!manifest_text)
                return error_oom(e);
        r = add_text(out, "manifest.json", manifest_text, e);
        if (r == 0)
                r = add_text(out, config_name, config_text, e);
        if (r == 0)
                r = add_layer(c, out, layer_name, &layer, e);
        if (r < 0)
                return r;
        tell(facts, &config_blob, &layer_blob);
        *ret = TAKE_PTR(out);
        return 0;
}
