/* SPDX-License-Identifier: Apache-2.0 */
/* The plan in every situation that the lists below can be combined to, and some by themselves. */
#include "tests/unit/slots_run.h"

struct line {
        const char *file;
        uint32_t image; /* 0: torn */
};

#define LINES_MAX 3
struct variant {
        struct line line[LINES_MAX];
        const char *blocked; /* a file that cannot be read */
};

static const struct variant active_variants[] = {
        {.line = {{"active.conf", A}}},
        {.line = {{0}}},
        {.line = {{"active+3-0.conf", B}}},
        {.line = {{"active+2-1.conf", B}}},
        {.line = {{"active+0-3.conf", B}}},
        {.line = {{"active.conf", A}, {"active+3-0.conf", B}}},
        {.line = {{"active.conf", A}, {"active+2-1.conf", B}}},
        {.line = {{"active.conf", A}, {"active+0-3.conf", B}}},
        {.line = {{"active.conf", A}, {"active+2-1.conf", A}}},
        {.line = {{"active+3-0.conf", B}, {"active+2-1.conf", B}}},
        {.line = {{"active.conf", 0}}},
        {.line = {{"active.conf", A}, {"active+3-0.conf", 0}}},
        {.line = {{"active.conf", WORLD_MISSING}}},
        {.line = {{"active.conf", P}}},
        {.line = {{"active.conf", WORLD_FOREIGN}}},
        {.line = {{"active+3-0.conf", A}}, .blocked = "active.conf"},
};

static const struct variant passive_variants[] = {
        {.line = {{"passive.conf", P}}},
        {.line = {{"passive.conf", A}}},
        {.line = {{0}}},
        {.line = {{"passive+3-0.conf", P}}},
        {.line = {{"passive+0-3.conf", P}}},
        {.line = {{"passive.conf", 0}}},
        {.line = {{"passive.conf", WORLD_MISSING}}},
        {.line = {{"passive.conf", P}, {"passive+2-1.conf", Q}}},
};

static const struct variant recovery_variants[] = {
        {.line = {{"recovery.conf", R}}},
        {.line = {{0}}},
        {.line = {{"recovery.conf", A}}},
        {.line = {{"recovery+3-0.conf", R}}},
        {.line = {{"recovery.conf", 0}}},
        {.line = {{"recovery.conf", WORLD_MISSING}}},
        {.line = {{"recovery.conf", R}, {"recovery+0-3.conf", Q}}},
};

struct running {
        enum entry_role role;
        bool confirmed;
};

static const struct running runnings[] = {
        {ENTRY_ROLE_ACTIVE, true},   {ENTRY_ROLE_ACTIVE, false}, {ENTRY_ROLE_PASSIVE, true},
        {ENTRY_ROLE_RECOVERY, true}, {ENTRY_ROLE_NONE, true},
};

/* --- situations ------------------------------------------------------------------------------ */

static void need_image(struct world *w, uint32_t image)
{
        if (image != 0 && image != WORLD_MISSING && image != WORLD_FOREIGN &&
            !world_image(w, image))
                (void)world_add_image(w, image, (uint8_t)image, true);
}

static void put_variant(struct world *w, const struct variant *v, enum entry_role role)
{
        struct entry entry;

        for (size_t i = 0; i < LINES_MAX && v->line[i].file; i++) {
                uint32_t image = v->line[i].image;

                need_image(w, image);
                world_make_entry(image, (uint8_t)image, role, &entry);
                world_set_entry(w, v->line[i].file, image != 0 ? &entry : NULL);
        }
        if (v->blocked) {
                world_set_entry(w, v->blocked, NULL);
                for (size_t i = 0; i < w->n_entries; i++)
                        w->entry[i].blocks = strcmp(w->entry[i].file.file, v->blocked) == 0;
        }
}

/* Entries of others: one that names an image of ours' kind, and one of Kairos. */
static void put_foreign(struct world *w)
{
        struct entry entry;

        need_image(w, F);
        world_make_entry(F, (uint8_t)F, ENTRY_ROLE_NONE, &entry);
        world_set_entry(w, "rescue.conf", &entry);
        world_make_entry(WORLD_FOREIGN, 0, ENTRY_ROLE_NONE, &entry);
        world_set_entry(w, "statereset+3.conf", &entry);
}

