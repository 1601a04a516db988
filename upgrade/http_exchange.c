/* SPDX-License-Identifier: Apache-2.0 */
#include "upgrade/http_exchange.h"

#include <inttypes.h>
#include <openssl/x509_vfy.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

/* Bytes that came before anybody wanted them. libcurl gives at most CURL_MAX_WRITE_SIZE at once. */
#define BUFFER_SIZE ((size_t)(64 * 1024))
/* One receive. */
#define RECEIVE_SIZE 131072L
/* Enough for one read of the reader, so that few bytes make no message of their own. */
#define ENOUGH ((size_t)(64 * 1024))
/* Where libcurl believes a name to be: the socket comes connected, nobody ever asks there
 * (RFC 5737). */
#define PLACEHOLDER "192.0.2.1"

struct exchange {
        struct http *http;
        CURL *easy;
        bool added, done, paused;
        CURLcode code;
        struct error error; /* noticed in a callback */
        char text[CURL_ERROR_SIZE];
        struct http_head head;
        struct curl_slist *headers, *resolve;
        struct curl_slist authorization; /* its text is a secret: see set_headers() */
        struct secret *secret;
        char host[LIMIT_HOST_NAME + 1]; /* to be connected to: the server or a proxy */
        uint16_t port;
        uint8_t *out; /* of the reader */
        size_t out_left;
        size_t begin, end;          /* in buffer */
        int64_t waited_ms;          /* for the network, since enough had come */
        uint64_t came;              /* bytes, since then */
        unsigned handshake_seconds; /* 0: as long as everything else */
        uint8_t buffer[BUFFER_SIZE];
};

