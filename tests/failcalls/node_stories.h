/* SPDX-License-Identifier: Apache-2.0 */
/* What tests/failcalls/node.c tells: how a node begins, what is done to it, and what holds of it.
 */
#pragma once

#include "tests/integration/reset_world.h"

#include "agent/bootentry.h"
#include "agent/trial.h"
#include "agent/ways.h"
#include "efivars/bootorder.h"
#include "partition/floor.h"

#define VOLUMES (PERSISTENT | 1u)

struct story {
        const char *name;
        void (*begin)(void); /* on a fresh node */
        int (*act)(struct tpm *tpm, struct error *e);
        void (*judge)(bool finished); /* asserts what holds */
};

static struct esp open_esp(void)
{
        const struct esp esp = ESP_INIT(file_open_dir(AT_FDCWD, esp_path));

        return esp;
}

static void nothing(void)
{
}

/* --- reset ----------------------------------------------------------------------------------- */

static const struct order reset_first = {.kill_at = -1, .volumes = VOLUMES};
static const struct order reset_resumed = {.kill_at = -1, .resume = true};

/* One that was begun is gone on with, as the boot stage does it. */
static int act_reset(struct tpm *tpm, struct error *e)
{
        int r = 0;

        memset(shared, 0, sizeof(*shared));
        if (journal_exists()) {
                order = &reset_resumed;
                r = work(tpm, e);
        }
        order = &reset_first;
        return r == 0 && !shared->report.resumed ? work(tpm, e) : r;
}

/* Else data stays, of which the key is gone; the report says so. */
static bool was_discarded(void)
{
        return shared->report.volume[0].erased.discarded &&
               shared->report.volume[1].erased.discarded;
}

static void judge_reset(bool finished)
{
        enum entry_role role;
        unsigned image = bootable(&role);
        bool begun = false;

        if (finished && was_discarded()) {
                is_reset(VOLUMES);
                return;
        }
        if (finished) {
                assert_false(journal_exists() || is_noted());
                assert_true(image == 2 && role == ENTRY_ROLE_ACTIVE);
                assert_true(state_of(0) == WHOLE_NEW && state_of(2) == WHOLE_NEW);
                return;
        }
        is_untouched(1);
        begun = state_of(0) != WHOLE_OLD || state_of(2) != WHOLE_OLD;
        if (begun)
                assert_true(image == 2 && role == ENTRY_ROLE_ACTIVE);
        /* What is not over can be gone on with. */
        if (state_of(0) != WHOLE_NEW || state_of(2) != WHOLE_NEW)
                assert_true(!begun || (journal_exists() && is_noted()));
}

/* --- ways into a volume ---------------------------------------------------------------------- */

static struct verified_image *ways_image;
/* Secrets are empty in a child: these are copies of what opens the volume, and of a recovery key.
 */
struct plain {
        uint8_t data[256];
        size_t len;
};

static struct plain old_plain, fresh_plain;
static const struct layout_partition ways_partition = {.name = "persistent"};
static const struct data_volume ways_data = {&ways_partition, "COS_PERSISTENT", "persistent"};

static void keep_plain(const struct secret *s, struct plain *ret)
{
        assert_true(s->len <= sizeof(ret->data));
        memcpy(ret->data, s->data, s->len);
        ret->len = s->len;
}

static struct secret *secret_of(const struct plain *p)
{
        struct secret *s = secret_new(p->len);

        if (s)
                memcpy(s->data, p->data, p->len);
        return s;
}

static int take_image(uint32_t number, struct verified_image **ret)
{
        const struct image_receive what = {.number = number, .demands = &usi.demands};
        struct esp esp = open_esp();
        int r = image_receiver_take(&esp, &what, NULL, ret, &error);

        (void)close(esp.root);
        return r;
}

static int open_ways(struct tpm *tpm, struct starter *starter, struct ways_volume *v,
                     struct error *e)
{
        const struct starters starters = {.item = starter, .n = 1};
        int r;

        *v = (struct ways_volume){.volume = &ways_data};
        v->device = at("node/persistent");
        r = luks_open(v->device, &v->luks, e);
        if (r == 0)
                r = luks_check_header(v->luks, "COS_PERSISTENT", e);
        if (r == 0)
                r = ways_judge(v, tpm, &starters, e);
        return r;
}

static struct starter make_starter(void)
{
        struct starter s = {.image = ways_image, .running = true, .next = true, .has_pcr7 = true};

