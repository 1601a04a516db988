/* SPDX-License-Identifier: Apache-2.0 */
#include "upgrade/oci_digest.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/stream_data.h"

#define ABC_256 "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
#define ABC_512                                                                                    \
        "sha512:ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"                  \
        "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f"

static void test_parse(void **state)
{
        static const char *const bad[] = {
                "",
                "sha256",
                "sha256:",
                "sha256:ba7816bf",
                ABC_256 "0",
                "SHA256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
                "sha256:BA7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
                "sha256:ga7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
                "sha512:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
                "sha384:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
                "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
                " " ABC_256,
                ABC_256 "\n",
        };
        struct oci_digest d;

        (void)state;
        assert_int_equal(oci_digest_parse(ABC_256, &d), 0);
        assert_int_equal(d.algorithm, OCI_SHA256);
        assert_int_equal(d.bytes[0], 0xba);
        assert_int_equal(d.bytes[32], 0);
        assert_string_equal(d.text, ABC_256);
        assert_int_equal(oci_digest_parse(ABC_512, &d), 0);
        assert_int_equal(d.algorithm, OCI_SHA512);
        assert_int_equal(d.bytes[63], 0x9f);
        assert_string_equal(d.text, ABC_512);
        for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
                if (oci_digest_parse(bad[i], &d) != -EINVAL)
                        fail_msg("%s", bad[i]);
        }
}

static void test_check(void **state)
{
        static const char *const digests[] = {ABC_256, ABC_512};
        struct error e = ERROR_INIT;
        struct oci_digest d;

        (void)state;
        assert_int_equal(oci_digest_of("abc", 3, &d), 0);
        assert_string_equal(d.text, ABC_256);
        for (size_t i = 0; i < ARRAY_SIZE(digests); i++) {
                assert_int_equal(oci_digest_parse(digests[i], &d), 0);
                assert_int_equal(oci_digest_check(&d, "abc", 3, "x", &e), 0);
                assert_int_equal(oci_digest_check(&d, "abd", 3, "x", &e), -EBADMSG);
                assert_int_equal(e.class, ERROR_REFUSED);
                assert_int_equal(oci_digest_check(&d, "", 0, "x", &e), -EBADMSG);
        }
}

static void test_stream(void **state)
{
        static const struct {
                const char *data;
                const char *digest;
                uint64_t size;
                int r;
                enum error_class class;
        } table[] = {
                {"abc", ABC_256, 3, 0, ERROR_NONE},
                {"abc", ABC_512, 3, 0, ERROR_NONE},
                {"abc", NULL, 3, 0, ERROR_NONE},
                {"abd", NULL, 3, 0, ERROR_NONE},
                {"abd", ABC_256, 3, -EBADMSG, ERROR_REFUSED},
                {"ab", ABC_256, 3, -EPIPE, ERROR_SOURCE},
                {"", ABC_256, 3, -EPIPE, ERROR_SOURCE},
                {"ab", NULL, 3, -EPIPE, ERROR_SOURCE},
                {"abcd", ABC_256, 3, -EBADMSG, ERROR_REFUSED},
                {"abc", ABC_256, 2, -EBADMSG, ERROR_REFUSED},
                {"", NULL, 0, 0, ERROR_NONE},
                {"a", NULL, 0, -EBADMSG, ERROR_REFUSED},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
                struct stream_data s = stream_data_make(table[i].data, strlen(table[i].data), 2);
                struct oci_checked c;
                struct oci_digest d;
                struct error e = ERROR_INIT, again = ERROR_INIT;
                char out[8];
                size_t got = 0;
                ssize_t n;

                if (table[i].digest)
                        assert_int_equal(oci_digest_parse(table[i].digest, &d), 0);
                assert_int_equal(oci_checked_init(&c, &s.stream, table[i].digest ? &d : NULL,
                                                  table[i].size, &e),
                                 0);
                while ((n = stream_read(&c.stream, out + got, sizeof(out) - got, &e)) > 0)
                        got += (size_t)n;
                if (n != table[i].r || e.class != table[i].class)
                        fail_msg("%zu: %zd %s", i, n, e.text);
                assert_true(got <= table[i].size);
                assert_memory_equal(out, table[i].data, got);
                /* it stays that way */
                assert_int_equal(stream_read(&c.stream, out, 1, &again), n);
                assert_int_equal(again.code, e.code);
                oci_checked_done(&c);
        }
}

static void test_stream_breaks(void **state)
{
        struct stream_data s = stream_data_make("abc", 3, 1);
        struct error e = ERROR_INIT;
        struct oci_checked c;
        struct oci_digest d;
        char out[8];

        (void)state;
        s.fail_at = 2;
        assert_int_equal(oci_digest_parse(ABC_256, &d), 0);
        assert_int_equal(oci_checked_init(&c, &s.stream, &d, 3, &e), 0);
        assert_int_equal(stream_read_full(&c.stream, out, sizeof(out), &e), -ECONNRESET);
        assert_int_equal(e.class, ERROR_SOURCE);
        oci_checked_done(&c);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_parse),
                cmocka_unit_test(test_check),
                cmocka_unit_test(test_stream),
                cmocka_unit_test(test_stream_breaks),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
