/* SPDX-License-Identifier: Apache-2.0 */
#include "base/secret.h"

#include <string.h>
#include <sys/mman.h>

#include "base/codec.h"
#include "base/file.h"

struct secret *secret_new(size_t len)
{
        struct secret *s = calloc(1, sizeof(*s));
        void *p;

        if (!s)
                return NULL;
        p = mmap(NULL, len > 0 ? len : 1, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
                 0);
        if (p == MAP_FAILED) {
                free(s);
                return NULL;
        }
        s->data = p;
        s->len = len;
        s->mapped = len > 0 ? len : 1;
        (void)mlock(s->data, s->mapped); /* refused in small containers: see the header */
        (void)madvise(s->data, s->mapped, MADV_DONTDUMP);
        /* Children have no use for it; one that reads data from the network must not have it. */
        (void)madvise(s->data, s->mapped, MADV_WIPEONFORK);
        return s;
}

void secret_free(struct secret *s)
{
        if (!s)
                return;
        explicit_bzero(s->data, s->mapped);
        (void)munmap(s->data, s->mapped);
        free(s);
}

struct secret *secret_random(size_t len)
{
        _cleanup_(secret_free_p) struct secret *s = secret_new(len);
        int r;

        if (!s)
                return NULL;
        r = random_bytes(s->data, s->len);
        if (r < 0) {
                errno = -r;
                return NULL;
        }
        return TAKE_PTR(s);
}

struct secret *secret_base64(const struct secret *s)
{
        size_t len = (s->len + 2) / 3 * 4;
        /* One byte more for the NUL that a buffer keeps behind its content. */
        _cleanup_(secret_free_p) struct secret *out = secret_new(len + 1);
        struct buf window;
        int r;

        if (!out)
                return NULL;
        window = (struct buf){.data = out->data, .allocated = len + 1, .max = len};
        r = base64_encode(s->data, s->len, &window);
        if (r < 0) {
                errno = -r;
                return NULL;
        }
        out->len = len;
        return TAKE_PTR(out);
}

int secret_equal(const uint8_t *a, const uint8_t *b, size_t n)
{
        volatile uint8_t diff = 0;

        for (size_t i = 0; i < n; i++)
                diff = (uint8_t)(diff | (a[i] ^ b[i]));
        return diff == 0;
}
