/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whole upgrades on a folder, killed at every step that changes the medium: after each kill the
 * invariants hold, and the same run again comes to the wished end. Then the same with steps that
 * fail while the program goes on, with lost data, and with stops between steps.
 */
#include "tests/unit/esp_world.h"

#include <sys/wait.h>

#include "tests/support/usi.h"
#include "upgrade/image_receiver.h"
#include "upgrade/slots.h"

#define VERSIONS 4
#define KILLED 42

static struct test_usi_world usis;
static struct buf image[VERSIONS]; /* version n at n; 0 is not used */
static uint8_t digest[VERSIONS][SHA256_SIZE];

/* --- what is done ---------------------------------------------------------------------------- */

struct job {
        enum entry_role target;
        unsigned version;
        bool digest_known;
        bool partial; /* which file was begun is remembered */
        enum entry_role running;
        uint32_t running_number;
        const struct slots_hooks *hooks;
};

/* The memory of an interrupted run, as upgrade/state.h keeps it: in a file beside the folder. */
static char memory_path[80];

static void remember(const struct job *job, uint32_t number)
{
        if (job->partial)
                assert_int_equal(
                        file_write_volatile(AT_FDCWD, memory_path, &number, sizeof(number), 0600),
                        0);
}

static bool recall(const struct job *job, uint32_t *ret)
{
        _cleanup_(buf_done) struct buf b = BUF_INIT(16);

        if (!job->partial || file_read(AT_FDCWD, memory_path, &b) < 0 || b.len != sizeof(*ret))
                return false;
        memcpy(ret, b.data, sizeof(*ret));
        return true;
}

static int look_and_plan(const struct job *job, struct slots_wish *wish, struct slots_plan *plan)
{
        struct slots_situation s = {.running = job->running, .running_confirmed = true};
        int r = slots_read(&esp, &s, &error);

        if (r < 0)
                return r;
        assert_int_equal(entry_image_name_format(job->running_number, s.running_image), 0);
        r = slots_plan(&s, wish, plan, &error);
        slots_done(&s);
        return r;
}

static int receive(const struct job *job, const struct image_receive *what,
                   struct verified_image **ret)
{
        const struct buf *from = &image[job->version];
        _cleanup_(image_receiver_free_p) struct image_receiver *r = NULL;
        uint64_t offset = 0;
        int result = image_receiver_begin(&esp, what, &r, &offset, &error);

        while (result == 0 && offset < from->len) {
                size_t n = from->len - offset < 100000 ? from->len - (size_t)offset : 100000;

                result = image_receiver_push(r, from->data + offset, n, &error);
                offset += n;
        }
        if (result == 0)
                result = image_receiver_finish(r, ret, &error);
        return result;
}

static int get_image(const struct job *job, const struct slots_plan *plan,
                     struct verified_image **ret)
{
        struct image_receive what = {.number = plan->number,
                                     .size = image[job->version].len,
                                     .sha256 = digest[job->version],
                                     .resume = job->partial,
                                     .demands = &usis.demands};
        int r;

        if (!plan->write)
                return image_receiver_take(&esp, &what, NULL, ret, &error);
        if (plan->copy)
                return image_receiver_copy(&esp, plan->copy_from, &what, NULL, ret, &error);
        r = receive(job, &what, ret);
        if (r != -EBADMSG && r != -EIO)
                return r;
        /* What was continued had been spoiled. */
        what.resume = false;
        return receive(job, &what, ret);
}

/* As the agent goes it. */
static int upgrade(const struct job *job)
{
        _cleanup_(image_free_p) struct verified_image *v = NULL;
        _cleanup_free_ struct slots_plan *plan = malloc(sizeof(*plan));
        struct slots_wish wish = {.target = job->target, .size = image[job->version].len};
        int r;

        assert_non_null(plan);
        if (job->digest_known)
                wish.sha256 = digest[job->version];
        if (recall(job, &wish.number))
                wish.have = SLOTS_HAVE_PARTIAL;
        r = look_and_plan(job, &wish, plan);
        if (r < 0)
                return r;
        if (plan->outcome != SLOTS_CHANGE)
                return slots_apply(&esp, plan, NULL, ENTRY_KEY_EFI, job->hooks, &error);
        remember(job, plan->number);
        r = slots_make_room(&esp, plan, ENTRY_KEY_EFI, job->hooks, &error);
        if (r == 0)
                r = get_image(job, plan, &v);
        if (r < 0)
                return r;
        wish.have = SLOTS_HAVE_IMAGE;
        wish.number = plan->number;
        wish.sha256 = image_sha256(v);
        r = look_and_plan(job, &wish, plan);
        if (r == 0)
                r = slots_apply(&esp, plan, v, ENTRY_KEY_EFI, job->hooks, &error);
        return r;
}

