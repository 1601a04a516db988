/* SPDX-License-Identifier: Apache-2.0 */
#include "base/codec.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void test_hex(void **state)
{
        static const char *const bad[] = {"", "0", "012", "01234", "0g", "+1", " 1", "0x"};
        uint8_t out[2] = {9, 9};
        char text[5];

        (void)state;
        hex_encode((const uint8_t *)"\x00\xaf", 2, text);
        assert_string_equal(text, "00af");
        hex_encode(NULL, 0, text);
        assert_string_equal(text, "");
        assert_int_equal(hex_decode("AfF0", out, 2), 0);
        assert_memory_equal(out, "\xaf\xf0", 2);
        for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
                assert_int_equal(hex_decode(bad[i], out, 1), -EINVAL);
        assert_int_equal(hex_decode("", out, 0), 0);
}

/* RFC 4648 section 10, and the two characters beyond letters and digits. */
static void test_base64(void **state)
{
        static const struct {
                const char *plain;
                size_t n;
                const char *text;
        } table[] = {
                {"", 0, ""},
                {"f", 1, "Zg=="},
                {"fo", 2, "Zm8="},
                {"foo", 3, "Zm9v"},
                {"foob", 4, "Zm9vYg=="},
                {"fooba", 5, "Zm9vYmE="},
                {"foobar", 6, "Zm9vYmFy"},
                {"\xfb\xff\xfe", 3, "+//+"},
                {"\0\0\0", 3, "AAAA"},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
                _cleanup_(buf_done) struct buf text = BUF_INIT(100), plain = BUF_INIT(100);

                assert_int_equal(base64_encode((const uint8_t *)table[i].plain, table[i].n, &text),
                                 0);
                assert_string_equal(buf_str(&text), table[i].text);
                assert_int_equal(base64_decode(table[i].text, strlen(table[i].text), &plain), 0);
                assert_int_equal(plain.len, table[i].n);
                if (table[i].n > 0)
                        assert_memory_equal(plain.data, table[i].plain, table[i].n);
        }
}

static void test_base64_refuses(void **state)
{
        static const char *const bad[] = {
                "Z",    "Zg",       "Zg=",  "=",        "====",    "Z===",
                "Zg=g", "Zh==",     "Zm9=", "Zg==Zg==", "Zm9v\n",  "Zm9v\nZm9",
                "Zm 9", "Zm9v    ", "-__-", "Zm9v====", "Zm9vZg=", "\xc3\xa9Zg",
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
                _cleanup_(buf_done) struct buf out = BUF_INIT(100);

                assert_int_equal(buf_add_str(&out, "kept"), 0);
                assert_int_equal(base64_decode(bad[i], strlen(bad[i]), &out), -EINVAL);
                assert_int_equal(out.len, 4);
        }
        {
                _cleanup_(buf_done) struct buf out = BUF_INIT(2);

                assert_int_equal(base64_decode("Z\0==", 4, &out), -EINVAL);
                assert_int_equal(base64_decode("Zm9v", 4, &out), -E2BIG);
                assert_int_equal(base64_encode((const uint8_t *)"f", 1, &out), -E2BIG);
                assert_int_equal(out.len, 0);
        }
}

static void test_base64_all_bytes(void **state)
{
        _cleanup_(buf_done) struct buf text = BUF_INIT(1000), plain = BUF_INIT(1000);
        uint8_t all[256];

        (void)state;
        for (size_t i = 0; i < sizeof(all); i++)
                all[i] = (uint8_t)i;
        for (size_t n = 0; n <= sizeof(all); n++) {
                buf_reset(&text);
                buf_reset(&plain);
                assert_int_equal(base64_encode(all, n, &text), 0);
                assert_int_equal(base64_decode(buf_str(&text), text.len, &plain), 0);
                assert_int_equal(plain.len, n);
                if (n > 0)
                        assert_memory_equal(plain.data, all, n);
        }
}

