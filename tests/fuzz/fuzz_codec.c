/* SPDX-License-Identifier: Apache-2.0 */
/* Text forms of bytes: every way there and back gives the same. */
#include "base/codec.h"
#include "tests/fuzz/fuzz.h"

#define MOST (1 << 20)

static void from_base64(const uint8_t *data, size_t size)
{
        _cleanup_(buf_done) struct buf bytes = BUF_INIT(MOST), text = BUF_INIT(MOST);

        if (base64_decode((const char *)data, size, &bytes) < 0) {
                FUZZ_CHECK(bytes.len == 0);
                return;
        }
        FUZZ_CHECK(base64_encode(bytes.data, bytes.len, &text) == 0);
        FUZZ_CHECK(text.len == size && (size == 0 || memcmp(text.data, data, size) == 0));
}

static void to_base64(const uint8_t *data, size_t size)
{
        _cleanup_(buf_done) struct buf bytes = BUF_INIT(MOST), text = BUF_INIT(MOST);

        FUZZ_CHECK(base64_encode(data, size, &text) == 0);
        FUZZ_CHECK(base64_decode(buf_str(&text), text.len, &bytes) == 0);
        FUZZ_CHECK(bytes.len == size && (size == 0 || memcmp(bytes.data, data, size) == 0));
}

static void from_utf16(const uint8_t *data, size_t size)
{
        _cleanup_(buf_done) struct buf narrow = BUF_INIT(MOST), wide = BUF_INIT(MOST);

        if (utf16_to_utf8(data, size, &narrow) < 0)
                return;
        FUZZ_CHECK(utf8_to_utf16(buf_str(&narrow), &wide) == 0);
        FUZZ_CHECK(wide.len <= size + 2 && memcmp(wide.data, data, wide.len - 2) == 0);
}

static void from_text(const uint8_t *data, size_t size)
{
        _cleanup_(buf_done) struct buf narrow = BUF_INIT(MOST), wide = BUF_INIT(MOST);
        _cleanup_free_ char *text = fuzz_text(data, size);
        size_t n = strlen(text) / 2;
        _cleanup_free_ uint8_t *bytes = malloc(n + 1);

        if (utf8_to_utf16(text, &wide) == 0) {
                FUZZ_CHECK(utf16_to_utf8(wide.data, wide.len, &narrow) == 0);
                FUZZ_CHECK(strcmp(buf_str(&narrow), text) == 0);
        }
        FUZZ_CHECK(bytes);
        if (hex_decode(text, bytes, n) == 0) {
                _cleanup_free_ char *again = malloc(2 * n + 1);

                FUZZ_CHECK(again);
                hex_encode(bytes, n, again);
                FUZZ_CHECK(strcasecmp(again, text) == 0);
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        from_base64(data, size);
        to_base64(data, size);
        from_utf16(data, size);
        from_text(data, size);
        return 0;
}
