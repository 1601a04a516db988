/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/upgrade_job.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "agent/bootentry.h"
#include "agent/moment.h"
#include "agent/statereset.h"
#include "base/codec.h"
#include "base/log.h"
#include "base/version.h"
#include "upgrade/bootloader.h"
#include "upgrade/loaderconf.h"

static void job_done(struct upgrade_job *j)
{
        image_free(j->image);
        bootloader_done(&j->loader);
        fetch_free(j->fetch);
        state_free(j->state);
        situation_done(&j->situation);
}

static uint64_t now_ms(void)
{
        struct timespec t = {0};

        (void)clock_gettime(CLOCK_MONOTONIC, &t);
        return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* Something behind the change went wrong: told, and no reason to say that the upgrade failed. */
static void warn(struct upgrade_report *r, const char *what, const struct error *e)
{
        log_warning("%s: %s", what, e->text);
        if (!*r->warning)
                (void)snprintf(r->warning, sizeof(r->warning), "%s: %.900s", what, e->text);
}

int upgrade_check_stop(const struct upgrade_job *j, struct error *e)
{
        if (!j->world->stop || !j->world->stop(j->world->stop_arg))
                return 0;
        error_set(e, ERROR_INTERRUPTED, ECANCELED, "stopped by a signal");
        error_advise(e, "run the same command again: it continues where this one ended");
        return -ECANCELED;
}

/* --- memory --- */

void upgrade_remember(struct upgrade_job *j)
{
        struct error error = ERROR_INIT;

        if (j->world->state >= 0 && state_save(j->state, j->world->state, &error) < 0)
                log_warning("not remembered: %s", error.text);
}

/* From here on a run that does not end is seen as interrupted. */
static int begin_operation(struct upgrade_job *j, struct error *e)
{
        struct state_operation *op = &j->operation;
        const struct upgrade_report *r = j->report;
        int result;

        *op = (struct state_operation){.time = moment_now(), .has_sha256 = r->has_to};
        moment_boot_id(j->world->env, op->boot_id);
        (void)snprintf(op->verb, sizeof(op->verb), "upgrade");
        (void)snprintf(op->target, sizeof(op->target), "%s", entry_role_name(j->target));
        (void)snprintf(op->source, sizeof(op->source), "%s", r->source);
        (void)snprintf(op->manifest, sizeof(op->manifest), "%s", r->manifest);
        (void)snprintf(op->from_version, sizeof(op->from_version), "%s", r->from_version);
        (void)snprintf(op->to_version, sizeof(op->to_version), "%s", r->to_version);
        memcpy(op->sha256, r->to, SHA256_SIZE);
        result = state_begin(j->state, op, e);
        if (result == 0)
                upgrade_remember(j);
        return result;
}

/* Before an entry leads to the image: the same command after a power cut finds it in place and has
 * nothing to prove any more. */
static int remember_override(struct upgrade_job *j, struct error *e)
{
        struct state_operation *op = &j->operation;
        const struct upgrade_report *r = j->report;
        int result;

        if (r->proved)
                proofs_overrides(&r->proofs, op->overridden, sizeof(op->overridden));
        if (!*op->overridden)
                return 0;
        op->has_sha256 = r->has_to;
        memcpy(op->sha256, r->to, SHA256_SIZE);
        (void)snprintf(op->to_version, sizeof(op->to_version), "%s", r->to_version);
        result = state_update(j->state, op, e);
        if (result == 0)
                upgrade_remember(j);
        return result;
}

static void end_operation(struct upgrade_job *j, const struct error *e)
{
        struct state_operation *op = &j->operation;
        const struct upgrade_report *r = j->report;

        if (!*op->id)
                return; /* nothing was begun */
        op->finished = true;
        op->has_sha256 = r->has_to;
        memcpy(op->sha256, r->to, SHA256_SIZE);
        op->network = r->network;
        op->written = r->written;
        (void)snprintf(op->to_version, sizeof(op->to_version), "%s", r->to_version);
        (void)snprintf(op->result, sizeof(op->result), "%s",
                       error_class_name(e ? e->class : ERROR_NONE));
        (void)snprintf(op->text, sizeof(op->text), "%.500s",
                       e ? e->text : upgrade_result_name(UPGRADE_DONE));
        if (state_update(j->state, op, NULL) < 0)
                log_warning("not remembered: out of memory");
        upgrade_remember(j);
}

/* What a success leaves behind. */
static int remember_success(struct upgrade_job *j, struct error *e)
{
        int r = 0;

        if (j->info && *j->info->manifest)
                r = state_add_known(j->state, j->info->manifest, j->sha256, image_size(j->image),
                                    e);
        if (r == 0)
                r = state_set_partial(j->state, NULL, e);
        if (r == 0 && j->target == ENTRY_ROLE_RECOVERY)
                r = state_set_recovery_wish(j->state, NULL, e);
        else if (r == 0 && j->wish->all)
                r = state_set_recovery_wish(j->state, j->sha256, e);
        if (j->wish->force)
                state_forget_failure(j->state, j->sha256);
        return r;
}

/* --- plan --- */

/* What the loader that starts next wants: without "uki" a later one would not count the tries, and
 * an earlier one does not know it. */
enum entry_key upgrade_entry_key(const struct upgrade_job *j)
{
        struct bootloader next = {.major = j->situation.loader.major};

        if (bootloader_major_on_esp(j->world->esp, next.major, &next.major) < 0)
                log_debug("no boot loader on the ESP: its entries are written for the running one");
        return bootloader_entry_key(&next);
}

/* The file that an earlier run for the same thing left. */
static void look_for_partial(struct upgrade_job *j)
{
        struct state_partial partial;

        if (!j->info || !j->info->seekable || state_get_partial(j->state, &partial) < 0 ||
            strcmp(partial.key, j->key) != 0)
                return;
        j->slots_wish.have = SLOTS_HAVE_PARTIAL;
        j->slots_wish.number = partial.number;
}

int upgrade_plan(struct upgrade_job *j, struct error *e)
{
        int r = situation_refresh(&j->situation, e);

        if (r < 0)
                return r;
        j->slots_wish.target = j->target;
        j->slots_wish.sha256 = j->has_sha256 ? j->sha256 : NULL;
        j->slots_wish.size = j->report->size;
        j->slots_wish.force = j->wish->force;
        r = slots_plan(&j->situation.slots, &j->slots_wish, &j->plan, e);
        if (r == 0)
                j->report->plan = j->plan;
        return r;
}

/* An image that failed here would fail again. */
static int check_known_failure(const struct upgrade_job *j, struct error *e)
{
        struct state_failure failure;

        if (!j->has_sha256 || j->wish->force ||
            state_find_failure(j->state, j->sha256, &failure) < 0)
                return 0;
        error_set(e, ERROR_PRECONDITION, EKEYREJECTED, "this image failed on this node before: %s",
                  failure.reason);
        error_advise(e, "upgrade to a newer image, or give --force to try this one again");
        return -EKEYREJECTED;
}

/* --- the change --- */

static void describe(const struct upgrade_job *j, struct hook_facts *f, char from[SHA256_HEX_SIZE],
                     char to[SHA256_HEX_SIZE])
{
        const struct upgrade_report *r = j->report;

        hex_encode(r->from, SHA256_SIZE, from);
        hex_encode(r->to, SHA256_SIZE, to);
        *f = (struct hook_facts){.source = r->source,
                                 .target = entry_role_name(j->target),
                                 .from_version = r->from_version,
                                 .from_sha256 = r->has_from ? from : NULL,
                                 .to_version = r->to_version,
                                 .to_sha256 = r->has_to ? to : NULL,
                                 .to_manifest = r->manifest};
}

static int run_hooks(const struct upgrade_job *j, enum hook_event event, struct error *e)
{
        char from[SHA256_HEX_SIZE], to[SHA256_HEX_SIZE];
        struct hook_places places = j->world->hooks;
        const struct config_list *own =
                event == HOOK_BEFORE_UPGRADE ? j->world->before : j->world->after;
        struct hook_facts facts;
        unsigned run = 0;
        int r;

        if (own) {
                places.programs = own->item;
                places.n_programs = own->n;
        }
        describe(j, &facts, from, to);
        if (event == HOOK_AFTER_UPGRADE)
                facts.result = upgrade_result_name(UPGRADE_DONE);
        r = hooks_run(&places, event, &facts, &run, e);
        j->report->hooks += run;
        return r;
}

static bool wants_stop(void *arg)
{
        const struct upgrade_job *j = arg;

        return j->world->stop && j->world->stop(j->world->stop_arg);
}

/* The digest is known now: what is to be done may have become less. */
static int switch_entries(struct upgrade_job *j, struct error *e)
{
        const struct slots_hooks hooks = {.stop = wants_stop, .arg = j};
        uint32_t number = j->plan.number;
        int r;

        r = check_known_failure(j, e);
        if (r < 0)
                return r;
        j->slots_wish.have = SLOTS_HAVE_IMAGE;
        j->slots_wish.number = number;
        r = upgrade_plan(j, e);
        if (r < 0)
                return r;
        progress_phase(j->world->progress, "switch", 0);
        return slots_apply(j->world->esp, &j->plan,
                           j->plan.outcome == SLOTS_CHANGE ? j->image : NULL, upgrade_entry_key(j),
                           &hooks, e);
}

/* Entries of the old loader's kind start under the new one, but their tries do not count. */
static int adopt_entries(struct upgrade_job *j, struct error *e)
{
        unsigned changed = 0;
        int r = 0;

        if (upgrade_entry_key(j) == ENTRY_KEY_UKI)
                r = slots_adopt_uki(j->world->esp, &changed, e);
        if (changed > 0)
                log_info("%u boot entries now suit the boot loader", changed);
        return r;
}

/*
 * Before the switch, because the entries are written for the loader that starts them. The image is
 * proven at this point. A loader that stays as it is, is a warning: the image may start without.
 */
static void update_loader(struct upgrade_job *j)
{
        const struct bootloader_wish wish = {.fresh = &j->loader,
                                             .db = j->demands->db,
                                             .dbx = j->demands->dbx,
                                             .log = j->demands->log,
                                             .force = j->demands->allow_downgrade != NULL};
        enum bootloader_outcome outcome = BOOTLOADER_SAME;
        struct upgrade_report *r = j->report;
        struct error error = ERROR_INIT;

        if (j->target != ENTRY_ROLE_ACTIVE)
                return;
        if (loaderconf_update(j->world->esp, NULL, &error) < 0)
                warn(r, "the boot loader's configuration is not updated", &error);
        if (j->loader.image.len == 0)
                return;
        progress_phase(j->world->progress, "boot-loader", 0);
        error_clear(&error);
        if (bootloader_update(j->world->esp, &wish, &outcome, &error) < 0)
                warn(r, "the boot loader is not updated", &error);
        if (outcome == BOOTLOADER_NEWER)
                log_info("the boot loader on the ESP is newer than the %s of the source and stays",
                         j->loader.version);
        else if (outcome != BOOTLOADER_SAME)
                (void)snprintf(r->loader, sizeof(r->loader), "%s", j->loader.version);
}

static void tidy_variables(struct upgrade_job *j)
{
        struct error error = ERROR_INIT;

        if (j->target == ENTRY_ROLE_ACTIVE &&
            bootentry_clear(j->world->env, &j->report->cleared, &error) < 0)
                warn(j->report, "a wish in the EFI variables may keep an old image", &error);
}

/* Whether the operation was a run for this image that was killed: perhaps behind the switch, and
 * before the wishes were cleared. i counts from the newest. */
static bool was_killed(const struct upgrade_job *j, unsigned i, struct state_operation *ret)
{
        return state_operation_at(j->state, i, ret) == 0 && !ret->finished &&
               strcmp(ret->verb, "upgrade") == 0 &&
               strcmp(ret->target, entry_role_name(j->target)) == 0 &&
               (!ret->has_sha256 || memcmp(ret->sha256, j->sha256, SHA256_SIZE) == 0);
}

/* What was written and then refused is of no use to a later run. An image that an entry names, of
 * this run or an earlier one, is never removed. */
static void drop_image(const struct upgrade_job *j, const struct error *e)
{
        char path[IMAGE_PATH_SIZE];
        struct error error = ERROR_INIT;

        if (!j->image || j->report->written == 0 || e->class == ERROR_INTERRUPTED ||
            e->class == ERROR_IO || image_path(j->plan.number, path) < 0)
                return;
        if (esp_remove(j->world->esp, path, &error) < 0)
                log_debug("%s", error.text);
}

/* What allows it may have changed, and recovery's image has, perhaps. */
static void follow_with_reset_entry(struct upgrade_job *j)
{
        struct error error = ERROR_INIT;
        int allowed = statereset_allowed(j->world->env, &error);

        if (allowed < 0 || statereset_sync(j->world->esp, allowed > 0, &error) < 0)
                warn(j->report, "boot entry " STATERESET_FILE, &error);
}

/* It would keep recovery's old image on the boot partition. */
static int drop_reset_entry(const struct upgrade_job *j, struct error *e)
{
        return j->target == ENTRY_ROLE_RECOVERY ? statereset_sync(j->world->esp, false, e) : 0;
}

static int change(struct upgrade_job *j, struct error *e)
{
        struct state_operation before;
        struct error error = ERROR_INIT;
        int r;

        r = upgrade_demands(j, e);
        if (r == 0)
                r = slots_check_space(&j->plan, e);
        if (r == 0)
                r = begin_operation(j, e);
        if (r == 0)
                r = run_hooks(j, HOOK_BEFORE_UPGRADE, e);
        if (r == 0)
                r = upgrade_check_stop(j, e);
        if (r == 0)
                r = drop_reset_entry(j, e);
        if (r == 0)
                r = slots_make_room(j->world->esp, &j->plan, upgrade_entry_key(j), NULL, e);
        if (r == 0)
                r = upgrade_get_image(j, e);
        if (r == 0)
                r = remember_override(j, e);
        if (r == 0) {
                update_loader(j);
                r = adopt_entries(j, e);
        }
        if (r == 0)
                r = switch_entries(j, e);
        if (r < 0) {
                drop_image(j, e);
                return r;
        }
        r = remember_success(j, e);
        if (r < 0)
                return r;
        if (j->plan.outcome != SLOTS_CHANGE) {
                j->report->result = UPGRADE_NOTHING;
                if (was_killed(j, 1, &before)) /* the newest is this run */
                        tidy_variables(j);
                return 0;
        }
        j->report->result = UPGRADE_DONE;
        tidy_variables(j);
        if (run_hooks(j, HOOK_AFTER_UPGRADE, &error) < 0)
                warn(j->report, "after-upgrade", &error);
        return 0;
}

/* --- together --- */

/* A run that somebody wanted to end is interrupted, whatever broke first: a terminal tells every
 * process of the group. */
static int settle(struct upgrade_job *j, int r, struct error *e)
{
        struct error why = ERROR_INIT;

        if (r < 0 && e->class != ERROR_INTERRUPTED && upgrade_check_stop(j, &why) < 0) {
                *e = why;
                r = -ECANCELED;
        }
        end_operation(j, r < 0 ? e : NULL);
        /* Not before it is remembered that there is nothing left to load. */
        if (r == 0 && j->world->fetch->spool >= 0 &&
            fetch_drop_spool(j->world->fetch->spool, &why) < 0)
                warn(j->report, "spool", &why);
        return r;
}

static bool is_only_a_look(const struct upgrade_wish *w)
{
        return w->check || w->dry_run;
}

/* What an earlier run left in memory only is made durable, and its rest removed. */
static int nothing_to_do(struct upgrade_job *j, struct error *e)
{
        struct state_operation before;
        int r;

        j->report->result = UPGRADE_NOTHING;
        if (is_only_a_look(j->wish))
                return 0;
        r = slots_apply(j->world->esp, &j->plan, NULL, upgrade_entry_key(j), NULL, e);
        if (r == 0)
                follow_with_reset_entry(j);
        if (r == 0 && was_killed(j, 0, &before)) {
                j->operation = before;
                tidy_variables(j);
                end_operation(j, NULL);
        }
        return r;
}

/* What the floor says to the image, as far as its names are known: negative when an upgrade would
 * refuse it, 1 when it is older. A source that names no product is taken for one of this node's. */
static int ask_floor(const struct upgrade_job *j, struct error *e)
{
        const struct floor *floor = j->demands->floor;
        struct floor own;
        int r;

        if (!floor || j->demands->allow_downgrade)
                return 0;
        r = floor_make(j->has_names ? j->product : floor->product, j->report->to_version, &own, e);
        if (r < 0) {
                if (e)
                        e->class = ERROR_VERSION;
                return r;
        }
        r = floor_allows(floor, &own, e);
        if (r != -EPERM)
                return r;
        error_clear(e);
        return 1;
}

/* An upgrade that would be refused, or lead back, is nothing to begin for. */
static int check_newer(struct upgrade_job *j, struct error *e)
{
        const struct upgrade_report *report = j->report;
        int r;

        j->report->result = UPGRADE_AVAILABLE;
        if (!j->has_names && !*report->to_version)
                return 0; /* known when it is loaded */
        r = upgrade_demands(j, e);
        if (r == 0)
                r = ask_floor(j, e);
        if (r < 0)
                return r;
        if (r == 0 && j->target == ENTRY_ROLE_ACTIVE && !j->demands->allow_downgrade &&
            *report->to_version && *report->from_version)
                r = version_compare(report->to_version, report->from_version) < 0;
        if (r > 0)
                j->report->result = UPGRADE_OLDER;
        return 0;
}

static int run_target(struct upgrade_job *j, struct error *e)
{
        int r;

        j->report->target = j->target;
        look_for_partial(j);
        r = upgrade_plan(j, e);
        if (r < 0)
                return r;
        if (j->plan.outcome != SLOTS_CHANGE)
                return nothing_to_do(j, e);
        r = check_known_failure(j, e);
        if (r < 0)
                return r;
        if (j->wish->check)
                return check_newer(j, e);
        if (j->wish->dry_run) {
                j->report->result = UPGRADE_PLANNED;
                return slots_check_space(&j->plan, e);
        }
        r = change(j, e);
        follow_with_reset_entry(j);
        return settle(j, r, e);
}

/* The digest that the node runs, confirmed: what --all gives to recovery. */
static bool is_confirmed_active(const struct upgrade_job *j)
{
        const struct running *r = &j->situation.running;

        return r->role == ENTRY_ROLE_ACTIVE && r->confirmed && r->has_sha256 && j->has_sha256 &&
               memcmp(r->sha256, j->sha256, SHA256_SIZE) == 0;
}

static uint64_t size_on_esp(const struct upgrade_job *j)
{
        for (size_t i = 0; i < j->situation.slots.n_images; i++) {
                if (strcmp(j->situation.slots.images[i].file, j->situation.running.image) == 0)
                        return j->situation.slots.images[i].size;
        }
        return 0;
}

/* Recovery gets a copy of what was confirmed: nothing is loaded. */
static int follow_with_recovery(struct upgrade_job *j, struct error *e)
{
        if (!is_confirmed_active(j)) {
                j->report->recovery_pending = true;
                return 0;
        }
        j->target = ENTRY_ROLE_RECOVERY;
        j->slots_wish = (struct slots_wish){.target = ENTRY_ROLE_RECOVERY};
        j->report->size = size_on_esp(j);
        fetch_free(j->fetch);
        j->fetch = NULL;
        j->info = NULL;
        return run_target(j, e);
}

static void describe_running(struct upgrade_job *j)
{
        const struct running *r = &j->situation.running;
        struct upgrade_report *report = j->report;

        (void)snprintf(report->source, sizeof(report->source), "%s", j->wish->source->text);
        (void)snprintf(report->from_version, sizeof(report->from_version), "%s", r->version);
        report->has_from = r->has_sha256;
        memcpy(report->from, r->sha256, SHA256_SIZE);
}

/* Another image than the running one is what the boot loader takes next. */
static bool is_reboot_needed(const struct upgrade_job *j)
{
        const struct running *running = &j->situation.running;
        const struct entry_file *next = bootentry_next(j->world->env, &j->situation);

        return running->role != ENTRY_ROLE_NONE && next && next->entry.has_sha256 &&
               !(running->has_sha256 &&
                 memcmp(next->entry.sha256, running->sha256, SHA256_SIZE) == 0);
}

static int begin(struct upgrade_job *j, struct error *e)
{
        int r = situation_read(j->world->env, j->world->esp, &j->situation, e);

        if (r == 0 && !is_only_a_look(j->wish))
                r = situation_note(j->world->env, &j->situation, e);
        if (r == 0)
                r = state_load(j->world->state, &j->state, e);
        if (r < 0)
                return r;
        describe_running(j);
        return 0;
}

int upgrade_run(const struct upgrade_world *world, const struct upgrade_wish *wish,
                struct upgrade_report *ret, struct error *e)
{
        _cleanup_(job_done) struct upgrade_job j = {
                .world = world, .wish = wish, .report = ret, .target = wish->target};
        uint64_t start = now_ms();
        int r;

        *ret = (struct upgrade_report){.target = wish->target, .dry_run = wish->dry_run};
        r = begin(&j, e);
        if (r == 0)
                r = upgrade_resolve(&j, e);
        if (r == 0)
                r = run_target(&j, e);
        else
                r = settle(&j, r, e);
        if (r == 0 && wish->all && ret->result == UPGRADE_NOTHING)
                r = follow_with_recovery(&j, e);
        else if (r == 0 && wish->all && ret->result != UPGRADE_OLDER)
                ret->recovery_pending = true;
        if (r == 0)
                r = situation_refresh(&j.situation, e);
        if (r == 0)
                ret->reboot_needed = is_reboot_needed(&j);
        ret->ms = now_ms() - start;
        return r;
}
