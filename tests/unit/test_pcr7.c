/* SPDX-License-Identifier: Apache-2.0 */
#include "partition/pcr7.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "tests/unit/eventlog_data.h"

#define EVENT_DB 7u /* numbers in the captured log */
#define EVENT_DBX 8u
#define EVENT_SECUREBOOT 4u

static const uint8_t guid_security[16] = {0xcb, 0xb2, 0x19, 0xd7, 0x3a, 0x3d, 0x96, 0x45,
                                          0xa3, 0xbc, 0xda, 0xd0, 0x0e, 0x67, 0x65, 0x6f};

/* The captured log and the variables of that boot. */
struct boot {
        struct buf log, contents[PCR7_VARIABLE_MAX];
        struct eventlog *parsed;
        struct pcr7_contents given;
};

static void give(struct boot *b, enum pcr7_variable v, const void *data, size_t n)
{
        b->given.variable[v].given = true;
        b->given.variable[v].data = data;
        b->given.variable[v].size = n;
}

static int setup(void **state)
{
        struct boot *b = calloc(1, sizeof(*b));

        assert_non_null(b);
        b->log.max = LIMIT_EVENTLOG;
        data_read("log.bin", &b->log);
        assert_int_equal(eventlog_parse(b->log.data, b->log.len, &b->parsed, NULL), 0);
        for (unsigned i = 0; i < PCR7_VARIABLE_MAX; i++) {
                char name[32];

                (void)snprintf(name, sizeof(name), "%s.bin",
                               pcr7_variable_name((enum pcr7_variable)i));
                b->contents[i].max = LIMIT_EFI_VARIABLE;
                data_read(name, &b->contents[i]);
                give(b, (enum pcr7_variable)i, b->contents[i].data, b->contents[i].len);
        }
        *state = b;
        return 0;
}

static int teardown(void **state)
{
        struct boot *b = *state;

        for (unsigned i = 0; i < PCR7_VARIABLE_MAX; i++)
                buf_done(&b->contents[i]);
        eventlog_free(b->parsed);
        buf_done(&b->log);
        free(b);
        return 0;
}

/* Exactly these variables change. */
static void expect_changes(const struct pcr7_prediction *p, unsigned mask)
{
        for (unsigned i = 0; i < PCR7_VARIABLE_MAX; i++) {
                const struct pcr7_change *c = &p->variable[i];

                assert_true(c->measured);
                assert_int_equal(c->changed, (mask >> i) & 1);
                assert_int_equal(memcmp(c->was, c->will_be, SHA256_SIZE) != 0, c->changed);
        }
        assert_int_equal(p->differs, mask != 0);
        assert_int_equal(memcmp(p->now, p->next, SHA256_SIZE) != 0, mask != 0);
}

static void test_unchanged(void **state)
{
        struct boot *b = *state;
        _cleanup_(buf_done) struct buf text = BUF_INIT(1024);
        static const struct pcr7_contents nothing;
        struct pcr7_prediction p;
        uint8_t value[SHA256_SIZE];

        data_pcr("pcrs.txt", 7, value);
        assert_int_equal(pcr7_explains(b->parsed, value, NULL), 0);
        assert_int_equal(pcr7_predict(b->parsed, &b->given, &p, NULL), 0);
        expect_changes(&p, 0);
        assert_memory_equal(p.next, value, SHA256_SIZE);
        assert_true(p.certain);
        assert_int_equal(p.authorities, 1);
        assert_int_equal(p.authorities_gone, 0);
        assert_int_equal(pcr7_describe(&p, &text), 0);
        assert_string_equal(buf_str(&text), "");

        assert_int_equal(pcr7_predict(b->parsed, &nothing, &p, NULL), 0);
        expect_changes(&p, 0);
        assert_memory_equal(p.next, value, SHA256_SIZE);
}

