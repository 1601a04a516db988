/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/progress.h"

#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "base/num.h"

#define SCHEMA 1
#define BAR_EVERY_MS 200u
#define JSON_EVERY_MS 500u
#define LINE_EVERY_MS 10000u
/* The rate is that of the last seconds: samples are this far apart, the oldest is the base. */
#define SAMPLE_EVERY_MS 500u
#define SAMPLES 16u
#define BAR_WIDTH 24u
/* For a reader that is behind: a run must not end in a full pipe, where no signal stops it. */
#define PATIENCE_MS 5000

struct sample {
        uint64_t ms, done;
};

struct progress {
        struct progress_options options;
        char phase[80];
        bool running, bar_shown;
        uint64_t total, done, begin_ms, text_ms, json_ms;
        unsigned retries;
        struct sample samples[SAMPLES]; /* a ring */
        unsigned first, n;
};

static uint64_t monotonic_ms(void *arg)
{
        struct timespec t = {0};

        (void)arg;
        (void)clock_gettime(CLOCK_MONOTONIC, &t);
        return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

struct progress *progress_new(const struct progress_options *options)
{
        struct progress *p = calloc(1, sizeof(*p));

        if (!p)
                return NULL;
        p->options = *options;
        if (!p->options.now_ms)
                p->options.now_ms = monotonic_ms;
        return p;
}

/* --- rate --- */

static void take_sample(struct progress *p, uint64_t now)
{
        unsigned last = (p->first + p->n - 1) % SAMPLES;

        if (p->n > 0 && now - p->samples[last].ms < SAMPLE_EVERY_MS)
                return;
        if (p->n == SAMPLES) {
                p->first = (p->first + 1) % SAMPLES;
                p->n--;
        }
        p->samples[(p->first + p->n) % SAMPLES] = (struct sample){.ms = now, .done = p->done};
        p->n++;
}

/* Bytes a second; 0 while nothing can be said. */
static uint64_t rate(const struct progress *p, uint64_t now)
{
        const struct sample *base = &p->samples[p->first];
        uint64_t bytes;

        if (p->n == 0 || now <= base->ms || p->done <= base->done)
                return 0;
        if (mul_u64(p->done - base->done, 1000, &bytes) < 0)
                return 0;
        return bytes / (now - base->ms);
}

/* --- text --- */

/* What is written here is shorter than what a pipe takes at once when it takes anything. */
static bool takes_more(int fd)
{
        struct pollfd p = {.fd = fd, .events = POLLOUT};
        int r;

        do {
                r = poll(&p, 1, PATIENCE_MS);
        } while (r < 0 && errno == EINTR);
        return r > 0;
}

/* Gives a descriptor up that does not take what is written. */
static void put(int *fd, const char *text)
{
        if (*fd >= 0 && (!takes_more(*fd) || file_write(*fd, text, strlen(text)) < 0))
                *fd = -EBADF;
}

static void format_duration(uint64_t seconds, char *out, size_t n)
{
        if (seconds >= 3600)
                (void)snprintf(out, n, "%" PRIu64 ":%02" PRIu64 ":%02" PRIu64, seconds / 3600,
                               seconds / 60 % 60, seconds % 60);
        else
                (void)snprintf(out, n, "%" PRIu64 ":%02" PRIu64, seconds / 60, seconds % 60);
}

/* "12.0 MiB of 512.0 MiB, 10.0 MiB/s, 0:50 left, 2 retries" */
static void describe(const struct progress *p, uint64_t now, char *out, size_t n)
{
        char done[32], total[40] = "", speed[40] = "", left[40] = "", retries[32] = "", text[32];
        uint64_t r = rate(p, now);

        (void)format_size(p->done, done, sizeof(done));
        if (p->total > 0)
                (void)snprintf(total, sizeof(total), " of %s",
                               format_size(p->total, text, sizeof(text)));
        if (r > 0)
                (void)snprintf(speed, sizeof(speed), ", %s/s", format_size(r, text, sizeof(text)));
        if (r > 0 && p->total > p->done) {
                format_duration((p->total - p->done) / r + 1, text, sizeof(text));
                (void)snprintf(left, sizeof(left), ", %s left", text);
        }
        if (p->retries > 0)
                (void)snprintf(retries, sizeof(retries), ", %u %s", p->retries,
                               p->retries == 1 ? "retry" : "retries");
        (void)snprintf(out, n, "%s%s%s%s%s", done, total, speed, left, retries);
}

static void show_bar(struct progress *p, uint64_t now)
{
        char facts[192], bar[BAR_WIDTH + 1], line[320];
        unsigned filled = 0;

        if (p->total > 0)
                filled = p->done >= p->total ? BAR_WIDTH
                                             : (unsigned)((double)p->done / (double)p->total *
                                                          (double)BAR_WIDTH);
        memset(bar, ' ', BAR_WIDTH);
        memset(bar, '#', filled);
        bar[BAR_WIDTH] = '\0';
        describe(p, now, facts, sizeof(facts));
        /* Back to the first column, and what a longer line left is erased. */
        (void)snprintf(line, sizeof(line), "\r%-10s [%s] %s\x1b[K", p->phase, bar, facts);
        put(&p->options.text_fd, line);
        p->bar_shown = true;
}

static void end_bar(struct progress *p)
{
        if (p->bar_shown)
                put(&p->options.text_fd, "\n");
        p->bar_shown = false;
}

static void show_line(struct progress *p, uint64_t now)
{
        char facts[192], line[320];

        if (p->done == 0 && p->total == 0) {
                (void)snprintf(line, sizeof(line), "%s\n", p->phase);
        } else {
                describe(p, now, facts, sizeof(facts));
                (void)snprintf(line, sizeof(line), "%s: %s\n", p->phase, facts);
        }
        put(&p->options.text_fd, line);
        if (p->options.line)
                p->options.line(line, p->options.line_arg);
}

static void show_text(struct progress *p, uint64_t now, bool edge)
{
        bool bytes = p->total > 0 || p->done > 0;
        uint64_t every = p->options.terminal ? BAR_EVERY_MS : LINE_EVERY_MS;

        if ((p->options.text_fd < 0 && !p->options.line) || (!edge && now - p->text_ms < every))
                return;
        p->text_ms = now;
        if (p->options.terminal && bytes)
                show_bar(p, now);
        else
                show_line(p, now);
}

/* --- JSON --- */

static void show_json(struct progress *p, uint64_t now, bool edge)
{
        _cleanup_json_ struct json_object *o = NULL;
        const char *text;

        if (p->options.json_fd < 0 || (!edge && now - p->json_ms < JSON_EVERY_MS))
                return;
        p->json_ms = now;
        o = json_object_new_object();
        if (json_add_u64(o, "schema", SCHEMA) < 0 || json_add_str(o, "phase", p->phase) < 0 ||
            json_add_u64(o, "done", p->done) < 0 ||
            (p->total > 0 ? json_add_u64(o, "total", p->total) : json_add_null(o, "total")) < 0 ||
            json_add_u64(o, "rate", rate(p, now)) < 0 ||
            json_add_u64(o, "retries", p->retries) < 0 ||
            json_add_u64(o, "seconds", (now - p->begin_ms) / 1000) < 0)
                return;
        text = json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN);
        if (!text)
                return;
        put(&p->options.json_fd, text);
        put(&p->options.json_fd, "\n");
}

