/* SPDX-License-Identifier: Apache-2.0 */
#include "base/json_secret.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static int get(const char *text, const char *key, struct secret **ret)
{
        _cleanup_json_ struct json_object *o = NULL;
        struct error e = ERROR_INIT;
        int r = json_secret_read(text, strlen(text), 4096, "test", &o, &e);

        assert_int_equal(e.code, -r);
        return r < 0 ? r : json_secret_get(o, key, text, strlen(text), ret);
}

static void test_values(void **state)
{
        static const struct {
                const char *text, *value;
                int r;
        } table[] = {
                {"{\"k\":\"v\"}", "v", 0},
                {" { \"a\" : \"x\" , \"k\" : \"v w\" } ", "v w", 0},
                {"{\"k\":\"\"}", "", 0},
                {"{\"\\u006b\":\"v\"}", "v", 0},
                {"{\"k\":\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"}", "\"\\/\b\f\n\r\t", 0},
                {"{\"k\":\"\\u0041\\u00e9\\u20AC\\ud83d\\ude00.\"}",
                 "A\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80.", 0},
                {"{\"a\":[\"k\",{\"k\":\"no\"}],\"k\":\"yes\"}", "yes", 0},
                {"{\"k\":\"1:2\"}", "1:2", 0},
                {"{\"a\":\"k\\\":\",\"k\":\"v\"}", "v", 0},
                {"{}", NULL, -ENOENT},
                {"[]", NULL, -ENOENT},
                {"{\"K\":\"v\"}", NULL, -ENOENT},
                {"{\"k\":7}", NULL, -EBADMSG},
                {"{\"k\":null}", NULL, -EBADMSG},
                {"{\"k\":{}}", NULL, -EBADMSG},
                {"{\"k\":\"a\nb\"}", NULL, -EBADMSG},
                {"{\"k\":\"\\x\"}", NULL, -EBADMSG},
                {"{\"k\":\"\\u12\"}", NULL, -EBADMSG},
                {"{\"k\":\"\\u12g4\"}", NULL, -EBADMSG},
                {"{\"k\":\"\\u0000\"}", NULL, -EBADMSG},
                {"{\"k\":\"\\ud83d\"}", NULL, -EBADMSG},
                {"{\"k\":\"\\ud83d\\u0041\"}", NULL, -EBADMSG},
                {"{\"k\":\"\\ude00\"}", NULL, -EBADMSG},
                {"", NULL, -EBADMSG},
                {"{\"k\":\"v}", NULL, -EBADMSG},
                {"{\"k\":\"v\\\"}", NULL, -EBADMSG},
                {"{\"k\":\"", NULL, -EBADMSG},
                {"{\"k\":\"v\"", NULL, -EBADMSG},
                {"{\"k\":\"v\",\"k\":\"w\"}", NULL, -EBADMSG},
                {"{\"k\" \"v\"}", NULL, -EBADMSG},
                {"{\"k\":\"v\":\"w\"}", NULL, -EBADMSG},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
                _cleanup_(secret_free_p) struct secret *s = NULL;
                int r = get(table[i].text, "k", &s);

                if (r != table[i].r)
                        fail_msg("%s: %d", table[i].text, r);
                if (r < 0) {
                        assert_null(s);
                        continue;
                }
                assert_int_equal(s->len, strlen(table[i].value));
                assert_memory_equal(s->data, table[i].value, s->len);
        }
}

/* What this is for: no string of the document in the tree. */
static void test_nothing_in_the_tree(void **state)
{
        static const char text[] = "{\"k\":\"geheim\",\"l\":[\"geheim\",{\"m\":\"geheim\"}]}";
        _cleanup_json_ struct json_object *o = NULL;

        (void)state;
        assert_int_equal(json_secret_read(text, strlen(text), 4096, "test", &o, NULL), 0);
        assert_null(strstr(json_object_to_json_string(o), "geheim"));
}

/* A tree and a text that do not belong together. */
static void test_foreign_text(void **state)
{
        static const char text[] = "{\"k\":\"vvvvvvvv\"}";
        _cleanup_json_ struct json_object *o = NULL, *plain = NULL;
        struct secret *s;

        (void)state;
        assert_int_equal(json_secret_read(text, strlen(text), 4096, "test", &o, NULL), 0);
        assert_int_equal(json_secret_get(o, "k", text, 10, &s), -EBADMSG);
        assert_int_equal(json_read_text(text, strlen(text), 4096, "test", &plain, NULL), 0);
        assert_int_equal(json_secret_get(plain, "k", text, strlen(text), &s), -EBADMSG);
}

static void test_size(void **state)
{
        _cleanup_json_ struct json_object *o = NULL;
        struct error e = ERROR_INIT;

        (void)state;
        assert_int_equal(json_secret_read("[\"\",\"\",\"\"]", 10, 10, "test", &o, &e), 0);
        json_put_p(&o);
        assert_int_equal(json_secret_read("[\"\",\"\",\"\"]", 10, 9, "test", &o, &e), -E2BIG);
        assert_int_equal(e.class, ERROR_REFUSED);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_values),
                cmocka_unit_test(test_nothing_in_the_tree),
                cmocka_unit_test(test_foreign_text),
                cmocka_unit_test(test_size),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
