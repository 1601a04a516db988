/* SPDX-License-Identifier: Apache-2.0 */
#include "upgrade/fetch_child_private.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/sandbox.h"

/* --- talking to the parent ---------------------------------------------------------------------*/

int child_send(struct child *c, enum wire_type type, const void *data, size_t n, struct error *e)
{
        struct wire_header h = {.type = type, .length = (uint32_t)n, .spooled = c->spooled};
        int r;

        if (c->http) {
                h.network = http_counters(c->http)->network;
                h.retries = http_counters(c->http)->retries;
        }
        r = wire_send(c->pipe, &h, data);
        return r < 0 ? error_set(e, ERROR_INTERNAL, -r, "the parent is gone") : 0;
}

int child_ask(struct child *c, const struct wire_ask *ask, struct wire_answer *ret, void *rest,
              size_t rest_max, struct error *e)
{
        ssize_t n;
        int r;

        r = wire_put(c->control, ask, sizeof(*ask), NULL, 0);
        if (r < 0)
                return error_set(e, ERROR_INTERNAL, -r, "the parent is gone");
        n = wire_receive(c->control, ret, sizeof(*ret), rest, rest_max);
        if (n <= 0)
                return error_set(e, ERROR_INTERNAL, EPIPE, "the parent is gone");
        if (ret->code > 0)
                return error_set(e, (enum error_class)ret->class, (int)ret->code, "%s", ret->text);
        return 0;
}

static int connect_by_parent(void *ctx, const char *host, uint16_t port, struct error *e)
{
        struct child *c = ctx;
        struct wire_ask ask = {.kind = WIRE_CONNECT, .value = port};
        struct wire_answer answer;
        int r;

        (void)snprintf(ask.text, sizeof(ask.text), "%s", host);
        r = child_ask(c, &ask, &answer, NULL, 0, e);
        if (r < 0)
                return r;
        r = sandbox_receive_fd(c->control);
        return r < 0 ? error_set(e, ERROR_INTERNAL, -r, "receiving a connection") : r;
}

static int send_error(struct child *c, enum wire_type type, const struct error *what)
{
        struct wire_error w = {.class = what->class, .code = (uint32_t)what->code};

        if (type == WIRE_ERROR)
                w.again = c->again;
        memcpy(w.text, what->text, sizeof(w.text));
        memcpy(w.advice, what->advice, sizeof(w.advice));
        return child_send(c, type, &w, sizeof(w), NULL);
}

static void note(void *ctx, const char *text, uint64_t wait_ms)
{
        struct error e = ERROR_INIT;

        error_set(&e, ERROR_SOURCE, EAGAIN, "%s: trying again in %" PRIu64 ".%" PRIu64 " s", text,
                  wait_ms / 1000, wait_ms % 1000 / 100);
        (void)send_error(ctx, WIRE_NOTE, &e); /* the next frame will notice that nobody listens */
}

/* --- commands ----------------------------------------------------------------------------------*/

static int take_login(struct child *c, uint32_t endpoint, const uint8_t *text, size_t n)
{
        struct secret *s;

        if (endpoint >= c->config->n_endpoints || n == 0)
                return -EINVAL;
        s = secret_new(n);
        if (!s)
                return -ENOMEM;
        memcpy(s->data, text, n);
        secret_free(c->endpoints[endpoint].login);
        c->endpoints[endpoint].login = s;
        return 0;
}

static int resolve(struct child *c, struct error *e)
{
        struct wire_info info;
        int r;

        memset(&info, 0, sizeof(info));
        r = child_resolve(c, &info, e);
        return r < 0 ? r : child_send(c, WIRE_INFO, &info, sizeof(info), e);
}

static int begin(struct child *c, uint64_t offset, struct error *e)
{
        int r = child_begin(c, offset, e);

        return r < 0 ? r : child_send(c, WIRE_END, NULL, 0, e);
}

static int send_layer(struct child *c, uint64_t number, struct error *e)
{
        int r = child_layer(c, number, e);

        return r < 0 ? r : child_send(c, WIRE_END, NULL, 0, e);
}

/* 0: go on; negative: the parent is gone or makes no sense. */
static int obey(struct child *c, const struct wire_command *command, struct secret *login, size_t n)
{
        struct error e = ERROR_INIT;
        int r;

        c->again = false;
        switch ((enum wire_command_kind)command->kind) {
        case WIRE_LOGIN:
                r = take_login(c, command->endpoint, login->data, n);
                explicit_bzero(login->data, login->len);
                return r;
        case WIRE_RESOLVE:
                r = resolve(c, &e);
                break;
        case WIRE_BEGIN:
                r = begin(c, command->offset, &e);
                break;
        case WIRE_LAYER:
                r = send_layer(c, command->offset, &e);
                break;
        default:
                return -EBADMSG;
        }
        return r < 0 ? send_error(c, WIRE_ERROR, &e) : 0;
}

static int serve(struct child *c)
{
        _cleanup_(secret_free_p) struct secret *login = secret_new(LIMIT_AUTH_PASSWORD);
        struct wire_command command;

        if (!login)
                return -ENOMEM;
        for (;;) {
                ssize_t n = wire_receive(c->control, &command, sizeof(command), login->data,
                                         login->len);
                int r;

                if (n <= 0)
                        return (int)n;
                r = obey(c, &command, login, (size_t)n - sizeof(command));
                if (r < 0)
                        return r;
        }
}

static int prepare(struct child *c)
{
        const struct fetch_config *f = c->config;
        const struct http_options options = {
                .connect = connect_by_parent,
                .note = note,
                .ctx = c,
                .ca = &f->ca,
                .insecure = {f->options->insecure, f->options->n_insecure},
                .proxies = f->proxies,
                .rate_limit = f->options->rate_limit,
                .attempts = f->options->attempts,
                .delay_ms = f->options->delay_ms,
                .low_speed_seconds = f->options->low_speed_seconds,
        };

        c->buffer = malloc(LIMIT_FETCH_FRAME);
        c->endpoints = calloc(f->n_endpoints + 1, sizeof(*c->endpoints));
        if (!c->buffer || !c->endpoints)
                return -ENOMEM;
        for (unsigned i = 0; i < f->n_endpoints; i++) {
                c->endpoints[i] = f->endpoints[i];
                c->endpoints[i].login = NULL; /* the parent's memory reads as zeros here */
        }
        return http_new(&options, &c->http, NULL);
}

int fetch_child_main(void *ctx, const int *fds)
{
        const struct fetch_child_setup *setup = ctx;
        struct child c = {.config = setup->config,
                          .pipe = fds[FETCH_CHILD_PIPE],
                          .control = fds[FETCH_CHILD_CONTROL],
                          .file = fds[FETCH_CHILD_FILE],
                          .has_spool = setup->spool};
        int r = prepare(&c);

        if (r >= 0)
                r = serve(&c);
        /* Nothing is given back piece by piece: the process ends here. */
        return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
