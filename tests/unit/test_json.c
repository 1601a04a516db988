/* SPDX-License-Identifier: Apache-2.0 */
#include "base/json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/limits.h"

static int parse(const char *text, struct json_object **ret)
{
        return json_read_text(text, strlen(text), 4096, "test", ret, NULL);
}

static void test_strict(void **state)
{
        static const struct {
                const char *text;
                int result;
        } table[] = {
                {"{}", 0},
                {"[]", 0},
                {" {\"a\": [1, true, \"x\", 1.5, null]} \n", 0},
                {"7", 0},
                {"\"text\"", 0},
                {"true", 0},
                {"", -EBADMSG},
                {" ", -EBADMSG},
                {"{", -EBADMSG},
                {"{}x", -EBADMSG},
                {"{} {}", -EBADMSG},
                {"{}\n{}", -EBADMSG},
                {"[1,]", -EBADMSG},
                {"{\"a\":1,}", -EBADMSG},
                {"{'a':1}", -EBADMSG},
                {"{a:1}", -EBADMSG},
                {"[01]", -EBADMSG},
                {"/* c */ {}", -EBADMSG},
                {"{} // c", -EBADMSG},
                {"TRUE", -EBADMSG},
                {"NaN", -EBADMSG},
                {"[-Infinity]", -EBADMSG},
                {"[\"it's Not I\\\"'\", \"\\\\\", 1E5]", 0},
                {"[\"\\\\\", 'x']", -EBADMSG},
                {"\"\xff\"", -EBADMSG},
                {"\"a\nb\"", -EBADMSG},
                {"\"open", -EBADMSG},
                {"nul", -EBADMSG},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
                _cleanup_json_ struct json_object *o = NULL;
                int r = parse(table[i].text, &o);

                if (r != table[i].result)
                        print_error("row %zu: %s\n", i, table[i].text);
                assert_int_equal(r, table[i].result);
                assert_int_equal(o != NULL, r == 0);
        }
}

static void test_depth(void **state)
{
        char text[200];

        (void)state;
        for (size_t depth = 1; depth < 40; depth++) {
                _cleanup_json_ struct json_object *o = NULL;
                int r;

                memset(text, '[', depth);
                memset(text + depth, ']', depth);
                text[2 * depth] = '\0';
                r = parse(text, &o);
                if (depth <= 10)
                        assert_int_equal(r, 0);
                if (depth >= 17)
                        assert_int_equal(r, -EBADMSG);
        }
}

static void test_size(void **state)
{
        _cleanup_json_ struct json_object *o = NULL, *p = NULL, *q = NULL;
        struct error e = ERROR_INIT;

        (void)state;
        assert_int_equal(json_read_text("[1,2]", 5, 5, "list", &o, &e), 0);
        assert_int_equal(json_read_text("[1,2]\0", 6, 5, "list", &p, &e), 0);
        assert_int_equal(json_read_text("[1,2] ", 6, 5, "list", &q, &e), -E2BIG);
        assert_int_equal(e.class, ERROR_REFUSED);
        assert_non_null(strstr(e.text, "list"));
        assert_int_equal(json_read_text("[1\0,2]", 6, 99, "list", &q, &e), -EBADMSG);
        assert_int_equal(json_read_text("{}\0\0", 4, 99, "list", &q, &e), -EBADMSG);
        assert_null(q);
}

/* Whoever reads the first of two and whoever reads the last see different documents. */
static void test_duplicates(void **state)
{
        static const struct {
                const char *text;
                int r;
        } table[] = {
                {"{\"a\":1,\"b\":{\"a\":2},\"c\":[{\"a\":3},{\"a\":4}]}", 0},
                {"{\"a\":\":\",\":\":\"\\\":\"}", 0},
                {"{\"a\":null,\"A\":null}", 0},
                {"{\"a\":1,\"a\":1}", -EBADMSG},
                {"{\"a\":null,\"a\":1}", -EBADMSG},
                {"{\"a\":1,\"\\u0061\":1}", -EBADMSG},
                {"{\"x\":[[{\"k\":{\"a\":1,\"b\":2,\"a\":3}}]]}", -EBADMSG},
                {"{\"a\\u0000b\":1}", -EBADMSG},
                {"{\"a\":\"\\u0000\"}", -EBADMSG},
                {"{\"a\":\"\\\\u0000\"}", 0},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
                _cleanup_json_ struct json_object *o = NULL;

                if (parse(table[i].text, &o) != table[i].r)
                        fail_msg("%s", table[i].text);
        }
}

static void test_number_of_values(void **state)
{
        _cleanup_(buf_done) struct buf text = BUF_INIT(1 << 20);
        _cleanup_json_ struct json_object *o = NULL, *p = NULL;
        struct error e = ERROR_INIT;

        (void)state;
        assert_int_equal(buf_add_str(&text, "[[]"), 0);
        for (size_t i = 0; i < LIMIT_JSON_VALUES / 2 - 2; i++)
                assert_int_equal(buf_add_str(&text, ",[]"), 0);
        assert_int_equal(buf_add_str(&text, "]"), 0);
        assert_int_equal(json_read_text(text.data, text.len, text.len, "many", &o, &e), 0);
        text.len--;
        assert_int_equal(buf_add_str(&text, ",[],[]]"), 0);
        assert_int_equal(json_read_text(text.data, text.len, text.len, "many", &p, &e), -E2BIG);
        assert_int_equal(e.class, ERROR_REFUSED);
}

