/* SPDX-License-Identifier: Apache-2.0 */
/* The PIN of a node, and the PCRs it is bound to, changed on a disk with two volumes: what is
 * added, what goes, and that a wrong PIN changes nothing. */
#include "agent/enroll.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "agent/reset_pin.h"
#include "agent/ways.h"
#include "base/limits.h"
#include "partition/recovery_key.h"
#include "partition/tpm_esys.h"
#include "partition/tpm_mark.h"
#include "tests/support/swtpm.h"
#include "tests/support/usi.h"
#include "tests/unit/disk_world.h"

#define VOLUMES 2u

static const char *const names[VOLUMES] = {"oem", "persistent"};
static const char *const labels[VOLUMES] = {"COS_OEM", "COS_PERSISTENT"};

struct world {
        struct disk_world disk;
        struct swtpm *emulator;
        struct tpm *tpm;
        struct starter item[2]; /* two images of one key: active, passive */
        struct starters starters;
        struct disk d;
        struct node node;
        struct secret *key, *volume_key[VOLUMES];
        struct enroll_options options;
        char key_file[96], pin_file[96], extra[96], run[96];
        struct enroll *n; /* of the last run */
        struct error e;
};

static struct test_usi_world vendor;
static struct buf images[2] = {BUF_INIT(SIGNING_IMAGE_MAX), BUF_INIT(SIGNING_IMAGE_MAX)};

static int make_images(void **state)
{
        (void)state;
        test_usi_world_make(&vendor);
        for (unsigned i = 0; i < 2; i++)
                test_usi_make(&vendor, i == 0 ? "2" : "1", 5000, &images[i]);
        return 0;
}

static int drop_images(void **state)
{
        (void)state;
        test_usi_world_drop(&vendor);
        for (unsigned i = 0; i < 2; i++)
                buf_done(&images[i]);
        return 0;
}

static void make_starter(struct world *w, unsigned i)
{
        struct starter *s = &w->item[i];

        (void)snprintf(s->file, sizeof(s->file), "usi-0000000%u.efi", i + 1);
        scratch_put(&w->disk.s, s->file, images[i].data, images[i].len);
        s->fd = openat(w->disk.s.fd, s->file, O_RDONLY | O_CLOEXEC);
        assert_true(s->fd >= 0);
        if (image_verify(s->fd, s->file, &vendor.demands, NULL, &s->image, &w->e) < 0)
                fail_msg("%s", w->e.text);
        s->running = s->next = i == 0;
        s->roles = 1u << (i == 0 ? ENTRY_ROLE_ACTIVE : ENTRY_ROLE_PASSIVE);
        s->has_pcr7 = true;
        memset(s->pcr7, 0x77, SHA256_SIZE);
}

static void make_volume(struct world *w, unsigned i)
{
        const struct luks_format_options options = {.label = labels[i], .sector_size = 512};
        _cleanup_(luks_free_p) struct luks *luks = NULL;
        struct layout_partition *p = &w->node.layout.partitions[i];
        char name[8], number[8], path[96];

        (void)snprintf(name, sizeof(name), "vda%u", i + 2);
        (void)snprintf(number, sizeof(number), "252:%u", i + 2);
        world_partition(&w->disk, "vda", name, number);
        world_attribute(&w->disk, name, "start", "2048");
        world_attribute(&w->disk, name, "size", "49152");
        (void)snprintf(path, sizeof(path), "%s/%s", w->disk.dev, name);
        world_put(&w->disk, path + strlen(w->disk.s.path) + 1, "");
        assert_int_equal(truncate(path, (off_t)(24 * MIB)), 0);
        assert_int_equal(luks_format(path, &options, &luks, &w->e), 0);
        assert_int_equal(recovery_key_enrol(luks, NULL, w->key, &w->e), 0);
        assert_int_equal(luks_get_volume_key(luks, 0, w->key, &w->volume_key[i], &w->e), 0);
        p->number = i + 2;
        (void)snprintf(p->name, sizeof(p->name), "%s", names[i]);
        w->node.layout.n = i + 1;
}

static void make_files(struct world *w)
{
        size_t size;
        const uint8_t *pem = policy_key_pem(image_policy_key(w->item[0].image), &size);
        const char *at = w->disk.s.path;

        scratch_put(&w->disk.s, "tpm2-pcr-public-key.pem", pem, size);
        scratch_put(&w->disk.s, "key", w->key->data, w->key->len);
        (void)snprintf(w->key_file, sizeof(w->key_file), "%s/key", at);
        (void)snprintf(w->pin_file, sizeof(w->pin_file), "%s/pin", at);
        (void)snprintf(w->run, sizeof(w->run), "%s/run", at);
        w->disk.env.extra = at;
        w->disk.env.run = w->run;
}

