/* SPDX-License-Identifier: Apache-2.0 */
#include "upgrade/fetch_child_private.h"

#include <stdio.h>
#include <string.h>

#include "upgrade/pe.h"
#include "upgrade/registry_login.h"

/* First bytes of a file on a server, which tell what it is: a tar shows its magic at byte 257. */
#define SAMPLE 512u

/* --- layers ------------------------------------------------------------------------------------*/

static int send_loader(struct child *c, const struct buf *loader, struct error *e)
{
        for (size_t at = 0; at < loader->len;) {
                size_t n = loader->len - at;
                int r;

                if (n > LIMIT_FETCH_FRAME)
                        n = LIMIT_FETCH_FRAME;
                r = child_send(c, WIRE_LOADER, loader->data + at, n, e);
                if (r < 0)
                        return r;
                at += n;
        }
        return 0;
}

/* Bytes as they are, to their end. */
static int send_stream(struct child *c, struct stream *s, struct error *e)
{
        ssize_t n;

        while ((n = stream_read_full(s, c->buffer, LIMIT_FETCH_FRAME, e)) > 0) {
                int r = child_send(c, WIRE_DATA, c->buffer, (size_t)n, e);

                if (r < 0)
                        return r;
        }
        return (int)n;
}

/* Sends what a layer has, reading it to its very end. */
static int send_layer(struct child *c, struct stream *blob, enum layer_format format,
                      uint64_t offset, enum layer_state *ret, struct error *e)
{
        const struct layer_wish wish = {
                .loader = c->config->options->want_loader && !c->loader_sent, .offset = offset};
        _cleanup_(layer_free_p) struct layer *l = NULL;
        ssize_t n;
        int r;

        r = layer_open(blob, format, &wish, &l, e);
        if (r < 0)
                return r;
        while ((n = layer_read(l, c->buffer, LIMIT_FETCH_FRAME, e)) > 0) {
                r = child_send(c, WIRE_DATA, c->buffer, (size_t)n, e);
                if (r < 0)
                        return r;
        }
        if (n < 0)
                return (int)n;
        *ret = layer_state(l);
        if (!wish.loader || layer_loader(l)->len == 0)
                return 0;
        c->loader_sent = true;
        return send_loader(c, layer_loader(l), e);
}

/* Whether the image was in it (1), or has to be looked for further down (0). */
static int judge_layer(enum layer_state state, struct error *e)
{
        if (state == LAYER_IMAGE)
                return 1;
        if (state == LAYER_HIDDEN)
                return error_set(e, ERROR_REFUSED, ENOENT,
                                 "no image inside: a layer deletes %s of the ones below",
                                 LAYER_IMAGE_NAME);
        return 0;
}

static int no_image(struct error *e)
{
        return error_set(e, ERROR_REFUSED, ENOENT, "no image inside: no layer has %s",
                         LAYER_IMAGE_NAME);
}

static int only_seekable(bool seekable, uint64_t offset, struct error *e)
{
        if (offset == 0 || seekable)
                return 0;
        return error_set(e, ERROR_INTERNAL, EINVAL, "this source begins at its begin");
}

/* --- what is said about the image --------------------------------------------------------------*/

static void fill_info(const struct oci_facts *facts, const char *manifest, struct wire_info *ret)
{
        (void)snprintf(ret->manifest, sizeof(ret->manifest), "%s", manifest);
        (void)snprintf(ret->version, sizeof(ret->version), "%s", facts->version);
        ret->size = facts->size;
        ret->has_sha256 = facts->has_sha256;
        memcpy(ret->sha256, facts->sha256, SHA256_SIZE);
}

/* The one layer of a raw artifact is the image: what its descriptor says is a fact. */
static int merge_raw(struct oci_facts *facts, const struct oci_digest *digest, uint64_t size,
                     struct error *e)
{
        struct oci_facts raw = {.size = size};

        if (digest && digest->algorithm == OCI_SHA256) {
                raw.has_sha256 = true;
                memcpy(raw.sha256, digest->bytes, SHA256_SIZE);
        }
        return oci_facts_merge(facts, &raw, e);
}

/* --- oci: --------------------------------------------------------------------------------------*/

/* The next document on the way from the name to the manifest. */
struct walk {
        struct oci_digest asked;
        struct registry_wish wish;
        enum oci_media expected;
        struct oci_manifest *manifest;
        struct oci_index *index;
};

