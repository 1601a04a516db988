/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Images from servers that drop, redirect, let tokens end and lie, through the real sandboxed
 * child. The servers are those of tests/registry, run by fetch_server.py.
 */
#include "upgrade/fetch.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/limits.h"
#include "base/sandbox_child.h"
#include "tests/unit/scratch.h"

#define SERVER "tests/integration/fetch_server.py"
#define MANY 64u

static const struct env env = ENV_INIT;

/* One line of what a server saw. */
struct seen {
        int port;
        char kind[16];
        int status;
        char range[48];
        bool auth;
        uint64_t sent;
};

struct world {
        struct scratch folder;
        struct scratch spool;
        pid_t pid;
        FILE *in, *out;
        int port, other;
        struct buf image;
        char host[128], ca[128], login[128];
        const char *insecure[1], *mirrors[1];
        struct fetch_options options;
        struct source_name name;
        struct fetch *fetch;
        const struct fetch_info *info;
        struct error error;
        struct buf got;
        unsigned n_seen;
        struct seen seen[MANY];
};

/* --- servers -----------------------------------------------------------------------------------*/

static void start(struct world *w, const char *scenario)
{
        int to[2], from[2];

        assert_int_equal(pipe2(to, O_CLOEXEC), 0);
        assert_int_equal(pipe2(from, O_CLOEXEC), 0);
        w->pid = fork();
        assert_true(w->pid >= 0);
        if (w->pid == 0) {
                if (dup2(to[0], 0) < 0 || dup2(from[1], 1) < 0)
                        _exit(127);
                (void)execl("/usr/bin/python3", "python3", SERVER, scenario, w->folder.path,
                            (char *)NULL);
                _exit(127);
        }
        (void)close(to[0]);
        (void)close(from[1]);
        w->in = fdopen(to[1], "w");
        w->out = fdopen(from[0], "r");
        assert_true(w->in && w->out);
        assert_true(fscanf(w->out, "%d", &w->port) == 1);
        if (fgetc(w->out) == ' ')
                assert_int_equal(fscanf(w->out, "%d", &w->other), 1);
        assert_int_equal(file_read(w->folder.fd, "image", &w->image), 0);
}

/* Ends the server and reads what it saw. */
static void stop(struct world *w)
{
        struct seen *s = w->seen;
        char auth[8];
        int status;

        assert_int_equal(fclose(w->in), 0);
        w->in = NULL;
        while (w->n_seen < MANY && fscanf(w->out, "%d %15s %d %47s %7s %lu", &s->port, s->kind,
                                          &s->status, s->range, auth, &s->sent) == 6) {
                s->auth = strcmp(auth, "auth") == 0;
                s = &w->seen[++w->n_seen];
        }
        (void)fclose(w->out);
        assert_int_equal(waitpid(w->pid, &status, 0), w->pid);
        w->pid = 0;
        assert_int_equal(status, 0);
}

static unsigned count(const struct world *w, int port, const char *kind)
{
        unsigned n = 0;

        for (unsigned i = 0; i < w->n_seen; i++)
                n += w->seen[i].port == port && strcmp(w->seen[i].kind, kind) == 0;
        return n;
}

static uint64_t sent(const struct world *w, const char *kind)
{
        uint64_t n = 0;

        for (unsigned i = 0; i < w->n_seen; i++) {
                if (strcmp(w->seen[i].kind, kind) == 0 && w->seen[i].status < 300)
                        n += w->seen[i].sent;
        }
        return n;
}

/* --- fetching ----------------------------------------------------------------------------------*/

static int set_up(void **state)
{
        struct world *w = calloc(1, sizeof(*w));

        assert_non_null(w);
        scratch_make(&w->folder);
        scratch_make(&w->spool);
        w->image = (struct buf)BUF_INIT(16 * MIB);
        w->got = (struct buf)BUF_INIT(16 * MIB);
        w->options =
                (struct fetch_options){.env = &env, .spool = -EBADF, .attempts = 3, .delay_ms = 20};
        *state = w;
        return 0;
}

static int tear_down(void **state)
{
        struct world *w = *state;

        fetch_free(w->fetch);
        source_name_done(&w->name);
        if (w->pid > 0)
                stop(w);
        buf_done(&w->image);
        buf_done(&w->got);
        scratch_clean(&w->folder);
        scratch_clean(&w->spool);
        free(w);
        return 0;
}

