/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tb-guest: the tests' hand inside a virtual machine.
 *
 * Serves JSON lines on the virtio-serial port "tbctl"; one request, one answer:
 *
 *   {"id":1,"argv":["ls"],"stdin":"<base64>","timeout":60}
 *   {"id":1,"rc":0,"stdout":"<base64>","stderr":"<base64>"}
 *
 * A command ended by a signal has rc 128+n and "signal":n, one that ran out of time "timeout":true.
 * Files are read and written by commands too. The first line is {"ready":true,"uptime":seconds}.
 * Without such a port the program ends with success: the same image runs on real machines.
 *
 * Build: cc -std=gnu11 -D_GNU_SOURCE tb-guest.c $(pkg-config --cflags --libs json-c)
 */
#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define OUTPUT_MAX (4U << 20)
#define ARGV_MAX 256
#define TIMEOUT_DEFAULT 120

static const char BASE64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

struct bytes {
        unsigned char *data;
        size_t size;
};

static void *must(void *p)
{
        if (!p) {
                perror("tb-guest");
                exit(EXIT_FAILURE);
        }
        return p;
}

/* Beyond the limit bytes are read and dropped, so that the writer is not stopped. */
static void bytes_add(struct bytes *b, const void *data, size_t size)
{
        if (size > OUTPUT_MAX - b->size)
                size = OUTPUT_MAX - b->size;
        if (size == 0)
                return;
        b->data = must(realloc(b->data, b->size + size));
        memcpy(b->data + b->size, data, size);
        b->size += size;
}

static bool bytes_read(struct bytes *b, int fd)
{
        char chunk[65536];
        ssize_t n = read(fd, chunk, sizeof(chunk));

        if (n <= 0)
                return n < 0 && (errno == EINTR || errno == EAGAIN);
        bytes_add(b, chunk, (size_t)n);
        return true;
}

static void answer_bytes(struct json_object *answer, const char *key, struct bytes *b)
{
        char *text = must(malloc(4 * (b->size + 2) / 3 + 4)), *p = text;

        for (size_t i = 0; i < b->size; i += 3) {
                size_t left = b->size - i;
                unsigned v = (unsigned)b->data[i] << 16;
                v |= left > 1 ? (unsigned)b->data[i + 1] << 8 : 0;
                v |= left > 2 ? b->data[i + 2] : 0;
                *p++ = BASE64[v >> 18];
                *p++ = BASE64[v >> 12 & 63];
                *p++ = left > 1 ? BASE64[v >> 6 & 63] : '=';
                *p++ = left > 2 ? BASE64[v & 63] : '=';
        }
        json_object_object_add(answer, key, json_object_new_string_len(text, (int)(p - text)));
        free(text);
        free(b->data);
        *b = (struct bytes){0};
}

static struct bytes request_bytes(struct json_object *request, const char *key)
{
        const char *text = json_object_get_string(json_object_object_get(request, key));
        struct bytes b = {0};
        const char *digit;
        unsigned v = 0;
        int bits = 0;

        if (!text)
                return b;
        b.data = must(malloc(strlen(text) + 1));
        for (; *text && (digit = strchr(BASE64, *text)); text++) {
                v = v << 6 | (unsigned)(digit - BASE64);
                bits += 6;
                if (bits >= 8) {
                        bits -= 8;
                        b.data[b.size++] = (unsigned char)(v >> bits);
                }
        }
        return b;
}

static void answer_errno(struct json_object *answer, const char *what)
{
        struct bytes b = {0};
        char text[512];
        int n = snprintf(text, sizeof(text), "%s: %s\n", what, strerror(errno));

        bytes_add(&b, text, (size_t)n < sizeof(text) ? (size_t)n : sizeof(text) - 1);
        json_object_object_add(answer, "rc", json_object_new_int(1));
        answer_bytes(answer, "stderr", &b);
}

static bool write_all(int fd, const void *data, size_t size)
{
        for (const char *p = data; size > 0;) {
                ssize_t n = write(fd, p, size);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return false;
                p += n;
                size -= (size_t)n;
        }
        return true;
}

/* The child's standard input is an unlinked file: it can be of any size and needs no feeding. */
static int input_file(struct bytes data)
{
        int fd = (int)syscall(SYS_memfd_create, "stdin", 0);

        if (fd >= 0 && write_all(fd, data.data, data.size))
                lseek(fd, 0, SEEK_SET);
        free(data.data);
        return fd;
}

static pid_t start(char **argv, int in, int out, int err)
{
        pid_t pid = fork();

        if (pid != 0)
                return pid;
        setpgid(0, 0);
        if (dup2(in, 0) < 0 || dup2(out, 1) < 0 || dup2(err, 2) < 0)
                _exit(126);
        close_range(3, ~0U, 0);
        execvp(argv[0], argv);
        dprintf(2, "%s: %s\n", argv[0], strerror(errno));
        _exit(127);
}