static void walk_done(struct walk *w)
{
        oci_manifest_free(w->manifest);
        oci_index_free(w->index);
}

static int load_document(struct child *c, struct walk *w, struct error *e)
{
        _cleanup_(buf_done) struct buf text = BUF_INIT(LIMIT_OCI_DOCUMENT);
        _cleanup_free_ char *type = NULL;
        struct oci_digest digest;
        int r;

        r = registry_manifest(c->registry, &w->wish, &text, &type, e);
        if (r < 0)
                return r;
        if (!*c->digest) {
                /* From here on a tag means this and nothing else. */
                if (w->wish.digest)
                        digest = *w->wish.digest;
                else if (oci_digest_of(buf_str(&text), text.len, &digest) < 0)
                        return error_oom(e);
                (void)snprintf(c->digest, sizeof(c->digest), "%s", digest.text);
        }
        return oci_document_parse(buf_str(&text), text.len, type, w->expected, &w->manifest,
                                  &w->index, e);
}

/* From an index to what it has for this machine. */
static int descend(struct child *c, struct walk *w, struct error *e)
{
        struct oci_facts facts = {.version = ""};
        const struct oci_descriptor *d;
        int r;

        r = oci_index_pick(w->index, oci_platform_here(), &d, &facts, e);
        if (r < 0)
                return r;
        r = oci_facts_merge(&c->facts, &facts, e);
        if (r < 0)
                return r;
        w->asked = d->digest;
        w->wish = (struct registry_wish){.digest = &w->asked, .size = d->size};
        w->expected = d->media;
        oci_index_free(w->index);
        w->index = NULL;
        return 0;
}

static int find_manifest(struct child *c, struct error *e)
{
        const struct source_name *name = c->config->name;
        _cleanup_(walk_done) struct walk w = {
                .wish = {.tag = name->tag, .size = HTTP_SIZE_UNKNOWN}};
        int r;

        if (name->digest) {
                if (oci_digest_parse(name->digest, &w.asked) < 0)
                        return error_set(e, ERROR_USAGE, EINVAL, "%s: no digest", name->digest);
                w.wish.digest = &w.asked;
        }
        for (unsigned nested = 0;; nested++) {
                r = load_document(c, &w, e);
                if (r < 0)
                        return r;
                if (w.manifest)
                        break;
                if (nested == LIMIT_OCI_NESTING)
                        return error_set(e, ERROR_REFUSED, ELOOP,
                                         "indexes are nested more than %u deep", LIMIT_OCI_NESTING);
                r = descend(c, &w, e);
                if (r < 0)
                        return r;
        }
        c->manifest = TAKE_PTR(w.manifest);
        return oci_facts_merge(&c->facts, &c->manifest->facts, e);
}

/* The image configuration names the platform, also where no index did, and carries labels. */
static int read_configuration(struct child *c, struct error *e)
{
        const struct oci_descriptor *d = &c->manifest->config;
        _cleanup_(buf_done) struct buf text = BUF_INIT(LIMIT_OCI_DOCUMENT);
        struct oci_facts facts = {.version = ""};
        int r;

        if (!c->manifest->has_config)
                return 0;
        r = registry_small_blob(c->registry, &d->digest, d->size, &text, e);
        if (r < 0)
                return r;
        r = oci_config_parse(buf_str(&text), text.len, oci_platform_here(), &facts, e);
        return r < 0 ? r : oci_facts_merge(&c->facts, &facts, e);
}

/* All of them are wanted, and each has to be one that is known. */
static int check_layers(const struct oci_manifest *m, struct error *e)
{
        if (m->raw)
                return error_set(e, ERROR_REFUSED, ENOENT,
                                 "an artifact with a system image: it has no layers of files");
        for (unsigned i = 0; i < m->n_layers; i++)
                if (!m->layers[i].usable)
                        return error_set(e, ERROR_REFUSED, ENOTSUP,
                                         "layer %u is of a kind that is not known here: %s", i + 1,
                                         m->layers[i].blob.type);
        return 0;
}

