/* SPDX-License-Identifier: Apache-2.0 */
#include "partition/eventlog.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "tests/unit/eventlog_data.h"
#include "tests/unit/scratch.h"

static int parse(const void *data, size_t n)
{
        _cleanup_(eventlog_free_p) struct eventlog *l = NULL;
        struct error e = ERROR_INIT;
        int r = eventlog_parse(data, n, &l, &e);

        assert_true((r < 0) == (l == NULL));
        assert_true((r < 0) == (e.text[0] != '\0'));
        return r;
}

/* Every PCR that only the firmware and the boot loader extend. */
static void test_golden(void **state)
{
        static const struct {
                const char *log, *pcrs;
        } table[] = {{"log.bin", "pcrs.txt"}, {"log-updated.bin", "pcrs-updated.txt"}};

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
                _cleanup_(buf_done) struct buf b = BUF_INIT(LIMIT_EVENTLOG);
                _cleanup_(eventlog_free_p) struct eventlog *l = NULL;
                uint8_t value[SHA256_SIZE], want[SHA256_SIZE];

                data_read(table[i].log, &b);
                assert_int_equal(eventlog_parse(b.data, b.len, &l, NULL), 0);
                assert_int_equal(eventlog_count(l), 39);
                for (unsigned pcr = 0; pcr < 24; pcr++) {
                        /* IMA and the phase words come from the running system. */
                        if (pcr == 10 || pcr == 11)
                                continue;
                        assert_int_equal(eventlog_replay(l, pcr, value), 0);
                        data_pcr(table[i].pcrs, pcr, want);
                        assert_memory_equal(value, want, SHA256_SIZE);
                }
                assert_int_equal(eventlog_replay(l, 24, value), -EINVAL);
                assert_null(eventlog_at(l, 39));
        }
}

/* The phase words on top of what the log says of PCR 11: enter-initrd, and the closing word. */
static void test_golden_pcr11(void **state)
{
        _cleanup_(buf_done) struct buf b = BUF_INIT(LIMIT_EVENTLOG);
        _cleanup_(eventlog_free_p) struct eventlog *l = NULL;
        static const char *const words[] = {"enter-initrd", "tb-agent-handover"};
        uint8_t value[SHA256_SIZE], want[SHA256_SIZE], hash[SHA256_SIZE];

        (void)state;
        data_read("log.bin", &b);
        assert_int_equal(eventlog_parse(b.data, b.len, &l, NULL), 0);
        assert_int_equal(eventlog_replay(l, 11, value), 0);
        for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
                assert_int_equal(sha256(words[i], strlen(words[i]), hash), 0);
                assert_int_equal(eventlog_extend(value, hash), 0);
        }
        data_pcr("pcrs.txt", 11, want);
        assert_memory_equal(value, want, SHA256_SIZE);
}

/* A log cut off anywhere but between two events is refused. */
static void test_cut_off(void **state)
{
        _cleanup_(buf_done) struct buf b = BUF_INIT(LIMIT_EVENTLOG);
        unsigned whole = 0;

        (void)state;
        data_read("log.bin", &b);
        for (size_t n = 0; n <= b.len; n++) {
                /* At its own address, so that a read beyond the end is seen. */
                uint8_t *copy = malloc(n + (n == 0));

                assert_non_null(copy);
                memcpy(copy, b.data, n);
                whole += parse(copy, n) == 0;
                free(copy);
        }
        assert_int_equal(whole, 40); /* header alone, and behind each event */
}

static void test_flipped_bytes(void **state)
{
        _cleanup_(buf_done) struct buf b = BUF_INIT(LIMIT_EVENTLOG);

        (void)state;
        data_read("log.bin", &b);
        for (size_t i = 0; i < b.len; i++) {
                uint8_t was = b.data[i];

                b.data[i] = (uint8_t)~was;
                (void)parse(b.data, b.len);
                b.data[i] = was;
        }
        assert_int_equal(parse(b.data, b.len), 0);
}

