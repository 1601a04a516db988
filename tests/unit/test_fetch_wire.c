/* SPDX-License-Identifier: Apache-2.0 */
/* What is believed of a child that may have been taken over, and where it may connect to. */
#include "upgrade/fetch_wire.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "upgrade/fetch_broker.h"

static void test_headers(void **state)
{
        static const struct {
                struct wire_header h;
                bool fits;
        } table[] = {
                {{.type = WIRE_DATA, .length = 1}, true},
                {{.type = WIRE_DATA, .length = LIMIT_FETCH_FRAME}, true},
                {{.type = WIRE_DATA, .length = LIMIT_FETCH_FRAME + 1}, false},
                {{.type = WIRE_DATA, .length = UINT32_MAX}, false},
                {{.type = WIRE_DATA, .length = 0}, false},
                {{.type = WIRE_DATA, .length = 1, .zero = 1}, false},
                {{.type = WIRE_LOADER, .length = 7}, true},
                {{.type = WIRE_SPOOL, .length = 7}, true},
                {{.type = WIRE_SPOOL, .length = 0}, false},
                {{.type = WIRE_INFO, .length = sizeof(struct wire_info)}, true},
                {{.type = WIRE_INFO, .length = sizeof(struct wire_info) - 1}, false},
                {{.type = WIRE_ERROR, .length = sizeof(struct wire_error)}, true},
                {{.type = WIRE_ERROR, .length = 0}, false},
                {{.type = WIRE_NOTE, .length = sizeof(struct wire_error) + 1}, false},
                {{.type = WIRE_END, .length = 0}, true},
                {{.type = WIRE_END, .length = 1}, false},
                {{.type = 0, .length = 0}, false},
                {{.type = WIRE_TYPE_MAX, .length = 0}, false},
                {{.type = UINT32_MAX, .length = 0}, false},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(table); i++)
                assert_int_equal(wire_header_check(&table[i].h), table[i].fits ? 0 : -EBADMSG);
}

/* A child cannot say that all is well, or that something else is wrong than the source. */
static void test_error_classes(void **state)
{
        (void)state;
        for (uint32_t n = 0; n < ERROR_CLASS_MAX + 3; n++) {
                const struct wire_error w = {.class = n, .code = EIO, .text = "x"};
                struct error e = ERROR_INIT;
                bool allowed = n == ERROR_INTERNAL || n == ERROR_USAGE || n == ERROR_CONFIG ||
                               n == ERROR_SOURCE;

                bool call = n == ERROR_SPACE || n == ERROR_BUSY || n == ERROR_IO ||
                            n == ERROR_PRECONDITION || n == ERROR_INTERRUPTED;

                assert_int_equal(wire_error_take(&w, &e), -EIO);
                assert_int_equal(e.class, allowed ? n : call ? ERROR_SOURCE : ERROR_REFUSED);
        }
}

static void test_error_content(void **state)
{
        static const uint32_t codes[] = {0, 4096, UINT32_MAX, (uint32_t)INT32_MIN};
        struct wire_error w = {.class = ERROR_SOURCE};
        struct error e = ERROR_INIT;

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(codes); i++) {
                w.code = codes[i];
                assert_int_equal(wire_error_take(&w, &e), -EPROTO);
                assert_true(*e.text);
        }
        memset(w.text, 'a', sizeof(w.text));
        memcpy(w.text, "\x1b[2J%s%n", 8);
        memset(w.advice, 0xff, sizeof(w.advice));
        (void)wire_error_take(&w, &e);
        assert_memory_equal(e.text, "?[2J%s%naaa", 11);
        assert_int_equal(strlen(e.text), sizeof(w.text) - 1);
        assert_int_equal(strspn(e.advice, "?"), sizeof(e.advice) - 1);
}

static void test_messages(void **state)
{
        struct wire_ask ask = {.kind = WIRE_READ, .value = 7}, got;
        char rest[8];
        int fds[2];

        (void)state;
        assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, fds), 0);
        assert_int_equal(wire_put(fds[0], &ask, sizeof(ask), NULL, 0), 0);
        assert_int_equal(wire_receive(fds[1], &got, sizeof(got), NULL, 0), sizeof(ask));
        assert_memory_equal(&ask, &got, sizeof(ask));
        /* Too short, too long, and with a rest. */
        assert_int_equal(wire_put(fds[0], &ask, sizeof(ask) - 1, NULL, 0), 0);
        assert_int_equal(wire_receive(fds[1], &got, sizeof(got), NULL, 0), -EBADMSG);
        assert_int_equal(wire_put(fds[0], &ask, sizeof(ask), "123456789", 9), 0);
        assert_int_equal(wire_receive(fds[1], &got, sizeof(got), rest, sizeof(rest)), -EBADMSG);
        assert_int_equal(wire_put(fds[0], &ask, sizeof(ask), "1234", 4), 0);
        assert_int_equal(wire_receive(fds[1], &got, sizeof(got), rest, sizeof(rest)),
                         sizeof(ask) + 4);
        assert_memory_equal(rest, "1234", 4);
        assert_int_equal(wire_receive(fds[1], &got, sizeof(got), NULL, 0), -EAGAIN);
        /* Who takes no answers makes the sender fail, not wait. */
        for (int i = 0, r = 0; r == 0; i++) {
                r = wire_put(fds[0], &ask, sizeof(ask), NULL, 0);
                assert_true(r == 0 || r == -EAGAIN);
                assert_true(i < 100000);
        }
        (void)close(fds[0]);
        while (wire_receive(fds[1], &got, sizeof(got), NULL, 0) > 0) {
        }
        assert_int_equal(wire_receive(fds[1], &got, sizeof(got), NULL, 0), 0);
        (void)close(fds[1]);
}