/* --- where it is done ------------------------------------------------------------------------ */

static void put_image(uint32_t number, unsigned version)
{
        char path[64];

        image_name(number, path);
        scratch_put(&dir, path, image[version].data, image[version].len);
}

static void put_entry(const char *file, enum entry_role role, uint32_t number, unsigned version)
{
        struct entry e = {.key = ENTRY_KEY_EFI, .has_sha256 = true, .title = "Test"};
        char text[ENTRY_SIZE], path[PATH_MAX];

        assert_int_equal(entry_set_role(&e, role), 0);
        (void)snprintf(e.version, sizeof(e.version), "%u.0", version);
        (void)snprintf(e.image, sizeof(e.image), "/" ESP_IMAGE_DIR "/usi-%08u.efi", number);
        memcpy(e.sha256, digest[version], SHA256_SIZE);
        assert_int_equal(entry_format(&e, text), 0);
        (void)snprintf(path, sizeof(path), ESP_ENTRY_DIR "/%s", file);
        scratch_put(&dir, path, text, sizeof(text));
}

/* Two generations: what runs (version 2), its predecessor (1), recovery (1), and another system. */
static void make_node(void)
{
        put_image(1, 1);
        put_image(2, 1);
        put_image(3, 2);
        put_image(9, 3); /* garbage of long ago */
        put_entry("active.conf", ENTRY_ROLE_ACTIVE, 3, 2);
        put_entry("passive.conf", ENTRY_ROLE_PASSIVE, 1, 1);
        put_entry("recovery.conf", ENTRY_ROLE_RECOVERY, 2, 1);
        scratch_put_text(&dir, "loader/entries/other.conf", "title x\nefi /EFI/other.efi\n");
        scratch_put_text(&dir, "EFI/other.efi", "other");
}

/* As an installer of another make leaves it: entries of any size, two of one role. */
static void make_odd_node(void)
{
        make_node();
        scratch_put_text(&dir, "loader/entries/passive.conf",
                         "title Fallback\nefi /EFI/kairos/usi-00000001.efi\n");
        scratch_put_text(&dir, "loader/entries/recovery.conf",
                         "title Rescue\nefi /EFI/kairos/usi-00000002.efi\n");
        put_entry("active+0-3.conf", ENTRY_ROLE_ACTIVE, 1, 1);
        scratch_put_text(&dir, "loader/entries/active+3-0.conf", "");
}

/* The active image is bad, passive runs. */
static void make_fallen_node(void)
{
        make_node();
        assert_int_equal(unlinkat(dir.fd, "loader/entries/active.conf", 0), 0);
        put_entry("active+0-3.conf", ENTRY_ROLE_ACTIVE, 3, 2);
}

/* --- what holds ------------------------------------------------------------------------------ */

/* Version of the image an entry leads to, which has to be whole; 0 when there is no such entry. */
static unsigned version_of(const struct entry_file *f)
{
        char path[PATH_MAX];
        uint8_t sha[SHA256_SIZE];
        uint64_t size = 0;

        if (!f->image_present || entry_image_path(&f->entry, path) < 0)
                return 0;
        assert_int_equal(esp_digest(&esp, path, sha, &size, NULL), 0);
        for (unsigned i = 1; i < VERSIONS; i++) {
                if (size == image[i].len && memcmp(sha, digest[i], SHA256_SIZE) == 0)
                        return i;
        }
        assert_string_equal(path, "EFI/other.efi");
        return VERSIONS;
}

static unsigned version_at(const char *file)
{
        _cleanup_free_ struct entry_file *list = NULL;
        size_t n = 0;

        assert_int_equal(esp_list_entries(&esp, &list, &n, NULL), 0);
        for (size_t i = 0; i < n; i++) {
                if (strcmp(list[i].file, file) == 0)
                        return version_of(&list[i]);
        }
        return 0;
}

struct promise {
        void (*make)(void);
        struct job job;
        unsigned good;     /* version that stays startable */
        unsigned recovery; /* before */
        void (*finished)(void);
};

