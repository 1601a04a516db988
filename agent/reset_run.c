/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/reset.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "agent/bootentry.h"
#include "base/log.h"
#include "partition/blank.h"
#include "partition/disk_content.h"
#include "partition/tpm_note.h"

struct work {
        const struct reset_volume *volume;
        char *device;
        bool done;
        struct volume fresh;
};

struct job {
        const struct reset_world *world;
        const struct reset_journal *journal;
        struct reset_report *report;
        struct verified_image *image;
        struct work work[RESET_VOLUMES_MAX];
        const char *phase; /* for progress */
        size_t current;
};

static void job_done(struct job *j)
{
        for (size_t i = 0; i < j->journal->n; i++) {
                volume_done(&j->work[i].fresh);
                free(j->work[i].device);
        }
        image_free(j->image);
}

static int step(const struct job *j, const char *what, const char *name, struct error *e)
{
        const struct reset_world *w = j->world;
        int r = w->step ? w->step(w->step_arg, what, name) : 0;

        return r < 0 ? error_errno(e, -r, "%s: %s", name, what) : 0;
}

static void warn(struct job *j, const char *what, const struct error *e)
{
        log_warning("%s: %s", what, e->text);
        if (!*j->report->warning)
                (void)snprintf(j->report->warning, sizeof(j->report->warning), "%s: %.900s", what,
                               e->text);
}

/* --- how far it is --- */

/* Somebody made something else of it since: no business of a reset that was cut. */
static bool holds_something_else(const char *device)
{
        struct disk_content content;

        return disk_content_read(device, &content, NULL) == 0 && *content.type &&
               strcmp(content.type, "crypto_LUKS") != 0;
}

/* What waits for a first boot was not made so by a reset. */
static bool is_blank(const struct work *w)
{
        struct blank blank;

        return blank_read(w->device, w->volume->name, &blank, NULL) != 0;
}

static int look_at(const struct job *j, struct work *w, size_t i, struct error *e)
{
        _cleanup_(luks_free_p) struct luks *luks = NULL;
        struct error error = ERROR_INIT;
        int r = luks_open(w->device, &luks, &error);

        if (r < 0 && r != -EMEDIUMTYPE) {
                *e = error;
                return r;
        }
        if (r < 0)
                w->done = j->report->resumed && (holds_something_else(w->device) || is_blank(w));
        else if (strcasecmp(luks_uuid(luks), w->volume->uuid) != 0 &&
                 strcmp(luks_label(luks), RESET_LABEL) != 0)
                w->done = j->report->resumed;
        /* A reset that was cut leaves volumes in the making to the journal of the next. */
        if (!luks || strcasecmp(luks_uuid(luks), w->volume->uuid) != 0 ||
            strcmp(luks_label(luks), RESET_LABEL) == 0)
                j->report->intact = false;
        if (w->done) {
                j->report->volume[i].earlier = true;
                (void)snprintf(j->report->volume[i].new_uuid, LAYOUT_UUID_SIZE, "%s",
                               luks ? luks_uuid(luks) : "");
        }
        return 0;
}

static int look(struct job *j, bool *ret_left, struct error *e)
{
        int r = 0;

        *ret_left = false;
        j->report->intact = true;
        for (size_t i = 0; i < j->journal->n && r == 0; i++) {
                struct work *w = &j->work[i];

                w->volume = &j->journal->volume[i];
                r = j->world->find(j->world->arg, w->volume, &w->device, e);
                if (r == 0)
                        r = look_at(j, w, i, e);
                *ret_left |= !w->done;
        }
        return r;
}

/* --- destroying and making --- */

static int erase_step(void *arg, const char *what)
{
        const struct job *j = arg;
        const struct reset_world *w = j->world;

        return w->step ? w->step(w->step_arg, what, j->work[j->current].volume->name) : 0;
}

static void erase_progress(void *arg, uint64_t done, uint64_t total)
{
        const struct job *j = arg;

        if (j->world->tell)
                j->world->tell(j->world->arg, j->phase, j->work[j->current].volume->name, done,
                               total);
}