        s.roles = 1u << ENTRY_ROLE_ACTIVE;
        memset(s.pcr7, 0x77, sizeof(s.pcr7));
        return s;
}

/* For the image, with PCR 7 as it will be. */
static struct ways_seal seal_for(struct tpm *tpm, const struct starter *starter)
{
        struct ways_seal seal = {.tpm = tpm,
                                 .key = image_policy_key(ways_image),
                                 .literal_pcrs = PCR_CHOICE_NEEDED,
                                 .prove = starter};

        memcpy(seal.literal_values, starter->pcr7, sizeof(starter->pcr7));
        return seal;
}

static int get_volume_key(const struct ways_volume *v, struct secret **ret, struct error *e)
{
        _cleanup_(secret_free_p) struct secret *old = secret_of(&old_plain);

        return old ? luks_get_volume_key(v->luks, 0, old, ret, e) : error_oom(e);
}

/* As enroll tpm: left-overs first, then what is not there yet. */
static int act_enroll_tpm(struct tpm *tpm, struct error *e)
{
        _cleanup_(ways_volume_done) struct ways_volume v = {.volume = NULL};
        _cleanup_(secret_free_p) struct secret *volume_key = NULL;
        struct starter starter = make_starter();
        const struct ways_seal seal = seal_for(tpm, &starter);
        int r = open_ways(tpm, &starter, &v, e);

        if (r == 0)
                r = ways_clean(&v, e);
        if (r < 0 || ways_has(&v, &seal))
                return r < 0 ? r : 0;
        r = get_volume_key(&v, &volume_key, e);
        return r == 0 ? ways_add_tpm(&v, volume_key, &seal, e) : r;
}

static int act_enroll_key(struct tpm *tpm, struct error *e)
{
        _cleanup_(ways_volume_done) struct ways_volume v = {.volume = NULL};
        _cleanup_(secret_free_p) struct secret *volume_key = NULL;
        _cleanup_(secret_free_p) struct secret *fresh_key = secret_of(&fresh_plain);
        struct starter starter = make_starter();
        int r = fresh_key ? open_ways(tpm, &starter, &v, e) : error_oom(e);

        if (r == 0)
                r = ways_clean(&v, e);
        if (r >= 0)
                r = recovery_key_find_slot(v.luks, fresh_key, e);
        if (r != -EACCES && r != -ENOKEY)
                return r < 0 ? r : 0;
        error_clear(e);
        r = get_volume_key(&v, &volume_key, e);
        return r == 0 ? ways_add_key(&v, volume_key, fresh_key, e) : r;
}

static void begin_remove(void)
{
        struct tpm *tpm = NULL;

        assert_int_equal(tpm_open(emulator->tcti, &tpm, &error), 0);
        if (act_enroll_key(tpm, &error) < 0)
                fail_msg("%s", error.text);
        tpm_free(tpm);
}

/* The recovery key goes again. */
static int act_remove(struct tpm *tpm, struct error *e)
{
        _cleanup_(ways_volume_done) struct ways_volume v = {.volume = NULL};
        struct starter starter = make_starter();
        int r = open_ways(tpm, &starter, &v, e);

        if (r == 0)
                r = ways_clean(&v, e);
        for (unsigned i = 0; r >= 0 && i < v.n; i++) {
                if (v.way[i].state == WAY_RECOVERY_KEY)
                        return ways_remove(&v, &v.way[i], e);
        }
        return r < 0 ? r : 0;
}

/* The header is whole, and what opened the volume still does. */
static struct luks *open_volume(void)
{
        _cleanup_free_ char *path = at("node/persistent");
        _cleanup_(secret_free_p) struct secret *old = secret_of(&old_plain);
        struct luks *l = NULL;

        assert_int_equal(luks_open(path, &l, &error), 0);
        assert_int_equal(luks_check_header(l, "COS_PERSISTENT", &error), 0);
        assert_int_equal(luks_test_secret(l, 0, old, &error), 0);
        return l;
}

static void judge_enroll_tpm(bool finished)
{
        struct tpm *tpm = NULL;
        struct starter starter = make_starter();
        struct ways_seal seal;
        struct ways_volume v;

        luks_free(open_volume());
        assert_int_equal(tpm_open(emulator->tcti, &tpm, &error), 0);
        if (open_ways(tpm, &starter, &v, &error) < 0)
                fail_msg("%s", error.text);
        seal = seal_for(tpm, &starter);
        assert_true(!finished || ways_has(&v, &seal));
        ways_volume_done(&v);
        tpm_free(tpm);
}

