/* SPDX-License-Identifier: Apache-2.0 */
/* Ways into a volume, on LUKS2 in a file and a software TPM: what each is good for, and changes
 * that never leave less than there was. */
#include "agent/enroll.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "agent/ways.h"
#include "base/file.h"
#include "base/limits.h"
#include "partition/recovery_key.h"
#include "partition/tpm_mark.h"
#include "tests/support/swtpm.h"
#include "tests/support/usi.h"
#include "tests/unit/scratch.h"

#define LABEL "COS_OEM"

struct world {
        struct scratch dir;
        struct swtpm *emulator;
        struct tpm *tpm;
        struct starter item[2];
        struct starters starters;
        struct layout_partition partition;
        struct data_volume data;
        struct ways_volume v;
        struct secret *key, *volume_key;
        struct secret *pin; /* that is sealed with; NULL: none */
        uint32_t pcrs;      /* that are sealed to by value */
        struct error e;
};

/* Making keys and images takes long: two images, of two policy keys. */
static struct test_usi_world vendors[2];
static struct buf images[2] = {BUF_INIT(SIGNING_IMAGE_MAX), BUF_INIT(SIGNING_IMAGE_MAX)};

static int make_images(void **state)
{
        (void)state;
        for (unsigned i = 0; i < 2; i++) {
                test_usi_world_make(&vendors[i]);
                test_usi_make(&vendors[i], i == 0 ? "1" : "2", 5000, &images[i]);
        }
        return 0;
}

static int drop_images(void **state)
{
        (void)state;
        for (unsigned i = 0; i < 2; i++) {
                test_usi_world_drop(&vendors[i]);
                buf_done(&images[i]);
        }
        return 0;
}

static void connect_tpm(struct world *w)
{
        tpm_free(w->tpm);
        w->tpm = NULL;
        assert_int_equal(tpm_open(w->emulator->tcti, &w->tpm, &w->e), 0);
}

/* As the boot loader would see it: the first image runs and comes next. */
static void make_starter(struct world *w, unsigned i)
{
        static const char *const names[] = {"one.efi", "two.efi"};
        struct starter *s = &w->item[i];

        scratch_put(&w->dir, names[i], images[i].data, images[i].len);
        s->fd = openat(w->dir.fd, names[i], O_RDONLY | O_CLOEXEC);
        assert_true(s->fd >= 0);
        if (image_verify(s->fd, names[i], &vendors[i].demands, NULL, &s->image, &w->e) < 0)
                fail_msg("%s", w->e.text);
        s->running = s->next = i == 0;
        s->roles = 1u << (i == 0 ? ENTRY_ROLE_ACTIVE : ENTRY_ROLE_PASSIVE);
        s->has_pcr7 = true;
        memset(s->pcr7, 0x77, SHA256_SIZE);
        (void)snprintf(s->file, sizeof(s->file), "usi-0000000%u.efi", i + 1);
}

static void open_volume(struct world *w)
{
        char with[TOKEN_ID_SIZE];

        memcpy(with, w->v.unlocked_with, sizeof(with));
        ways_volume_done(&w->v);
        memcpy(w->v.unlocked_with, with, sizeof(with));
        assert_true(asprintf(&w->v.device, "%s/volume", w->dir.path) > 0);
        assert_int_equal(luks_open(w->v.device, &w->v.luks, &w->e), 0);
        assert_int_equal(luks_check_header(w->v.luks, LABEL, &w->e), 0);
        if (ways_judge(&w->v, w->tpm, &w->starters, &w->e) < 0)
                fail_msg("%s", w->e.text);
}

