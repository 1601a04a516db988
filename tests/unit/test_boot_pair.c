/* SPDX-License-Identifier: Apache-2.0 */
/* Whether oem and persistent belong together: partition/pair.h and agent/boot_pair.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/boot.h"
#include "base/file.h"
#include "partition/luks.h"
#include "partition/pair.h"
#include "tests/unit/scratch.h"

enum whose { OURS, ANOTHER, THIRD };

struct world {
        struct scratch s;
        struct env env;
        struct boot b;
        struct data_mounted mounted;
        struct error error;
        char oem[128], persistent[128], run[128], oem_folder[160], persistent_folder[160];
};

static int set_up(void **state)
{
        struct world *w = calloc(1, sizeof(*w));

        assert_non_null(w);
        scratch_make(&w->s);
        assert_int_equal(file_make_dirs(w->s.fd, "oem", 0700), 0);
        assert_int_equal(file_make_dirs(w->s.fd, "persistent", 0700), 0);
        (void)snprintf(w->oem, sizeof(w->oem), "%s/oem", w->s.path);
        (void)snprintf(w->persistent, sizeof(w->persistent), "%s/persistent", w->s.path);
        (void)snprintf(w->run, sizeof(w->run), "%s/run", w->s.path);
        (void)snprintf(w->oem_folder, sizeof(w->oem_folder), "%s/" BOOT_PAIR_OEM, w->oem);
        (void)snprintf(w->persistent_folder, sizeof(w->persistent_folder),
                       "%s/" BOOT_PAIR_PERSISTENT, w->persistent);
        w->env = (struct env){.oem = w->oem,
                              .persistent = w->persistent,
                              .run = w->run,
                              .dev = w->s.path,
                              .proc = "/proc"};
        w->b = (struct boot){
                .env = &w->env, .report = boot_report_new(), .entry = {.role = ENTRY_ROLE_ACTIVE}};
        assert_non_null(w->b.report);
        *state = w;
        return 0;
}

static int tear_down(void **state)
{
        struct world *w = *state;

        boot_report_free(w->b.report);
        scratch_clean(&w->s);
        free(w);
        return 0;
}

static struct secret *volume_key(enum whose whose, const char *name)
{
        struct secret *key = secret_new(LUKS_VOLUME_KEY_SIZE);

        assert_non_null(key);
        memset(key->data, (int)whose + 1, key->len);
        key->data[0] = (uint8_t)*name;
        return key;
}

static void opens(struct world *w, const char *mapping, enum whose whose)
{
        struct secret *key = volume_key(whose, mapping);

        boot_pair_take(&w->b, mapping, key);
        secret_free(key);
}

/* A boot that opens both and mounts them. */
static int boots(struct world *w, enum whose oem, enum whose persistent)
{
        w->b.pair = (struct boot_pair){.proven = false};
        w->mounted = (struct data_mounted){.oem = true, .persistent = true};
        w->error = (struct error)ERROR_INIT;
        opens(w, DATA_DM_OEM, oem);
        opens(w, DATA_DM_PERSISTENT, persistent);
        opens(w, "data", THIRD);
        return boot_pair_check(&w->b, &w->mounted, &w->error);
}

static void is_accepted(struct world *w)
{
        uint8_t oem[SHA256_SIZE], persistent[SHA256_SIZE];

        assert_true(w->b.pair.proven && !w->b.pair.refused);
        assert_true(w->mounted.oem && w->mounted.persistent);
        assert_int_equal(pair_read(w->oem_folder, oem, NULL), 1);
        assert_int_equal(pair_read(w->persistent_folder, persistent, NULL), 1);
        assert_memory_equal(oem, persistent, SHA256_SIZE);
}

static void is_refused(struct world *w, int r)
{
        assert_int_equal(r, -EKEYREJECTED);
        assert_non_null(strstr(w->error.text, "do not belong together"));
        assert_int_equal(w->error.class, ERROR_PRECONDITION);
        assert_true(w->b.pair.refused && !w->b.pair.proven);
        assert_false(w->mounted.oem || w->mounted.persistent);
        assert_null(w->b.pair.oem);
        assert_null(w->b.pair.persistent);
}

static void a_pair_stays_one(void **state)
{
        struct world *w = *state;

        for (int i = 0; i < 2; i++) {
                assert_int_equal(boots(w, OURS, OURS), 0);
                is_accepted(w);
        }
}

static void tag_needs_both_keys(void **state)
{
        uint8_t tag[4][SHA256_SIZE];

        (void)state;
        for (unsigned i = 0; i < ARRAY_SIZE(tag); i++) {
                struct secret *oem = volume_key(i & 1, "oem"),
                              *persistent = volume_key(i >> 1, "p");
                struct secret *a = pair_part(oem), *b = pair_part(persistent);

                assert_int_equal(pair_tag(a, b, tag[i]), 0);
                assert_memory_not_equal(a->data, oem->data, SHA256_SIZE);
                for (unsigned k = 0; k < i; k++)
                        assert_memory_not_equal(tag[i], tag[k], SHA256_SIZE);
                secret_free(oem);
                secret_free(persistent);
                secret_free(a);
                secret_free(b);
        }
}

