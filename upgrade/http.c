/* SPDX-License-Identifier: Apache-2.0 */
#include "upgrade/http.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/file.h"
#include "base/num.h"
#include "upgrade/http_exchange.h"

/* A gap that is faster read over than asked around. */
#define SKIP_BY_READING (256 * KIB)

struct http_body {
        struct stream stream;
        struct http *http;
        struct http_url url;
        struct http_auth *auth;
        char *accept, *etag, *modified;
        uint64_t at;   /* next byte of the file that the reader gets */
        uint64_t end;  /* behind the last one wanted, or HTTP_SIZE_UNKNOWN */
        uint64_t size; /* of the whole file, or HTTP_SIZE_UNKNOWN */
        uint64_t max;  /* most it may have */
        bool bounded;  /* end was asked for */
        bool validate;
        bool ranges;      /* 206 was seen */
        uint64_t skip;    /* bytes of this answer that the reader has already */
        uint64_t settled; /* where the current series of failures began */
        unsigned attempts, failures, handshake_seconds;
        bool final; /* of class ERROR_SOURCE, but not to be tried again now */
        struct exchange *exchange;
        struct http_head head; /* of the latest answer */
        int result;            /* 1 while open, 0 at the end, or negative errno */
        struct error error;
};

/* --- the client ----------------------------------------------------------------------------- */

int http_new(const struct http_options *options, struct http **ret, struct error *e)
{
        _cleanup_(http_free_p) struct http *h = calloc(1, sizeof(*h));

        if (!h)
                return error_oom(e);
        h->options = *options;
        if (h->options.attempts == 0)
                h->options.attempts = LIMIT_FETCH_ATTEMPTS;
        if (h->options.delay_ms == 0)
                h->options.delay_ms = LIMIT_FETCH_DELAY_MS;
        h->multi = curl_multi_init();
        if (!h->multi || curl_multi_setopt(h->multi, CURLMOPT_MAXCONNECTS, 4L) != CURLM_OK ||
            curl_multi_setopt(h->multi, CURLMOPT_PIPELINING, (long)CURLPIPE_NOTHING) != CURLM_OK)
                return error_oom(e);
        *ret = TAKE_PTR(h);
        return 0;
}

void http_free(struct http *h)
{
        if (!h)
                return;
        if (h->multi)
                (void)curl_multi_cleanup(h->multi);
        free(h);
}

const struct http_hosts *http_insecure(const struct http *h)
{
        return &h->options.insecure;
}

const struct http_counters *http_counters(const struct http *h)
{
        return &h->counters;
}

/* --- one answer ------------------------------------------------------------------------------- */

static int take_head(struct http_body *b, const struct http_head *head, struct error *e)
{
        http_head_reset(&b->head);
        b->head.status = head->status;
        b->head.complete = head->complete;
        return buf_add(&b->head.text, head->text.data, head->text.len) < 0 ? error_oom(e) : 0;
}

/* The file is no longer the one that was begun. */
static int changed(struct http_body *b, struct error *e)
{
        b->final = true;
        return error_set(e, ERROR_SOURCE, ESTALE, "%s: the file was changed while it was loaded",
                         b->url.host);
}

static int check_same(struct http_body *b, const char *name, char **known, struct error *e)
{
        const char *now = http_head_find(&b->head, name, 0);

        if (!b->validate)
                return 0;
        if (*known && now && strcmp(*known, now) != 0)
                return changed(b, e);
        if (!*known && now && b->at == 0) {
                *known = strdup(now);
                if (!*known)
                        return error_oom(e);
        }
        return 0;
}

/* What the answer says about the whole file must agree with what is known. */
static int check_size(struct http_body *b, uint64_t size, struct error *e)
{
        if (b->size == HTTP_SIZE_UNKNOWN && size > b->max)
                return error_set(e, ERROR_REFUSED, E2BIG,
                                 "%s: %" PRIu64 " bytes, at most %" PRIu64 " are accepted",
                                 b->url.host, size, b->max);
        if (b->size != HTTP_SIZE_UNKNOWN && b->size != size)
                return error_set(e, ERROR_REFUSED, EBADMSG,
                                 "%s: the file has %" PRIu64 " bytes instead of %" PRIu64,
                                 b->url.host, size, b->size);
        b->size = size;
        if (!b->bounded || b->end > size)
                b->end = size;
        return 0;
}

