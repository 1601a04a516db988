/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs of plans on the model of tests/unit/slots_world.h: to the end, cut after every step and in
 * the middle of it, with and without a reboot in between, and run again; the invariants of the
 * design (section 4) are checked after each single step of all these runs.
 */
#pragma once

#include "tests/unit/slots_world.h"

/* Images, by number and content. */
#define A 11u
#define B 12u
#define P 13u
#define Q 14u
#define R 15u
#define F 16u
#define G 17u
#define NEW 50u /* content of an image that is nowhere */

/* --- one run --------------------------------------------------------------------------------- */

/* What is wished, and what is remembered between runs. */
struct wish {
        enum entry_role target;
        uint8_t content;
        bool known; /* the digest is known before the image is there */
        bool hint;  /* the record of partial files survives */
        bool force;
};

/* What held before the first run. */
struct oath {
        struct world start;
        uint32_t good;  /* image that has to stay startable; 0 = any of those that were confirmed */
        uint32_t sworn; /* good before a reboot */
        bool has_good;
        bool falls_back; /* to an image that is good */
        bool selectable;
        bool rebooted; /* counters go down */
};

static const struct wish *wish;
static struct oath oath;
static const char *phase = "";
static unsigned long plans;

static void print_world(const char *title, struct world *w)
{
        (void)fprintf(stderr, "%s: running %s%s image %u, %llu free\n", title,
                      entry_role_name(w->running), w->running_confirmed ? "" : " (unconfirmed)",
                      w->running_image, (unsigned long long)w->available);
        for (size_t i = 0; i < w->n_entries; i++)
                (void)fprintf(stderr, "  %s -> %u\n", w->entry[i].file.file,
                              world_named(&w->entry[i].file));
        for (size_t i = 0; i < w->n_images; i++)
                (void)fprintf(stderr, "  image %u holds %u%s\n", w->image[i].number,
                              w->image[i].content, w->image[i].complete ? "" : " (partial)");
}

static void print_plan(const struct slots_plan *p)
{
        static const char *const names[] = {"add image", "switch", "add", "remove", "remove image"};

        (void)fprintf(stderr, "plan: number %u write %d keep %s room %u\n", p->number, p->write,
                      p->keep, p->n_room);
        for (unsigned i = 0; i < p->n; i++)
                (void)fprintf(stderr, "  %s %s %u from %s\n", names[p->step[i].kind],
                              p->step[i].file, p->step[i].number, p->step[i].from);
}

static void complain(const char *what, struct world *w, const struct slots_plan *p)
{
        (void)fprintf(stderr, "%s: %s\nwish: %s := %u%s%s%s\n", phase, what,
                      entry_role_name(wish->target), wish->content, wish->known ? " known" : "",
                      wish->force ? " forced" : "", wish->hint ? " hint" : "");
        print_world("start", &oath.start);
        print_world("now", w);
        if (p)
                print_plan(p);
        fail_msg("%s", what);
}

