/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What "doctor" makes of a TPM and of data that is sealed to it, when one of them is not as it was.
 * Boots are simulated on a software TPM: events that firmware logs and extends. The node around it
 * is a volume in a file and one image.
 */
#include "agent/doctor.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "image/efisig.h"
#include "partition/tpm_esys.h"
#include "partition/tpm_mark.h"
#include "tests/support/swtpm.h"
#include "tests/support/usi.h"
#include "tests/unit/eventlog_data.h"
#include "tests/unit/scratch.h"

#define LABEL "COS_OEM"
#define LOG_FILE "sys/kernel/security/tpm0/binary_bios_measurements"

/* Making keys and images takes long. */
static struct test_usi_world vendors[2];
static struct buf image = BUF_INIT(SIGNING_IMAGE_MAX);

struct world {
        struct scratch dir;
        char sysfs[96], nowhere[96];
        struct env env;
        struct swtpm *emulator;
        struct starter starter;
        struct layout_partition partition;
        struct disk disk;
        struct node node;
        struct luks *luks;
        struct secret *volume_key;
        struct measured was;
        struct error e;
};

static int make_images(void **state)
{
        (void)state;
        for (unsigned i = 0; i < 2; i++)
                test_usi_world_make(&vendors[i]);
        test_usi_make(&vendors[0], "1", 5000, &image);
        return 0;
}

static int drop_images(void **state)
{
        (void)state;
        for (unsigned i = 0; i < 2; i++)
                test_usi_world_drop(&vendors[i]);
        buf_done(&image);
        return 0;
}

/* --- boots ----------------------------------------------------------------------------------- */

static struct tpm *connect(struct world *w)
{
        struct tpm *t = NULL;

        assert_int_equal(tpm_open(w->emulator->tcti, &t, &w->e), 0);
        return t;
}

static void extend(struct tpm *t, const void *data, size_t n)
{
        TPML_DIGEST_VALUES values = {.count = 1, .digests[0].hashAlg = TPM2_ALG_SHA256};

        assert_int_equal(sha256(data, n, values.digests[0].digest.sha256), 0);
        assert_int_equal(Esys_PCR_Extend(t->esys, ESYS_TR_PCR7, ESYS_TR_PASSWORD, ESYS_TR_NONE,
                                         ESYS_TR_NONE, &values),
                         TSS2_RC_SUCCESS);
}

static void measure_variable(struct tpm *t, struct buf *log, const char *name, const void *content,
                             size_t n)
{
        static const uint8_t guid[16] = {0xcb, 0xb2, 0x19, 0xd7};
        _cleanup_(buf_done) struct buf data = BUF_INIT(LIMIT_EFI_VARIABLE);

        put_bytes(&data, guid, sizeof(guid));
        put_u32(&data, (uint32_t)strlen(name));
        put_u32(&data, 0);
        put_u32(&data, (uint32_t)n);
        put_u32(&data, 0);
        for (const char *p = name; *p; p++)
                put_u16(&data, (uint8_t)*p);
        put_bytes(&data, content, n);
        put_event(log, 7, EVENTLOG_VARIABLE_DRIVER_CONFIG, data.data, data.len, NULL);
        extend(t, data.data, data.len);
}

/* Firmware with so many certificates in db. */
static void boot(struct world *w, unsigned certificates)
{
        static const uint8_t owner[16] = {1}, on = 1;
        _cleanup_(buf_done) struct buf log = BUF_INIT(LIMIT_EVENTLOG);
        _cleanup_(buf_done) struct buf db = BUF_INIT(LIMIT_EFI_VARIABLE);
        _cleanup_(tpm_free_p) struct tpm *t = connect(w);

        for (unsigned i = 0; i < certificates; i++)
                assert_int_equal(efisig_list(owner, vendors[i].vendor.cert, &db), 0);
        put_plain_header(&log);
        measure_variable(t, &log, "SecureBoot", &on, 1);
        measure_variable(t, &log, "db", db.data, db.len);
        put_event(&log, 7, EVENTLOG_SEPARATOR, "\0\0\0\0", 4, NULL);
        extend(t, "\0\0\0\0", 4);
        scratch_put(&w->dir, LOG_FILE, log.data, log.len);
        assert_int_equal(tpm_read_pcrs(t, 1u << 7, w->starter.pcr7, &w->e), 0);
}