static int setup(void **state)
{
        struct world *w = calloc(1, sizeof(*w));

        assert_non_null(w);
        *state = w;
        world_make(&w->disk);
        w->emulator = swtpm_start();
        assert_non_null(w->emulator);
        assert_int_equal(tpm_open(w->emulator->tcti, &w->tpm, &w->e), 0);
        make_starter(w, 0);
        make_starter(w, 1);
        w->starters.item = w->item;
        w->starters.n = 2;
        w->key = recovery_key_new();
        world_disk(&w->disk, "pci0/virtio1", "vda", "252:0", UINT64_C(1) << 30);
        make_volume(w, 0);
        make_volume(w, 1);
        w->d = (struct disk){.env = &w->disk.env, .name = strdup("vda"), .path = strdup("vda")};
        w->node.disk = &w->d;
        w->node.oem = &w->node.layout.partitions[0];
        w->node.persistent = &w->node.layout.partitions[1];
        make_files(w);
        return 0;
}

static void forget(struct world *w)
{
        if (!w->n)
                return;
        w->n->esp.node = NULL;
        w->n->starters.n = 0;
        w->n->starters.item = NULL;
        w->n->tpm = NULL;
        enroll_done(w->n);
        free(w->n);
        w->n = NULL;
}

static int teardown(void **state)
{
        struct world *w = *state;

        forget(w);
        for (unsigned i = 0; i < 2; i++) {
                image_free(w->item[i].image);
                close_p(&w->item[i].fd);
                secret_free(w->volume_key[i]);
        }
        secret_free(w->key);
        tpm_free(w->tpm);
        swtpm_stop(w->emulator);
        free(w->d.name);
        free(w->d.path);
        world_end(&w->disk);
        free(w);
        return 0;
}

/* As "tb-agent enroll", without its lock and its look at the ESP. pin NULL: no file is named. */
static int enroll(struct world *w, int (*action)(struct enroll *, struct error *), const char *pin)
{
        forget(w);
        error_clear(&w->e);
        w->options.key_file = w->key_file;
        w->options.pin_file = pin ? w->pin_file : NULL;
        w->options.allow_software_tpm = true;
        if (pin)
                scratch_put_text(&w->disk.s, "pin", pin);
        w->n = calloc(1, sizeof(*w->n));
        assert_non_null(w->n);
        enroll_init(w->n, &w->disk.env, &w->options);
        w->n->tpm = w->tpm;
        w->n->starters = w->starters;
        w->n->esp.node = &w->node;
        if (enroll_read_ways(w->n, &w->e) < 0)
                fail_msg("%s", w->e.text);
        return action(w->n, &w->e);
}

static int look(struct enroll *n, struct error *e)
{
        (void)n;
        (void)e;
        return 0;
}

static void does(struct world *w, int (*action)(struct enroll *, struct error *), const char *pin)
{
        if (enroll(w, action, pin) < 0)
                fail_msg("%s; %s", w->e.text, w->e.advice);
}

/* On the disk, the same on both: what each token asks for, "*" for one that opens. */
static void assert_ways(struct world *w, const char *expected)
{
        does(w, look, NULL);
        for (unsigned k = 0; k < VOLUMES; k++) {
                const struct ways_volume *v = &w->n->ways.volume[k];
                char text[200] = "";
                size_t used = 0;

                assert_int_equal(v->unnamed, 0);
                for (unsigned i = 0; i < v->n; i++) {
                        const struct token *t = v->way[i].token;

                        if (t)
                                used += (size_t)snprintf(text + used, sizeof(text) - used,
                                                         "%s%x%s%s", used ? " " : "",
                                                         t->literal_pcrs, t->pin ? "+pin" : "",
                                                         v->way[i].opens == 3 ? "*" : "");
                }
                assert_string_equal(text, expected);
        }
}

static unsigned wrong_tries(struct world *w)
{
        struct tpm_info info;

        assert_int_equal(tpm_get_info(w->tpm, &info, &w->e), 0);
        return info.lockout_counter;
}