/* What he puts there has no tag, one of his own pair, or a copy of the right one: of no use. */
static void exchanged_volume_is_refused(void **state)
{
        static const struct {
                enum whose oem, persistent;
        } exchanged[] = {{ANOTHER, OURS}, {OURS, ANOTHER}, {ANOTHER, ANOTHER}};
        struct world *w = *state;

        assert_int_equal(boots(w, OURS, OURS), 0);
        for (size_t i = 0; i < ARRAY_SIZE(exchanged); i++) {
                is_refused(w, boots(w, exchanged[i].oem, exchanged[i].persistent));
                assert_int_equal(boots(w, OURS, OURS), 0);
        }
}

static void one_tag_is_enough_to_refuse(void **state)
{
        struct world *w = *state;
        const char *const folders[] = {w->oem_folder, w->persistent_folder};

        for (size_t i = 0; i < ARRAY_SIZE(folders); i++) {
                assert_int_equal(boots(w, OURS, OURS), 0);
                assert_int_equal(pair_forget(folders[i], NULL), 0);
                is_refused(w, i == 0 ? boots(w, ANOTHER, OURS) : boots(w, OURS, ANOTHER));
                /* Nothing was written beside it; and their owner's boot writes what is missing. */
                assert_int_equal(boots(w, OURS, OURS), 0);
                is_accepted(w);
        }
}

static void after_a_reset_the_new_one_is_accepted(void **state)
{
        struct world *w = *state;

        assert_int_equal(boots(w, OURS, OURS), 0);
        assert_int_equal(pair_forget(w->oem_folder, NULL), 0);
        assert_int_equal(pair_forget(w->oem_folder, NULL), 0);
        assert_int_equal(pair_forget(w->persistent_folder, NULL), 0); /* it is new */
        assert_int_equal(boots(w, OURS, ANOTHER), 0);
        is_accepted(w);
        is_refused(w, boots(w, OURS, OURS));
}

static void half_of_it_proves_nothing(void **state)
{
        struct world *w = *state;

        w->mounted = (struct data_mounted){.oem = true};
        opens(w, DATA_DM_OEM, OURS);
        assert_int_equal(boot_pair_check(&w->b, &w->mounted, &w->error), 0);
        assert_true(w->mounted.oem && !w->b.pair.proven && !w->b.pair.refused);
        assert_null(w->b.pair.oem);
        /* Both are mounted, and one was opened by nobody that is known here. */
        w->mounted.persistent = true;
        opens(w, DATA_DM_OEM, OURS);
        assert_int_equal(boot_pair_check(&w->b, &w->mounted, &w->error), -ENOKEY);
        assert_true(!w->mounted.oem && !w->mounted.persistent && w->b.pair.refused);
}

/* In recovery, with nothing to be read of it: it is closed, and oem left to a reset. */
static void unreadable_persistent_is_closed(void **state)
{
        struct world *w = *state;

        w->b.entry.role = ENTRY_ROLE_RECOVERY;
        w->mounted = (struct data_mounted){.oem = true};
        opens(w, DATA_DM_OEM, OURS);
        opens(w, DATA_DM_PERSISTENT, OURS);
        assert_true(boot_pair_check(&w->b, &w->mounted, &w->error) < 0);
        assert_true(w->mounted.oem && !w->b.pair.proven && w->b.pair.refused);
}

static void what_is_no_tag_is_refused(void **state)
{
        static const char *const texts[] = {
                "", "\n", "00\n",
                "zz00000000000000000000000000000000000000000000000000000000000000\n"};
        struct world *w = *state;
        uint8_t tag[SHA256_SIZE];

        assert_int_equal(pair_read(w->oem_folder, tag, NULL), 0);
        assert_int_equal(file_make_dirs(AT_FDCWD, w->oem_folder, 0700), 0);
        for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
                assert_int_equal(file_write_volatile(w->s.fd, "oem/" BOOT_PAIR_OEM "/pair",
                                                     texts[i], strlen(texts[i]), 0600),
                                 0);
                assert_int_equal(pair_read(w->oem_folder, tag, NULL), -EBADMSG);
        }
        assert_int_equal(boots(w, OURS, OURS), -EBADMSG);
        assert_false(w->mounted.oem || w->mounted.persistent);
}

static void no_link_leads_elsewhere(void **state)
{
        struct world *w = *state;
        uint8_t tag[SHA256_SIZE];

        assert_int_equal(boots(w, OURS, OURS), 0);
        assert_int_equal(renameat(w->s.fd, "oem/" BOOT_PAIR_OEM, w->s.fd, "elsewhere"), 0);
        assert_int_equal(symlinkat("../elsewhere", w->s.fd, "oem/" BOOT_PAIR_OEM), 0);
        assert_int_equal(pair_read(w->oem_folder, tag, NULL), -EBADMSG);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(tag_needs_both_keys),
                cmocka_unit_test_setup_teardown(a_pair_stays_one, set_up, tear_down),
                cmocka_unit_test_setup_teardown(exchanged_volume_is_refused, set_up, tear_down),
                cmocka_unit_test_setup_teardown(one_tag_is_enough_to_refuse, set_up, tear_down),
                cmocka_unit_test_setup_teardown(after_a_reset_the_new_one_is_accepted, set_up,
                                                tear_down),
                cmocka_unit_test_setup_teardown(half_of_it_proves_nothing, set_up, tear_down),
                cmocka_unit_test_setup_teardown(unreadable_persistent_is_closed, set_up, tear_down),
                cmocka_unit_test_setup_teardown(what_is_no_tag_is_refused, set_up, tear_down),
                cmocka_unit_test_setup_teardown(no_link_leads_elsewhere, set_up, tear_down),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