/* form has the place of HOST:PORT as %s. */
static void open_source(struct world *w, const char *form)
{
        char text[256];

        (void)snprintf(w->host, sizeof(w->host), "localhost:%d", w->port);
        (void)snprintf(w->ca, sizeof(w->ca), "%s/ca.pem", w->folder.path);
        (void)snprintf(w->login, sizeof(w->login), "%s/auth.json", w->folder.path);
        if (file_exists(w->folder.fd, "ca.pem")) {
                w->options.ca_file = w->ca;
        } else {
                w->insecure[0] = w->host;
                w->options.insecure = w->insecure;
                w->options.n_insecure = 1;
        }
        if (file_exists(w->folder.fd, "auth.json"))
                w->options.auth_file = w->login;
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        (void)snprintf(text, sizeof(text), form, w->host);
#pragma GCC diagnostic pop
        fetch_free(w->fetch);
        w->fetch = NULL;
        source_name_done(&w->name);
        assert_int_equal(source_name_parse(text, &w->name, &w->error), 0);
        assert_int_equal(fetch_open(&w->name, &w->options, &w->fetch, &w->error), 0);
}

static void expect_ok(const struct world *w, int r)
{
        if (r < 0)
                fail_msg("%s: %s", error_class_name(w->error.class), w->error.text);
}

static int resolve(struct world *w)
{
        return fetch_resolve(w->fetch, &w->info, &w->error);
}

/* Everything from an offset on. */
static int pull(struct world *w, uint64_t offset)
{
        int r = fetch_begin(w->fetch, offset, &w->error);

        buf_reset(&w->got);
        while (r == 0) {
                uint8_t *to;
                ssize_t n;

                assert_int_equal(buf_reserve(&w->got, FILE_CHUNK, &to), 0);
                n = fetch_read(w->fetch, to, FILE_CHUNK, &w->error);
                if (n <= 0)
                        return (int)n;
                buf_commit(&w->got, (size_t)n);
        }
        return r;
}

static void expect_image(const struct world *w, uint64_t offset)
{
        assert_int_equal(w->got.len, w->image.len - offset);
        assert_memory_equal(w->got.data, w->image.data + offset, w->got.len);
}

static void pull_image(struct world *w, const char *form)
{
        open_source(w, form);
        expect_ok(w, resolve(w));
        expect_ok(w, pull(w, 0));
        expect_image(w, 0);
}

/* --- files -------------------------------------------------------------------------------------*/

static void test_file(void **state)
{
        struct world *w = *state;

        start(w, "plain");
        pull_image(w, "http://%s/files/x");
        assert_true(w->info->seekable);
        assert_int_equal(w->info->size, w->image.len);
        assert_false(w->info->has_image_sha256);
        expect_ok(w, pull(w, 1000));
        expect_image(w, 1000);
        expect_ok(w, pull(w, w->image.len));
        assert_int_equal(w->got.len, 0);
        assert_false(fetch_again(w->fetch));
}

static void test_file_not_there(void **state)
{
        struct world *w = *state;

        start(w, "plain");
        open_source(w, "http://%s/nothing");
        assert_int_equal(resolve(w), -ENOENT);
        assert_int_equal(w->error.class, ERROR_REFUSED);
        stop(w);
        assert_int_equal(w->n_seen, 1);
}

static void test_http_unnamed(void **state)
{
        struct world *w = *state;

        start(w, "plain");
        assert_int_equal(source_name_parse("http://localhost/x", &w->name, NULL), 0);
        assert_int_equal(fetch_open(&w->name, &w->options, &w->fetch, &w->error), -EPERM);
        assert_true(*w->error.advice);
}

static void test_drops(void **state)
{
        struct world *w = *state;

        start(w, "drops");
        pull_image(w, "http://%s/files/x");
        assert_int_equal(fetch_counters(w->fetch)->retries, 3);
        stop(w);
        assert_int_equal(w->n_seen, 5);
        assert_string_equal(w->seen[0].range, "bytes=0-511");
        assert_string_equal(w->seen[1].range, "-");
        assert_string_equal(w->seen[2].range, "bytes=1048577-");
        assert_string_equal(w->seen[3].range, "bytes=2097154-");
        assert_true(sent(w, "files") <= w->image.len + 512);
}