/* What was predicted before the restart is what the TPM reported behind it. */
static void test_updated_dbx(void **state)
{
        struct boot *b = *state;
        _cleanup_(buf_done) struct buf dbx = BUF_INIT(LIMIT_EFI_VARIABLE),
                                       log = BUF_INIT(LIMIT_EVENTLOG), text = BUF_INIT(1024);
        _cleanup_(eventlog_free_p) struct eventlog *after = NULL;
        struct pcr7_prediction p;
        uint8_t value[SHA256_SIZE];

        data_read("dbx-updated.bin", &dbx);
        give(b, PCR7_DBX, dbx.data, dbx.len);
        assert_int_equal(pcr7_predict(b->parsed, &b->given, &p, NULL), 0);
        expect_changes(&p, 1u << PCR7_DBX);
        assert_true(p.certain);
        data_pcr("pcrs-updated.txt", 7, value);
        assert_memory_equal(p.next, value, SHA256_SIZE);
        assert_int_equal(pcr7_describe(&p, &text), 0);
        assert_string_equal(buf_str(&text), "dbx changed since this boot");

        /* And exactly that event is another one in the later log. */
        data_read("log-updated.bin", &log);
        assert_int_equal(eventlog_parse(log.data, log.len, &after, NULL), 0);
        assert_int_equal(p.variable[PCR7_DBX].event, EVENT_DBX - 1);
        for (size_t i = 0; i < eventlog_count(after); i++) {
                const uint8_t *want = i == p.variable[PCR7_DBX].event
                                              ? p.variable[PCR7_DBX].will_be
                                              : eventlog_at(b->parsed, i)->digest;

                if (eventlog_at(after, i)->pcr == 7)
                        assert_memory_equal(eventlog_at(after, i)->digest, want, SHA256_SIZE);
        }
        assert_int_equal(pcr7_explains(after, value, NULL), 0);
}

/* The one entry of the captured db: behind the header of its list, owner and certificate. */
static struct pcr7_authority authority_of(const struct buf *db)
{
        return (struct pcr7_authority){db->data + 28, db->data + 44, db->len - 44};
}

/*
 * As for a machine in setup mode: who vouches is told, not read from the log. Told the same as the
 * log says, the value is what the TPM reported; told twice, it counts once.
 */
static void test_started(void **state)
{
        struct boot *b = *state;
        struct pcr7_authority list[2] = {authority_of(&b->contents[PCR7_DB]),
                                         authority_of(&b->contents[PCR7_DB])};
        struct pcr7_prediction p;
        uint8_t value[SHA256_SIZE], other_owner[16] = {9};

        data_pcr("pcrs.txt", 7, value);
        for (size_t n = 1; n <= 2; n++) {
                assert_int_equal(pcr7_predict_started(b->parsed, &b->given, list, n, &p, NULL), 0);
                assert_memory_equal(p.next, value, SHA256_SIZE);
                assert_true(p.certain && !p.differs);
                assert_int_equal(p.authorities, 1);
        }
        /* Nobody, or somebody else: another value. */
        assert_int_equal(pcr7_predict_started(b->parsed, &b->given, NULL, 0, &p, NULL), 0);
        assert_memory_not_equal(p.next, value, SHA256_SIZE);
        list[1].owner = other_owner;
        assert_int_equal(pcr7_predict_started(b->parsed, &b->given, list, 2, &p, NULL), 0);
        assert_memory_not_equal(p.next, value, SHA256_SIZE);
        assert_int_equal(p.authorities, 2);
        assert_int_equal(pcr7_count_drivers(b->parsed), 0);
}

/* A variable's event as firmware without keys logs it: SecureBoot is 0, the others are empty. */
static void put_without_keys(struct buf *out, const struct eventlog_event *ev)
{
        const size_t head = 32 + 2 * (size_t)le64_at(ev->data + 16);
        const bool state = le64_at(ev->data + 16) == strlen("SecureBoot");
        _cleanup_(buf_done) struct buf data = BUF_INIT(1024);

        put_bytes(&data, ev->data, head);
        put_bytes(&data, "", state ? 1 : 0);
        put_le32(data.data + 24, state ? 1 : 0);
        put_event(out, ev->pcr, ev->type, data.data, data.len, NULL);
}