static int resolve_oci(struct child *c, struct wire_info *ret, struct error *e)
{
        const struct oci_manifest *m;
        int r;

        r = find_manifest(c, e);
        if (r >= 0)
                r = read_configuration(c, e);
        if (r < 0)
                return r;
        m = c->manifest;
        if (c->config->options->layers) {
                r = check_layers(m, e);
                if (r < 0)
                        return r;
                ret->n_layers = (uint16_t)m->n_layers;
        } else if (m->raw) {
                r = merge_raw(&c->facts, &m->layers[0].blob.digest, m->layers[0].blob.size, e);
                if (r < 0)
                        return r;
        }
        fill_info(&c->facts, c->digest, ret);
        ret->seekable = m->raw;
        /* At most: it ends at the first layer from above that has the image. */
        for (unsigned i = 0; i < m->n_layers; i++) {
                if (m->layers[i].usable)
                        ret->transfer += m->layers[i].blob.size;
        }
        return 0;
}

/* The bytes were wrong: whoever gave them is not asked again, if somebody else can be. */
static int distrust(struct child *c, int failed, const struct error *e)
{
        if (e->class == ERROR_REFUSED && (e->code == EBADMSG || e->code == E2BIG))
                c->again = registry_distrust(c->registry) || c->spool.used;
        return failed;
}

/* The tail of a raw artifact. Its digest cannot be checked here; the parent has the head. */
static int begin_tail(struct child *c, uint64_t offset, struct error *e)
{
        const struct oci_layer *l = &c->manifest->layers[0];
        enum layer_state state;
        struct stream *blob;
        int r;

        r = registry_blob(c->registry, &l->blob.digest, l->blob.size, offset, &blob, e);
        if (r < 0)
                return r;
        r = send_layer(c, blob, LAYER_RAW, offset, &state, e);
        return r < 0 ? distrust(c, r, e) : 0;
}

/* There is one spool, for the layer that is worth most: small ones on top must not take its place.
 */
static bool is_largest(const struct oci_manifest *m, const struct oci_layer *l)
{
        for (unsigned i = 0; i < m->n_layers; i++) {
                if (m->layers[i].usable && m->layers[i].blob.size > l->blob.size)
                        return false;
        }
        return true;
}

static int send_blob(struct child *c, const struct oci_layer *l, enum layer_state *ret,
                     struct error *e)
{
        _cleanup_(oci_checked_done) struct oci_checked checked = {.hash = NULL};
        struct stream *blob;
        int r;

        c->spool.used = false;
        if (l->format == LAYER_RAW) {
                r = registry_blob(c->registry, &l->blob.digest, l->blob.size, 0, &blob, e);
        } else {
                r = child_spool_init(c, &l->blob, c->has_spool && is_largest(c->manifest, l), e);
                blob = &c->spool.stream;
        }
        if (r < 0)
                return r;
        r = oci_checked_init(&checked, blob, &l->blob.digest, l->blob.size, e);
        if (r < 0)
                return r;
        r = send_layer(c, &checked.stream, l->format, 0, ret, e);
        return r < 0 ? distrust(c, r, e) : 0;
}

static int begin_oci(struct child *c, uint64_t offset, struct error *e)
{
        int r = only_seekable(c->manifest->raw, offset, e);

        if (r < 0)
                return r;
        if (offset > 0)
                return begin_tail(c, offset, e);
        for (unsigned i = c->manifest->n_layers; i > 0; i--) {
                enum layer_state state;

                if (!c->manifest->layers[i - 1].usable)
                        continue;
                r = send_blob(c, &c->manifest->layers[i - 1], &state, e);
                if (r >= 0)
                        r = judge_layer(state, e);
                if (r != 0)
                        return r;
        }
        return no_image(e);
}

/* The bytes of one layer as they are. */
int child_layer(struct child *c, uint64_t number, struct error *e)
{
        _cleanup_(oci_checked_done) struct oci_checked checked = {.hash = NULL};
        const struct oci_descriptor *d;
        struct stream *blob;
        int r;

        if (!c->manifest || !c->config->options->layers || number >= c->manifest->n_layers)
                return error_set(e, ERROR_INTERNAL, EINVAL, "there is no such layer");
        d = &c->manifest->layers[number].blob;
        r = registry_blob(c->registry, &d->digest, d->size, 0, &blob, e);
        if (r >= 0)
                r = oci_checked_init(&checked, blob, &d->digest, d->size, e);
        if (r < 0)
                return r;
        r = send_stream(c, &checked.stream, e);
        return r < 0 ? distrust(c, r, e) : 0;
}

/* --- images in files ---------------------------------------------------------------------------*/

static int resolve_local(struct child *c, struct oci_store *store, struct wire_info *ret,
                         struct error *e)
{
        const struct local_image *m;
        int r;

