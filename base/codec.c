/* SPDX-License-Identifier: Apache-2.0 */
#include "base/codec.h"

#include <stdio.h>
#include <string.h>

static const char hex_digits[] = "0123456789abcdef";
static const char base64_digits[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void hex_encode(const uint8_t *data, size_t n, char *out)
{
        for (size_t i = 0; i < n; i++) {
                *out++ = hex_digits[data[i] >> 4];
                *out++ = hex_digits[data[i] & 15];
        }
        *out = '\0';
}

static int hex_value(char c)
{
        if (c >= '0' && c <= '9')
                return c - '0';
        if (c >= 'a' && c <= 'f')
                return c - 'a' + 10;
        if (c >= 'A' && c <= 'F')
                return c - 'A' + 10;
        return -EINVAL;
}

void uuid_encode(const uint8_t bytes[16], unsigned version, char ret[UUID_TEXT_SIZE])
{
        char hex[2 * 16 + 1];
        uint8_t b[16];

        memcpy(b, bytes, sizeof(b));
        b[6] = (uint8_t)((b[6] & 0x0f) | version << 4);
        b[8] = (uint8_t)((b[8] & 0x3f) | 0x80);
        hex_encode(b, sizeof(b), hex);
        (void)snprintf(ret, UUID_TEXT_SIZE, "%.8s-%.4s-%.4s-%.4s-%.12s", hex, hex + 8, hex + 12,
                       hex + 16, hex + 20);
}

int hex_decode(const char *s, uint8_t *out, size_t n)
{
        if (strlen(s) != 2 * n)
                return -EINVAL;
        for (size_t i = 0; i < n; i++) {
                int high = hex_value(s[2 * i]), low = hex_value(s[2 * i + 1]);

                if (high < 0 || low < 0)
                        return -EINVAL;
                out[i] = (uint8_t)(high << 4 | low);
        }
        return 0;
}

/*
 * Written here rather than taken from OpenSSL: these run over secrets into buffers that are wiped,
 * and OpenSSL's block decoder accepts white space and does not report how much padding it dropped.
 */
int base64_encode(const uint8_t *data, size_t n, struct buf *out)
{
        uint8_t *p;
        size_t need = (n + 2) / 3 * 4;
        int r;

        r = buf_reserve(out, need, &p);
        if (r < 0)
                return r;
        for (size_t i = 0; i < n; i += 3) {
                uint32_t v = (uint32_t)data[i] << 16;

                if (i + 1 < n)
                        v |= (uint32_t)data[i + 1] << 8;
                if (i + 2 < n)
                        v |= data[i + 2];
                *p++ = (uint8_t)base64_digits[v >> 18];
                *p++ = (uint8_t)base64_digits[v >> 12 & 63];
                *p++ = i + 1 < n ? (uint8_t)base64_digits[v >> 6 & 63] : '=';
                *p++ = i + 2 < n ? (uint8_t)base64_digits[v & 63] : '=';
        }
        buf_commit(out, need);
        return 0;
}

static int base64_value(char c)
{
        const char *p = c ? strchr(base64_digits, c) : NULL;

        return p ? (int)(p - base64_digits) : -EINVAL;
}

/* One group of four characters to 1-3 bytes. Returns the number of bytes. */
static int base64_group(const char *s, uint8_t out[3])
{
        int pad = s[3] != '=' ? 0 : s[2] != '=' ? 1 : 2;
        uint32_t v = 0;

        for (int i = 0; i < 4; i++) {
                int d = i >= 4 - pad ? 0 : base64_value(s[i]);

                if (d < 0)
                        return d;
                v = v << 6 | (uint32_t)d;
        }
        if ((pad == 1 && (v & 0xff)) || (pad == 2 && (v & 0xffff)))
                return -EINVAL; /* bits that no encoder sets: two texts would mean the same bytes */
        out[0] = (uint8_t)(v >> 16);
        out[1] = (uint8_t)(v >> 8);
        out[2] = (uint8_t)v;
        return 3 - pad;
}

int base64_decode(const char *s, size_t n, struct buf *out)
{
        size_t before = out->len;

        if (n % 4 != 0)
                return -EINVAL;
        for (size_t i = 0; i < n; i += 4) {
                uint8_t group[3];
                int got, r;

                got = base64_group(s + i, group);
                if (got < 0 || (got < 3 && i + 4 < n)) {
                        out->len = before;
                        return -EINVAL;
                }
                r = buf_add(out, group, (size_t)got);
                if (r < 0) {
                        out->len = before;
                        return r;
                }
        }
        return 0;
}

static int add_utf8(struct buf *out, uint32_t c)
{
        uint8_t b[4];
        size_t n;

        if (c < 0x80) {
                b[0] = (uint8_t)c;
                n = 1;
        } else if (c < 0x800) {
                b[0] = (uint8_t)(0xc0 | c >> 6);
                b[1] = (uint8_t)(0x80 | (c & 0x3f));
                n = 2;
        } else if (c < 0x10000) {
                b[0] = (uint8_t)(0xe0 | c >> 12);
                b[1] = (uint8_t)(0x80 | (c >> 6 & 0x3f));
                b[2] = (uint8_t)(0x80 | (c & 0x3f));
                n = 3;
        } else {
                b[0] = (uint8_t)(0xf0 | c >> 18);
                b[1] = (uint8_t)(0x80 | (c >> 12 & 0x3f));
                b[2] = (uint8_t)(0x80 | (c >> 6 & 0x3f));
                b[3] = (uint8_t)(0x80 | (c & 0x3f));
                n = 4;
        }
        return buf_add(out, b, n);
}

int utf16_to_utf8(const uint8_t *data, size_t n, struct buf *out)
{
        if (n % 2 != 0)
                return -EINVAL;
        for (size_t i = 0; i < n; i += 2) {
                uint32_t c = (uint32_t)(data[i] | data[i + 1] << 8);
                int r;

                if (c == 0)
                        break;
                if (c >= 0xdc00 && c < 0xe000)
                        return -EINVAL;
                if (c >= 0xd800 && c < 0xdc00) {
                        uint32_t low;

                        if (i + 3 >= n)
                                return -EINVAL;
                        low = (uint32_t)(data[i + 2] | data[i + 3] << 8);
                        if (low < 0xdc00 || low >= 0xe000)
                                return -EINVAL;
                        c = 0x10000 + ((c - 0xd800) << 10 | (low - 0xdc00));
                        i += 2;
                }
                r = add_utf8(out, c);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* Decodes one character of at most four bytes; returns its length or -EINVAL. */
static int next_utf8(const uint8_t *p, uint32_t *ret)
{
        static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
        int n = p[0] < 0x80             ? 1
                : (p[0] & 0xe0) == 0xc0 ? 2
                : (p[0] & 0xf0) == 0xe0 ? 3
                : (p[0] & 0xf8) == 0xf0 ? 4
                                        : 0;
        uint32_t c;

        if (n == 0)
                return -EINVAL;
        c = n == 1 ? p[0] : p[0] & (0x7fu >> n);
        for (int i = 1; i < n; i++) {
                if ((p[i] & 0xc0) != 0x80)
                        return -EINVAL;
                c = c << 6 | (p[i] & 0x3f);
        }
        if (c < least[n] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
                return -EINVAL;
        *ret = c;
        return n;
}

static int add_utf16(struct buf *out, uint32_t c)
{
        uint8_t b[2] = {(uint8_t)c, (uint8_t)(c >> 8)};

        return buf_add(out, b, sizeof(b));
}

int utf8_to_utf16(const char *s, struct buf *out)
{
        const uint8_t *p = (const uint8_t *)s;

        while (*p) {
                uint32_t c = 0;
                int n, r;

                n = next_utf8(p, &c);
                if (n < 0)
                        return n;
                p += n;
                if (c >= 0x10000) {
                        r = add_utf16(out, 0xd800 + ((c - 0x10000) >> 10));
                        if (r < 0)
                                return r;
                        c = 0xdc00 + ((c - 0x10000) & 0x3ff);
                }
                r = add_utf16(out, c);
                if (r < 0)
                        return r;
        }
        return add_utf16(out, 0);
}