static int setup(void **state)
{
        const struct luks_format_options options = {.label = LABEL, .sector_size = 512};
        struct world *w = calloc(1, sizeof(*w));
        _cleanup_(luks_free_p) struct luks *luks = NULL;
        char path[96];

        assert_non_null(w);
        *state = w;
        scratch_make(&w->dir);
        w->emulator = swtpm_start();
        assert_non_null(w->emulator);
        connect_tpm(w);
        make_starter(w, 0);
        make_starter(w, 1);
        w->starters.item = w->item;
        w->starters.n = 2;
        w->pcrs = PCR_CHOICE_NEEDED;
        for (unsigned i = 0; i < sizeof(w->starters.now); i++)
                w->starters.now[i] = (uint8_t)(i / SHA256_SIZE);
        (void)snprintf(w->partition.name, sizeof(w->partition.name), "oem");
        w->data = (struct data_volume){&w->partition, LABEL, "oem"};
        w->v.volume = &w->data;
        (void)snprintf(path, sizeof(path), "%s/volume", w->dir.path);
        scratch_put_text(&w->dir, "volume", "");
        assert_int_equal(truncate(path, (off_t)(24 * MIB)), 0);
        w->key = recovery_key_new();
        assert_int_equal(luks_format(path, &options, &luks, &w->e), 0);
        assert_int_equal(recovery_key_enrol(luks, NULL, w->key, &w->e), 0);
        assert_int_equal(luks_get_volume_key(luks, 0, w->key, &w->volume_key, &w->e), 0);
        open_volume(w);
        return 0;
}

static int teardown(void **state)
{
        struct world *w = *state;

        ways_volume_done(&w->v);
        for (unsigned i = 0; i < 2; i++) {
                image_free(w->item[i].image);
                close_p(&w->item[i].fd);
        }
        secret_free(w->key);
        secret_free(w->pin);
        secret_free(w->volume_key);
        tpm_free(w->tpm);
        swtpm_stop(w->emulator);
        scratch_clean(&w->dir);
        free(w);
        return 0;
}

static struct ways_seal seal_for(struct world *w, unsigned i)
{
        struct ways_seal seal = {.tpm = w->tpm,
                                 .key = image_policy_key(w->item[i].image),
                                 .literal_pcrs = w->pcrs,
                                 .with_pin = w->pin != NULL,
                                 .pin = w->pin,
                                 .prove = &w->item[i]};

        starters_literal(&w->starters, &w->item[i], seal.literal_pcrs, seal.literal_values);
        return seal;
}

static void add(struct world *w, unsigned i)
{
        const struct ways_seal seal = seal_for(w, i);

        assert_false(ways_has(&w->v, &seal));
        if (ways_add_tpm(&w->v, w->volume_key, &seal, &w->e) < 0)
                fail_msg("%s", w->e.text);
        open_volume(w);
        assert_true(ways_has(&w->v, &seal));
}

/* As text, in the order of the tokens. */
static void assert_states(struct world *w, const char *expected)
{
        char text[200] = "";
        size_t used = 0;

        for (unsigned i = 0; i < w->v.n; i++)
                used += (size_t)snprintf(text + used, sizeof(text) - used, "%s%s", i ? " " : "",
                                         way_state_name(w->v.way[i].state));
        assert_string_equal(text, expected);
}

static void test_add(void **state)
{
        struct world *w = *state;

        assert_states(w, "recovery-key");
        assert_int_equal(ways_opened(&w->v, 0), 0);
        add(w, 0);
        assert_states(w, "recovery-key opens");
        assert_int_equal(w->v.way[1].opens, 1);
        add(w, 1);
        assert_states(w, "recovery-key opens opens");
        assert_int_equal(ways_opened(&w->v, 0), 3);
        assert_int_equal(ways_opened(&w->v, 1u << 1), 2);
        assert_int_equal(luks_test_secret(w->v.luks, 0, w->key, &w->e), 0);
}

/* The token that opened this boot counts only while it opens the next one, for what runs. */
static void test_proven(void **state)
{
        struct world *w = *state;

        add(w, 0);
        add(w, 1);
        assert_null(ways_proven(&w->v, &w->starters));
        memcpy(w->v.unlocked_with, w->v.way[2].id, TOKEN_ID_SIZE);
        assert_null(ways_proven(&w->v, &w->starters)); /* of the image that does not run */
        memcpy(w->v.unlocked_with, w->v.way[1].id, TOKEN_ID_SIZE);
        assert_ptr_equal(ways_proven(&w->v, &w->starters), &w->v.way[1]);
        w->item[0].pcr7[0] ^= 1;
        open_volume(w);
        assert_null(ways_proven(&w->v, &w->starters));
}

static void test_other_state(void **state)
{
        struct world *w = *state;

        add(w, 0);
        w->item[0].pcr7[0] ^= 1;
        open_volume(w);
        assert_states(w, "recovery-key other-state");
        add(w, 0);
        assert_states(w, "recovery-key other-state opens");
}

