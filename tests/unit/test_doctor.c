/* SPDX-License-Identifier: Apache-2.0 */
/* Judgements of "doctor" that need no TPM: facts in, findings out. */
#include "agent/doctor.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/limits.h"
#include "tests/unit/eventlog_data.h"

static struct doctor_list list;

static int set_up(void **state)
{
        (void)state;
        list = (struct doctor_list){.n = 0};
        return 0;
}

static int tear_down(void **state)
{
        (void)state;
        doctor_list_done(&list);
        return 0;
}

static const struct doctor_finding *expect(const char *id, const char *subject,
                                           enum doctor_severity severity, const char *text)
{
        const struct doctor_finding *f = doctor_find(&list, id, subject);

        if (!f)
                fail_msg("no %s", id);
        else if (f->severity != severity || !strstr(f->text, text))
                fail_msg("%s: %s %s", id, doctor_severity_name(f->severity), f->text);
        /* Whatever is wrong comes with what to do. */
        if (severity == DOCTOR_PROBLEM)
                assert_true(*f->advice);
        return f;
}

static void only(const char *id, const char *subject, enum doctor_severity severity,
                 const char *text)
{
        expect(id, subject, severity, text);
        assert_int_equal(list.n, 1);
        doctor_list_done(&list);
}

/* --- the list -------------------------------------------------------------------------------- */

static void findings_are_counted_and_bounded(void **state)
{
        _cleanup_json_ struct json_object *root = json_object_new_object();
        struct json_object *array, *o;
        const char *text;
        uint64_t n;

        (void)state;
        (void)doctor_add(&list, DOCTOR_ESP, DOCTOR_PROBLEM, "one", "x", "do", "text %d", 1);
        (void)doctor_add(&list, DOCTOR_TPM, DOCTOR_OK, "two", NULL, NULL, "fine");
        assert_int_equal(doctor_json(&list, root), 0);
        assert_int_equal(json_get_u64(root, "problems", &n), 0);
        assert_int_equal(n, 1);
        assert_int_equal(json_get_array(root, "findings", &array), 0);
        assert_int_equal(json_object_array_length(array), 2);
        o = json_object_array_get_idx(array, 0);
        assert_int_equal(json_get_str(o, "text", &text), 0);
        assert_string_equal(text, "text 1");
        assert_int_equal(json_get_str(o, "area", &text), 0);
        assert_string_equal(text, "esp");
        assert_int_equal(json_get_str(json_object_array_get_idx(array, 1), "advice", &text),
                         -EBADMSG);
        for (unsigned i = 0; i < DOCTOR_FINDINGS_MAX; i++)
                (void)doctor_add(&list, DOCTOR_TPM, DOCTOR_NOTE, "more", NULL, NULL, "more");
        assert_int_equal(list.n, DOCTOR_FINDINGS_MAX);
        assert_true(list.incomplete);
        for (unsigned i = 0; i < DOCTOR_AREA_MAX; i++)
                assert_non_null(doctor_area_name((enum doctor_area)i));
}

/* --- TPM ------------------------------------------------------------------------------------- */

static void what_the_tpm_remembers(void **state)
{
        static const struct {
                struct doctor_tpm_memory m;
                const char *id;
                enum doctor_severity severity;
                const char *text;
        } cases[] = {
                {{true, true, true, 0, 2}, "tpm-memory", DOCTOR_OK, "remembers"},
                {{false, false, true, 1, 1}, "tpm-memory", DOCTOR_OK, ""},
                {{true, true, false, 0, 2}, "tpm-mark-missing", DOCTOR_WARNING, "0x1805443"},
                {{true, true, false, 2, 0}, "tpm-cleared", DOCTOR_PROBLEM, "the same one"},
                {{false, false, false, 2, 0}, "tpm-cleared", DOCTOR_PROBLEM, "or it is another"},
                {{true, false, false, 2, 0}, "tpm-other", DOCTOR_PROBLEM, "another TPM"},
                {{true, false, true, 2, 0}, "tpm-other", DOCTOR_PROBLEM, "another TPM"},
                {{true, true, true, 2, 0}, "tpm-other-owner", DOCTOR_PROBLEM, ""},
                /* Exchanged, and enrolled since: all is well. */
                {{true, false, true, 0, 2}, "tpm-memory", DOCTOR_OK, ""},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                doctor_judge_tpm_memory(&cases[i].m, &list);
                only(cases[i].id, "", cases[i].severity, cases[i].text);
        }
}

