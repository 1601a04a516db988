/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What may start next, and what PCR 7 is then. A boot is simulated on a software TPM: the events
 * that firmware logs and extends; the prediction for another boot has to be the value that a second
 * simulation of that boot ends at.
 */
#include "agent/starters.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/limits.h"
#include "base/num.h"
#include "efivars/efivar.h"
#include "image/efisig.h"
#include "partition/eventlog.h"
#include "partition/tpm_esys.h"
#include "tests/support/peimage.h"
#include "tests/support/swtpm.h"
#include "tests/support/usi.h"
#include "tests/unit/scratch.h"

#define LOADER "EFI/systemd/systemd-bootx64.efi"
#define FALLBACK "EFI/BOOT/BOOTX64.EFI"
#define SYSFS_LOG "sys/kernel/security/tpm0/binary_bios_measurements"

/* Vendor 0 makes the boot loader and the active image, vendor 1 the passive one. */
static struct test_usi_world vendors[2];
static struct buf images[2] = {BUF_INIT(SIGNING_IMAGE_MAX), BUF_INIT(SIGNING_IMAGE_MAX)};
static struct buf loader = BUF_INIT(SIGNING_IMAGE_MAX);
static struct buf lists[2] = {BUF_INIT(LIMIT_EFI_VARIABLE), BUF_INIT(LIMIT_EFI_VARIABLE)};
static const uint8_t owners[2][16] = {{1}, {2}};

struct world {
        struct scratch dir;
        char vars[96], sysfs[96], run[96];
        struct env env;
        struct esp esp;
        struct swtpm *emulator;
        struct tpm *tpm;
        struct buf log;
        struct starters s;
        struct error e;
};

/* --- making ---------------------------------------------------------------------------------- */

static void make_loader(void)
{
        static const char magic[] = "#### LoaderInfo: systemd-boot 252.39 ####";
        const struct peimage_section sections[] = {
                {.name = ".text", .data = "x", .size = 1},
                {.name = ".sdmagic", .data = magic, .size = sizeof(magic) - 1},
        };
        _cleanup_close_ int fd = peimage_make(sections, ARRAY_SIZE(sections));
        struct stat st;
        uint8_t *p;

        assert_int_equal(fstat(fd, &st), 0);
        assert_int_equal(buf_reserve(&loader, (size_t)st.st_size, &p), 0);
        assert_int_equal(file_pread(fd, p, (size_t)st.st_size, 0), st.st_size);
        buf_commit(&loader, (size_t)st.st_size);
        signing_sign(&loader, &vendors[0].vendor);
}

static int make_all(void **state)
{
        (void)state;
        for (unsigned i = 0; i < 2; i++) {
                test_usi_world_make(&vendors[i]);
                test_usi_make(&vendors[i], i == 0 ? "2" : "1", 5000, &images[i]);
                assert_int_equal(efisig_list(owners[i], vendors[i].vendor.cert, &lists[i]), 0);
        }
        make_loader();
        return 0;
}

static int drop_all(void **state)
{
        (void)state;
        for (unsigned i = 0; i < 2; i++) {
                test_usi_world_drop(&vendors[i]);
                buf_done(&images[i]);
                buf_done(&lists[i]);
        }
        buf_done(&loader);
        return 0;
}

/* --- a boot ---------------------------------------------------------------------------------- */

static void put32(struct buf *b, uint32_t v)
{
        uint8_t raw[4];

        put_le32(raw, v);
        assert_int_equal(buf_add(b, raw, sizeof(raw)), 0);
}

/* TCG PC Client Platform Firmware Profile 1.05, section 10.4.5.1 */
static void begin_log(struct buf *log)
{
        static const uint8_t zeros[20], tail[] = {0, 2, 0, 2, 1, 0, 0, 0, 0x0b, 0, 32, 0, 0};

        put32(log, 0);
        put32(log, EVENTLOG_NO_ACTION);
        assert_int_equal(buf_add(log, zeros, sizeof(zeros)), 0);
        put32(log, 16 + 4 + sizeof(tail));
        assert_int_equal(buf_add(log, "Spec ID Event03", 16), 0);
        put32(log, 0);
        assert_int_equal(buf_add(log, tail, sizeof(tail)), 0);
}