/* Every entry that is shown leads to a whole image, and falling back ends at the good one. */
static void check_promises(const struct promise *p)
{
        _cleanup_free_ struct entry_file *list = NULL;
        const struct entry_file *best;
        uint8_t sha[SHA256_SIZE];
        uint64_t size = 0;
        char path[64];
        size_t n = 0;

        assert_int_equal(esp_list_entries(&esp, &list, &n, NULL), 0);
        for (size_t i = 0; i < n; i++) {
                if (list[i].image_present)
                        (void)version_of(&list[i]);
        }
        best = entry_select(list, n, 257);
        assert_non_null(best);
        assert_true(version_of(best) == p->good || version_of(best) == p->job.version);
        for (size_t i = 0; i < n; i++) {
                if (list[i].name.counted)
                        list[i].name.tries_left = 0;
        }
        best = entry_select(list, n, 252);
        assert_non_null(best);
        assert_int_equal(version_of(best), p->good);
        /* What runs is there. */
        image_name(p->job.running_number, path);
        assert_int_equal(esp_digest(&esp, path, sha, &size, NULL), 0);
        assert_memory_equal(sha, digest[p->good], SHA256_SIZE);
        /* The other target is as it was. */
        if (p->job.target == ENTRY_ROLE_ACTIVE)
                assert_int_equal(version_at("recovery.conf"), p->recovery);
        else
                assert_true(version_at("recovery.conf") == p->recovery ||
                            version_at("recovery.conf") == p->job.version);
        scratch_expect(&dir, "EFI/other.efi", "other", 5);
        assert_true(there("loader/entries/other.conf"));
}

static unsigned count(const char *folder)
{
        _cleanup_free_ struct esp_image *images = NULL;
        _cleanup_free_ struct entry_file *entries = NULL;
        size_t n = 0;

        if (strcmp(folder, ESP_IMAGE_DIR) == 0)
                assert_int_equal(esp_list_images(&esp, &images, &n, NULL), 0);
        else
                assert_int_equal(esp_list_entries(&esp, &entries, &n, NULL), 0);
        return (unsigned)n;
}

static void active_finished(void)
{
        assert_int_equal(version_at("active+3-0.conf"), 3);
        assert_int_equal(version_at("passive.conf"), 2);
        assert_int_equal(count(ESP_ENTRY_DIR), 4);
        assert_int_equal(count(ESP_IMAGE_DIR), 3);
}

static void fallen_finished(void)
{
        assert_int_equal(version_at("active+3-0.conf"), 3);
        assert_int_equal(version_at("passive.conf"), 1);
        assert_int_equal(count(ESP_ENTRY_DIR), 4);
        assert_int_equal(count(ESP_IMAGE_DIR), 3);
}

static void recovery_finished(void)
{
        assert_int_equal(version_at("recovery.conf"), 3);
        assert_int_equal(version_at("active.conf"), 2);
        assert_int_equal(version_at("passive.conf"), 1);
        assert_int_equal(count(ESP_IMAGE_DIR), 3);
}

/* Recovery becomes what active is: a second copy, without a source. */
static void copied(void)
{
        assert_int_equal(version_at("recovery.conf"), 2);
        assert_int_equal(version_at("active.conf"), 2);
        assert_int_equal(count(ESP_IMAGE_DIR), 3);
}

/* --- killed, failed, stopped ----------------------------------------------------------------- */

static void begin_world(const struct promise *p)
{
        (void)set_up(NULL);
        p->make();
        (void)unlink(memory_path);
        (void)snprintf(memory_path, sizeof(memory_path), "%s.memory", dir.path);
}

static void end_world(void)
{
        (void)unlink(memory_path);
        (void)tear_down(NULL);
}

static void finish_and_repeat(const struct promise *p)
{
        faults_reset(-1, false);
        assert_int_equal(upgrade(&p->job), 0);
        check_promises(p);
        p->finished();
        faults_reset(-1, false);
        if (!p->job.digest_known)
                return;
        assert_int_equal(upgrade(&p->job), 0);
        assert_int_equal(faults.changes, 0);
        p->finished();
}

struct killer {
        int at, now;
};

static int kill_step(void *arg, const char *what, const char *path)
{
        struct killer *k = arg;

        (void)what;
        (void)path;
        if (k->now++ == k->at)
                _exit(KILLED);
        return 0;
}

