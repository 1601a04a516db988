/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Why the steps come in this order. The known good image gets its passive entry before anything
 * names the new image: so whenever the new one can be started, falling back leads to the good one,
 * also when the power goes and the node comes up on trial in the middle of this. Only when the new
 * entry is durable the old active ones go, the confirmed one last; until then both exist, and which
 * one the boot loader prefers (by version) does not matter: one is good, the other complete,
 * verified and counted. Images go when no entry names them any more.
 */
#include "upgrade/slots.h"

#include <stdio.h>
#include <string.h>

#include "base/limits.h"
#include "base/num.h"

/* Steps before the image; the others must find room behind them. */
#define ROOM_STEPS_MAX (SLOTS_STEPS_MAX / 2)

#define PASSIVE_FILE "passive.conf"
#define RECOVERY_FILE "recovery.conf"

struct planner {
        const struct slots_situation *s;
        const struct slots_wish *w;
        struct slots_plan *plan;
        const struct entry_file *keep;  /* an entry of the known good image */
        const struct entry_file *final; /* one that gives the new image its role already */
        bool passive_done;
        bool room_made;                   /* what goes later comes too late for the image */
        bool moved[LIMIT_LOADER_ENTRIES]; /* removed or switched by a step */
        bool collected[LIMIT_ESP_FILES];
        bool overflow;
        struct slots_step nowhere; /* what does not fit */
};

/* --- entries --------------------------------------------------------------------------------- */

static bool is_usable(const struct entry_file *f)
{
        return f->valid && f->image_present;
}

static bool is_confirmed(const struct entry_file *f)
{
        return is_usable(f) && !f->name.counted;
}

static bool names_path(const struct entry_file *f, const char *path)
{
        char own[PATH_MAX];

        return f->valid && entry_image_path(&f->entry, own) == 0 && strcasecmp(own, path) == 0;
}

/* Number of an image file of ours that the entry names, in any case of letters, as on FAT; false
 * for any other. */
static bool image_number(const struct entry_file *f, uint32_t *ret)
{
        const size_t dir = strlen(ESP_IMAGE_DIR "/");
        char path[PATH_MAX];

        if (!f->valid || entry_image_path(&f->entry, path) < 0 ||
            strncasecmp(path, ESP_IMAGE_DIR "/", dir) != 0)
                return false;
        for (char *p = path + dir; *p; p++)
                *p = (char)tolower((unsigned char)*p);
        return entry_image_name_parse(path + dir, ret) == 0;
}

static bool names_number(const struct entry_file *f, uint32_t number)
{
        uint32_t own;

        return image_number(f, &own) && own == number;
}

static bool names_running(const struct planner *p, const struct entry_file *f)
{
        char path[IMAGE_PATH_SIZE];

        if (!p->s->running_image[0])
                return false;
        (void)snprintf(path, sizeof(path), "%s/%s", ESP_IMAGE_DIR, p->s->running_image);
        return names_path(f, path);
}

/* The running system was started from it; without the name of its image that is a guess. */
static bool is_running(const struct planner *p, const struct entry_file *f)
{
        if (f->name.role != p->s->running)
                return false;
        if (p->s->running_image[0])
                return names_running(p, f);
        return p->s->running_confirmed ? !f->name.counted
                                       : f->name.counted && f->name.tries_done > 0;
}

/* Its tries are used up, and it does not run its last one. */
static bool is_bad(const struct planner *p, const struct entry_file *f)
{
        return f->name.counted && f->name.tries_left == 0 && !is_running(p, f);
}

static bool has_digest(const struct planner *p, const struct entry_file *f)
{
        return p->w->sha256 && f->valid && f->entry.has_sha256 &&
               memcmp(f->entry.sha256, p->w->sha256, SHA256_SIZE) == 0;
}

static const struct entry_file *find_file(const struct planner *p, const char *file)
{
        for (size_t i = 0; i < p->s->n_entries; i++) {
                if (strcasecmp(p->s->entries[i].file, file) == 0)
                        return &p->s->entries[i];
        }
        return NULL;
}

typedef bool entry_test(const struct planner *p, const struct entry_file *f);