static void event(struct tpm *tpm, struct buf *log, uint32_t pcr, uint32_t type,
                  const struct buf *data)
{
        uint8_t digest[SHA256_SIZE];

        assert_int_equal(sha256(data->data, data->len, digest), 0);
        put32(log, pcr);
        put32(log, type);
        put32(log, 1);
        assert_int_equal(buf_add(log, "\x0b\0", 2), 0);
        assert_int_equal(buf_add(log, digest, sizeof(digest)), 0);
        put32(log, (uint32_t)data->len);
        assert_int_equal(buf_add(log, data->data, data->len), 0);
        if (pcr == TPM_PCR_BOOT_STATE) {
                TPML_DIGEST_VALUES values = {.count = 1, .digests[0].hashAlg = TPM2_ALG_SHA256};

                memcpy(values.digests[0].digest.sha256, digest, SHA256_SIZE);
                assert_int_equal(Esys_PCR_Extend(tpm->esys, ESYS_TR_PCR7, ESYS_TR_PASSWORD,
                                                 ESYS_TR_NONE, ESYS_TR_NONE, &values),
                                 0);
        }
}

/* UEFI_VARIABLE_DATA: GUID, lengths, name, content. */
static void variable(struct buf *out, const char *guid, const char *name, const void *data,
                     size_t n)
{
        static const uint8_t security[16] = {0xcb, 0xb2, 0x19, 0xd7, 0x3a, 0x3d, 0x96, 0x45,
                                             0xa3, 0xbc, 0xda, 0xd0, 0x0e, 0x67, 0x65, 0x6f};
        static const uint8_t global[16] = {0x61, 0xdf, 0xe4, 0x8b, 0xca, 0x93, 0xd2, 0x11,
                                           0xaa, 0x0d, 0x00, 0xe0, 0x98, 0x03, 0x2b, 0x8c};

        buf_reset(out);
        assert_int_equal(
                buf_add(out, strcmp(guid, EFIVAR_GUID_GLOBAL) == 0 ? global : security, 16), 0);
        put32(out, (uint32_t)strlen(name));
        put32(out, 0);
        put32(out, (uint32_t)n);
        put32(out, 0);
        for (const char *c = name; *c; c++)
                assert_int_equal(buf_add(out, (const char[]){*c, 0}, 2), 0);
        if (n > 0)
                assert_int_equal(buf_add(out, data, n), 0);
}

struct boot {
        const struct buf *db;
        int authorities[3]; /* vendors, ended by -1 */
        bool driver;        /* a program of an add-in card ran */
};

static void authority_event(struct tpm *tpm, struct buf *log, int vendor)
{
        _cleanup_(buf_done) struct buf data = BUF_INIT(4096), entry = BUF_INIT(4096);

        /* Owner and certificate: the only entry of its list. */
        assert_int_equal(buf_add(&entry, lists[vendor].data + 28, lists[vendor].len - 28), 0);
        variable(&data, EFIVAR_GUID_SECURITY, "db", entry.data, entry.len);
        event(tpm, log, 7, EVENTLOG_VARIABLE_AUTHORITY, &data);
}

/* The events of PCR 7, in the order of the profile. */
static void simulate(struct tpm *tpm, const struct boot *boot, struct buf *log)
{
        static const struct {
                const char *name, *guid;
        } others[] = {{"SecureBoot", EFIVAR_GUID_GLOBAL},
                      {"PK", EFIVAR_GUID_GLOBAL},
                      {"KEK", EFIVAR_GUID_GLOBAL},
                      {"db", EFIVAR_GUID_SECURITY},
                      {"dbx", EFIVAR_GUID_SECURITY}};
        _cleanup_(buf_done) struct buf data = BUF_INIT(LIMIT_EFI_VARIABLE);

        begin_log(log);
        for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
                bool db = strcmp(others[i].name, "db") == 0;

                variable(&data, others[i].guid, others[i].name,
                         db ? (const void *)boot->db->data : "\1",
                         db       ? boot->db->len
                         : i == 0 ? 1
                                  : 0);
                event(tpm, log, 7, EVENTLOG_VARIABLE_DRIVER_CONFIG, &data);
        }
        buf_reset(&data);
        put32(&data, 0);
        event(tpm, log, 7, EVENTLOG_SEPARATOR, &data);
        if (boot->driver)
                event(tpm, log, 2, EVENTLOG_BOOT_SERVICES_DRIVER, &data);
        for (unsigned i = 0; boot->authorities[i] >= 0; i++)
                authority_event(tpm, log, boot->authorities[i]);
}