static void test_headers(void **state)
{
        static const uint16_t sha256_only[][2] = {{0x000b, 32}};
        static const uint16_t sha1_only[][2] = {{0x0004, 20}};
        static const uint16_t both[][2] = {{0x0004, 20}, {0x000b, 32}};
        static const uint16_t twice[][2] = {{0x000b, 32}, {0x000b, 32}};
        static const uint16_t wrong_size[][2] = {{0x000b, 20}};
        static const uint16_t no_size[][2] = {{0x000b, 32}, {0x0004, 0}};
        static const uint16_t huge[][2] = {{0x000b, 32}, {0x0004, 65535}};
        static const struct {
                const uint16_t (*banks)[2];
                unsigned n;
                int result;
        } table[] = {
                {sha256_only, 1, 0},         {both, 2, 0},         {sha1_only, 1, -EPROTONOSUPPORT},
                {NULL, 0, -EPROTONOSUPPORT}, {twice, 2, -EBADMSG}, {wrong_size, 1, -EBADMSG},
                {no_size, 2, -EBADMSG},      {huge, 2, -EBADMSG},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
                _cleanup_(buf_done) struct buf b = BUF_INIT(1024);

                put_header(&b, table[i].banks, table[i].n);
                assert_int_equal(parse(b.data, b.len), table[i].result);
        }
}

static void test_header_fields(void **state)
{
        static const struct {
                size_t offset;
                uint8_t value;
                int result;
        } table[] = {
                {0, 1, -EPROTONOSUPPORT},    /* PCR of the header */
                {4, 4, -EPROTONOSUPPORT},    /* its type */
                {28, 200, -EBADMSG},         /* its size: beyond the end */
                {28, 32, -EBADMSG},          /* and inside of it */
                {32, 'X', -EPROTONOSUPPORT}, /* signature */
                {46, '2', -EPROTONOSUPPORT}, /* the format before */
                {56, 17, -E2BIG},            /* number of banks */
                {59, 255, -E2BIG},           /* many of them */
                {56, 2, -EBADMSG},           /* more than there are */
                {64, 1, -EBADMSG},           /* vendor data that is not there */
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
                _cleanup_(buf_done) struct buf b = BUF_INIT(1024);

                put_plain_header(&b);
                assert_int_equal(b.len, 65);
                b.data[table[i].offset] = table[i].value;
                assert_int_equal(parse(b.data, b.len), table[i].result);
        }
}

/* One event behind the header, with one field that is wrong. */
static void test_event_fields(void **state)
{
        static const struct {
                size_t offset;
                uint8_t value;
                int result;
        } table[] = {
                {0, 24, -EBADMSG},   /* no such PCR */
                {3, 255, -EBADMSG},  /* 0xff000007 */
                {8, 0, -EBADMSG},    /* no digest */
                {8, 2, -EBADMSG},    /* more than banks */
                {11, 255, -EBADMSG}, /* many of them */
                {12, 4, -EBADMSG},   /* a bank that the header does not name */
                {46, 5, -EBADMSG},   /* data beyond the end */
                {49, 255, -EBADMSG}, /* far beyond */
                {46, 3, -EBADMSG},   /* a byte left over */
                {50, 1, 0},          /* data may be anything */
                {14, 1, 0},          /* and so may the digest */
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
                _cleanup_(buf_done) struct buf b = BUF_INIT(1024);
                size_t start;

                put_plain_header(&b);
                start = b.len;
                put_event(&b, 7, EVENTLOG_SEPARATOR, "\0\0\0\0", 4, NULL);
                assert_int_equal(parse(b.data, b.len), 0);
                b.data[start + table[i].offset] = table[i].value;
                assert_int_equal(parse(b.data, b.len), table[i].result);
        }
}