int64_t http_now_ms(void)
{
        struct timespec t;

        (void)clock_gettime(CLOCK_MONOTONIC, &t);
        return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* --- what libcurl calls
 * ---------------------------------------------------------------------------------*/

static curl_socket_t on_connect(void *ctx, curlsocktype purpose, struct curl_sockaddr *address)
{
        struct exchange *x = ctx;
        int fd;

        (void)purpose;
        (void)address;
        fd = x->http->options.connect(x->http->options.ctx, x->host, x->port, &x->error);
        if (fd < 0)
                return CURL_SOCKET_BAD;
        return fd;
}

static int on_socket(void *ctx, curl_socket_t fd, curlsocktype purpose)
{
        (void)ctx;
        (void)fd;
        (void)purpose;
        return CURL_SOCKOPT_ALREADY_CONNECTED;
}

static size_t on_header(char *line, size_t size, size_t n, void *ctx)
{
        struct exchange *x = ctx;

        x->came += size * n;
        return http_head_line(&x->head, line, size * n, &x->error) < 0 ? 0 : size * n;
}

/* All or nothing: what does not fit is offered again later. */
static size_t on_body(char *data, size_t size, size_t items, void *ctx)
{
        struct exchange *x = ctx;
        size_t n = size * items, direct = n < x->out_left ? n : x->out_left;

        if (x->begin == x->end)
                x->begin = x->end = 0;
        if (n - direct > BUFFER_SIZE - x->end) {
                x->paused = true;
                return CURL_WRITEFUNC_PAUSE;
        }
        if (direct > 0)
                memcpy(x->out, data, direct);
        x->out += direct;
        x->out_left -= direct;
        memcpy(x->buffer + x->end, data + direct, n - direct);
        x->end += n - direct;
        x->came += n;
        x->http->counters.network += n;
        return n;
}

/* --- preparing
 * ------------------------------------------------------------------------------------------*/

void exchange_free(struct exchange *x)
{
        if (!x)
                return;
        if (x->added)
                (void)curl_multi_remove_handle(x->http->multi, x->easy);
        curl_easy_cleanup(x->easy);
        curl_slist_free_all(x->headers);
        curl_slist_free_all(x->resolve);
        secret_free(x->secret);
        http_head_done(&x->head);
        free(x);
}

static int add(struct curl_slist **list, const char *name, const char *value, struct error *e)
{
        _cleanup_(buf_done) struct buf line = BUF_INIT(2 * LIMIT_URL);
        struct curl_slist *longer;

        if (buf_printf(&line, "%s%s", name, value) < 0)
                return error_oom(e);
        longer = curl_slist_append(*list, buf_str(&line));
        if (!longer)
                return error_oom(e);
        *list = longer;
        return 0;
}

/*
 * libcurl reads the list of headers without taking a copy, so the one with the credentials can stay
 * in memory that is wiped.
 */
static int set_authorization(struct exchange *x, const struct secret *value, struct error *e)
{
        static const char name[] = "Authorization: ";

        x->secret = secret_new(sizeof(name) - 1 + value->len + 1);
        if (!x->secret)
                return error_oom(e);
        memcpy(x->secret->data, name, sizeof(name) - 1);
        memcpy(x->secret->data + sizeof(name) - 1, value->data, value->len);
        x->authorization.data = (char *)x->secret->data;
        x->authorization.next = x->headers;
        return 0;
}

static int set_headers(struct exchange *x, const struct exchange_request *rq, struct error *e)
{
        struct curl_slist *first;
        int r;

        r = add(&x->headers, "Accept: ", rq->accept ? rq->accept : "*/*", e);
        if (r >= 0 && rq->range)
                r = add(&x->headers, "Range: bytes=", rq->range, e);
        if (r >= 0 && rq->range && rq->if_range)
                r = add(&x->headers, "If-Range: ", rq->if_range, e);
        if (r >= 0 && rq->authorization)
                r = set_authorization(x, rq->authorization, e);
        if (r < 0)
                return r;
        first = x->secret ? &x->authorization : x->headers;
        return curl_easy_setopt(x->easy, CURLOPT_HTTPHEADER, first) == CURLE_OK ? 0 : error_oom(e);
}

/* With its port in any case: libcurl's default for proxies is not that of the scheme. */
static int set_proxy(struct exchange *x, const struct http_url *p, struct error *e)
{
        char text[LIMIT_HOST_NAME + 32];
        bool brackets = strchr(p->host, ':');

        (void)snprintf(text, sizeof(text), "%s://%s%s%s:%u", p->tls ? "https" : "http",
                       brackets ? "[" : "", p->host, brackets ? "]" : "", (unsigned)p->port);
        if (curl_easy_setopt(x->easy, CURLOPT_PROXY, text) != CURLE_OK ||
            (p->user && curl_easy_setopt(x->easy, CURLOPT_PROXYUSERNAME, p->user) != CURLE_OK) ||
            (p->password &&
             curl_easy_setopt(x->easy, CURLOPT_PROXYPASSWORD, p->password) != CURLE_OK))
                return error_oom(e);
        return 0;
}

/* Whom to connect to: the proxy or the server. Every name that libcurl could want to resolve gets
 * its placeholder. */
static int set_peer(struct exchange *x, const struct http_url *url, struct error *e)
{
        const char *proxy = http_proxy_for(&x->http->options.proxies, url);
        _cleanup_(http_url_done) struct http_url p = {.text = NULL};
        const struct http_url *peer = url;
        char text[LIMIT_HOST_NAME + 32];
        int r;

        if (proxy) {
                if (http_url_parse(proxy, &p, e) < 0)
                        return error_set(e, ERROR_CONFIG, EINVAL,
                                         "the proxy named in the environment is no URL of an http "
                                         "or https proxy");
                peer = &p;
                r = set_proxy(x, &p, e);
                if (r < 0)
                        return r;
        }
        (void)snprintf(x->host, sizeof(x->host), "%s", peer->host);
        x->port = peer->port;
        (void)snprintf(text, sizeof(text), "%s:%u:" PLACEHOLDER, peer->host, (unsigned)peer->port);
        r = add(&x->resolve, "", text, e);
        if (r < 0)
                return r;
        /* An empty proxy keeps libcurl from looking into the environment. */
        if (curl_easy_setopt(x->easy, CURLOPT_RESOLVE, x->resolve) != CURLE_OK ||
            (!proxy && curl_easy_setopt(x->easy, CURLOPT_PROXY, "") != CURLE_OK) ||
            curl_easy_setopt(x->easy, CURLOPT_NOPROXY, "") != CURLE_OK)
                return error_oom(e);
        return 0;
}

static int set_tls(struct exchange *x, const struct http_url *url, struct error *e)
{
        const struct http_options *o = &x->http->options;
        bool insecure = http_hosts_have(&o->insecure, url->host, url->port);
        struct curl_blob ca = {.flags = CURL_BLOB_NOCOPY};

        if (o->ca && o->ca->len > 0) {
                ca.data = o->ca->data;
                ca.len = o->ca->len;
        } else if (url->tls && !insecure) {
                error_set(e, ERROR_CONFIG, ENOENT,
                          "no certificates of authorities were found, so no server can be trusted");
                error_advise(e, "install ca-certificates, or name a file with --ca");
                return -ENOENT;
        }
        if (curl_easy_setopt(x->easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2) !=
                    CURLE_OK ||
            curl_easy_setopt(x->easy, CURLOPT_CAINFO, NULL) != CURLE_OK ||
            curl_easy_setopt(x->easy, CURLOPT_CAPATH, NULL) != CURLE_OK ||
            (ca.data && (curl_easy_setopt(x->easy, CURLOPT_CAINFO_BLOB, &ca) != CURLE_OK ||
                         curl_easy_setopt(x->easy, CURLOPT_PROXY_CAINFO_BLOB, &ca) != CURLE_OK)) ||
            curl_easy_setopt(x->easy, CURLOPT_SSL_VERIFYPEER, insecure ? 0L : 1L) != CURLE_OK ||
            curl_easy_setopt(x->easy, CURLOPT_SSL_VERIFYHOST, insecure ? 0L : 2L) != CURLE_OK)
                return error_oom(e);
        return 0;
}

static int set_callbacks(struct exchange *x)
{
        CURL *c = x->easy;

        return curl_easy_setopt(c, CURLOPT_PRIVATE, x) == CURLE_OK &&
                               curl_easy_setopt(c, CURLOPT_ERRORBUFFER, x->text) == CURLE_OK &&
                               curl_easy_setopt(c, CURLOPT_OPENSOCKETFUNCTION, on_connect) ==
                                       CURLE_OK &&
                               curl_easy_setopt(c, CURLOPT_OPENSOCKETDATA, x) == CURLE_OK &&
                               curl_easy_setopt(c, CURLOPT_SOCKOPTFUNCTION, on_socket) ==
                                       CURLE_OK &&
                               curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, on_header) == CURLE_OK &&
                               curl_easy_setopt(c, CURLOPT_HEADERDATA, x) == CURLE_OK &&
                               curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_body) == CURLE_OK &&
                               curl_easy_setopt(c, CURLOPT_WRITEDATA, x) == CURLE_OK
                       ? 0
                       : -ENOMEM;
}