/* 200: the whole file. */
static int judge_whole(struct http_body *b, struct error *e)
{
        uint64_t size;
        int r;

        r = http_head_length(&b->head, &size);
        if (r == -EBADMSG)
                return error_set(e, ERROR_REFUSED, EBADMSG, "%s: malformed Content-Length",
                                 b->url.host);
        if (r >= 0) {
                r = check_size(b, size, e);
                if (r < 0)
                        return r;
        }
        b->skip = b->at;
        return 0;
}

/* 206: exactly the part that was asked for, or less of it. Anything else is a fault of a server or
 * of what stands between, like a status of 500: nothing was taken of it, and it may be right next
 * time.
 */
static int judge_part(struct http_body *b, bool asked, struct error *e)
{
        const char *value = http_head_find(&b->head, "content-range", 0);
        struct http_range g;

        if (!asked || !value || http_range_parse(value, &g) < 0 || !g.has_span ||
            g.first != b->at || (!g.has_total && b->size != HTTP_SIZE_UNKNOWN))
                return error_set(e, ERROR_SOURCE, EIO,
                                 "%s: the server sent another part of the file than byte %" PRIu64
                                 " and following",
                                 b->url.host, b->at);
        b->skip = 0;
        b->ranges = true;
        return g.has_total ? check_size(b, g.total, e) : 0;
}

/* 416: nothing left to send, if that is what we have. */
static int judge_nothing(struct http_body *b, struct error *e)
{
        const char *value = http_head_find(&b->head, "content-range", 0);
        struct http_range g;

        if (!value || http_range_parse(value, &g) < 0 || g.has_span || g.total != b->at)
                return error_set(e, ERROR_REFUSED, ERANGE,
                                 "%s: the server has nothing from byte %" PRIu64 " on (416)",
                                 b->url.host, b->at);
        return check_size(b, g.total, e);
}

static int judge_status(struct http_body *b, const char *text, struct error *e)
{
        unsigned status = b->head.status;
        const char *type = http_head_find(&b->head, "content-type", 0);
        bool quote = *text && type && strncasecmp(type, "application/json", 16) == 0;

        if (http_status_temporary(status))
                return error_set(e, ERROR_SOURCE, EAGAIN, "%s: the server answers %u%s%s",
                                 b->url.host, status, quote ? ": " : "", quote ? text : "");
        error_set(e, ERROR_REFUSED, status == 404 ? ENOENT : EACCES,
                  "%s: the server answers %u%s%s", b->url.host, status, quote ? ": " : "",
                  quote ? text : "");
        if (status == 401 || status == 403)
                error_advise(e, "check the login for this server (--auth), and whether it may read "
                                "this");
        if (status == 404)
                error_advise(e, "check the name of the source");
        return e ? -e->code : -EACCES;
}

/* --- asking ------------------------------------------------------------------------------------*/

struct ask {
        char range[48];
        struct http_url url; /* of this hop */
        bool again;          /* same hop once more: logged in anew */
        unsigned challenged;
};

static void ask_done(struct ask *a)
{
        http_url_done(&a->url);
}

/* Strong validators only: a weak one says nothing about bytes. */
static const char *validator(const struct http_body *b)
{
        if (b->etag && *b->etag == '"')
                return b->etag;
        return b->modified;
}

static int begin(struct http_body *b, struct ask *a, struct exchange **ret, struct error *e)
{
        struct exchange_request rq = {
                .url = &a->url, .accept = b->accept, .handshake_seconds = b->handshake_seconds};

        if (b->bounded)
                (void)snprintf(a->range, sizeof(a->range), "%" PRIu64 "-%" PRIu64, b->at,
                               b->end - 1);
        else if (b->at > 0)
                (void)snprintf(a->range, sizeof(a->range), "%" PRIu64 "-", b->at);
        if (*a->range) {
                rq.range = a->range;
                rq.if_range = validator(b);
        }
        if (b->auth && http_url_same_origin(&a->url, &b->url))
                rq.authorization = b->auth->header(b->auth);
        return exchange_begin(b->http, &rq, ret, e);
}