/* Several banks, in an order other than that of the header; one missing; one twice. */
static void test_banks_of_event(void **state)
{
        static const uint16_t banks[][2] = {{0x0004, 20}, {0x000b, 32}, {0x000c, 48}};
        static const struct {
                unsigned n;
                uint16_t algs[3];
                int result;
        } table[] = {
                {3, {0x0c, 0x0b, 0x04}, 0},        {1, {0x0b}, 0},
                {2, {0x04, 0x0c}, -EBADMSG},       {3, {0x0b, 0x0b, 0x04}, -EBADMSG},
                {3, {0x04, 0x04, 0x0b}, -EBADMSG},
        };
        uint8_t digest[48], value[SHA256_SIZE], want[SHA256_SIZE] = {0};

        (void)state;
        memset(digest, 7, sizeof(digest));
        assert_int_equal(eventlog_extend(want, digest), 0);
        for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
                _cleanup_(buf_done) struct buf b = BUF_INIT(1024);
                _cleanup_(eventlog_free_p) struct eventlog *l = NULL;

                put_header(&b, banks, 3);
                put_u32(&b, 4);
                put_u32(&b, EVENTLOG_SEPARATOR);
                put_u32(&b, table[i].n);
                for (unsigned k = 0; k < table[i].n; k++) {
                        uint16_t alg = table[i].algs[k];

                        put_u16(&b, alg);
                        put_bytes(&b, digest, alg == 0x04 ? 20 : alg == 0x0b ? 32 : 48);
                }
                put_u32(&b, 0);
                assert_int_equal(eventlog_parse(b.data, b.len, &l, NULL), table[i].result);
                if (!l)
                        continue;
                assert_int_equal(eventlog_replay(l, 4, value), 0);
                assert_memory_equal(value, want, SHA256_SIZE);
        }
}

static void test_locality(void **state)
{
        _cleanup_(buf_done) struct buf b = BUF_INIT(1024);
        _cleanup_(eventlog_free_p) struct eventlog *l = NULL;
        uint8_t value[SHA256_SIZE], want[SHA256_SIZE] = {0};

        (void)state;
        put_plain_header(&b);
        put_event(&b, 0, EVENTLOG_NO_ACTION, "StartupLocality\0\3", 17, NULL);
        /* Not extended, and so it may name no PCR. */
        put_event(&b, UINT32_MAX, EVENTLOG_NO_ACTION, "x", 1, NULL);
        assert_int_equal(eventlog_parse(b.data, b.len, &l, NULL), 0);
        want[31] = 3;
        assert_int_equal(eventlog_replay(l, 0, value), 0);
        assert_memory_equal(value, want, SHA256_SIZE);
        memset(want, 0xff, sizeof(want));
        assert_int_equal(eventlog_replay(l, 17, value), 0);
        assert_memory_equal(value, want, SHA256_SIZE);
}

static void test_limits(void **state)
{
        static uint8_t large[LIMIT_EVENTLOG + 1];
        _cleanup_(buf_done) struct buf b = BUF_INIT(LIMIT_EVENTLOG);

        (void)state;
        assert_int_equal(parse(large, sizeof(large)), -E2BIG);
        put_plain_header(&b);
        for (unsigned i = 0; i < LIMIT_EVENTLOG_EVENTS; i++)
                put_event(&b, 1, EVENTLOG_SEPARATOR, "", 0, large);
        assert_int_equal(parse(b.data, b.len), 0);
        put_event(&b, 1, EVENTLOG_SEPARATOR, "", 0, large);
        assert_int_equal(parse(b.data, b.len), -E2BIG);
}

static void test_read(void **state)
{
        _cleanup_(buf_done) struct buf out = BUF_INIT(LIMIT_EVENTLOG), small = BUF_INIT(3);
        struct scratch s;
        struct env env = ENV_INIT;
        struct error e = ERROR_INIT;

        (void)state;
        scratch_make(&s);
        env.sysfs = s.path;
        assert_int_equal(eventlog_read(&env, &out, &e), -ENOENT);
        assert_int_equal(e.class, ERROR_PRECONDITION);
        assert_true(e.advice[0] != '\0');
        assert_int_equal(file_make_dirs(s.fd, "kernel/security/tpm0", 0700), 0);
        scratch_put_text(&s, "kernel/security/tpm0/binary_bios_measurements", "abcd");
        assert_int_equal(eventlog_read(&env, &out, &e), 0);
        assert_string_equal(buf_str(&out), "abcd");
        assert_int_equal(eventlog_read(&env, &small, &e), -E2BIG);
        scratch_clean(&s);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_golden),       cmocka_unit_test(test_golden_pcr11),
                cmocka_unit_test(test_cut_off),      cmocka_unit_test(test_flipped_bytes),
                cmocka_unit_test(test_headers),      cmocka_unit_test(test_header_fields),
                cmocka_unit_test(test_event_fields), cmocka_unit_test(test_banks_of_event),
                cmocka_unit_test(test_locality),     cmocka_unit_test(test_limits),
                cmocka_unit_test(test_read),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