/* --- measurements ---------------------------------------------------------------------------- */

/* A captured boot: its log explains all that firmware measured, and nothing that it did not. */
static void log_against_tpm(void **state)
{
        _cleanup_(buf_done) struct buf text = BUF_INIT(LIMIT_EVENTLOG);
        _cleanup_(eventlog_free_p) struct eventlog *log = NULL;
        uint8_t pcr[TPM_PCR_COUNT][SHA256_SIZE];

        (void)state;
        data_read("log.bin", &text);
        assert_int_equal(eventlog_parse(text.data, text.len, &log, NULL), 0);
        for (unsigned i = 0; i < TPM_PCR_COUNT; i++)
                data_pcr("pcrs.txt", i, pcr[i]);
        doctor_judge_log(log, (const uint8_t(*)[SHA256_SIZE])pcr, &list);
        only("log", "", DOCTOR_OK, "explains");
        pcr[4][0] ^= 1;
        doctor_judge_log(log, (const uint8_t(*)[SHA256_SIZE])pcr, &list);
        only("log-mismatch", "PCR 4", DOCTOR_NOTE, "does not lead");
        pcr[4][0] ^= 1;
        pcr[7][0] ^= 1;
        doctor_judge_log(log, (const uint8_t(*)[SHA256_SIZE])pcr, &list);
        only("log-mismatch", "PCR 7", DOCTOR_PROBLEM, "");
}

/* --- ESP ------------------------------------------------------------------------------------- */

static void health_of_the_esp(void **state)
{
        struct fat_check f = {.cluster = 4096, .clusters = 100000, .free = 50000};

        (void)state;
        doctor_judge_fat(&f, false, &list);
        only("esp-healthy", "", DOCTOR_OK, "195.3 MiB free");
        f.dirty = true;
        doctor_judge_fat(&f, false, &list);
        only("esp-not-unmounted", "", DOCTOR_WARNING, "not unmounted");
        doctor_judge_fat(&f, true, &list);
        only("esp-in-use", "", DOCTOR_NOTE, "mounted");
        f.dirty = false;
        f.table_differs = 2;
        doctor_judge_fat(&f, false, &list);
        only("esp-tables-differ", "", DOCTOR_WARNING, "in 2 sectors");
        f.table_differs = 0;
        f.backup_differs = true;
        doctor_judge_fat(&f, false, &list);
        only("esp-boot-sectors-differ", "", DOCTOR_WARNING, "");
        f.backup_differs = false;
        f.lost = 1;
        doctor_judge_fat(&f, false, &list);
        only("esp-lost-clusters", "", DOCTOR_NOTE, "4 KiB are in use");
        f.lost = 10000;
        f.crossed = f.broken = 1;
        (void)snprintf(f.one, sizeof(f.one), "/a");
        (void)snprintf(f.other, sizeof(f.other), "/b");
        (void)snprintf(f.broken_file, sizeof(f.broken_file), "/c");
        doctor_judge_fat(&f, false, &list);
        expect("esp-cross-linked", "/b", DOCTOR_PROBLEM, "with /a");
        expect("esp-file-cut", "/c", DOCTOR_PROBLEM, "ends before");
        expect("esp-lost-clusters", NULL, DOCTOR_WARNING, "39 MiB");
}

static struct entry_file entry(const char *file, uint32_t image)
{
        struct entry_file f = {.valid = true, .image_present = true};

        (void)snprintf(f.file, sizeof(f.file), "%s", file);
        assert_int_equal(entry_name_parse(file, &f.name), 0);
        (void)snprintf(f.entry.version, sizeof(f.entry.version), "7");
        (void)snprintf(f.entry.image, sizeof(f.entry.image), "/EFI/kairos/usi-%08u.efi", image);
        f.entry.has_sha256 = true;
        memset(f.entry.sha256, (int)image, SHA256_SIZE);
        return f;
}

static struct esp_image image(uint32_t number, bool named)
{
        struct esp_image i = {.number = number, .size = GIB, .named = named};

        assert_int_equal(entry_image_name_format(number, i.file), 0);
        return i;
}