        r = local_image_find(store, oci_platform_here(), &c->local, e);
        if (r < 0)
                return r;
        m = c->local;
        c->facts = m->facts;
        if (m->raw && m->n_layers == 1) {
                const struct local_layer *l = &m->layers[0];

                r = merge_raw(&c->facts, l->has_digest ? &l->digest : NULL, l->size, e);
                if (r < 0)
                        return r;
        }
        fill_info(&c->facts, m->manifest, ret);
        for (unsigned i = 0; i < m->n_layers; i++) {
                if (m->layers[i].usable)
                        ret->transfer += m->layers[i].size;
        }
        return 0;
}

static int begin_local(struct child *c, struct oci_store *store, uint64_t offset, struct error *e)
{
        int r = only_seekable(false, offset, e);

        if (r < 0)
                return r;
        for (unsigned i = c->local->n_layers; i > 0; i--) {
                const struct local_layer *l = &c->local->layers[i - 1];
                _cleanup_(oci_checked_done) struct oci_checked checked = {.hash = NULL};
                enum layer_state state;

                if (!l->usable)
                        continue;
                r = local_image_open_layer(store, l, &checked, e);
                if (r >= 0)
                        r = send_layer(c, &checked.stream, l->format, 0, &state, e);
                if (r >= 0)
                        r = judge_layer(state, e);
                if (r != 0)
                        return r;
        }
        return no_image(e);
}

static int open_archive(struct child *c, struct file_ranges *ranges, struct error *e)
{
        archive_store_free(c->archive);
        c->archive = NULL;
        return archive_store_open(ranges, &c->archive, e);
}

/* --- http: and https: --------------------------------------------------------------------------*/

static int keep(const struct http_head *head, const char *name, char **ret, struct error *e)
{
        const char *value = http_head_find(head, name, 0);

        *ret = value ? strdup(value) : NULL;
        return value && !*ret ? error_oom(e) : 0;
}

/* The first bytes, and with them what the server says about the file and whether it knows Range. */
static int sample(struct child *c, uint8_t bytes[SAMPLE], size_t *ret_n, struct error *e)
{
        const struct http_request rq = {.url = c->config->name->url,
                                        .auth = c->file_auth,
                                        .end = SAMPLE,
                                        .size = HTTP_SIZE_UNKNOWN,
                                        .max = LIMIT_OCI_BLOB};
        _cleanup_(http_body_free_p) struct http_body *b = NULL;
        ssize_t n;
        int r;

        r = http_get(c->http, &rq, &b, e);
        if (r < 0)
                return r;
        n = stream_read_full(http_body_stream(b), bytes, SAMPLE, e);
        if (n < 0)
                return (int)n;
        *ret_n = (size_t)n;
        c->size = http_body_size(b);
        c->ranges = http_body_ranges(b);
        r = keep(http_body_head(b), "etag", &c->etag, e);
        return r < 0 ? r : keep(http_body_head(b), "last-modified", &c->modified, e);
}

static int resolve_file(struct child *c, struct wire_info *ret, struct error *e)
{
        if (c->size == HTTP_SIZE_UNKNOWN)
                return 0;
        ret->size = ret->transfer = c->size;
        ret->seekable = c->ranges;
        return pe_check_size(c->size, e);
}

static int resolve_http(struct child *c, struct wire_info *ret, struct error *e)
{
        uint8_t bytes[SAMPLE];
        size_t n = 0;
        int r;

        if (c->config->options->any_file > 0) {
                c->size = HTTP_SIZE_UNKNOWN;
                return 0;
        }
        r = sample(c, bytes, &n, e);
        if (r < 0)
                return r;
        if (layer_format_detect(bytes, n) == LAYER_RAW)
                return resolve_file(c, ret, e);
        if (n < SAMPLE || memcmp(bytes + 257, "ustar", 5) != 0)
                return error_set(e, ERROR_REFUSED, EBADMSG,
                                 "this is neither an image nor an archive of images");
        if (!c->ranges || c->size == HTTP_SIZE_UNKNOWN)
                return error_set(e, ERROR_REFUSED, ENOTSUP,
                                 "an archive is read in parts, and this server does not give parts "
                                 "of files");
        r = open_archive(c, &c->on_server.ranges, e);
        return r < 0 ? r : resolve_local(c, archive_store_get(c->archive), ret, e);
}

