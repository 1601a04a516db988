/* SPDX-License-Identifier: Apache-2.0 */
/* Everything that the findings need, each for itself: what fails is noted, and the rest goes on. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "agent/boot_report.h"
#include "agent/doctor.h"
#include "agent/lock.h"
#include "agent/machine.h"
#include "agent/pcr_choice.h"
#include "base/limits.h"
#include "base/log.h"
#include "partition/mkfs.h"
#include "partition/mount.h"

/* --- the disk -------------------------------------------------------------------------------- */

/* UUID of the ESP of a disk with the partitions of a node. -ENOENT: it is none. */
static int node_esp_uuid(const struct disk *disk, char ret[LAYOUT_UUID_SIZE], struct error *e)
{
        static const char *const names[] = {LAYOUT_OEM_NAME, LAYOUT_PERSISTENT_NAME,
                                            LAYOUT_ESP_NAME};
        _cleanup_free_ struct layout *layout = calloc(1, sizeof(*layout));
        const struct layout_partition *p = NULL;
        int r = layout ? layout_read(disk, layout, e) : error_oom(e);

        for (size_t i = 0; i < ARRAY_SIZE(names) && r == 0; i++) {
                if (layout_find(layout, names[i], &p) < 0)
                        r = error_set(e, ERROR_PRECONDITION, ENOENT,
                                      "%s: no node: the partition \"%s\" is missing", disk->path,
                                      names[i]);
        }
        if (r == 0)
                (void)snprintf(ret, LAYOUT_UUID_SIZE, "%s", p->uuid);
        return r;
}

static int find_named(const struct env *env, const char *path, struct node **ret, struct error *e)
{
        _cleanup_(disk_free_p) struct disk *disk = NULL;
        char uuid[LAYOUT_UUID_SIZE];
        int r = disk_open(env, path, &disk, e);

        if (r == 0)
                r = node_esp_uuid(disk, uuid, e);
        return r < 0 ? r : node_find(env, uuid, ret, e);
}

/* In a live session: the only disk with a node. */
static int find_only(const struct env *env, struct node **ret, struct error *e)
{
        char **names, found[LAYOUT_UUID_SIZE];
        unsigned hits = 0;
        size_t n;
        int r = disk_list(env, &names, &n, e);

        if (r < 0)
                return r;
        for (size_t i = 0; i < n; i++) {
                _cleanup_(disk_free_p) struct disk *disk = NULL;
                char uuid[LAYOUT_UUID_SIZE];

                if (disk_open_name(env, names[i], &disk, NULL) < 0 || disk->size == 0 ||
                    node_esp_uuid(disk, uuid, NULL) < 0)
                        continue;
                hits++;
                memcpy(found, uuid, sizeof(found));
        }
        disk_free_names(names, n);
        if (hits == 1)
                return node_find(env, found, ret, e);
        error_set(e, ERROR_PRECONDITION, hits ? ENOTUNIQ : ENODEV,
                  hits ? "%u disks here have a node" : "no disk here has a node", hits);
        if (hits > 0)
                error_advise(e, "name one by --disk");
        return hits ? -ENOTUNIQ : -ENODEV;
}

static void look_at_disk(struct doctor *d, const char *disk)
{
        struct error *e = &d->node_error;
        int r;

        if (disk)
                r = find_named(d->env, disk, &d->node, e);
        else if (strcmp(d->role, "live") == 0)
                r = find_only(d->env, &d->node, e);
        else
                r = node_find_booted(d->env, &d->node, e);
        if (r < 0)
                d->node = NULL;
}

/* --- the ESP --------------------------------------------------------------------------------- */

/* While nobody repairs or mounts it. */
static void check_fat(struct doctor *d)
{
        const struct layout_partition *esp = d->node->esp;
        _cleanup_free_ char *device = NULL;
        _cleanup_close_ int turn = lock_turn(d->env, &d->fat_error), fd = -EBADF;
        int r = turn < 0 ? turn
                         : disk_partition_path(d->node->disk, esp->number, &device, &d->fat_error);

        if (r < 0)
                return;
        fd = open(device, O_RDONLY | O_CLOEXEC | O_NOCTTY);
        if (fd < 0)
                r = error_errno(&d->fat_error, errno, "%s", device);
        else
                r = fat_check(fd, 0, esp->size, &d->fat, &d->fat_error);
        if (r == 0 && d->fat.dirty)
                d->esp_mounted = mkfs_vfat_was_cut(device, NULL) == 0;
        d->esp_read_only = mount_takes_no_writes(device);
}

static void look_at_esp(struct doctor *d)
{
        struct error *e = &d->esp_error;

        if (!d->node) {
                d->fat_error = d->esp_error = d->situation_error = d->node_error;
                return;
        }
        check_fat(d);
        if (node_mount_esp(d->env, d->node, false, &d->esp.fd, e) < 0) {
                d->esp.fd = -EBADF;
                d->situation_error = *e;
                return;
        }
        d->esp.esp = (struct esp)ESP_INIT(d->esp.fd);
        d->has_situation =
                situation_read(d->env, &d->esp.esp, &d->situation, &d->situation_error) == 0;
}

/* --- TPM and firmware ------------------------------------------------------------------------ */

