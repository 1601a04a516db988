/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A node for tests/integration/test_reset.c: its boot partition is a folder and its volumes are
 * plain files, with a software TPM. A reset runs in a process of its own, which can be killed.
 */
#pragma once

#include "agent/reset.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "agent/pcr_choice.h"
#include "agent/situation.h"
#include "base/codec.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/spawn.h"
#include "efivars/efivar.h"
#include "partition/blank.h"
#include "partition/recovery_key.h"
#include "partition/tpm_esys.h"
#include "partition/tpm_note.h"
#include "tests/support/swtpm.h"
#include "tests/support/usi.h"
#include "tests/unit/scratch.h"
#include "upgrade/image_receiver.h"

#define VOLUME_SIZE (20 * MIB)
#define DATA_AT (LUKS_HEADER_SIZE + 65536)
#define NAMES 3u

static const char *const names[NAMES] = {"oem", "data", "persistent"};
static const char *const labels[NAMES] = {"COS_OEM", "DATA", "COS_PERSISTENT"};
static const char partition[] = "11111111-2222-3333-4444-555555555555";
/* Stands for the old data, as its cipher text: nothing of it may be found later. */
static const char old_data[] = "what was here before the reset";

static struct scratch base;
static struct test_usi_world usi;
static struct swtpm *emulator;
static struct env env = ENV_INIT;
static struct error error;
static char *esp_path, *efivars_path;
static struct secret *old_key[NAMES]; /* passphrases of the template */
static char *old_uuid[NAMES];
static uint8_t sha_of[3][SHA256_SIZE]; /* of images 1 and 2 */

/* --- the world ------------------------------------------------------------------------------- */

static void run_program(const char *const argv[])
{
        assert_int_equal(spawn_check(argv, 60, &error), 0);
}

static char *at(const char *fmt, ...) _printf_(1, 2);
static char *at(const char *fmt, ...)
{
        char *name, *path;
        va_list ap;

        va_start(ap, fmt);
        assert_true(vasprintf(&name, fmt, ap) > 0);
        va_end(ap);
        assert_true(asprintf(&path, "%s/%s", base.path, name) > 0);
        free(name);
        return path;
}

static void loader_says(const char *entry)
{
        _cleanup_(buf_done) struct buf wide = BUF_INIT(4096);

        assert_int_equal(utf8_to_utf16(entry, &wide), 0);
        assert_int_equal(efivar_write(&env, "LoaderEntrySelected", EFIVAR_GUID_LOADER,
                                      EFIVAR_BOOTSERVICE | EFIVAR_RUNTIME, wide.data, wide.len),
                         0);
}

static void put_image(const struct esp *esp, uint32_t number, const char *version,
                      struct verified_image **ret)
{
        _cleanup_(buf_done) struct buf bytes = BUF_INIT(SIGNING_IMAGE_MAX);
        const struct image_receive what = {.number = number, .demands = &usi.demands};
        char path[IMAGE_PATH_SIZE];

        test_usi_make(&usi, version, 100000, &bytes);
        assert_int_equal(image_path(number, path), 0);
        scratch_put(&(struct scratch){.fd = esp->root}, path, bytes.data, bytes.len);
        assert_int_equal(image_receiver_take(esp, &what, NULL, ret, &error), 0);
        memcpy(sha_of[number], image_sha256(*ret), SHA256_SIZE);
}

static void put_entry(const struct esp *esp, const char *file, enum entry_role role,
                      const struct verified_image *image, uint32_t number)
{
        char text[ENTRY_SIZE];

        assert_int_equal(image_entry(image, number, role, ENTRY_KEY_EFI, text, &error), 0);
        assert_int_equal(esp_add_entry(esp, file, text, &error), 0);
}

/* A node: active and passive have image 1, recovery has image 2. */
static void make_esp(struct verified_image **ret)
{
        _cleanup_(image_free_p) struct verified_image *one = NULL;
        _cleanup_close_ int fd = -EBADF;
        struct esp esp;

        assert_int_equal(file_make_dirs(base.fd, "template/esp", 0755), 0);
        fd = file_open_dir(base.fd, "template/esp");
        esp = (struct esp)ESP_INIT(fd);
        assert_int_equal(esp_make_dir(&esp, ESP_IMAGE_DIR, &error), 0);
        assert_int_equal(esp_make_dir(&esp, ESP_ENTRY_DIR, &error), 0);
        put_image(&esp, 1, "1", &one);
        put_image(&esp, 2, "2", ret);
        put_entry(&esp, "active.conf", ENTRY_ROLE_ACTIVE, one, 1);
        put_entry(&esp, "passive.conf", ENTRY_ROLE_PASSIVE, one, 1);
        put_entry(&esp, "recovery.conf", ENTRY_ROLE_RECOVERY, *ret, 2);
}