/* 3xx: the next hop. */
static int redirect(struct http_body *b, struct ask *a, struct error *e)
{
        _cleanup_(http_url_done) struct http_url next = {.text = NULL};
        const char *location = http_head_find(&b->head, "location", 0);
        int r;

        if (!location)
                return error_set(e, ERROR_REFUSED, EBADMSG, "%s: redirected to nowhere",
                                 a->url.host);
        r = http_url_join(&a->url, location, &next, e);
        if (r < 0)
                return error_wrap(e, r, "%s", a->url.host);
        r = http_url_allowed(&a->url, &next, &b->http->options.insecure, e);
        if (r < 0)
                return error_wrap(e, r, "%s", a->url.host);
        http_url_done(&a->url);
        a->url = next;
        next = (struct http_url){.text = NULL};
        return 1;
}

/* 401 from the origin itself: a new token, once or twice in a row. */
static int log_in(struct http_body *b, struct ask *a, const char *text, struct error *e)
{
        int r = 0;

        if (b->auth && a->challenged < 2 && http_url_same_origin(&a->url, &b->url)) {
                a->challenged++;
                r = b->auth->challenged(b->auth, &b->head, e);
        }
        if (r < 0)
                return r;
        a->again = r > 0;
        return r > 0 ? 1 : judge_status(b, text, e);
}

/* 1: ask on; 0: the body follows, or nothing is left; negative errno. */
static int judge(struct http_body *b, struct ask *a, struct exchange **x, struct error *e)
{
        unsigned status = b->head.status;
        char text[161];
        int r = 0;

        if (status == 200 || status == 206) {
                r = status == 200 ? judge_whole(b, e) : judge_part(b, *a->range, e);
                if (r >= 0)
                        r = check_same(b, "etag", &b->etag, e);
                if (r >= 0)
                        r = check_same(b, "last-modified", &b->modified, e);
                if (r >= 0)
                        b->exchange = TAKE_PTR(*x);
                return r;
        }
        exchange_drain(TAKE_PTR(*x), text, sizeof(text));
        if (http_status_redirect(status))
                return redirect(b, a, e);
        if (status == 401)
                return log_in(b, a, text, e);
        if (status == 416 && *a->range)
                return judge_nothing(b, e);
        return judge_status(b, text, e);
}

/* One try: from the URL of the file through all redirects to the begin of the body. */
static int ask(struct http_body *b, struct error *e)
{
        _cleanup_(ask_done) struct ask a = {.again = false};
        int r;

        r = http_url_parse(b->url.text, &a.url, e);
        if (r < 0)
                return r;
        for (unsigned hops = 0; hops <= LIMIT_HTTP_REDIRECTS; hops += !a.again) {
                _cleanup_(exchange_free_p) struct exchange *x = NULL;
                const struct http_head *head;

                a.again = false;
                r = begin(b, &a, &x, e);
                if (r >= 0)
                        r = exchange_head(x, &head, e);
                if (r >= 0)
                        r = take_head(b, head, e);
                if (r >= 0)
                        r = judge(b, &a, &x, e);
                if (r <= 0)
                        return r;
        }
        return error_set(e, ERROR_REFUSED, ELOOP, "%s: redirected more than %u times", b->url.host,
                         LIMIT_HTTP_REDIRECTS);
}

/* --- trying again
 * ---------------------------------------------------------------------------------------*/

/* Doubled for each failure, give or take a fifth, so that a fleet does not come back all at once.
 */
static uint64_t back_off(const struct http *h, unsigned failures)
{
        uint64_t ms = h->options.delay_ms;
        uint32_t chance;

        for (unsigned i = 1; i < failures && ms < LIMIT_FETCH_DELAY_MAX_MS; i++)
                ms *= 2;
        if (ms > LIMIT_FETCH_DELAY_MAX_MS)
                ms = LIMIT_FETCH_DELAY_MAX_MS;
        if (random_bytes(&chance, sizeof(chance)) < 0)
                return ms;
        return ms - ms / 5 + chance % (ms / 5 * 2 + 1);
}

/* How long the server wants to be left alone, 0 = it did not say. */
static uint64_t wanted_delay(const struct http_body *b, const struct error *e)
{
        const char *value = http_head_find(&b->head, "retry-after", 0);
        uint64_t seconds;

        if (e->code != EAGAIN || !value || http_retry_after(value, time(NULL), &seconds) < 0)
                return 0;
        return seconds;
}

