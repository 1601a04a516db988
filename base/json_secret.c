/* SPDX-License-Identifier: Apache-2.0 */
#include "base/json_secret.h"

#include <inttypes.h>
#include <string.h>

#include "base/codec.h"
#include "base/num.h"

/* Index behind the closing quote of the string that begins at i; n when there is none. */
static size_t string_end(const char *text, size_t n, size_t i)
{
        for (i++; i < n; i++) {
                if (text[i] == '\\')
                        i++;
                else if (text[i] == '"')
                        return i + 1;
        }
        return n;
}

/* A string with a colon behind it is the key of a member. */
static bool is_key(const char *text, size_t n, size_t end)
{
        while (end < n && strchr(" \t\r\n", text[end]) && text[end])
                end++;
        return end < n && text[end] == ':';
}

/* Copies the text with every string that is a value replaced by "OFFSET:LENGTH". */
static int redact(const char *text, size_t n, struct buf *out)
{
        int r = 0;

        for (size_t i = 0; r == 0 && i < n;) {
                size_t end = text[i] == '"' ? string_end(text, n, i) : i + 1;

                /* An unfinished string is copied without its content: an error all the same. */
                if (text[i] != '"')
                        r = buf_add(out, text + i, 1);
                else if (end == n && (n - i < 2 || text[n - 1] != '"'))
                        r = buf_add(out, "\"", 1);
                else if (is_key(text, n, end))
                        r = buf_add(out, text + i, end - i);
                else
                        r = buf_printf(out, "\"%zu:%zu\"", i + 1, end - i - 2);
                i = end;
        }
        return r;
}

int json_secret_read(const void *text, size_t n, size_t max, const char *what,
                     struct json_object **ret, struct error *e)
{
        _cleanup_(buf_done) struct buf redacted = BUF_INIT(0);

        if (n > max)
                return error_set(e, ERROR_REFUSED, E2BIG, "%s: %zu bytes, at most %zu are accepted",
                                 what, n, max);
        redacted.max = 16 * n + 64; /* of the two bytes of an empty string, two numbers become */
        if (redact(text, n, &redacted) < 0)
                return error_oom(e);
        return json_read_text(buf_str(&redacted), redacted.len, redacted.max, what, ret, e);
}

/* Four hexadecimal digits. */
static int hex4(const char *s, size_t n, uint32_t *ret)
{
        char digits[5] = {0};
        uint8_t bytes[2];

        if (n < 4)
                return -EBADMSG;
        memcpy(digits, s, 4);
        if (hex_decode(digits, bytes, sizeof(bytes)) < 0)
                return -EBADMSG;
        *ret = (uint32_t)bytes[0] << 8 | bytes[1];
        return 0;
}

/* What follows "\u", surrogate pairs included. Returns the characters used of s. */
static int unicode_escape(const char *s, size_t n, uint32_t *ret)
{
        uint32_t first, second;

        if (hex4(s, n, &first) < 0 || first == 0 || (first >= 0xdc00 && first <= 0xdfff))
                return -EBADMSG;
        *ret = first;
        if (first < 0xd800 || first > 0xdbff)
                return 4;
        if (n < 10 || s[4] != '\\' || s[5] != 'u' || hex4(s + 6, n - 6, &second) < 0 ||
            second < 0xdc00 || second > 0xdfff)
                return -EBADMSG;
        *ret = 0x10000 + ((first - 0xd800) << 10 | (second - 0xdc00));
        return 10;
}

static size_t put_utf8(uint32_t c, uint8_t *out)
{
        if (c < 0x80) {
                out[0] = (uint8_t)c;
                return 1;
        }
        if (c < 0x800) {
                out[0] = (uint8_t)(0xc0 | c >> 6);
                out[1] = (uint8_t)(0x80 | (c & 0x3f));
                return 2;
        }
        if (c < 0x10000) {
                out[0] = (uint8_t)(0xe0 | c >> 12);
                out[1] = (uint8_t)(0x80 | (c >> 6 & 0x3f));
                out[2] = (uint8_t)(0x80 | (c & 0x3f));
                return 3;
        }
        out[0] = (uint8_t)(0xf0 | c >> 18);
        out[1] = (uint8_t)(0x80 | (c >> 12 & 0x3f));
        out[2] = (uint8_t)(0x80 | (c >> 6 & 0x3f));
        out[3] = (uint8_t)(0x80 | (c & 0x3f));
        return 4;
}

/* Decodes n characters, which never become more. */
static int decode(const char *s, size_t n, struct secret *out)
{
        static const char names[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";

        out->len = 0;
        for (size_t i = 0; i < n; i++) {
                const char *name;
                uint32_t c = (uint8_t)s[i];
                int used;

                if (c < ' ')
                        return -EBADMSG;
                if (c != '\\') {
                        out->data[out->len++] = (uint8_t)c;
                        continue;
                }
                if (++i == n)
                        return -EBADMSG;
                if (s[i] == 'u') {
                        used = unicode_escape(s + i + 1, n - i - 1, &c);
                        if (used < 0)
                                return used;
                        i += (size_t)used;
                } else {
                        name = s[i] ? strchr(names, s[i]) : NULL;
                        if (!name)
                                return -EBADMSG;
                        c = (uint8_t)values[name - names];
                }
                out->len += put_utf8(c, out->data + out->len);
        }
        return 0;
}

int json_secret_get(struct json_object *obj, const char *key, const void *text, size_t n,
                    struct secret **ret)
{
        _cleanup_(secret_free_p) struct secret *s = NULL;
        _cleanup_free_ char *place = NULL;
        uint64_t offset, length;
        const char *value;
        char *colon;
        int r;

        r = json_get_str(obj, key, &value);
        if (r < 0)
                return r;
        place = strdup(value);
        colon = place ? strchr(place, ':') : NULL;
        if (!place)
                return -ENOMEM;
        if (!colon)
                return -EBADMSG;
        *colon = '\0';
        if (parse_u64(place, &offset) < 0 || parse_u64(colon + 1, &length) < 0 ||
            !range_fits(offset, length, n))
                return -EBADMSG;
        s = secret_new((size_t)length);
        if (!s)
                return -ENOMEM;
        r = decode((const char *)text + offset, (size_t)length, s);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(s);
        return 0;
}
