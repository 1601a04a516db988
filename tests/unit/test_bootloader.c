/* SPDX-License-Identifier: Apache-2.0 */
/* The two copies of the boot loader: brought up to date, repaired, and cut on the way. */
#include "tests/unit/esp_world.h"

#include <stdio.h>

#include "tests/support/peimage.h"
#include "tests/support/signing.h"
#include "tests/unit/eventlog_data.h"
#include "upgrade/bootloader.h"
#include "upgrade/slots.h"

#define FIRST "EFI/systemd/systemd-bootx64.efi"
#define SECOND "EFI/BOOT/BOOTX64.EFI"

static struct signing_identity vendor, stranger;
static struct sigdb *db, *dbx;

/* A boot loader of this version, signed; version NULL: some other program. */
static void make_file(const char *version, const struct signing_identity *by, char filler,
                      struct buf *ret)
{
        char magic[128];
        _cleanup_close_ int fd = -EBADF;
        struct stat st;
        uint8_t *p;

        (void)snprintf(magic, sizeof(magic), "#### LoaderInfo: systemd-boot %s ####",
                       version ?: "");
        {
                const struct peimage_section sections[] = {
                        {.name = ".text", .data = &filler, .size = 1},
                        {.name = version ? ".sdmagic" : ".data",
                         .data = magic,
                         .size = strlen(magic)},
                };

                fd = peimage_make(sections, ARRAY_SIZE(sections));
        }
        assert_int_equal(fstat(fd, &st), 0);
        assert_int_equal(buf_reserve(ret, (size_t)st.st_size, &p), 0);
        assert_int_equal(file_pread(fd, p, (size_t)st.st_size, 0), st.st_size);
        buf_commit(ret, (size_t)st.st_size);
        signing_sign(ret, by);
}

static void put_file(const char *path, const char *version, const struct signing_identity *by,
                     char filler)
{
        _cleanup_(buf_done) struct buf b = BUF_INIT(SIGNING_IMAGE_MAX);

        make_file(version, by, filler, &b);
        scratch_put(&dir, path, b.data, b.len);
}

static void take(const char *version, const struct signing_identity *by, char filler,
                 struct bootloader *ret)
{
        _cleanup_(buf_done) struct buf b = BUF_INIT(SIGNING_IMAGE_MAX);

        make_file(version, by, filler, &b);
        assert_int_equal(bootloader_take(&b, ret, &error), 0);
}

static void expect_file(const char *path, const char *version, char filler)
{
        _cleanup_(buf_done) struct buf b = BUF_INIT(SIGNING_IMAGE_MAX);

        make_file(version, &vendor, filler, &b);
        scratch_expect(&dir, path, b.data, b.len);
}

static int set_up_loaders(void **state)
{
        (void)set_up(state);
        assert_int_equal(esp_make_dir(&esp, "EFI/systemd", &error), 0);
        assert_int_equal(esp_make_dir(&esp, "EFI/BOOT", &error), 0);
        faults_reset(-1, false);
        return 0;
}

static int update(const char *version, char filler, bool force, enum bootloader_outcome *ret)
{
        struct bootloader fresh = {.image = BUF_INIT(0)};
        struct bootloader_wish wish = {.db = db, .dbx = dbx, .force = force};
        int r;

        if (version) {
                take(version, &vendor, filler, &fresh);
                wish.fresh = &fresh;
        }
        r = bootloader_update(&esp, &wish, ret, &error);
        bootloader_done(&fresh);
        return r;
}

/* --- what becomes of what -------------------------------------------------------------------- */

/* "-": missing, "?": damaged, "!": signed by a stranger, "x": another program that is signed. */
static void put_copy(const char *path, const char *what)
{
        if (strcmp(what, "-") == 0)
                return;
        if (strcmp(what, "?") == 0)
                scratch_put_text(&dir, path, "MZ and then nothing");
        else if (strcmp(what, "!") == 0)
                put_file(path, "300", &stranger, 'a');
        else if (strcmp(what, "x") == 0)
                put_file(path, NULL, &vendor, 'a');
        else
                put_file(path, what, &vendor, 'a');
}