static void test_other_key(void **state)
{
        struct world *w = *state;

        add(w, 1);
        w->starters.n = 1;
        open_volume(w);
        assert_states(w, "recovery-key other-key");
}

/* A cleared TPM and another one are the same to a token. */
static void test_other_tpm(void **state)
{
        struct world *w = *state;
        struct swtpm *other = swtpm_start(), *mine = w->emulator;
        struct ways_seal seal;

        add(w, 0);
        assert_non_null(other);
        w->emulator = other;
        connect_tpm(w);
        open_volume(w);
        assert_states(w, "recovery-key other-tpm");
        seal = seal_for(w, 0);
        assert_false(ways_has(&w->v, &seal));
        seal.prove = NULL;
        assert_false(ways_has(&w->v, &seal));
        add(w, 0);
        assert_states(w, "recovery-key other-tpm opens");
        w->emulator = mine;
        connect_tpm(w);
        open_volume(w);
        assert_states(w, "recovery-key opens other-tpm");
        swtpm_stop(other);
}

/* For an image to come there is no signature to prove with, but all the rest. */
static void test_key_without_image(void **state)
{
        struct world *w = *state;
        struct ways_seal seal = seal_for(w, 1);

        seal.prove = NULL;
        assert_false(ways_has(&w->v, &seal));
        assert_int_equal(ways_add_tpm(&w->v, w->volume_key, &seal, &w->e), 0);
        w->starters.n = 1;
        open_volume(w);
        assert_true(ways_has(&w->v, &seal));
        assert_states(w, "recovery-key other-key");
        w->starters.n = 2;
        open_volume(w);
        assert_states(w, "recovery-key opens");
}

/* Sealed for one state, the image will come in another: that is no way in, and does not stay. */
static void test_unproven_is_taken_back(void **state)
{
        struct world *w = *state;
        struct ways_seal seal = seal_for(w, 0);
        uint8_t another[SHA256_SIZE] = {1};

        memcpy(seal.literal_values, another, SHA256_SIZE);
        assert_int_equal(ways_add_tpm(&w->v, w->volume_key, &seal, &w->e), -EPERM);
        assert_int_equal(w->e.class, ERROR_PRECONDITION);
        open_volume(w);
        assert_states(w, "recovery-key");
        assert_int_equal(luks_unnamed_keyslots(w->v.luks), 0);
        seal = seal_for(w, 0);
        seal.key = image_policy_key(w->item[1].image);
        assert_int_equal(ways_add_tpm(&w->v, w->volume_key, &seal, &w->e), -EKEYREJECTED);
        open_volume(w);
        assert_states(w, "recovery-key");
        assert_int_equal(luks_unnamed_keyslots(w->v.luks), 0);
}

static void test_wrong_volume_key(void **state)
{
        struct world *w = *state;
        _cleanup_(secret_free_p) struct secret *wrong = secret_random(LUKS_VOLUME_KEY_SIZE);
        const struct ways_seal seal = seal_for(w, 0);

        assert_true(ways_add_tpm(&w->v, wrong, &seal, &w->e) < 0);
        assert_true(ways_add_key(&w->v, wrong, w->key, &w->e) < 0);
        open_volume(w);
        assert_states(w, "recovery-key");
}

static void test_remove_and_clean(void **state)
{
        struct world *w = *state;
        int slot;

        add(w, 0);
        add(w, 1);
        slot = w->v.way[1].keyslot;
        assert_int_equal(ways_remove(&w->v, &w->v.way[1], &w->e), 0);
        open_volume(w);
        assert_states(w, "recovery-key opens");
        assert_int_equal(w->v.way[1].opens, 2);
        assert_int_equal(luks_remove_keyslot(w->v.luks, slot, &w->e), -ENOENT);
        assert_int_equal(ways_clean(&w->v, &w->e), 0);

        /* The power went after the token and before the slot. */
        assert_int_equal(luks_remove_token(w->v.luks, w->v.way[1].number, &w->e), 0);
        slot = w->v.way[1].keyslot;
        open_volume(w);
        assert_states(w, "recovery-key");
        assert_int_equal(w->v.unnamed, 1u << slot);
        assert_int_equal(ways_clean(&w->v, &w->e), 1);
        assert_int_equal(luks_unnamed_keyslots(w->v.luks), 0);
        open_volume(w);
        assert_int_equal(luks_test_secret(w->v.luks, 0, w->key, &w->e), 0);
}

