/* SPDX-License-Identifier: Apache-2.0 */
#include "upgrade/fetch_link.h"

#include <curl/curl.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>

#include "base/file.h"
#include "base/log.h"
#include "base/sandbox.h"
#include "upgrade/archive_source.h"
#include "upgrade/fetch_broker.h"
#include "upgrade/fetch_child.h"
#include "upgrade/spool.h"

/* Room between the two processes: less waking up. The kernel gives so much without privilege. */
#define PIPE_SIZE (1024 * 1024)
/* Connections of the child that are open at the same time: libcurl keeps four, and some are being
 * made or closed. */
#define CONNECTIONS 16u
/* For the end of a child whose pipe is closed already. */
#define END_MS 5000u

struct link {
        struct fetch_config config;
        struct sandbox *child;
        int pipe, control;
        int file;   /* of the layout, opened last; or -EBADF */
        int layout; /* borrowed, or -EBADF */
        struct broker broker;
        int spool_dir; /* borrowed, or -EBADF */
        struct spool *spool;
        uint64_t left; /* of the payload of the current frame */
        unsigned notes;
        unsigned offers; /* to begin again */
        bool again;
        bool over; /* the child is gone, or may not be listened to any more */
        struct error error;
        struct fetch_counters counters;
        uint8_t *piece; /* WIRE_PIECE bytes */
};