/* PCR 7 of that boot, on a TPM of its own. */
static void value_of(const struct boot *boot, uint8_t ret[SHA256_SIZE])
{
        struct swtpm *emulator = swtpm_start();
        _cleanup_(buf_done) struct buf log = BUF_INIT(LIMIT_EVENTLOG);
        struct error e = ERROR_INIT;
        struct tpm *tpm = NULL;

        assert_non_null(emulator);
        assert_int_equal(tpm_open(emulator->tcti, &tpm, &e), 0);
        simulate(tpm, boot, &log);
        assert_int_equal(tpm_read_pcrs(tpm, 1u << TPM_PCR_BOOT_STATE, ret, &e), 0);
        tpm_free(tpm);
        swtpm_stop(emulator);
}

/* --- the machine ----------------------------------------------------------------------------- */

static void put_entry(struct world *w, const char *file, const char *sort_key, unsigned image,
                      const char *version)
{
        struct entry e = {.key = ENTRY_KEY_EFI};
        char text[ENTRY_SIZE], path[64];

        (void)snprintf(e.title, sizeof(e.title), "Test");
        (void)snprintf(e.sort_key, sizeof(e.sort_key), "%s", sort_key);
        (void)snprintf(e.version, sizeof(e.version), "%s", version);
        (void)snprintf(e.image, sizeof(e.image), "/" ESP_IMAGE_DIR "/usi-%08u.efi", image);
        (void)snprintf(path, sizeof(path), ESP_ENTRY_DIR "/%s", file);
        assert_int_equal(entry_format(&e, text), 0);
        scratch_put(&w->dir, path, text, sizeof(text));
}

static void boot(struct world *w, const struct boot *boot)
{
        static const char selected[] = "a\0c\0t\0i\0v\0e\0.\0c\0o\0n\0f\0\0";

        assert_int_equal(efivar_write(&w->env, "db", EFIVAR_GUID_SECURITY, EFIVAR_PERSISTENT,
                                      boot->db->data, boot->db->len),
                         0);
        assert_int_equal(efivar_write(&w->env, "LoaderEntrySelected", EFIVAR_GUID_LOADER, 6,
                                      selected, sizeof(selected)),
                         0);
        simulate(w->tpm, boot, &w->log);
        scratch_put(&w->dir, SYSFS_LOG, w->log.data, w->log.len);
}

static void make_folders(struct world *w)
{
        static const char *const folders[] = {ESP_IMAGE_DIR,
                                              ESP_ENTRY_DIR,
                                              "EFI/systemd",
                                              "EFI/BOOT",
                                              "vars",
                                              "run",
                                              "sys/kernel/security/tpm0"};

        for (size_t i = 0; i < ARRAY_SIZE(folders); i++)
                assert_int_equal(file_make_dirs(w->dir.fd, folders[i], 0700), 0);
        (void)snprintf(w->vars, sizeof(w->vars), "%s/vars", w->dir.path);
        (void)snprintf(w->sysfs, sizeof(w->sysfs), "%s/sys", w->dir.path);
        (void)snprintf(w->run, sizeof(w->run), "%s/run", w->dir.path);
        w->env = (struct env)ENV_INIT;
        w->env.efivarfs = w->vars;
        w->env.sysfs = w->sysfs;
        w->env.run = w->run;
        w->esp = (struct esp)ESP_INIT(w->dir.fd);
}

static int setup(void **state)
{
        struct world *w = calloc(1, sizeof(*w));

        assert_non_null(w);
        *state = w;
        scratch_make(&w->dir);
        make_folders(w);
        w->log = (struct buf)BUF_INIT(LIMIT_EVENTLOG);
        w->emulator = swtpm_start();
        assert_non_null(w->emulator);
        assert_int_equal(tpm_open(w->emulator->tcti, &w->tpm, &w->e), 0);
        scratch_put(&w->dir, LOADER, loader.data, loader.len);
        scratch_put(&w->dir, FALLBACK, loader.data, loader.len);
        for (unsigned i = 0; i < 2; i++) {
                char path[64];

                (void)snprintf(path, sizeof(path), ESP_IMAGE_DIR "/usi-%08u.efi", i + 1);
                scratch_put(&w->dir, path, images[i].data, images[i].len);
        }
        put_entry(w, "active.conf", "0001", 1, "2");
        put_entry(w, "passive.conf", "0002", 2, "1");
        put_entry(w, "recovery.conf", "0003", 1, "2");
        return 0;
}