static const struct entry_file *find_entry(const struct planner *p, enum entry_role role,
                                           entry_test *test)
{
        for (size_t i = 0; i < p->s->n_entries; i++) {
                const struct entry_file *f = &p->s->entries[i];

                if (f->name.role == role && test(p, f))
                        return f;
        }
        return NULL;
}

static const struct esp_image *find_image(const struct planner *p, uint32_t number)
{
        for (size_t i = 0; i < p->s->n_images; i++) {
                if (p->s->images[i].number == number)
                        return &p->s->images[i];
        }
        return NULL;
}

/* --- which image is good --------------------------------------------------------------------- */

static bool test_confirmed(const struct planner *p, const struct entry_file *f)
{
        (void)p;
        return is_confirmed(f);
}

static bool test_usable(const struct planner *p, const struct entry_file *f)
{
        (void)p;
        return is_usable(f);
}

static bool test_confirmed_running(const struct planner *p, const struct entry_file *f)
{
        return is_confirmed(f) && names_running(p, f);
}

static bool test_usable_running(const struct planner *p, const struct entry_file *f)
{
        return is_usable(f) && names_running(p, f);
}

/* The first that there is, of roles and tests in order of preference. */
struct preference {
        enum entry_role role;
        entry_test *test;
};

static const struct entry_file *find_preferred(const struct planner *p,
                                               const struct preference *list, size_t n)
{
        for (size_t i = 0; i < n; i++) {
                const struct entry_file *f = find_entry(p, list[i].role, list[i].test);

                if (f)
                        return f;
        }
        return NULL;
}

/* An entry of the image that runs and is known to work. */
static const struct entry_file *find_good_running(const struct planner *p)
{
        static const struct preference by_image[] = {
                {ENTRY_ROLE_PASSIVE, test_confirmed_running},
                {ENTRY_ROLE_ACTIVE, test_confirmed_running},
                {ENTRY_ROLE_PASSIVE, test_usable_running},
                {ENTRY_ROLE_ACTIVE, test_usable_running},
        };
        bool passive = p->s->running == ENTRY_ROLE_PASSIVE;

        if (!passive && (p->s->running != ENTRY_ROLE_ACTIVE || !p->s->running_confirmed))
                return NULL;
        if (p->s->running_image[0])
                return find_preferred(p, by_image, ARRAY_SIZE(by_image));
        if (!passive)
                return find_entry(p, ENTRY_ROLE_ACTIVE, test_confirmed);
        return find_entry(p, ENTRY_ROLE_PASSIVE, test_confirmed)
                       ?: find_entry(p, ENTRY_ROLE_PASSIVE, test_usable);
}

/*
 * Passive before active: when an image is on trial, passive was given the good one before it could
 * be started, and a confirmed active that is still beside it may be the one that somebody ran away
 * from.
 */
static const struct entry_file *find_keep(const struct planner *p)
{
        return find_good_running(p) ?: find_entry(p, ENTRY_ROLE_PASSIVE, test_confirmed)
                                    ?: find_entry(p, ENTRY_ROLE_ACTIVE, test_confirmed);
}

/* --- which file the new image is ------------------------------------------------------------- */

static uint32_t fresh_number(const struct planner *p)
{
        uint32_t last = 0, number;

        for (size_t i = 0; i < p->s->n_images; i++)
                last = p->s->images[i].number > last ? p->s->images[i].number : last;
        for (size_t i = 0; i < p->s->n_entries; i++) {
                if (image_number(&p->s->entries[i], &number) && number > last)
                        last = number;
        }
        if (last < ENTRY_IMAGE_NUMBER_MAX)
                return last + 1;
        /* After a hundred million images: the lowest gap. There are fewer files than numbers. */
        for (number = 1; find_image(p, number); number++)
                ;
        return number;
}

/* It leads to the new image, whole as far as its size tells. */
static bool test_equal(const struct planner *p, const struct entry_file *f)
{
        const struct esp_image *image;
        uint32_t number;

        if (!is_usable(f) || !has_digest(p, f) || !image_number(f, &number))
                return false;
        image = find_image(p, number);
        return image && (p->w->size == 0 || image->size == p->w->size);
}

static bool test_equal_confirmed(const struct planner *p, const struct entry_file *f)
{
        return is_confirmed(f) && test_equal(p, f);
}

