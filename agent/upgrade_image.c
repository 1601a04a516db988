/* SPDX-License-Identifier: Apache-2.0 */
/* The bytes of an upgrade: where the source leads, and how the image comes onto the ESP. */
#include "agent/upgrade_job.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/codec.h"
#include "base/file.h"
#include "base/limits.h"
#include "base/log.h"
#include "upgrade/usi_reader.h"

int upgrade_demands(struct upgrade_job *j, struct error *e)
{
        if (j->demands)
                return 0;
        return j->world->demands(j->world->demands_arg, &j->demands, e);
}

/* --- the source --- */

static int open_source(struct upgrade_job *j, struct error *e)
{
        struct fetch_options options = *j->world->fetch;
        int r;

        options.want_loader = j->target == ENTRY_ROLE_ACTIVE;
        options.stop = j->world->stop;
        options.stop_arg = j->world->stop_arg;
        fetch_free(j->fetch);
        j->fetch = NULL;
        j->info = NULL;
        r = fetch_open(j->wish->source, &options, &j->fetch, e);
        return r < 0 ? r : fetch_resolve(j->fetch, &j->info, e);
}

/* A digest that the source gave counts only as long as the image keeps it: it is compared. */
static void take_digest(struct upgrade_job *j)
{
        const struct fetch_info *info = j->info;

        j->has_sha256 = info->has_image_sha256;
        if (j->has_sha256)
                memcpy(j->sha256, info->image_sha256, SHA256_SIZE);
        else if (*info->manifest)
                j->has_sha256 = state_find_known(j->state, info->manifest, j->sha256, NULL) == 0;
        if (*info->manifest) {
                (void)snprintf(j->key, sizeof(j->key), "%s", info->manifest);
        } else if (j->has_sha256) {
                hex_encode(j->sha256, SHA256_SIZE, j->key);
        } else {
                /* A name that may lead somewhere else tomorrow: the proofs find out. */
                (void)snprintf(j->key, sizeof(j->key), "%.*s", (int)sizeof(j->key) - 1,
                               j->wish->source->text);
        }
}

/* What is no image stays unknown here: the proofs say what is wrong with it. */
static void look(struct usi_reader **reader, const void *data, size_t n)
{
        if (*reader && n > 0 && usi_reader_push(*reader, data, n, NULL) < 0) {
                usi_reader_free(*reader);
                *reader = NULL;
        }
}

static void take_names(struct upgrade_job *j, struct usi_reader *reader)
{
        _cleanup_(usi_free_p) struct usi *usi = NULL;

        if (!reader || usi_reader_finish(reader, &usi, NULL) < 0)
                return;
        j->has_names = true;
        (void)snprintf(j->product, sizeof(j->product), "%s", usi_image_id(usi) ?: "");
        (void)snprintf(j->report->to_version, sizeof(j->report->to_version), "%s",
                       usi_image_version(usi) ?: "");
}

/*
 * A local image is read once more beforehand, because that is cheap, and writing what is there
 * already is not. What comes over a network is never read twice.
 */
static int hash_local(struct upgrade_job *j, struct error *e)
{
        _cleanup_(usi_reader_free_p) struct usi_reader *reader = NULL;
        _cleanup_(digest_free_p) struct digest *digest = digest_new();
        _cleanup_free_ uint8_t *chunk = malloc(FILE_CHUNK);
        ssize_t n = 1;
        int r;

        if (j->has_sha256 || !j->info->seekable ||
            (j->wish->source->kind != SOURCE_KIND_FILE && j->wish->source->kind != SOURCE_KIND_DIR))
                return 0;
        if (!chunk || !digest)
                return error_oom(e);
        /* An upgrade gets the names with the proofs, and need not measure the image twice. */
        if ((j->wish->check || j->wish->dry_run) && usi_reader_new(LIMIT_IMAGE_SIZE, &reader) < 0)
                return error_oom(e);
        r = fetch_begin(j->fetch, 0, e);
        while (r == 0 && n > 0) {
                n = fetch_read(j->fetch, chunk, FILE_CHUNK, e);
                if (n < 0)
                        return (int)n;
                if (n > 0 && digest_add(digest, chunk, (size_t)n) < 0)
                        return error_oom(e);
                look(&reader, chunk, (size_t)n);
                r = upgrade_check_stop(j, e);
        }
        if (r < 0)
                return r;
        take_names(j, reader);
        j->has_sha256 = digest_final(digest, j->sha256) == 0;
        return 0;
}