/* Of each token, without asking one that has another. */
static void assert_pin(struct world *w, const char *pin)
{
        _cleanup_(secret_free_p) struct secret *s = secret_new(strlen(pin));

        memcpy(s->data, pin, s->len);
        does(w, look, NULL);
        for (unsigned k = 0; k < VOLUMES; k++) {
                const struct ways_volume *v = &w->n->ways.volume[k];

                for (unsigned i = 0; i < v->n; i++)
                        if (v->way[i].token && v->way[i].token->pin)
                                assert_int_equal(seal_check_pin(w->tpm, v->way[i].token, s, &w->e),
                                                 0);
        }
}

static unsigned changes(const struct world *w, bool added)
{
        unsigned n = 0;

        for (unsigned i = 0; i < w->n->n_changes; i++)
                n += w->n->change[i].added == added;
        return n;
}

/* Two images of one key want one token: so each volume has one. */
static void test_set_change_remove(void **state)
{
        struct world *w = *state;

        does(w, enroll_tpm, NULL);
        assert_ways(w, "80*");
        w->options.remove = true;
        does(w, enroll_pin, NULL); /* there is none */
        assert_int_equal(w->n->n_changes, 0);
        w->options.remove = false;

        does(w, enroll_pin, "first one");
        assert_int_equal(changes(w, true), VOLUMES);
        assert_int_equal(changes(w, false), VOLUMES);
        assert_ways(w, "80+pin*");
        assert_pin(w, "first one");

        does(w, enroll_pin, "second one\n"); /* the old one may be forgotten */
        assert_ways(w, "80+pin*");
        assert_pin(w, "second one");

        w->options.dry_run = true;
        does(w, enroll_pin, NULL);
        assert_int_equal(w->n->n_changes, 2 * VOLUMES);
        w->options.remove = true;
        does(w, enroll_pin, NULL);
        assert_int_equal(w->n->n_changes, 2 * VOLUMES);
        w->options.dry_run = false;
        assert_ways(w, "80+pin*");
        does(w, enroll_pin, NULL);
        assert_ways(w, "80*");
        assert_int_equal(wrong_tries(w), 0);
}

/* Without the right to, and with a PIN that nobody could type: nothing happens. */
static void test_refused(void **state)
{
        struct world *w = *state;
        _cleanup_(secret_free_p) struct secret *other = recovery_key_new();

        does(w, enroll_tpm, NULL);
        assert_int_equal(enroll(w, enroll_pin, "123"), -EINVAL);
        assert_int_equal(w->e.class, ERROR_USAGE);
        assert_int_equal(enroll(w, enroll_tpm, "1234"), -EINVAL); /* it has none */
        assert_non_null(strstr(w->e.advice, "enroll pin"));
        scratch_put(&w->disk.s, "key", other->data, other->len);
        assert_int_equal(enroll(w, enroll_pin, "1234"), -EACCES);
        assert_ways(w, "80*");
}

/* What is sealed for later has the PIN that is there: one that is not costs one try in all. */
static void test_same_pin(void **state)
{
        struct world *w = *state;

        does(w, enroll_pin, "open sesame");
        does(w, enroll_tpm, NULL); /* nothing is missing: nobody is asked */
        assert_int_equal(w->n->n_changes, 0);
        w->item[0].pcr7[0] ^= 1; /* other keys of Secure Boot */
        w->item[1].pcr7[0] ^= 1;
        assert_int_equal(enroll(w, enroll_tpm, "open sesamf"), -EILSEQ);
        assert_int_equal(w->e.class, ERROR_PRECONDITION);
        assert_non_null(strstr(w->e.text, "not the PIN"));
        assert_non_null(strstr(w->e.advice, "more wrong ones"));
        assert_int_equal(w->n->n_changes, 0);
        assert_int_equal(wrong_tries(w), 1);
        assert_ways(w, "80+pin");
        does(w, enroll_tpm, "open sesame");
        assert_int_equal(changes(w, true), VOLUMES);
        assert_ways(w, "80+pin 80+pin*");
        assert_pin(w, "open sesame");
        /* A new one takes the place of both. */
        does(w, enroll_pin, "1234");
        assert_ways(w, "80+pin*");
        assert_pin(w, "1234");
        assert_int_equal(wrong_tries(w), 1);
}