/* The rules of the header, told another way. */
static void swear(const struct world *w)
{
        static struct world_view v;
        bool running_good = w->running == ENTRY_ROLE_PASSIVE ||
                            (w->running == ENTRY_ROLE_ACTIVE && w->running_confirmed);
        bool others = false;

        oath = (struct oath){.start = *w};
        oath.selectable = world_select(&oath.start, &v, 257) != NULL;
        for (size_t i = 0; i < v.s.n_entries; i++) {
                const struct entry_file *f = &v.entries[i];

                if (!is_pair(f) || !f->image_present)
                        continue;
                if (running_good && w->running_image != 0 && w->running_image != WORLD_FOREIGN &&
                    world_named(f) == w->running_image)
                        oath.good = w->running_image;
                others = others || !f->name.counted;
        }
        /* Without its name the running image is the one that its role's entry leads to. */
        for (size_t i = 0; i < v.s.n_entries; i++) {
                const struct entry_file *f = &v.entries[i];
                bool unknown = w->running_image == 0 || w->running_image == WORLD_FOREIGN;

                if (running_good && unknown && f->name.role == w->running && f->image_present &&
                    (!f->name.counted || (w->running == ENTRY_ROLE_PASSIVE && oath.good == 0)))
                        oath.good = world_named(f);
        }
        oath.sworn = oath.good;
        oath.has_good = oath.good != 0 || others;
        oath.falls_back = is_fine(&oath.start, fall_back(&v, 257));
}

/* Refused without --force where the header says so, and only there. */
static void check_refusal(struct world *w, int r)
{
        bool unblessed = w->running == ENTRY_ROLE_ACTIVE && !w->running_confirmed;

        if (r == -EPERM && wish->target == ENTRY_ROLE_ACTIVE)
                HOLD(w, NULL, unblessed);
        else if (r == -EPERM)
                HOLD(w, NULL, !oath.has_good);
        else
                HOLD(w, NULL, r == -EKEYREJECTED && wish->known && wish->content == B);
        HOLD(w, NULL, !wish->force);
}

static unsigned long cases, refused, spaceless;

static void try_wish(struct world *w, const struct wish *what)
{
        static struct world end;
        struct memory m = {SLOTS_HAVE_NOTHING, 0};
        struct wish forced;
        int r;

        wish = what;
        swear(w);
        cases++;
        phase = "straight";
        end = *w;
        r = run(&end, &m, -1, false);
        if (r == -ENOSPC) {
                spaceless++;
                return;
        }
        if (r < 0) {
                refused++;
                check_refusal(w, r);
                forced = *what;
                forced.force = true;
                try_wish(w, &forced);
                return;
        }
        HOLD(&end, NULL, r == 1);
        check_end(&end);
        cut_everywhere(&end);
}

static void try_wishes(struct world *w, enum entry_role target)
{
        static const uint8_t contents[] = {1, A, B, P, R, NEW};

        for (size_t i = 0; i < ARRAY_SIZE(contents); i++) {
                uint8_t content = contents[i];
                struct wish what = {.target = target, .content = content, .known = true};

                /* 1 and NEW: nowhere yet, with the lowest and the highest version. */
                if (content != 1 && content != NEW && !world_image(w, content))
                        continue;
                what.hint = i % 2 == 0;
                try_wish(w, &what);
                if (content == NEW || content == A) {
                        what.known = false;
                        what.hint = !what.hint;
                        try_wish(w, &what);
                }
        }
}

/* A confirmed active runs another image than its own entry names: no sequence leads there. */
static bool is_contradicted(struct world *w, uint32_t image)
{
        struct world_entry *e = world_entry(w, "active.conf");

        return e && e->file.valid && e->file.image_present && world_named(&e->file) != image;
}