static void test_outcomes(void **state)
{
        static const struct {
                const char *first, *second, *fresh;
                bool force;
                char filler;
                int result;
                enum bootloader_outcome outcome;
                const char *after_first, *after_second; /* NULL: the fresh one */
        } table[] = {
                {"257.1", "257.1", "257.1", false, 'a', 0, BOOTLOADER_SAME, NULL, NULL},
                {"257.1", "257.1", "257.1", false, 'b', 0, BOOTLOADER_UPDATED, NULL, NULL},
                {"252.39-1~deb12u1", "252.39-1~deb12u1", "257.1", false, 'a', 0, BOOTLOADER_UPDATED,
                 NULL, NULL},
                {"257.9", "257.9", "257.13", false, 'a', 0, BOOTLOADER_UPDATED, NULL, NULL},
                {"257.13", "257.13", "257.9", false, 'a', 0, BOOTLOADER_NEWER, "257.13", "257.13"},
                {"257.13", "257.13", "257.9", true, 'a', 0, BOOTLOADER_UPDATED, NULL, NULL},
                {"257.13", "257.9", "257.9", false, 'a', 0, BOOTLOADER_NEWER, "257.13", "257.13"},
                {"257.9", "257.13", NULL, false, 'a', 0, BOOTLOADER_UPDATED, "257.13", "257.13"},
                {"257.9", "-", NULL, false, 'a', 0, BOOTLOADER_REPAIRED, "257.9", "257.9"},
                {"?", "257.9", NULL, false, 'a', 0, BOOTLOADER_REPAIRED, "257.9", "257.9"},
                {"!", "257.9", "257.8", false, 'a', 0, BOOTLOADER_NEWER, "257.9", "257.9"},
                {"257.9", "?", "257.10", false, 'a', 0, BOOTLOADER_UPDATED, NULL, NULL},
                {"-", "-", "257.10", false, 'a', 0, BOOTLOADER_REPAIRED, NULL, NULL},
                {"257.9", "257.9", NULL, false, 'a', 0, BOOTLOADER_SAME, "257.9", "257.9"},
                {"-", "?", NULL, false, 'a', -ENODATA, BOOTLOADER_SAME, "-", "?"},
                {"257.9", "x", "257.10", false, 'a', 0, BOOTLOADER_UPDATED, NULL, "x"},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
                enum bootloader_outcome outcome = BOOTLOADER_SAME;
                const char *after[2] = {table[i].after_first, table[i].after_second};
                const char *const paths[2] = {FIRST, SECOND};

                (void)set_up_loaders(NULL);
                put_copy(FIRST, table[i].first);
                put_copy(SECOND, table[i].second);
                assert_int_equal(update(table[i].fresh, table[i].filler, table[i].force, &outcome),
                                 table[i].result);
                assert_int_equal(outcome, table[i].outcome);
                for (size_t k = 0; k < 2; k++) {
                        if (after[k] && (*after[k] == '-' || *after[k] == '?' || *after[k] == 'x'))
                                assert_int_equal(there(paths[k]), *after[k] != '-');
                        else
                                expect_file(paths[k], after[k] ?: table[i].fresh,
                                            after[k] ? 'a' : table[i].filler);
                }
                (void)tear_down(NULL);
        }
}

static void test_refuses(void **state)
{
        enum bootloader_outcome outcome = BOOTLOADER_SAME;
        struct bootloader fresh = {.image = BUF_INIT(0)};
        struct bootloader_wish wish = {.fresh = &fresh, .db = db, .dbx = dbx, .force = true};

        (void)state;
        put_file(FIRST, "257.1", &vendor, 'a');
        take("258", &stranger, 'a', &fresh);
        assert_int_equal(bootloader_update(&esp, &wish, &outcome, &error), -ENOKEY);
        assert_int_equal(error.class, ERROR_SIGNATURE);
        wish.db = NULL;
        assert_int_equal(bootloader_update(&esp, &wish, &outcome, &error), -ENODATA);
        bootloader_done(&fresh);
        expect_file(FIRST, "257.1", 'a');
        assert_false(there(SECOND));
}

/* --- PCR 7 ----------------------------------------------------------------------------------- */

/* EFI_IMAGE_SECURITY_DATABASE_GUID */
static const uint8_t db_guid[16] = {0xcb, 0xb2, 0x19, 0xd7, 0x3a, 0x3d, 0x96, 0x45,
                                    0xa3, 0xbc, 0xda, 0xd0, 0x0e, 0x67, 0x65, 0x6f};

/* The log of a boot in which this certificate of db vouched for what was started. */
static struct eventlog *log_of(const struct signing_identity *by, struct buf *text)
{
        static const uint8_t head[16] = {2}, owner[16], name[4] = {'d', 0, 'b', 0};
        _cleanup_(buf_done) struct buf data = BUF_INIT(SIGNING_IMAGE_MAX);
        struct eventlog *log = NULL;
        uint8_t *der = NULL, size[8] = {0};
        int n = i2d_X509(by->cert, &der);

