/* SPDX-License-Identifier: Apache-2.0 */
/* The image of a reset: recovery's own, as an upgrade that has no other source. */
#include "agent/reset.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "agent/situation.h"
#include "base/log.h"
#include "upgrade/bootloader.h"
#include "upgrade/image_receiver.h"

#define PASSIVE_FILE "passive.conf"

struct job {
        const struct reset_world *world;
        struct situation situation;
        struct slots_wish wish;
        struct slots_plan plan;
        uint32_t recovery; /* number of its image */
        struct verified_image *image;
};

static void job_done(struct job *j)
{
        image_free(j->image);
        situation_done(&j->situation);
}

static bool image_number(const struct entry_file *f, uint32_t *ret)
{
        char path[PATH_MAX];
        const char *name;

        if (!f->valid || !f->image_present || entry_image_path(&f->entry, path) < 0)
                return false;
        name = strrchr(path, '/');
        return entry_image_name_parse(name ? name + 1 : path, ret) == 0;
}

int reset_image_find(const struct situation *s, uint32_t *ret, struct error *e)
{
        for (size_t i = 0; i < s->slots.n_entries; i++) {
                const struct entry_file *f = &s->slots.entries[i];

                if (f->name.role == ENTRY_ROLE_RECOVERY && image_number(f, ret))
                        return 0;
        }
        error_set(e, ERROR_PRECONDITION, ENOENT,
                  "there is no recovery entry that leads to an image");
        error_advise(e, "give the node a recovery image first: tb-agent upgrade --recovery");
        return -ENOENT;
}

/* As agent/upgrade_run.c has it: what the loader that starts next wants. */
static enum entry_key entry_key(const struct job *j)
{
        struct bootloader next = {.major = j->situation.loader.major};

        if (bootloader_major_on_esp(j->world->esp, next.major, &next.major) < 0)
                log_debug("no boot loader on the ESP: entries are written for the running one");
        return bootloader_entry_key(&next);
}

static int plan(struct job *j, struct error *e)
{
        int r = situation_refresh(&j->situation, e);

        return r < 0 ? r : slots_plan(&j->situation.slots, &j->wish, &j->plan, e);
}

static int take(struct job *j, uint32_t number, const uint8_t *sha256, struct error *e)
{
        const struct image_receive what = {
                .number = number, .sha256 = sha256, .demands = j->world->demands};

        image_free(j->image);
        j->image = NULL;
        return image_receiver_take(j->world->esp, &what, NULL, &j->image, e);
}

/* Under a number of its own, read back; then the plan knows it. */
static int copy(struct job *j, uint8_t sha256[SHA256_SIZE], struct error *e)
{
        const struct image_receive what = {
                .number = j->plan.number, .sha256 = sha256, .demands = j->world->demands};
        int r = slots_check_space(&j->plan, e);

        if (r == 0)
                r = slots_make_room(j->world->esp, &j->plan, entry_key(j), NULL, e);
        if (r < 0)
                return r;
        image_free(j->image);
        j->image = NULL;
        r = image_receiver_copy(j->world->esp, j->recovery, &what, NULL, &j->image, e);
        if (r < 0)
                return r;
        j->wish.have = SLOTS_HAVE_IMAGE;
        j->wish.number = what.number;
        return plan(j, e);
}

/* What active has of this image is read again; damaged, it is as good as none. */
static int check_active(struct job *j, uint8_t sha256[SHA256_SIZE], struct error *e)
{
        struct error error = ERROR_INIT;
        int r = take(j, j->plan.number, sha256, &error);

        if (r == 0)
                return 0;
        log_warning("%s: recovery's image takes its place", error.text);
        j->wish.again = true;
        return plan(j, e);
}

/* Where nothing that is known to be good can be kept as passive, it gets the new image, as an
 * installation does it: a node like new has something to fall back to. */
static int mend_passive(struct job *j, struct error *e)
{
        char text[ENTRY_SIZE];
        uint32_t number;
        int r = situation_refresh(&j->situation, e);

        for (size_t i = 0; i < j->situation.slots.n_entries && r == 0; i++) {
                const struct entry_file *f = &j->situation.slots.entries[i];

                if (f->name.role == ENTRY_ROLE_PASSIVE && image_number(f, &number))
                        return 0;
        }
        if (r == 0)
                r = image_entry(j->image, j->plan.number, ENTRY_ROLE_PASSIVE, entry_key(j), text,
                                e);
        return r < 0 ? r : esp_set_entry(j->world->esp, PASSIVE_FILE, text, e);
}

static int make_active(struct job *j, struct reset_report *report, struct error *e)
{
        int r = plan(j, e);

        if (r == 0 && !j->plan.write)
                r = check_active(j, report->sha256, e);
        if (r == 0 && j->plan.write) {
                r = copy(j, report->sha256, e);
                report->copied = r == 0;
        }
        if (r < 0)
                return r;
        r = slots_apply(j->world->esp, &j->plan, j->plan.outcome == SLOTS_CHANGE ? j->image : NULL,
                        entry_key(j), NULL, e);
        return r < 0 ? r : mend_passive(j, e);
}

/* The image of recovery, proven, and the wish to have it as active. */
static int begin(struct job *j, struct reset_report *report, struct error *e)
{
        int r = situation_read(j->world->env, j->world->esp, &j->situation, e);

        if (r == 0)
                r = reset_image_find(&j->situation, &j->recovery, e);
        if (r == 0)
                r = take(j, j->recovery, NULL, e);
        if (r < 0)
                return r;
        report->has_image = true;
        memcpy(report->sha256, image_sha256(j->image), SHA256_SIZE);
        (void)snprintf(report->version, sizeof(report->version), "%s", image_version(j->image));
        j->wish = (struct slots_wish){.target = ENTRY_ROLE_ACTIVE,
                                      .sha256 = report->sha256,
                                      .size = image_size(j->image),
                                      .force = true};
        return 0;
}

int reset_image_look(const struct reset_world *w, struct reset_report *report,
                     struct verified_image **ret, struct error *e)
{
        _cleanup_(job_done) struct job j = {.world = w};
        int r = begin(&j, report, e);

        if (r == 0)
                r = plan(&j, e);
        if (r == 0)
                r = slots_check_space(&j.plan, e);
        if (r < 0)
                return r;
        report->copied = j.plan.write;
        *ret = TAKE_PTR(j.image);
        return 0;
}

int reset_image_apply(const struct reset_world *w, struct reset_report *report,
                      struct verified_image **ret, struct error *e)
{
        _cleanup_(job_done) struct job j = {.world = w};
        int r = begin(&j, report, e);

        if (r == 0 && w->kept)
                r = w->kept(w->arg, j.image, e);
        if (r == 0)
                r = situation_note(w->env, &j.situation, e);
        if (r == 0)
                r = make_active(&j, report, e);
        if (r == 0)
                *ret = TAKE_PTR(j.image);
        return r;
}
