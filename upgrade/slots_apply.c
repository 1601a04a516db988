/* SPDX-License-Identifier: Apache-2.0 */
/* The part of upgrade/slots.h that looks at an ESP and changes it. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/num.h"
#include "upgrade/slots.h"

/* How often an ESP is read again that is changed meanwhile. A change takes away one file or two. */
#define READ_TRIES 10u

static int try_read(const struct esp *esp, struct slots_situation *ret, struct error *e)
{
        struct slots_situation s = {0};
        int r = esp_list_entries(esp, &s.entries, &s.n_entries, e);

        if (r == 0)
                r = esp_list_images(esp, &s.images, &s.n_images, e);
        if (r == 0)
                r = esp_get_space(esp, &s.space, e);
        if (r < 0) {
                slots_done(&s);
                return r;
        }
        ret->entries = s.entries;
        ret->n_entries = s.n_entries;
        ret->images = s.images;
        ret->n_images = s.n_images;
        ret->space = s.space;
        return 0;
}

int slots_read(const struct esp *esp, struct slots_situation *ret, struct error *e)
{
        int r = try_read(esp, ret, e);

        for (unsigned i = 1; r == -ESTALE && i < READ_TRIES; i++) {
                error_clear(e);
                r = try_read(esp, ret, e);
        }
        return r;
}

void slots_done(struct slots_situation *s)
{
        free_p(&s->entries);
        free_p(&s->images);
        s->n_entries = s->n_images = 0;
}

int slots_check_space(const struct slots_plan *plan, struct error *e)
{
        char need[32], available[32], freed[32];
        uint64_t sum;
        int r;

        if (add_u64(plan->available, plan->freed, &sum) < 0 || plan->need <= sum)
                return 0;
        r = error_set(e, ERROR_SPACE, ENOSPC,
                      "boot partition: the image needs %s, %s are free and %s can be set free",
                      format_size(plan->need, need, sizeof(need)),
                      format_size(plan->available, available, sizeof(available)),
                      format_size(plan->freed, freed, sizeof(freed)));
        error_advise(e, "remove files that are not part of this system from the boot partition, or "
                        "enlarge it: it has to hold three images and a new one");
        return r;
}

struct apply {
        const struct esp *esp;
        const struct slots_plan *plan;
        const struct verified_image *image;
        enum entry_key key;
        const struct slots_hooks *hooks;
};

/* The entry of another role, or of the same one, for the image that `from` names. */
static int text_from(const struct apply *a, const struct slots_step *step, char text[ENTRY_SIZE],
                     struct error *e)
{
        _cleanup_free_ struct entry_file *list = NULL;
        size_t n = 0;
        int r = esp_list_entries(a->esp, &list, &n, e);

        if (r < 0)
                return r;
        for (size_t i = 0; i < n; i++) {
                struct entry *entry = &list[i].entry;
                char path[PATH_MAX];

                if (strcasecmp(list[i].file, step->from) != 0 || !list[i].valid)
                        continue;
                /* As systemd-boot wants it: absolute, whoever wrote it. */
                r = entry_image_path(entry, path);
                if (r == 0 && strlen(path) + 2 > sizeof(entry->image))
                        r = -E2BIG;
                if (r == 0) {
                        entry->image[0] = '/';
                        memcpy(entry->image + 1, path, strlen(path) + 1);
                        entry->key = a->key;
                        r = entry_set_role(entry, step->role);
                }
                if (r == 0)
                        r = entry_format(entry, text);
                return r < 0 ? error_set(e, ERROR_PRECONDITION, -r,
                                         "boot entry %s cannot be taken over as %s", step->from,
                                         entry_role_name(step->role))
                             : 0;
        }
        return error_set(e, ERROR_PRECONDITION, ENOENT, "boot entry %s is gone", step->from);
}

static int set_entry(const struct apply *a, const struct slots_step *step, struct error *e)
{
        char text[ENTRY_SIZE];
        int r;

        if (step->of_new_image)
                r = image_entry(a->image, a->plan->number, step->role, a->key, text, e);
        else
                r = text_from(a, step, text, e);
        return r < 0 ? r : esp_set_entry(a->esp, step->file, text, e);
}

static int remove_entry(const struct apply *a, const struct slots_step *step, struct error *e)
{
        char path[sizeof(ESP_ENTRY_DIR) + NAME_MAX + 1];

        (void)snprintf(path, sizeof(path), "%s/%s", ESP_ENTRY_DIR, step->file);
        return esp_remove(a->esp, path, e);
}