static int milliseconds_left(const struct timespec *end)
{
        struct timespec now;

        clock_gettime(CLOCK_MONOTONIC, &now);
        long long ms = (end->tv_sec - now.tv_sec) * 1000LL + (end->tv_nsec - now.tv_nsec) / 1000000;
        return ms > 0 ? (int)ms : 0;
}

/* Ends with the command itself, not with the last holder of its pipes: a daemon it left behind may
 * keep them open. */
static bool collect(int pidfd, int out, int err, int seconds, struct bytes *ret_out,
                    struct bytes *ret_err)
{
        struct pollfd fds[] = {{out, POLLIN, 0}, {err, POLLIN, 0}, {pidfd, POLLIN, 0}};
        struct bytes *to[] = {ret_out, ret_err};
        struct timespec end;
        bool ended = false;

        clock_gettime(CLOCK_MONOTONIC, &end);
        end.tv_sec += seconds;
        for (;;) {
                int n = poll(fds, 3, ended ? 0 : milliseconds_left(&end));
                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0)
                        return ended;
                for (int i = 0; i < 2; i++)
                        if (fds[i].revents && !bytes_read(to[i], fds[i].fd))
                                fds[i].fd = -1;
                if (fds[2].revents) {
                        ended = true;
                        fds[2].fd = -1;
                }
        }
}

static void serve_command(struct json_object *answer, char **argv, struct bytes input, int seconds)
{
        int in = input_file(input), out[2], err[2], status = 0;
        struct bytes output = {0}, errors = {0};

        if (in < 0 || pipe2(out, O_CLOEXEC) < 0 || pipe2(err, O_CLOEXEC) < 0) {
                answer_errno(answer, "pipe");
                return;
        }
        pid_t pid = start(argv, in, out[1], err[1]);
        int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
        close(in);
        close(out[1]);
        close(err[1]);
        if (!collect(pidfd, out[0], err[0], seconds, &output, &errors)) {
                kill(-pid, SIGKILL);
                json_object_object_add(answer, "timeout", json_object_new_boolean(true));
        }
        waitpid(pid, &status, 0);
        close(pidfd);
        close(out[0]);
        close(err[0]);
        if (WIFSIGNALED(status))
                json_object_object_add(answer, "signal", json_object_new_int(WTERMSIG(status)));
        int rc = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
        json_object_object_add(answer, "rc", json_object_new_int(rc));
        answer_bytes(answer, "stdout", &output);
        answer_bytes(answer, "stderr", &errors);
}

static void serve(struct json_object *request, struct json_object *answer)
{
        struct json_object *list = json_object_object_get(request, "argv");
        char *argv[ARGV_MAX + 1] = {0};

        json_object_object_add(answer, "id",
                               json_object_get(json_object_object_get(request, "id")));
        size_t n = json_object_is_type(list, json_type_array) ? json_object_array_length(list) : 0;
        if (n == 0 || n > ARGV_MAX) {
                errno = EINVAL;
                answer_errno(answer, "argv");
                return;
        }
        for (size_t i = 0; i < n; i++)
                argv[i] = must(strdup(json_object_get_string(json_object_array_get_idx(list, i))));
        int seconds = json_object_get_int(json_object_object_get(request, "timeout"));
        serve_command(answer, argv, request_bytes(request, "stdin"),
                      seconds > 0 ? seconds : TIMEOUT_DEFAULT);
        for (size_t i = 0; i < n; i++)
                free(argv[i]);
}

static bool say(int fd, struct json_object *message)
{
        const char *text = json_object_to_json_string_ext(message, JSON_C_TO_STRING_PLAIN);
        bool ok = write_all(fd, text, strlen(text)) && write_all(fd, "\n", 1);

        json_object_put(message);
        return ok;
}

int main(void)
{
        struct json_object *hello = json_object_new_object();
        struct timespec up;
        char *line = NULL;
        size_t size = 0;
        int fd = open("/dev/virtio-ports/tbctl", O_RDWR | O_CLOEXEC);

        if (fd < 0)
                return EXIT_SUCCESS;
        signal(SIGPIPE, SIG_IGN);
        clock_gettime(CLOCK_BOOTTIME, &up);
        json_object_object_add(hello, "ready", json_object_new_boolean(true));
        json_object_object_add(
                hello, "uptime",
                json_object_new_double((double)up.tv_sec + (double)up.tv_nsec / 1e9));
        if (!say(fd, hello))
                return EXIT_FAILURE;
        FILE *port = must(fdopen(fd, "re"));
        while (getline(&line, &size, port) >= 0) {
                struct json_object *request = json_tokener_parse(line);
                struct json_object *answer = json_object_new_object();
                if (request)
                        serve(request, answer);
                json_object_put(request);
                if (!say(fd, answer))
                        return EXIT_FAILURE;
        }
        free(line);
        return EXIT_SUCCESS;
}
