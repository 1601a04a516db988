/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The reset of a node whose boot partition is a folder and whose volumes are plain files, with a
 * software TPM: cut by SIGKILL before each single step, the TPM's power included, and resumed as
 * the boot stage does it. Of the cuts every third one is tried, with TB_EVERY_CUT each.
 */
#include "tests/integration/reset_world.h"

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

/* --- tests ----------------------------------------------------------------------------------- */

static void test_reset(void **state)
{
        static const char key[] = "cccccccb-cccccccb-cccccccb-cccccccb-"
                                  "cccccccb-cccccccb-cccccccb-cccccccb";
        _cleanup_(secret_free_p) struct secret *secret = NULL;
        _cleanup_free_ char *path = at("node/persistent"), *filled = at("node/persistent.filled");
        _cleanup_free_ char *oem = at("node/oem.filled");
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
        /* The new oem knows which partition of the user's has to be encrypted. */
        assert_true(contains(" data ", 6, oem));
        assert_true(contains(" - ", 3, filled));
}

static void asks_for(unsigned i, uint32_t pcrs, const char *pin)
{
        _cleanup_(secret_free_p) struct secret *s = secret_new(pin ? strlen(pin) : 1);
        _cleanup_free_ char *path = at("node/%s", names[i]);
        _cleanup_(luks_free_p) struct luks *l = NULL;
        _cleanup_(token_free_p) struct token *t = NULL;
        _cleanup_(tpm_free_p) struct tpm *tpm = NULL;

        assert_int_equal(luks_open(path, &l, &error), 0);
        assert_int_equal(luks_get_token(l, 0, &t, &error), 0);
        assert_int_equal(t->literal_pcrs, pcrs);
        assert_int_equal(t->pin, pin != NULL);
        if (!pin)
                return;
        memcpy(s->data, pin, s->len);
        assert_int_equal(tpm_open(emulator->tcti, &tpm, &error), 0);
        assert_int_equal(seal_check_pin(tpm, t, s, &error), 0);
}

/* What the journal says is what the new volumes ask for. The PIN is nowhere but with a person: a
 * boot that goes on without has to leave everything as it is. */
static void test_pin_and_pcrs(void **state)
{
        struct order o = {.kill_at = -1, .volumes = ALL, .pcrs = 1u, .wants_pin = true};
        _cleanup_free_ char *filled = at("node/persistent.filled");

        (void)state;
        assert_int_equal(run(&o), -EINVAL);
        assert_false(shared->report.started);
        for (unsigned i = 0; i < NAMES; i++)
                is_untouched(i);
        o.resume = true;
        assert_int_equal(run(&o), -EINVAL);
        assert_false(shared->report.started);
        o.pin = "1234";
        o.kill_at = 30;
        assert_int_equal(run(&o), 1);
        o.kill_at = -1;
        o.pin = NULL;
        assert_int_equal(run(&o), -EINVAL);
        o.pin = "5678";
        assert_int_equal(run(&o), 0);
        is_reset(ALL);
        for (unsigned i = 0; i < NAMES; i++)
                asks_for(i, PCR_CHOICE_NEEDED | 1u, "5678");
        assert_true(contains("\"pin\": true", 11, filled));
        assert_true(contains("\"pcrs\": [ 0, 7, 11 ]", 20, filled));
}