/* An image too many is no reason to fail: the next plan sees it again. */
static int remove_image(const struct apply *a, const struct slots_step *step, struct error *e)
{
        char path[IMAGE_PATH_SIZE];
        struct error error = ERROR_INIT;
        int r = image_path(step->number, path);

        if (r == 0)
                r = esp_remove(a->esp, path, &error);
        if (r == -EBUSY || r == -EUCLEAN) {
                log_warning("%s stays: %s", path, error.text);
                return 0;
        }
        if (r < 0 && e)
                *e = error;
        return r;
}

static int check_image(const struct apply *a, struct error *e)
{
        if (a->image && image_stands_as(a->image, a->plan->number))
                return 0;
        return error_set(e, ERROR_INTERNAL, EINVAL, "image %" PRIu32 " was not verified",
                         a->plan->number);
}

static int run_step(const struct apply *a, const struct slots_step *step, struct error *e)
{
        switch (step->kind) {
        case SLOTS_ADD_IMAGE:
                return check_image(a, e);
        case SLOTS_SWITCH_ENTRY:
        case SLOTS_ADD_ENTRY:
                return set_entry(a, step, e);
        case SLOTS_REMOVE_ENTRY:
                return remove_entry(a, step, e);
        case SLOTS_REMOVE_IMAGE:
                return remove_image(a, step, e);
        }
        return error_set(e, ERROR_INTERNAL, EINVAL, "step of the plan");
}

static int run_steps(const struct apply *a, unsigned from, unsigned to, struct error *e)
{
        const struct slots_hooks *hooks = a->hooks;
        int r = esp_sync(a->esp, e);

        if (r == 0)
                r = esp_drop_temporary(a->esp, ESP_ENTRY_DIR, e);
        for (unsigned i = from; i < to && r == 0; i++) {
                const struct slots_step *step = &a->plan->step[i];

                if (hooks && hooks->stop && hooks->stop(hooks->arg)) {
                        error_set(e, ERROR_INTERRUPTED, EINTR,
                                  "stopped before step %u of %u: run it again", i + 1, a->plan->n);
                        return -EINTR;
                }
                if (hooks && hooks->step)
                        hooks->step(hooks->arg, step);
                r = run_step(a, step, e);
        }
        return r;
}

int slots_make_room(const struct esp *esp, const struct slots_plan *plan, enum entry_key key,
                    const struct slots_hooks *hooks, struct error *e)
{
        const struct apply a = {.esp = esp, .plan = plan, .key = key, .hooks = hooks};
        int r = slots_check_space(plan, e);

        return r < 0 ? r : run_steps(&a, 0, plan->n_room, e);
}

int slots_apply(const struct esp *esp, const struct slots_plan *plan,
                const struct verified_image *image, enum entry_key key,
                const struct slots_hooks *hooks, struct error *e)
{
        const struct apply a = {
                .esp = esp, .plan = plan, .image = image, .key = key, .hooks = hooks};

        /* Nothing is changed before it is sure that the end can be reached. */
        for (unsigned i = plan->n_room; i < plan->n; i++) {
                int r = plan->step[i].of_new_image ? check_image(&a, e) : 0;

                if (r < 0)
                        return r;
        }
        return run_steps(&a, plan->n_room, plan->n, e);
}

static int adopt_uki(const struct esp *esp, struct entry_file *f, struct error *e)
{
        char text[ENTRY_SIZE];
        int r;

        f->entry.key = ENTRY_KEY_UKI;
        r = entry_format(&f->entry, text);
        if (r < 0)
                return error_set(e, ERROR_PRECONDITION, -r,
                                 "boot entry %s cannot be written with the key \"uki\"", f->file);
        return esp_set_entry(esp, f->file, text, e);
}

int slots_adopt_uki(const struct esp *esp, unsigned *ret_changed, struct error *e)
{
        _cleanup_free_ struct entry_file *list = NULL;
        unsigned changed = 0;
        size_t n = 0;
        int r = esp_list_entries(esp, &list, &n, e);

        for (size_t i = 0; i < n && r == 0; i++) {
                if (list[i].name.role == ENTRY_ROLE_NONE || !list[i].valid ||
                    !list[i].image_present || list[i].entry.key != ENTRY_KEY_EFI)
                        continue;
                r = adopt_uki(esp, &list[i], e);
                changed += r == 0;
        }
        if (ret_changed)
                *ret_changed = changed;
        return r;
}