static void files_and_room(void **state)
{
        struct entry_file entries[] = {entry("active.conf", 1), entry("passive.conf", 1),
                                       entry("recovery.conf", 2)};
        struct esp_image images[] = {image(1, true), image(2, true), image(3, false)};
        struct slots_situation s = {.entries = entries,
                                    .n_entries = 3,
                                    .images = images,
                                    .n_images = 2,
                                    .space = {2 * GIB, 4096},
                                    .running = ENTRY_ROLE_ACTIVE,
                                    .running_confirmed = true,
                                    .running_image = "usi-00000001.efi"};

        (void)state;
        doctor_judge_files(&s, &list);
        assert_int_equal(list.n, 0);
        s.space.available = GIB / 2;
        doctor_judge_files(&s, &list);
        only("esp-full", "", DOCTOR_WARNING, "");
        /* What an upgrade removes before it writes is room. */
        s.n_images = 3;
        doctor_judge_files(&s, &list);
        only("esp-orphan", "usi-00000003.efi", DOCTOR_NOTE, "no entry leads to it");
}

/* --- entries --------------------------------------------------------------------------------- */

static void judge(const struct entry_file *f, uint8_t digest, const char *id,
                  enum doctor_severity severity, const char *text)
{
        uint8_t sha[SHA256_SIZE];

        memset(sha, digest, sizeof(sha));
        doctor_judge_entry(f, digest ? sha : NULL, NULL, &list);
        only(id, f->file, severity, text);
}

static void each_entry(void **state)
{
        struct entry_file f = entry("active.conf", 1), trial = entry("active+2-1.conf", 1),
                          used = entry("active+0-3.conf", 1), other = entry("windows.conf", 1);

        (void)state;
        judge(&f, 1, "entry", DOCTOR_OK, "version 7");
        judge(&f, 0, "entry", DOCTOR_OK, "");
        judge(&f, 2, "entry-image-damaged", DOCTOR_PROBLEM, "another digest");
        judge(&trial, 1, "entry-on-trial", DOCTOR_NOTE, "2 tries left");
        judge(&used, 1, "entry-used-up", DOCTOR_WARNING, "3 tries: nobody confirmed");
        judge(&other, 2, "entry-foreign", DOCTOR_NOTE, "");
        f.image_present = false;
        judge(&f, 0, "entry-image-missing", DOCTOR_PROBLEM, "usi-00000001.efi");
        f.valid = false;
        judge(&f, 0, "entry-unreadable", DOCTOR_PROBLEM, "names no image");
        f.unreadable = true;
        judge(&f, 0, "entry-unreadable", DOCTOR_PROBLEM, "cannot be read");
}

/* With the reason that is remembered. */
static void entry_that_failed(void **state)
{
        struct entry_file f = entry("active+0-3.conf", 1);
        _cleanup_(state_free_p) struct state *memory = NULL;

        (void)state;
        assert_int_equal(state_load(-EBADF, &memory, NULL), 0);
        assert_int_equal(state_add_failure(memory, f.entry.sha256, 7, "no network", NULL), 0);
        doctor_judge_entry(&f, NULL, memory, &list);
        only("entry-used-up", f.file, DOCTOR_WARNING, "no network");
}

static void roles_and_next(void **state)
{
        struct entry_file entries[] = {entry("active+0-3.conf", 1), entry("passive.conf", 1)};
        struct situation s = {.slots = {.entries = entries, .n_entries = 2}};

        (void)state;
        doctor_judge_roles(&s, &entries[1], NULL, &list);
        expect("entry-missing", "recovery", DOCTOR_WARNING, "");
        assert_null(doctor_find(&list, "entry-missing", "active"));
        expect("next", "passive.conf", DOCTOR_WARNING, "a fallback");
        doctor_list_done(&list);
        entries[0] = entry("active.conf", 1);
        doctor_judge_roles(&s, &entries[0], NULL, &list);
        expect("next", "active.conf", DOCTOR_OK, "first in the order");
        doctor_list_done(&list);
        doctor_judge_roles(&s, &entries[1], "LoaderEntryOneShot", &list);
        expect("next", "passive.conf", DOCTOR_NOTE, "LoaderEntryOneShot");
        doctor_list_done(&list);
        entries[0] = entry("active+0-3.conf", 1);
        doctor_judge_roles(&s, &entries[0], NULL, &list);
        expect("next-bad", "active+0-3.conf", DOCTOR_PROBLEM, "");
        doctor_list_done(&list);
        doctor_judge_roles(&s, NULL, NULL, &list);
        expect("nothing-starts", NULL, DOCTOR_PROBLEM, "");
}

/* --- data ------------------------------------------------------------------------------------ */

