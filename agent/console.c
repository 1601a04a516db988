/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/console.h"

#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "base/limits.h"
#include "partition/recovery_key.h"

#define CTRL_C 3

struct terminal {
        int fd; /* -EBADF: hung up */
        struct termios saved;
        struct secret *line; /* what came of it so far */
        size_t len;
};

struct console {
        bool may_cancel; /* the person can end it: by Ctrl-C, or Ctrl-D on an empty line */
        size_t n;
        struct terminal item[LIMIT_CONSOLES];
        int watched; /* -EBADF: nothing */
        void (*noticed)(void *ctx);
        void *noticed_ctx;
};

static int64_t now_ms(void)
{
        struct timespec t;

        (void)clock_gettime(CLOCK_MONOTONIC, &t);
        return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Lines, edited by the kernel; neither echo nor signals. Settings take effect at once: waiting for
 * output to drain could be for ever. */
static int prepare(struct terminal *t, bool may_cancel)
{
        struct termios quiet;

        if (tcgetattr(t->fd, &t->saved) < 0)
                return -errno;
        quiet = t->saved;
        quiet.c_iflag &= (tcflag_t) ~(IGNCR | INLCR);
        quiet.c_iflag |= ICRNL;
        quiet.c_lflag &= (tcflag_t) ~(ECHO | ECHOE | ECHOK | ISIG | IEXTEN);
        quiet.c_lflag |= ICANON | ECHONL;
        /* No signal, which would leave the terminal as it is now, but the end of a line. */
        if (may_cancel)
                quiet.c_cc[VEOL] = CTRL_C;
        (void)tcflush(t->fd, TCIFLUSH);
        return tcsetattr(t->fd, TCSANOW, &quiet) < 0 ? -errno : 0;
}

/* A terminal that does not open, or is none, is left out. */
static void add(void *console, const char *path)
{
        struct console *c = console;
        struct terminal t = {.fd = -EBADF};

        if (c->n == LIMIT_CONSOLES)
                return;
        t.fd = open(path, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
        if (t.fd < 0)
                return;
        t.line = secret_new(LIMIT_RECOVERY_INPUT);
        if (!t.line || prepare(&t, c->may_cancel) < 0) {
                secret_free(t.line);
                (void)close(t.fd);
                return;
        }
        c->item[c->n++] = t;
}

typedef void (*use_fn)(void *ctx, const char *path);

static void use_name(const struct env *env, const char *name, size_t n, use_fn use, void *ctx)
{
        _cleanup_free_ char *path = NULL;

        if (n == 0 || memchr(name, '/', n))
                return;
        if (asprintf(&path, "%s/%.*s", env->dev, (int)n, name) < 0) {
                path = NULL;
                return;
        }
        use(ctx, path);
}

/* "ttyS0                -W- (EC p a)    4:64", one a line. */
static void use_listed(const struct env *env, use_fn use, void *ctx)
{
        _cleanup_(buf_done) struct buf list = BUF_INIT(LIMIT_SYSFS_FILE);
        _cleanup_free_ char *path = NULL;
        const char *line;

        if (asprintf(&path, "%s/consoles", env->proc) < 0) {
                path = NULL;
                return;
        }
        if (file_read(AT_FDCWD, path, &list) < 0)
                return;
        for (line = buf_str(&list); *line; line += strcspn(line, "\n"), line += *line == '\n')
                use_name(env, line, strcspn(line, " \t\n"), use, ctx);
}

static struct console *console_new(void)
{
        struct console *c = calloc(1, sizeof(*c));

        if (c)
                c->watched = -EBADF;
        return c;
}

int console_open_all(const struct env *env, struct console **ret, struct error *e)
{
        _cleanup_(console_close_p) struct console *c = console_new();

        if (!c)
                return error_oom(e);
        use_listed(env, add, c);
        if (c->n == 0)
                use_name(env, "console", strlen("console"), add, c);
        if (c->n == 0)
                return error_set(e, ERROR_PRECONDITION, ENXIO, "there is no console to ask on");
        *ret = TAKE_PTR(c);
        return 0;
}

int console_open_terminal(const struct env *env, struct console **ret, struct error *e)
{
        _cleanup_(console_close_p) struct console *c = console_new();

        if (!c)
                return error_oom(e);
        c->may_cancel = true;
        use_name(env, "tty", strlen("tty"), add, c);
        if (c->n == 0)
                return error_set(e, ERROR_USAGE, ENOTTY, "there is no terminal to ask on");
        *ret = TAKE_PTR(c);
        return 0;
}

void console_watch(struct console *c, int fd, void (*noticed)(void *ctx), void *ctx)
{
        c->watched = fd;
        c->noticed = noticed;
        c->noticed_ctx = ctx;
}

static void drop(struct terminal *t)
{
        if (t->fd >= 0) {
                (void)tcsetattr(t->fd, TCSANOW, &t->saved);
                (void)close(t->fd);
        }
        t->fd = -EBADF;
        secret_free(t->line);
        t->line = NULL;
}

void console_close(struct console *c)
{
        if (!c)
                return;
        for (size_t i = 0; i < c->n; i++) {
                /* Half a key must not become somebody's command line. */
                if (c->item[i].fd >= 0)
                        (void)tcflush(c->item[i].fd, TCIFLUSH);
                drop(&c->item[i]);
        }
        free(c);
}

void console_say(struct console *c, const char *text)
{
        for (size_t i = 0; i < c->n; i++) {
                /* A line that takes nothing is not waited for; the others have the text. */
                if (c->item[i].fd >= 0 && file_write(c->item[i].fd, text, strlen(text)) < 0)
                        continue;
        }
}

struct telling {
        const char *text;
        bool told;
};

static void tell(void *telling, const char *path)
{
        struct telling *t = telling;
        _cleanup_close_ int fd = open(path, O_WRONLY | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);

        if (fd >= 0 && isatty(fd))
                t->told = file_write(fd, t->text, strlen(t->text)) == 0 || t->told;
}

void console_tell(const struct env *env, const char *text)
{
        struct telling t = {.text = text};

        use_listed(env, tell, &t);
        if (!t.told)
                use_name(env, "console", strlen("console"), tell, &t);
}

/* Takes what there is. 1: a line is complete, 0: not yet, -EPIPE: nobody is there any more,
 * -ECANCELED: somebody had enough. */
static int take(struct terminal *t, bool may_cancel, short events)
{
        for (;;) {
                uint8_t c;
                ssize_t got = read(t->fd, &c, 1);

                if (got < 0 && errno == EINTR)
                        continue;
                if (got < 0 && errno == EAGAIN)
                        return events & (POLLHUP | POLLERR) ? -EPIPE : 0;
                if (got < 0)
                        return -EPIPE;
                if (got == 0 && (events & (POLLHUP | POLLERR)))
                        return -EPIPE;
                if (got == 0 || (may_cancel && c == CTRL_C))
                        return may_cancel ? -ECANCELED : 0;
                if (c == '\n') {
                        explicit_bzero(&c, sizeof(c));
                        return 1;
                }
                if (t->len < LIMIT_RECOVERY_INPUT)
                        t->line->data[t->len++] = c;
                explicit_bzero(&c, sizeof(c));
        }
}

static int hand_out(struct terminal *t, struct secret **ret)
{
        struct secret *next = secret_new(LIMIT_RECOVERY_INPUT);

        if (!next)
                return -ENOMEM;
        t->line->len = t->len;
        *ret = t->line;
        t->line = next;
        t->len = 0;
        return 0;
}

/* One look at all terminals. 1: *ret is a line; 0: none yet. */
static int look(struct console *c, int timeout_ms, struct secret **ret)
{
        struct pollfd polled[LIMIT_CONSOLES + 1];
        bool any = false;
        int r;

        for (size_t i = 0; i < c->n; i++) {
                polled[i] = (struct pollfd){.fd = c->item[i].fd, .events = POLLIN};
                any = any || c->item[i].fd >= 0;
        }
        if (!any)
                return -EPIPE;
        polled[c->n] = (struct pollfd){.fd = c->watched, .events = POLLIN};
        if (poll(polled, c->n + 1, timeout_ms) < 0)
                return errno == EINTR ? 0 : -errno;
        if (polled[c->n].revents != 0)
                c->noticed(c->noticed_ctx);
        for (size_t i = 0; i < c->n; i++) {
                if (c->item[i].fd < 0 || polled[i].revents == 0)
                        continue;
                r = take(&c->item[i], c->may_cancel, polled[i].revents);
                if (r > 0)
                        return hand_out(&c->item[i], ret) < 0 ? -ENOMEM : 1;
                if (r == -ECANCELED)
                        return r;
                if (r < 0)
                        drop(&c->item[i]);
        }
        return 0;
}

int console_read(struct console *c, unsigned seconds, struct secret **ret)
{
        int64_t deadline = now_ms() + (int64_t)seconds * 1000;

        for (;;) {
                int64_t left = deadline - now_ms();
                int r;

                if (seconds > 0 && left <= 0)
                        return -ETIMEDOUT;
                r = look(c, seconds > 0 ? (int)left : -1, ret);
                if (r != 0)
                        return r < 0 ? r : 0;
        }
}

/* One round: question, answer, attempt. */
static int ask_once(struct console *c, const char *question, unsigned seconds,
                    console_attempt_fn attempt, void *ctx, struct error *e)
{
        _cleanup_(secret_free_p) struct secret *line = NULL, *key = NULL;
        int r;

        console_say(c, question);
        r = console_read(c, seconds, &line);
        if (r == -ETIMEDOUT)
                return error_set(e, ERROR_PRECONDITION, ETIMEDOUT,
                                 "nobody gave a recovery key within %u seconds", seconds);
        if (r == -ENOMEM)
                return error_oom(e);
        if (r == -ECANCELED)
                return error_set(e, ERROR_INTERRUPTED, ECANCELED, "no recovery key was given");
        if (r < 0)
                return error_set(e, ERROR_PRECONDITION, EPIPE, "the terminal was closed");
        r = recovery_key_parse(line->data, line->len, &key, e);
        return r < 0 ? r : attempt(ctx, key, e);
}

int console_ask_key(struct console *c, const char *question, unsigned seconds,
                    console_attempt_fn attempt, void *ctx, struct error *e)
{
        int r = 0;

        for (unsigned i = 0; i < LIMIT_RECOVERY_TRIES; i++) {
                struct error error = ERROR_INIT;

                r = ask_once(c, question, seconds, attempt, ctx, &error);
                if (r == 0)
                        break;
                *e = error;
                if (r == -ETIMEDOUT || r == -EPIPE || r == -ECANCELED || r == -ENOMEM)
                        break;
                console_say(c, error.text);
                console_say(c, "\n");
        }
        return r;
}