static void make_volume(unsigned i, const struct verified_image *image)
{
        _cleanup_(tpm_free_p) struct tpm *tpm = NULL;
        _cleanup_free_ char *path = at("template/%s", names[i]);
        static const uint8_t pcr7[SHA256_SIZE];
        struct volume_keys keys = {
                .image = image, .literal_pcrs = PCR_CHOICE_NEEDED, .literal_values = pcr7};
        struct volume v = {.device = path, .label = labels[i], .device_sector = 512};
        _cleanup_close_ int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

        assert_true(fd >= 0);
        assert_int_equal(ftruncate(fd, (off_t)VOLUME_SIZE), 0);
        assert_int_equal(tpm_open(emulator->tcti, &tpm, &error), 0);
        keys.tpm = tpm;
        assert_int_equal(volume_enrol(&keys, &v, &error), 0);
        assert_int_equal(file_pwrite(fd, old_data, sizeof(old_data), DATA_AT), 0);
        old_key[i] = v.made.passphrase;
        old_uuid[i] = strdup(v.made.uuid);
        assert_non_null(old_uuid[i]);
}

static int make_world(void **state)
{
        _cleanup_(image_free_p) struct verified_image *image = NULL;

        (void)state;
        log_set_level(LOG_LEVEL_ERROR);
        scratch_make(&base);
        test_usi_world_make(&usi);
        emulator = swtpm_start();
        assert_non_null(emulator);
        make_esp(&image);
        assert_int_equal(file_make_dirs(base.fd, "template/run", 0755), 0);
        assert_int_equal(file_make_dirs(base.fd, "template/efivars", 0755), 0);
        for (unsigned i = 0; i < NAMES; i++)
                make_volume(i, image);
        esp_path = at("node/esp");
        efivars_path = at("node/efivars");
        env.efivarfs = efivars_path;
        env.run = at("node/run");
        env.sysfs = env.proc = env.dev = "/nonexistent";
        return 0;
}

static int drop_world(void **state)
{
        (void)state;
        for (unsigned i = 0; i < NAMES; i++) {
                secret_free(old_key[i]);
                free(old_uuid[i]);
        }
        swtpm_stop(emulator);
        test_usi_world_drop(&usi);
        scratch_clean(&base);
        free(esp_path);
        free(efivars_path);
        free((char *)(uintptr_t)env.run);
        return 0;
}

static int make_node(void **state)
{
        _cleanup_free_ char *template = at("template"), *node = at("node");
        struct tpm *tpm = NULL;

        (void)state;
        error_clear(&error);
        assert_int_equal(tpm_open(emulator->tcti, &tpm, &error), 0);
        assert_int_equal(tpm_note_remove(tpm, &error), 0);
        tpm_free(tpm);
        run_program((const char *const[]){"rm", "-rf", node, NULL});
        run_program((const char *const[]){"cp", "-a", "--sparse=always", template, node, NULL});
        loader_says("recovery.conf");
        return 0;
}

/* --- a run in a process of its own ----------------------------------------------------------- */

/* Shared with the processes. */
struct shared {
        int steps; /* taken */
        int result;
        struct error error;
        struct reset_report report;
};

static struct shared *shared;

struct order {
        int kill_at;      /* before this step; -1 = never */
        bool resume;      /* what stands in the journal */
        unsigned volumes; /* bit i: names[i] */
        const char *recovery_key;
        const struct floor *floor;
        int (*kept)(void *arg, const struct verified_image *image, struct error *e);
        const char *fail_at;        /* the step of this name fails */
        struct policy_key *running; /* of the image that runs; NULL: not asked for */
        uint32_t pcrs;              /* besides 7 */
        bool wants_pin;             /* in the journal */
        const char *pin;            /* that is given */
};

static const struct order *order;

static int count_step(const char *what)
{
        if (shared->steps++ == order->kill_at)
                (void)kill(getpid(), SIGKILL);
        return order->fail_at && strcmp(order->fail_at, what) == 0 ? -EIO : 0;
}

static int world_step(void *arg, const char *what, const char *name)
{
        (void)arg;
        (void)name;
        return count_step(what);
}

static int esp_step(void *arg, const char *what, const char *path)
{
        (void)arg;
        (void)path;
        return count_step(what);
}

static int find(void *arg, const struct reset_volume *v, char **ret, struct error *e)
{
        (void)arg;
        if (strcmp(v->partition, partition) != 0)
                return error_set(e, ERROR_PRECONDITION, ESTALE, "another disk");
        *ret = at("node/%s", v->name);
        return 0;
}