#define HOLD(w, p, condition)                                                                      \
        do {                                                                                       \
                if (!(condition))                                                                  \
                        complain(#condition, (w), (p));                                            \
        } while (0)

static bool is_pair(const struct entry_file *f)
{
        return f->name.role == ENTRY_ROLE_ACTIVE || f->name.role == ENTRY_ROLE_PASSIVE;
}

/* A confirmed entry of active or passive named it before the first run. */
static bool was_confirmed(uint32_t image)
{
        for (size_t i = 0; i < oath.start.n_entries; i++) {
                const struct entry_file *f = &oath.start.entry[i].file;

                if (is_pair(f) && !f->name.counted && f->valid && world_named(f) == image &&
                    (image == WORLD_FOREIGN || world_image(&oath.start, image)))
                        return true;
        }
        return false;
}

static bool is_good(uint32_t image)
{
        return oath.good != 0 ? image == oath.good : was_confirmed(image);
}

static bool is_complete(struct world *w, uint32_t image)
{
        struct world_image *i = world_image(w, image);

        return image == WORLD_FOREIGN || (i && i->complete);
}

/* --- the invariants -------------------------------------------------------------------------- */

static bool same_entry(const struct entry_file *a, const struct entry_file *b)
{
        return a->valid == b->valid && memcmp(&a->entry, &b->entry, sizeof(a->entry)) == 0;
}

/* Entries of the other target, and of others, are what they were; their images, too. */
static void check_untouched(struct world *w, const struct slots_plan *p)
{
        for (size_t i = 0; i < oath.start.n_entries; i++) {
                const struct entry_file *f = &oath.start.entry[i].file;
                bool ours = wish->target == ENTRY_ROLE_ACTIVE ? is_pair(f)
                                                              : f->name.role == ENTRY_ROLE_RECOVERY;
                struct world_entry *now;
                uint32_t image = world_named(f);

                if (ours || (oath.rebooted && f->name.counted))
                        continue;
                now = world_entry(w, f->file);
                HOLD(w, p, now && same_entry(&now->file, f));
                if (world_image(&oath.start, image))
                        HOLD(w, p, is_complete(w, image));
        }
}

static void check_images(struct world *w, const struct slots_plan *p)
{
        if (world_image(&oath.start, w->running_image))
                HOLD(w, p, is_complete(w, w->running_image));
        if (oath.good != 0 && oath.good != WORLD_FOREIGN)
                HOLD(w, p, is_complete(w, oath.good));
        for (size_t i = 0; i < w->n_entries; i++) {
                const struct entry_file *f = &w->entry[i].file;
                struct world_entry *before = world_entry(&oath.start, f->file);
                uint32_t image = world_named(f);

                if (!f->valid || (before && same_entry(&before->file, f)))
                        continue;
                HOLD(w, p, is_complete(w, image));
                /* Not counted, active or passive: known to be good. */
                if (is_pair(f) && !f->name.counted)
                        HOLD(w, p,
                             was_confirmed(image) || image == oath.good || image == oath.sworn);
        }
}

/* Every image on trial turns out to be broken: the entry where the machine ends. Changes the view.
 */
static const struct entry_file *fall_back(struct world_view *v, unsigned major)
{
        for (size_t i = 0; i < v->s.n_entries; i++) {
                struct entry_file *f = &v->entries[i];

                if (f->name.counted && is_pair(f))
                        f->name.tries_left = 0;
        }
        return entry_select(v->entries, v->s.n_entries, major);
}

static bool is_fine(struct world *w, const struct entry_file *best)
{
        uint32_t image = best ? world_named(best) : 0;

        return image != 0 && is_pair(best) && is_complete(w, image) &&
               (was_confirmed(image) || image == oath.good || image == oath.sworn);
}

/* A new image is on trial. */
static bool has_trial(struct world *w)
{
        for (size_t i = 0; i < w->n_entries; i++) {
                const struct entry_file *f = &w->entry[i].file;
                struct world_entry *before = world_entry(&oath.start, f->file);

                if (f->name.role == ENTRY_ROLE_ACTIVE && f->name.counted && f->valid &&
                    (!before || !same_entry(&before->file, f)))
                        return true;
        }
        return false;
}

/* When falling back did not lead to a good image before, it has to as soon as one is on trial. */
static void check_fallback(struct world *w, const struct slots_plan *p, struct world_view *v)
{
        bool named = false;

        if (!oath.has_good || (!oath.falls_back && !has_trial(w)))
                return;
        HOLD(w, p, is_fine(w, fall_back(v, 252)));
        HOLD(w, p, is_fine(w, fall_back(v, 257)));
        for (size_t i = 0; i < v->s.n_entries; i++)
                named = named || (is_pair(&v->entries[i]) && v->entries[i].image_present &&
                                  is_good(world_named(&v->entries[i])));
        HOLD(w, p, named);
}

static void check_invariants(struct world *w, const struct slots_plan *p)
{
        static const unsigned majors[] = {252, 257};
        static struct world_view v;

        world_look(w, &v);
        for (size_t i = 0; i < ARRAY_SIZE(majors) && oath.selectable; i++) {
                const struct entry_file *best = entry_select(v.entries, v.s.n_entries, majors[i]);

                HOLD(w, p, best && is_complete(w, world_named(best)));
        }
        if (wish->target == ENTRY_ROLE_ACTIVE)
                check_fallback(w, p, &v);
        check_images(w, p);
        check_untouched(w, p);
}

/* --- carrying out ---------------------------------------------------------------------------- */

static void run_entry_step(struct world *w, const struct slots_plan *p,
                           const struct slots_step *step, bool half)
{
        struct world_entry *old = world_entry(w, step->file);
        struct entry entry;

        HOLD(w, p, step->kind == SLOTS_ADD_ENTRY ? !old : !!old);
        if (step->of_new_image) {
                struct world_image *image = world_image(w, p->number);

                HOLD(w, p, image && image->complete);
                world_make_entry(p->number, image ? image->content : 0, step->role, &entry);
        } else {
                struct world_entry *from = world_entry(w, step->from);

                HOLD(w, p, from && from->file.valid);
                entry = from->file.entry;
                assert_int_equal(entry_set_role(&entry, step->role), 0);
        }
        /* What is there and of use is switched in one write, everything else is made anew. */
        if (!half)
                world_set_entry(w, step->file, &entry);
        else if (!old || !old->file.valid)
                world_set_entry(w, step->file, NULL);
}

static void run_remove_entry(struct world *w, const struct slots_plan *p,
                             const struct slots_step *step)
{
        static struct world_view v;
        bool other = false, self = false;

        HOLD(w, p, world_entry(w, step->file) != NULL);
        world_look(w, &v);
        for (size_t i = 0; i < v.s.n_entries; i++) {
                bool is = strcmp(v.entries[i].file, step->file) == 0;

                self = self || (is && v.entries[i].image_present);
                other = other || (!is && v.entries[i].image_present);
        }
        HOLD(w, p, other || !self); /* esp_remove() would refuse the last one */
        world_drop_entry(w, step->file);
}

static void run_step(struct world *w, const struct slots_plan *p, const struct slots_step *step,
                     bool half)
{
        switch (step->kind) {
        case SLOTS_ADD_IMAGE:
                HOLD(w, p, !world_is_named(w, p->number) || !world_image(w, p->number));
                if (!world_image(w, p->number)) {
                        HOLD(w, p, w->available >= WORLD_IMAGE_SIZE);
                        w->available -= WORLD_IMAGE_SIZE;
                }
                (void)world_add_image(w, p->number, wish->content, !half);
                return;
        case SLOTS_SWITCH_ENTRY:
        case SLOTS_ADD_ENTRY:
                run_entry_step(w, p, step, half);
                return;
        case SLOTS_REMOVE_ENTRY:
                if (!half)
                        run_remove_entry(w, p, step);
                return;
        case SLOTS_REMOVE_IMAGE:
                HOLD(w, p, step->number != w->running_image);
                if (!half && !world_is_named(w, step->number))
                        world_drop_image(w, step->number);
                return;
        }
}

/* What a run remembers of the file it works on. */
struct memory {
        enum slots_have have;
        uint32_t number;
};

static int plan_now(struct world *w, const struct memory *m, struct slots_plan *ret)
{
        static struct world_view v;
        uint8_t sha[SHA256_SIZE];
        struct slots_wish s = {.target = wish->target,
                               .size = WORLD_IMAGE_SIZE,
                               .have = m->have,
                               .number = m->number,
                               .force = wish->force};

        world_digest(wish->content, sha);
        if (wish->known || m->have == SLOTS_HAVE_IMAGE)
                s.sha256 = sha;
        world_look(w, &v);
        plans++;
        return slots_plan(&v.s, &s, ret, NULL);
}

/*
 * The whole way, as the agent goes it. Stops before step `cut` (counted over both plans), having
 * done it half when asked. 1 when it came to the end, 0 when cut, or a refusal.
 */
static int run(struct world *w, struct memory *m, int cut, bool half)
{
        static struct slots_plan p;
        int done = 0;

        for (int round = 0; round < 2; round++) {
                int r = plan_now(w, m, &p);
                bool again = false;

                if (r < 0)
                        return r;
                if (slots_check_space(&p, NULL) < 0)
                        return -ENOSPC;
                for (unsigned i = 0; i < p.n && !again; i++, done++) {
                        bool image = p.step[i].kind == SLOTS_ADD_IMAGE;

                        if (image)
                                *m = (struct memory){SLOTS_HAVE_PARTIAL, p.number};
                        if (done == cut) {
                                if (half)
                                        run_step(w, &p, &p.step[i], true);
                                check_invariants(w, &p);
                                return 0;
                        }
                        run_step(w, &p, &p.step[i], false);
                        if (image)
                                *m = (struct memory){SLOTS_HAVE_IMAGE, p.number};
                        check_invariants(w, &p);
                        again = image; /* now the digest is known: plan once more */
                }
                if (!again)
                        return 1;
        }
        complain("an image is written twice", w, &p);
        return 0;
}

/* --- ends ------------------------------------------------------------------------------------ */

static uint8_t content_of(struct world *w, const struct entry_file *f)
{
        uint32_t image = world_named(f);
        struct world_image *i = world_image(w, image);

        return i ? i->content : (uint8_t)image;
}

static void check_end(struct world *w)
{
        static struct slots_plan p;
        static struct world_view v;
        struct memory m = {SLOTS_HAVE_NOTHING, 0};
        unsigned n = 0;

        check_invariants(w, NULL);
        world_look(w, &v);
        for (size_t i = 0; i < v.s.n_entries; i++) {
                const struct entry_file *f = &v.entries[i];

                if (f->name.role != wish->target || !f->image_present)
                        continue;
                if (content_of(w, f) == wish->content)
                        n++;
                else /* what the confirmation of a running trial replaces may stay until then */
                        HOLD(w, NULL,
                             f->name.role == ENTRY_ROLE_ACTIVE && !f->name.counted &&
                                     w->running == ENTRY_ROLE_ACTIVE && !w->running_confirmed);
        }
        HOLD(w, NULL, n >= 1);
        /* Once more: nothing. */
        if (wish->known) {
                HOLD(w, NULL, plan_now(w, &m, &p) == 0);
                HOLD(w, &p, p.outcome == SLOTS_NOTHING && p.n == 0 && !p.write);
        }
}

static bool is_blocked(const struct world *w)
{
        for (size_t i = 0; i < w->n_entries; i++) {
                if (w->entry[i].blocks)
                        return true;
        }
        return false;
}

/* The image is there already, and only loading it tells. */
static bool is_found_out(void)
{
        for (size_t i = 0; i < oath.start.n_entries; i++) {
                const struct entry_file *f = &oath.start.entry[i].file;

                if (f->name.role == wish->target && f->valid &&
                    content_of(&oath.start, f) == wish->content)
                        return !wish->known;
        }
        return false;
}

/*
 * The same entries lead to the same contents, and the same contents are stored. How often is
 * another matter: what passive shared with recovery gets a file of its own when it is taken up
 * anew. While an entry cannot be read no image is deleted. Whether room had to be made before it
 * was found out that none was needed shows in passive.
 */
static bool same_end(struct world *a, struct world *b)
{
        bool in_a[256] = {0}, in_b[256] = {0}, found_out = is_found_out();

        if (a->n_entries != b->n_entries && !found_out)
                return false;
        for (size_t i = 0; i < a->n_entries; i++) {
                const struct entry_file *f = &a->entry[i].file;
                struct world_entry *other = world_entry(b, f->file);

                if (found_out && f->name.role == ENTRY_ROLE_PASSIVE)
                        continue;
                if (!other || other->file.valid != f->valid ||
                    content_of(a, f) != content_of(b, &other->file))
                        return false;
        }
        for (size_t i = 0; i < a->n_images; i++)
                in_a[a->image[i].content] = true;
        for (size_t i = 0; i < b->n_images; i++)
                in_b[b->image[i].content] = true;
        return is_blocked(a) || found_out || memcmp(in_a, in_b, sizeof(in_a)) == 0;
}

/* The next run knows the file at most, and not that it was verified. */
static struct memory remembered(const struct memory *before)
{
        struct memory m = *before;

        if (!wish->hint)
                m.have = SLOTS_HAVE_NOTHING;
        else if (m.have == SLOTS_HAVE_IMAGE)
                m.have = SLOTS_HAVE_PARTIAL;
        return m;
}

/* image 0: of any image. */
static bool has_confirmed(struct world *w, uint32_t image)
{
        for (size_t i = 0; i < w->n_entries; i++) {
                const struct entry_file *f = &w->entry[i].file;

                if (is_pair(f) && !f->name.counted && f->image_present &&
                    (image == 0 || world_named(f) == image))
                        return true;
        }
        return false;
}

static void finish_after_cut(struct world *w, const struct memory *before, struct world *end)
{
        static struct world again;
        struct memory m = remembered(before);
        int r;

        again = *w;
        r = run(&again, &m, -1, false);
        /* An image of which nobody knows that it is there already needs room once more, and so does
         * one that cannot be taken up because an entry that cannot be read may name it. */
        HOLD(&again, NULL, r == 1 || (r == -ENOSPC && (!wish->known || is_blocked(&again))));
        if (r < 0)
                return;
        check_end(&again);
        HOLD(&again, NULL, same_end(&again, end));
}

/* The node comes up again, with what its boot loader takes, and the job is run once more. */
static void finish_after_reboot(struct world *w, const struct memory *before, unsigned major)
{
        static struct world again;
        const bool has_good = oath.has_good;
        struct memory m = remembered(before);
        int r;

        again = *w;
        world_boot(&again, major);
        oath.rebooted = true;
        /* A confirmed one that runs now is as good as what ran before, of which no more is known
         * than the entries say. */
        if (again.running == ENTRY_ROLE_PASSIVE ||
            (oath.good != 0 && again.running_confirmed && was_confirmed(again.running_image)))
                oath.good = again.running_image;
        else if (!has_confirmed(&again, oath.good))
                oath.good = 0;
        oath.has_good = oath.good != 0 || has_confirmed(&again, 0);
        check_invariants(&again, NULL);
        r = run(&again, &m, -1, false);
        /* An active image on trial may refuse another one, and a space that is gone is gone. */
        HOLD(&again, NULL,
             r == 1 ||
                     (r == -EPERM && again.running == ENTRY_ROLE_ACTIVE &&
                      !again.running_confirmed) ||
                     r == -ENOSPC || r == -EKEYREJECTED || r == -EPERM);
        check_invariants(&again, NULL);
        if (r == 1)
                check_end(&again);
        oath.good = oath.sworn;
        oath.has_good = has_good;
        oath.rebooted = false;
}

static void cut_everywhere(struct world *end)
{
        static struct world w;

        for (int cut = 0; cut < 64; cut++) {
                bool finished = false;

                for (int half = 0; half < 2; half++) {
                        struct memory m = {SLOTS_HAVE_NOTHING, 0};

                        w = oath.start;
                        phase = half ? "cut in the middle" : "cut";
                        finished = run(&w, &m, cut, half != 0) == 1;
                        if (finished)
                                break;
                        phase = half ? "again after half" : "again after cut";
                        finish_after_cut(&w, &m, end);
                        phase = "reboot after cut";
                        if (oath.selectable) {
                                finish_after_reboot(&w, &m, 252);
                                finish_after_reboot(&w, &m, 257);
                        }
                }
                if (finished)
                        return;
        }
        complain("it never ends", &w, NULL);
}
