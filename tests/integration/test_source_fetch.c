/* SPDX-License-Identifier: Apache-2.0 */
/* An image from a server into sealed memory, through the real sandboxed child (fetch_server.py). */
#include "agent/source_fetch.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/limits.h"
#include "tests/unit/scratch.h"

#define SERVER "tests/integration/fetch_server.py"

struct world {
        struct scratch folder;
        char proc[96], host[64], source[128];
        struct env env;
        pid_t pid;
        int to; /* its end ends the server */
        struct buf image, loader;
        const char *insecure[1];
        struct fetch_options options;
        uint64_t total, done;
        struct error e;
};

static void begin(void *arg, uint64_t total)
{
        ((struct world *)arg)->total = total;
}

static void done(void *arg, uint64_t bytes)
{
        ((struct world *)arg)->done = bytes;
}

static int start_server(struct world *w)
{
        int to[2], from[2], port = 0;
        FILE *out;

        assert_int_equal(pipe2(to, O_CLOEXEC) | pipe2(from, O_CLOEXEC), 0);
        w->pid = fork();
        assert_true(w->pid >= 0);
        if (w->pid == 0) {
                if (dup2(to[0], 0) < 0 || dup2(from[1], 1) < 0)
                        _exit(127);
                (void)execl("/usr/bin/python3", "python3", SERVER, "plain", w->folder.path,
                            (char *)NULL);
                _exit(127);
        }
        (void)close(to[0]);
        (void)close(from[1]);
        w->to = to[1];
        out = fdopen(from[0], "r");
        assert_non_null(out);
        assert_int_equal(fscanf(out, "%d", &port), 1);
        (void)fcntl(fileno(out), F_SETFD, FD_CLOEXEC);
        return port;
}

static void memory_is(struct world *w, const char *kib)
{
        char text[64];

        (void)snprintf(text, sizeof(text), "MemTotal: 99 kB\nMemAvailable:   %s kB\n", kib);
        scratch_put_text(&w->folder, "proc/meminfo", text);
}

static int set_up(void **state)
{
        static const struct env own = ENV_INIT;
        struct world *w = calloc(1, sizeof(*w));

        assert_non_null(w);
        *state = w;
        scratch_make(&w->folder);
        (void)snprintf(w->proc, sizeof(w->proc), "%s/proc", w->folder.path);
        assert_int_equal(file_make_dirs(w->folder.fd, "proc", 0755), 0);
        memory_is(w, "1048576");
        w->env = own;
        w->env.proc = w->proc;
        w->image = (struct buf)BUF_INIT(16 * MIB);
        w->loader = (struct buf)BUF_INIT(LIMIT_BOOT_LOADER);
        (void)snprintf(w->host, sizeof(w->host), "localhost:%d", start_server(w));
        assert_int_equal(file_read(w->folder.fd, "image", &w->image), 0);
        w->insecure[0] = w->host;
        w->options = (struct fetch_options){.env = &own,
                                            .spool = -EBADF,
                                            .attempts = 1,
                                            .delay_ms = 20,
                                            .insecure = w->insecure,
                                            .n_insecure = 1};
        return 0;
}

static int tear_down(void **state)
{
        struct world *w = *state;

        close_p(&w->to);
        assert_int_equal(waitpid(w->pid, NULL, 0), w->pid);
        buf_done(&w->image);
        buf_done(&w->loader);
        scratch_clean(&w->folder);
        free(w);
        return 0;
}

static int fetch(struct world *w, const char *scheme, const char *path, int *fd)
{
        const struct source_transfer t = {
                .env = &w->env, .options = &w->options, .begin = begin, .done = done, .arg = w};

        (void)snprintf(w->source, sizeof(w->source), "%s%s%s", scheme, w->host, path);
        return source_fetch(w->source, &t, fd, &w->loader, &w->e);
}

static void image_is_whole_and_cannot_be_changed(void **state)
{
        struct world *w = *state;
        _cleanup_close_ int fd = -EBADF;
        uint8_t *bytes = malloc(w->image.len);
        struct stat st;

        assert_non_null(bytes);
        if (fetch(w, "http://", "/files/x", &fd) < 0)
                fail_msg("%s", w->e.text);
        assert_int_equal(fstat(fd, &st), 0);
        assert_int_equal(st.st_size, w->image.len);
        assert_int_equal(file_pread(fd, bytes, w->image.len, 0), w->image.len);
        assert_memory_equal(bytes, w->image.data, w->image.len);
        assert_int_equal(w->total, w->image.len);
        assert_int_equal(w->done, w->image.len);
        assert_int_equal(w->loader.len, 0);
        assert_true(pwrite(fd, "x", 1, 0) < 0 && ftruncate(fd, 0) < 0);
        free(bytes);
}

static void protection_is_left_out_for_who_was_named(void **state)
{
        struct world *w = *state;
        int fd = -EBADF;

        w->options.n_insecure = 0;
        assert_true(fetch(w, "http://", "/files/x", &fd) < 0);
        assert_non_null(strstr(w->e.advice, "--insecure"));
        assert_int_equal(fd, -EBADF);
}

/* Told before the download where the size is known, and nothing is taken. */
static void memory_of_the_session_is_left_alone(void **state)
{
        struct world *w = *state;
        int fd = -EBADF;

        memory_is(w, "262144"); /* all of it is the session's */
        assert_int_equal(fetch(w, "http://", "/files/x", &fd), -ENOSPC);
        assert_int_equal(w->e.class, ERROR_SPACE);
        assert_int_equal(w->done, 0);
        assert_non_null(strstr(w->e.advice, "file:PATH"));
}

static void forms_that_are_elsewhere(void **state)
{
        (void)state;
        assert_true(source_fetch_takes("oci:a/b") && source_fetch_takes("https://h/x"));
        assert_true(source_fetch_takes("http://h/x") && source_fetch_takes("ocifile:/x"));
        assert_false(source_fetch_takes("dir:/x") || source_fetch_takes("file:/x"));
        assert_false(source_fetch_takes("ftp://h/x"));
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
        const struct CMUnitTest tests[] = {
                CASE(image_is_whole_and_cannot_be_changed),
                CASE(protection_is_left_out_for_who_was_named),
                CASE(memory_of_the_session_is_left_alone),
                cmocka_unit_test(forms_that_are_elsewhere),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
