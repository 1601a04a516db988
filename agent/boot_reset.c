/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A reset that was cut goes on in the next boot, whichever entry that starts: before anything is
 * unlocked, while nothing of the node is in use.
 */
#include "agent/boot.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agent/boot_issue.h"
#include "agent/machine.h"
#include "agent/reset_node.h"
#include "agent/situation.h"
#include "base/file.h"
#include "base/log.h"
#include "partition/mkfs.h"
#include "partition/mount.h"

static char *target(const struct boot *b)
{
        char *path;

        return asprintf(&path, "%s/tb-agent/boot-esp", b->env->run) < 0 ? NULL : path;
}

/* In the name space of all: there is nobody else yet. */
static int open_esp(const struct boot *b, bool writable, int *ret, struct error *e)
{
        _cleanup_free_ char *device = NULL, *path = target(b);
        int r, fd;

        if (!path)
                return error_oom(e);
        r = disk_partition_path(b->node->disk, b->node->esp->number, &device, e);
        if (r == 0 && writable)
                r = mkfs_check_vfat(device, e);
        if (r == 0)
                r = node_mount_vfat(device, path, writable, e);
        if (r < 0)
                return r;
        fd = file_open_dir(AT_FDCWD, path);
        if (fd < 0)
                return error_errno(e, -fd, "%s", path);
        *ret = fd;
        return 0;
}

static void close_esp(const struct boot *b, int *fd)
{
        _cleanup_free_ char *path = target(b);
        struct error error = ERROR_INIT;

        if (*fd < 0)
                return;
        close_p(fd);
        if (path && mount_unmount(path, &error) < 0)
                log_warning("%s", error.text);
}

static void problem(const struct boot *b, const char *what, const struct error *e)
{
        log_warning("%s: %s", what, e->text);
        boot_report_problem(b->report, e->text);
}

/* While the ESP is open: why it came to recovery. */
static void look_at_entries(struct boot *b, const struct esp *esp)
{
        _cleanup_free_ struct entry_file *list = NULL;
        size_t n = 0;

        if (b->entry.role == ENTRY_ROLE_RECOVERY && esp_list_entries(esp, &list, &n, NULL) == 0 &&
            boot_issue_entries(list, n, &b->why) < 0)
                log_debug("the list of failed entries is cut");
}

/* Looks only. What cannot be read is no reason not to start. */
static bool find_journal(struct boot *b, struct reset_journal *ret, bool *ret_damaged)
{
        struct error error = ERROR_INIT;
        struct esp esp;
        int fd = -EBADF, r = open_esp(b, false, &fd, &error);

        *ret_damaged = false;
        if (r == 0) {
                esp = (struct esp)ESP_INIT(fd);
                look_at_entries(b, &esp);
                r = reset_journal_load(&esp, ret, &error);
        }
        close_esp(b, &fd);
        if (r < 0 && r != -ENOENT)
                problem(b, "journal of a reset", &error);
        *ret_damaged = r == -EBADMSG;
        return r == 0 || *ret_damaged;
}

static int resume(struct boot *b, struct reset_world *w, const struct reset_journal *j,
                  struct reset_report *report, struct error *e)
{
        const struct machine_options options = {.fresh = true};
        uint8_t pcr7[SHA256_SIZE];
        struct machine machine;
        int r;

        if (!b->tpm)
                return error_set(e, ERROR_PRECONDITION, ENODEV, "no TPM: the reset cannot go on");
        r = machine_check_secure_boot(b->env, e);
        if (r == 0)
                r = tpm_read_pcrs(b->tpm, VOLUME_LITERAL_PCRS, pcr7, e);
        if (r == 0)
                r = machine_read(b->env, &options, &machine, e);
        if (r < 0)
                return r;
        w->demands = &machine.demands;
        w->pcr7 = pcr7;
        r = reset_resume(w, j, report, e);
        machine_done(&machine);
        return r;
}

/* The image that the reset made active is another one than this: it shall find the new volumes. */
static bool runs_another(const struct boot *b, const struct esp *esp,
                         const struct reset_report *report)
{
        struct situation s;
        bool same;

        if (b->entry.role == ENTRY_ROLE_RECOVERY || report->stale)
                return false;
        if (situation_read(b->env, esp, &s, NULL) < 0)
                return true;
        same = s.running.has_sha256 && memcmp(s.running.sha256, report->sha256, SHA256_SIZE) == 0;
        situation_done(&s);
        return !same;
}

static int go_on(struct boot *b, const struct reset_journal *j, const struct esp *esp,
                 struct error *e)
{
        struct reset_node node = {.env = b->env, .node = b->node};
        struct reset_world w = {.env = b->env, .esp = esp, .tpm = b->tpm};
        _cleanup_free_ struct reset_report *report = calloc(1, sizeof(*report));
        struct error error = ERROR_INIT;
        int r;

        if (!report)
                return error_oom(e);
        reset_node_world(&node, &w);
        log_warning("a reset of this node was interrupted: it goes on");
        r = resume(b, &w, j, report, &error);
        if (r < 0 && !report->started && reset_cancel(&w, j, NULL) == 0) {
                /* The data is whole: a node that works is better than a reset that does not. */
                problem(b, "the reset cannot be carried out and is taken back", &error);
                return 0;
        }
        if (r < 0) {
                *e = error;
                error_advise(e, "reset the node from its recovery entry: tb-agent reset");
                return error_wrap(e, r, "reset");
        }
        log_warning(report->stale ? "nothing was left to do for the reset"
                                  : "the reset is complete");
        boot_report_set(b->report, "reset", report->stale ? "stale" : "resumed");
        return runs_another(b, esp, report);
}

int boot_reset(struct boot *b, struct error *e)
{
        struct reset_journal journal;
        struct error error = ERROR_INIT;
        int fd = -EBADF, r;
        struct esp esp;
        bool damaged, found = find_journal(b, &journal, &damaged);

        boot_report_step(b->report, "journal");
        if (!found)
                return 0;
        r = open_esp(b, true, &fd, e);
        if (r < 0)
                return r;
        esp = (struct esp)ESP_INIT(fd);
        if (!damaged) {
                r = go_on(b, &journal, &esp, e);
        } else if (reset_journal_remove(&esp, &error) < 0) {
                /* Written whole before anything was destroyed: one that is not led to nothing. */
                problem(b, "journal of a reset", &error);
        }
        close_esp(b, &fd);
        boot_report_step(b->report, "reset");
        return r;
}
