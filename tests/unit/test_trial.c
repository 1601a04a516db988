/* SPDX-License-Identifier: Apache-2.0 */
/* What is remembered about trials, and what "status" makes of it. */
#include "agent/trial.h"

#include "agent/status_node.h"
#include "base/codec.h"
#include "base/log.h"
#include "efivars/efivar.h"
#include "tests/unit/esp_world.h"

static struct env env = ENV_INIT;
static struct scratch memory;
static char efivars[128];

static int set_up_node(void **state)
{
        (void)set_up(state);
        scratch_make(&memory);
        log_set_level(LOG_LEVEL_ERROR);
        assert_int_equal(file_make_dirs(dir.fd, "efivars", 0755), 0);
        (void)snprintf(efivars, sizeof(efivars), "%s/efivars", dir.path);
        env.efivarfs = efivars;
        env.run = dir.path;
        assert_int_equal(add_image(1), 0);
        assert_int_equal(add_image(2), 0);
        assert_int_equal(add_entry("passive.conf", "20", 1), 0);
        assert_int_equal(add_entry("recovery.conf", "30", 1), 0);
        return 0;
}

static int tear_down_node(void **state)
{
        scratch_clean(&memory);
        return tear_down(state);
}

static void loader_says(const char *name, const char *text)
{
        _cleanup_(buf_done) struct buf wide = BUF_INIT(4096);

        assert_int_equal(utf8_to_utf16(text, &wide), 0);
        assert_int_equal(efivar_write(&env, name, EFIVAR_GUID_LOADER,
                                      EFIVAR_BOOTSERVICE | EFIVAR_RUNTIME, wide.data, wide.len),
                         0);
}

static void look(struct situation *s)
{
        assert_int_equal(situation_read(&env, &esp, s, NULL), 0);
}

/* The failure that is remembered of image n; "" = none. */
static void expect_failure(uint32_t n, const char *reason)
{
        _cleanup_(state_free_p) struct state *state = NULL;
        struct state_failure failure = {.time = 0};
        uint8_t sha[SHA256_SIZE];

        free(image_bytes(n, sha));
        assert_int_equal(state_load(memory.fd, &state, NULL), 0);
        assert_int_equal(state_find_failure(state, sha, &failure), *reason ? 0 : -ENOENT);
        if (*reason)
                assert_string_equal(failure.reason, reason);
}

/* The document of "status". The caller puts it. */
static struct json_object *status(void)
{
        _cleanup_(situation_done) struct situation s = {.has_loader = false};
        _cleanup_(state_free_p) struct state *state = NULL;
        struct json_object *o = json_object_new_object();

        look(&s);
        assert_int_equal(state_load(memory.fd, &state, NULL), 0);
        assert_int_equal(status_add_node(&env, o, &s, state), 0);
        return o;
}

static bool flag(struct json_object *o, const char *key)
{
        bool v = false;

        assert_int_equal(json_get_bool(o, key, &v), 0);
        return v;
}

/* First bad entry's text of a key. */
static const char *bad(struct json_object *o, const char *key)
{
        struct json_object *array;

        assert_int_equal(json_get_array(o, "bad_entries", &array), 0);
        assert_int_equal(json_object_array_length(array), 1);
        return status_text(json_object_array_get_idx(array, 0), key);
}

static void on_trial(struct situation *s)
{
        assert_int_equal(add_entry("active+2-1.conf", "10", 2), 0);
        loader_says("LoaderEntrySelected", "active.conf");
        loader_says("LoaderBootCountPath", "\\loader\\entries\\active+2-1.conf");
        look(s);
        assert_true(s->running.on_trial && !s->running.confirmed);
}

static void failed_check_is_remembered(void **unused)
{
        _cleanup_(situation_done) struct situation s = {.has_loader = false};
        _cleanup_json_ struct json_object *o = NULL;
        struct json_object *operation;
        uint64_t time = 0;

        (void)unused;
        on_trial(&s);
        assert_int_equal(trial_failed(&env, memory.fd, &s, "health check: no", TRIAL_REPLACE, NULL),
                         0);
        expect_failure(2, "health check: no");
        /* What came later and says less does not replace it, what says as much does. */
        assert_int_equal(trial_failed(&env, memory.fd, &s, "never completed", TRIAL_KEEP, NULL), 0);
        expect_failure(2, "health check: no");
        assert_int_equal(trial_failed(&env, memory.fd, &s, "health check: 2", TRIAL_REPLACE, NULL),
                         0);
        expect_failure(2, "health check: 2");
        o = status();
        assert_int_equal(json_get_obj(o, "last_operation", &operation), 0);
        assert_string_equal(status_text(operation, "verb"), "bless");
        assert_int_equal(json_get_u64(operation, "time", &time), 0);
        assert_true(time > 1600000000);
        assert_string_equal(status_text(operation, "text"), "health check: 2");
        assert_string_equal(status_text(operation, "result"), "precondition");
        assert_false(flag(o, "fallback"));
        assert_false(flag(o, "blessed"));
}

static void confirmed_image_is_forgiven(void **unused)
{
        _cleanup_(situation_done) struct situation s = {.has_loader = false};

        (void)unused;
        on_trial(&s);
        assert_int_equal(trial_failed(&env, memory.fd, &s, "once", TRIAL_REPLACE, NULL), 0);
        assert_int_equal(trial_passed(&env, memory.fd, &s, NULL), 0);
        expect_failure(2, "");
}