static void ways_of_a_volume(void **state)
{
        struct layout_partition partition = {.name = "oem"};
        struct data_volume volume = {&partition, "COS_OEM", "oem"};
        struct ways_volume v = {.volume = &volume, .n = 3, .unnamed = 1u << 5};
        struct token one = {.literal_pcrs = 1u << 7, .signed_pcrs = 1u << 11}, two = one;
        struct starter items[] = {{.roles = 1u << ENTRY_ROLE_ACTIVE, .next = true},
                                  {.roles = 1u << ENTRY_ROLE_RECOVERY}};
        const struct starters starters = {.item = items, .n = 2};

        (void)state;
        v.way[0] = (struct way){.number = 0, .token = &one, .state = WAY_OPENS, .opens = 3};
        v.way[1] = (struct way){.number = 1, .token = &two, .state = WAY_OTHER_TPM, .why = "why"};
        v.way[2] = (struct way){.number = 2, .state = WAY_RECOVERY_KEY};
        doctor_judge_volume(&v, &starters, NULL, &list);
        expect("token-opens", "oem", DOCTOR_OK, "in the initrd of active, recovery");
        expect("token-other-tpm", "oem", DOCTOR_NOTE, "why"); /* there is another one */
        expect("recovery-key", "oem", DOCTOR_OK, "1 recovery key");
        expect("keyslots-unnamed", "oem", DOCTOR_WARNING, "1 key slot ");
        assert_int_equal(list.n, 4);
        assert_false(doctor_is_locked(&v, NULL));
        doctor_list_done(&list);

        /* What comes next is not among those that open it. */
        v.way[0].opens = 2;
        doctor_judge_volume(&v, &starters, NULL, &list);
        expect("next-locked", "oem", DOCTOR_PROBLEM, "starts next");
        doctor_list_done(&list);

        v.way[0].opens = 0;
        v.way[0].state = WAY_OTHER_STATE;
        assert_true(doctor_is_locked(&v, NULL));
        doctor_judge_volume(&v, &starters, NULL, &list);
        expect("token-other-state", "oem", DOCTOR_WARNING, "");
        expect("no-way-in", "oem", DOCTOR_PROBLEM, "no image");
        doctor_list_done(&list);
        v.n = 2;
        v.unnamed = 0;
        doctor_judge_volume(&v, &starters, NULL, &list);
        expect("no-recovery-key", "oem", DOCTOR_WARNING, "broken TPM");
        doctor_list_done(&list);
        /* Without images nothing is known: that is told elsewhere. */
        doctor_judge_volume(&v, NULL, NULL, &list);
        assert_null(doctor_find(&list, "no-way-in", NULL));
}

/* --- memory ---------------------------------------------------------------------------------- */

static void last_operation(void **state)
{
        struct state_operation op = {.verb = "upgrade", .to_version = "8", .result = "success"};

        (void)state;
        doctor_judge_operation(&op, true, &list);
        only("operation-running", "upgrade", DOCTOR_NOTE, "");
        doctor_judge_operation(&op, false, &list);
        only("operation-unfinished", "upgrade", DOCTOR_WARNING, "version 8");
        op.finished = true;
        doctor_judge_operation(&op, false, &list);
        only("operation", "upgrade", DOCTOR_OK, "");
        (void)snprintf(op.result, sizeof(op.result), "no-space");
        (void)snprintf(op.text, sizeof(op.text), "too small");
        doctor_judge_operation(&op, false, &list);
        only("operation-failed", "upgrade", DOCTOR_WARNING, "(no-space): too small");
}

static void clock_and_room(void **state)
{
        (void)state;
        doctor_judge_clock(1000000, 1000000, &list);
        assert_int_equal(list.n, 0);
        doctor_judge_clock(1000000, 1000000 + 3 * 86400, &list);
        only("clock", "", DOCTOR_WARNING, "3 days behind");
        doctor_judge_room("/oem", GIB, GIB / 2, &list);
        only("room", "/oem", DOCTOR_OK, "512 MiB free");
        doctor_judge_room("/oem", GIB, GIB / 25, &list);
        only("nearly-full", "/oem", DOCTOR_WARNING, "");
        doctor_judge_room("/oem", GIB, 0, &list);
        only("full", "/oem", DOCTOR_PROBLEM, "");
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
        const struct CMUnitTest tests[] = {
                TEST(findings_are_counted_and_bounded),
                TEST(what_the_tpm_remembers),
                TEST(log_against_tpm),
                TEST(health_of_the_esp),
                TEST(files_and_room),
                TEST(each_entry),
                TEST(entry_that_failed),
                TEST(roles_and_next),
                TEST(ways_of_a_volume),
                TEST(last_operation),
                TEST(clock_and_room),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
