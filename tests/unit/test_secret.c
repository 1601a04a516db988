/* SPDX-License-Identifier: Apache-2.0 */
#include "base/secret.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/limits.h"

static void test_new(void **state)
{
        static const size_t sizes[] = {0, 1, 32, 4096, 10000};
        static const uint8_t zeros[10000];

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
                _cleanup_(secret_free_p) struct secret *s = secret_new(sizes[i]);

                assert_non_null(s);
                assert_int_equal(s->len, sizes[i]);
                if (sizes[i] > 0)
                        assert_memory_equal(s->data, zeros, sizes[i]);
        }
        secret_free(NULL);
        errno = 0;
        assert_null(secret_new(SIZE_MAX / 2));
        assert_int_not_equal(errno, 0);
}

/* Whether the mapping of the address has a flag ("dd" = left out of dumps, "wf" = blank in
 * children).
 */
static bool mapping_has(const void *address, const char *flag)
{
        FILE *f = fopen("/proc/self/smaps", "re");
        char line[512], word[8];
        bool inside = false, has = false;

        assert_non_null(f);
        (void)snprintf(word, sizeof(word), " %s", flag);
        while (fgets(line, sizeof(line), f)) {
                unsigned long from, to;

                if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
                        inside = (uintptr_t)address >= from && (uintptr_t)address < to;
                if (inside && strncmp(line, "VmFlags:", 8) == 0)
                        has = strstr(line, word) != NULL;
        }
        (void)fclose(f);
        return has;
}

static void test_protection(void **state)
{
        _cleanup_(secret_free_p) struct secret *s = secret_new(32);
        int on_stack = 0;

        (void)state;
        s->data[0] = 1;
        if (!mapping_has(&on_stack, "rd"))
                skip(); /* a kernel that does not tell */
        assert_true(mapping_has(s->data, "dd"));
        assert_false(mapping_has(&on_stack, "dd"));
        assert_true(mapping_has(s->data, "wf"));
        assert_false(mapping_has(&on_stack, "wf"));
}

static void test_random(void **state)
{
        _cleanup_(secret_free_p) struct secret *a = secret_random(32), *b = secret_random(32);

        (void)state;
        assert_non_null(a);
        assert_non_null(b);
        assert_memory_not_equal(a->data, b->data, 32);
}

static void test_base64(void **state)
{
        static const struct {
                const char *plain, *text;
        } table[] = {{"", ""}, {"f", "Zg=="}, {"fo", "Zm8="}, {"foo", "Zm9v"}};

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
                size_t n = strlen(table[i].plain);
                _cleanup_(secret_free_p) struct secret *s = secret_new(n), *text = NULL;

                if (n > 0)
                        memcpy(s->data, table[i].plain, n);
                text = secret_base64(s);
                assert_non_null(text);
                assert_int_equal(text->len, strlen(table[i].text));
                if (text->len > 0)
                        assert_memory_equal(text->data, table[i].text, text->len);
        }
}

/* A length that the owner lowered is respected, and the rest is wiped all the same. */
static void test_shorter(void **state)
{
        _cleanup_(secret_free_p) struct secret *s = secret_new(6), *text = NULL;

        (void)state;
        memcpy(s->data, "foobar", 6);
        s->len = 3;
        text = secret_base64(s);
        assert_int_equal(text->len, 4);
        assert_memory_equal(text->data, "Zm9v", 4);
}

static void test_equal(void **state)
{
        uint8_t a[32], b[32];

        (void)state;
        memset(a, 7, sizeof(a));
        memcpy(b, a, sizeof(a));
        assert_true(secret_equal(a, b, sizeof(a)));
        assert_true(secret_equal(a, b, 0));
        for (size_t i = 0; i < sizeof(a); i++) {
                for (unsigned bit = 0; bit < 8; bit++) {
                        b[i] ^= (uint8_t)(1u << bit);
                        assert_false(secret_equal(a, b, sizeof(a)));
                        b[i] ^= (uint8_t)(1u << bit);
                }
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_new),     cmocka_unit_test(test_protection),
                cmocka_unit_test(test_random),  cmocka_unit_test(test_base64),
                cmocka_unit_test(test_shorter), cmocka_unit_test(test_equal),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
