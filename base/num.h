/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Numbers that come from outside: sums and products that notice overflow, and parsers that accept a
 * number or nothing. All return 0 or a negative errno; the output is written only on success.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"

/* -EOVERFLOW when the result does not fit. */
static inline _must_check_ int add_u64(uint64_t a, uint64_t b, uint64_t *ret)
{
        uint64_t v;

        if (__builtin_add_overflow(a, b, &v))
                return -EOVERFLOW;
        *ret = v;
        return 0;
}

static inline _must_check_ int mul_u64(uint64_t a, uint64_t b, uint64_t *ret)
{
        uint64_t v;

        if (__builtin_mul_overflow(a, b, &v))
                return -EOVERFLOW;
        *ret = v;
        return 0;
}

/* Rounds up to a multiple of align (a power of two). -EOVERFLOW when there is none in 64 bits. */
static inline _must_check_ int align_up_u64(uint64_t v, uint64_t align, uint64_t *ret)
{
        uint64_t sum;

        if (add_u64(v, align - 1, &sum) < 0)
                return -EOVERFLOW;
        *ret = sum & ~(align - 1);
        return 0;
}

/* The range [offset, offset + size) lies inside [0, limit). */
static inline bool range_fits(uint64_t offset, uint64_t size, uint64_t limit)
{
        return offset <= limit && size <= limit - offset;
}

/* Little-endian fields of on-disk structures, at any alignment. */
static inline uint16_t le16_at(const uint8_t *p)
{
        return (uint16_t)(p[0] | (unsigned)p[1] << 8);
}

static inline uint32_t le32_at(const uint8_t *p)
{
        return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static inline uint64_t le64_at(const uint8_t *p)
{
        return (uint64_t)le32_at(p) | (uint64_t)le32_at(p + 4) << 32;
}

static inline void put_le16(uint8_t *p, uint16_t v)
{
        p[0] = (uint8_t)v;
        p[1] = (uint8_t)(v >> 8);
}

static inline void put_le32(uint8_t *p, uint32_t v)
{
        put_le16(p, (uint16_t)v);
        put_le16(p + 2, (uint16_t)(v >> 16));
}

/* Decimal digits only, no sign, no blanks. -EINVAL for anything else, -ERANGE when too large. */
int parse_u64(const char *s, uint64_t *ret) _must_check_;

/* The same, bounded: -ERANGE above max. */
int parse_u64_max(const char *s, uint64_t max, uint64_t *ret) _must_check_;

/* A size with an optional binary suffix K, M, G, T (also KiB, MiB, ...): "512", "4G", "128MiB". */
int parse_size(const char *s, uint64_t *ret) _must_check_;

/* "1.5 GiB" style text for people, into buf. Returns buf. */
char *format_size(uint64_t v, char *buf, size_t n);
