/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "agent/boot_report.h"
#include "agent/doctor.h"
#include "agent/install_record.h"
#include "agent/lock.h"
#include "agent/machine.h"
#include "agent/moment.h"
#include "agent/reset_node.h"
#include "base/num.h"

/* Of the image, and made with it. */
#define OS_RELEASE "/usr/lib/os-release"

void doctor_judge_operation(const struct state_operation *op, bool running,
                            struct doctor_list *list)
{
        if (!op->finished && running)
                (void)doctor_add(list, DOCTOR_MEMORY, DOCTOR_NOTE, "operation-running", op->verb,
                                 NULL, "is at work now");
        else if (!op->finished)
                (void)doctor_add(list, DOCTOR_MEMORY, DOCTOR_WARNING, "operation-unfinished",
                                 op->verb, "run it again: it goes on where it was stopped",
                                 "was interrupted (to version %s)", op->to_version);
        else if (*op->result && strcmp(op->result, error_class_name(ERROR_NONE)) != 0)
                (void)doctor_add(list, DOCTOR_MEMORY, DOCTOR_WARNING, "operation-failed", op->verb,
                                 NULL, "the last one failed (%s): %.400s", op->result, op->text);
        else
                (void)doctor_add(list, DOCTOR_MEMORY, DOCTOR_OK, "operation", op->verb, NULL,
                                 "the last operation ended well");
}

void doctor_judge_clock(uint64_t now, uint64_t after, struct doctor_list *list)
{
        if (now < after)
                (void)doctor_add(list, DOCTOR_MEMORY, DOCTOR_WARNING, "clock", NULL,
                                 "set the clock, or have it set by NTP: certificates of servers "
                                 "are refused until then",
                                 "the clock is %llu days behind what has happened here already",
                                 (unsigned long long)((after - now) / 86400));
}

void doctor_judge_room(const char *subject, uint64_t size, uint64_t available,
                       struct doctor_list *list)
{
        char text[32];

        (void)format_size(available, text, sizeof(text));
        if (available < size / 100)
                (void)doctor_add(list, DOCTOR_MEMORY, DOCTOR_PROBLEM, "full", subject,
                                 "delete what nobody needs", "the file system is full: %s free",
                                 text);
        else if (available < size / 20)
                (void)doctor_add(list, DOCTOR_MEMORY, DOCTOR_WARNING, "nearly-full", subject,
                                 "delete what nobody needs", "nearly full: %s free", text);
        else
                (void)doctor_add(list, DOCTOR_MEMORY, DOCTOR_OK, "room", subject, NULL, "%s free",
                                 text);
}

static void look_at_room(struct doctor *d, const char *path)
{
        struct stat here, above;
        struct statvfs s;
        uint64_t size, available;
        char parent[PATH_MAX];

        (void)snprintf(parent, sizeof(parent), "%s/..", path);
        /* Only while something is mounted there. */
        if (stat(path, &here) < 0 || stat(parent, &above) < 0 || here.st_dev == above.st_dev ||
            statvfs(path, &s) < 0 || mul_u64(s.f_blocks, s.f_frsize, &size) < 0 ||
            mul_u64(s.f_bavail, s.f_frsize, &available) < 0)
                return;
        doctor_judge_room(path, size, available, &d->list);
        if (s.f_flag & ST_RDONLY)
                (void)doctor_add(&d->list, DOCTOR_MEMORY, DOCTOR_PROBLEM, "read-only", path,
                                 "the kernel found an error: see its log, and restart the node",
                                 "the file system is mounted read-only");
}

/* The latest moment that anything here tells of. */
static uint64_t latest_moment(const struct doctor *d, const struct install_record *record)
{
        uint64_t after = record->time;
        struct state_operation op;
        char path[PATH_MAX];
        struct stat s;

        if (d->has_was && d->was.time > after)
                after = d->was.time;
        if (d->state && state_operation_at(d->state, 0, &op) == 0 && op.time > after)
                after = op.time;
        (void)snprintf(path, sizeof(path), "%s" OS_RELEASE, d->env->root);
        if (stat(path, &s) == 0 && s.st_mtime > 0 && (uint64_t)s.st_mtime > after)
                after = (uint64_t)s.st_mtime;
        return after;
}