static void test_skipping(void **state)
{
        struct world *w = *state;

        start(w, "skipping");
        pull_image(w, "http://%s/files/x");
        stop(w);
        assert_int_equal(sent(w, "files"), w->image.len + MIB + 512);
}

static void test_stalls(void **state)
{
        struct world *w = *state;

        start(w, "stalls");
        w->options.low_speed_seconds = 1;
        w->options.attempts = 1;
        open_source(w, "http://%s/files/x");
        expect_ok(w, resolve(w));
        assert_int_equal(pull(w, 0), -ETIMEDOUT);
        assert_int_equal(w->error.class, ERROR_SOURCE);
        assert_true(w->got.len > 0 && w->got.len < w->image.len);
}

static void test_nobody_there(void **state)
{
        struct world *w = *state;

        w->port = 1;
        scratch_put_text(&w->folder, "ca.pem", "-----BEGIN CERTIFICATE-----\n");
        open_source(w, "oci:%s/team/demo");
        assert_true(resolve(w) < 0);
        assert_int_equal(w->error.class, ERROR_SOURCE);
        assert_non_null(strstr(w->error.text, "gave up after 3 tries"));
}

/* --- registries --------------------------------------------------------------------------------*/

static void test_plain_registry(void **state)
{
        struct world *w = *state;

        start(w, "plain");
        pull_image(w, "oci:%s/team/demo");
        assert_true(w->info->has_image_sha256 && w->info->seekable);
        assert_int_equal(w->info->size, w->image.len);
        assert_memory_equal(w->info->manifest, "sha256:", 7);
        expect_ok(w, pull(w, w->image.len - 1));
        expect_image(w, w->image.len - 1);
}

static void test_tokens(void **state)
{
        struct world *w = *state;

        start(w, "tokens");
        pull_image(w, "oci:%s/team/demo");
        stop(w);
        assert_int_equal(count(w, w->port, "token"), 4);
        assert_int_equal(sent(w, "blob"), w->image.len);
}

static void test_wrong_login(void **state)
{
        struct world *w = *state;

        start(w, "tokens");
        scratch_put_text(&w->folder, "auth.json", "{}");
        open_source(w, "oci:%s/team/demo");
        assert_int_equal(resolve(w), -EACCES);
        assert_int_equal(w->error.class, ERROR_REFUSED);
        assert_true(*w->error.advice);
}

static void test_redirect_carries_no_login(void **state)
{
        struct world *w = *state;

        start(w, "storage");
        pull_image(w, "oci:%s/team/demo");
        stop(w);
        assert_int_equal(count(w, w->other, "files"), 2);
        assert_int_equal(count(w, w->port, "blob"), 2);
        for (unsigned i = 0; i < w->n_seen; i++) {
                if (w->seen[i].port == w->other)
                        assert_false(w->seen[i].auth);
                else if (strcmp(w->seen[i].kind, "blob") == 0)
                        assert_true(w->seen[i].auth);
        }
        assert_int_equal(sent(w, "files"), w->image.len);
}

static void test_mirror_that_lies(void **state)
{
        struct world *w = *state;
        char mirror[128];

        start(w, "liar");
        (void)snprintf(mirror, sizeof(mirror), "localhost:%d=https://localhost:%d", w->port,
                       w->other);
        w->mirrors[0] = mirror;
        w->options.mirrors = w->mirrors;
        w->options.n_mirrors = 1;
        open_source(w, "oci:%s/team/demo");
        expect_ok(w, resolve(w));
        assert_int_equal(pull(w, 0), -EBADMSG);
        assert_int_equal(w->error.class, ERROR_REFUSED);
        assert_true(fetch_again(w->fetch));
        expect_ok(w, pull(w, 0));
        expect_image(w, 0);
        assert_false(fetch_again(w->fetch));
        stop(w);
        assert_true(count(w, w->other, "manifest") > 0 && count(w, w->port, "manifest") == 0);
}