/* Images that may be the running one: of entries of that role, or (after an upgrade) of passive. */
static void try_running(struct world *w, const struct running *running, enum entry_role target)
{
        uint32_t seen[WORLD_ENTRIES] = {0};
        size_t n = 1; /* unknown comes first */

        for (size_t i = 0; i < w->n_entries; i++) {
                const struct entry_file *f = &w->entry[i].file;

                if (f->name.role == running->role ||
                    (running->role == ENTRY_ROLE_ACTIVE && running->confirmed &&
                     f->name.role == ENTRY_ROLE_PASSIVE && !f->name.counted))
                        seen[n++] = world_named(f);
        }
        for (size_t i = 0; i < n; i++) {
                static struct world own;

                if (i > 0 && (seen[i] == 0 || seen[i] == WORLD_MISSING ||
                              (running->role == ENTRY_ROLE_ACTIVE && running->confirmed &&
                               is_contradicted(w, seen[i]))))
                        continue;
                own = *w;
                own.running = running->role;
                own.running_confirmed = running->confirmed;
                own.running_image = seen[i];
                try_wishes(&own, target);
        }
}

static void make_world(struct world *w, const struct variant *a, const struct variant *p,
                       const struct variant *r)
{
        memset(w, 0, sizeof(*w));
        w->available = 1000;
        put_variant(w, a, ENTRY_ROLE_ACTIVE);
        put_variant(w, p, ENTRY_ROLE_PASSIVE);
        put_variant(w, r, ENTRY_ROLE_RECOVERY);
        put_foreign(w);
}

static void report(const char *what)
{
        print_message("%s: %lu situations, %lu plans, %lu refused, %lu without space\n", what,
                      cases, plans, refused, spaceless);
        assert_true(cases > 1000);
        cases = plans = refused = spaceless = 0;
}

static void test_active(void **state)
{
        static struct world w;

        (void)state;
        for (size_t a = 0; a < ARRAY_SIZE(active_variants); a++)
                for (size_t p = 0; p < ARRAY_SIZE(passive_variants); p++)
                        for (size_t i = 0; i < ARRAY_SIZE(runnings); i++) {
                                /* Which recovery there is matters little: in turn. */
                                make_world(&w, &active_variants[a], &passive_variants[p],
                                           &recovery_variants[(a + p + i) % 3]);
                                try_running(&w, &runnings[i], ENTRY_ROLE_ACTIVE);
                        }
        report("active");
}

static void test_recovery(void **state)
{
        static struct world w;

        (void)state;
        for (size_t a = 0; a < ARRAY_SIZE(active_variants); a++)
                for (size_t r = 0; r < ARRAY_SIZE(recovery_variants); r++)
                        for (size_t i = 0; i < ARRAY_SIZE(runnings); i++) {
                                make_world(&w, &active_variants[a], &passive_variants[(a + i) % 3],
                                           &recovery_variants[r]);
                                try_running(&w, &runnings[i], ENTRY_ROLE_RECOVERY);
                        }
        report("recovery");
}

/* Room for one image, for none but with garbage, and for none at all. */
static void test_space(void **state)
{
        static const uint64_t spaces[] = {WORLD_IMAGE_SIZE, 0, WORLD_IMAGE_SIZE - 1};
        static struct world w;

        (void)state;
        for (size_t a = 0; a < ARRAY_SIZE(active_variants); a++)
                for (size_t p = 0; p < 3; p++)
                        for (size_t k = 0; k < 2 * ARRAY_SIZE(spaces); k++) {
                                make_world(&w, &active_variants[a], &passive_variants[p],
                                           &recovery_variants[0]);
                                w.available = spaces[k / 2];
                                if (k % 2 == 1)
                                        (void)world_add_image(&w, G, (uint8_t)G, false);
                                try_running(&w, &runnings[(a + p + k) % ARRAY_SIZE(runnings)],
                                            k == 1 ? ENTRY_ROLE_RECOVERY : ENTRY_ROLE_ACTIVE);
                        }
        assert_true(spaceless > 100);
        report("space");
}

/* --- single ones ----------------------------------------------------------------------------- */

static struct world one;
static struct slots_plan plan;

static void ordinary(void)
{
        make_world(&one, &active_variants[0], &passive_variants[0], &recovery_variants[0]);
        one.running = ENTRY_ROLE_ACTIVE;
        one.running_confirmed = true;
        one.running_image = A;
}

static int plan_one(const struct slots_wish *what)
{
        static struct world_view v;

        world_look(&one, &v);
        return slots_plan(&v.s, what, &plan, NULL);
}