static int teardown(void **state)
{
        struct world *w = *state;

        starters_done(&w->s);
        buf_done(&w->log);
        tpm_free(w->tpm);
        swtpm_stop(w->emulator);
        scratch_clean(&w->dir);
        free(w);
        return 0;
}

/* next: contents of db to come; NULL: as it is. */
static void look(struct world *w, const struct buf *next, const struct buf *next_dbx)
{
        struct keychange k;

        assert_int_equal(keychange_read(&w->env, NULL, 0, &k, &w->e), 0);
        if (next) {
                buf_reset(&k.item[KEYSET_DB].next);
                assert_int_equal(buf_add(&k.item[KEYSET_DB].next, next->data, next->len), 0);
                k.n = 1;
        }
        if (next_dbx)
                assert_int_equal(buf_add(&k.item[KEYSET_DBX].next, next_dbx->data, next_dbx->len),
                                 0);
        starters_done(&w->s);
        if (starters_read(&w->env, &w->esp, w->tpm, &k, &w->s, &w->e) < 0)
                fail_msg("%s", w->e.text);
        keychange_done(&k);
        assert_int_equal(w->s.n, 2);
}

static void assert_pcr7(const struct starter *s, const struct boot *boot)
{
        uint8_t value[SHA256_SIZE];

        if (s->error.code)
                print_error("%s\n", s->error.text);
        assert_non_null(s->image);
        assert_true(s->has_pcr7);
        value_of(boot, value);
        assert_memory_equal(s->pcr7, value, SHA256_SIZE);
}

static void both(struct buf *out)
{
        assert_int_equal(buf_add(out, lists[0].data, lists[0].len), 0);
        assert_int_equal(buf_add(out, lists[1].data, lists[1].len), 0);
}

/* --- tests ----------------------------------------------------------------------------------- */

static void test_as_it_is(void **state)
{
        struct world *w = *state;
        _cleanup_(buf_done) struct buf db = BUF_INIT(LIMIT_EFI_VARIABLE);
        const struct boot this = {&db, {0, -1}, false}, passive = {&db, {0, 1, -1}, false};
        char roles[STARTERS_ROLES_SIZE];

        both(&db);
        boot(w, &this);
        look(w, NULL, NULL);
        assert_true(w->s.explained);
        assert_int_equal(w->s.loader_error.code, 0);
        assert_int_equal(w->s.fallback_error.code, 0);
        starters_roles(&w->s.item[0], roles);
        assert_string_equal(roles, "active, recovery");
        assert_true(w->s.item[0].running && w->s.item[0].next);
        assert_false(w->s.item[1].running || w->s.item[1].next);
        assert_pcr7(&w->s.item[0], &this);
        assert_memory_equal(w->s.item[0].pcr7, w->s.pcr7, SHA256_SIZE);
        /* Another certificate of db vouches for it, which the firmware measures. */
        assert_pcr7(&w->s.item[1], &passive);
}

static void test_db_to_come(void **state)
{
        struct world *w = *state;
        _cleanup_(buf_done) struct buf next = BUF_INIT(LIMIT_EFI_VARIABLE);
        const struct boot this = {&lists[0], {0, -1}, false};

        both(&next);
        boot(w, &this);
        look(w, NULL, NULL);
        assert_null(w->s.item[1].image);
        assert_int_equal(w->s.item[1].error.class, ERROR_SIGNATURE);
        look(w, &next, NULL);
        assert_pcr7(&w->s.item[0], &(struct boot){&next, {0, -1}, false});
        assert_pcr7(&w->s.item[1], &(struct boot){&next, {0, 1, -1}, false});
}

/* What the node needs is revoked, or loses its certificate. */
static void test_casualties(void **state)
{
        struct world *w = *state;
        _cleanup_(buf_done) struct buf db = BUF_INIT(LIMIT_EFI_VARIABLE);

        both(&db);
        boot(w, &(struct boot){&db, {0, -1}, false});
        look(w, NULL, &lists[1]);
        assert_non_null(w->s.item[0].image);
        assert_null(w->s.item[1].image);
        assert_int_equal(w->s.item[1].error.class, ERROR_REVOKED);
        assert_int_equal(w->s.loader_error.code, 0);
        look(w, &lists[1], NULL);
        assert_null(w->s.item[0].image);
        assert_non_null(w->s.item[1].image);
        assert_true(w->s.loader_error.code != 0 && w->s.fallback_error.code != 0);
        /* Nothing vouches for the boot loader: what PCR 7 would be is not known. */
        assert_false(w->s.item[1].has_pcr7);
}

