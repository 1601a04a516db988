/* SPDX-License-Identifier: Apache-2.0 */
#include "base/buf.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/num.h"

void buf_done(struct buf *b)
{
        free(b->data);
        b->data = NULL;
        b->len = b->allocated = 0;
}

void buf_reset(struct buf *b)
{
        b->len = 0;
        if (b->data)
                b->data[0] = '\0';
}

int buf_reserve(struct buf *b, size_t n, uint8_t **ret)
{
        size_t want, size;
        uint8_t *p;

        if (n > b->max || b->len > b->max - n)
                return -E2BIG;
        want = b->len + n + 1; /* the NUL behind the content */
        if (want > b->allocated) {
                size = b->allocated < 128 ? 128 : b->allocated;
                while (size < want)
                        size *= 2;
                p = realloc(b->data, size);
                if (!p)
                        return -ENOMEM;
                b->data = p;
                b->allocated = size;
                b->data[b->len] = '\0'; /* should nothing be committed */
        }
        *ret = b->data + b->len;
        return 0;
}

void buf_commit(struct buf *b, size_t n)
{
        assert(b->len + n < b->allocated);
        b->len += n;
        b->data[b->len] = '\0';
}

int buf_add(struct buf *b, const void *data, size_t n)
{
        uint8_t *p;
        int r;

        r = buf_reserve(b, n, &p);
        if (r < 0)
                return r;
        if (n > 0)
                memcpy(p, data, n);
        buf_commit(b, n);
        return 0;
}

int buf_add_str(struct buf *b, const char *s)
{
        return buf_add(b, s, strlen(s));
}

int buf_printf(struct buf *b, const char *fmt, ...)
{
        _cleanup_free_ char *s = NULL;
        va_list ap;
        int n;

        va_start(ap, fmt);
        n = vasprintf(&s, fmt, ap);
        va_end(ap);
        if (n < 0) {
                s = NULL;
                return -ENOMEM;
        }
        return buf_add(b, s, (size_t)n);
}

const char *buf_str(const struct buf *b)
{
        return b->data ? (const char *)b->data : "";
}