static void reboot(struct world *w, unsigned certificates)
{
        assert_int_equal(swtpm_reboot(w->emulator), 0);
        w->env.tcti = w->emulator->tcti;
        boot(w, certificates);
}

/* --- the node -------------------------------------------------------------------------------- */

/* Sealed to the state of now, which is noted; the TPM remembers the node. */
static void seal(struct world *w)
{
        _cleanup_(tpm_free_p) struct tpm *t = connect(w);
        struct data_volume data = {&w->partition, LABEL, "oem"};
        struct ways_volume v = {.volume = &data, .luks = w->luks};
        struct ways_seal how = {.tpm = t,
                                .key = image_policy_key(w->starter.image),
                                .literal_pcrs = 1u << 7,
                                .prove = &w->starter};

        memcpy(how.literal_values, w->starter.pcr7, SHA256_SIZE);
        assert_true(asprintf(&v.device, "%s/volume", w->dir.path) > 0);
        if (ways_add_tpm(&v, w->volume_key, &how, &w->e) < 0)
                fail_msg("%s", w->e.text);
        w->luks = NULL;
        ways_volume_done(&v);
        assert_int_equal(measured_read_now(&w->env, t, &w->was, &w->e), 0);
        w->was.time = 1700000000;
        assert_int_equal(tpm_mark_set(t, &w->e), 0);
}

static int setup(void **state)
{
        const struct luks_format_options options = {.label = LABEL, .sector_size = 512};
        _cleanup_(secret_free_p) struct secret *key = secret_random(SEAL_SECRET_SIZE);
        struct world *w = calloc(1, sizeof(*w));
        char path[96];
        int slot;

        assert_non_null(w);
        *state = w;
        scratch_make(&w->dir);
        assert_int_equal(file_make_dirs(w->dir.fd, "sys/kernel/security/tpm0", 0755), 0);
        (void)snprintf(w->sysfs, sizeof(w->sysfs), "%s/sys", w->dir.path);
        (void)snprintf(w->nowhere, sizeof(w->nowhere), "%s/nowhere", w->dir.path);
        w->env = (struct env)ENV_INIT;
        w->env.sysfs = w->sysfs;
        w->env.efivarfs = w->env.run = w->env.oem = w->env.persistent = w->nowhere;
        w->emulator = swtpm_start();
        assert_non_null(w->emulator);
        w->env.tcti = w->emulator->tcti;
        scratch_put(&w->dir, "image", image.data, image.len);
        w->starter = (struct starter){.running = true, .next = true, .has_pcr7 = true};
        w->starter.roles = 1u << ENTRY_ROLE_ACTIVE;
        w->starter.fd = openat(w->dir.fd, "image", O_RDONLY | O_CLOEXEC);
        assert_int_equal(image_verify(w->starter.fd, "image", &vendors[0].demands, NULL,
                                      &w->starter.image, &w->e),
                         0);
        (void)snprintf(w->partition.name, sizeof(w->partition.name), "oem");
        w->disk = (struct disk){.path = w->dir.path};
        w->node =
                (struct node){.disk = &w->disk, .oem = &w->partition, .persistent = &w->partition};
        (void)snprintf(path, sizeof(path), "%s/volume", w->dir.path);
        scratch_put_text(&w->dir, "volume", "");
        assert_int_equal(truncate(path, (off_t)(24 * MIB)), 0);
        assert_int_equal(luks_format(path, &options, &w->luks, &w->e), 0);
        assert_int_equal(luks_add_keyslot(w->luks, NULL, key, &slot, &w->e), 0);
        assert_int_equal(luks_get_volume_key(w->luks, slot, key, &w->volume_key, &w->e), 0);
        boot(w, 1);
        seal(w);
        return 0;
}