static void expect_step(unsigned i, enum slots_step_kind kind, const char *file, uint32_t number)
{
        assert_true(i < plan.n);
        assert_int_equal(plan.step[i].kind, kind);
        assert_string_equal(plan.step[i].file, file);
        assert_int_equal(plan.step[i].number, number);
}

/* The everyday upgrade, step by step. */
static void test_everyday(void **state)
{
        struct slots_wish what = {.target = ENTRY_ROLE_ACTIVE, .size = WORLD_IMAGE_SIZE};

        (void)state;
        ordinary();
        (void)world_add_image(&one, G, (uint8_t)G, false);
        assert_int_equal(plan_one(&what), 0);
        assert_int_equal(plan.outcome, SLOTS_CHANGE);
        assert_int_equal(plan.n, 6);
        assert_int_equal(plan.n_room, 1);
        expect_step(0, SLOTS_REMOVE_IMAGE, "", G);
        expect_step(1, SLOTS_ADD_IMAGE, "", 18);
        expect_step(2, SLOTS_SWITCH_ENTRY, "passive.conf", 0);
        assert_string_equal(plan.step[2].from, "active.conf");
        expect_step(3, SLOTS_ADD_ENTRY, "active+3-0.conf", 0);
        assert_true(plan.step[3].of_new_image);
        expect_step(4, SLOTS_REMOVE_ENTRY, "active.conf", 0);
        expect_step(5, SLOTS_REMOVE_IMAGE, "", P);
        assert_string_equal(plan.keep, "EFI/kairos/usi-00000011.efi");
        assert_int_equal(plan.need, WORLD_IMAGE_SIZE);
        assert_int_equal(plan.freed, WORLD_IMAGE_SIZE); /* before it is written */
        /* A partial file is taken up, and not collected. */
        what.have = SLOTS_HAVE_PARTIAL;
        what.number = G;
        assert_int_equal(plan_one(&what), 0);
        assert_int_equal(plan.number, G);
        assert_int_equal(plan.n_room, 0);
        assert_int_equal(plan.need, 0);
        /* One that is named by an entry, or not there, is none. */
        what.number = P;
        assert_int_equal(plan_one(&what), 0);
        assert_int_equal(plan.number, 18);
        what.number = 44;
        assert_int_equal(plan_one(&what), 0);
        assert_int_equal(plan.number, 18);
}

static void test_recovery_copy(void **state)
{
        uint8_t sha[SHA256_SIZE];
        struct slots_wish what = {.target = ENTRY_ROLE_RECOVERY, .sha256 = sha};

        (void)state;
        ordinary();
        world_digest(A, sha);
        assert_int_equal(plan_one(&what), 0);
        assert_true(plan.write && plan.copy);
        assert_int_equal(plan.copy_from, A);
        assert_int_equal(plan.number, 17);
        expect_step(1, SLOTS_SWITCH_ENTRY, "recovery.conf", 0);
        expect_step(2, SLOTS_REMOVE_IMAGE, "", R);
        what.again = true;
        assert_int_equal(plan_one(&what), 0);
        assert_true(plan.write && !plan.copy);
}

static void test_again(void **state)
{
        uint8_t sha[SHA256_SIZE];
        struct slots_wish what = {.target = ENTRY_ROLE_ACTIVE, .sha256 = sha, .again = true};

        (void)state;
        ordinary();
        world_digest(A, sha);
        assert_int_equal(plan_one(&what), 0);
        assert_true(plan.write);
        assert_int_equal(plan.outcome, SLOTS_CHANGE);
        what.again = false;
        assert_int_equal(plan_one(&what), 0);
        assert_int_equal(plan.outcome, SLOTS_NOTHING);
        /* The file is not as long as the image: cut by something, not to be taken. */
        what.size = WORLD_IMAGE_SIZE + 1;
        assert_int_equal(plan_one(&what), 0);
        assert_true(plan.write);
}

/* The digest was found out by loading the image: it is the active one. The copy goes, nothing else
 * does. */