static int64_t now_ms(void)
{
        struct timespec t;

        (void)clock_gettime(CLOCK_MONOTONIC, &t);
        return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* --- the end of a child ------------------------------------------------------------------------*/

static int same_error(const struct link *l, struct error *e)
{
        if (e)
                *e = l->error;
        return -l->error.code;
}

static int over(struct link *l, struct error *e)
{
        l->over = true;
        sandbox_kill(l->child);
        return same_error(l, e);
}

int link_broken(struct link *l, struct error *e)
{
        error_set(
                &l->error, ERROR_REFUSED, EPROTO,
                "the process that reads the source speaks nonsense: what it read may be an attack");
        return over(l, e);
}

int link_failed(struct link *l, int r, struct error *e)
{
        error_errno(&l->error, -r, "talking to the process that reads the source");
        return over(l, e);
}

/* The child closed its pipe: why? */
static int child_gone(struct link *l, struct error *e)
{
        int status;

        if (sandbox_wait(l->child, END_MS, &status, &l->error) >= 0)
                error_set(&l->error, ERROR_INTERNAL, EPIPE,
                          "the process that reads the source ended by itself (%d)", status);
        return over(l, e);
}

/* --- questions ---------------------------------------------------------------------------------*/

static int answer(struct link *l, const struct wire_answer *a, const void *rest)
{
        return wire_put(l->control, a, sizeof(*a), rest, a->length);
}

static int answer_error(struct link *l, const struct error *what)
{
        struct wire_answer a;

        memset(&a, 0, sizeof(a));
        a.class = what->class;
        a.code = (uint32_t)what->code;
        (void)http_text(what->text, strlen(what->text), a.text, sizeof(a.text));
        return answer(l, &a, NULL);
}

static int answer_value(struct link *l, uint64_t value, const void *rest, size_t n)
{
        struct wire_answer a;

        memset(&a, 0, sizeof(a));
        a.value = value;
        a.length = (uint32_t)n;
        return answer(l, &a, rest);
}

/* Characters of names and addresses. */
static bool host_fits(const char *host)
{
        size_t n = strlen(host);

        return n > 0 && n <= LIMIT_HOST_NAME &&
               strspn(host, "abcdefghijklmnopqrstuvwxyz0123456789-_.:") == n;
}

static int answer_connect(struct link *l, const struct wire_ask *ask)
{
        _cleanup_close_ int fd = -EBADF;
        struct error why = ERROR_INIT;
        int r;

        if (!host_fits(ask->text) || ask->value == 0 || ask->value > UINT16_MAX)
                return -EBADMSG;
        fd = broker_connect(&l->broker, ask->text, (uint16_t)ask->value, &why);
        if (fd < 0)
                return answer_error(l, &why);
        r = answer_value(l, 0, NULL, 0);
        return r < 0 ? r : sandbox_send_fd(l->control, fd);
}

static int answer_open(struct link *l, const struct wire_ask *ask)
{
        struct error why = ERROR_INIT;
        struct stat st;

        if (l->layout < 0)
                return -EBADMSG;
        close_p(&l->file);
        l->file = layout_open(l->layout, ask->text, &why);
        if (l->file < 0)
                return answer_error(l, &why);
        if (fstat(l->file, &st) < 0) {
                error_errno(&why, errno, "%s", ask->text);
                return answer_error(l, &why);
        }
        return answer_value(l, (uint64_t)st.st_size, NULL, 0);
}

static int answer_read(struct link *l, const struct wire_ask *ask)
{
        struct error why = ERROR_INIT;
        ssize_t n;

        if (l->file < 0 || ask->value > INT64_MAX - WIRE_PIECE)
                return -EBADMSG;
        n = file_pread(l->file, l->piece, WIRE_PIECE, ask->value);
        if (n < 0) {
                error_errno(&why, (int)-n, "reading the source");
                return answer_error(l, &why);
        }
        return answer_value(l, 0, l->piece, (size_t)n);
}

static void close_spool(struct link *l)
{
        spool_free(l->spool);
        l->spool = NULL;
}

/* A spool that cannot be had is none: the transfer goes on without. */
static int answer_spool_open(struct link *l, const struct wire_ask *ask)
{
        struct error why = ERROR_INIT;
        struct oci_digest digest;
        int r;

        if (l->spool_dir < 0 || oci_digest_parse(ask->text, &digest) < 0 ||
            ask->value > LIMIT_OCI_BLOB)
                return -EBADMSG;
        close_spool(l);
        r = spool_open(l->spool_dir, &digest, ask->value, &l->spool, &why);
        if (r < 0)
                log_warning("the transfer cannot be kept for a later run: %s", why.text);
        return answer_value(l, r < 0 ? 0 : spool_have(l->spool), NULL, 0);
}

static int answer_spool_read(struct link *l, const struct wire_ask *ask)
{
        struct error why = ERROR_INIT;
        ssize_t n;

        if (!l->spool)
                return -EBADMSG;
        n = spool_read(l->spool, ask->value, l->piece, WIRE_PIECE, &why);
        if (n < 0)
                return answer_error(l, &why);
        return answer_value(l, 0, l->piece, (size_t)n);
}

/* One question. Negative: it makes no sense, or the child does not take answers. */
static int serve(struct link *l)
{
        struct wire_ask ask;
        ssize_t n = wire_receive(l->control, &ask, sizeof(ask), NULL, 0);

        if (n == -EAGAIN)
                return 0;
        if (n <= 0)
                return n < 0 ? (int)n : -EPIPE;
        if (!memchr(ask.text, '\0', sizeof(ask.text)))
                return -EBADMSG;
        switch ((enum wire_ask_kind)ask.kind) {
        case WIRE_CONNECT:
                return answer_connect(l, &ask);
        case WIRE_OPEN:
                return answer_open(l, &ask);
        case WIRE_READ:
                return answer_read(l, &ask);
        case WIRE_SPOOL_OPEN:
                return answer_spool_open(l, &ask);
        case WIRE_SPOOL_READ:
                return answer_spool_read(l, &ask);
        case WIRE_ASK_MAX:
                break;
        }
        return -EBADMSG;
}

/* --- waiting -----------------------------------------------------------------------------------*/

static int stopped(struct link *l, struct error *e)
{
        if (!l->broker.stop || !l->broker.stop(l->broker.stop_arg))
                return 0;
        error_set(&l->error, ERROR_INTERRUPTED, ECANCELED, "stopped by a signal");
        error_advise(&l->error, "run the same command again: it continues where this one ended");
        return over(l, e); /* in the middle of a message perhaps */
}

/* Until the pipe has something, or its other end is closed. Questions are answered meanwhile. */
static int wait_for_pipe(struct link *l, struct error *e)
{
        int64_t deadline = now_ms() + LIMIT_FETCH_SILENCE_SECONDS * INT64_C(1000);

        for (;;) {
                struct pollfd p[] = {{.fd = l->pipe, .events = POLLIN},
                                     {.fd = l->control, .events = POLLIN}};
                int r;

                r = stopped(l, e);
                if (r < 0)
                        return r;
                if (now_ms() >= deadline) {
                        error_set(&l->error, ERROR_SOURCE, ETIMEDOUT,
                                  "the process that reads the source is stuck");
                        return over(l, e);
                }
                r = poll(p, ARRAY_SIZE(p), 1000);
                if (r < 0 && errno != EINTR)
                        return error_errno(e, errno, "waiting for the source");
                if (r <= 0)
                        continue;
                if (p[0].revents)
                        return 0;
                r = serve(l);
                if (r == -EPIPE)
                        return child_gone(l, e);
                if (r == -EBADMSG)
                        return link_broken(l, e);
                if (r < 0)
                        return link_failed(l, r, e);
                deadline = now_ms() + LIMIT_FETCH_SILENCE_SECONDS * INT64_C(1000);
        }
}

static ssize_t read_pipe(struct link *l, void *buf, size_t n, struct error *e)
{
        for (;;) {
                ssize_t got = read(l->pipe, buf, n);
                int r;

                if (got > 0)
                        return got;
                if (got == 0)
                        return child_gone(l, e);
                if (errno != EAGAIN && errno != EINTR)
                        return error_errno(e, errno, "reading from the process of the source");
                r = wait_for_pipe(l, e);
                if (r < 0)
                        return r;
        }
}

static int read_pipe_all(struct link *l, void *buf, size_t n, struct error *e)
{
        for (size_t at = 0; at < n;) {
                ssize_t got = read_pipe(l, (uint8_t *)buf + at, n - at, e);

                if (got < 0)
                        return (int)got;
                at += (size_t)got;
        }
        return 0;
}

/* --- frames ------------------------------------------------------------------------------------*/

ssize_t link_take(struct link *l, void *buf, size_t n, struct error *e)
{
        ssize_t got;

        got = read_pipe(l, buf, l->left < n ? (size_t)l->left : n, e);
        if (got > 0)
                l->left -= (uint64_t)got;
        return got;
}

int link_take_all(struct link *l, void *buf, size_t n, struct error *e)
{
        int r;

        if (n > l->left)
                return link_broken(l, e);
        r = read_pipe_all(l, buf, n, e);
        if (r >= 0)
                l->left -= n;
        return r;
}

/* Keeps what the child received, as long as that works. */
static int take_spool(struct link *l, struct error *e)
{
        while (l->left > 0) {
                struct error why = ERROR_INIT;
                ssize_t n = link_take(l, l->piece, WIRE_PIECE, e);

                if (n < 0)
                        return (int)n;
                if (!l->spool || spool_add(l->spool, l->piece, (size_t)n, &why) >= 0)
                        continue;
                log_warning("the transfer is no longer kept for a later run: %s", why.text);
                close_spool(l);
        }
        return 0;
}

static int take_note(struct link *l, struct error *e)
{
        struct wire_error w;
        struct error note = ERROR_INIT;
        int r;

        if (l->notes++ >= LIMIT_FETCH_NOTES)
                return link_broken(l, e);
        r = link_take_all(l, &w, sizeof(w), e);
        if (r < 0)
                return r;
        (void)wire_error_take(&w, &note);
        log_info("%s", note.text);
        return 0;
}

/* The child gives up what it was told to do, and waits for the next command. */
static int take_error(struct link *l, struct error *e)
{
        struct error what = ERROR_INIT, why = ERROR_INIT;
        struct wire_error w;
        int r;

        r = link_take_all(l, &w, sizeof(w), e);
        if (r < 0)
                return r;
        r = wire_error_take(&w, &what);
        /* Every endpoint can be wrong once, and the spool. */
        l->again = w.again != 0 && l->offers++ <= l->config.n_endpoints;
        if (what.class == ERROR_REFUSED && l->spool) {
                close_spool(l);
                if (spool_drop(l->spool_dir, &why) < 0)
                        log_warning("a spool with wrong bytes stays: %s", why.text);
        }
        if (e)
                *e = what;
        return r;
}

int link_frame(struct link *l, struct wire_header *ret, struct error *e)
{
        for (;;) {
                struct wire_header h;
                int r;

                if (l->over)
                        return same_error(l, e);
                r = read_pipe_all(l, &h, sizeof(h), e);
                if (r < 0)
                        return r;
                if (wire_header_check(&h) < 0)
                        return link_broken(l, e);
                l->left = h.length;
                l->counters = (struct fetch_counters){
                        .network = h.network, .spooled = h.spooled, .retries = h.retries};
                if (h.type == WIRE_ERROR)
                        return take_error(l, e);
                if (h.type != WIRE_NOTE && h.type != WIRE_SPOOL) {
                        *ret = h;
                        return 0;
                }
                r = h.type == WIRE_NOTE ? take_note(l, e) : take_spool(l, e);
                if (r < 0)
                        return r;
        }
}

int link_command(struct link *l, enum wire_command_kind kind, uint64_t offset, struct error *e)
{
        const struct wire_command command = {.kind = kind, .offset = offset};
        int r;

        if (l->over)
                return same_error(l, e);
        l->again = false;
        close_spool(l);
        r = wire_put(l->control, &command, sizeof(command), NULL, 0);
        if (r == -EPIPE || r == -ECONNRESET)
                return child_gone(l, e);
        return r < 0 ? link_failed(l, r, e) : 0;
}

bool link_has_choice(const struct link *l)
{
        return l->config.n_endpoints > 1 || l->counters.spooled > 0;
}

bool link_again(const struct link *l)
{
        return l->again;
}

const struct fetch_counters *link_counters(const struct link *l)
{
        return &l->counters;
}

/* --- the begin ---------------------------------------------------------------------------------*/

void link_free(struct link *l)
{
        if (!l)
                return;
        sandbox_free(l->child);
        close_spool(l);
        close_p(&l->pipe);
        close_p(&l->control);
        close_p(&l->file);
        fetch_config_done(&l->config);
        free(l->piece);
        free(l);
}

static int set_nonblocking(int fd)
{
        int flags = fcntl(fd, F_GETFL);

        return flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ? -errno : 0;
}

/* Both ends of both channels; the parent never waits in a read or write of its own. */
static int open_channels(struct link *l, int theirs[2], struct error *e)
{
        int fds[2];

        if (pipe2(fds, O_CLOEXEC) < 0)
                return error_errno(e, errno, "pipe");
        l->pipe = fds[0];
        theirs[FETCH_CHILD_PIPE] = fds[1];
        (void)fcntl(fds[1], F_SETPIPE_SZ, PIPE_SIZE); /* a small one only costs time */
        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0)
                return error_errno(e, errno, "socketpair");
        l->control = fds[0];
        theirs[FETCH_CHILD_CONTROL] = fds[1];
        if (set_nonblocking(l->pipe) < 0 || set_nonblocking(l->control) < 0)
                return error_errno(e, errno, "O_NONBLOCK");
        return 0;
}