/* 1 when the run came to its end before that step. */
static int run_killed(const struct promise *p, int at)
{
        pid_t pid = fork();
        int status;

        assert_true(pid >= 0);
        if (pid == 0) {
                struct killer k = {.at = at};

                esp.step = kill_step;
                esp.step_arg = &k;
                _exit(upgrade(&p->job) == 0 ? 0 : 1);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFEXITED(status));
        assert_true(WEXITSTATUS(status) == KILLED || WEXITSTATUS(status) == 0);
        return WEXITSTATUS(status) == 0;
}

static void kill_everywhere(const struct promise *p)
{
        for (int at = 0;; at++) {
                int finished;

                begin_world(p);
                finished = run_killed(p, at);
                check_promises(p);
                /* Once more killed, soon after, then to the end. */
                if (!finished) {
                        (void)run_killed(p, at / 2 + 1);
                        check_promises(p);
                }
                finish_and_repeat(p);
                end_world();
                if (finished) {
                        assert_true(at > 10);
                        return;
                }
                assert_true(at < 1000);
        }
}

static void fail_everywhere(const struct promise *p, bool lose_data)
{
        for (int cut = 0;; cut++) {
                bool finished;
                int r;

                begin_world(p);
                faults_reset(cut, lose_data);
                r = upgrade(&p->job);
                finished = faults.steps <= cut;
                assert_int_equal(r, finished ? 0 : -EIO);
                check_promises(p);
                finish_and_repeat(p);
                end_world();
                if (finished)
                        return;
                assert_true(cut < 1000);
        }
}

static int stop_after;

static bool stop(void *arg)
{
        (void)arg;
        return stop_after-- == 0;
}

static void stop_everywhere(const struct promise *p)
{
        static const struct slots_hooks hooks = {.stop = stop};

        for (int at = 0;; at++) {
                struct promise stopped = *p;
                int r;

                begin_world(p);
                stopped.job.hooks = &hooks;
                stop_after = at;
                r = upgrade(&stopped.job);
                check_promises(p);
                finish_and_repeat(p);
                end_world();
                if (r == 0) {
                        assert_true(at > 1);
                        return;
                }
                assert_int_equal(r, -EINTR);
        }
}

static void everything(const struct promise *p)
{
        kill_everywhere(p);
        fail_everywhere(p, false);
        fail_everywhere(p, true);
        stop_everywhere(p);
}

static const struct promise ordinary = {.make = make_node,
                                        .job = {.target = ENTRY_ROLE_ACTIVE,
                                                .version = 3,
                                                .digest_known = true,
                                                .partial = true,
                                                .running = ENTRY_ROLE_ACTIVE,
                                                .running_number = 3},
                                        .good = 2,
                                        .recovery = 1,
                                        .finished = active_finished};

static void test_active(void **state)
{
        (void)state;
        everything(&ordinary);
}

/* Nothing is known in advance, and nothing is remembered. */
static void test_active_unknown(void **state)
{
        struct promise p = ordinary;

        (void)state;
        p.job.digest_known = p.job.partial = false;
        everything(&p);
}

static void test_odd(void **state)
{
        struct promise p = ordinary;

        (void)state;
        p.make = make_odd_node;
        everything(&p);
}

static void test_fallen(void **state)
{
        struct promise p = ordinary;

        (void)state;
        p.make = make_fallen_node;
        p.job.running = ENTRY_ROLE_PASSIVE;
        p.job.running_number = 1;
        p.good = 1;
        p.finished = fallen_finished;
        everything(&p);
}

static void test_recovery(void **state)
{
        struct promise p = ordinary;

        (void)state;
        p.job.target = ENTRY_ROLE_RECOVERY;
        p.finished = recovery_finished;
        everything(&p);
}

static void test_recovery_odd(void **state)
{
        struct promise p = ordinary;

        (void)state;
        p.make = make_odd_node;
        p.job.target = ENTRY_ROLE_RECOVERY;
        p.finished = recovery_finished;
        everything(&p);
}

static void test_copy(void **state)
{
        struct promise p = ordinary;

        (void)state;
        p.job.target = ENTRY_ROLE_RECOVERY;
        p.job.version = 2;
        p.finished = copied;
        everything(&p);
}

/* --- single ones ----------------------------------------------------------------------------- */

/* An image that cannot be deleted safely stays, and the upgrade is done all the same. */
static int shared_garbage(int fd, uint64_t offset, uint64_t *ret)
{
        struct stat st, garbage;

        *ret = 1000 + offset / 512;
        if (fstat(fd, &st) < 0 ||
            fstatat(dir.fd, ESP_IMAGE_DIR "/usi-00000009.efi", &garbage, 0) < 0)
                return -EIO;
        /* It shares with the file of another system; all others have their own. */
        if (st.st_ino != garbage.st_ino && st.st_size != 5)
                *ret += st.st_ino << 20;
        return 0;
}