static void judge_failures(struct doctor *d)
{
        for (size_t i = 0; d->has_situation && i < d->situation.slots.n_entries; i++) {
                const struct entry_file *f = &d->situation.slots.entries[i];
                struct state_failure failure;

                /* One whose tries are used up has been told of. */
                if (!f->valid || !f->entry.has_sha256 || situation_is_bad(f) ||
                    state_find_failure(d->state, f->entry.sha256, &failure) < 0)
                        continue;
                (void)doctor_add(&d->list, DOCTOR_MEMORY, DOCTOR_WARNING, "image-failed-before",
                                 f->file, "upgrade to another version",
                                 "this image failed on this node before: %.400s", failure.reason);
        }
}

static void judge_state(struct doctor *d)
{
        struct state_operation op;
        uint8_t digest[SHA256_SIZE];

        if (!d->state) {
                if (d->node)
                        (void)doctor_add(&d->list, DOCTOR_MEMORY, DOCTOR_NOTE, "memory-closed",
                                         NULL, NULL,
                                         "what is remembered of operations is on the OEM "
                                         "partition, which is not open");
                return;
        }
        if (state_operation_at(d->state, 0, &op) == 0)
                doctor_judge_operation(&op, lock_is_held(d->env), &d->list);
        if (state_get_recovery_wish(d->state, digest) == 0)
                (void)doctor_add(&d->list, DOCTOR_MEMORY, DOCTOR_NOTE, "recovery-pending", NULL,
                                 "\"tb-agent upgrade --recovery\" does it, or the next "
                                 "confirmation",
                                 "recovery still waits for the image that active got");
        judge_failures(d);
}

static void judge_reset(struct doctor *d)
{
        struct error error = ERROR_INIT;
        int noted;

        if (!d->has_situation || !d->situation.reset_pending)
                return;
        noted = reset_node_is_noted(d->env, &error);
        if (noted < 0)
                doctor_add_error(&d->list, DOCTOR_MEMORY, DOCTOR_WARNING, "reset-pending", NULL,
                                 &error);
        else if (noted > 0)
                (void)doctor_add(&d->list, DOCTOR_MEMORY, DOCTOR_WARNING, "reset-pending", NULL,
                                 "start the node to complete it, or \"tb-agent reset --cancel\"",
                                 "a reset has begun and is not complete: the next boot goes on "
                                 "with it");
        else
                (void)doctor_add(&d->list, DOCTOR_MEMORY, DOCTOR_WARNING, "reset-foreign", NULL,
                                 "it does no harm: the next reset replaces it",
                                 "there is a journal of a reset that the TPM does not know of: it "
                                 "leads to nothing");
}

static void judge_boot_problems(struct doctor *d)
{
        struct json_object *problems;

        if (!d->boot || json_get_array(d->boot, "problems", &problems) < 0)
                return;
        for (size_t i = 0; i < json_object_array_length(problems); i++)
                (void)doctor_add(&d->list, DOCTOR_MEMORY, DOCTOR_WARNING, "boot-problem", NULL,
                                 NULL, "the boot stage said: %s",
                                 json_object_get_string(json_object_array_get_idx(problems, i)));
}

void doctor_memory(struct doctor *d)
{
        _cleanup_free_ struct install_record *record = calloc(1, sizeof(*record));
        struct error error = ERROR_INIT;
        bool open = d->state != NULL;

        judge_boot_problems(d);
        judge_state(d);
        judge_reset(d);
        if (!record)
                return;
        if (open && install_record_read(d->env, record, &error) < 0)
                doctor_add_error(&d->list, DOCTOR_MEMORY, DOCTOR_WARNING, "install-record", NULL,
                                 &error);
        doctor_judge_clock(moment_now(), latest_moment(d, record), &d->list);
        look_at_room(d, d->env->oem);
        look_at_room(d, d->env->persistent);
}