static void tell_missing(const struct link *l)
{
        _cleanup_(buf_done) struct buf names = BUF_INIT(1024);
        unsigned missing = SANDBOX_MISSING_IN_CONTAINER & ~sandbox_layers(l->child);

        if (missing && sandbox_describe(missing, &names) >= 0)
                log_info("the source is read with less isolation than on a host, without: %s",
                         buf_str(&names));
}

/* Who builds images is no root, and cannot become somebody else. */
static unsigned may_miss(void)
{
        return SANDBOX_MISSING_IN_CONTAINER | (geteuid() == 0 ? 0 : SANDBOX_IDS);
}

static int spawn(struct link *l, const struct fetch_options *options, int file, struct error *e)
{
        struct fetch_child_setup setup = {.config = &l->config, .spool = l->spool_dir >= 0};
        int theirs[2] = {-EBADF, -EBADF}, r;

        /* Libraries prepare themselves while there are still files to read. */
        if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
                return error_oom(e);
        r = open_channels(l, theirs, e);
        if (r >= 0) {
                const int fds[FETCH_CHILD_FDS] = {theirs[0], theirs[1], file};
                const struct sandbox_options sandbox = {.env = options->env,
                                                        .name = "tb-fetch",
                                                        .may_miss = may_miss(),
                                                        .fds = fds,
                                                        .n_fds = file >= 0 ? FETCH_CHILD_FDS
                                                                           : FETCH_CHILD_FILE,
                                                        .n_received = CONNECTIONS};

                r = sandbox_spawn(&sandbox, fetch_child_main, &setup, &l->child, e);
        }
        close_p(&theirs[0]);
        close_p(&theirs[1]);
        if (r >= 0)
                tell_missing(l);
        return r;
}