static void test_cross_linked_garbage(void **state)
{
        (void)state;
        begin_world(&ordinary);
        esp.clusters = shared_garbage;
        assert_int_equal(upgrade(&ordinary.job), 0);
        assert_true(there(ESP_IMAGE_DIR "/usi-00000009.efi"));
        assert_int_equal(version_at("active+3-0.conf"), 3);
        assert_int_equal(version_at("passive.conf"), 2);
        end_world();
}

/* No entry for an image that nobody verified as standing there. */
static void test_needs_verified(void **state)
{
        struct slots_wish wish = {.target = ENTRY_ROLE_ACTIVE, .sha256 = digest[3]};
        struct image_receive what = {.number = 3, .demands = &usis.demands};
        struct slots_plan plan;
        struct verified_image *v = NULL;

        (void)state;
        begin_world(&ordinary);
        assert_int_equal(look_and_plan(&ordinary.job, &wish, &plan), 0);
        faults_reset(-1, false);
        assert_int_equal(slots_apply(&esp, &plan, NULL, ENTRY_KEY_EFI, NULL, &error), -EINVAL);
        assert_int_equal(image_receiver_take(&esp, &what, NULL, &v, &error), 0);
        assert_int_equal(slots_apply(&esp, &plan, v, ENTRY_KEY_EFI, NULL, &error), -EINVAL);
        assert_int_equal(faults.changes, 0);
        image_free(v);
        end_world();
}

static void test_no_space(void **state)
{
        struct slots_plan plan = {.need = 3000, .available = 1000, .freed = 1999};

        (void)state;
        begin_world(&ordinary);
        assert_int_equal(slots_make_room(&esp, &plan, ENTRY_KEY_EFI, NULL, &error), -ENOSPC);
        assert_int_equal(error.class, ERROR_SPACE);
        assert_non_null(strstr(error.text, "can be set free"));
        assert_true(error.advice[0]);
        plan.freed++;
        assert_int_equal(slots_check_space(&plan, &error), 0);
        end_world();
}

/* The text of a passive entry that was taken over. */
static void test_text(void **state)
{
        _cleanup_(buf_done) struct buf text = BUF_INIT(4096);

        (void)state;
        begin_world(&ordinary);
        assert_int_equal(upgrade(&ordinary.job), 0);
        assert_int_equal(file_read(dir.fd, "loader/entries/passive.conf", &text), 0);
        assert_int_equal(text.len, ENTRY_SIZE);
        assert_non_null(strstr(buf_str(&text), "title Test (passive)\nsort-key 0002\nversion 2.0\n"
                                               "efi /EFI/kairos/usi-00000003.efi\n# sha256 "));
        buf_reset(&text);
        assert_int_equal(file_read(dir.fd, "loader/entries/active+3-0.conf", &text), 0);
        assert_non_null(strstr(buf_str(&text),
                               "title Test system 3.0 (active)\nsort-key 0001\nversion 3.0\n"));
        end_world();
}

static int make_images(void **state)
{
        (void)state;
        test_usi_world_make(&usis);
        for (unsigned i = 1; i < VERSIONS; i++) {
                char version[16];

                (void)snprintf(version, sizeof(version), "%u.0", i);
                image[i] = (struct buf)BUF_INIT(SIGNING_IMAGE_MAX);
                test_usi_make(&usis, version, 250000 + i * 1000, &image[i]);
                assert_int_equal(sha256(image[i].data, image[i].len, digest[i]), 0);
        }
        return 0;
}

static int drop_images(void **state)
{
        (void)state;
        for (unsigned i = 1; i < VERSIONS; i++)
                buf_done(&image[i]);
        test_usi_world_drop(&usis);
        return 0;
}

#define CASE(f) cmocka_unit_test(f)

int main(void)
{
        const struct CMUnitTest tests[] = {
                CASE(test_active),
                CASE(test_active_unknown),
                CASE(test_odd),
                CASE(test_fallen),
                CASE(test_recovery),
                CASE(test_recovery_odd),
                CASE(test_copy),
                CASE(test_cross_linked_garbage),
                CASE(test_needs_verified),
                CASE(test_no_space),
                CASE(test_text),
        };

        return cmocka_run_group_tests(tests, make_images, drop_images);
}
