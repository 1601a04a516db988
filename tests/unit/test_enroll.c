/* SPDX-License-Identifier: Apache-2.0 */
/* What may be changed of the ways into a volume, and by whom: decisions, without a disk. */
#include "agent/enroll.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "agent/pcr_choice.h"
#include "base/codec.h"
#include "tests/support/swtpm_policy.h"
#include "tests/unit/scratch.h"

/* Image 0 runs and is the next one (active), image 1 is passive. */
static struct starter items[2];
static struct layout_partition partitions[2];
static struct data_volume volumes[2];
static struct enroll_options options;
static struct enroll *n;
static struct error error;
static struct test_key *old_key, *new_key;

static int make_keys(void **state)
{
        (void)state;
        old_key = test_key_new(2048);
        new_key = test_key_new(2048);
        return 0;
}

static int drop_keys(void **state)
{
        (void)state;
        test_key_free(old_key);
        test_key_free(new_key);
        return 0;
}

static int setup(void **state)
{
        static const char *const names[] = {"oem", "data"};
        static const struct env env = ENV_INIT;

        (void)state;
        n = calloc(1, sizeof(*n));
        assert_non_null(n);
        options = (struct enroll_options){.action = "finish", .dry_run = true};
        enroll_init(n, &env, &options);
        memset(items, 0, sizeof(items));
        items[0].running = items[0].next = true;
        items[0].roles = 1u << ENTRY_ROLE_ACTIVE;
        items[1].roles = 1u << ENTRY_ROLE_PASSIVE;
        n->starters.item = items;
        n->starters.n = 2;
        for (unsigned i = 0; i < 2; i++) {
                (void)snprintf(partitions[i].name, sizeof(partitions[i].name), "%s", names[i]);
                volumes[i] =
                        (struct data_volume){&partitions[i], i == 0 ? "COS_OEM" : NULL, names[i]};
                n->ways.volume[i].volume = &volumes[i];
        }
        n->ways.n = 1;
        error_clear(&error);
        return 0;
}

static int teardown(void **state)
{
        (void)state;
        n->starters.n = 0;
        n->starters.item = NULL;
        enroll_done(n);
        free(n);
        return 0;
}

static void add(unsigned volume, enum way_state state, unsigned opens, const struct test_key *key,
                const char *id)
{
        struct ways_volume *v = &n->ways.volume[volume];
        struct way *w = &v->way[v->n];
        size_t size;
        const uint8_t *pem;

        *w = (struct way){
                .number = (int)v->n, .keyslot = (int)v->n, .state = state, .opens = opens};
        (void)snprintf(w->id, sizeof(w->id), "%s", id);
        v->n++;
        if (state == WAY_RECOVERY_KEY)
                return;
        w->token = token_new();
        assert_non_null(w->token);
        pem = policy_key_pem((key ?: new_key)->policy, &size);
        assert_int_equal(policy_key_from_pem(pem, size, &w->token->key, NULL), 0);
}

static void unlocked_with(unsigned volume, const char *id)
{
        (void)snprintf(n->ways.volume[volume].unlocked_with, TOKEN_ID_SIZE, "%s", id);
}

/* Ids of what would go, in order. */
static void assert_goes(const char *expected)
{
        char text[200] = "";
        size_t used = 0;

        for (unsigned i = 0; i < n->n_changes; i++) {
                assert_false(n->change[i].added);
                used += (size_t)snprintf(text + used, sizeof(text) - used, "%s%s:%.*s",
                                         i ? " " : "", n->change[i].volume,
                                         (int)strcspn(n->change[i].what, ":"), n->change[i].what);
        }
        assert_string_equal(text, expected);
}

static void test_finish(void **state)
{
        (void)state;
        add(0, WAY_OPENS, 1, NULL, "good");
        add(0, WAY_OTHER_TPM, 0, NULL, "tpm");
        add(0, WAY_OTHER_STATE, 0, NULL, "state");
        add(0, WAY_OTHER_KEY, 0, NULL, "key");
        add(0, WAY_UNKNOWN, 0, NULL, "unknown");
        add(0, WAY_RECOVERY_KEY, 0, NULL, "");
        add(0, WAY_OPENS, 2, NULL, "passive");
        unlocked_with(0, "good");
        assert_int_equal(enroll_finish(n, &error), 0);
        assert_goes("oem:TPM token tpm oem:TPM token state oem:TPM token key");
}