/* The last try is left to the next start of the node. */
static void test_last_try_is_left(void **state)
{
        struct world *w = *state;
        struct tpm_info info;

        does(w, enroll_pin, "open sesame");
        assert_int_equal(tpm_get_info(w->tpm, &info, &w->e), 0);
        w->item[0].pcr7[0] ^= 1;
        w->item[1].pcr7[0] ^= 1;
        for (unsigned i = 1; i < info.lockout_max; i++)
                assert_int_equal(enroll(w, enroll_tpm, "wrong"), -EILSEQ);
        assert_int_equal(enroll(w, enroll_tpm, "wrong"), -ENOLCK);
        assert_int_equal(wrong_tries(w), info.lockout_max - 1);
        /* The recovery key needs no try. */
        does(w, enroll_pin, "another");
        assert_pin(w, "another");
}

/* Nobody can compare the PIN of a TPM that is gone: then it is a new one. */
static void test_other_tpm(void **state)
{
        struct world *w = *state;

        does(w, enroll_pin, "open sesame");
        tpm_free(w->tpm);
        swtpm_stop(w->emulator);
        w->tpm = NULL;
        w->emulator = swtpm_start();
        assert_non_null(w->emulator);
        assert_int_equal(tpm_open(w->emulator->tcti, &w->tpm, &w->e), 0);
        does(w, enroll_tpm, "another one");
        assert_ways(w, "80+pin 80+pin*");
        assert_int_equal(wrong_tries(w), 0);
        assert_int_equal(tpm_mark_look(w->tpm, &w->e), 1);
}

static void test_pcrs(void **state)
{
        struct world *w = *state;

        does(w, enroll_tpm, NULL);
        w->options.pcrs = "7,4";
        assert_int_equal(enroll(w, enroll_tpm, NULL), -EINVAL);
        w->options.pcrs = "0,7";
        does(w, enroll_tpm, NULL);
        assert_ways(w, "81*");
        does(w, enroll_tpm, NULL);
        assert_int_equal(w->n->n_changes, 0);
        w->options.pcrs = NULL;
        /* Another firmware: sealed for it is what was chosen. With a PIN, too. */
        w->starters.now[0] ^= 1;
        assert_ways(w, "81");
        does(w, enroll_tpm, NULL);
        assert_ways(w, "81* 81"); /* the new one has the first free number */
        does(w, enroll_pin, "1234");
        assert_ways(w, "81+pin*");
        w->options.pcrs = "7";
        does(w, enroll_tpm, "1234");
        assert_ways(w, "80+pin*");
}

static void leave_slot(struct world *w)
{
        _cleanup_(luks_free_p) struct luks *luks = NULL;
        _cleanup_(secret_free_p) struct secret *old = secret_random(32);
        char path[96];
        int slot;

        (void)snprintf(path, sizeof(path), "%s/vda3", w->disk.dev);
        assert_int_equal(luks_open(path, &luks, &w->e), 0);
        assert_int_equal(luks_add_keyslot(luks, w->volume_key[1], old, &slot, &w->e), 0);
}

/* A run that was cut when the old token was gone, and its key slot was not: all that is asked for
 * is there, and the slot goes all the same. */
static void test_rest_of_a_cut_run(void **state)
{
        struct world *w = *state;

        does(w, enroll_tpm, NULL);
        leave_slot(w);
        w->options.dry_run = true;
        does(w, enroll_tpm, NULL);
        assert_int_equal(changes(w, false), 1);
        w->options.dry_run = false;
        does(w, enroll_tpm, NULL);
        assert_int_equal(changes(w, false), 1);
        assert_int_equal(w->n->n_changes, 1);
        assert_non_null(strstr(w->n->change[0].what, "no token names it"));
        assert_ways(w, "80*");
        does(w, enroll_tpm, NULL);
        assert_int_equal(w->n->n_changes, 0);
        leave_slot(w);
        w->options.dry_run = true;
        does(w, enroll_recovery_key, NULL);
        assert_int_equal(changes(w, true), VOLUMES);
        assert_int_equal(changes(w, false), 1);
        w->options.dry_run = false;
        w->options.remove = true;
        does(w, enroll_pin, NULL);
        assert_int_equal(w->n->n_changes, 1);
        assert_ways(w, "80*");
}

/* An image that cannot be sealed for opens by an old token, and would no more: only when somebody
 * insists. */