/*
 * A boot of the same machine in setup mode: no key, and nobody who vouches. Its log and the keys
 * that are enrolled then give the value that the TPM reported in the boot with these keys.
 */
static void test_from_setup_mode(void **state)
{
        struct boot *b = *state;
        const struct pcr7_authority authority = authority_of(&b->contents[PCR7_DB]);
        _cleanup_(buf_done) struct buf text = BUF_INIT(LIMIT_EVENTLOG);
        _cleanup_(eventlog_free_p) struct eventlog *log = NULL;
        struct pcr7_prediction p;
        uint8_t value[SHA256_SIZE];

        put_plain_header(&text);
        for (size_t i = 0; i < eventlog_count(b->parsed); i++) {
                const struct eventlog_event *ev = eventlog_at(b->parsed, i);

                if (ev->pcr != 7 || ev->type == EVENTLOG_VARIABLE_AUTHORITY)
                        continue;
                if (ev->type == EVENTLOG_VARIABLE_DRIVER_CONFIG)
                        put_without_keys(&text, ev);
                else
                        put_event(&text, ev->pcr, ev->type, ev->data, ev->size, ev->digest);
        }
        assert_int_equal(eventlog_parse(text.data, text.len, &log, NULL), 0);
        assert_int_equal(pcr7_predict_started(log, &b->given, &authority, 1, &p, NULL), 0);
        data_pcr("pcrs.txt", 7, value);
        assert_memory_equal(p.next, value, SHA256_SIZE);
        assert_true(p.certain);
        expect_changes(&p, 1u << PCR7_SECUREBOOT | 1u << PCR7_PK | 1u << PCR7_KEK | 1u << PCR7_DB);
}

/* The log is asked for what it showed and what it did not. */
static void test_measured(void **state)
{
        struct boot *b = *state;
        const void *data;
        size_t n;

        for (unsigned i = 0; i < PCR7_VARIABLE_MAX; i++) {
                assert_int_equal(pcr7_measured(b->parsed, (enum pcr7_variable)i, &data, &n), 0);
                assert_int_equal(n, b->contents[i].len);
                if (n > 0)
                        assert_memory_equal(data, b->contents[i].data, n);
        }
        assert_true(pcr7_only_db_vouched(b->parsed));
}

/* Option ROMs stand in the log of PCR 2; other events there are none. */
static void test_drivers(void **state)
{
        static const struct {
                uint32_t pcr, type;
                unsigned n;
        } table[] = {
                {2, EVENTLOG_BOOT_SERVICES_DRIVER, 1},
                {2, EVENTLOG_RUNTIME_SERVICES_DRIVER, 1},
                {2, EVENTLOG_SEPARATOR, 0},
                {4, EVENTLOG_BOOT_SERVICES_DRIVER, 0},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
                _cleanup_(buf_done) struct buf text = BUF_INIT(LIMIT_EVENTLOG);
                _cleanup_(eventlog_free_p) struct eventlog *log = NULL;

                put_plain_header(&text);
                put_event(&text, table[i].pcr, table[i].type, "x", 1, NULL);
                assert_int_equal(eventlog_parse(text.data, text.len, &log, NULL), 0);
                assert_int_equal(pcr7_count_drivers(log), table[i].n);
        }
}