        assert_true(n > 0);
        put_le32(size, (uint32_t)n + sizeof(owner));
        put_bytes(&data, db_guid, sizeof(db_guid));
        put_bytes(&data, head, 8);
        put_bytes(&data, size, sizeof(size));
        put_bytes(&data, name, sizeof(name));
        put_bytes(&data, owner, sizeof(owner));
        put_bytes(&data, der, (size_t)n);
        OPENSSL_free(der);
        put_plain_header(text);
        put_event(text, TPM_PCR_BOOT_STATE, EVENTLOG_VARIABLE_AUTHORITY, data.data, data.len, NULL);
        assert_int_equal(eventlog_parse(text->data, text->len, &log, &error), 0);
        return log;
}

/* Firmware would start it, and then no image would unlock the disk. */
static void test_vouched_by_another(void **state)
{
        _cleanup_(buf_done) struct buf text = BUF_INIT(SIGNING_IMAGE_MAX);
        _cleanup_(sigdb_free_p) struct sigdb *both = sigdb_new();
        enum bootloader_outcome outcome = BOOTLOADER_SAME;
        struct bootloader fresh = {.image = BUF_INIT(0)};
        struct bootloader_wish wish = {.fresh = &fresh, .db = both, .dbx = dbx, .force = true};
        struct eventlog *log = log_of(&vendor, &text);

        (void)state;
        signing_add_cert(both, vendor.cert);
        signing_add_cert(both, stranger.cert);
        put_file(FIRST, "257.1", &vendor, 'a');
        put_file(SECOND, "257.1", &vendor, 'a');
        take("257.2", &stranger, 'a', &fresh);
        wish.log = log;
        assert_int_equal(bootloader_update(&esp, &wish, &outcome, &error), -EXDEV);
        assert_int_equal(error.class, ERROR_PRECONDITION);
        expect_file(FIRST, "257.1", 'a');
        expect_file(SECOND, "257.1", 'a');
        /* Nor is it taken from the other copy. */
        put_file(FIRST, "257.2", &stranger, 'a');
        wish.fresh = NULL;
        wish.force = false;
        assert_int_equal(bootloader_update(&esp, &wish, &outcome, &error), -EXDEV);
        expect_file(SECOND, "257.1", 'a');
        /* By the certificate of this boot, and without knowing which that was. */
        bootloader_done(&fresh);
        take("257.3", &vendor, 'a', &fresh);
        wish.fresh = &fresh;
        assert_int_equal(bootloader_update(&esp, &wish, &outcome, &error), 0);
        expect_file(SECOND, "257.3", 'a');
        bootloader_done(&fresh);
        take("257.4", &stranger, 'a', &fresh);
        wish.log = NULL;
        assert_int_equal(bootloader_update(&esp, &wish, &outcome, &error), 0);
        assert_int_equal(outcome, BOOTLOADER_UPDATED);
        bootloader_done(&fresh);
        eventlog_free(log);
}

static void expect_major(unsigned running, unsigned expected)
{
        unsigned major = 0;

        assert_int_equal(bootloader_major_on_esp(&esp, running, &major), 0);
        assert_int_equal(major, expected);
}

static void test_oldest_copy_counts(void **state)
{
        unsigned major = 0;

        (void)state;
        assert_int_equal(bootloader_major_on_esp(&esp, 257, &major), -ENOENT);
        put_copy(SECOND, "258.1");
        expect_major(0, 258);
        expect_major(252, 258);
        put_file(FIRST, "252.39-1~deb12u1", &vendor, 'a');
        expect_major(258, 252);
        /* What stands there instead may start an older one from elsewhere. */
        put_file(FIRST, NULL, &vendor, 'a');
        expect_major(252, 252);
        expect_major(259, 258);
        expect_major(0, 0);
}

static void add_foreign_and_ours(void)
{
        struct entry e = {.key = ENTRY_KEY_EFI, .title = "x", .version = "1", .has_sha256 = true};
        static const char *const files[] = {"active+2-1.conf", "passive.conf", "memtest.conf"};
        char text[ENTRY_SIZE];

        assert_int_equal(add_image(1), 0);
        (void)snprintf(e.image, sizeof(e.image), "/" ESP_IMAGE_DIR "/usi-00000001.efi");
        assert_int_equal(entry_format(&e, text), 0);
        for (size_t i = 0; i < ARRAY_SIZE(files); i++)
                assert_int_equal(esp_add_entry(&esp, files[i], text, &error), 0);
}

static void test_entries_of_ours_become_countable(void **state)
{
        _cleanup_free_ struct entry_file *list = NULL;
        unsigned changed = 0;
        size_t n = 0;

        (void)state;
        add_foreign_and_ours();
        assert_int_equal(slots_adopt_uki(&esp, &changed, &error), 0);
        assert_int_equal(changed, 2);
        assert_int_equal(esp_list_entries(&esp, &list, &n, &error), 0);
        assert_int_equal(n, 3);
        for (size_t i = 0; i < n; i++) {
                assert_int_equal(list[i].entry.key, strcmp(list[i].file, "memtest.conf") == 0
                                                            ? ENTRY_KEY_EFI
                                                            : ENTRY_KEY_UKI);
                assert_int_equal(list[i].size, ENTRY_SIZE);
                assert_true(list[i].entry.has_sha256);
                assert_string_equal(list[i].entry.version, "1");
        }
        assert_int_equal(slots_adopt_uki(&esp, &changed, &error), 0);
        assert_int_equal(changed, 0);
}

