/* SPDX-License-Identifier: Apache-2.0 */
#include "upgrade/fetch_wire.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

static bool length_fits(const struct wire_header *h)
{
        switch ((enum wire_type)h->type) {
        case WIRE_INFO:
                return h->length == sizeof(struct wire_info);
        case WIRE_DATA:
        case WIRE_LOADER:
        case WIRE_SPOOL:
                return h->length > 0 && h->length <= LIMIT_FETCH_FRAME;
        case WIRE_NOTE:
        case WIRE_ERROR:
                return h->length == sizeof(struct wire_error);
        case WIRE_END:
                return h->length == 0;
        case WIRE_TYPE_MAX:
                return false;
        }
        return false;
}

int wire_header_check(const struct wire_header *h)
{
        return length_fits(h) && h->zero == 0 ? 0 : -EBADMSG;
}

void wire_text(char *text, size_t size)
{
        text[size - 1] = '\0';
        for (char *p = text; *p; p++) {
                if (*p < 0x20 || *p >= 0x7f)
                        *p = '?';
        }
}

/* What can be wrong with a source. Nothing that a network says may look like a proof that failed or
 * like a disk that is full. */
static enum error_class class_of(uint32_t class)
{
        static const enum error_class allowed[] = {ERROR_INTERNAL, ERROR_USAGE, ERROR_CONFIG,
                                                   ERROR_SOURCE, ERROR_REFUSED};

        for (size_t i = 0; i < ARRAY_SIZE(allowed); i++) {
                if (class == allowed[i])
                        return allowed[i];
        }
        /* Its own calls failed: that is no verdict about the source. */
        if (class == ERROR_IO || class == ERROR_SPACE || class == ERROR_BUSY ||
            class == ERROR_INTERRUPTED || class == ERROR_PRECONDITION)
                return ERROR_SOURCE;
        return ERROR_REFUSED;
}

int wire_error_take(const struct wire_error *w, struct error *e)
{
        struct wire_error safe = *w;
        int code = w->code > 0 && w->code < 4096 ? (int)w->code : EPROTO;

        wire_text(safe.text, sizeof(safe.text));
        wire_text(safe.advice, sizeof(safe.advice));
        error_set(e, class_of(w->class), code, "%s", *safe.text ? safe.text : "unknown failure");
        /* Its number says nothing about this side: "no space" would be our disk. */
        if (e)
                e->class = class_of(w->class);
        if (*safe.advice)
                error_advise(e, "%s", safe.advice);
        return -code;
}

int wire_send(int pipe, const struct wire_header *h, const void *payload)
{
        size_t done = 0, all = sizeof(*h) + h->length;

        while (done < all) {
                size_t in_head = done < sizeof(*h) ? sizeof(*h) - done : 0;
                size_t at = done < sizeof(*h) ? 0 : done - sizeof(*h);
                struct iovec v[2];
                ssize_t n;

                /* writev() does not write to what it is given. */
                v[0].iov_base = (void *)((uintptr_t)h + sizeof(*h) - in_head);
                v[0].iov_len = in_head;
                v[1].iov_base = (void *)((uintptr_t)payload + at);
                v[1].iov_len = h->length - at;
                n = writev(pipe, v, h->length > 0 ? 2 : 1);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return -errno;
                done += (size_t)n;
        }
        return 0;
}

ssize_t wire_receive(int socket, void *head, size_t head_size, void *rest, size_t rest_max)
{
        struct iovec v[2] = {{.iov_base = head, .iov_len = head_size},
                             {.iov_base = rest, .iov_len = rest_max}};
        struct msghdr m = {.msg_iov = v, .msg_iovlen = rest_max > 0 ? 2 : 1};
        ssize_t n;

        do {
                n = recvmsg(socket, &m, 0);
        } while (n < 0 && errno == EINTR);
        if (n < 0)
                return errno == ECONNRESET ? 0 : -errno;
        if (n == 0)
                return 0;
        if ((size_t)n < head_size || (m.msg_flags & (MSG_TRUNC | MSG_CTRUNC)))
                return -EBADMSG;
        return n;
}

int wire_put(int socket, const void *head, size_t head_size, const void *rest, size_t n)
{
        struct iovec v[2] = {{.iov_base = (void *)(uintptr_t)head, .iov_len = head_size},
                             {.iov_base = (void *)(uintptr_t)rest, .iov_len = n}};
        struct msghdr m = {.msg_iov = v, .msg_iovlen = n > 0 ? 2 : 1};
        ssize_t sent;

        do {
                sent = sendmsg(socket, &m, MSG_NOSIGNAL);
        } while (sent < 0 && errno == EINTR);
        if (sent < 0)
                return -errno;
        return (size_t)sent == head_size + n ? 0 : -EMSGSIZE;
}