int upgrade_resolve(struct upgrade_job *j, struct error *e)
{
        struct upgrade_report *report = j->report;
        int r;

        progress_phase(j->world->progress, "resolve", 0);
        r = open_source(j, e);
        if (r < 0)
                return r;
        take_digest(j);
        r = hash_local(j, e);
        if (r < 0)
                return r;
        (void)snprintf(report->manifest, sizeof(report->manifest), "%s", j->info->manifest);
        if (!j->has_names)
                (void)snprintf(report->to_version, sizeof(report->to_version), "%s",
                               j->info->version);
        report->size = j->info->size;
        report->has_to = j->has_sha256;
        memcpy(report->to, j->sha256, SHA256_SIZE);
        return 0;
}

/* --- receiving --- */

static void count(struct upgrade_job *j, const struct image_receiver *r)
{
        const struct fetch_counters *c = fetch_counters(j->fetch);

        j->report->network = c->network;
        j->report->spooled = c->spooled;
        j->report->retries = c->retries;
        if (r)
                j->report->written = image_receiver_written(r);
}

static int pull(struct upgrade_job *j, struct image_receiver *r, uint64_t done, struct error *e)
{
        _cleanup_free_ uint8_t *chunk = malloc(FILE_CHUNK);

        if (!chunk)
                return error_oom(e);
        for (;;) {
                ssize_t n = fetch_read(j->fetch, chunk, FILE_CHUNK, e);
                int result;

                if (n <= 0)
                        return (int)n;
                result = image_receiver_push(r, chunk, (size_t)n, e);
                if (result == 0)
                        result = upgrade_check_stop(j, e);
                if (result < 0)
                        return result;
                done += (uint64_t)n;
                progress_update(j->world->progress, done, fetch_counters(j->fetch)->retries);
        }
}

/* What an accepted image left open is said, and everything stands in the report. */
static void tell_proofs(struct upgrade_job *j, int r)
{
        j->report->proved = j->report->proofs.item[PROOF_FORMAT].state != PROOF_NOT_REACHED;
        if (r == 0)
                proofs_log(&j->report->proofs);
}

/* The begin of an image is worth keeping where the source can go on in the middle, and when it was
 * no fault of the image. */
static bool is_worth_keeping(const struct upgrade_job *j, const struct error *e)
{
        return j->info->seekable && (e->class == ERROR_SOURCE || e->class == ERROR_INTERRUPTED);
}

static int receive(struct upgrade_job *j, bool resume, bool *ret_resumed, struct error *e)
{
        const struct image_receive what = {.number = j->plan.number,
                                           .size = j->info->size,
                                           .sha256 = j->has_sha256 ? j->sha256 : NULL,
                                           .resume = resume && j->info->seekable,
                                           .demands = j->demands};
        _cleanup_(image_receiver_free_p) struct image_receiver *receiver = NULL;
        struct error kept = ERROR_INIT;
        uint64_t offset = 0;
        int r = image_receiver_begin(j->world->esp, &what, &receiver, &offset, e);

        *ret_resumed = false;
        if (r < 0)
                return r;
        progress_phase(j->world->progress, "download", j->info->size);
        progress_update(j->world->progress, offset, 0);
        j->report->resumed = offset;
        r = fetch_begin(j->fetch, offset, e);
        if (r == 0)
                r = pull(j, receiver, offset, e);
        count(j, receiver);
        if (r == 0) {
                progress_phase(j->world->progress, "verify", 0);
                r = image_receiver_finish(receiver, &j->image, e);
                count(j, receiver);
        }
        if (image_receiver_proofs(receiver))
                j->report->proofs = *image_receiver_proofs(receiver);
        *ret_resumed = image_receiver_resumed(receiver);
        if (r < 0 && is_worth_keeping(j, e) && image_receiver_keep(TAKE_PTR(receiver), &kept) < 0)
                log_warning("the begin of the image is not kept: %s", kept.text);
        return r;
}

/* So that a run after a killed one knows what the file on the ESP was to become. */
static int remember_partial(struct upgrade_job *j, struct error *e)
{
        struct state_partial partial = {.number = j->plan.number};
        int r;

        if (!j->info->seekable)
                return 0;
        (void)snprintf(partial.key, sizeof(partial.key), "%s", j->key);
        r = state_set_partial(j->state, &partial, e);
        if (r == 0)
                upgrade_remember(j);
        return r;
}