static void test_utf16(void **state)
{
        static const struct {
                const char *wide; /* without the final NUL character */
                size_t n;
                const char *utf8;
        } table[] = {
                {"", 0, ""},
                {"a\0b\0", 4, "ab"},
                {"\x7f\0\x80\0", 4, "\x7f\xc2\x80"},
                {"\xff\x07\x00\x08", 4, "\xdf\xbf\xe0\xa0\x80"},
                {"\xac\x20", 2, "\xe2\x82\xac"},
                {"\xff\xd7\x00\xe0", 4, "\xed\x9f\xbf\xee\x80\x80"},
                {"\xff\xff", 2, "\xef\xbf\xbf"},
                {"\x00\xd8\x00\xdc", 4, "\xf0\x90\x80\x80"},
                {"\x3d\xd8\x00\xde", 4, "\xf0\x9f\x98\x80"},
                {"\xff\xdb\xff\xdf", 4, "\xf4\x8f\xbf\xbf"},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
                _cleanup_(buf_done) struct buf wide = BUF_INIT(100), utf8 = BUF_INIT(100);

                assert_int_equal(utf8_to_utf16(table[i].utf8, &wide), 0);
                assert_int_equal(wide.len, table[i].n + 2);
                assert_memory_equal(wide.data, table[i].wide, table[i].n);
                assert_memory_equal(wide.data + table[i].n, "\0\0", 2);
                assert_int_equal(utf16_to_utf8(wide.data, wide.len, &utf8), 0);
                assert_string_equal(buf_str(&utf8), table[i].utf8);
        }
}

static void test_utf16_refuses(void **state)
{
        static const struct {
                const char *wide;
                size_t n;
        } wide[] = {
                {"a", 1},
                {"a\0b", 3},
                {"\x00\xd8", 2},         /* high half alone */
                {"\x00\xd8\x61\x00", 4}, /* followed by a letter */
                {"\x00\xd8\x00\xd8", 4}, /* twice */
                {"\x00\xdc", 2},         /* low half alone */
        };
        static const char *const utf8[] = {
                "\x80",
                "\xc3",
                "\xc3(",
                "\xc0\x80",
                "\xe0\x80\x80",
                "\xed\xa0\x80",
                "\xf0\x80\x80\x80",
                "\xf4\x90\x80\x80",
                "\xf8\x88\x80\x80",
                "\xff",
                "a\xe2\x82",
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(wide); i++) {
                _cleanup_(buf_done) struct buf out = BUF_INIT(100);

                assert_int_equal(utf16_to_utf8((const uint8_t *)wide[i].wide, wide[i].n, &out),
                                 -EINVAL);
        }
        for (size_t i = 0; i < ARRAY_SIZE(utf8); i++) {
                _cleanup_(buf_done) struct buf out = BUF_INIT(100);

                assert_int_equal(utf8_to_utf16(utf8[i], &out), -EINVAL);
        }
}

static void test_utf16_stops_at_nul(void **state)
{
        _cleanup_(buf_done) struct buf out = BUF_INIT(100), small = BUF_INIT(2);

        (void)state;
        assert_int_equal(utf16_to_utf8((const uint8_t *)"a\0\0\0\0\xd8", 6, &out), 0);
        assert_string_equal(buf_str(&out), "a");
        assert_int_equal(utf16_to_utf8((const uint8_t *)"\xac\x20", 2, &small), -E2BIG);
        assert_int_equal(utf8_to_utf16("ab", &small), -E2BIG);
}

static void test_uuid(void **state)
{
        static const uint8_t ones[16] = {[0 ... 15] = 0xff}, zeros[16] = {0};
        char text[UUID_TEXT_SIZE];

        (void)state;
        uuid_encode(ones, 4, text);
        assert_string_equal(text, "ffffffff-ffff-4fff-bfff-ffffffffffff");
        uuid_encode(zeros, 8, text);
        assert_string_equal(text, "00000000-0000-8000-8000-000000000000");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_hex),
                cmocka_unit_test(test_base64),
                cmocka_unit_test(test_base64_refuses),
                cmocka_unit_test(test_base64_all_bytes),
                cmocka_unit_test(test_utf16),
                cmocka_unit_test(test_utf16_refuses),
                cmocka_unit_test(test_utf16_stops_at_nul),
                cmocka_unit_test(test_uuid),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