/* Descriptors that come along are not taken. */
static void test_no_descriptors(void **state)
{
        struct wire_ask ask = {.kind = WIRE_READ}, got;
        union {
                struct cmsghdr header;
                char space[CMSG_SPACE(sizeof(int))];
        } rights = {.space = {0}};
        struct iovec data = {.iov_base = &ask, .iov_len = sizeof(ask)};
        struct msghdr m = {.msg_iov = &data,
                           .msg_iovlen = 1,
                           .msg_control = &rights,
                           .msg_controllen = sizeof(rights.space)};
        struct cmsghdr *c = CMSG_FIRSTHDR(&m);
        int fds[2], next;

        (void)state;
        assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, fds), 0);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(c), &fds[0], sizeof(int));
        assert_int_equal(sendmsg(fds[0], &m, 0), sizeof(ask));
        next = dup(0);
        (void)close(next);
        assert_int_equal(wire_receive(fds[1], &got, sizeof(got), NULL, 0), -EBADMSG);
        assert_int_equal(fcntl(next, F_GETFD), -1);
        (void)close(fds[0]);
        (void)close(fds[1]);
}

static enum broker_zone zone_of(const char *text)
{
        struct sockaddr_in v4 = {.sin_family = AF_INET};
        struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};

        if (inet_pton(AF_INET, text, &v4.sin_addr) == 1)
                return broker_zone((struct sockaddr *)&v4);
        assert_int_equal(inet_pton(AF_INET6, text, &v6.sin6_addr), 1);
        return broker_zone((struct sockaddr *)&v6);
}

static void test_zones(void **state)
{
        static const struct {
                const char *address;
                enum broker_zone zone;
        } table[] = {
                {"192.0.2.1", BROKER_ZONE_NETWORK},
                {"10.0.0.1", BROKER_ZONE_NETWORK},
                {"2001:db8::1", BROKER_ZONE_NETWORK},
                {"fd00::1", BROKER_ZONE_NETWORK},
                {"127.0.0.1", BROKER_ZONE_LOCAL},
                {"127.255.255.254", BROKER_ZONE_LOCAL},
                {"0.0.0.0", BROKER_ZONE_LOCAL},
                {"0.1.2.3", BROKER_ZONE_LOCAL},
                {"::1", BROKER_ZONE_LOCAL},
                {"::", BROKER_ZONE_LOCAL},
                {"::ffff:127.0.0.1", BROKER_ZONE_LOCAL},
                {"64:ff9b::7f00:1", BROKER_ZONE_LOCAL},
                {"169.254.169.254", BROKER_ZONE_LINK},
                {"fe80::1", BROKER_ZONE_LINK},
                {"::ffff:169.254.169.254", BROKER_ZONE_LINK},
                {"224.0.0.1", BROKER_ZONE_NOWHERE},
                {"255.255.255.255", BROKER_ZONE_NOWHERE},
                {"ff02::1", BROKER_ZONE_NOWHERE},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
                if (zone_of(table[i].address) != table[i].zone)
                        fail_msg("%s", table[i].address);
        }
}

/* A listener on loopback that only a host named by the user leads to. */
static void test_broker(void **state)
{
        _cleanup_close_ int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        static const char *const names[] = {"localhost"};
        struct broker b = {.connects = 0};
        struct error e = ERROR_INIT;
        socklen_t n = sizeof(a);
        uint16_t port;
        int fd;

        (void)state;
        assert_int_equal(bind(listener, (struct sockaddr *)&a, sizeof(a)), 0);
        assert_int_equal(listen(listener, 8), 0);
        assert_int_equal(getsockname(listener, (struct sockaddr *)&a, &n), 0);
        port = ntohs(a.sin_port);
        assert_int_equal(broker_connect(&b, "127.0.0.1", port, &e), -EPERM);
        assert_int_equal(e.class, ERROR_REFUSED);
        b.named = (struct http_hosts){names, 1};
        assert_int_equal(broker_connect(&b, "127.0.0.1", port, &e), -EPERM);
        fd = broker_connect(&b, "localhost", port, &e);
        assert_true(fd >= 0);
        (void)close(fd);
        /* The user's own source is here: it may lead to other places here. */
        fd = broker_connect(&b, "127.0.0.1", port, &e);
        assert_true(fd >= 0);
        (void)close(fd);
        close_p(&listener);
        assert_int_equal(broker_connect(&b, "localhost", port, &e), -ECONNREFUSED);
        assert_int_equal(e.class, ERROR_SOURCE);
        b.connects = LIMIT_FETCH_CONNECTS;
        assert_int_equal(broker_connect(&b, "localhost", port, &e), -EPERM);
        assert_int_equal(e.class, ERROR_REFUSED);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_headers),        cmocka_unit_test(test_error_classes),
                cmocka_unit_test(test_error_content),  cmocka_unit_test(test_messages),
                cmocka_unit_test(test_no_descriptors), cmocka_unit_test(test_zones),
                cmocka_unit_test(test_broker),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