/* One more certificate: the one that vouched for the boot is still there. */
static void test_longer_db(void **state)
{
        struct boot *b = *state;
        _cleanup_(buf_done) struct buf db = BUF_INIT(LIMIT_EFI_VARIABLE);
        struct pcr7_prediction p;

        put_bytes(&db, b->contents[PCR7_KEK].data, b->contents[PCR7_KEK].len);
        put_bytes(&db, b->contents[PCR7_DB].data, b->contents[PCR7_DB].len);
        give(b, PCR7_DB, db.data, db.len);
        assert_int_equal(pcr7_predict(b->parsed, &b->given, &p, NULL), 0);
        expect_changes(&p, 1u << PCR7_DB);
        assert_int_equal(p.variable[PCR7_DB].event, EVENT_DB - 1);
        assert_true(p.certain);
        assert_int_equal(p.authorities_gone, 0);
}

/* A list of one certificate: type, list size, header size, entry size, then owner and certificate.
 */
#define FIRST_ENTRY 28u

static void test_who_vouched(void **state)
{
        struct boot *b = *state;
        const struct buf *db = &b->contents[PCR7_DB], *kek = &b->contents[PCR7_KEK];
        const uint8_t *owner = db->data + FIRST_ENTRY, *cert = owner + 16;
        const size_t size = db->len - FIRST_ENTRY - 16;

        assert_int_equal(pcr7_vouched(b->parsed, owner, cert, size), 1);
        assert_int_equal(pcr7_vouched(b->parsed, owner, cert, size - 1), 0);
        assert_int_equal(pcr7_vouched(b->parsed, cert, cert, size), 0);
        assert_int_equal(pcr7_vouched(b->parsed, kek->data + FIRST_ENTRY,
                                      kek->data + FIRST_ENTRY + 16, kek->len - FIRST_ENTRY - 16),
                         0);
}

static void test_authority_gone(void **state)
{
        struct boot *b = *state;
        _cleanup_(buf_done) struct buf text = BUF_INIT(1024);
        struct pcr7_prediction p;

        give(b, PCR7_DB, b->contents[PCR7_KEK].data, b->contents[PCR7_KEK].len);
        assert_int_equal(pcr7_predict(b->parsed, &b->given, &p, NULL), 0);
        expect_changes(&p, 1u << PCR7_DB);
        assert_int_equal(p.authorities_gone, 1);
        assert_false(p.certain);
        assert_int_equal(pcr7_describe(&p, &text), 0);
        assert_non_null(
                strstr(buf_str(&text), "db changed since this boot; 1 of the 1 db entries"));
}

static void test_secure_boot_off(void **state)
{
        struct boot *b = *state;
        struct pcr7_prediction p;

        give(b, PCR7_SECUREBOOT, "\0", 1);
        give(b, PCR7_PK, NULL, 0);
        assert_int_equal(pcr7_predict(b->parsed, &b->given, &p, NULL), 0);
        expect_changes(&p, 1u << PCR7_SECUREBOOT | 1u << PCR7_PK);
        assert_int_equal(p.variable[PCR7_SECUREBOOT].event, EVENT_SECUREBOOT - 1);
}

static void test_not_explained(void **state)
{
        struct boot *b = *state;
        struct error e = ERROR_INIT;
        uint8_t value[SHA256_SIZE] = {1};

        assert_int_equal(pcr7_explains(b->parsed, value, &e), -ENOTRECOVERABLE);
        assert_int_equal(e.class, ERROR_PRECONDITION);
        assert_true(e.advice[0] != '\0');
}

/* Signature lists that end, lie or are empty: the entry is not found, and nothing is read beyond.
 */