static void wait_ms(uint64_t ms)
{
        struct timespec t = {.tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000) * 1000000};

        while (nanosleep(&t, &t) < 0 && errno == EINTR) {
        }
}

/* After a failure: 0 when it is time for another try, else the failure stays one. */
static int try_again(struct http_body *b, int failed, struct error *e)
{
        uint64_t seconds, ms, progress;

        if (e->class != ERROR_SOURCE || b->final)
                return failed;
        progress = b->at - b->settled;
        b->settled = b->at;
        b->failures = progress >= LIMIT_FETCH_PROGRESS ? 1 : b->failures + 1;
        if (b->failures >= b->attempts)
                return b->failures == 1
                               ? failed
                               : error_wrap(e, failed, "gave up after %u tries", b->failures);
        seconds = wanted_delay(b, e);
        if (seconds > LIMIT_HTTP_RETRY_AFTER_SECONDS)
                return error_wrap(e, failed, "not before %" PRIu64 " seconds have passed", seconds);
        ms = b->failures == 1 && progress > 0 ? 0 : back_off(b->http, b->failures);
        if (seconds * 1000 > ms)
                ms = seconds * 1000;
        b->http->counters.retries++;
        if (b->http->options.note)
                b->http->options.note(b->http->options.ctx, e->text, ms);
        wait_ms(ms);
        error_clear(e);
        return 0;
}

static int open_body(struct http_body *b, struct error *e)
{
        int r;

        for (;;) {
                r = ask(b, e);
                if (r >= 0)
                        return 0;
                r = try_again(b, r, e);
                if (r < 0)
                        return r;
        }
}

/* --- reading -----------------------------------------------------------------------------------*/

static void close_exchange(struct http_body *b)
{
        exchange_free(b->exchange);
        b->exchange = NULL;
}

/* Everything that was wanted is there. What a server sends behind the announced end is a lie about
 * the file. */
static int finish(struct http_body *b, struct error *e)
{
        if (b->exchange && b->end == b->size && exchange_pending(b->exchange))
                return error_set(e, ERROR_REFUSED, E2BIG,
                                 "%s: more than the %" PRIu64 " bytes announced", b->url.host,
                                 b->size);
        close_exchange(b);
        return 0;
}

/* Bytes for the reader; 0: this answer ended. */
static ssize_t read_answer(struct http_body *b, void *buf, size_t n, struct error *e)
{
        ssize_t got;

        while (b->skip > 0) {
                got = exchange_read(b->exchange, buf, b->skip < n ? (size_t)b->skip : n, e);
                if (got <= 0)
                        return got;
                b->skip -= (uint64_t)got;
        }
        if (b->end - b->at < n)
                n = (size_t)(b->end - b->at);
        return exchange_read(b->exchange, buf, n, e);
}

/* The answer ended or broke before the file did. */
static int broken_off(struct http_body *b, int r, struct error *e)
{
        if (r == 0)
                r = error_set(e, ERROR_SOURCE, EPIPE,
                              "%s: the transfer ended after %" PRIu64 " bytes", b->url.host, b->at);
        close_exchange(b);
        return try_again(b, r, e);
}

static ssize_t read_some(struct http_body *b, void *buf, size_t n, struct error *e)
{
        for (;;) {
                ssize_t got;
                int r;

                if (b->at >= b->end)
                        return finish(b, e);
                if (!b->exchange) {
                        r = open_body(b, e);
                        if (r < 0)
                                return r;
                        if (!b->exchange) /* 416: that was all */
                                return 0;
                        continue;
                }
                got = read_answer(b, buf, n, e);
                if (got == 0 && b->size == HTTP_SIZE_UNKNOWN && b->skip == 0) {
                        b->size = b->end = b->at;
                        continue;
                }
                if (got <= 0) {
                        r = broken_off(b, (int)got, e);
                        if (r < 0)
                                return r;
                        continue;
                }
                b->at += (uint64_t)got;
                if (b->at > b->max)
                        return error_set(e, ERROR_REFUSED, E2BIG,
                                         "%s: more than the %" PRIu64 " bytes accepted",
                                         b->url.host, b->max);
                return got;
        }
}