static void test_recovery_keys(void **state)
{
        struct world *w = *state;
        _cleanup_(secret_free_p) struct secret *fresh = recovery_key_new();

        assert_int_equal(ways_add_key(&w->v, w->volume_key, fresh, &w->e), 0);
        open_volume(w);
        assert_states(w, "recovery-key recovery-key");
        assert_int_equal(ways_remove(&w->v, &w->v.way[0], &w->e), 0);
        open_volume(w);
        assert_states(w, "recovery-key");
        assert_true(recovery_key_find_slot(w->v.luks, fresh, &w->e) >= 0);
        assert_int_equal(recovery_key_find_slot(w->v.luks, w->key, &w->e), -EACCES);
}

/* What another program enrolled is shown, and never taken for stale. */
static void test_unknown(void **state)
{
        struct world *w = *state;

        assert_int_equal(luks_set_token(w->v.luks, LUKS_ANY_TOKEN,
                                        "{\"type\":\"systemd-tpm2\",\"keyslots\":[\"0\"]}", NULL,
                                        &w->e),
                         0);
        ways_volume_done(&w->v);
        assert_true(asprintf(&w->v.device, "%s/volume", w->dir.path) > 0);
        assert_int_equal(luks_open(w->v.device, &w->v.luks, &w->e), 0);
        assert_int_equal(ways_judge(&w->v, w->tpm, &w->starters, &w->e), 0);
        assert_states(w, "recovery-key unknown");
        assert_int_equal(w->v.way[1].keyslot, -1);
}

/* What it asks for is part of its policy: a token with a PIN is none without, and the other way
 * round. The TPM has compared the PIN, which costs no try. */
static void test_pin(void **state)
{
        struct world *w = *state;
        _cleanup_(secret_free_p) struct secret *wrong = secret_random(8);
        struct tpm_info info;
        struct ways_seal seal;

        w->pin = secret_random(8);
        add(w, 0);
        assert_states(w, "recovery-key opens");
        assert_non_null(strstr(w->v.way[1].why, "PIN"));
        seal = seal_for(w, 0);
        seal.with_pin = false;
        assert_false(ways_has(&w->v, &seal));
        assert_int_equal(seal_check_pin(w->tpm, w->v.way[1].token, w->pin, &w->e), 0);
        assert_int_equal(tpm_get_info(w->tpm, &info, &w->e), 0);
        assert_int_equal(info.lockout_counter, 0);
        assert_int_equal(seal_check_pin(w->tpm, w->v.way[1].token, wrong, &w->e), -EILSEQ);
        assert_int_equal(tpm_get_info(w->tpm, &info, &w->e), 0);
        assert_int_equal(info.lockout_counter, 1);
        assert_int_equal(seal_loads(w->tpm, w->v.way[1].token, &w->e), 0);
        w->v.way[1].token->blob[20] ^= 1;
        assert_true(seal_loads(w->tpm, w->v.way[1].token, NULL) < 0);
        assert_true(seal_check_pin(w->tpm, w->v.way[1].token, w->pin, NULL) < 0);
        w->v.way[1].token->blob[20] ^= 1;
        w->v.way[1].token->pin = false;
        assert_int_equal(seal_check_pin(w->tpm, w->v.way[1].token, w->pin, NULL), -EOPNOTSUPP);
        w->v.way[1].token->pin = true;
        seal.with_pin = true;
        seal.pin = NULL;
        assert_int_equal(ways_add_tpm(&w->v, w->volume_key, &seal, &w->e), -EINVAL);
}

/* PCRs of the firmware besides: sealed to what they are now. */
static void test_more_pcrs(void **state)
{
        struct world *w = *state;
        struct ways_seal seal;

        w->pcrs = PCR_CHOICE_LITERAL;
        add(w, 0);
        w->pcrs = PCR_CHOICE_NEEDED | 1u;
        add(w, 0);
        assert_states(w, "recovery-key opens opens");
        w->pcrs = PCR_CHOICE_NEEDED;
        seal = seal_for(w, 0);
        assert_false(ways_has(&w->v, &seal));
        w->starters.now[4 * SHA256_SIZE] ^= 1; /* PCR 14 */
        open_volume(w);
        assert_states(w, "recovery-key other-state opens");
        assert_non_null(strstr(w->v.way[1].why, "0, 2, 3, 7, 14"));
        w->item[0].pcr7[0] ^= 1;
        open_volume(w);
        assert_states(w, "recovery-key other-state other-state");
}

