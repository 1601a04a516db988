/* SPDX-License-Identifier: Apache-2.0 */
/* What firmware measured, noted and compared: two boots that were captured, and events by hand. */
#include "agent/measured.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "agent/pcr_choice.h"
#include "tests/unit/eventlog_data.h"
#include "tests/unit/scratch.h"

#define PCR_7 (UINT32_C(1) << 7)

static void take(const char *file, uint32_t mask, struct measured *ret)
{
        _cleanup_(buf_done) struct buf text = BUF_INIT(LIMIT_EVENTLOG);
        _cleanup_(eventlog_free_p) struct eventlog *log = NULL;

        data_read(file, &text);
        assert_int_equal(eventlog_parse(text.data, text.len, &log, NULL), 0);
        assert_int_equal(measured_take(log, mask, ret), 0);
}

/* Its digests alone lead to what the TPM said then. */
static void test_values(void **state)
{
        static const unsigned pcrs[] = {0, 2, 3, 7, 14};
        _cleanup_(measured_done) struct measured m = {.n = 0};

        (void)state;
        take("log.bin", PCR_CHOICE_LITERAL, &m);
        for (size_t i = 0; i < ARRAY_SIZE(pcrs); i++) {
                uint8_t want[SHA256_SIZE], have[SHA256_SIZE];

                data_pcr("pcrs.txt", pcrs[i], want);
                assert_int_equal(measured_value(&m, pcrs[i], have), 0);
                assert_memory_equal(have, want, SHA256_SIZE);
        }
        assert_int_equal(measured_value(&m, 4, (uint8_t[SHA256_SIZE]){0}), -ENOENT);
}

static void test_text_and_back(void **state)
{
        _cleanup_(measured_done) struct measured m = {.n = 0}, again = {.n = 0};
        _cleanup_(buf_done) struct buf text = BUF_INIT(MEASURED_FILE_MAX);
        struct error e = ERROR_INIT;

        (void)state;
        take("log.bin", PCR_CHOICE_LITERAL, &m);
        m.time = 1700000000;
        m.has_tpm = true;
        memset(m.tpm, 5, SHA256_SIZE);
        (void)snprintf(m.version, sizeof(m.version), "1.2");
        assert_int_equal(measured_format(&m, &text), 0);
        assert_int_equal(measured_parse(text.data, text.len, "text", &again, &e), 0);
        assert_true(measured_same(&m, &again));
        assert_int_equal(again.time, 1700000000);
        assert_string_equal(again.version, "1.2");
        for (size_t i = 0; i < m.n; i++) {
                assert_string_equal(m.events[i].what, again.events[i].what);
                assert_string_equal(m.events[i].holds, again.events[i].holds);
        }
        again.tpm[0]++;
        assert_false(measured_same(&m, &again));
        again.tpm[0]--;
        again.events[again.n - 1].digest[0]++;
        assert_false(measured_same(&m, &again));
}

static void test_broken_text(void **state)
{
        static const char *const texts[] = {
                "",
                "[]",
                "{}",
                "{\"time\":1}",
                "{\"time\":1,\"version\":\"\",\"tpm\":null,\"pcrs\":128,\"locality\":256,"
                "\"events\":[]}",
                "{\"time\":1,\"version\":\"\",\"tpm\":null,\"pcrs\":16777216,\"locality\":0,"
                "\"events\":[]}",
                "{\"time\":1,\"version\":\"\",\"tpm\":null,\"pcrs\":128,\"locality\":0,"
                "\"events\":[{\"pcr\":24,\"type\":1,\"digest\":\"00\"}]}",
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
                struct measured m = {.n = 0};
                struct error e = ERROR_INIT;

                assert_true(measured_parse(texts[i], strlen(texts[i]), "text", &m, &e) < 0);
                assert_int_not_equal(e.code, 0);
                assert_int_equal(m.n, 0);
        }
}

/* Between the two boots dbx was updated, and nothing else. */
static void test_updated_dbx_is_named(void **state)
{
        _cleanup_(measured_done) struct measured was = {.n = 0}, now = {.n = 0};
        _cleanup_(buf_done) struct buf text = BUF_INIT(4096);
        struct measured_change change[4];

        (void)state;
        take("log.bin", PCR_7, &was);
        take("log-updated.bin", PCR_7, &now);
        assert_int_equal(measured_compare(&was, &was, 7, change, 4), 0);
        assert_int_equal(measured_compare(&was, &now, 7, change, 4), 1);
        assert_int_equal(measured_describe(&change[0], &text), 0);
        assert_non_null(strstr(buf_str(&text), "event 5, variable dbx: "));
        assert_non_null(strstr(buf_str(&text), ": 1 hash instead of 0"));
        assert_int_equal(measured_compare(&was, &now, 0, change, 4), 0);
}