/* Without device-mapper there is no file system: a note for which volume it would be. */
static int fill(void *arg, const struct reset_volume *v, const struct volume *made,
                const struct install_record *record, struct json_object *certificate,
                struct error *e)
{
        _cleanup_free_ char *path = at("node/%s.filled", v->name);
        const char *text = certificate ? json_object_to_json_string(certificate) : "";
        _cleanup_(buf_done) struct buf note = BUF_INIT(1 << 16);
        int r;

        (void)arg;
        r = buf_printf(&note, "%s %s %s", made->made.uuid, record ? record->encrypted[0] : "-",
                       text);
        if (r == 0)
                r = file_write_volatile(AT_FDCWD, path, note.data, note.len, 0600);
        return r < 0 ? error_errno(e, -r, "fill") : 0;
}

static int deliver(void *arg, struct error *e)
{
        (void)arg;
        (void)e;
        return 0;
}

static void fill_journal(struct reset_journal *j)
{
        *j = (struct reset_journal){.id = "0123",
                                    .time = 1,
                                    .pcrs = PCR_CHOICE_NEEDED | order->pcrs,
                                    .pin = order->wants_pin,
                                    .n_encrypted = 1,
                                    .encrypted = {"data"}};
        for (unsigned i = 0; i < NAMES; i++) {
                struct reset_volume *v = &j->volume[j->n];

                if (!(order->volumes & 1u << i))
                        continue;
                *v = (struct reset_volume){.file_system = true};
                (void)snprintf(v->name, sizeof(v->name), "%s", names[i]);
                (void)snprintf(v->partition, sizeof(v->partition), "%s", partition);
                (void)snprintf(v->uuid, sizeof(v->uuid), "%s", old_uuid[i]);
                (void)snprintf(v->label, sizeof(v->label), "%s", labels[i]);
                j->n++;
        }
}

static int work(struct tpm *tpm, struct error *e)
{
        _cleanup_(secret_free_p) struct secret *key = NULL, *pin = NULL;
        _cleanup_close_ int fd = file_open_dir(AT_FDCWD, esp_path);
        struct esp esp = {.root = fd, .step = esp_step};
        struct image_demands demands = usi.demands;
        uint8_t values[PCR_CHOICE_LITERAL_COUNT * SHA256_SIZE];
        struct reset_world w = {.env = &env,
                                .esp = &esp,
                                .tpm = tpm,
                                .demands = &demands,
                                .values = values,
                                .device_sector = 512,
                                .find = find,
                                .fill = fill,
                                .deliver = deliver,
                                .kept = order->kept,
                                .step = world_step};
        struct reset_journal j;
        int r;

        demands.floor = order->floor;
        demands.keys = &order->running;
        demands.n_keys = order->running != NULL;
        r = tpm_read_pcrs(tpm, PCR_CHOICE_NEEDED | order->pcrs, values, e);
        if (r < 0)
                return r;
        if (order->pin) {
                pin = secret_new(strlen(order->pin));
                if (!pin)
                        return error_oom(e);
                memcpy(pin->data, order->pin, pin->len);
                w.pin = pin;
        }
        if (order->resume) {
                uint8_t digest[SHA256_SIZE];

                r = tpm_note_read(tpm, digest, e);
                if (r > 0)
                        r = reset_journal_load(&esp, digest, &j, e);
                else
                        r = r == 0 ? -ENOENT : r;
                /* One that the TPM does not know of led to nothing. */
                if (r == -ENOENT || r == -EKEYREJECTED)
                        return reset_journal_remove(&esp, e);
                return r == 0 ? reset_resume(&w, &j, &shared->report, e) : r;
        }
        if (order->recovery_key)
                assert_int_equal(recovery_key_parse((const uint8_t *)order->recovery_key,
                                                    strlen(order->recovery_key), &key, e),
                                 0);
        w.recovery_key = key;
        fill_journal(&j);
        return reset_run(&w, &j, &shared->report, e);
}

/* In order: a TPM counts each other end of its power as a guess, and three lock it. */
static void restart_tpm(void)
{
        struct tpm *tpm = NULL;

        assert_int_equal(tpm_open(emulator->tcti, &tpm, &error), 0);
        assert_int_equal(
                Esys_Shutdown(tpm->esys, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, TPM2_SU_CLEAR),
                0);
        tpm_free(tpm);
        assert_int_equal(swtpm_reboot(emulator), 0);
}

/* --- what must hold -------------------------------------------------------------------------- */

enum { ALL = 7, PERSISTENT = 4 };

static bool journal_exists(void)
{
        return file_exists(base.fd, "node/esp/" RESET_JOURNAL_FILE);
}

static const struct entry_file *select_entry(struct entry_file *list, size_t n)
{
        const struct entry_file *f = entry_select(list, n, 257);

        assert_non_null(f);
        return f;
}