static bool test_equal_promising(const struct planner *p, const struct entry_file *f)
{
        return !is_bad(p, f) && test_equal(p, f);
}

/*
 * Active and passive may share a file; recovery has one of its own, so that one bad spot of the
 * disk does not take everything.
 */
static const struct entry_file *find_equal(const struct planner *p, bool of_recovery)
{
        static const struct preference pair[] = {
                {ENTRY_ROLE_ACTIVE, test_equal_confirmed},
                {ENTRY_ROLE_ACTIVE, test_equal_promising},
                {ENTRY_ROLE_PASSIVE, test_equal},
                {ENTRY_ROLE_ACTIVE, test_equal},
        };
        static const struct preference recovery[] = {
                {ENTRY_ROLE_RECOVERY, test_equal_promising},
                {ENTRY_ROLE_RECOVERY, test_equal},
        };

        return of_recovery ? find_preferred(p, recovery, ARRAY_SIZE(recovery))
                           : find_preferred(p, pair, ARRAY_SIZE(pair));
}

/* An entry that gives the new image its role already, with whichever file. */
static const struct entry_file *find_done(const struct planner *p)
{
        if (p->w->again)
                return NULL;
        return find_entry(p, p->w->target, test_equal_confirmed)
                       ?: find_entry(p, p->w->target, test_equal_promising);
}

static void choose_image(struct planner *p)
{
        bool recovery = p->w->target == ENTRY_ROLE_RECOVERY;
        const struct esp_image *own =
                p->w->have == SLOTS_HAVE_NOTHING ? NULL : find_image(p, p->w->number);
        const struct entry_file *equal = p->w->again ? NULL : find_equal(p, recovery);
        struct slots_plan *plan = p->plan;

        if (own && p->w->have == SLOTS_HAVE_IMAGE) {
                const struct entry_file *done = find_done(p);

                /* Written before its digest was known, and needed by nobody. */
                if (!done || !image_number(done, &plan->number))
                        plan->number = own->number;
                return;
        }
        if (equal && image_number(equal, &plan->number))
                return;
        plan->write = true;
        plan->number = own && !own->named ? own->number : fresh_number(p);
        equal = p->w->again ? NULL : find_equal(p, !recovery);
        plan->copy = equal && image_number(equal, &plan->copy_from);
}

static bool names_new(const struct planner *p, const struct entry_file *f)
{
        return names_number(f, p->plan->number);
}

static bool test_new_confirmed(const struct planner *p, const struct entry_file *f)
{
        return is_confirmed(f) && names_new(p, f);
}

static bool test_new_promising(const struct planner *p, const struct entry_file *f)
{
        return is_usable(f) && !is_bad(p, f) && names_new(p, f);
}

static const struct entry_file *find_final(const struct planner *p)
{
        if (p->plan->write)
                return NULL;
        return find_entry(p, p->w->target, test_new_confirmed)
                       ?: find_entry(p, p->w->target, test_new_promising);
}

/* --- steps ----------------------------------------------------------------------------------- */

static struct slots_step *push(struct planner *p, enum slots_step_kind kind)
{
        struct slots_step *step = &p->nowhere;

        if (p->plan->n < SLOTS_STEPS_MAX)
                step = &p->plan->step[p->plan->n++];
        else
                p->overflow = true;
        memset(step, 0, sizeof(*step));
        step->kind = kind;
        return step;
}

static void mark_moved(struct planner *p, const struct entry_file *f)
{
        if (f)
                p->moved[f - p->s->entries] = true;
}

/* from NULL: the new image. */
static void push_entry(struct planner *p, const char *file, enum entry_role role,
                       const struct entry_file *from)
{
        const struct entry_file *there = find_file(p, file);
        struct slots_step *step;

        if (there && p->moved[there - p->s->entries])
                there = NULL; /* removed by an earlier step */
        step = push(p, there ? SLOTS_SWITCH_ENTRY : SLOTS_ADD_ENTRY);

        (void)snprintf(step->file, sizeof(step->file), "%s", there ? there->file : file);
        step->role = role;
        step->of_new_image = !from;
        if (from)
                (void)snprintf(step->from, sizeof(step->from), "%s", from->file);
        mark_moved(p, there);
}