static ssize_t body_read(struct stream *stream, void *buf, size_t n, struct error *e)
{
        struct http_body *b = (struct http_body *)stream;

        if (b->result == 1) {
                ssize_t got = read_some(b, buf, n, &b->error);

                if (got > 0)
                        return got;
                b->result = (int)got;
                close_exchange(b);
        }
        if (b->result < 0 && e)
                *e = b->error;
        return b->result;
}

/* Short distances are read over, longer ones are asked for anew. */
static int body_skip(struct stream *stream, uint64_t n, struct error *e)
{
        struct http_body *b = (struct http_body *)stream;
        uint64_t at;

        if (add_u64(b->at, n, &at) < 0 || at > b->end)
                at = b->end;
        if (b->exchange && at - b->at <= SKIP_BY_READING)
                b->skip += at - b->at;
        else
                close_exchange(b);
        b->at = b->settled = at;
        (void)e;
        return 0;
}

/* --- the interface -----------------------------------------------------------------------------*/

void http_body_free(struct http_body *b)
{
        if (!b)
                return;
        close_exchange(b);
        http_head_done(&b->head);
        http_url_done(&b->url);
        free(b->accept);
        free(b->etag);
        free(b->modified);
        free(b);
}

static int copy(const char *text, char **ret)
{
        if (!text)
                return 0;
        *ret = strdup(text);
        return *ret ? 0 : -ENOMEM;
}

static int prepare(struct http *h, const struct http_request *rq, struct http_body *b,
                   struct error *e)
{
        int r;

        b->stream = (struct stream){.read = body_read, .skip = body_skip};
        b->http = h;
        b->auth = rq->auth;
        b->at = b->settled = rq->begin;
        b->bounded = rq->end > 0;
        b->validate = rq->validate;
        b->size = rq->size;
        b->end = b->bounded ? rq->end : rq->size;
        b->max = rq->max ? rq->max : rq->size;
        b->handshake_seconds = rq->handshake_seconds;
        b->attempts = rq->attempts ? rq->attempts : h->options.attempts;
        b->head = (struct http_head)HTTP_HEAD_INIT;
        b->result = 1;
        if (b->max == HTTP_SIZE_UNKNOWN || b->at > b->end)
                return error_set(e, ERROR_INTERNAL, EINVAL, "a download without bounds");
        if (copy(rq->accept, &b->accept) < 0 || copy(rq->etag, &b->etag) < 0 ||
            copy(rq->modified, &b->modified) < 0)
                return error_oom(e);
        r = http_url_parse(rq->url, &b->url, e);
        if (r < 0)
                return r;
        return http_url_allowed(NULL, &b->url, &h->options.insecure, e);
}

int http_get(struct http *h, const struct http_request *rq, struct http_body **ret, struct error *e)
{
        _cleanup_(http_body_free_p) struct http_body *b = calloc(1, sizeof(*b));
        struct error own = ERROR_INIT;
        int r;

        if (!b)
                return error_oom(e);
        r = prepare(h, rq, b, &own);
        if (r >= 0 && b->at < b->end)
                r = open_body(b, &own);
        if (r < 0) {
                if (e)
                        *e = own;
                return r;
        }
        *ret = TAKE_PTR(b);
        return 0;
}

struct stream *http_body_stream(struct http_body *b)
{
        return &b->stream;
}

const struct http_head *http_body_head(const struct http_body *b)
{
        return &b->head;
}

uint64_t http_body_size(const struct http_body *b)
{
        return b->size;
}

bool http_body_ranges(const struct http_body *b)
{
        return b->ranges;
}

int http_get_document(struct http *h, const struct http_request *rq, struct buf *out,
                      struct http_head *ret_head, struct error *e)
{
        struct http_request bounded = *rq;
        _cleanup_(http_body_free_p) struct http_body *b = NULL;
        uint8_t piece[4096];
        ssize_t n;
        int r;

        bounded.max = out->max;
        r = http_get(h, &bounded, &b, e);
        if (r < 0)
                return r;
        while ((n = stream_read(&b->stream, piece, sizeof(piece), e)) > 0) {
                if (buf_add(out, piece, (size_t)n) < 0)
                        return error_oom(e);
        }
        if (n < 0)
                return (int)n;
        if (ret_head) {
                *ret_head = b->head;
                b->head = (struct http_head)HTTP_HEAD_INIT;
        }
        return 0;
}
