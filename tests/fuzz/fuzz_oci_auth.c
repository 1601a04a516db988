/* SPDX-License-Identifier: Apache-2.0 */
/* Logins: the first byte says which of the three texts it is. */
#include "base/limits.h"
#include "tests/fuzz/fuzz.h"
#include "upgrade/oci_auth.h"

static void check_plain(const char *s)
{
        for (; s && *s; s++)
                FUZZ_CHECK((uint8_t)*s >= '\t' && (uint8_t)*s < 0x7f);
}

static void challenge(const char *text)
{
        struct oci_challenges c = {.n = 0};
        struct error e = ERROR_INIT;
        int r = oci_challenges_add(&c, text, &e);

        fuzz_check_error(r, &e);
        FUZZ_CHECK(c.n <= LIMIT_AUTH_CHALLENGES && (r == 0 || c.n == 0));
        for (unsigned i = 0; i < c.n; i++) {
                check_plain(c.list[i].realm);
                check_plain(c.list[i].service);
                check_plain(c.list[i].scope);
                check_plain(c.list[i].error);
        }
        oci_challenges_done(&c);
}

static void token(const uint8_t *data, size_t size)
{
        struct oci_token t = {.token = NULL};
        struct error e = ERROR_INIT;
        int r = oci_token_parse(data, size, &t, &e);

        fuzz_check_error(r, &e);
        if (r < 0) {
                FUZZ_CHECK(!t.token);
                return;
        }
        FUZZ_CHECK(t.seconds >= 60 && t.seconds <= LIMIT_AUTH_TOKEN_SECONDS);
        FUZZ_CHECK(t.token->len > 0 && t.token->len <= LIMIT_AUTH_PASSWORD);
        for (size_t i = 0; i < t.token->len; i++)
                FUZZ_CHECK(t.token->data[i] > ' ' && t.token->data[i] < 0x7f);
        oci_token_done(&t);
}

static void login(const uint8_t *data, size_t size)
{
        static const char *const registries[] = {"ghcr.io", "docker.io", "localhost:5000"};

        for (size_t i = 0; i < ARRAY_SIZE(registries); i++) {
                _cleanup_(secret_free_p) struct secret *s = NULL;
                _cleanup_free_ char *helper = NULL;
                struct error e = ERROR_INIT;
                int r = oci_login_find(data, size, "config.json", registries[i], "library/a", &s,
                                       &helper, &e);

                fuzz_check_error(r, &e);
                FUZZ_CHECK(r == 0 || (!s && !helper));
                FUZZ_CHECK(!s || (memchr(s->data, ':', s->len) && s->data[0] != ':' &&
                                  !memchr(s->data, '\n', s->len) && !helper));
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        if (size < 1)
                return 0;
        if (data[0] % 3 == 0) {
                _cleanup_free_ char *text = fuzz_text(data + 1, size - 1);

                challenge(text);
        } else if (data[0] % 3 == 1) {
                token(data + 1, size - 1);
        } else {
                login(data + 1, size - 1);
        }
        return 0;
}
