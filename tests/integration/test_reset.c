/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The reset of a node whose boot partition is a folder and whose volumes are plain files, with a
 * software TPM: cut by SIGKILL before each single step, the TPM's power included, and resumed as
 * the boot stage does it. TB_FAST looks at every third cut only.
 */
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

#include "agent/situation.h"
#include "base/codec.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/spawn.h"
#include "efivars/efivar.h"
#include "partition/recovery_key.h"
#include "partition/tpm_esys.h"
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
                .image = image, .literal_pcrs = VOLUME_LITERAL_PCRS, .literal_values = pcr7};
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

        (void)state;
        error_clear(&error);
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
        const char *fail_at; /* the step of this name fails */
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
                struct json_object *certificate, struct error *e)
{
        _cleanup_free_ char *path = at("node/%s.filled", v->name);
        const char *text = certificate ? json_object_to_json_string(certificate) : "";
        _cleanup_(buf_done) struct buf note = BUF_INIT(1 << 16);

        (void)arg;
        (void)e;
        assert_int_equal(buf_printf(&note, "%s %s", made->made.uuid, text), 0);
        return file_write_volatile(AT_FDCWD, path, note.data, note.len, 0600);
}

static int deliver(void *arg, struct error *e)
{
        (void)arg;
        (void)e;
        return 0;
}

