/* SPDX-License-Identifier: Apache-2.0 */
/* Descriptors of a sandbox: those it is given at the start, and connections it receives later. */
#include "base/sandbox.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "base/limits.h"

static const struct env env = ENV_INIT;

static struct sandbox_options options(const int *fds, size_t n)
{
        return (struct sandbox_options){.env = &env, .name = "test", .fds = fds, .n_fds = n};
}

static int no_descriptors(void *ctx, const int *fds)
{
        (void)ctx;
        (void)fds;
        return 0;
}

/* Refused before anything starts: kinds of descriptors that lead out. */
static void test_bad_descriptors(void **state)
{
        int pair[2], path = open("/etc/passwd", O_PATH | O_CLOEXEC);
        int fds[] = {
                open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC),
                path,
                open("/dev/null", O_RDWR | O_CLOEXEC),
                socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), /* not connected */
                socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0),
                -1, /* for the pair */
                -1, /* not a descriptor at all */
        };

        (void)state;
        assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, pair), 0);
        fds[5] = pair[0];
        for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
                const struct sandbox_options o = options(&fds[i], 1);
                struct sandbox *s = NULL;
                struct error e = ERROR_INIT;

                assert_int_equal(sandbox_spawn(&o, no_descriptors, NULL, &s, &e), -EINVAL);
                assert_int_equal(e.class, ERROR_INTERNAL);
                assert_int_equal(sandbox_send_fd(pair[1], fds[i]), -EINVAL);
                assert_null(s);
        }
        for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
                close_p(&fds[i]);
        close_p(&pair[1]);
}

static void test_bad_options(void **state)
{
        struct sandbox_options o = options(NULL, 0);
        struct sandbox *s = NULL;

        (void)state;
        o.may_miss = SANDBOX_SECCOMP;
        assert_int_equal(sandbox_spawn(&o, no_descriptors, NULL, &s, NULL), -EINVAL);
        o = options(NULL, LIMIT_SANDBOX_FDS + 1);
        assert_int_equal(sandbox_spawn(&o, no_descriptors, NULL, &s, NULL), -EINVAL);
        o = options(NULL, 0);
        o.n_received = LIMIT_SANDBOX_RECEIVED_FDS + 1;
        assert_int_equal(sandbox_spawn(&o, no_descriptors, NULL, &s, NULL), -EINVAL);
        assert_null(s);
}

/* Each descriptor gets where it belongs, whatever number it had: the child answers with its place.
 */
static int answer(void *ctx, const int *fds)
{
        const int *n = ctx;

        for (int i = 0; i < *n; i++) {
                char place = (char)('a' + i);

                if (write(fds[i], &place, 1) != 1)
                        return 1;
        }
        return 0;
}

static void test_order(void **state)
{
        int pairs[LIMIT_SANDBOX_FDS][2], fds[LIMIT_SANDBOX_FDS], n = LIMIT_SANDBOX_FDS;
        struct sandbox_options o;
        struct sandbox *s = NULL;
        int status = -1;

        (void)state;
        for (int i = 0; i < n; i++) {
                assert_int_equal(pipe2(pairs[i], O_CLOEXEC), 0);
                fds[n - 1 - i] = pairs[i][1]; /* falling numbers, so that ranges overlap */
        }
        o = options(fds, (size_t)n);
        assert_int_equal(sandbox_spawn(&o, answer, &n, &s, NULL), 0);
        assert_int_equal(sandbox_wait(s, 20000, &status, NULL), 0);
        assert_int_equal(status, 0);
        sandbox_free(s);
        for (int i = 0; i < n; i++) {
                char place = 0;

                close_p(&pairs[i][1]);
                assert_int_equal(read(pairs[i][0], &place, 1), 1);
                assert_int_equal(place, 'a' + n - 1 - i);
                assert_int_equal(read(pairs[i][0], &place, 1), 0); /* the child has it no more */
                close_p(&pairs[i][0]);
        }
}

/* Takes two connections over the control socket; there is room for one. Speaks over the first. */
static int use_connection(void *ctx, const int *fds)
{
        int s = sandbox_receive_fd(fds[0]), on = 1;
        char word[5] = "";

        (void)ctx;
        if (s < 0 || sandbox_receive_fd(fds[0]) != -EBADMSG || sandbox_receive_fd(fds[0]) != -EPIPE)
                return 1;
        if (setsockopt(s, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on)) < 0)
                return 2;
        if (recv(s, word, sizeof(word), MSG_WAITALL) != sizeof(word))
                return 3;
        if (memcmp(word, "hello", 5) != 0 || send(s, "HELLO", 5, MSG_NOSIGNAL) != 5)
                return 4;
        return 0;
}