/* HTTP/1.1 because its memory is bounded (a window of HTTP/2 is 32 MiB), and there is one transfer
 * at a time. */
static int set_transfer(struct exchange *x, const struct http_url *url)
{
        static const struct {
                CURLoption option;
                long value;
        } numbers[] = {
                {CURLOPT_NOSIGNAL, 1L},
                {CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1},
                {CURLOPT_FOLLOWLOCATION, 0L},
                {CURLOPT_HTTPGET, 1L},
                {CURLOPT_HTTP09_ALLOWED, 0L},
                {CURLOPT_BUFFERSIZE, RECEIVE_SIZE},
                {CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L},
                {CURLOPT_NETRC, CURL_NETRC_IGNORED},
                {CURLOPT_PATH_AS_IS, 1L},
        };
        CURL *c = x->easy;

        for (size_t i = 0; i < ARRAY_SIZE(numbers); i++) {
                if (curl_easy_setopt(c, numbers[i].option, numbers[i].value) != CURLE_OK)
                        return -ENOMEM;
        }
        return curl_easy_setopt(c, CURLOPT_URL, url->text) == CURLE_OK &&
                               curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https") ==
                                       CURLE_OK &&
                               curl_easy_setopt(c, CURLOPT_USERAGENT, "tb-agent/" TB_VERSION) ==
                                       CURLE_OK &&
                               curl_easy_setopt(c, CURLOPT_MAX_RECV_SPEED_LARGE,
                                                (curl_off_t)x->http->options.rate_limit) == CURLE_OK
                       ? 0
                       : -ENOMEM;
}

int exchange_begin(struct http *h, const struct exchange_request *rq, struct exchange **ret,
                   struct error *e)
{
        _cleanup_(exchange_free_p) struct exchange *x = calloc(1, sizeof(*x));
        int r;

        if (!x)
                return error_oom(e);
        x->http = h;
        x->handshake_seconds = rq->handshake_seconds;
        x->head = (struct http_head)HTTP_HEAD_INIT;
        x->easy = curl_easy_init();
        if (!x->easy || set_transfer(x, rq->url) < 0 || set_callbacks(x) < 0)
                return error_oom(e);
        r = set_tls(x, rq->url, e);
        if (r < 0)
                return r;
        r = set_peer(x, rq->url, e);
        if (r < 0)
                return r;
        r = set_headers(x, rq, e);
        if (r < 0)
                return r;
        if (curl_multi_add_handle(h->multi, x->easy) != CURLM_OK)
                return error_oom(e);
        x->added = true;
        *ret = TAKE_PTR(x);
        return 0;
}

/* --- running
 * --------------------------------------------------------------------------------------------*/

/* Whether the certificate is good at another time than now. A machine without a battery begins in
 * 1970 until somebody tells it the time, and servers renew what has expired: both pass. */
