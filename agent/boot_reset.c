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
#include "agent/pcr_choice.h"
#include "agent/reset_node.h"
#include "agent/situation.h"
#include "agent/statereset.h"
#include "base/file.h"
#include "base/log.h"
#include "partition/mount.h"
#include "partition/tpm_note.h"

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
                r = node_check_esp(device, path, e);
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
        char text[sizeof(e->text) + 100];

        (void)snprintf(text, sizeof(text), "%s: %s", what, e->text);
        log_warning("%s", text);
        boot_report_problem(b->report, text);
}

static bool was_chosen(const struct boot *b, const struct entry_file *list, size_t n)
{
        struct loader_info loader;

        return entry_is_reset(&b->entry) && loader_info(b->env, &loader) == 0 &&
               statereset_was_chosen(b->env, list, n, loader.major);
}

/* While the ESP is open: why it came to recovery. */
static void look_at_entries(struct boot *b, const struct esp *esp)
{
        _cleanup_free_ struct entry_file *list = NULL;
        size_t n = 0;

        if (b->entry.role != ENTRY_ROLE_RECOVERY || esp_list_entries(esp, &list, &n, NULL) < 0)
                return;
        b->chosen = was_chosen(b, list, n);
        if (boot_issue_entries(list, n, &b->why) < 0)
                log_debug("the list of failed entries is cut");
}

/* Looks only. digest NULL: at the entries alone. */
static int look_at_esp(struct boot *b, const uint8_t *digest, struct reset_journal *ret,
                       struct error *e)
{
        struct esp esp;
        int fd = -EBADF, r = open_esp(b, false, &fd, e);

        if (r == 0) {
                esp = (struct esp)ESP_INIT(fd);
                look_at_entries(b, &esp);
                if (digest)
                        r = reset_journal_load(&esp, digest, ret, e);
        }
        close_esp(b, &fd);
        return r;
}

static void forget_note(const struct boot *b)
{
        struct error error = ERROR_INIT;

        if (tpm_note_remove(b->tpm, &error) < 0)
                problem(b, "note of a reset", &error);
}

/*
 * What the TPM has no note of led to nothing, and nobody asks for it; only recovery looks at the
 * boot partition all the same. What cannot be read is no reason not to start.
 */
static bool find_journal(struct boot *b, struct reset_journal *ret)
{
        struct error error = ERROR_INIT;
        uint8_t digest[SHA256_SIZE];
        int noted = b->tpm ? tpm_note_read(b->tpm, digest, &error) : 0, r;

        if (noted < 0)
                problem(b, "note of a reset", &error);
        if (noted <= 0 && b->entry.role != ENTRY_ROLE_RECOVERY)
                return false;
        error_clear(&error);
        r = look_at_esp(b, noted > 0 ? digest : NULL, ret, &error);
        if (r < 0 && r != -ENOENT)
                problem(b, "journal of a reset", &error);
        /* What takes the place of a journal, or its absence, shall not wait for the journal. */
        if (noted > 0 && (r == -ENOENT || r == -EKEYREJECTED || r == -EBADMSG))
                forget_note(b);
        return noted > 0 && r == 0;
}

/* Nobody is asked for a PIN when nothing is left to do. */
static int take_pin(struct boot *b, const struct reset_world *w, const struct reset_journal *j,
                    struct secret **ret, struct error *e)
{
        _cleanup_free_ struct reset_report *report = calloc(1, sizeof(*report));
        int r = report ? reset_look(w, j, report, e) : error_oom(e);

        return r < 0 || report->stale || !j->pin ? r : boot_reset_pin(b, j, ret, e);
}

static int resume(struct boot *b, struct reset_world *w, const struct reset_journal *j,
                  struct reset_report *report, struct error *e)
{
        struct machine_options options = {.fresh = true};
        _cleanup_(secret_free_p) struct secret *pin = NULL;
        _cleanup_free_ char *key = NULL;
        uint8_t values[PCR_CHOICE_LITERAL_COUNT * SHA256_SIZE];
        struct machine machine;
        int r;

        r = machine_running_key(b->env, &key, e);
        options.policy_key = key;
        if (r == 0)
                r = machine_check_secure_boot(b->env, e);
        if (r == 0)
                r = tpm_read_pcrs(b->tpm, j->pcrs, values, e);
        if (r == 0)
                r = machine_read(b->env, &options, &machine, e);
        if (r < 0)
                return r;
        r = take_pin(b, w, j, &pin, e);
        w->demands = &machine.demands;
        w->values = values;
        w->pin = pin;
        if (r == 0)
                r = reset_resume(w, j, report, e);
        w->values = NULL;
        w->pin = NULL;
        w->demands = NULL;
        if (r == 0 && pin) { /* it opens what comes next, too */
                secret_free(b->pin.text);
                b->pin.text = TAKE_PTR(pin);
        }
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
        struct reset_node node = {.env = b->env, .node = b->node, .journal = j};
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

/* Nothing is left to do for it, or nothing was done yet: no reason to fail. */
static bool can_wait(const struct boot *b, const struct reset_journal *j)
{
        struct reset_node node = {.env = b->env, .node = b->node, .journal = j};
        struct reset_world w = {.env = b->env};
        _cleanup_free_ struct reset_report *report = calloc(1, sizeof(*report));

        reset_node_world(&node, &w);
        return report && reset_look(&w, j, report, NULL) == 0 && (report->stale || report->intact);
}

int boot_reset(struct boot *b, struct error *e)
{
        struct reset_journal journal;
        struct error error = ERROR_INIT;
        int fd = -EBADF, r;
        struct esp esp;
        bool found = find_journal(b, &journal);

        boot_report_step(b->report, "journal");
        if (!found)
                return 0;
        r = open_esp(b, true, &fd, &error);
        if (r < 0 && can_wait(b, &journal)) {
                problem(b, "a reset has to wait, because the boot partition takes no writes",
                        &error);
                return 0;
        }
        if (r < 0) {
                *e = error;
                return r;
        }
        esp = (struct esp)ESP_INIT(fd);
        r = go_on(b, &journal, &esp, e);
        close_esp(b, &fd);
        boot_report_step(b->report, "reset");
        return r;
}