static void judge_enroll_key(bool finished)
{
        _cleanup_(secret_free_p) struct secret *fresh_key = secret_of(&fresh_plain);
        _cleanup_(luks_free_p) struct luks *l = open_volume();

        if (finished)
                assert_true(recovery_key_find_slot(l, fresh_key, &error) >= 0);
}

static void judge_remove(bool finished)
{
        _cleanup_(secret_free_p) struct secret *fresh_key = secret_of(&fresh_plain);
        _cleanup_(luks_free_p) struct luks *l = open_volume();

        if (!finished)
                return;
        assert_int_equal(recovery_key_find_slot(l, fresh_key, &error), -ENOKEY);
        assert_int_equal(luks_unnamed_keyslots(l), 0);
}

/* --- a new volume, and what opens one -------------------------------------------------------- */

static void begin_volume(void)
{
        _cleanup_free_ char *path = at("node/fresh");
        _cleanup_close_ int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

        assert_true(fd >= 0);
        assert_int_equal(ftruncate(fd, (off_t)VOLUME_SIZE), 0);
}

/* As an installation makes it. */
static int act_volume(struct tpm *tpm, struct error *e)
{
        _cleanup_(secret_free_p) struct secret *fresh_key = secret_of(&fresh_plain);
        _cleanup_free_ char *path = at("node/fresh");
        static const uint8_t pcr7[SHA256_SIZE];
        const struct volume_keys keys = {.tpm = tpm,
                                         .image = ways_image,
                                         .literal_pcrs = PCR_CHOICE_NEEDED,
                                         .literal_values = pcr7,
                                         .recovery_key = fresh_key};
        struct volume v = {.device = path, .label = "COS_PERSISTENT", .device_sector = 512};
        int r = fresh_key ? volume_enrol(&keys, &v, e) : error_oom(e);

        if (r == 0)
                r = volume_prove(&keys, &v, e);
        volume_done(&v);
        return r;
}

static void judge_volume(bool finished)
{
        _cleanup_(secret_free_p) struct secret *fresh_key = secret_of(&fresh_plain);
        _cleanup_free_ char *path = at("node/fresh");
        _cleanup_(luks_free_p) struct luks *l = NULL;

        if (!finished)
                return;
        assert_int_equal(luks_open(path, &l, &error), 0);
        assert_int_equal(luks_check_header(l, "COS_PERSISTENT", &error), 0);
        assert_true(recovery_key_find_slot(l, fresh_key, &error) >= 0);
}

static struct token *sealed;
static struct plain sealed_plain;
static struct buf sealed_signature = BUF_INIT(4096);

/* A secret that is sealed to the values that the PCRs have, one of them by a signature. */
static void begin_unseal(void)
{
        _cleanup_(secret_free_p) struct secret *secret = secret_random(SEAL_SECRET_SIZE);
        uint8_t pcr7[SHA256_SIZE], pcr11[SHA256_SIZE], pol[SHA256_SIZE];
        const struct seal_policy policy = {.key = usi.policy->policy,
                                           .signed_pcrs = 1u << 11,
                                           .literal_pcrs = PCR_CHOICE_NEEDED,
                                           .literal_values = pcr7};
        struct tpm *tpm = NULL;

        assert_non_null(secret);
        assert_int_equal(tpm_open(emulator->tcti, &tpm, &error), 0);
        assert_int_equal(tpm_measure(tpm, 7, "SecureBoot", 10, &error), 0);
        assert_int_equal(tpm_measure(tpm, 11, "enter-initrd", 12, &error), 0);
        assert_int_equal(tpm_read_pcrs(tpm, PCR_CHOICE_NEEDED, pcr7, &error), 0);
        assert_int_equal(tpm_read_pcrs(tpm, 1u << 11, pcr11, &error), 0);
        token_free(sealed);
        sealed = NULL;
        assert_int_equal(seal_create(tpm, &policy, secret, &sealed, &error), 0);
        tpm_free(tpm);
        keep_plain(secret, &sealed_plain);
        test_pol(11, pcr11, pol);
        buf_reset(&sealed_signature);
        test_key_sign(usi.policy, pol, &sealed_signature);
}