/* Signed by both, the old one first: when that leaves db, the other vouches, and PCR 7 says so. */
static void test_certificate_rotation(void **state)
{
        struct world *w = *state;
        _cleanup_(buf_done) struct buf db = BUF_INIT(LIMIT_EFI_VARIABLE),
                                       image = BUF_INIT(SIGNING_IMAGE_MAX),
                                       start = BUF_INIT(SIGNING_IMAGE_MAX);
        const struct boot this = {&db, {0, -1}, false};

        both(&db);
        assert_int_equal(buf_add(&image, images[0].data, images[0].len), 0);
        assert_int_equal(buf_add(&start, loader.data, loader.len), 0);
        signing_sign(&image, &vendors[1].vendor);
        signing_sign(&start, &vendors[1].vendor);
        scratch_put(&w->dir, ESP_IMAGE_DIR "/usi-00000001.efi", image.data, image.len);
        scratch_put(&w->dir, LOADER, start.data, start.len);
        boot(w, &this);
        look(w, NULL, NULL);
        assert_pcr7(&w->s.item[0], &this);
        look(w, &lists[1], NULL);
        assert_int_equal(w->s.loader_error.code, 0);
        assert_pcr7(&w->s.item[0], &(struct boot){&lists[1], {1, -1}, false});
}

/* With more programs than ours only what vouched in this boot can be counted on. */
static void test_unexplained(void **state)
{
        struct world *w = *state;
        _cleanup_(buf_done) struct buf db = BUF_INIT(LIMIT_EFI_VARIABLE);
        const struct boot this = {&db, {0, -1}, true};

        both(&db);
        boot(w, &this);
        look(w, NULL, NULL);
        assert_false(w->s.explained);
        assert_pcr7(&w->s.item[0], &this);
        assert_false(w->s.item[1].has_pcr7);
        assert_int_equal(w->s.item[1].error.code, EOPNOTSUPP);
}

/* A second certificate vouched for something that is neither boot loader nor image. */
static void test_unexplained_by_its_value(void **state)
{
        struct world *w = *state;
        _cleanup_(buf_done) struct buf db = BUF_INIT(LIMIT_EFI_VARIABLE);
        const struct boot this = {&db, {1, 0, -1}, false};

        both(&db);
        boot(w, &this);
        look(w, NULL, NULL);
        assert_false(w->s.explained);
        assert_pcr7(&w->s.item[0], &this);
}

/* Two files of the same bytes: judged once, told of both. */
static void test_copy(void **state)
{
        struct world *w = *state;
        const struct boot this = {&lists[0], {0, -1}, false};

        scratch_put(&w->dir, ESP_IMAGE_DIR "/usi-00000002.efi", images[0].data, images[0].len);
        boot(w, &this);
        look(w, NULL, NULL);
        assert_true(w->s.item[1].copy && !w->s.item[0].copy);
        assert_pcr7(&w->s.item[1], &this);
        images[0].data[images[0].len - 1] ^= 1;
        scratch_put(&w->dir, ESP_IMAGE_DIR "/usi-00000002.efi", images[0].data, images[0].len);
        images[0].data[images[0].len - 1] ^= 1;
        look(w, NULL, NULL);
        assert_null(w->s.item[1].image);
}

static void test_no_log(void **state)
{
        struct world *w = *state;
        _cleanup_(buf_done) struct buf db = BUF_INIT(LIMIT_EFI_VARIABLE);
        const struct boot this = {&db, {0, -1}, false};

        both(&db);
        boot(w, &this);
        assert_int_equal(unlinkat(w->dir.fd, SYSFS_LOG, 0), 0);
        look(w, NULL, NULL);
        assert_true(w->s.log_error.code != 0);
        assert_pcr7(&w->s.item[0], &this);
        look(w, &lists[0], NULL);
        assert_false(w->s.item[0].has_pcr7);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
        const struct CMUnitTest tests[] = {
                TEST(test_as_it_is),    TEST(test_db_to_come),
                TEST(test_casualties),  TEST(test_certificate_rotation),
                TEST(test_unexplained), TEST(test_unexplained_by_its_value),
                TEST(test_copy),        TEST(test_no_log),
        };

        return cmocka_run_group_tests(tests, make_all, drop_all);
}