/* --- */

static void end_phase(struct progress *p)
{
        uint64_t now = p->options.now_ms(p->options.now_arg);

        if (!p->running)
                return;
        /* A phase without bytes was told when it began. */
        if (p->done > 0) {
                show_text(p, now, true);
                show_json(p, now, true);
        }
        end_bar(p);
        p->running = false;
}

void progress_phase(struct progress *p, const char *phase, uint64_t total)
{
        uint64_t now;

        if (!p)
                return;
        end_phase(p);
        now = p->options.now_ms(p->options.now_arg);
        (void)snprintf(p->phase, sizeof(p->phase), "%s", phase);
        p->total = total;
        p->done = 0;
        p->retries = 0;
        p->begin_ms = now;
        p->n = 0;
        p->running = true;
        show_text(p, now, true);
        show_json(p, now, true);
}

void progress_update(struct progress *p, uint64_t done, unsigned retries)
{
        uint64_t now;

        if (!p || !p->running)
                return;
        now = p->options.now_ms(p->options.now_arg);
        /* The first bytes may be there already: what an earlier run received is no speed. */
        if (p->n == 0 || done < p->done)
                p->n = 0;
        p->done = done;
        p->retries = retries;
        take_sample(p, now);
        show_text(p, now, false);
        show_json(p, now, false);
}

void progress_free(struct progress *p)
{
        if (!p)
                return;
        end_phase(p);
        free(p);
}

/* --- the option --progress-fd --- */

static bool is_writable(int fd)
{
        int flags = fcntl(fd, F_GETFL);

        return flags >= 0 && (flags & O_ACCMODE) != O_RDONLY;
}

int progress_check_fd(uint64_t fd, struct error *e)
{
        if (fd == 0)
                return 0;
        if (fd < 3)
                return error_set(e, ERROR_USAGE, EINVAL,
                                 "--progress-fd: 1 and 2 are for text; open another one");
        if (is_writable((int)fd))
                return 0;
        error_set(e, ERROR_USAGE, EBADF, "--progress-fd: descriptor %u is not open for writing",
                  (unsigned)fd);
        error_advise(e, "open it for the agent, e.g. --progress-fd 3 3>FILE");
        return -EBADF;
}

struct progress *progress_open(bool json, uint64_t fd)
{
        return progress_open_with(json, fd, NULL, NULL);
}

struct progress *progress_open_with(bool json, uint64_t fd,
                                    void (*line)(const char *text, void *arg), void *arg)
{
        bool terminal = !line && isatty(STDERR_FILENO);
        const struct progress_options options = {.text_fd =
                                                         json && !terminal ? -EBADF : STDERR_FILENO,
                                                 .terminal = terminal,
                                                 .json_fd = fd > 0 ? (int)fd : -EBADF,
                                                 .line = line,
                                                 .line_arg = arg};

        return progress_new(&options);
}