static int teardown(void **state)
{
        struct world *w = *state;

        measured_done(&w->was);
        luks_free(w->luks);
        image_free(w->starter.image);
        close_p(&w->starter.fd);
        secret_free(w->volume_key);
        swtpm_stop(w->emulator);
        scratch_clean(&w->dir);
        free(w);
        return 0;
}

/* What doctor_look() would find on such a node. */
static void look(struct world *w, struct doctor *d)
{
        doctor_look(d, &w->env, NULL);
        d->node = &w->node;
        d->has_was = true;
        d->was_from = "somewhere";
        d->was = w->was;
        d->has_starters = true;
        d->starters = (struct starters){.item = &w->starter, .n = 1};
        memcpy(d->starters.pcr7, w->starter.pcr7, SHA256_SIZE);
        d->volumes.n = 1;
        d->volumes.item[0] = (struct data_volume){&w->partition, LABEL, "oem"};
        d->volume[0].volume = &d->volumes.item[0];
        assert_true(asprintf(&d->volume[0].device, "%s/volume", w->dir.path) > 0);
        assert_int_equal(luks_open(d->volume[0].device, &d->volume[0].luks, &w->e), 0);
        assert_int_equal(ways_judge(&d->volume[0], d->tpm, &d->starters, &w->e), 0);
        doctor_tpm(d);
        doctor_events(d);
        doctor_data(d);
}

static void end(struct doctor *d)
{
        d->node = NULL;
        d->has_starters = false;
        d->was = (struct measured){.n = 0};
        doctor_done(d);
        free(d);
}

static const struct doctor_finding *expect(const struct doctor *d, const char *id,
                                           const char *subject, enum doctor_severity severity,
                                           const char *text)
{
        const struct doctor_finding *f = doctor_find(&d->list, id, subject);

        if (!f || f->severity != severity || !strstr(f->text, text)) {
                for (size_t i = 0; i < d->list.n; i++)
                        print_message(
                                "%s %s [%s] %s\n", doctor_severity_name(d->list.item[i].severity),
                                d->list.item[i].id, d->list.item[i].subject, d->list.item[i].text);
                fail_msg("no %s", id);
        }
        return f;
}

#define NEW() ((struct doctor *)calloc(1, sizeof(struct doctor)))

static void test_healthy(void **state)
{
        struct doctor *d = NEW();

        reboot(*state, 1);
        look(*state, d);
        expect(d, "tpm", NULL, DOCTOR_OK, "TPM 2.0");
        expect(d, "tpm-kind", NULL, DOCTOR_NOTE, "software TPM");
        /* The emulator's power was cut. */
        expect(d, "tpm-lockout", NULL, DOCTOR_NOTE, "1 of 3 failed");
        expect(d, "tpm-memory", NULL, DOCTOR_OK, "remembers");
        expect(d, "log", NULL, DOCTOR_OK, "");
        expect(d, "events", NULL, DOCTOR_OK, "the same");
        expect(d, "token-opens", "oem", DOCTOR_OK, "PCR 7 by value, PCR 11 signed");
        expect(d, "no-recovery-key", "oem", DOCTOR_WARNING, "");
        assert_null(doctor_find(&d->list, "no-way-in", NULL));
        end(d);
}

static void test_changed_db_is_named(void **state)
{
        struct doctor *d = NEW();
        const struct doctor_finding *f;

        reboot(*state, 2);
        look(*state, d);
        f = expect(d, "event-changed", "PCR 7", DOCTOR_PROBLEM,
                   "event 2, variable db: 2 certificates instead of 1; new: ");
        assert_non_null(strstr(f->text, "since 2023-11-14, noted on somewhere, and a token"));
        assert_non_null(strstr(f->advice, "tb-agent enroll tpm"));
        expect(d, "token-other-state", "oem", DOCTOR_WARNING, "see above");
        expect(d, "no-way-in", "oem", DOCTOR_PROBLEM, "");
        expect(d, "tpm-memory", NULL, DOCTOR_OK, "");
        end(d);
}