/* The verifier stops in the middle; who is to blame is found out nevertheless. */
static void test_mirror_that_lies_in_the_middle(void **state)
{
        struct world *w = *state;
        char mirror[128], byte;

        start(w, "liar");
        (void)snprintf(mirror, sizeof(mirror), "localhost:%d=https://localhost:%d", w->port,
                       w->other);
        w->mirrors[0] = mirror;
        w->options.mirrors = w->mirrors;
        w->options.n_mirrors = 1;
        open_source(w, "oci:%s/team/demo");
        expect_ok(w, resolve(w));
        expect_ok(w, fetch_begin(w->fetch, 0, &w->error));
        assert_int_equal(fetch_read(w->fetch, &byte, 1, &w->error), 1);
        assert_true(fetch_again(w->fetch));
        expect_ok(w, pull(w, 0));
        expect_image(w, 0);
}

/* --- layers and the spool ----------------------------------------------------------------------*/

static void test_layers(void **state)
{
        struct world *w = *state;

        start(w, "layers");
        w->options.want_loader = true;
        pull_image(w, "oci:%s/team/demo");
        assert_false(w->info->seekable);
        assert_int_equal(fetch_loader(w->fetch)->len, 6000);
        assert_int_equal(fetch_begin(w->fetch, 1, NULL), -EINVAL);
}

static bool stop_now(void *arg)
{
        return *(bool *)arg;
}

static void test_spool(void **state)
{
        struct world *w = *state;
        bool now = false;
        uint64_t have;
        ssize_t n = 1;

        start(w, "layers");
        w->options.spool = w->spool.fd;
        w->options.stop = stop_now;
        w->options.stop_arg = &now;
        open_source(w, "oci:%s/team/demo");
        expect_ok(w, resolve(w));
        expect_ok(w, fetch_begin(w->fetch, 0, &w->error));
        while (n > 0) {
                uint8_t some[65536];

                n = fetch_read(w->fetch, some, sizeof(some), &w->error);
                now = fetch_counters(w->fetch)->network > MIB;
        }
        assert_int_equal(n, -ECANCELED);
        assert_int_equal(w->error.class, ERROR_INTERRUPTED);
        now = false;
        pull_image(w, "oci:%s/team/demo");
        have = fetch_counters(w->fetch)->spooled;
        assert_true(have > MIB / 2);
        assert_true(fetch_counters(w->fetch)->network < w->image.len - have + 65536);
        /* The small layer on top did not take its place. */
        assert_int_equal(fetch_drop_spool(w->spool.fd, &w->error), 0);
        assert_false(file_exists(w->spool.fd, "transfer.blob"));
}

/* --- local -------------------------------------------------------------------------------------*/

static void test_local(void **state)
{
        struct world *w = *state;

        assert_int_equal(buf_add(&w->image, "MZ and more", 11), 0);
        assert_int_equal(file_make_dirs(w->folder.fd, "efi/Kairos", 0700), 0);
        scratch_put(&w->folder, "efi/Kairos/NOROLE.EFI", w->image.data, w->image.len);
        (void)snprintf(w->host, sizeof(w->host), "dir:%s", w->folder.path);
        assert_int_equal(source_name_parse(w->host, &w->name, NULL), 0);
        expect_ok(w, fetch_open(&w->name, &w->options, &w->fetch, &w->error));
        expect_ok(w, resolve(w));
        expect_ok(w, pull(w, 3));
        expect_image(w, 3);
        expect_ok(w, pull(w, 0));
        expect_image(w, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
        const struct CMUnitTest tests[] = {
                TEST(test_file),
                TEST(test_file_not_there),
                TEST(test_http_unnamed),
                TEST(test_drops),
                TEST(test_skipping),
                TEST(test_stalls),
                TEST(test_nobody_there),
                TEST(test_plain_registry),
                TEST(test_tokens),
                TEST(test_wrong_login),
                TEST(test_redirect_carries_no_login),
                TEST(test_mirror_that_lies),
                TEST(test_mirror_that_lies_in_the_middle),
                TEST(test_layers),
                TEST(test_spool),
                TEST(test_local),
        };

        /* Not the bundle of whoever runs this. */
        (void)unsetenv("SSL_CERT_FILE");
        return cmocka_run_group_tests(tests, NULL, NULL);
}