static void test_image_is_lost(void **state)
{
        struct world *w = *state;

        does(w, enroll_tpm, NULL);
        forget(w);
        w->item[1].next = false;
        assert_int_equal(enroll(w, look, "1234"), 0);
        w->n->starters.item[1].has_pcr7 = false; /* after the tokens were judged */
        assert_int_equal(enroll_pin(w->n, &w->e), -EBUSY);
        assert_non_null(strstr(w->e.text, "passive"));
        assert_int_equal(w->n->n_changes, 0);
        w->options.force = true;
        assert_int_equal(enroll_pin(w->n, &w->e), 0);
        assert_int_equal(w->n->n_changes, 2 * VOLUMES);
}

/* Takes all room for NV indices, the last byte of it. */
static void fill_nv(struct world *w)
{
        const TPM2B_AUTH no_auth = {.size = 0};
        uint16_t size = 1024;

        for (uint32_t i = 0; size > 0; i++) {
                const TPM2B_NV_PUBLIC public = {
                        .nvPublic = {.nvIndex = 0x01c10000 + i,
                                     .nameAlg = TPM2_ALG_SHA256,
                                     .attributes = TPMA_NV_OWNERWRITE | TPMA_NV_OWNERREAD,
                                     .dataSize = size}};
                ESYS_TR index = ESYS_TR_NONE;
                TSS2_RC rc =
                        Esys_NV_DefineSpace(w->tpm->esys, ESYS_TR_RH_OWNER, ESYS_TR_PASSWORD,
                                            ESYS_TR_NONE, ESYS_TR_NONE, &no_auth, &public, &index);

                assert_true(i < 1000);
                if (rc == TSS2_RC_SUCCESS)
                        (void)Esys_TR_Close(w->tpm->esys, &index);
                else if (tpm_rc_base(rc) == TPM2_RC_NV_SPACE)
                        size /= 2;
                else
                        fail_msg("0x%x", rc);
        }
}

/* A TPM that cannot remember the node gets none of its data, or the next boot could be one with
 * exchanged volumes. */
static void test_no_room_for_the_mark(void **state)
{
        struct world *w = *state;

        fill_nv(w);
        assert_int_equal(enroll(w, enroll_tpm, NULL), -ENOSPC);
        assert_int_equal(w->e.class, ERROR_PRECONDITION);
        assert_non_null(strstr(w->e.advice, "NV indices"));
        assert_int_equal(w->n->n_changes, 0);
        assert_ways(w, "");
        assert_int_equal(enroll(w, enroll_pin, "1234"), -ENOSPC);
        assert_ways(w, "");
}

static struct secret *words(const char *text)
{
        struct secret *s = secret_new(strlen(text));

        assert_non_null(s);
        memcpy(s->data, text, s->len);
        return s;
}

/* A node asks for one PIN: that of what a reset leaves. */
static void test_pin_of_a_reset(void **state)
{
        struct world *w = *state;
        struct reset_journal j = {.n = 1, .volume = {{.name = "persistent"}}};
        _cleanup_(secret_free_p) struct secret *right = words("1234"), *wrong = words("4321");

        does(w, enroll_tpm, NULL);
        assert_false(reset_pin_stays(&w->node, &j, w->tpm));
        assert_int_equal(reset_pin_compare(&w->node, &j, w->tpm, wrong, &w->e), 0);
        does(w, enroll_pin, "1234");
        assert_true(reset_pin_stays(&w->node, &j, w->tpm));
        assert_int_equal(reset_pin_compare(&w->node, &j, w->tpm, right, &w->e), 0);
        assert_int_equal(wrong_tries(w), 0);
        assert_int_equal(reset_pin_compare(&w->node, &j, w->tpm, wrong, &w->e), -EILSEQ);
        assert_non_null(strstr(w->e.text, "oem, which stays"));
        assert_int_equal(wrong_tries(w), 1);
        /* Nothing stays: any PIN is a new one. */
        j.volume[j.n++] = (struct reset_volume){.name = "oem"};
        assert_false(reset_pin_stays(&w->node, &j, w->tpm));
        assert_int_equal(reset_pin_compare(&w->node, &j, w->tpm, wrong, &w->e), 0);
        assert_int_equal(wrong_tries(w), 1);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
        const struct CMUnitTest tests[] = {
                TEST(test_set_change_remove), TEST(test_refused),
                TEST(test_same_pin),          TEST(test_last_try_is_left),
                TEST(test_other_tpm),         TEST(test_pcrs),
                TEST(test_rest_of_a_cut_run), TEST(test_image_is_lost),
                TEST(test_pin_of_a_reset),    TEST(test_no_room_for_the_mark),
        };

        return cmocka_run_group_tests(tests, make_images, drop_images);
}