/* What the boot loader would start is a whole image; *ret_number: 1 or 2, by its content. */
static unsigned bootable(enum entry_role *ret_role)
{
        _cleanup_free_ struct entry_file *list = NULL;
        _cleanup_close_ int fd = file_open_dir(AT_FDCWD, esp_path);
        const struct esp esp = ESP_INIT(fd);
        const struct entry_file *f;
        uint8_t sha[SHA256_SIZE];
        char path[PATH_MAX];
        size_t n = 0;

        assert_int_equal(esp_list_entries(&esp, &list, &n, &error), 0);
        f = select_entry(list, n);
        assert_int_equal(entry_image_path(&f->entry, path), 0);
        assert_int_equal(esp_digest(&esp, path, sha, NULL, &error), 0);
        assert_memory_equal(sha, f->entry.sha256, SHA256_SIZE);
        *ret_role = f->name.role;
        return memcmp(sha, sha_of[2], SHA256_SIZE) == 0 ? 2 : 1;
}

enum volume_state {
        WHOLE_OLD,
        GONE,
        MAKING,
        WHOLE_NEW,
};

static bool opens_by(const struct luks *l, unsigned i)
{
        return luks_test_secret(l, 0, old_key[i], NULL) == 0;
}

static enum volume_state state_of(unsigned i)
{
        _cleanup_free_ char *path = at("node/%s", names[i]),
                            *filled = at("node/%s.filled", names[i]);
        _cleanup_(buf_done) struct buf note = BUF_INIT(1 << 16);
        _cleanup_(luks_free_p) struct luks *l = NULL;

        if (luks_open(path, &l, NULL) < 0)
                return GONE;
        if (strcmp(luks_uuid(l), old_uuid[i]) == 0) {
                assert_string_equal(luks_label(l), labels[i]);
                return WHOLE_OLD;
        }
        assert_false(opens_by(l, i));
        if (strcmp(luks_label(l), RESET_LABEL) == 0)
                return MAKING;
        /* With its own label it is complete: header as the boot stage wants it, and filled. */
        assert_int_equal(luks_check_header(l, labels[i], &error), 0);
        assert_int_equal(file_read(AT_FDCWD, filled, &note), 0);
        assert_memory_equal(note.data, luks_uuid(l), strlen(luks_uuid(l)));
        return WHOLE_NEW;
}

static bool contains(const void *data, size_t n, const char *path)
{
        _cleanup_(buf_done) struct buf bytes = BUF_INIT(VOLUME_SIZE);

        assert_int_equal(file_read(AT_FDCWD, path, &bytes), 0);
        return memmem(bytes.data, bytes.len, data, n) != NULL;
}

/* Neither the data nor any piece of headers and key slots of before is on the medium. */
static void nothing_old_is_left(unsigned i)
{
        _cleanup_free_ char *path = at("node/%s", names[i]),
                            *template = at("template/%s", names[i]);
        _cleanup_(buf_done) struct buf old = BUF_INIT(VOLUME_SIZE), now = BUF_INIT(VOLUME_SIZE);
        static const uint8_t zeros[512];

        assert_false(contains(old_data, sizeof(old_data), path));
        assert_false(contains(old_uuid[i], strlen(old_uuid[i]), path));
        assert_int_equal(file_read(AT_FDCWD, path, &now), 0);
        assert_int_equal(file_read(AT_FDCWD, template, &old), 0);
        /* The key slots: random bytes that cannot be the same by chance. */
        for (size_t k = 32768; k + 512 <= LUKS_HEADER_SIZE; k += 512) {
                if (memcmp(old.data + k, zeros, 512) != 0)
                        assert_memory_not_equal(old.data + k, now.data + k, 512);
        }
}

static void is_untouched(unsigned i)
{
        _cleanup_free_ char *path = at("node/%s", names[i]),
                            *template = at("template/%s", names[i]);

        run_program((const char *const[]){"cmp", path, template, NULL});
}

static bool is_noted(void)
{
        _cleanup_(tpm_free_p) struct tpm *tpm = NULL;
        uint8_t digest[SHA256_SIZE];
        int r;

        assert_int_equal(tpm_open(emulator->tcti, &tpm, &error), 0);
        r = tpm_note_read(tpm, digest, &error);
        assert_true(r >= 0);
        return r > 0;
}

static void is_reset(unsigned volumes)
{
        enum entry_role role;

        assert_false(journal_exists() || is_noted());
        assert_int_equal(bootable(&role), 2);
        assert_int_equal(role, ENTRY_ROLE_ACTIVE);
        for (unsigned i = 0; i < NAMES; i++) {
                if (volumes & 1u << i) {
                        assert_int_equal(state_of(i), WHOLE_NEW);
                        nothing_old_is_left(i);
                } else {
                        is_untouched(i);
                }
        }
}