static int erase_all(struct job *j, struct error *e)
{
        const struct erase_hooks hooks = {.step = erase_step, .progress = erase_progress, .arg = j};
        int r = 0;

        j->phase = "erase";
        for (j->current = 0; j->current < j->journal->n && r == 0; j->current++) {
                struct work *w = &j->work[j->current];

                if (w->done)
                        continue;
                erase_progress(j, 0, 0);
                j->report->started = true;
                r = erase_volume(w->device, j->journal->overwrite, &hooks,
                                 &j->report->volume[j->current].erased, e);
                if (r < 0)
                        return error_wrap(e, r, "%s", w->volume->name);
        }
        return r;
}

/* A new oem knows what has to be encrypted, as the old one did; NULL: the volume is another. What
 * somebody accepted at the installation is forgotten: this image gave all its proofs. */
static const struct install_record *make_record(const struct job *j, const struct work *w,
                                                struct install_record *r)
{
        if (strcmp(w->volume->name, LAYOUT_OEM_NAME) != 0)
                return NULL;
        *r = (struct install_record){.time = j->journal->time,
                                     .n_encrypted = j->journal->n_encrypted,
                                     .made = INSTALL_RECORD_RESET};
        (void)snprintf(r->version, sizeof(r->version), "%s", j->report->version);
        memcpy(r->sha256, j->report->sha256, SHA256_SIZE);
        memcpy(r->encrypted, j->journal->encrypted, sizeof(r->encrypted));
        return r;
}

static int make(struct job *j, struct work *w, bool last, const struct volume_keys *keys,
                struct error *e)
{
        struct reset_volume_report *report = &j->report->volume[w - j->work];
        struct install_record space;
        const struct install_record *record = make_record(j, w, &space);
        _cleanup_json_ struct json_object *certificate = NULL;
        int r = step(j, "format", w->volume->name, e);

        w->fresh = (struct volume){.device = w->device,
                                   .label = RESET_LABEL,
                                   .device_sector = j->world->device_sector,
                                   .allow_discards = w->volume->allow_discards};
        if (r == 0)
                r = volume_enrol(keys, &w->fresh, e);
        if (r == 0)
                r = step(j, "prove", w->volume->name, e);
        if (r == 0)
                r = volume_prove(keys, &w->fresh, e);
        if (r < 0)
                return r;
        (void)snprintf(report->new_uuid, sizeof(report->new_uuid), "%s", w->fresh.made.uuid);
        if (last) {
                certificate = reset_certificate(j->world, j->journal, j->report);
                if (!certificate)
                        return error_oom(e);
        }
        r = step(j, "fill", w->volume->name, e);
        if (r == 0 && w->volume->file_system)
                r = j->world->fill(j->world->arg, w->volume, &w->fresh, record, certificate, e);
        return r;
}

static int make_all(struct job *j, struct error *e)
{
        const struct volume_keys keys = {.tpm = j->world->tpm,
                                         .image = j->image,
                                         .literal_pcrs = j->journal->pcrs,
                                         .literal_values = j->world->values,
                                         .pin = j->journal->pin ? j->world->pin : NULL,
                                         .recovery_key = j->world->recovery_key};
        size_t last = 0;
        int r = 0;

        for (size_t i = 0; i < j->journal->n; i++) {
                if (!j->work[i].done)
                        last = i;
        }
        j->phase = "make";
        for (j->current = 0; j->current < j->journal->n && r == 0; j->current++) {
                struct work *w = &j->work[j->current];

                if (w->done)
                        continue;
                erase_progress(j, 0, 0);
                r = make(j, w, j->current == last, &keys, e);
                if (r < 0)
                        return error_wrap(e, r, "%s", w->volume->name);
        }
        return r;
}

/* From here on it is the node's. */
static int give_label(const struct job *j, struct work *w, struct error *e)
{
        _cleanup_(luks_free_p) struct luks *luks = NULL, *again = NULL;
        int r = step(j, "label", w->volume->name, e);

        if (r == 0)
                r = luks_open(w->device, &luks, e);
        if (r == 0)
                r = luks_set_label(luks, w->volume->label, e);
        if (r == 0)
                r = luks_open(w->device, &again, e);
        return r < 0 ? r : luks_check_header(again, w->volume->label, e);
}

static int label_all(struct job *j, struct error *e)
{
        int r = 0;

        for (size_t i = 0; i < j->journal->n && r == 0; i++) {
                if (j->work[i].done)
                        continue;
                r = give_label(j, &j->work[i], e);
                if (r < 0)
                        return error_wrap(e, r, "%s", j->work[i].volume->name);
        }
        return r;
}

