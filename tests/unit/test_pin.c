/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "base/codec.h"
#include "partition/pin.h"

static struct secret *words(const char *text)
{
        struct secret *s = secret_new(strlen(text));

        assert_non_null(s);
        memcpy(s->data, text, s->len);
        return s;
}

/* What systemd derives from PIN "1234", without a salt and with the salt 00 01 ... 1f. */
static void values_are_those_of_systemd(void **state)
{
        static const char plain[] =
                "03ac674216f3e15c761ee1a5e255f067953623c8b388b4459e13f978d7c846f4";
        static const char salted[] =
                "707057c835474da74bcd75b848540fe2bbbf46d9d30a96b148814aecadeddedd";
        _cleanup_(secret_free_p) struct secret *pin = words("1234"), *a = NULL, *b = NULL;
        uint8_t salt[PIN_SALT_SIZE], want[SHA256_SIZE];

        (void)state;
        for (unsigned i = 0; i < sizeof(salt); i++)
                salt[i] = (uint8_t)i;
        assert_int_equal(pin_auth(pin, NULL, &a), 0);
        assert_int_equal(hex_decode(plain, want, sizeof(want)), 0);
        assert_int_equal(a->len, sizeof(want));
        assert_memory_equal(a->data, want, sizeof(want));
        assert_int_equal(pin_auth(pin, salt, &b), 0);
        assert_int_equal(hex_decode(salted, want, sizeof(want)), 0);
        assert_int_equal(b->len, sizeof(want));
        assert_memory_equal(b->data, want, sizeof(want));
}

static void zeros_at_the_end_are_left_out(void **state)
{
        _cleanup_(secret_free_p) struct secret *pin = words("pin-162"), *auth = NULL;

        (void)state;
        assert_int_equal(pin_auth(pin, NULL, &auth), 0);
        assert_int_equal(auth->len, SHA256_SIZE - 1);
}

static void pins_that_can_be_typed(void **state)
{
        static const struct {
                const char *text;
                bool fit;
        } cases[] = {
                {"1234", true},
                {"open sesame", true},
                {"123", false},
                {"", false},
                {"12\t34", false},
                {"caf\xc3\xa9s", false},
                {"\x7f\x7f\x7f\x7f", false},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                _cleanup_(secret_free_p) struct secret *pin = secret_new(strlen(cases[i].text) + 1);
                struct error e = ERROR_INIT;

                assert_non_null(pin);
                pin->len = strlen(cases[i].text);
                memcpy(pin->data, cases[i].text, pin->len);
                assert_int_equal(pin_check(pin, &e), cases[i].fit ? 0 : -EINVAL);
                assert_true(cases[i].fit || e.class == ERROR_USAGE);
                assert_true(cases[i].fit || !*cases[i].text || !strstr(e.text, cases[i].text));
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(values_are_those_of_systemd),
                cmocka_unit_test(zeros_at_the_end_are_left_out),
                cmocka_unit_test(pins_that_can_be_typed),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