static void test_another_tpm(void **state)
{
        struct world *w = *state;
        struct doctor *d = NEW();

        swtpm_stop(w->emulator);
        w->emulator = swtpm_start();
        assert_non_null(w->emulator);
        w->env.tcti = w->emulator->tcti;
        boot(w, 1);
        look(w, d);
        expect(d, "tpm-other", NULL, DOCTOR_PROBLEM, "another TPM");
        expect(d, "token-other-tpm", "oem", DOCTOR_WARNING, "");
        expect(d, "no-way-in", "oem", DOCTOR_PROBLEM, "");
        expect(d, "events", NULL, DOCTOR_OK, "");
        end(d);
}

static void test_cleared_tpm(void **state)
{
        struct world *w = *state;
        struct doctor *d = NEW();
        struct tpm *t = connect(w);

        assert_int_equal(Esys_Clear(t->esys, ESYS_TR_RH_LOCKOUT, ESYS_TR_PASSWORD, ESYS_TR_NONE,
                                    ESYS_TR_NONE),
                         TSS2_RC_SUCCESS);
        tpm_free(t);
        look(w, d);
        expect(d, "tpm-cleared", NULL, DOCTOR_PROBLEM, "it is the same one");
        expect(d, "token-other-tpm", "oem", DOCTOR_WARNING, "");
        end(d);
}

/* The storage key is subject to it: nothing loads meanwhile. */
static void test_lockout(void **state)
{
        struct world *w = *state;
        struct doctor *d = NEW();
        struct tpm *t = connect(w);

        /* No failure is allowed. */
        assert_int_equal(Esys_DictionaryAttackParameters(t->esys, ESYS_TR_RH_LOCKOUT,
                                                         ESYS_TR_PASSWORD, ESYS_TR_NONE,
                                                         ESYS_TR_NONE, 0, 1000, 1000),
                         TSS2_RC_SUCCESS);
        tpm_free(t);
        look(w, d);
        expect(d, "tpm-lockout", NULL, DOCTOR_PROBLEM, "locked out");
        expect(d, "tpm-lockout-time", NULL, DOCTOR_NOTE, "every 1000 seconds");
        expect(d, "token-unknown", "oem", DOCTOR_WARNING, "lockout");
        assert_null(doctor_find(&d->list, "tpm-cleared", NULL));
        end(d);
}

/* Somebody extended what no log tells of. */
static void test_log_that_does_not_explain(void **state)
{
        struct world *w = *state;
        struct doctor *d = NEW();
        struct tpm *t = connect(w);

        extend(t, "secret", 6);
        tpm_free(t);
        look(w, d);
        expect(d, "log-mismatch", "PCR 7", DOCTOR_PROBLEM, "does not lead");
        assert_null(doctor_find(&d->list, "log", NULL));
        assert_null(doctor_find(&d->list, "event-changed", NULL));
        end(d);
}

/* Nothing can be looked at: each area says so, and nothing else goes wrong. */
static void test_nothing_there(void **state)
{
        struct world *w = *state;
        struct doctor *d = NEW();

        w->env.tcti = "device:/nonexistent";
        w->env.sysfs = w->nowhere;
        doctor_look(d, &w->env, NULL);
        doctor_tpm(d);
        doctor_events(d);
        doctor_data(d);
        doctor_esp(d);
        doctor_entries(d);
        doctor_firmware(d);
        doctor_memory(d);
        expect(d, "uefi", NULL, DOCTOR_PROBLEM, "");
        expect(d, "tpm", NULL, DOCTOR_PROBLEM, "no TPM");
        expect(d, "log-unknown", NULL, DOCTOR_WARNING, "event log");
        expect(d, "disk-unknown", NULL, DOCTOR_PROBLEM, "");
        expect(d, "esp-unknown", NULL, DOCTOR_WARNING, "");
        expect(d, "entries-unknown", NULL, DOCTOR_WARNING, "");
        doctor_done(d);
        free(d);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
        const struct CMUnitTest tests[] = {
                TEST(test_healthy),       TEST(test_changed_db_is_named),
                TEST(test_another_tpm),   TEST(test_cleared_tpm),
                TEST(test_lockout),       TEST(test_log_that_does_not_explain),
                TEST(test_nothing_there),
        };

        return cmocka_run_group_tests(tests, make_images, drop_images);
}