static void push_remove(struct planner *p, const struct entry_file *f)
{
        struct slots_step *step = push(p, SLOTS_REMOVE_ENTRY);

        (void)snprintf(step->file, sizeof(step->file), "%s", f->file);
        step->role = f->name.role;
        mark_moved(p, f);
}

/*
 * While the new image runs on trial, two kinds of entries beside it are not the plan's to remove: a
 * twin of it, which a confirmation or its withdrawal left, and a confirmed active, which may be the
 * only way back. The confirmation replaces them.
 */
static bool awaits_confirmation(const struct planner *p, const struct entry_file *f)
{
        return p->final && !p->s->running_confirmed && is_running(p, p->final) && is_usable(f) &&
               (!f->name.counted || names_new(p, f));
}

/* Removes the entries of a role but one: first those that lead nowhere, the confirmed one last. */
static void push_remove_others(struct planner *p, enum entry_role role, const char *but)
{
        for (unsigned rank = 0; rank < 3; rank++) {
                for (size_t i = 0; i < p->s->n_entries; i++) {
                        const struct entry_file *f = &p->s->entries[i];
                        unsigned own = is_confirmed(f) ? 2 : is_usable(f) ? 1 : 0;

                        if (f->name.role == role && own == rank && !p->moved[i] &&
                            strcasecmp(f->file, but) != 0 &&
                            (role != ENTRY_ROLE_ACTIVE || !awaits_confirmation(p, f)))
                                push_remove(p, f);
                }
        }
}

/* --- collecting ------------------------------------------------------------------------------ */

/*
 * An entry that the plan leaves alone names the image, or may name it for not being readable, or
 * something does that the plan does not know.
 */
static bool is_named(const struct planner *p, const struct esp_image *image)
{
        bool known = false;

        for (size_t i = 0; i < p->s->n_entries; i++) {
                const struct entry_file *f = &p->s->entries[i];

                if (!f->unreadable && !names_number(f, image->number))
                        continue;
                if (!p->moved[i])
                        return true;
                known = true;
        }
        return image->named && !known;
}

/* Images that stay whether they are named or not. */
static bool is_protected(const struct planner *p, const struct esp_image *image)
{
        return image->number == p->plan->number ||
               strcasecmp(image->file, p->s->running_image) == 0 ||
               (p->keep && names_number(p->keep, image->number));
}

static void collect(struct planner *p, unsigned max)
{
        for (size_t i = 0; i < p->s->n_images && p->plan->n < max; i++) {
                const struct esp_image *image = &p->s->images[i];
                uint64_t size;

                if (p->collected[i] || is_protected(p, image) || is_named(p, image))
                        continue;
                p->collected[i] = true;
                push(p, SLOTS_REMOVE_IMAGE)->number = image->number;
                if (!p->room_made &&
                    align_up_u64(image->size, p->s->space.cluster ?: 1, &size) == 0)
                        p->plan->freed += size;
        }
}

/* --- active ---------------------------------------------------------------------------------- */

static bool names_keep(const struct planner *p, const struct entry_file *f)
{
        char path[PATH_MAX];

        return entry_image_path(&p->keep->entry, path) == 0 && names_path(f, path);
}

static bool test_other_confirmed(const struct planner *p, const struct entry_file *f)
{
        return is_confirmed(f) && !names_keep(p, f);
}

/* passive.conf has to be made the entry of the good image. */
static bool needs_passive_entry(const struct planner *p)
{
        const struct entry_file *f = find_file(p, PASSIVE_FILE);

        return !f || !is_usable(f) || !names_keep(p, f);
}

/* Nothing is known to be good, or it is to become active again: the one behind it may stay. */
static bool leaves_passive(const struct planner *p)
{
        return !p->keep ||
               (names_new(p, p->keep) && find_entry(p, ENTRY_ROLE_PASSIVE, test_other_confirmed));
}

static void push_passive(struct planner *p)
{
        if (leaves_passive(p) || p->passive_done)
                return;
        if (needs_passive_entry(p))
                push_entry(p, PASSIVE_FILE, ENTRY_ROLE_PASSIVE, p->keep);
        push_remove_others(p, ENTRY_ROLE_PASSIVE, PASSIVE_FILE);
        p->passive_done = true;
}