static void test_damaged_db(void **state)
{
        struct boot *b = *state;
        const struct buf *db = &b->contents[PCR7_DB];
        static const struct {
                size_t offset; /* field of the list */
                uint32_t value;
        } table[] = {{16, 0}, {16, 27},         {16, UINT32_MAX}, {20, 1}, {20, UINT32_MAX},
                     {24, 0}, {24, UINT32_MAX}, {24, 16},         {16, 28}};
        struct pcr7_prediction p;

        for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
                uint8_t *copy = malloc(db->len);

                assert_non_null(copy);
                memcpy(copy, db->data, db->len);
                put_le32(copy + table[i].offset, table[i].value);
                give(b, PCR7_DB, copy, db->len);
                assert_int_equal(pcr7_predict(b->parsed, &b->given, &p, NULL), 0);
                assert_int_equal(p.authorities_gone, 1);
                free(copy);
        }
        for (size_t n = 0; n < db->len; n++) {
                uint8_t *copy = malloc(n + (n == 0));

                assert_non_null(copy);
                memcpy(copy, db->data, n);
                give(b, PCR7_DB, copy, n);
                assert_int_equal(pcr7_predict(b->parsed, &b->given, &p, NULL), 0);
                assert_int_equal(p.authorities_gone, 1);
                free(copy);
        }
}

/* UEFI_VARIABLE_DATA of dbx. */
static void put_dbx(struct buf *b, const void *content, size_t n)
{
        put_bytes(b, guid_security, sizeof(guid_security));
        put_u32(b, 3);
        put_u32(b, 0);
        put_u32(b, (uint32_t)n);
        put_u32(b, 0);
        put_bytes(b, "d\0b\0x\0", 6);
        put_bytes(b, content, n);
}

/* A log that shows other bytes than those which were extended, a variable twice, none, or one
 * behind the separator. */
static void test_not_measured(void **state)
{
        static const struct {
                unsigned times;
                bool lie, late;
                int expected;
        } table[] = {{1, false, false, 0},
                     {1, true, false, -EBADMSG},
                     {2, false, false, -EBADMSG},
                     {0, false, false, -ENODATA},
                     {1, false, true, -ENODATA}};
        uint8_t other[SHA256_SIZE] = {1};
        const void *data;
        size_t n;

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
                _cleanup_(buf_done) struct buf text = BUF_INIT(LIMIT_EVENTLOG),
                                               event = BUF_INIT(1024);
                _cleanup_(eventlog_free_p) struct eventlog *log = NULL;

                put_dbx(&event, "old", 3);
                put_plain_header(&text);
                if (table[i].late)
                        put_event(&text, 7, EVENTLOG_SEPARATOR, "\0\0\0", 4, NULL);
                for (unsigned k = 0; k < table[i].times; k++)
                        put_event(&text, 7, EVENTLOG_VARIABLE_DRIVER_CONFIG, event.data, event.len,
                                  table[i].lie ? other : NULL);
                assert_int_equal(eventlog_parse(text.data, text.len, &log, NULL), 0);
                assert_int_equal(pcr7_measured(log, PCR7_DBX, &data, &n), table[i].expected);
                assert_true(pcr7_only_db_vouched(log));
        }
}

/* The lists of shim, and what nobody understands, are no entries of db. */
static void test_others_vouched(void **state)
{
        (void)state;
        for (unsigned i = 0; i < 2; i++) {
                _cleanup_(buf_done) struct buf text = BUF_INIT(LIMIT_EVENTLOG),
                                               event = BUF_INIT(1024);
                _cleanup_(eventlog_free_p) struct eventlog *log = NULL;

                put_dbx(&event, "old", 3);
                put_plain_header(&text);
                put_event(&text, 7, EVENTLOG_VARIABLE_AUTHORITY, i ? (const void *)"x" : event.data,
                          i ? 1 : event.len, NULL);
                assert_int_equal(eventlog_parse(text.data, text.len, &log, NULL), 0);
                assert_false(pcr7_only_db_vouched(log));
        }
}