static void look_at_tpm(struct doctor *d)
{
        uint32_t all = (UINT32_C(1) << TPM_PCR_COUNT) - 1;

        /* What it accepts was accepted when the node was installed. */
        d->facts.allow_software_tpm = true;
        preflight_read(d->env, &d->facts);
        if (d->facts.tpm_error.code != 0 || tpm_open(d->env->tcti, &d->tpm, &d->pcr_error) < 0) {
                d->tpm = NULL;
                d->pcr_error = d->facts.tpm_error.code ? d->facts.tpm_error : d->pcr_error;
                return;
        }
        if (tpm_read_pcrs(d->tpm, all, &d->pcr[0][0], &d->pcr_error) < 0)
                memset(d->pcr, 0, sizeof(d->pcr));
}

/* Its PCRs, as far as they are those of the TPM. */
static uint32_t explained(const struct doctor *d)
{
        uint32_t mask = 0;

        for (unsigned pcr = 0; pcr < TPM_PCR_COUNT; pcr++) {
                uint8_t value[SHA256_SIZE];

                if (PCR_CHOICE_LITERAL & UINT32_C(1) << pcr &&
                    eventlog_replay(d->log, pcr, value) == 0 &&
                    memcmp(value, d->pcr[pcr], SHA256_SIZE) == 0)
                        mask |= UINT32_C(1) << pcr;
        }
        return mask;
}

static void look_at_log(struct doctor *d)
{
        struct error *e = &d->log_error;
        int r;

        d->log_text = (struct buf)BUF_INIT(LIMIT_EVENTLOG);
        r = eventlog_read(d->env, &d->log_text, e);
        if (r == 0)
                r = eventlog_parse(d->log_text.data, d->log_text.len, &d->log, e);
        if (r < 0 || !d->tpm || d->pcr_error.code != 0)
                return;
        r = measured_take(d->log, explained(d), &d->now);
        d->has_now = r == 0;
        if (r == 0)
                d->now.has_tpm = tpm_identity(d->tpm, d->now.tpm, NULL) == 0;
}

/* The copy that others cannot change, where it can be read. */
static void look_at_note(struct doctor *d)
{
        _cleanup_close_ int oem = machine_open_state(d->env);

        d->was_from = "the OEM partition";
        d->has_was = oem >= 0 && measured_read_oem(d->env, &d->was, NULL) > 0;
        if (d->has_was || d->esp.fd < 0)
                return;
        d->was_from = "the boot partition, which is not protected";
        d->has_was = measured_read_esp(d->esp.fd, &d->was, NULL) > 0;
}

static void look_at_starters(struct doctor *d)
{
        struct error *e = &d->starters_error;

        if (keychange_read(d->env, NULL, 0, &d->variables, &d->variables_error) < 0)
                *e = d->variables_error;
        else if (d->esp.fd < 0)
                *e = d->esp_error;
        else if (!d->tpm)
                *e = d->pcr_error;
        else
                d->has_starters = starters_read(d->env, &d->esp.esp, d->tpm, &d->variables,
                                                &d->starters, e) == 0;
}

/* --- data ------------------------------------------------------------------------------------ */

static void look_at_volumes(struct doctor *d)
{
        const struct starters *starters = d->has_starters ? &d->starters : NULL;

        if (!d->node)
                return;
        data_list(d->node, &d->volumes);
        for (size_t i = 0; i < d->volumes.n; i++) {
                struct ways_volume *v = &d->volume[i];
                int r;

                v->volume = &d->volumes.item[i];
                r = data_open_header(d->node, v->volume, &v->device, &v->luks, &d->volume_error[i]);
                if (r == 0)
                        r = ways_judge(v, d->tpm, starters, &d->volume_error[i]);
                if (r < 0 && d->volume_error[i].code == 0)
                        d->volume_error[i].code = -r;
        }
}

/* --- together -------------------------------------------------------------------------------- */

static void look_at_role(struct doctor *d)
{
        const char *role;

        if (boot_report_read(d->env, &d->boot, NULL) < 0) {
                d->boot = NULL;
                return;
        }
        if (json_get_str(d->boot, "role", &role) == 0)
                (void)snprintf(d->role, sizeof(d->role), "%s", role);
}

void doctor_look(struct doctor *d, const struct env *env, const char *disk)
{
        _cleanup_close_ int state = machine_open_state(env);

        d->env = env;
        d->esp.fd = -EBADF;
        look_at_role(d);
        look_at_disk(d, disk);
        look_at_esp(d);
        look_at_tpm(d);
        look_at_log(d);
        look_at_note(d);
        look_at_starters(d);
        look_at_volumes(d);
        if (state >= 0 && state_load(state, &d->state, NULL) < 0)
                d->state = NULL;
}

void doctor_done(struct doctor *d)
{
        struct error error = ERROR_INIT;

        for (size_t i = 0; i < d->volumes.n; i++)
                ways_volume_done(&d->volume[i]);
        if (d->has_starters)
                starters_done(&d->starters);
        if (d->has_situation)
                situation_done(&d->situation);
        keychange_done(&d->variables);
        measured_done(&d->was);
        measured_done(&d->now);
        eventlog_free(d->log);
        buf_done(&d->log_text);
        tpm_free(d->tpm);
        state_free(d->state);
        if (d->esp.fd >= 0) {
                close_p(&d->esp.fd);
                if (node_unmount_esp(d->env, &error) < 0)
                        log_warning("%s", error.text);
        }
        node_free(d->node);
        (void)json_object_put(d->boot);
        doctor_list_done(&d->list);
}