/* Whose secret opens them nobody knows: they go when the rest is proven, and not before. */
static void test_finish_unnamed(void **state)
{
        (void)state;
        add(0, WAY_OPENS, 1, NULL, "good");
        n->ways.volume[0].unnamed = 1u << 3 | 1u << 31;
        assert_int_equal(enroll_finish(n, &error), -EAGAIN);
        assert_int_equal(n->n_changes, 0);
        error_clear(&error);
        unlocked_with(0, "good");
        assert_int_equal(enroll_finish(n, &error), 0);
        assert_goes("oem:key slot 3 oem:key slot 31");
}

/* Whatever else would open: only a real unsealing of this boot counts. */
static void test_finish_needs_proof(void **state)
{
        static const struct {
                const char *with;
                unsigned opens;
        } cases[] = {{"", 1}, {"stale", 1}, {"gone", 1}, {"good", 0}, {"good", 2}};

        (void)state;
        add(0, WAY_OPENS, 1, NULL, "good");
        add(0, WAY_OTHER_TPM, 0, NULL, "stale");
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                unlocked_with(0, cases[i].with);
                n->ways.volume[0].way[0].opens = cases[i].opens;
                assert_int_equal(enroll_finish(n, &error), -EAGAIN);
                assert_int_equal(error.class, ERROR_PRECONDITION);
                assert_true(*error.advice);
                assert_int_equal(n->n_changes, 0);
                error_clear(&error);
        }
}

/* One of ours that is not proven stops all; one of the user's is left alone. */
static void test_finish_volumes(void **state)
{
        (void)state;
        n->ways.n = 2;
        for (unsigned i = 0; i < 2; i++) {
                add(i, WAY_OPENS, 1, NULL, "good");
                add(i, WAY_OTHER_TPM, 0, NULL, "stale");
        }
        unlocked_with(0, "good");
        assert_int_equal(enroll_finish(n, &error), 0);
        assert_goes("oem:TPM token stale");
        assert_int_equal(n->n_warnings, 1);
        n->n_changes = 0;
        volumes[1].label = "COS_PERSISTENT";
        assert_int_equal(enroll_finish(n, &error), -EAGAIN);
        assert_int_equal(n->n_changes, 0);
}

static void name_key(const struct test_key *key)
{
        static char hex[SHA256_HEX_SIZE];

        hex_encode(policy_key_fingerprint(key->policy), SHA256_SIZE, hex);
        options.policy_key = hex;
}

static void test_drop_policy_key(void **state)
{
        (void)state;
        add(0, WAY_OPENS, 1, new_key, "new");
        add(0, WAY_OPENS, 2, old_key, "old");
        add(0, WAY_OTHER_STATE, 0, old_key, "older");
        unlocked_with(0, "new");
        name_key(old_key);
        assert_int_equal(enroll_drop(n, &error), -EBUSY); /* passive needs it */
        assert_non_null(strstr(error.text, "passive"));
        assert_int_equal(n->n_changes, 0);
        options.force = true;
        assert_int_equal(enroll_drop(n, &error), 0);
        assert_goes("oem:TPM token old oem:TPM token older");
        assert_int_equal(n->n_warnings, 1);
        /* What runs is never locked out. */
        n->n_changes = 0;
        name_key(new_key);
        assert_int_equal(enroll_drop(n, &error), -EBUSY);
        assert_non_null(strstr(error.text, "active"));
        assert_int_equal(n->n_changes, 0);
        /* With another way for passive nobody has to insist. */
        add(0, WAY_OPENS, 3, new_key, "both");
        options.force = false;
        name_key(old_key);
        assert_int_equal(enroll_drop(n, &error), 0);
        assert_goes("oem:TPM token old oem:TPM token older");
}

static void test_drop_unproven(void **state)
{
        (void)state;
        add(0, WAY_OPENS, 1, new_key, "new");
        add(0, WAY_OTHER_STATE, 0, old_key, "old");
        name_key(old_key);
        options.force = true;
        assert_int_equal(enroll_drop(n, &error), -EAGAIN);
        assert_int_equal(n->n_changes, 0);
}