/* Entries of images that are replaced anyway and prove nothing: bad, broken, or never confirmed. */
static void push_early_removals(struct planner *p)
{
        for (size_t i = 0; i < p->s->n_entries; i++) {
                const struct entry_file *f = &p->s->entries[i];

                if (f->name.role == ENTRY_ROLE_ACTIVE && !is_confirmed(f) && !p->moved[i] &&
                    !names_running(p, f) && !is_running(p, f) && !names_keep(p, f))
                        push_remove(p, f);
        }
}

static bool fits(const struct slots_plan *plan)
{
        uint64_t sum;

        return add_u64(plan->available, plan->freed, &sum) < 0 || plan->need <= sum;
}

/* Where that is what it takes: the early way, else everything stays until it is replaced. */
static int squeeze(struct planner *p, struct error *e)
{
        _cleanup_free_ struct planner *try = malloc(sizeof(*try));
        _cleanup_free_ struct slots_plan *plan = malloc(sizeof(*plan));

        if (!try || !plan)
                return error_oom(e);
        *try = *p;
        *plan = *p->plan;
        try->plan = plan;
        push_passive(try);
        push_early_removals(try);
        collect(try, ROOM_STEPS_MAX);
        if (!fits(plan) || try->overflow || plan->n > ROOM_STEPS_MAX) {
                p->plan->freed = plan->freed; /* what could be had, for the message */
                return 0;
        }
        *p->plan = *plan;
        try->plan = p->plan;
        *p = *try;
        return 0;
}

static int make_room(struct planner *p, struct error *e)
{
        struct slots_plan *plan = p->plan;
        const struct esp_image *own = find_image(p, plan->number);
        uint64_t size = 0, done = 0;
        int r = 0;

        plan->available = p->s->space.available;
        if (!plan->write)
                return 0;
        if (align_up_u64(p->w->size, p->s->space.cluster ?: 1, &size) < 0)
                return error_set(e, ERROR_REFUSED, EFBIG, "the image is too large");
        /* A copy begins anew. */
        if (own && align_up_u64(own->size, p->s->space.cluster ?: 1, &done) < 0)
                done = 0;
        plan->need = size > done ? size - done : 0;
        collect(p, ROOM_STEPS_MAX);
        if (!fits(plan) && p->w->target == ENTRY_ROLE_ACTIVE && p->keep)
                r = squeeze(p, e);
        plan->n_room = plan->n;
        p->room_made = true;
        push(p, SLOTS_ADD_IMAGE)->number = plan->number;
        return r;
}

static int refuse_unblessed(struct error *e)
{
        error_set(e, ERROR_BUSY, EPERM,
                  "the running system is not confirmed yet, its predecessor is all that is known "
                  "to be good");
        error_advise(e, "wait until its boot is confirmed (tb-agent bless), or use --force");
        return -EPERM;
}

static bool test_failed(const struct planner *p, const struct entry_file *f)
{
        return is_bad(p, f) && has_digest(p, f);
}

static bool test_good_digest(const struct planner *p, const struct entry_file *f)
{
        return is_confirmed(f) && has_digest(p, f);
}

static int check_failed(const struct planner *p, struct error *e)
{
        const struct entry_file *f = find_entry(p, ENTRY_ROLE_ACTIVE, test_failed);

        if (!f || find_entry(p, ENTRY_ROLE_PASSIVE, test_good_digest) ||
            find_entry(p, ENTRY_ROLE_ACTIVE, test_good_digest))
                return 0;
        error_set(e, ERROR_PRECONDITION, EKEYREJECTED,
                  "this very image failed on this node: all its tries are used up (%s)", f->file);
        error_advise(e, "take another image, or use --force to try this one again");
        return -EKEYREJECTED;
}

/* An entry of kind "linux" has an initrd that an entry of ours cannot name. */
static int check_movable(const struct planner *p, struct error *e)
{
        if (leaves_passive(p) || !needs_passive_entry(p) || p->keep->entry.key != ENTRY_KEY_LINUX)
                return 0;
        error_set(e, ERROR_PRECONDITION, EOPNOTSUPP,
                  "boot entry %s of the running system does not name a unified image",
                  p->keep->file);
        error_advise(e,
                     "install this node anew, or boot its recovery entry and upgrade from there");
        return -EOPNOTSUPP;
}