static void test_get(void **state)
{
        _cleanup_json_ struct json_object *o = NULL;
        struct json_object *child = NULL;
        const char *s = "kept";
        uint64_t v = 99;
        bool b = false;

        (void)state;
        assert_int_equal(parse("{\"s\":\"x\",\"n\":7,\"neg\":-1,\"big\":18446744073709551615,"
                               "\"f\":1.5,\"b\":true,\"z\":null,\"a\":[1],\"o\":{}}",
                               &o),
                         0);
        assert_int_equal(json_get_str(o, "s", &s), 0);
        assert_string_equal(s, "x");
        assert_int_equal(json_get_u64(o, "n", &v), 0);
        assert_int_equal(v, 7);
        assert_int_equal(json_get_u64(o, "big", &v), 0);
        assert_true(v == UINT64_MAX);
        assert_int_equal(json_get_u64(o, "neg", &v), -EBADMSG);
        assert_int_equal(json_get_u64(o, "f", &v), -EBADMSG);
        assert_int_equal(json_get_u64(o, "s", &v), -EBADMSG);
        assert_true(v == UINT64_MAX);
        assert_int_equal(json_get_bool(o, "b", &b), 0);
        assert_true(b);
        assert_int_equal(json_get_bool(o, "n", &b), -EBADMSG);
        assert_int_equal(json_get_str(o, "n", &s), -EBADMSG);
        assert_int_equal(json_get_str(o, "z", &s), -EBADMSG);
        assert_int_equal(json_get_str(o, "absent", &s), -ENOENT);
        assert_int_equal(json_get_array(o, "a", &child), 0);
        assert_int_equal(json_object_array_length(child), 1);
        assert_int_equal(json_get_obj(o, "a", &child), -EBADMSG);
        assert_int_equal(json_get_obj(o, "o", &child), 0);
        assert_int_equal(json_get_str(child, "s", &s), -ENOENT);
        /* Not an object at all. */
        assert_int_equal(json_get_array(o, "a", &child), 0);
        assert_int_equal(json_get_str(child, "s", &s), -ENOENT);
        assert_int_equal(json_get_str(NULL, "s", &s), -ENOENT);
}

static void test_add(void **state)
{
        _cleanup_json_ struct json_object *o = json_object_new_object();
        struct json_object *a = json_object_new_array();

        (void)state;
        assert_int_equal(json_add_str(o, "s", "x\"y"), 0);
        assert_int_equal(json_add_str(o, "none", NULL), 0);
        assert_int_equal(json_add_u64(o, "n", UINT64_MAX), 0);
        assert_int_equal(json_add_bool(o, "b", false), 0);
        assert_int_equal(json_add_null(o, "z"), 0);
        assert_int_equal(json_append(a, json_object_new_int(1)), 0);
        assert_int_equal(json_append(a, NULL), -ENOMEM);
        assert_int_equal(json_add_obj(o, "a", a), 0);
        assert_int_equal(json_add_obj(o, "x", NULL), -ENOMEM);
        assert_int_equal(json_add_obj(NULL, "x", json_object_new_int(1)), -EINVAL);
        assert_int_equal(json_add_str(NULL, "x", NULL), -EINVAL);
        assert_int_equal(json_append(NULL, json_object_new_int(1)), -EINVAL);
        assert_string_equal(json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN),
                            "{\"s\":\"x\\\"y\",\"none\":null,\"n\":18446744073709551615,"
                            "\"b\":false,\"z\":null,\"a\":[1]}");
}

/* Bytes from images and file systems are no text until looked at. */
static void test_any_bytes(void **state)
{
#define R "\xef\xbf\xbd"
        static const struct {
                const char *in, *out;
        } table[] = {
                {"", ""},
                {"plain", "plain"},
                {"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80", "\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80"},
                {"\xc2\x80 \xdf\xbf \xe0\xa0\x80 \xed\x9f\xbf \xee\x80\x80 \xf0\x90\x80\x80 "
                 "\xf4\x8f\xbf\xbf",
                 "\xc2\x80 \xdf\xbf \xe0\xa0\x80 \xed\x9f\xbf \xee\x80\x80 \xf0\x90\x80\x80 "
                 "\xf4\x8f\xbf\xbf"},
                {"a\xff"
                 "b",
                 "a" R "b"},
                {"\x80", R},
                {"\xc3", R},
                {"\xc3x", R "x"},
                {"\xe2\x82", R R},
                {"\xe2\x82z", R R "z"},
                {"\xf0\x9f\x98", R R R},
                {"\xc0\xaf", R R}, /* overlong */
                {"\xc1\xbf", R R},
                {"\xe0\x9f\xbf", R R R},
                {"\xf0\x8f\xbf\xbf", R R R R},
                {"\xed\xa0\x80", R R R},       /* surrogate */
                {"\xf4\x90\x80\x80", R R R R}, /* above U+10FFFF */
                {"\xf5\x80\x80\x80", R R R R},
                {"\xc3\xa4\xc3", "\xc3\xa4" R},
        };
#undef R

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
                _cleanup_json_ struct json_object *o = json_object_new_object(), *back = NULL;
                const char *text, *s = NULL;

                assert_int_equal(json_add_str(o, "s", table[i].in), 0);
                text = json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN);
                assert_int_equal(parse(text, &back), 0);
                assert_int_equal(json_get_str(back, "s", &s), 0);
                assert_string_equal(s, table[i].out);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_strict),
                cmocka_unit_test(test_depth),
                cmocka_unit_test(test_size),
                cmocka_unit_test(test_duplicates),
                cmocka_unit_test(test_number_of_values),
                cmocka_unit_test(test_get),
                cmocka_unit_test(test_add),
                cmocka_unit_test(test_any_bytes),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