/* A log of dbx and the separator; the event's data may be cut or changed by the caller. */
static int predict_made(const struct buf *event, const uint8_t *digest, unsigned copies,
                        bool separator, struct pcr7_prediction *ret)
{
        _cleanup_(buf_done) struct buf log = BUF_INIT(LIMIT_EVENTLOG);
        _cleanup_(eventlog_free_p) struct eventlog *l = NULL;
        struct pcr7_contents given = {.variable[PCR7_DBX] = {true, "new", 3}};

        put_plain_header(&log);
        for (unsigned i = 0; i < copies; i++)
                put_event(&log, 7, EVENTLOG_VARIABLE_DRIVER_CONFIG, event->data, event->len,
                          digest);
        if (separator)
                put_event(&log, 7, EVENTLOG_SEPARATOR, "\0\0\0\0", 4, NULL);
        assert_int_equal(eventlog_parse(log.data, log.len, &l, NULL), 0);
        return pcr7_predict(l, &given, ret, NULL);
}

static void test_stuck(void **state)
{
        static const uint8_t other[SHA256_SIZE] = {1};
        _cleanup_(buf_done) struct buf event = BUF_INIT(1024);
        struct pcr7_prediction p;

        (void)state;
        put_dbx(&event, "old", 3);
        assert_int_equal(predict_made(&event, NULL, 1, true, &p), 0);
        assert_true(p.variable[PCR7_DBX].changed && !p.variable[PCR7_DBX].stuck && p.certain);
        /* Hashed in a way that the log does not show; measured twice. */
        assert_int_equal(predict_made(&event, other, 1, true, &p), 0);
        assert_true(p.variable[PCR7_DBX].changed && p.variable[PCR7_DBX].stuck && !p.certain);
        assert_int_equal(predict_made(&event, NULL, 2, true, &p), 0);
        assert_true(p.variable[PCR7_DBX].stuck && !p.certain);
        assert_int_equal(predict_made(&event, NULL, 1, false, &p), -EBADMSG);
        assert_int_equal(predict_made(&event, NULL, 0, true, &p), 0);
        assert_false(p.variable[PCR7_DBX].measured || p.differs);
}

/* Data of another form is left as it was. */
static void test_foreign_event_data(void **state)
{
        static const struct {
                size_t offset;
                uint8_t value;
        } table[] = {{0, 0},  {16, 2},   {16, 4},   {16, 200}, {23, 255},
                     {24, 2}, {24, 200}, {31, 255}, {32, 'x'}};
        struct pcr7_prediction p;

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
                _cleanup_(buf_done) struct buf event = BUF_INIT(1024);

                put_dbx(&event, "old", 3);
                event.data[table[i].offset] = table[i].value;
                assert_int_equal(predict_made(&event, NULL, 1, true, &p), 0);
                assert_false(p.variable[PCR7_DBX].measured);
                assert_false(p.differs);
        }
        for (size_t n = 0; n < 41; n++) {
                _cleanup_(buf_done) struct buf event = BUF_INIT(1024);

                put_dbx(&event, "old", 3);
                event.len = n;
                assert_int_equal(predict_made(&event, NULL, 1, true, &p), 0);
                assert_false(p.differs);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_unchanged, setup, teardown),
                cmocka_unit_test_setup_teardown(test_updated_dbx, setup, teardown),
                cmocka_unit_test_setup_teardown(test_started, setup, teardown),
                cmocka_unit_test_setup_teardown(test_from_setup_mode, setup, teardown),
                cmocka_unit_test_setup_teardown(test_measured, setup, teardown),
                cmocka_unit_test(test_not_measured),
                cmocka_unit_test(test_others_vouched),
                cmocka_unit_test(test_drivers),
                cmocka_unit_test_setup_teardown(test_longer_db, setup, teardown),
                cmocka_unit_test_setup_teardown(test_who_vouched, setup, teardown),
                cmocka_unit_test_setup_teardown(test_authority_gone, setup, teardown),
                cmocka_unit_test_setup_teardown(test_secure_boot_off, setup, teardown),
                cmocka_unit_test_setup_teardown(test_not_explained, setup, teardown),
                cmocka_unit_test_setup_teardown(test_damaged_db, setup, teardown),
                cmocka_unit_test(test_stuck),
                cmocka_unit_test(test_foreign_event_data),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