static void test_found_out(void **state)
{
        uint8_t sha[SHA256_SIZE];
        struct slots_wish what = {.target = ENTRY_ROLE_ACTIVE,
                                  .sha256 = sha,
                                  .size = WORLD_IMAGE_SIZE,
                                  .have = SLOTS_HAVE_IMAGE,
                                  .number = 18};

        (void)state;
        ordinary();
        (void)world_add_image(&one, 18, (uint8_t)A, true);
        world_digest(A, sha);
        assert_int_equal(plan_one(&what), 0);
        assert_int_equal(plan.outcome, SLOTS_TIDY);
        assert_int_equal(plan.n, 1);
        expect_step(0, SLOTS_REMOVE_IMAGE, "", 18);
        /* The old file was found damaged: the copy replaces it. */
        what.again = true;
        assert_int_equal(plan_one(&what), 0);
        assert_int_equal(plan.outcome, SLOTS_CHANGE);
        assert_int_equal(plan.number, 18);
}

/* Its last try is running: neither bad nor to be replaced. */
static void test_last_try(void **state)
{
        static const struct variant last = {.line = {{"active+0-3.conf", B}}};
        uint8_t sha[SHA256_SIZE];
        struct slots_wish what = {.target = ENTRY_ROLE_ACTIVE, .sha256 = sha};

        (void)state;
        make_world(&one, &last, &passive_variants[0], &recovery_variants[0]);
        one.running = ENTRY_ROLE_ACTIVE;
        one.running_image = B;
        world_digest(B, sha);
        assert_int_equal(plan_one(&what), 0);
        assert_int_equal(plan.outcome, SLOTS_NOTHING);
        world_digest(NEW, sha);
        assert_int_equal(plan_one(&what), -EPERM);
        /* Once something else runs, it has failed. */
        one.running = ENTRY_ROLE_PASSIVE;
        one.running_image = P;
        one.running_confirmed = true;
        assert_int_equal(plan_one(&what), 0);
        world_digest(B, sha);
        assert_int_equal(plan_one(&what), -EKEYREJECTED);
        what.force = true;
        assert_int_equal(plan_one(&what), 0);
        assert_false(plan.write);
        assert_int_equal(plan.number, B);
}

static void test_numbers(void **state)
{
        struct slots_wish what = {.target = ENTRY_ROLE_ACTIVE};

        (void)state;
        ordinary();
        (void)world_add_image(&one, ENTRY_IMAGE_NUMBER_MAX, 1, true);
        assert_int_equal(plan_one(&what), 0);
        assert_int_equal(plan.number, 1);
        (void)world_add_image(&one, 1, 1, true);
        assert_int_equal(plan_one(&what), 0);
        assert_int_equal(plan.number, 2);
}

static void test_refuses(void **state)
{
        static struct entry_file many[40];
        struct slots_situation s = {.entries = many, .n_entries = ARRAY_SIZE(many)};
        struct slots_wish what = {.target = ENTRY_ROLE_ACTIVE};

        (void)state;
        ordinary();
        what.target = ENTRY_ROLE_PASSIVE;
        assert_int_equal(plan_one(&what), -EINVAL);
        /* An initrd cannot be taken over. */
        what.target = ENTRY_ROLE_ACTIVE;
        for (size_t i = 0; i < one.n_entries; i++)
                one.entry[i].file.entry.key = ENTRY_KEY_LINUX;
        assert_int_equal(plan_one(&what), -EOPNOTSUPP);
        /* More entries than there are steps. */
        for (size_t i = 0; i < ARRAY_SIZE(many); i++) {
                many[i].name.role = i % 2 == 0 ? ENTRY_ROLE_ACTIVE : ENTRY_ROLE_RECOVERY;
                (void)snprintf(many[i].file, sizeof(many[i].file), "active+%zu.conf", i);
        }
        assert_int_equal(slots_plan(&s, &what, &plan, NULL), 0);
        for (size_t i = 0; i < ARRAY_SIZE(many); i++)
                many[i].name.role = ENTRY_ROLE_ACTIVE;
        assert_int_equal(slots_plan(&s, &what, &plan, NULL), 0);
        assert_int_equal(plan.n, 42);
}

#define CASE(f) cmocka_unit_test(f)

int main(void)
{
        const struct CMUnitTest tests[] = {
                CASE(test_everyday),  CASE(test_recovery_copy), CASE(test_again),
                CASE(test_found_out), CASE(test_last_try),      CASE(test_numbers),
                CASE(test_refuses),   CASE(test_active),        CASE(test_recovery),
                CASE(test_space),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