static void test_only_what_is_asked_for(void **state)
{
        (void)state;
        assert_int_equal(run(&(struct order){.kill_at = -1, .volumes = PERSISTENT}), 0);
        is_reset(PERSISTENT);
        asks_for(2, PCR_CHOICE_NEEDED, NULL);
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

static bool is_over(unsigned volumes)
{
        bool over = true;

        for (unsigned i = 0; i < NAMES; i++)
                over &= !(volumes & 1u << i) || state_of(i) == WHOLE_NEW;
        return over;
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
                assert_true(is_over(volumes) || !begun);
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
        else /* before the note was made, or after it was taken away */
                assert_true(is_over(volumes) || !begun);
        return true;
}

static void test_cut_anywhere(void **state)
{
        int stride = getenv("TB_EVERY_CUT") ? 1 : 3, cut = 0;

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

/* A journal on the ESP; noted: the TPM knows of it. */
static void plant(const struct reset_journal *j, bool noted)
{
        _cleanup_(buf_done) struct buf text = BUF_INIT(1 << 16);
        _cleanup_(tpm_free_p) struct tpm *tpm = NULL;
        uint8_t digest[SHA256_SIZE];

        assert_int_equal(reset_journal_format(j, &text), 0);
        scratch_put(&base, "node/esp/" RESET_JOURNAL_FILE, text.data, text.len);
        assert_int_equal(sha256(text.data, text.len, digest), 0);
        assert_int_equal(tpm_open(emulator->tcti, &tpm, &error), 0);
        if (noted)
                assert_int_equal(tpm_note_write(tpm, digest, &error), 0);
}

/* Who can write the disk takes the header of oem away, and has a journal that names it. */
static void test_forged_journal(void **state)
{
        _cleanup_free_ char *oem = at("node/oem");
        const struct blank wish = {.allow_discards = true};
        _cleanup_close_ int fd = open(oem, O_RDWR | O_CLOEXEC);
        struct reset_journal j;

        (void)state;
        run_program((const char *const[]){"fallocate", "-z", "-l", "16MiB", oem, NULL});
        order = &(struct order){.volumes = 1};
        fill_journal(&j);
        j.volume[0].uuid[0] = '\0';
        plant(&j, false);
        assert_int_equal(run(&(struct order){.kill_at = -1, .resume = true}), 0);
        assert_false(journal_exists() || shared->report.started);
        assert_int_equal(state_of(0), GONE);

        /* In the place of one that the TPM knows of. */
        assert_int_equal(run(&(struct order){.kill_at = 8, .volumes = PERSISTENT}), 1);
        assert_true(is_noted());
        plant(&j, false);
        assert_int_equal(run(&(struct order){.kill_at = -1, .resume = true}), 0);
        assert_false(journal_exists() || shared->report.started);
        assert_int_equal(state_of(0), GONE);
        is_untouched(2);

        /* What waits for a first boot is not made anew for any journal. */
        assert_int_equal(blank_write(fd, 0, "oem", &wish, NULL, 0, &error), 0);
        plant(&j, true);
        assert_int_equal(run(&(struct order){.kill_at = -1, .resume = true}), 0);
        assert_true(shared->report.stale && !shared->report.started);
        assert_int_equal(state_of(0), GONE);
        assert_false(is_noted());
}

/* A journal that was left behind finds volumes that are not its own. */
static void test_stale_journal(void **state)
{
        _cleanup_free_ char *path = at("node/persistent"), *copy = at("node/copy");
        struct reset_journal j;

        (void)state;
        assert_int_equal(run(&(struct order){.kill_at = -1, .volumes = PERSISTENT}), 0);
        run_program((const char *const[]){"cp", "--sparse=always", path, copy, NULL});
        order = &(struct order){.volumes = PERSISTENT};
        fill_journal(&j);
        plant(&j, true);
        assert_int_equal(run(&(struct order){.kill_at = -1, .resume = true}), 0);
        assert_true(shared->report.stale && !shared->report.started);
        assert_false(journal_exists());
        run_program((const char *const[]){"cmp", path, copy, NULL});

        /* Nor one of another disk. */
        assert_int_equal(make_node(NULL), 0);
        j.volume[0].partition[0] = '9';
        plant(&j, true);
        assert_int_equal(run(&(struct order){.kill_at = -1, .resume = true}), 0);
        assert_true(shared->report.stale);
        assert_false(journal_exists());
        is_untouched(2);

        /* And one that finds something else in place of the volume leaves it alone. */
        assert_int_equal(make_node(NULL), 0);
        run_program((const char *const[]){"mkfs.ext4", "-q", "-F", path, NULL});
        j.volume[0].partition[0] = '1';
        plant(&j, true);
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

static int cancel(const struct esp *esp, const struct reset_journal *j)
{
        _cleanup_(tpm_free_p) struct tpm *tpm = NULL;
        struct reset_world w = {.env = &env, .esp = esp, .find = find};

        assert_int_equal(tpm_open(emulator->tcti, &tpm, &error), 0);
        w.tpm = tpm;
        return reset_cancel(&w, j, &error);
}

/* Whoever fails before anything is destroyed may take it back; later nobody may. */
static void test_cancel(void **state)
{
        _cleanup_close_ int fd = file_open_dir(AT_FDCWD, esp_path);
        const struct esp esp = ESP_INIT(fd);
        struct reset_journal j;
        struct situation s;

        (void)state;
        assert_int_equal(
                run(&(struct order){.kill_at = -1, .volumes = ALL, .fail_at = "erase-key-slots"}),
                -EIO);
        assert_true(journal_exists());
        assert_int_equal(situation_read(&env, &esp, &s, &error), 0);
        assert_true(s.reset_pending);
        situation_done(&s);
        assert_int_equal(reset_journal_load(&esp, NULL, &j, &error), 0);
        assert_int_equal(cancel(&esp, &j), 0);
        assert_false(journal_exists());
        for (unsigned i = 0; i < NAMES; i++)
                is_untouched(i);
        assert_int_equal(run(&(struct order){.kill_at = -1, .volumes = ALL, .fail_at = "format"}),
                         -EIO);
        assert_int_equal(reset_journal_load(&esp, NULL, &j, &error), 0);
        assert_int_equal(cancel(&esp, &j), -EPERM);
        assert_true(journal_exists());
        assert_int_equal(run(&(struct order){.kill_at = -1, .resume = true}), 0);
        is_reset(ALL);
}

/* A second reset that fails early is no reason to forget what the first has destroyed. */
static void test_cancel_of_the_second(void **state)
{
        _cleanup_close_ int fd = file_open_dir(AT_FDCWD, esp_path);
        _cleanup_free_ char *path = at("node/persistent");
        _cleanup_(luks_free_p) struct luks *made = NULL;
        const struct esp esp = ESP_INIT(fd);
        struct reset_journal j;

        (void)state;
        assert_int_equal(
                run(&(struct order){.kill_at = -1, .volumes = PERSISTENT, .fail_at = "label"}),
                -EIO);
        assert_int_equal(state_of(2), MAKING);
        assert_true(shared->report.delivered);
        assert_int_equal(luks_open(path, &made, &error), 0);
        assert_int_equal(reset_journal_load(&esp, NULL, &j, &error), 0);
        (void)snprintf(j.volume[0].uuid, sizeof(j.volume[0].uuid), "%s", luks_uuid(made));
        plant(&j, true);
        assert_int_equal(cancel(&esp, &j), -EPERM);
        assert_true(journal_exists() && is_noted());
        assert_int_equal(run(&(struct order){.kill_at = -1, .resume = true}), 0);
        is_reset(PERSISTENT);
}

/* A TPM that takes no note stops a reset before anything is destroyed. */
static void test_no_note(void **state)
{
        _cleanup_close_ int fd = file_open_dir(AT_FDCWD, esp_path);
        const struct esp esp = ESP_INIT(fd);
        struct reset_journal j;

        (void)state;
        assert_int_equal(run(&(struct order){.kill_at = -1, .volumes = ALL, .fail_at = "note"}),
                         -EIO);
        assert_false(shared->report.started || is_noted());
        assert_int_equal(reset_journal_load(&esp, NULL, &j, &error), 0);
        assert_int_equal(cancel(&esp, &j), 0);
        assert_false(journal_exists());
        for (unsigned i = 0; i < NAMES; i++)
                is_untouched(i);
}

static int refuse(void *arg, const struct verified_image *image, struct error *e)
{
        (void)arg;
        (void)image;
        return error_set(e, ERROR_PRECONDITION, ENOKEY, "what stays is not sealed for it");
}

/* The image is asked about what stays, also by the boot that goes on, and before it is active. */
static void test_image_that_opens_nothing(void **state)
{
        struct order o = {.kill_at = -1, .volumes = PERSISTENT, .kept = refuse};
        struct reset_journal j;
        enum entry_role role;

        (void)state;
        for (unsigned round = 0; round < 2; round++) {
                assert_int_equal(run(&o), -ENOKEY);
                assert_false(shared->report.started);
                assert_int_equal(bootable(&role), 1);
                is_untouched(2);
                fill_journal(&j);
                plant(&j, true);
                o.resume = true;
        }
}

/* Whoever can write the boot partition can put another image there that db vouches for. What runs
 * was measured, and its policy key is the only one that new volumes are sealed for: when a reset
 * begins, and again in the boot that goes on with it. */
static void test_key_of_the_running_image(void **state)
{
        struct test_key *other = test_key_new(2048);
        struct order o = {.kill_at = -1, .volumes = ALL, .running = other->policy};
        struct reset_journal j;
        enum entry_role role;

        (void)state;
        for (unsigned round = 0; round < 2; round++) {
                assert_true(run(&o) < 0);
                assert_int_equal(shared->error.class, ERROR_POLICY_KEY);
                assert_false(shared->report.started);
                assert_int_equal(bootable(&role), 1);
                for (unsigned i = 0; i < NAMES; i++)
                        is_untouched(i);
                fill_journal(&j);
                plant(&j, true);
                o.resume = true;
        }
        o.running = usi.policy->policy;
        assert_int_equal(run(&o), 0);
        is_reset(ALL);
        test_key_free(other);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup(test_reset, make_node),
                cmocka_unit_test_setup(test_pin_and_pcrs, make_node),
                cmocka_unit_test_setup(test_only_what_is_asked_for, make_node),
                cmocka_unit_test_setup(test_copy_of_the_header_is_of_no_use, make_node),
                cmocka_unit_test_setup(test_cut_anywhere, make_node),
                cmocka_unit_test_setup(test_cut_again, make_node),
                cmocka_unit_test_setup(test_forged_journal, make_node),
                cmocka_unit_test_setup(test_stale_journal, make_node),
                cmocka_unit_test_setup(test_image_below_the_floor, make_node),
                cmocka_unit_test_setup(test_damaged_active, make_node),
                cmocka_unit_test_setup(test_lost_passive, make_node),
                cmocka_unit_test_setup(test_cancel, make_node),
                cmocka_unit_test_setup(test_cancel_of_the_second, make_node),
                cmocka_unit_test_setup(test_no_note, make_node),
                cmocka_unit_test_setup(test_image_that_opens_nothing, make_node),
                cmocka_unit_test_setup(test_key_of_the_running_image, make_node),
        };

        shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
                      0);
        if (shared == MAP_FAILED)
                return 1;
        return cmocka_run_group_tests(tests, make_world, drop_world);
}