static bool is_out_of_date(const struct exchange *x)
{
        long result = X509_V_OK;

        return curl_easy_getinfo(x->easy, CURLINFO_SSL_VERIFYRESULT, &result) == CURLE_OK &&
               (result == X509_V_ERR_CERT_NOT_YET_VALID || result == X509_V_ERR_CERT_HAS_EXPIRED);
}

static int certificate_failed(const struct exchange *x, struct error *e)
{
        char text[CURL_ERROR_SIZE];
        bool passes = is_out_of_date(x);
        int code = passes ? EKEYEXPIRED : EKEYREJECTED;

        error_set(e, passes ? ERROR_SOURCE : ERROR_REFUSED, code,
                  "%s: the server's certificate is not accepted: %s", x->host,
                  http_text(x->text, strlen(x->text), text, sizeof(text)));
        error_advise(e, "check the clock of this machine; %s",
                     passes ? "if it is right, the certificate has to be renewed"
                            : "name a private authority with --ca");
        return -code;
}

/* Whether what came back was no TLS at all. libcurl has no code of its own for it, only the words
 * of OpenSSL. */
static bool is_not_tls(const struct exchange *x)
{
        return x->code == CURLE_SSL_CONNECT_ERROR && strstr(x->text, "wrong version number");
}

static int no_tls(const struct exchange *x, struct error *e)
{
        error_set(e, ERROR_REFUSED, EPROTO, "%s: the server does not speak TLS", x->host);
        error_advise(e, "if it is to be spoken to without protection, say so: --insecure %s",
                     x->host);
        return -EPROTO;
}

/* Whether the proxy said no, and would again: it wants a login, or does not go there. */
static bool is_refused_by_proxy(const struct exchange *x, long *ret_status)
{
        return curl_easy_getinfo(x->easy, CURLINFO_HTTP_CONNECTCODE, ret_status) == CURLE_OK &&
               *ret_status >= 400 && *ret_status < 500 && *ret_status != 408 && *ret_status != 429;
}

static int proxy_failed(const struct exchange *x, long status, struct error *e)
{
        error_set(e, ERROR_REFUSED, EACCES, "%s: the proxy answers %ld", x->host, status);
        error_advise(e, status == 407 ? "name the proxy with a login: https_proxy=http://USER:"
                                        "PASSWORD@HOST:PORT"
                                      : "allow this host at the proxy, or name it in no_proxy");
        return -EACCES;
}

/* What ended the exchange. */
static int failure(const struct exchange *x, struct error *e)
{
        char text[CURL_ERROR_SIZE];
        long status = 0;

        if (x->error.class != ERROR_NONE) {
                if (e)
                        *e = x->error;
                return -x->error.code;
        }
        if (x->code == CURLE_OUT_OF_MEMORY)
                return error_oom(e);
        if (x->code == CURLE_PEER_FAILED_VERIFICATION)
                return certificate_failed(x, e);
        if (x->code == CURLE_SSL_CACERT_BADFILE)
                return error_set(e, ERROR_CONFIG, EBADMSG,
                                 "the certificates of authorities cannot be read");
        if (is_not_tls(x))
                return no_tls(x, e);
        if (is_refused_by_proxy(x, &status))
                return proxy_failed(x, status, e);
        (void)http_text(x->text, strlen(x->text), text, sizeof(text));
        return error_set(e, ERROR_SOURCE, x->code == CURLE_SSL_CONNECT_ERROR ? EPROTO : EIO,
                         "%s: %s", x->host, *text ? text : curl_easy_strerror(x->code));
}

static void take_messages(struct http *h)
{
        struct CURLMsg *m;
        int left;

        while ((m = curl_multi_info_read(h->multi, &left))) {
                struct exchange *x = NULL;

                if (m->msg != CURLMSG_DONE)
                        continue;
                (void)curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&x);
                x->done = true;
                x->code = m->data.result;
        }
}

/* Does what can be done without waiting. */
static int perform(struct exchange *x, struct error *e)
{
        int running;

        if (curl_multi_perform(x->http->multi, &running) != CURLM_OK)
                return error_oom(e);
        take_messages(x->http);
        if (!x->done)
                return 0;
        return x->code == CURLE_OK ? 0 : failure(x, e);
}

static bool handshake_stuck(const struct exchange *x)
{
        curl_off_t done = 0;

        if (x->handshake_seconds == 0 || x->waited_ms < (int64_t)x->handshake_seconds * 1000)
                return false;
        return curl_easy_getinfo(x->easy, CURLINFO_APPCONNECT_TIME_T, &done) != CURLE_OK ||
               done == 0;
}

