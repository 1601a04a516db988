/* SPDX-License-Identifier: Apache-2.0 */
/* A folder of its own for a test, deleted with everything in it at the end. */
#pragma once

#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"

struct scratch {
        char path[64];
        int fd;
};

static inline void scratch_make(struct scratch *s)
{
        (void)snprintf(s->path, sizeof(s->path), "/tmp/tb-test.XXXXXX");
        assert_non_null(mkdtemp(s->path));
        s->fd = file_open_dir(AT_FDCWD, s->path);
        assert_true(s->fd >= 0);
}

static inline int scratch_delete(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
        (void)st;
        (void)type;
        (void)ftw;
        return remove(path);
}

static inline void scratch_clean(struct scratch *s)
{
        close_p(&s->fd);
        assert_int_equal(nftw(s->path, scratch_delete, 16, FTW_DEPTH | FTW_PHYS), 0);
}

/* Creates or replaces a file. */
static inline void scratch_put(struct scratch *s, const char *name, const void *data, size_t n)
{
        assert_int_equal(file_write_volatile(s->fd, name, data, n, 0600), 0);
}

static inline void scratch_put_text(struct scratch *s, const char *name, const char *text)
{
        scratch_put(s, name, text, strlen(text));
}

/* The content must be exactly this. */
static inline void scratch_expect(struct scratch *s, const char *name, const void *data, size_t n)
{
        _cleanup_(buf_done) struct buf b = BUF_INIT(1 << 24);

        assert_int_equal(file_read(s->fd, name, &b), 0);
        assert_int_equal(b.len, n);
        if (n > 0)
                assert_memory_equal(b.data, data, n);
}