/* A connection on loopback: the near end in [0], the far end in [1]. */
static void connect_pair(int ret[2])
{
        struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        _cleanup_close_ int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        socklen_t n = sizeof(a);

        assert_int_equal(bind(listener, (struct sockaddr *)&a, sizeof(a)), 0);
        assert_int_equal(listen(listener, 1), 0);
        assert_int_equal(getsockname(listener, (struct sockaddr *)&a, &n), 0);
        ret[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_int_equal(connect(ret[0], (struct sockaddr *)&a, sizeof(a)), 0);
        ret[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        assert_true(ret[1] >= 0);
}

static void test_passing(void **state)
{
        struct sandbox_options o;
        struct sandbox *s = NULL;
        char word[5] = "";
        int control[2], tcp[2], status = -1;

        (void)state;
        assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, control), 0);
        o = options(control, 1);
        o.n_received = 1;
        assert_int_equal(sandbox_spawn(&o, use_connection, NULL, &s, NULL), 0);
        close_p(&control[0]);
        connect_pair(tcp);
        assert_int_equal(sandbox_send_fd(control[1], tcp[0]), 0);
        assert_int_equal(sandbox_send_fd(control[1], tcp[0]), 0);
        close_p(&tcp[0]);
        close_p(&control[1]);
        assert_int_equal(send(tcp[1], "hello", 5, MSG_NOSIGNAL), 5);
        assert_int_equal(recv(tcp[1], word, 5, MSG_WAITALL), 5);
        assert_memory_equal(word, "HELLO", 5);
        assert_int_equal(recv(tcp[1], word, 1, 0), 0);
        assert_int_equal(sandbox_wait(s, 20000, &status, NULL), 0);
        assert_int_equal(status, 0);
        close_p(&tcp[1]);
        sandbox_free(s);
}

/* The network of a received connection is the parent's; it must not be usable for another peer. */
static int reconnect(void *ctx, const int *fds)
{
        int s = sandbox_receive_fd(fds[0]);

        if (s < 0)
                return 1;
        /* Said to be on its way, and never done. */
        return connect(s, ctx, sizeof(struct sockaddr_in)) == -1 && errno == EINPROGRESS ? 0 : 2;
}

static int resend(void *ctx, const int *fds)
{
        struct iovec data = {.iov_base = (char[]){'x'}, .iov_len = 1};
        struct msghdr m = {.msg_name = ctx,
                           .msg_namelen = sizeof(struct sockaddr_in),
                           .msg_iov = &data,
                           .msg_iovlen = 1};
        int s = sandbox_receive_fd(fds[0]);

        if (s < 0 || shutdown(s, SHUT_RDWR) < 0)
                return 1;
        if (sendmsg(s, &m, MSG_NOSIGNAL) == 1)
                return 2;
        (void)sendmsg(s, &m, MSG_FASTOPEN | MSG_NOSIGNAL);
        return 3;
}

static void test_other_peer(void **state)
{
        static const struct {
                sandbox_main run;
                int result;
        } tries[] = {{reconnect, 0}, {resend, -EPERM}};
        _cleanup_close_ int other = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        socklen_t n = sizeof(a);

        (void)state;
        assert_int_equal(bind(other, (struct sockaddr *)&a, sizeof(a)), 0);
        assert_int_equal(listen(other, 8), 0);
        assert_int_equal(getsockname(other, (struct sockaddr *)&a, &n), 0);
        for (size_t i = 0; i < ARRAY_SIZE(tries); i++) {
                struct sandbox_options o;
                struct sandbox *s = NULL;
                struct error e = ERROR_INIT;
                int control[2], tcp[2], status = -1;

                assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, control), 0);
                o = options(control, 1);
                o.n_received = 1;
                assert_int_equal(sandbox_spawn(&o, tries[i].run, &a, &s, NULL), 0);
                connect_pair(tcp);
                assert_int_equal(sandbox_send_fd(control[1], tcp[0]), 0);
                assert_int_equal(sandbox_wait(s, 20000, &status, &e), tries[i].result);
                if (tries[i].result == 0)
                        assert_int_equal(status, 0);
                for (int j = 0; j < 2; j++) {
                        close_p(&control[j]);
                        close_p(&tcp[j]);
                }
                sandbox_free(s);
        }
        assert_int_equal(accept4(other, NULL, NULL, SOCK_CLOEXEC), -1);
        assert_int_equal(errno, EAGAIN);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_bad_descriptors), cmocka_unit_test(test_bad_options),
                cmocka_unit_test(test_order),           cmocka_unit_test(test_passing),
                cmocka_unit_test(test_other_peer),
        };

        if (geteuid() != 0) {
                (void)puts("1..0 # SKIP only root can build the full sandbox");
                return 0;
        }
        return cmocka_run_group_tests(tests, NULL, NULL);
}
