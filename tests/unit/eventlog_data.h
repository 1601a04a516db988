/* SPDX-License-Identifier: Apache-2.0 */
/* The captured logs in tests/data/eventlog, and logs made by hand. Tests start in the source
 * folder. */
#pragma once

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/codec.h"
#include "base/file.h"
#include "base/limits.h"
#include "base/num.h"
#include "partition/eventlog.h"

static inline void data_read(const char *name, struct buf *out)
{
        _cleanup_close_ int folder = file_open_dir(AT_FDCWD, "tests/data/eventlog");

        assert_true(folder >= 0);
        assert_int_equal(file_read(folder, name, out), 0);
}

/* Value of a PCR in a file of lines "number hex". */
static inline void data_pcr(const char *name, unsigned pcr, uint8_t ret[SHA256_SIZE])
{
        _cleanup_(buf_done) struct buf b = BUF_INIT(LIMIT_SMALL_FILE);
        char key[16];
        const char *at;

        data_read(name, &b);
        (void)snprintf(key, sizeof(key), "%s%u ", pcr == 0 ? "" : "\n", pcr);
        at = strstr(buf_str(&b), key);
        assert_non_null(at);
        at += strlen(key);
        assert_true(strlen(at) >= 2 * SHA256_SIZE);
        b.data[at - buf_str(&b) + 2 * (ptrdiff_t)SHA256_SIZE] = '\0';
        assert_int_equal(hex_decode(at, ret, SHA256_SIZE), 0);
}

static inline void put_u16(struct buf *b, unsigned v)
{
        uint8_t p[2];

        put_le16(p, (uint16_t)v);
        assert_int_equal(buf_add(b, p, sizeof(p)), 0);
}

static inline void put_u32(struct buf *b, uint32_t v)
{
        uint8_t p[4];

        put_le32(p, v);
        assert_int_equal(buf_add(b, p, sizeof(p)), 0);
}

static inline void put_bytes(struct buf *b, const void *data, size_t n)
{
        if (n > 0)
                assert_int_equal(buf_add(b, data, n), 0);
}

/* Header with these banks: pairs of algorithm and size. */
static inline void put_header(struct buf *b, const uint16_t (*banks)[2], unsigned n)
{
        static const uint8_t zeros[20];

        put_u32(b, 0);
        put_u32(b, EVENTLOG_NO_ACTION);
        put_bytes(b, zeros, sizeof(zeros));
        put_u32(b, 29 + 4 * n);
        put_bytes(b, "Spec ID Event03", 16);
        put_bytes(b, "\0\0\0\0\0\2\0\2", 8);
        put_u32(b, n);
        for (unsigned i = 0; i < n; i++) {
                put_u16(b, banks[i][0]);
                put_u16(b, banks[i][1]);
        }
        put_bytes(b, zeros, 1);
}

/* The usual one: SHA-256 alone. */
static inline void put_plain_header(struct buf *b)
{
        static const uint16_t banks[][2] = {{0x000b, 32}};

        put_header(b, banks, 1);
}

/* An event of a log with the SHA-256 bank alone; digest NULL = hash of data. */
static inline void put_event(struct buf *b, uint32_t pcr, uint32_t type, const void *data, size_t n,
                             const uint8_t *digest)
{
        uint8_t hash[SHA256_SIZE];

        assert_int_equal(sha256(data, n, hash), 0);
        put_u32(b, pcr);
        put_u32(b, type);
        put_u32(b, 1);
        put_u16(b, 0x000b);
        put_bytes(b, digest ? digest : hash, SHA256_SIZE);
        put_u32(b, (uint32_t)n);
        put_bytes(b, data, n);
}
