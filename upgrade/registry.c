/* SPDX-License-Identifier: Apache-2.0 */
#include "upgrade/registry.h"

#include <curl/curl.h>
#include <stdio.h>
#include <string.h>

#include "base/limits.h"
#include "upgrade/oci.h"
#include "upgrade/registry_login.h"

/* What is known about an endpoint. */
struct state {
        struct registry_login login;
        bool answered; /* at least once */
        bool bad;
};

struct blob {
        struct stream stream;
        struct registry *registry;
        struct oci_digest digest;
        uint64_t size, at;
        unsigned endpoint;
        struct http_body *body; /* NULL after a failure */
        struct error error;     /* that failure */
};

struct registry {
        struct http *http;
        const struct registry_endpoint *endpoints;
        unsigned n;
        const char *repository;
        struct state *states;
        struct blob blob;
};

int registry_new(struct http *http, const struct registry_endpoint *endpoints, unsigned n,
                 const char *repository, struct registry **ret, struct error *e)
{
        _cleanup_(registry_free_p) struct registry *r = calloc(1, sizeof(*r));

        if (!r)
                return error_oom(e);
        r->states = calloc(n, sizeof(*r->states));
        if (!r->states)
                return error_oom(e);
        r->http = http;
        r->endpoints = endpoints;
        r->n = n;
        r->repository = repository;
        for (unsigned i = 0; i < n; i++)
                registry_login_init(&r->states[i].login, http, endpoints[i].login, repository);
        *ret = TAKE_PTR(r);
        return 0;
}

static void close_blob(struct registry *r)
{
        http_body_free(r->blob.body);
        r->blob.body = NULL;
}

void registry_free(struct registry *r)
{
        if (!r)
                return;
        close_blob(r);
        for (unsigned i = 0; r->states && i < r->n; i++)
                registry_login_done(&r->states[i].login);
        free(r->states);
        free(r);
}

/* --- one endpoint ----------------------------------------------------------------------------- */

/* The first try of an endpoint that may be of another kind is short. */
static void prepare(const struct registry *r, unsigned i, struct http_request *rq)
{
        rq->auth = &r->states[i].login.auth;
        if (r->endpoints[i].probe && !r->states[i].answered) {
                rq->attempts = 1;
                rq->handshake_seconds = LIMIT_FETCH_PROBE_SECONDS;
        }
}

/* Adds to the error what is known about this endpoint. */
static int blame(const struct registry *r, unsigned i, int failed, struct error *e)
{
        const char *helper = r->endpoints[i].helper;

        if (e->code != EACCES || !helper)
                return failed;
        e->advice[0] = '\0';
        error_advise(e,
                     "the login is kept by the credential helper \"%s\", which this program does "
                     "not run: name a file that holds it with --auth",
                     helper);
        return failed;
}

static int make_url(const struct registry *r, unsigned i, const char *what, const char *which,
                    struct buf *url, struct error *e)
{
        const char *upstream = r->endpoints[i].upstream;
        char *ns = upstream ? curl_easy_escape(NULL, upstream, 0) : NULL;
        int n;

        if (upstream && !ns)
                return error_oom(e);
        n = buf_printf(url, "%s/v2/%s/%s/%s%s%s", r->endpoints[i].url, r->repository, what, which,
                       ns ? "?ns=" : "", ns ? ns : "");
        curl_free(ns);
        return n < 0 ? error_oom(e) : 0;
}

/* From i on, the next endpoint that is worth asking; the registry itself always is. n: none. */
static unsigned usable(const struct registry *r, unsigned i)
{
        while (i + 1 < r->n && r->states[i].bad)
                i++;
        return i;
}

/* After a failure: leaves out who cannot be reached, or speaks http where https was asked. */
static int failed_at(struct registry *r, unsigned i, int failed, struct error *e)
{
        if (e->class == ERROR_SOURCE || e->code == EPROTO)
                r->states[i].bad = true;
        return blame(r, i, failed, e);
}

/* --- documents ---------------------------------------------------------------------------------
 */

static int check_document(const struct oci_digest *digest, uint64_t size, const struct buf *text,
                          const char *what, struct error *e)
{
        if (size != HTTP_SIZE_UNKNOWN && text->len != size)
                return error_set(e, ERROR_REFUSED, EBADMSG, "%s: has another size than announced",
                                 what);
        return digest ? oci_digest_check(digest, buf_str(text), text->len, what, e) : 0;
}

static int take_type(const struct http_head *head, char **ret, struct error *e)
{
        const char *type = http_head_find(head, "content-type", 0);

        *ret = type ? strdup(type) : NULL;
        return type && !*ret ? error_oom(e) : 0;
}

