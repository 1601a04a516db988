/* SPDX-License-Identifier: Apache-2.0 */
#include "upgrade/fetch_broker.h"

#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "base/limits.h"

static enum broker_zone zone4(uint32_t a)
{
        if (a >> 24 == 127 || a >> 24 == 0)
                return BROKER_ZONE_LOCAL;
        if (a >> 16 == 0xa9fe) /* 169.254.0.0/16 */
                return BROKER_ZONE_LINK;
        return a >> 28 >= 14 ? BROKER_ZONE_NOWHERE : BROKER_ZONE_NETWORK;
}

static enum broker_zone zone6(const struct in6_addr *a)
{
        static const uint8_t nat64[12] = {0, 0x64, 0xff, 0x9b};

        if (IN6_IS_ADDR_LOOPBACK(a) || IN6_IS_ADDR_UNSPECIFIED(a))
                return BROKER_ZONE_LOCAL;
        if (IN6_IS_ADDR_V4MAPPED(a) || IN6_IS_ADDR_V4COMPAT(a) ||
            memcmp(a, nat64, sizeof(nat64)) == 0) {
                uint32_t v4;

                memcpy(&v4, a->s6_addr + 12, sizeof(v4));
                return zone4(ntohl(v4));
        }
        if (IN6_IS_ADDR_LINKLOCAL(a))
                return BROKER_ZONE_LINK;
        return IN6_IS_ADDR_MULTICAST(a) ? BROKER_ZONE_NOWHERE : BROKER_ZONE_NETWORK;
}

enum broker_zone broker_zone(const struct sockaddr *address)
{
        if (address->sa_family == AF_INET) {
                struct sockaddr_in v4;

                memcpy(&v4, address, sizeof(v4));
                return zone4(ntohl(v4.sin_addr.s_addr));
        }
        if (address->sa_family == AF_INET6) {
                struct sockaddr_in6 v6;

                memcpy(&v6, address, sizeof(v6));
                return zone6(&v6.sin6_addr);
        }
        return BROKER_ZONE_NOWHERE;
}

static int64_t now_ms(void)
{
        struct timespec t;

        (void)clock_gettime(CLOCK_MONOTONIC, &t);
        return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Waits until a connection was made or has failed, asking once a second whether to stop. */
static int wait_connected(const struct broker *b, int fd)
{
        unsigned seconds = b->connect_seconds ? b->connect_seconds : LIMIT_FETCH_CONNECT_SECONDS;
        int64_t deadline = now_ms() + (int64_t)seconds * 1000;

        for (;;) {
                struct pollfd p = {.fd = fd, .events = POLLOUT};
                int64_t left = deadline - now_ms();
                socklen_t size = sizeof(int);
                int r, code;

                if (b->stop && b->stop(b->stop_arg))
                        return -ECANCELED;
                if (left <= 0)
                        return -ETIMEDOUT;
                r = poll(&p, 1, left < 1000 ? (int)left : 1000);
                if (r < 0 && errno != EINTR)
                        return -errno;
                if (r <= 0)
                        continue;
                if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &code, &size) < 0)
                        return -errno;
                return -code;
        }
}

static int connect_address(const struct broker *b, const struct addrinfo *a)
{
        _cleanup_close_ int fd =
                socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        int r;

        if (fd < 0)
                return -errno;
        if (connect(fd, a->ai_addr, a->ai_addrlen) < 0) {
                if (errno != EINPROGRESS && errno != EINTR)
                        return -errno;
                r = wait_connected(b, fd);
                if (r < 0)
                        return r;
        }
        return TAKE_FD(fd);
}

/* Whether the host may be spoken to at this address. */
static bool zone_allowed(struct broker *b, const char *host, uint16_t port,
                         const struct sockaddr *address)
{
        enum broker_zone zone = broker_zone(address);

        if (zone == BROKER_ZONE_NETWORK)
                return true;
        if (zone == BROKER_ZONE_NOWHERE)
                return false;
        if (http_hosts_have(&b->named, host, port))
                b->open[zone] = true;
        return b->open[zone];
}

static int resolve(const char *host, uint16_t port, struct addrinfo **ret, struct error *e)
{
        const struct addrinfo hints = {
                .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
        char service[8];
        int r;

        (void)snprintf(service, sizeof(service), "%u", (unsigned)port);
        r = getaddrinfo(host, service, &hints, ret);
        if (r == 0)
                return 0;
        if (r == EAI_MEMORY)
                return error_oom(e);
        return error_set(e, ERROR_SOURCE, EHOSTUNREACH, "%s: %s", host,
                         r == EAI_SYSTEM ? strerror(errno) : gai_strerror(r));
}

static int explain(int r, const char *host, uint16_t port, struct error *e)
{
        if (r == -ECANCELED)
                return error_set(e, ERROR_INTERRUPTED, ECANCELED, "stopped by a signal");
        if (r == -EPERM)
                return error_set(e, ERROR_REFUSED, EPERM,
                                 "%s: lies on this machine or its link, where the source may not "
                                 "lead",
                                 host);
        return error_set(e, ERROR_SOURCE, -r, "%s:%u: %s", host, (unsigned)port, strerror(-r));
}

int broker_connect(struct broker *b, const char *host, uint16_t port, struct error *e)
{
        struct addrinfo *list = NULL;
        unsigned tried = 0;
        int r;

        if (b->connects++ >= LIMIT_FETCH_CONNECTS)
                return error_set(e, ERROR_REFUSED, EPERM, "too many connections for one source");
        r = resolve(host, port, &list, e);
        if (r < 0)
                return r;
        r = -EHOSTUNREACH;
        for (const struct addrinfo *a = list; a && tried < LIMIT_FETCH_ADDRESSES; a = a->ai_next) {
                if (!zone_allowed(b, host, port, a->ai_addr)) {
                        r = -EPERM;
                        continue;
                }
                tried++;
                r = connect_address(b, a);
                if (r >= 0 || r == -ECANCELED)
                        break;
        }
        freeaddrinfo(list);
        return r >= 0 ? r : explain(r, host, port, e);
}
