/* SPDX-License-Identifier: Apache-2.0 */
#include "upgrade/fetch_child_private.h"

#include <stdio.h>
#include <string.h>

/* --- files of the parent -----------------------------------------------------------------------*/

static ssize_t remote_read(struct stream *stream, void *buf, size_t n, struct error *e)
{
        struct remote *f = (struct remote *)stream;
        const struct wire_ask ask = {.kind = f->kind, .value = f->at};
        struct wire_answer answer;
        uint8_t piece[WIRE_PIECE];
        bool direct = n >= WIRE_PIECE;
        int r;

        r = child_ask(f->child, &ask, &answer, direct ? buf : piece, WIRE_PIECE, e);
        if (r < 0)
                return r;
        if (answer.length < n)
                n = answer.length;
        if (!direct)
                memcpy(buf, piece, n);
        f->at += n;
        return (ssize_t)n;
}

static int remote_skip(struct stream *stream, uint64_t n, struct error *e)
{
        struct remote *f = (struct remote *)stream;

        (void)e;
        f->at = n < UINT64_MAX - f->at ? f->at + n : UINT64_MAX;
        return 0;
}

void child_remote_init(struct remote *f, struct child *c, enum wire_ask_kind kind, uint64_t at)
{
        *f = (struct remote){.stream = {.read = remote_read, .skip = remote_skip},
                             .child = c,
                             .kind = kind,
                             .at = at};
}

static int store_open(struct oci_store *store, const char *name, struct stream **ret,
                      uint64_t *ret_size, struct error *e)
{
        struct child_store *s = (struct child_store *)store;
        struct wire_ask ask = {.kind = WIRE_OPEN};
        struct wire_answer answer;
        int r;

        (void)snprintf(ask.text, sizeof(ask.text), "%s", name);
        r = child_ask(s->child, &ask, &answer, NULL, 0, e);
        if (r < 0)
                return r;
        child_remote_init(&s->file, s->child, WIRE_READ, 0);
        *ret = &s->file.stream;
        *ret_size = answer.value;
        return 0;
}

void child_store_init(struct child_store *s, struct child *c)
{
        *s = (struct child_store){.store.open = store_open, .child = c};
}

/* --- a file on a server ------------------------------------------------------------------------*/

static int ranges_open(struct file_ranges *ranges, uint64_t begin, uint64_t end,
                       struct stream **ret, struct error *e)
{
        struct child_ranges *g = (struct child_ranges *)ranges;
        struct child *c = g->child;
        const struct http_request rq = {.url = c->config->name->url,
                                        .auth = c->file_auth,
                                        .begin = begin < c->size ? begin : c->size,
                                        .end = end < c->size ? end : c->size,
                                        .size = c->size,
                                        .validate = true,
                                        .etag = c->etag,
                                        .modified = c->modified};
        int r;

        http_body_free(g->body);
        g->body = NULL;
        r = http_get(c->http, &rq, &g->body, e);
        if (r < 0)
                return r;
        *ret = http_body_stream(g->body);
        return 0;
}

void child_ranges_init(struct child_ranges *g, struct child *c)
{
        *g = (struct child_ranges){.ranges.open = ranges_open, .child = c};
}

/* --- the spool ---------------------------------------------------------------------------------*/

static ssize_t read_spool(struct child_spool *s, void *buf, size_t n, struct error *e)
{
        ssize_t got;

        if (s->end - s->at < n)
                n = (size_t)(s->end - s->at);
        got = stream_read(&s->have.stream, buf, n, e);
        if (got == 0)
                s->end = s->at; /* shorter than was said */
        if (got > 0) {
                s->used = true;
                s->child->spooled += (uint64_t)got;
        }
        return got;
}

/* What comes from the network goes to the spool first, so that it has every byte the reader saw. */
static ssize_t read_network(struct child_spool *s, void *buf, size_t n, struct error *e)
{
        ssize_t got;
        int r;

        if (!s->network) {
                r = registry_blob(s->child->registry, &s->blob->digest, s->blob->size, s->at,
                                  &s->network, e);
                if (r < 0)
                        return r;
        }
        if (n > LIMIT_FETCH_FRAME)
                n = LIMIT_FETCH_FRAME;
        got = stream_read(s->network, buf, n, e);
        if (got <= 0 || !s->keep)
                return got;
        r = child_send(s->child, WIRE_SPOOL, buf, (size_t)got, e);
        return r < 0 ? r : got;
}

static ssize_t spool_stream_read(struct stream *stream, void *buf, size_t n, struct error *e)
{
        struct child_spool *s = (struct child_spool *)stream;
        ssize_t got = 0;

        if (s->at < s->end)
                got = read_spool(s, buf, n, e);
        if (got == 0)
                got = read_network(s, buf, n, e);
        if (got > 0)
                s->at += (uint64_t)got;
        return got;
}

int child_spool_init(struct child *c, const struct oci_descriptor *blob, bool keep, struct error *e)
{
        struct wire_ask ask = {.kind = WIRE_SPOOL_OPEN, .value = blob->size};
        struct wire_answer answer = {.value = 0};
        int r;

        if (keep) {
                (void)snprintf(ask.text, sizeof(ask.text), "%s", blob->digest.text);
                r = child_ask(c, &ask, &answer, NULL, 0, e);
                if (r < 0)
                        return r;
        }
        c->spool =
                (struct child_spool){.stream.read = spool_stream_read,
                                     .child = c,
                                     .end = answer.value < blob->size ? answer.value : blob->size,
                                     .keep = keep,
                                     .blob = blob};
        child_remote_init(&c->spool.have, c, WIRE_SPOOL_READ, 0);
        return 0;
}