/* --- by hand --------------------------------------------------------------------------------- */

static struct measured_event event(uint8_t digest, const char *what, uint64_t certificates,
                                   const char *holds)
{
        struct measured_event ev = {.pcr = 7, .n_certificates = certificates};

        memset(ev.digest, digest, SHA256_SIZE);
        (void)snprintf(ev.what, sizeof(ev.what), "%s", what);
        ev.holds = strdup(holds);
        assert_non_null(ev.holds);
        return ev;
}

static void put(struct measured *m, struct measured_event ev)
{
        m->events = reallocarray(m->events, m->n + 1, sizeof(*m->events));
        assert_non_null(m->events);
        m->events[m->n++] = ev;
}

static void expect(const struct measured *was, const struct measured *now, const char *expected)
{
        _cleanup_(buf_done) struct buf text = BUF_INIT(4096);
        struct measured_change change[8];
        size_t n = measured_compare(was, now, 7, change, 8);

        for (size_t i = 0; i < n && i < 8; i++) {
                if (i > 0)
                        assert_int_equal(buf_add_str(&text, "|"), 0);
                assert_int_equal(measured_describe(&change[i], &text), 0);
        }
        assert_string_equal(buf_str(&text), expected);
}

static void test_differences(void **state)
{
        _cleanup_(measured_done) struct measured was = {.pcrs = PCR_7}, now = {.pcrs = PCR_7};

        (void)state;
        put(&was, event(1, "variable SecureBoot", 0, "on"));
        put(&was, event(2, "variable db", 1, "A"));
        put(&was, event(3, "separator", 0, ""));
        put(&was, event(4, "vouched for by db", 1, "A"));

        put(&now, event(1, "variable SecureBoot", 0, "on"));
        put(&now, event(9, "variable db", 2, "A\nB"));
        put(&now, event(3, "separator", 0, ""));
        put(&now, event(4, "vouched for by db", 1, "A"));
        expect(&was, &now, "event 2, variable db: 2 certificates instead of 1; new: B");
        expect(&now, &was, "event 2, variable db: 1 certificate instead of 2; gone: B");

        put(&now, event(5, "vouched for by db", 1, "B"));
        expect(&was, &now,
               "event 2, variable db: 2 certificates instead of 1; new: B|"
               "event 5, vouched for by db: new; it is: B");
        expect(&now, &was,
               "event 2, variable db: 1 certificate instead of 2; gone: B|"
               "event 5, vouched for by db: gone; it is: B");

        now.events[0].digest[0] = 77;
        (void)snprintf(now.events[0].holds, 3, "no");
        expect(&was, &now,
               "event 1, variable SecureBoot: changed; new: no; gone: on|"
               "event 2, variable db: 2 certificates instead of 1; new: B|"
               "event 5, vouched for by db: new; it is: B");
        was.events[2].digest[0] = 7;
        now.n = 4;
        (void)snprintf(now.events[0].holds, 3, "on");
        now.events[0].digest[0] = 1;
        expect(&was, &now,
               "event 2, variable db: 2 certificates instead of 1; new: B|"
               "event 3, separator: its content is another one");
        now.n = 5;
}

/* A token tells whether it was sealed to what is noted: the note needs no protection of its own. */
static void test_is_of_a_token(void **state)
{
        _cleanup_(measured_done) struct measured m = {.n = 0};
        _cleanup_(token_free_p) struct token *token = token_new();
        uint8_t values[2 * SHA256_SIZE];

        (void)state;
        assert_non_null(token);
        take("log.bin", PCR_CHOICE_LITERAL, &m);
        assert_int_equal(measured_value(&m, 0, values), 0);
        assert_int_equal(measured_value(&m, 7, values + SHA256_SIZE), 0);
        token->literal_pcrs = 1u << 0 | 1u << 7;
        assert_int_equal(
                policy_pcr(token->policy_hash, token->literal_pcrs, values, sizeof(values)), 0);
        assert_true(measured_is_of(&m, token));
        token->pin = true;
        assert_false(measured_is_of(&m, token));
        token->pin = false;
        m.events[m.n - 1].digest[0]++; /* of PCR 14 or 7, or a separator of another one */
        m.events[0].digest[0]++;
        assert_false(measured_is_of(&m, token));
        m.events[0].digest[0]--;
        m.pcrs = 1u << 0;
        assert_false(measured_is_of(&m, token));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_values),      cmocka_unit_test(test_text_and_back),
                cmocka_unit_test(test_broken_text), cmocka_unit_test(test_updated_dbx_is_named),
                cmocka_unit_test(test_differences), cmocka_unit_test(test_is_of_a_token),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