/* The child's copies of the logins are blank: it gets those it needs now. */
static int send_logins(struct link *l, struct error *e)
{
        for (unsigned i = 0; i < l->config.n_endpoints; i++) {
                const struct secret *login = l->config.endpoints[i].login;
                const struct wire_command command = {.kind = WIRE_LOGIN, .endpoint = i};
                int r;

                if (!login)
                        continue;
                r = wire_put(l->control, &command, sizeof(command), login->data, login->len);
                if (r < 0)
                        return error_errno(e, -r, "telling the logins");
        }
        fetch_config_forget(&l->config);
        return 0;
}

int link_open(const struct source_name *name, const struct fetch_options *options, int file,
              int layout, struct link **ret, struct error *e)
{
        _cleanup_(link_free_p) struct link *l = calloc(1, sizeof(*l));
        int r;

        if (!l)
                return error_oom(e);
        l->pipe = l->control = l->file = -EBADF;
        l->layout = layout;
        l->spool_dir = name->kind == SOURCE_KIND_OCI ? options->spool : -EBADF;
        l->piece = malloc(WIRE_PIECE);
        if (!l->piece)
                return error_oom(e);
        r = fetch_config_read(name, options, &l->config, e);
        if (r < 0)
                return r;
        l->broker =
                (struct broker){.named = {(const char *const *)l->config.named, l->config.n_named},
                                .stop = options->stop,
                                .stop_arg = options->stop_arg};
        r = spawn(l, options, file, e);
        if (r >= 0)
                r = send_logins(l, e);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(l);
        return 0;
}