/* Nothing that asks for less comes beside what asks for more: a PIN, more PCRs. */
static void test_choice(void **state)
{
        struct enroll_choice choice;
        struct token *t;

        (void)state;
        add(0, WAY_OPENS, 1, NULL, "good");
        add(0, WAY_RECOVERY_KEY, 0, NULL, "");
        add(0, WAY_UNKNOWN, 0, NULL, "other");
        t = n->ways.volume[0].way[0].token;
        t->signed_pcrs = PCR_CHOICE_SIGNED;
        t->literal_pcrs = PCR_CHOICE_NEEDED;
        t = n->ways.volume[0].way[2].token;
        t->signed_pcrs = PCR_CHOICE_SIGNED;
        t->literal_pcrs = PCR_CHOICE_NEEDED;
        assert_int_equal(enroll_read_choice(n, &choice, &error), 0);
        assert_int_equal(choice.literal_pcrs, PCR_CHOICE_NEEDED);
        assert_false(choice.pin || choice.new_pin || choice.replace);
        t->literal_pcrs |= 1u;
        t->pin = true;
        assert_int_equal(enroll_read_choice(n, &choice, &error), 0);
        assert_int_equal(choice.literal_pcrs, PCR_CHOICE_NEEDED | 1u);
        assert_true(choice.pin);
}

/* Somebody else's tokens: what they ask for cannot be sealed to here. */
static void test_others(void **state)
{
        static const uint32_t cases[][2] = {
                {PCR_CHOICE_SIGNED, PCR_CHOICE_NEEDED | 1u << 4},
                {PCR_CHOICE_SIGNED, 1u},
                {PCR_CHOICE_SIGNED, 0},
                {0, PCR_CHOICE_NEEDED},
                {PCR_CHOICE_SIGNED | 1u << 12, PCR_CHOICE_NEEDED},
        };

        (void)state;
        add(0, WAY_UNKNOWN, 0, NULL, "other");
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                struct token *t = n->ways.volume[0].way[0].token;

                t->signed_pcrs = cases[i][0];
                t->literal_pcrs = cases[i][1];
                assert_int_equal(enroll_tpm(n, &error), -EOPNOTSUPP);
                assert_int_equal(error.class, ERROR_PRECONDITION);
                assert_non_null(strstr(error.text, "PCRs"));
                assert_true(*error.advice);
                error_clear(&error);
                assert_int_equal(enroll_pin(n, &error), -EOPNOTSUPP);
                assert_int_equal(n->n_changes, 0);
                error_clear(&error);
        }
}

static void test_policy_key_names(void **state)
{
        _cleanup_(scratch_clean) struct scratch dir;
        struct policy_key *key = NULL;
        char path[96];
        size_t size;
        const uint8_t *pem = policy_key_pem(old_key->policy, &size);

        (void)state;
        scratch_make(&dir);
        scratch_put(&dir, "old.pem", pem, size);
        scratch_put_text(&dir, "none", "nothing");
        (void)snprintf(path, sizeof(path), "%s/old.pem", dir.path);
        options.policy_key = path;
        assert_int_equal(enroll_read_policy_key(n, &key, &error), 0);
        assert_true(enroll_same_key(key, old_key->policy));
        policy_key_free(key);
        (void)snprintf(path, sizeof(path), "%s/none", dir.path);
        assert_int_equal(enroll_read_policy_key(n, &key, &error), -EBADMSG);
        assert_int_equal(error.class, ERROR_CONFIG);
        options.policy_key = "/nowhere";
        assert_int_equal(enroll_read_policy_key(n, &key, &error), -ENOENT);
        assert_int_equal(error.class, ERROR_CONFIG);
        name_key(old_key);
        assert_int_equal(enroll_read_policy_key(n, &key, &error), -ENOKEY);
        assert_int_equal(error.class, ERROR_USAGE);
        add(0, WAY_OTHER_KEY, 0, old_key, "old");
        assert_int_equal(enroll_read_policy_key(n, &key, &error), 0);
        assert_true(enroll_same_key(key, old_key->policy));
        policy_key_free(key);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
        const struct CMUnitTest tests[] = {
                TEST(test_finish),
                TEST(test_finish_unnamed),
                TEST(test_finish_needs_proof),
                TEST(test_finish_volumes),
                TEST(test_drop_policy_key),
                TEST(test_drop_unproven),
                TEST(test_choice),
                TEST(test_others),
                TEST(test_policy_key_names),
        };

        return cmocka_run_group_tests(tests, make_keys, drop_keys);
}