static int find_sealed(void *ctx, const uint8_t pkfp[SHA256_SIZE], const uint8_t pol[SHA256_SIZE],
                       struct buf *sig)
{
        (void)ctx;
        (void)pkfp;
        (void)pol;
        return buf_add(sig, sealed_signature.data, sealed_signature.len);
}

static int act_unseal(struct tpm *tpm, struct error *e)
{
        struct secret *secret = NULL;
        int r = seal_open(tpm, sealed, NULL, find_sealed, NULL, &secret, e);

        assert_true((r == 0) == (secret != NULL));
        if (r == 0)
                assert_memory_equal(secret->data, sealed_plain.data, sealed_plain.len);
        secret_free(secret);
        return r;
}

static void judge_unseal(bool finished)
{
        (void)finished;
}

/* --- the version floor ----------------------------------------------------------------------- */

static int floor_dir = -EBADF;

static struct floor floor_of(const char *version)
{
        struct floor f;

        assert_int_equal(floor_make("test", version, &f, &error), 0);
        return f;
}

static void begin_floor(void)
{
        _cleanup_free_ char *path = at("node/floor");
        const struct floor one = floor_of("1");
        struct tpm *tpm = NULL;

        close_p(&floor_dir);
        assert_int_equal(file_make_dirs(AT_FDCWD, path, 0700), 0);
        floor_dir = file_open_dir(AT_FDCWD, path);
        assert_true(floor_dir >= 0);
        assert_int_equal(tpm_open(emulator->tcti, &tpm, &error), 0);
        if (floor_clear(tpm, floor_dir, FLOOR_FILE, &error) < 0 ||
            floor_setup(tpm, floor_dir, FLOOR_FILE, &one, false, &error) < 0)
                fail_msg("%s", error.text);
        tpm_free(tpm);
}

static int act_floor(struct tpm *tpm, struct error *e)
{
        const struct floor two = floor_of("2");

        return floor_raise(tpm, floor_dir, FLOOR_FILE, &two, e);
}

static void judge_floor(bool finished)
{
        _cleanup_(floor_state_free_p) struct floor_state *s = NULL;
        struct floor_report report;
        struct tpm *tpm = NULL;

        assert_int_equal(tpm_open(emulator->tcti, &tpm, &error), 0);
        assert_int_equal(floor_load_file(floor_dir, FLOOR_FILE, &s, &error), 0);
        assert_int_equal(floor_inspect(tpm, s, &report, &error), 0);
        assert_true(report.has_floor);
        assert_true(report.finding == FLOOR_AGREE ||
                    (!finished && report.finding == FLOOR_FILE_BEHIND));
        assert_true(strcmp(report.effective.version, "2") == 0 ||
                    (!finished && strcmp(report.effective.version, "1") == 0));
        tpm_free(tpm);
}

/* --- boot entries ---------------------------------------------------------------------------- */

#define COUNTED "active+2-1.conf"

static void begin_trial(void)
{
        _cleanup_free_ char *from = at("node/esp/" ESP_ENTRY_DIR "/active.conf");
        _cleanup_free_ char *to = at("node/esp/" ESP_ENTRY_DIR "/" COUNTED);
        _cleanup_free_ char *run_dir = at("node/run/tb-agent"), *state = at("node/state");
        _cleanup_(buf_done) struct buf wide = BUF_INIT(4096);

        run_program((const char *const[]){"mv", from, to, NULL});
        run_program((const char *const[]){"mkdir", "-p", run_dir, state, NULL});
        loader_says(COUNTED);
        assert_int_equal(utf8_to_utf16("\\loader\\entries\\" COUNTED, &wide), 0);
        assert_int_equal(efivar_write(&env, "LoaderBootCountPath", EFIVAR_GUID_LOADER,
                                      EFIVAR_BOOTSERVICE | EFIVAR_RUNTIME, wide.data, wide.len),
                         0);
}

/* The ESP's part of bless. */
static int act_bless(struct tpm *tpm, struct error *e)
{
        _cleanup_close_ int root = file_open_dir(AT_FDCWD, esp_path), state = -EBADF;
        _cleanup_(situation_done) struct situation s = {.has_loader = false};
        _cleanup_free_ char *path = at("node/state");
        const struct esp esp = ESP_INIT(root);
        int r;

        (void)tpm;
        state = file_open_dir(AT_FDCWD, path);
        if (root < 0 || state < 0)
                return error_errno(e, root < 0 ? -root : -state, "folder");
        r = situation_read(&env, &esp, &s, e);
        if (r == 0)
                r = situation_note(&env, &s, e);
        if (r == 0)
                r = esp_bless(&esp, "\\loader\\entries\\" COUNTED, e);
        if (r == 0)
                r = trial_passed(&env, state, &s, e);
        return r;
}