/* An older loader would hide the entries written for the newer one. */
static void test_keeps_entries_visible(void **state)
{
        enum bootloader_outcome outcome = BOOTLOADER_SAME;
        struct entry e = {.key = ENTRY_KEY_UKI, .title = "x"};
        char text[ENTRY_SIZE];

        (void)state;
        assert_int_equal(add_image(1), 0);
        (void)snprintf(e.image, sizeof(e.image), "/" ESP_IMAGE_DIR "/usi-00000001.efi");
        assert_int_equal(entry_format(&e, text), 0);
        assert_int_equal(esp_add_entry(&esp, "active.conf", text, &error), 0);
        put_file(FIRST, "258.1", &vendor, 'a');
        put_file(SECOND, "258.1", &vendor, 'a');
        assert_int_equal(update("257.9", 'a', true, &outcome), -EPERM);
        assert_int_equal(error.class, ERROR_PRECONDITION);
        expect_file(FIRST, "258.1", 'a');
        assert_int_equal(update("258", 'a', true, &outcome), 0);
        expect_file(SECOND, "258", 'a');
}

/* --- cut ------------------------------------------------------------------------------------- */

static bool is_whole(const char *path)
{
        _cleanup_(buf_done) struct buf b = BUF_INIT(SIGNING_IMAGE_MAX);
        struct bootloader l = {.image = BUF_INIT(0)};
        bool whole;

        if (file_read(dir.fd, path, &b) < 0 || bootloader_take(&b, &l, NULL) < 0)
                return false;
        whole = bootloader_verify(&l, db, dbx, NULL, NULL) == 0;
        bootloader_done(&l);
        return whole;
}

/* Both whole before: both whole always. One damaged: the other is whole always. */
static void cut_update(const char *first, const char *second)
{
        bool both = *first != '?' && *second != '?';
        enum bootloader_outcome outcome = BOOTLOADER_SAME;

        for (int cut = 0;; cut++) {
                int r;

                (void)set_up_loaders(NULL);
                put_copy(FIRST, first);
                put_copy(SECOND, second);
                faults_reset(cut, true);
                r = update("257.13", 'a', false, &outcome);
                assert_true(is_whole(FIRST) || is_whole(SECOND));
                assert_true(!both || (is_whole(FIRST) && is_whole(SECOND)));
                if (faults.steps <= cut) {
                        assert_int_equal(r, 0);
                        (void)tear_down(NULL);
                        return;
                }
                assert_int_equal(r, -EIO);
                faults_reset(-1, false);
                assert_int_equal(update("257.13", 'a', false, &outcome), 0);
                expect_file(FIRST, "257.13", 'a');
                expect_file(SECOND, "257.13", 'a');
                assert_false(there("EFI/BOOT/TBAGENT0.TMP"));
                assert_false(there("EFI/systemd/TBAGENT0.TMP"));
                assert_int_equal(update("257.13", 'a', false, &outcome), 0);
                assert_int_equal(outcome, BOOTLOADER_SAME);
                (void)tear_down(NULL);
                assert_true(cut < 1000);
        }
}

static void test_cut(void **state)
{
        (void)state;
        cut_update("257.9", "257.9");
        cut_update("257.9", "257.13");
        cut_update("?", "257.9");
        cut_update("257.9", "?");
}

static int make_keys(void **state)
{
        (void)state;
        signing_identity(&vendor, EVP_RSA_gen(2048), "vendor", NULL, true, -3600, 3600);
        signing_identity(&stranger, EVP_RSA_gen(2048), "stranger", NULL, true, -3600, 3600);
        db = sigdb_new();
        dbx = sigdb_new();
        signing_add_cert(db, vendor.cert);
        return 0;
}

static int drop_keys(void **state)
{
        (void)state;
        signing_drop(&vendor);
        signing_drop(&stranger);
        sigdb_free(db);
        sigdb_free(dbx);
        return 0;
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, set_up_loaders, tear_down)

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_outcomes),
                CASE(test_oldest_copy_counts),
                CASE(test_entries_of_ours_become_countable),
                CASE(test_refuses),
                CASE(test_vouched_by_another),
                CASE(test_keeps_entries_visible),
                cmocka_unit_test(test_cut),
        };

        return cmocka_run_group_tests(tests, make_keys, drop_keys);
}