/* The node stands in passive; active is bad. */
static void fall_back(struct situation *s)
{
        assert_int_equal(add_entry("active+0-3.conf", "10", 2), 0);
        loader_says("LoaderEntrySelected", "passive.conf");
        look(s);
}

static void fall_back_without_a_reason_counts_the_boots(void **unused)
{
        _cleanup_(situation_done) struct situation s = {.has_loader = false};
        _cleanup_json_ struct json_object *o = NULL;

        (void)unused;
        fall_back(&s);
        assert_int_equal(trial_fell_back(memory.fd, &s, NULL), 0);
        expect_failure(2, "3 boots that nobody confirmed");
        expect_failure(1, "");
        o = status();
        assert_true(flag(o, "fallback"));
        assert_string_equal(bad(o, "entry"), "active+0-3.conf");
        assert_string_equal(bad(o, "reason"), "3 boots that nobody confirmed");
        assert_string_equal(bad(o, "version"), "2");
        assert_string_equal(status_text(o, "next"), "passive.conf");
        assert_string_equal(status_text(o, "version"), "1");
}

static void fall_back_keeps_the_reason_of_the_trial(void **unused)
{
        _cleanup_(situation_done) struct situation trial = {.has_loader = false};
        _cleanup_(situation_done) struct situation s = {.has_loader = false};
        _cleanup_json_ struct json_object *o = NULL;

        (void)unused;
        on_trial(&trial);
        assert_int_equal(
                trial_failed(&env, memory.fd, &trial, "health check: x", TRIAL_REPLACE, NULL), 0);
        assert_int_equal(unlinkat(dir.fd, "loader/entries/active+2-1.conf", 0), 0);
        assert_int_equal(efivar_delete(&env, "LoaderBootCountPath", EFIVAR_GUID_LOADER), 0);
        fall_back(&s);
        assert_int_equal(trial_fell_back(memory.fd, &s, NULL), 0);
        expect_failure(2, "health check: x");
        o = status();
        assert_true(flag(o, "fallback"));
        assert_string_equal(bad(o, "reason"), "health check: x");
}

/* In a fresh installation passive is the same image as active: what runs is no failure. */
static void what_runs_is_not_called_a_failure(void **unused)
{
        _cleanup_(situation_done) struct situation s = {.has_loader = false};

        (void)unused;
        assert_int_equal(add_entry("active+0-3.conf", "10", 1), 0);
        loader_says("LoaderEntrySelected", "passive.conf");
        look(&s);
        assert_int_equal(trial_fell_back(memory.fd, &s, NULL), 0);
        expect_failure(1, "");
}

static void chosen_entry_is_no_fall_back(void **unused)
{
        _cleanup_json_ struct json_object *o = NULL;
        struct json_object *wishes;

        (void)unused;
        assert_int_equal(add_entry("active.conf", "10", 2), 0);
        loader_says("LoaderEntrySelected", "recovery.conf");
        loader_says("LoaderEntryDefault", "recovery.conf");
        o = status();
        assert_false(flag(o, "fallback"));
        assert_int_equal(json_get_obj(o, "wishes", &wishes), 0);
        assert_string_equal(status_text(wishes, "LoaderEntryDefault"), "recovery.conf");
}

static void interrupted_run_is_seen(void **unused)
{
        _cleanup_(state_free_p) struct state *state = NULL;
        struct state_operation op = {.verb = "upgrade", .target = "active", .to_version = "2"};
        _cleanup_json_ struct json_object *o = NULL;
        struct json_object *operation;
        uint8_t sha[SHA256_SIZE] = {7};

        (void)unused;
        loader_says("LoaderEntrySelected", "passive.conf");
        assert_int_equal(state_load(memory.fd, &state, NULL), 0);
        assert_int_equal(state_begin(state, &op, NULL), 0);
        assert_int_equal(state_set_recovery_wish(state, sha, NULL), 0);
        assert_int_equal(state_save(state, memory.fd, NULL), 0);
        o = status();
        assert_int_equal(json_get_obj(o, "last_operation", &operation), 0);
        assert_false(flag(operation, "finished"));
        assert_false(flag(operation, "running"));
        assert_int_equal(strncmp(status_text(o, "pending_recovery"), "0700", 4), 0);
}

static void without_a_partition_nothing_is_remembered(void **unused)
{
        _cleanup_(situation_done) struct situation s = {.has_loader = false};

        (void)unused;
        fall_back(&s);
        assert_int_equal(trial_fell_back(-EBADF, &s, NULL), -ENOENT);
        assert_int_equal(trial_passed(&env, -ENOENT, &s, NULL), -ENOENT);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up_node, tear_down_node)

int main(void)
{
        const struct CMUnitTest tests[] = {
                TEST(failed_check_is_remembered),
                TEST(confirmed_image_is_forgiven),
                TEST(fall_back_without_a_reason_counts_the_boots),
                TEST(fall_back_keeps_the_reason_of_the_trial),
                TEST(what_runs_is_not_called_a_failure),
                TEST(chosen_entry_is_no_fall_back),
                TEST(interrupted_run_is_seen),
                TEST(without_a_partition_nothing_is_remembered),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