static void plan_active(struct planner *p)
{
        const struct entry_name name = {.base = "active",
                                        .role = ENTRY_ROLE_ACTIVE,
                                        .counted = true,
                                        .tries_left = SLOTS_TRIES};
        char file[NAME_MAX + 1] = "";

        push_passive(p);
        if (p->final) {
                push_remove_others(p, ENTRY_ROLE_ACTIVE, p->final->file);
                return;
        }
        if (entry_name_format(&name, file) < 0)
                return; /* cannot be */
        push_entry(p, file, ENTRY_ROLE_ACTIVE, NULL);
        push_remove_others(p, ENTRY_ROLE_ACTIVE, file);
}

static int check_active(const struct planner *p, struct error *e)
{
        int r = 0;

        if (!p->final && !p->w->force) {
                if (p->s->running == ENTRY_ROLE_ACTIVE && !p->s->running_confirmed)
                        r = refuse_unblessed(e);
                if (r == 0)
                        r = check_failed(p, e);
        }
        return r < 0 ? r : check_movable(p, e);
}

/* --- recovery -------------------------------------------------------------------------------- */

static int check_recovery(const struct planner *p, struct error *e)
{
        if (p->final || p->w->force)
                return 0;
        /* Never started, the new one proves nothing: something that did has to remain. */
        if (!p->keep && find_entry(p, ENTRY_ROLE_RECOVERY, test_usable)) {
                error_set(e, ERROR_PRECONDITION, EPERM,
                          "the recovery image is the only one known to be good");
                error_advise(e, "upgrade active first and let it be confirmed, or use --force");
                return -EPERM;
        }
        return check_failed(p, e);
}

static void plan_recovery(struct planner *p)
{
        if (!p->final)
                push_entry(p, RECOVERY_FILE, ENTRY_ROLE_RECOVERY, NULL);
        push_remove_others(p, ENTRY_ROLE_RECOVERY, p->final ? p->final->file : RECOVERY_FILE);
}

/* --- the plan -------------------------------------------------------------------------------- */

static enum slots_outcome judge(const struct planner *p)
{
        if (p->plan->n == 0)
                return SLOTS_NOTHING;
        for (unsigned i = 0; i < p->plan->n; i++) {
                if (p->plan->step[i].kind != SLOTS_REMOVE_IMAGE)
                        return SLOTS_CHANGE;
        }
        return SLOTS_TIDY;
}

static int plan_all(struct planner *p, struct error *e)
{
        bool recovery = p->w->target == ENTRY_ROLE_RECOVERY;
        int r;

        p->keep = find_keep(p);
        choose_image(p);
        p->final = find_final(p);
        if (p->keep && entry_image_path(&p->keep->entry, p->plan->keep) < 0)
                p->plan->keep[0] = '\0';
        r = recovery ? check_recovery(p, e) : check_active(p, e);
        if (r == 0)
                r = make_room(p, e);
        if (r < 0)
                return r;
        if (recovery)
                plan_recovery(p);
        else
                plan_active(p);
        if (p->overflow)
                return error_set(e, ERROR_PRECONDITION, E2BIG,
                                 "boot partition: too many entries of our names");
        collect(p, SLOTS_STEPS_MAX);
        p->plan->outcome = judge(p);
        return 0;
}

int slots_plan(const struct slots_situation *s, const struct slots_wish *w, struct slots_plan *ret,
               struct error *e)
{
        _cleanup_free_ struct planner *p = calloc(1, sizeof(*p));
        _cleanup_free_ struct slots_plan *plan = calloc(1, sizeof(*plan));
        int r;

        if (!p || !plan)
                return error_oom(e);
        if ((w->target != ENTRY_ROLE_ACTIVE && w->target != ENTRY_ROLE_RECOVERY) ||
            s->n_entries > ARRAY_SIZE(p->moved) || s->n_images > ARRAY_SIZE(p->collected))
                return error_set(e, ERROR_INTERNAL, EINVAL, "plan of the boot partition");
        *p = (struct planner){.s = s, .w = w, .plan = plan};
        plan->target = w->target;
        r = plan_all(p, e);
        if (r == 0)
                *ret = *plan;
        return r;
}