static void fill_journal(struct reset_journal *j)
{
        *j = (struct reset_journal){.id = "0123", .time = 1};
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
        _cleanup_(secret_free_p) struct secret *key = NULL;
        _cleanup_close_ int fd = file_open_dir(AT_FDCWD, esp_path);
        struct esp esp = {.root = fd, .step = esp_step};
        struct image_demands demands = usi.demands;
        uint8_t pcr7[SHA256_SIZE];
        struct reset_world w = {.env = &env,
                                .esp = &esp,
                                .tpm = tpm,
                                .demands = &demands,
                                .pcr7 = pcr7,
                                .device_sector = 512,
                                .find = find,
                                .fill = fill,
                                .deliver = deliver,
                                .step = world_step};
        struct reset_journal j;

        demands.floor = order->floor;
        assert_int_equal(tpm_read_pcrs(tpm, VOLUME_LITERAL_PCRS, pcr7, e), 0);
        if (order->resume) {
                int r = reset_journal_load(&esp, &j, e);

                /* One that was cut while it was written led to nothing. */
                if (r == -EBADMSG)
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

/* Its result; 1 when it was killed. The TPM is started again then. */
static int run(const struct order *o)
{
        int status;
        pid_t pid;

        order = o;
        memset(shared, 0, sizeof(*shared));
        pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
                struct tpm *tpm = NULL;

                if (tpm_open(emulator->tcti, &tpm, &shared->error) < 0)
                        _exit(2);
                shared->result = work(tpm, &shared->error);
                tpm_free(tpm);
                _exit(0);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        if (WIFSIGNALED(status)) {
                assert_int_equal(WTERMSIG(status), SIGKILL);
                restart_tpm();
                return 1;
        }
        assert_int_equal(WEXITSTATUS(status), 0);
        return shared->result;
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

static void is_reset(unsigned volumes)
{
        enum entry_role role;

        assert_false(journal_exists());
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

/* --- tests ----------------------------------------------------------------------------------- */

static void test_reset(void **state)
{
        static const char key[] = "cccccccb-cccccccb-cccccccb-cccccccb-"
                                  "cccccccb-cccccccb-cccccccb-cccccccb";
        _cleanup_(secret_free_p) struct secret *secret = NULL;
        _cleanup_free_ char *path = at("node/persistent"), *filled = at("node/persistent.filled");
        _cleanup_(luks_free_p) struct luks *l = NULL;

        (void)state;
        assert_int_equal(run(&(struct order){.kill_at = -1, .volumes = ALL, .recovery_key = key}),
                         0);
        assert_true(shared->report.copied && shared->report.started && shared->report.intact);
        assert_string_equal(shared->report.version, "2");
        for (unsigned i = 0; i < NAMES; i++) {
                const struct reset_volume_report *v = &shared->report.volume[i];

                assert_int_equal(v->erased.overwritten, LUKS_HEADER_SIZE);
                assert_true(v->erased.discarded && v->erased.reads_zero);
                assert_false(v->earlier);
        }
        is_reset(ALL);
        assert_int_equal(recovery_key_parse((const uint8_t *)key, strlen(key), &secret, &error), 0);
        assert_int_equal(luks_open(path, &l, &error), 0);
        assert_true(recovery_key_find_slot(l, secret, &error) >= 0);
        assert_true(contains("\"reads_zero\": true", 18, filled));
        assert_true(contains(old_uuid[2], 36, filled));
}

static void test_only_what_is_asked_for(void **state)
{
        (void)state;
        assert_int_equal(run(&(struct order){.kill_at = -1, .volumes = PERSISTENT}), 0);
        is_reset(PERSISTENT);
}

/* The old header, put back from a copy, opens by the old key; but there is nothing behind it. */
static void test_copy_of_the_header_is_of_no_use(void **state)
{
        _cleanup_free_ char *path = at("node/persistent"), *template = at("template/persistent");
        _cleanup_free_ char *from = NULL, *to = NULL;
        _cleanup_(luks_free_p) struct luks *l = NULL;

        (void)state;
        assert_int_equal(run(&(struct order){.kill_at = -1, .volumes = PERSISTENT}), 0);
        assert_true(asprintf(&from, "if=%s", template) > 0 && asprintf(&to, "of=%s", path) > 0);
        run_program((const char *const[]){"dd", from, to, "bs=1M", "count=16", "conv=notrunc",
                                          "status=none", NULL});
        assert_int_equal(luks_open(path, &l, &error), 0);
        assert_true(opens_by(l, 2));
        assert_false(contains(old_data, sizeof(old_data), path));
}

static void is_consistent(unsigned volumes, bool *ret_begun)
{
        enum entry_role role;
        unsigned image = bootable(&role);

        *ret_begun = false;
        for (unsigned i = 0; i < NAMES; i++) {
                enum volume_state s = state_of(i);

                if (!(volumes & 1u << i))
                        is_untouched(i);
                *ret_begun |= s != WHOLE_OLD;
        }
        if (!*ret_begun)
                return;
        /* The image first. */
        assert_int_equal(image, 2);
        assert_int_equal(role, ENTRY_ROLE_ACTIVE);
}

/* Cut before one step; resumed in the role that would start next, or in recovery. */
static bool cut_and_resume(int cut, unsigned volumes)
{
        bool begun;
        int r;

        assert_int_equal(make_node(NULL), 0);
        r = run(&(struct order){.kill_at = cut, .volumes = volumes});
        if (r == 0)
                return false;
        assert_int_equal(r, 1);
        is_consistent(volumes, &begun);
        if (!journal_exists()) {
                bool over = true;

                for (unsigned i = 0; i < NAMES; i++)
                        over &= !(volumes & 1u << i) || state_of(i) == WHOLE_NEW;
                assert_true(over || !begun);
                return true;
        }
        run_program((const char *const[]){"rm", "-rf", env.run, NULL});
        loader_says(cut % 2 ? "recovery.conf" : "active.conf");
        r = run(&(struct order){.kill_at = -1, .resume = true});
        if (r < 0)
                (void)fprintf(stderr, "cut %d: %s\n", cut, shared->error.text);
        assert_int_equal(r, 0);
        assert_false(journal_exists());
        if (shared->report.resumed)
                is_reset(volumes);
        else
                assert_false(begun);
        return true;
}

static void test_cut_anywhere(void **state)
{
        int stride = getenv("TB_FAST") ? 3 : 1, cut = 0;

        (void)state;
        while (cut_and_resume(cut, PERSISTENT | 1))
                cut += stride;
        (void)fprintf(stderr, "%d cuts\n", cut / stride);
        assert_true(cut > 30);
}

/* A resumed reset is cut as well, again and again. */
static void test_cut_again(void **state)
{
        int r, cuts = 0;

        (void)state;
        assert_int_equal(run(&(struct order){.kill_at = 8, .volumes = ALL}), 1);
        do {
                bool begun;

                run_program((const char *const[]){"rm", "-rf", env.run, NULL});
                r = run(&(struct order){.kill_at = 5 + 4 * cuts++, .resume = true});
                is_consistent(ALL, &begun);
        } while (r == 1);
        assert_int_equal(r, 0);
        assert_true(cuts > 3);
        is_reset(ALL);
}

/* A journal that was left behind finds volumes that are not its own. */
static void test_stale_journal(void **state)
{
        _cleanup_free_ char *path = at("node/persistent"), *copy = at("node/copy");
        _cleanup_(buf_done) struct buf text = BUF_INIT(1 << 16);
        struct reset_journal j;

        (void)state;
        assert_int_equal(run(&(struct order){.kill_at = -1, .volumes = PERSISTENT}), 0);
        run_program((const char *const[]){"cp", "--sparse=always", path, copy, NULL});
        order = &(struct order){.volumes = PERSISTENT};
        fill_journal(&j);
        assert_int_equal(reset_journal_format(&j, &text), 0);
        scratch_put(&base, "node/esp/" RESET_JOURNAL_FILE, text.data, text.len);
        assert_int_equal(run(&(struct order){.kill_at = -1, .resume = true}), 0);
        assert_true(shared->report.stale && !shared->report.started);
        assert_false(journal_exists());
        run_program((const char *const[]){"cmp", path, copy, NULL});

        /* Nor one of another disk. */
        assert_int_equal(make_node(NULL), 0);
        j.volume[0].partition[0] = '9';
        buf_reset(&text);
        assert_int_equal(reset_journal_format(&j, &text), 0);
        scratch_put(&base, "node/esp/" RESET_JOURNAL_FILE, text.data, text.len);
        assert_int_equal(run(&(struct order){.kill_at = -1, .resume = true}), 0);
        assert_true(shared->report.stale);
        assert_false(journal_exists());
        is_untouched(2);

        /* And one that finds something else in place of the volume leaves it alone. */
        assert_int_equal(make_node(NULL), 0);
        run_program((const char *const[]){"mkfs.ext4", "-q", "-F", path, NULL});
        j.volume[0].partition[0] = '1';
        buf_reset(&text);
        assert_int_equal(reset_journal_format(&j, &text), 0);
        scratch_put(&base, "node/esp/" RESET_JOURNAL_FILE, text.data, text.len);
        run_program((const char *const[]){"cp", "--sparse=always", path, copy, NULL});
        assert_int_equal(run(&(struct order){.kill_at = -1, .resume = true}), 0);
        assert_true(shared->report.stale);
        run_program((const char *const[]){"cmp", path, copy, NULL});
}

/* Nothing is destroyed for an image that may not become active. */
static void test_image_below_the_floor(void **state)
{
        struct floor floor;
        enum entry_role role;

        (void)state;
        assert_int_equal(floor_make("test", "3", &floor, &error), 0);
        assert_int_equal(run(&(struct order){.kill_at = -1, .volumes = ALL, .floor = &floor}),
                         -EPERM);
        assert_int_equal(shared->error.class, ERROR_VERSION);
        assert_false(shared->report.started);
        assert_int_equal(bootable(&role), 1);
        for (unsigned i = 0; i < NAMES; i++)
                is_untouched(i);
}

/* Active has recovery's image already, but it is damaged: it is copied anew. */
static void test_damaged_active(void **state)
{
        enum entry_role role;
        uint8_t damage = 0xff;
        _cleanup_close_ int fd = -EBADF;

        (void)state;
        assert_int_equal(run(&(struct order){.kill_at = -1, .volumes = PERSISTENT}), 0);
        assert_int_equal(bootable(&role), 2);
        fd = openat(base.fd, "node/esp/" ESP_IMAGE_DIR "/usi-00000003.efi", O_RDWR | O_CLOEXEC);
        assert_true(fd >= 0);
        assert_int_equal(file_pwrite(fd, &damage, 1, 60000), 0);
        assert_int_equal(run(&(struct order){.kill_at = -1, .volumes = 1}), 0);
        assert_int_equal(bootable(&role), 2);
        assert_int_equal(role, ENTRY_ROLE_ACTIVE);
}

/* Where the image of active and passive is gone, both get recovery's. */
static void test_lost_passive(void **state)
{
        _cleanup_free_ char *path = at("node/esp/" ESP_IMAGE_DIR "/usi-00000001.efi");
        _cleanup_free_ struct entry_file *list = NULL;
        _cleanup_close_ int fd = file_open_dir(AT_FDCWD, esp_path);
        const struct esp esp = ESP_INIT(fd);
        size_t n = 0;

        (void)state;
        run_program((const char *const[]){"rm", path, NULL});
        assert_int_equal(run(&(struct order){.kill_at = -1, .volumes = PERSISTENT}), 0);
        is_reset(PERSISTENT);
        assert_int_equal(esp_list_entries(&esp, &list, &n, &error), 0);
        assert_int_equal(n, 3);
        for (size_t i = 0; i < n; i++) {
                assert_true(list[i].image_present);
                assert_memory_equal(list[i].entry.sha256, sha_of[2], SHA256_SIZE);
        }
}

/* Whoever fails before anything is destroyed may take it back; later nobody may. */
static void test_cancel(void **state)
{
        struct reset_world w = {.env = &env, .find = find};
        _cleanup_close_ int fd = file_open_dir(AT_FDCWD, esp_path);
        const struct esp esp = ESP_INIT(fd);
        struct reset_journal j;
        struct situation s;

        (void)state;
        w.esp = &esp;
        assert_int_equal(
                run(&(struct order){.kill_at = -1, .volumes = ALL, .fail_at = "erase-key-slots"}),
                -EIO);
        assert_true(journal_exists());
        assert_int_equal(situation_read(&env, &esp, &s, &error), 0);
        assert_true(s.reset_pending);
        situation_done(&s);
        assert_int_equal(reset_journal_load(&esp, &j, &error), 0);
        assert_int_equal(reset_cancel(&w, &j, &error), 0);
        assert_false(journal_exists());
        for (unsigned i = 0; i < NAMES; i++)
                is_untouched(i);
        assert_int_equal(run(&(struct order){.kill_at = -1, .volumes = ALL, .fail_at = "format"}),
                         -EIO);
        assert_int_equal(reset_journal_load(&esp, &j, &error), 0);
        assert_int_equal(reset_cancel(&w, &j, &error), -EPERM);
        assert_true(journal_exists());
        assert_int_equal(run(&(struct order){.kill_at = -1, .resume = true}), 0);
        is_reset(ALL);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup(test_reset, make_node),
                cmocka_unit_test_setup(test_only_what_is_asked_for, make_node),
                cmocka_unit_test_setup(test_copy_of_the_header_is_of_no_use, make_node),
                cmocka_unit_test_setup(test_cut_anywhere, make_node),
                cmocka_unit_test_setup(test_cut_again, make_node),
                cmocka_unit_test_setup(test_stale_journal, make_node),
                cmocka_unit_test_setup(test_image_below_the_floor, make_node),
                cmocka_unit_test_setup(test_damaged_active, make_node),
                cmocka_unit_test_setup(test_lost_passive, make_node),
                cmocka_unit_test_setup(test_cancel, make_node),
        };

        shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
                      0);
        if (shared == MAP_FAILED)
                return 1;
        return cmocka_run_group_tests(tests, make_world, drop_world);
}