/*
 * Only time spent here counts: a reader that is slow itself must not make the network look slow.
 * The clock starts anew each time as much came as has to come in the time allowed. The bound
 * follows the rate limit down.
 */
static int check_speed(struct exchange *x, int64_t waited, struct error *e)
{
        const struct http_options *o = &x->http->options;
        uint64_t speed = o->low_speed ? o->low_speed : LIMIT_FETCH_SPEED;
        unsigned seconds = o->low_speed_seconds ? o->low_speed_seconds : LIMIT_FETCH_SPEED_SECONDS;

        if (o->rate_limit && o->rate_limit / 2 < speed)
                speed = o->rate_limit / 2;
        if (x->came > 0 && x->came >= speed * seconds) {
                x->waited_ms = 0;
                x->came = 0;
        }
        x->waited_ms += waited;
        if (handshake_stuck(x))
                return error_set(e, ERROR_SOURCE, ETIMEDOUT, "%s: does not answer with TLS",
                                 x->host);
        if (x->waited_ms < (int64_t)seconds * 1000)
                return 0;
        return error_set(e, ERROR_SOURCE, ETIMEDOUT,
                         "%s: less than %" PRIu64 " bytes a second for %u seconds", x->host, speed,
                         seconds);
}

/* Waits for the network, then works. */
static int wait_and_perform(struct exchange *x, struct error *e)
{
        int64_t start = http_now_ms(), waited;
        int r;

        if (curl_multi_poll(x->http->multi, NULL, 0, 1000, NULL) != CURLM_OK)
                return error_oom(e);
        waited = http_now_ms() - start;
        r = perform(x, e);
        if (r < 0 || x->done)
                return r;
        return check_speed(x, waited, e);
}

int exchange_head(struct exchange *x, const struct http_head **ret, struct error *e)
{
        int r = perform(x, e);

        while (r >= 0 && !x->head.complete) {
                if (x->done)
                        return error_set(e, ERROR_SOURCE, EPIPE, "%s: no answer", x->host);
                r = wait_and_perform(x, e);
        }
        /* What went wrong behind the head is noticed when the body is read. */
        if (r < 0 && !x->head.complete)
                return r;
        if (x->error.class != ERROR_NONE)
                return failure(x, e);
        *ret = &x->head;
        return 0;
}

static size_t take_buffered(struct exchange *x, void *buf, size_t n)
{
        size_t have = x->end - x->begin;

        if (n > have)
                n = have;
        memcpy(buf, x->buffer + x->begin, n);
        x->begin += n;
        return n;
}

bool exchange_pending(const struct exchange *x)
{
        return x->end > x->begin;
}

static int resume(struct exchange *x, struct error *e)
{
        if (!x->paused)
                return 0;
        x->paused = false;
        /* Calls on_body() with what it holds. */
        return curl_easy_pause(x->easy, CURLPAUSE_CONT) == CURLE_OK ? 0 : failure(x, e);
}

/* Fills the reader's memory directly until it is enough or nothing comes at once. */
static ssize_t receive(struct exchange *x, size_t n, struct error *e)
{
        size_t enough = n < ENOUGH ? n : ENOUGH;
        int r = resume(x, e);

        if (r >= 0)
                r = perform(x, e);
        while (r >= 0 && !x->done && x->out_left == n)
                r = wait_and_perform(x, e);
        while (r >= 0 && !x->done && n - x->out_left < enough) {
                size_t left = x->out_left;

                r = perform(x, e);
                if (x->out_left == left)
                        break;
        }
        /* A failure behind bytes is noticed again by the next call. */
        return n > x->out_left ? (ssize_t)(n - x->out_left) : r;
}

ssize_t exchange_read(struct exchange *x, void *buf, size_t n, struct error *e)
{
        ssize_t got;

        if (exchange_pending(x))
                return (ssize_t)take_buffered(x, buf, n);
        if (x->done)
                return x->code == CURLE_OK ? 0 : failure(x, e);
        x->out = buf;
        x->out_left = n;
        got = receive(x, n, e);
        x->out = NULL;
        x->out_left = 0;
        return got;
}

void exchange_drain(struct exchange *x, char *text, size_t size)
{
        char piece[4096];
        uint64_t sum = 0;
        ssize_t n;

        if (text)
                *text = '\0';
        while (sum < LIMIT_HTTP_ERROR_BODY &&
               (n = exchange_read(x, piece, sizeof(piece), NULL)) > 0) {
                if (sum == 0 && text)
                        (void)http_text(piece, (size_t)n, text, size);
                sum += (uint64_t)n;
        }
        exchange_free(x);
}