/*
 * Bytes that turned out to be wrong are loaded anew: from somewhere else, as long as there is
 * somewhere; and when an earlier run left the begin of them, which may have suffered by a power
 * cut.
 */
static int receive_or_again(struct upgrade_job *j, struct error *e)
{
        bool resume = j->slots_wish.have == SLOTS_HAVE_PARTIAL, resumed;
        int r = remember_partial(j, e);

        while (r == 0) {
                r = receive(j, resume, &resumed, e);
                if (r == 0 || e->class == ERROR_SOURCE || e->class == ERROR_INTERRUPTED ||
                    !(resumed || fetch_again(j->fetch)))
                        return r;
                log_warning("%s: loading it anew", e->text);
                error_clear(e);
                resume = false;
                r = 0;
        }
        return r;
}

/* --- an image that is on the ESP already --- */

static int copy(struct upgrade_job *j, struct error *e)
{
        const struct image_receive what = {
                .number = j->plan.number, .sha256 = j->sha256, .demands = j->demands};
        int r;

        progress_phase(j->world->progress, "copy", 0);
        r = image_receiver_copy(j->world->esp, j->plan.copy_from, &what, &j->report->proofs,
                                &j->image, e);
        if (r < 0)
                return r;
        j->report->copied = true;
        j->report->written = image_size(j->image);
        return 0;
}

static int take(struct upgrade_job *j, struct error *e)
{
        const struct image_receive what = {
                .number = j->plan.number, .sha256 = j->sha256, .demands = j->demands};

        progress_phase(j->world->progress, "verify", 0);
        return image_receiver_take(j->world->esp, &what, &j->report->proofs, &j->image, e);
}

/* Whether the bytes on the ESP are to blame, and the source can give better ones. */
static bool is_damage(const struct upgrade_job *j, const struct error *e)
{
        return j->fetch &&
               (e->class == ERROR_REFUSED || e->class == ERROR_IO || e->class == ERROR_SIGNATURE);
}

static int get_local(struct upgrade_job *j, struct error *e)
{
        int r = j->plan.copy ? copy(j, e) : take(j, e);

        if (r == 0 || !is_damage(j, e))
                return r;
        log_warning("the image on the ESP is of no use (%s): loading it", e->text);
        error_clear(e);
        j->slots_wish.again = true;
        r = upgrade_plan(j, e);
        if (r == 0)
                r = slots_check_space(&j->plan, e);
        return r < 0 ? r : slots_make_room(j->world->esp, &j->plan, upgrade_entry_key(j), NULL, e);
}

/* The boot loader beside the image has to give the same proof to the firmware: a source that brings
 * another one is not to be believed, whether it would be used or not. */
static int take_loader(struct upgrade_job *j, struct error *e)
{
        const struct buf *bytes = j->fetch ? fetch_loader(j->fetch) : NULL;
        struct proofs *proofs = &j->report->proofs;
        _cleanup_(buf_done) struct buf why = BUF_INIT(1024);
        struct error error = ERROR_INIT;
        int r;

        if (!bytes || j->target != ENTRY_ROLE_ACTIVE)
                return 0;
        r = bootloader_take(bytes, &j->loader, &error);
        if (r == 0)
                r = bootloader_verify(&j->loader, j->demands->db, j->demands->dbx, &why, &error);
        if (r == 0) {
                proof_set(proofs, PROOF_LOADER, PROOF_PASSED, "systemd-boot %s: %s",
                          j->loader.version, buf_str(&why));
                return 0;
        }
        proof_fail(proofs, PROOF_LOADER, ERROR_NONE, &error);
        *e = error;
        return r;
}

int upgrade_get_image(struct upgrade_job *j, struct error *e)
{
        int r = 0;

        if (!j->plan.write || j->plan.copy)
                r = get_local(j, e);
        if (r == 0 && !j->image)
                r = receive_or_again(j, e);
        if (r == 0)
                r = take_loader(j, e);
        tell_proofs(j, r);
        if (r < 0)
                return r;
        memcpy(j->sha256, image_sha256(j->image), SHA256_SIZE);
        j->has_sha256 = true;
        j->report->has_to = true;
        memcpy(j->report->to, j->sha256, SHA256_SIZE);
        j->report->size = image_size(j->image);
        if (*image_version(j->image))
                (void)snprintf(j->report->to_version, sizeof(j->report->to_version), "%s",
                               image_version(j->image));
        return 0;
}