/* The file as the server has it, whatever it is. */
static int begin_any_file(struct child *c, uint64_t offset, struct error *e)
{
        const struct http_request rq = {.url = c->config->name->url,
                                        .auth = c->file_auth,
                                        .size = HTTP_SIZE_UNKNOWN,
                                        .max = c->config->options->any_file};
        _cleanup_(http_body_free_p) struct http_body *b = NULL;
        int r = only_seekable(false, offset, e);

        if (r >= 0)
                r = http_get(c->http, &rq, &b, e);
        return r < 0 ? r : send_stream(c, http_body_stream(b), e);
}

static int begin_http(struct child *c, uint64_t offset, struct error *e)
{
        const struct http_request rq = {.url = c->config->name->url,
                                        .auth = c->file_auth,
                                        .begin = offset,
                                        .size = c->size,
                                        .max = LIMIT_IMAGE_SIZE,
                                        .validate = true,
                                        .etag = c->etag,
                                        .modified = c->modified};
        _cleanup_(http_body_free_p) struct http_body *b = NULL;
        enum layer_state state;
        int r;

        if (c->config->options->any_file > 0)
                return begin_any_file(c, offset, e);
        if (c->local)
                return begin_local(c, archive_store_get(c->archive), offset, e);
        r = http_get(c->http, &rq, &b, e);
        return r < 0 ? r : send_layer(c, http_body_stream(b), LAYER_RAW, offset, &state, e);
}

/* A password in the URL is shown at once: it was given for this server. */
static int log_in_file(struct child *c, struct error *e)
{
        _cleanup_(http_url_done) struct http_url u = {.text = NULL};
        struct registry_login *login;
        struct secret *text;
        size_t n;
        int r;

        r = http_url_parse(c->config->name->url, &u, e);
        if (r < 0 || !u.user)
                return r;
        n = strlen(u.user) + 1 + (u.password ? strlen(u.password) : 0);
        login = calloc(1, sizeof(*login));
        text = secret_new(n + 1);
        if (!login || !text)
                return error_oom(e);
        (void)snprintf((char *)text->data, n + 1, "%s:%s", u.user, u.password ? u.password : "");
        text->len = n;
        registry_login_init(login, c->http, text, "");
        c->file_auth = &login->auth;
        return registry_login_basic(login, e);
}

/* --- by kind -----------------------------------------------------------------------------------*/

/* When the logins are there. */
static int open_source(struct child *c, struct error *e)
{
        const struct fetch_config *f = c->config;

        child_ranges_init(&c->on_server, c);
        child_store_init(&c->layout, c);
        file_ranges_fd_init(&c->on_disk, c->file);
        if (f->name->kind == SOURCE_KIND_OCI)
                return registry_new(c->http, c->endpoints, f->n_endpoints, f->name->repository,
                                    &c->registry, e);
        return f->name->kind == SOURCE_KIND_HTTP ? log_in_file(c, e) : 0;
}

int child_resolve(struct child *c, struct wire_info *ret, struct error *e)
{
        int r;

        if (c->resolved)
                return error_set(e, ERROR_INTERNAL, EALREADY, "the source is resolved already");
        c->resolved = true;
        r = open_source(c, e);
        if (r < 0)
                return r;
        switch (c->config->name->kind) {
        case SOURCE_KIND_OCI:
                return resolve_oci(c, ret, e);
        case SOURCE_KIND_HTTP:
                return resolve_http(c, ret, e);
        case SOURCE_KIND_OCIFILE:
                r = open_archive(c, &c->on_disk.ranges, e);
                return r < 0 ? r : resolve_local(c, archive_store_get(c->archive), ret, e);
        case SOURCE_KIND_DIR:
                return resolve_local(c, &c->layout.store, ret, e);
        case SOURCE_KIND_FILE:
                break;
        }
        return error_set(e, ERROR_INTERNAL, EINVAL, "this source needs no child");
}

int child_begin(struct child *c, uint64_t offset, struct error *e)
{
        c->loader_sent = false;
        if (c->manifest)
                return begin_oci(c, offset, e);
        if (c->config->name->kind == SOURCE_KIND_HTTP && c->size > 0)
                return begin_http(c, offset, e);
        if (c->archive && c->local)
                return begin_local(c, archive_store_get(c->archive), offset, e);
        if (c->local)
                return begin_local(c, &c->layout.store, offset, e);
        return error_set(e, ERROR_INTERNAL, EINVAL, "the source is not resolved");
}