static void test_json(void **state)
{
        struct world *w = *state;
        struct ways *ways = calloc(1, sizeof(*ways));
        _cleanup_json_ struct json_object *array = NULL;
        struct json_object *list, *way;
        const char *text;
        bool used;

        assert_non_null(ways);
        add(w, 0);
        memcpy(w->v.unlocked_with, w->v.way[1].id, TOKEN_ID_SIZE);
        ways->volume[0] = w->v;
        ways->n = 1;
        array = ways_json(ways, &w->starters);
        assert_int_equal(json_object_array_length(array), 1);
        assert_int_equal(json_get_array(json_object_array_get_idx(array, 0), "ways", &list), 0);
        way = json_object_array_get_idx(list, 1);
        assert_int_equal(json_get_str(way, "state", &text), 0);
        assert_string_equal(text, "opens");
        assert_int_equal(json_get_bool(way, "unlocked_this_boot", &used), 0);
        assert_true(used);
        assert_int_equal(json_get_bool(way, "pin", &used), 0);
        assert_false(used);
        assert_int_equal(json_get_array(way, "pcrs", &list), 0);
        assert_string_equal(json_object_to_json_string_ext(list, JSON_C_TO_STRING_PLAIN), "[7,11]");
        assert_int_equal(json_get_array(way, "opens", &list), 0);
        assert_string_equal(json_object_get_string(json_object_array_get_idx(list, 0)),
                            "usi-00000001.efi");
        free(ways);
}

/* With the key of image 0, whose system runs, up to the last look at the disk: there is no node. */
static void enroll(struct world *w)
{
        struct env env = ENV_INIT;
        char key_file[96];
        const struct enroll_options options = {
                .action = "tpm", .key_file = key_file, .allow_software_tpm = true};
        struct disk disk = {.path = w->dir.path};
        struct node node = {.disk = &disk};
        struct enroll *n = calloc(1, sizeof(*n));
        size_t size;
        const uint8_t *pem = policy_key_pem(image_policy_key(w->item[0].image), &size);

        assert_non_null(n);
        scratch_put(&w->dir, "tpm2-pcr-public-key.pem", pem, size);
        scratch_put(&w->dir, "key", w->key->data, w->key->len);
        (void)snprintf(key_file, sizeof(key_file), "%s/key", w->dir.path);
        env.extra = w->dir.path;
        enroll_init(n, &env, &options);
        n->tpm = w->tpm;
        n->starters = w->starters;
        n->ways.volume[0] = w->v;
        n->ways.n = 1;
        w->v = (struct ways_volume){.volume = &w->data};
        n->esp.node = &node;
        if (enroll_tpm(n, &w->e) != -ENXIO)
                fail_msg("%s", w->e.text);
        n->esp.node = NULL;
        n->starters.n = 0;
        n->starters.item = NULL;
        n->tpm = NULL;
        enroll_done(n);
        free(n);
        open_volume(w);
}

/* After it was cleared it remembers nothing, and old data is sealed to it: from then on it does. */
static void test_enrolled_tpm_remembers_the_node(void **state)
{
        struct world *w = *state;

        assert_int_equal(tpm_mark_look(w->tpm, &w->e), 0);
        enroll(w);
        assert_states(w, "recovery-key opens");
        assert_int_equal(tpm_mark_look(w->tpm, &w->e), 1);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
        const struct CMUnitTest tests[] = {
                TEST(test_add),
                TEST(test_proven),
                TEST(test_other_state),
                TEST(test_other_key),
                TEST(test_other_tpm),
                TEST(test_key_without_image),
                TEST(test_unproven_is_taken_back),
                TEST(test_wrong_volume_key),
                TEST(test_remove_and_clean),
                TEST(test_recovery_keys),
                TEST(test_unknown),
                TEST(test_pin),
                TEST(test_more_pcrs),
                TEST(test_json),
                TEST(test_enrolled_tpm_remembers_the_node),
        };

        return cmocka_run_group_tests(tests, make_images, drop_images);
}