/* --- together --- */

/* The note first: a copy of the journal leads to nothing any more. */
static int drop_journal(const struct reset_world *w, struct error *e)
{
        int noted = tpm_note_remove(w->tpm, e);
        int r = reset_journal_remove(w->esp, noted < 0 ? NULL : e);

        return noted < 0 ? noted : r;
}

/* What is left of it cannot change anything any more: a warning. */
static void finish(struct job *j)
{
        struct error error = ERROR_INIT;

        if (bootentry_clear(j->world->env, &j->report->cleared, &error) < 0)
                warn(j, "a wish in the EFI variables may keep an old image", &error);
        error_clear(&error);
        if (drop_journal(j->world, &error) < 0)
                warn(j, "the journal of the reset stays", &error);
}

/* Only with the note does the journal lead to anything. */
static int begin(const struct job *j, struct error *e)
{
        const struct reset_world *w = j->world;
        uint8_t digest[SHA256_SIZE];
        int r = reset_journal_store(w->esp, j->journal, digest, e);

        if (r == 0)
                r = step(j, "note", "journal", e);
        return r < 0 ? r : tpm_note_write(w->tpm, digest, e);
}

static int change(struct job *j, struct error *e)
{
        int r;

        /* Nobody decided on volumes that open without. */
        if (j->journal->pin && !j->world->pin)
                return error_set(e, ERROR_INTERNAL, EINVAL,
                                 "the PIN of the new volumes is missing");
        r = reset_image_apply(j->world, j->report, &j->image, e);
        if (r == 0)
                r = erase_all(j, e);
        if (r == 0)
                r = make_all(j, e);
        if (r == 0 && j->world->deliver) {
                r = step(j, "deliver", "recovery key", e);
                if (r == 0)
                        r = j->world->deliver(j->world->arg, e);
                j->report->delivered = r == 0;
        }
        return r < 0 ? r : label_all(j, e);
}

static int run(const struct reset_world *w, const struct reset_journal *journal, bool resumed,
               struct reset_report *ret, struct error *e)
{
        _cleanup_(job_done) struct job j = {.world = w, .journal = journal, .report = ret};
        bool left;
        int r;

        *ret = (struct reset_report){.resumed = resumed};
        r = look(&j, &left, e);
        if (resumed && r == -ESTALE) {
                warn(&j, "a reset of another disk", e);
                error_clear(e);
                left = false;
                r = 0;
        }
        if (r == 0 && !resumed)
                r = begin(&j, e);
        if (r < 0)
                return r;
        ret->stale = resumed && !left;
        if (!ret->stale)
                r = change(&j, e);
        if (r == 0)
                finish(&j);
        return r;
}

int reset_run(const struct reset_world *w, const struct reset_journal *j, struct reset_report *ret,
              struct error *e)
{
        return run(w, j, false, ret, e);
}

int reset_resume(const struct reset_world *w, const struct reset_journal *j,
                 struct reset_report *ret, struct error *e)
{
        return run(w, j, true, ret, e);
}

int reset_cancel(const struct reset_world *w, const struct reset_journal *j, struct error *e)
{
        struct reset_report report = {.resumed = true};
        _cleanup_(job_done) struct job job = {.world = w, .journal = j, .report = &report};
        bool left;
        int r = look(&job, &left, e);

        if (r < 0 && r != -ESTALE)
                return r;
        if (r == 0 && left && !report.intact)
                return error_set(e, ERROR_PRECONDITION, EPERM,
                                 "the reset has begun: its data is gone already");
        error_clear(e);
        return drop_journal(w, e);
}

int reset_order(const struct reset_world *w, const struct reset_journal *journal, struct error *e)
{
        struct reset_report report = {.resumed = false};
        const struct job j = {.world = w, .journal = journal, .report = &report};

        return begin(&j, e);
}

int reset_look(const struct reset_world *w, const struct reset_journal *journal,
               struct reset_report *ret, struct error *e)
{
        _cleanup_(job_done) struct job j = {.world = w, .journal = journal, .report = ret};
        bool left;
        int r;

        *ret = (struct reset_report){.resumed = true};
        r = look(&j, &left, e);
        if (r < 0 && r != -ESTALE)
                return r;
        ret->stale = r < 0 || !left;
        error_clear(e);
        return 0;
}