/* From one endpoint. What was wrong with the bytes is no better there the next time. */
static int document_from(struct registry *r, unsigned i, const char *kind,
                         const struct registry_wish *w, struct buf *out, char **ret_type,
                         struct error *e)
{
        _cleanup_(buf_done) struct buf url = BUF_INIT(LIMIT_URL);
        _cleanup_(http_head_done) struct http_head head = HTTP_HEAD_INIT;
        bool manifest = strcmp(kind, "manifests") == 0;
        struct http_request rq = {.accept = manifest ? OCI_ACCEPT : NULL, .size = w->size};
        int n;

        n = make_url(r, i, kind, w->digest ? w->digest->text : w->tag, &url, e);
        if (n < 0)
                return n;
        rq.url = buf_str(&url);
        prepare(r, i, &rq);
        n = http_get_document(r->http, &rq, out, &head, e);
        if (n < 0)
                return n;
        r->states[i].answered = true;
        n = check_document(w->digest, w->size, out, manifest ? "manifest" : "blob", e);
        if (n < 0) {
                r->states[i].bad = true;
                return n;
        }
        return ret_type ? take_type(&head, ret_type, e) : 0;
}

static int document(struct registry *r, const char *kind, const struct registry_wish *w,
                    struct buf *out, char **ret_type, struct error *e)
{
        struct error last = ERROR_INIT;
        int n = -ENOENT;

        close_blob(r);
        for (unsigned i = usable(r, 0); i < r->n; i = usable(r, i + 1)) {
                buf_reset(out);
                n = document_from(r, i, kind, w, out, ret_type, &last);
                if (n >= 0)
                        return 0;
                n = failed_at(r, i, n, &last);
        }
        if (e)
                *e = last;
        return n;
}

int registry_manifest(struct registry *r, const struct registry_wish *wish, struct buf *out,
                      char **ret_type, struct error *e)
{
        return document(r, "manifests", wish, out, ret_type, e);
}

int registry_small_blob(struct registry *r, const struct oci_digest *digest, uint64_t size,
                        struct buf *out, struct error *e)
{
        const struct registry_wish w = {.digest = digest, .size = size};

        return document(r, "blobs", &w, out, NULL, e);
}

/* --- blobs
 * --------------------------------------------------------------------------------------*/

static int blob_from(struct blob *b, unsigned i, struct error *e)
{
        struct registry *r = b->registry;
        _cleanup_(buf_done) struct buf url = BUF_INIT(LIMIT_URL);
        struct http_request rq = {.begin = b->at, .size = b->size};
        int n;

        n = make_url(r, i, "blobs", b->digest.text, &url, e);
        if (n < 0)
                return n;
        rq.url = buf_str(&url);
        prepare(r, i, &rq);
        n = http_get(r->http, &rq, &b->body, e);
        if (n < 0)
                return n;
        r->states[i].answered = true;
        b->endpoint = i;
        return 0;
}

/* Opens at the first endpoint from this one on that has it. */
static int open_from(struct blob *b, unsigned first, struct error *e)
{
        struct registry *r = b->registry;
        int n = -ENOENT;

        close_blob(r);
        for (unsigned i = usable(r, first); i < r->n; i = usable(r, i + 1)) {
                n = blob_from(b, i, e);
                if (n >= 0)
                        return 0;
                n = failed_at(r, i, n, e);
        }
        return n;
}

/* Where one endpoint fails for good, the next one continues at the same byte. */
static ssize_t blob_read(struct stream *stream, void *buf, size_t n, struct error *e)
{
        struct blob *b = (struct blob *)stream;

        while (b->body) {
                ssize_t got = stream_read(http_body_stream(b->body), buf, n, &b->error);

                if (got >= 0) {
                        b->at += (uint64_t)got;
                        return got;
                }
                (void)failed_at(b->registry, b->endpoint, (int)got, &b->error);
                if (b->endpoint + 1 < b->registry->n)
                        (void)open_from(b, b->endpoint + 1, &b->error);
                else
                        close_blob(b->registry);
        }
        if (e)
                *e = b->error;
        return -b->error.code;
}

static int blob_skip(struct stream *stream, uint64_t n, struct error *e)
{
        struct blob *b = (struct blob *)stream;
        struct stream *inner;

        if (!b->body)
                return 0; /* the next read says why */
        inner = http_body_stream(b->body);
        b->at = n < b->size - b->at ? b->at + n : b->size;
        return inner->skip(inner, n, e);
}

int registry_blob(struct registry *r, const struct oci_digest *digest, uint64_t size,
                  uint64_t offset, struct stream **ret, struct error *e)
{
        int n;

        close_blob(r);
        r->blob = (struct blob){.stream = {.read = blob_read, .skip = blob_skip},
                                .registry = r,
                                .digest = *digest,
                                .size = size,
                                .at = offset};
        n = open_from(&r->blob, 0, &r->blob.error);
        if (n < 0) {
                if (e)
                        *e = r->blob.error;
                return n;
        }
        *ret = &r->blob.stream;
        return 0;
}

bool registry_distrust(struct registry *r)
{
        r->states[r->blob.endpoint].bad = true;
        return r->blob.endpoint + 1 < r->n;
}
