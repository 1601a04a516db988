/* SPDX-License-Identifier: Apache-2.0 */
/* Archives for tests, byte by byte: also such as no tool would write. */
#pragma once

#include <archive.h>
#include <archive_entry.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"

#define TAR_BLOCK 512u

/* Content of a member that can be told from its neighbours. */
static inline void tar_fill(uint8_t *data, size_t n, unsigned seed)
{
        uint32_t x = seed * 2654435761u + 1;

        for (size_t i = 0; i < n; i++) {
                x = x * 1664525u + 1013904223u;
                data[i] = (uint8_t)(x >> 24);
        }
}

/* A ustar header alone; type as in the format: '0' file, '1' hard link, '2' link, '5' folder. */
static inline void tar_header(struct buf *out, const char *name, char type, uint64_t size,
                              const char *link)
{
        uint8_t h[TAR_BLOCK] = {0};
        unsigned sum = 0;
        char text[16];

        memcpy(h, name, strlen(name) < 100 ? strlen(name) : 100);
        memcpy(h + 100, "0000644", 8);
        memcpy(h + 108, "0000000", 8);
        memcpy(h + 116, "0000000", 8);
        if (size < UINT64_C(1) << 33) {
                (void)snprintf(text, sizeof(text), "%011llo", (unsigned long long)size);
                memcpy(h + 124, text, 12);
        } else {
                h[124] = 0x80; /* base 256 */
                for (unsigned i = 0; i < 8; i++)
                        h[135 - i] = (uint8_t)(size >> 8 * i);
        }
        memcpy(h + 136, "00000000000", 12);
        memset(h + 148, ' ', 8);
        h[156] = (uint8_t)type;
        if (link)
                memcpy(h + 157, link, strlen(link));
        memcpy(h + 257, "ustar", 6);
        memcpy(h + 263, "00", 2);
        for (size_t i = 0; i < sizeof(h); i++)
                sum += h[i];
        (void)snprintf(text, sizeof(text), "%06o", sum);
        memcpy(h + 148, text, 7);
        assert_int_equal(buf_add(out, h, sizeof(h)), 0);
}

static inline void tar_pad(struct buf *out)
{
        static const uint8_t zeros[TAR_BLOCK];
        size_t n = (TAR_BLOCK - out->len % TAR_BLOCK) % TAR_BLOCK;

        assert_int_equal(buf_add(out, zeros, n), 0);
}

static inline void tar_file(struct buf *out, const char *name, const void *data, size_t n)
{
        tar_header(out, name, '0', n, NULL);
        assert_int_equal(buf_add(out, data, n), 0);
        tar_pad(out);
}

static inline void tar_end(struct buf *out)
{
        static const uint8_t zeros[2 * TAR_BLOCK];

        assert_int_equal(buf_add(out, zeros, sizeof(zeros)), 0);
}

static inline la_ssize_t tar_take(struct archive *a, void *ctx, const void *data, size_t n)
{
        (void)a;
        return buf_add(ctx, data, n) < 0 ? -1 : (la_ssize_t)n;
}

/* Appends one whole gzip or zstd stream. */
static inline void tar_compress(struct buf *out, int filter, const void *data, size_t n)
{
        struct archive *a = archive_write_new();
        struct archive_entry *entry = archive_entry_new();

        assert_non_null(a);
        assert_non_null(entry);
        assert_int_equal(archive_write_add_filter(a, filter), ARCHIVE_OK);
        assert_int_equal(archive_write_set_format_raw(a), ARCHIVE_OK);
        assert_int_equal(archive_write_set_bytes_in_last_block(a, 1), ARCHIVE_OK);
        assert_int_equal(archive_write_open(a, out, NULL, tar_take, NULL), ARCHIVE_OK);
        archive_entry_set_filetype(entry, AE_IFREG);
        assert_int_equal(archive_write_header(a, entry), ARCHIVE_OK);
        assert_true(archive_write_data(a, data, n) == (la_ssize_t)n);
        assert_int_equal(archive_write_close(a), ARCHIVE_OK);
        archive_entry_free(entry);
        assert_int_equal(archive_write_free(a), ARCHIVE_OK);
}