static bool has_entry(const char *file)
{
        _cleanup_free_ char *path = at("node/esp/" ESP_ENTRY_DIR "/%s", file);

        return file_exists(AT_FDCWD, path);
}

static void judge_bless(bool finished)
{
        enum entry_role role;

        assert_int_equal(bootable(&role), 1);
        assert_int_equal(role, ENTRY_ROLE_ACTIVE);
        assert_true(has_entry("passive.conf") && has_entry("recovery.conf"));
        assert_true(has_entry("active.conf") || (!finished && has_entry(COUNTED)));
        assert_true(!finished || !has_entry(COUNTED));
}

static int act_bootentry(struct tpm *tpm, struct error *e)
{
        _cleanup_close_ int root = file_open_dir(AT_FDCWD, esp_path);
        _cleanup_(situation_done) struct situation s = {.has_loader = false};
        const struct esp esp = ESP_INIT(root);
        const struct entry_file *f;
        int r;

        (void)tpm;
        if (root < 0)
                return error_errno(e, -root, "folder");
        r = situation_read(&env, &esp, &s, e);
        if (r < 0)
                return r;
        f = bootentry_find(&s, "passive", e);
        if (!f)
                return -ENOENT;
        r = bootentry_once(&env, &s, f, false, e);
        return r == 0 ? bootentry_prefer(&env, &s, f, false, e) : r;
}

static void judge_bootentry(bool finished)
{
        char wish[NAME_MAX + 1];
        enum entry_role role;

        assert_int_equal(bootable(&role), 1);
        bootentry_wish(&env, "LoaderEntryOneShot", wish);
        assert_true(strcmp(wish, "passive.conf") == 0 || (!finished && *wish == '\0'));
}

static int act_bootorder(struct tpm *tpm, struct error *e)
{
        static const struct bootorder_entry entry = {
                .disk = {.uuid = "11111111-2222-3333-4444-555555555555",
                         .number = 1,
                         .start = 2048,
                         .size = 204800},
                .path = "\\EFI\\systemd\\systemd-bootx64.efi",
                .description = "Test"};
        _cleanup_(bootorder_done) struct bootorder b = {.n = 0};
        struct bootorder_plan *plan;
        int r;

        (void)tpm;
        plan = calloc(1, sizeof(*plan));
        if (!plan)
                return error_oom(e);
        r = bootorder_read(&env, &b, e);
        if (r == 0)
                r = bootorder_plan(&b, &entry, BOOTORDER_MAKE_FIRST, NULL, 0, plan, e);
        if (r == 0) {
                r = bootorder_apply(&env, plan, e);
                bootorder_plan_done(plan);
        }
        free(plan);
        return r;
}

static void judge_bootorder(bool finished)
{
        _cleanup_(bootorder_done) struct bootorder b = {.n = 0};
        uint16_t number;

        assert_int_equal(bootorder_read(&env, &b, &error), 0);
        if (finished)
                assert_int_equal(bootorder_find(&b, "11111111-2222-3333-4444-555555555555",
                                                "\\EFI\\systemd\\systemd-bootx64.efi", &number),
                                 BOOTORDER_FIRST);
}

/* --- all of them ----------------------------------------------------------------------------- */

static const struct story stories[] = {
        {"reset", nothing, act_reset, judge_reset},
        {"enroll-tpm", nothing, act_enroll_tpm, judge_enroll_tpm},
        {"enroll-recovery-key", nothing, act_enroll_key, judge_enroll_key},
        {"enroll-remove", begin_remove, act_remove, judge_remove},
        {"volume", begin_volume, act_volume, judge_volume},
        {"unseal", begin_unseal, act_unseal, judge_unseal},
        {"floor", begin_floor, act_floor, judge_floor},
        {"bless", begin_trial, act_bless, judge_bless},
        {"bootentry", nothing, act_bootentry, judge_bootentry},
        {"bootorder", nothing, act_bootorder, judge_bootorder},
};
