/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The order: empty disk -> partitions known to the kernel only -> contents -> table. Until the
 * table is written, and it is written last, firmware sees an empty disk: a power cut never leaves
 * half a node that starts.
 */
#include "agent/install.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "agent/install_auto.h"
#include "agent/install_keep.h"
#include "agent/node.h"
#include "agent/statereset.h"
#include "base/file.h"
#include "base/log.h"
#include "partition/mkfs.h"
#include "partition/mount.h"
#include "partition/tpm_mark.h"

static const char entries_srel[] = "type1\n";

static int prepare_disk(struct install_plan *p, struct error *e)
{
        int r = disk_clear(p->disk, e);

        for (size_t i = 0; i < p->layout.n && r == 0; i++) {
                const struct layout_partition *l = &p->layout.partitions[i];
                _cleanup_free_ char *path = NULL;

                r = disk_add_kernel_partition(p->disk, l->number, l->start, l->size, e);
                if (r == 0)
                        r = disk_partition_path(p->disk, l->number, &path, e);
                if (r == 0)
                        r = disk_wipe_signatures(path, e);
        }
        return r;
}

static int add_entry(const struct esp *esp, const struct install_plan *p, enum entry_role role,
                     uint32_t image, uint32_t tries, struct error *e)
{
        struct entry_name name = {.role = role, .counted = tries > 0, .tries_left = tries};
        char text[ENTRY_SIZE], file[NAME_MAX + 1];
        int r;

        (void)snprintf(name.base, sizeof(name.base), "%s", entry_role_name(role));
        r = image_entry(p->source.image, image, role, bootloader_entry_key(&p->source.loader), text,
                        e);
        if (r < 0)
                return r;
        r = entry_name_format(&name, file);
        if (r < 0)
                return error_set(e, ERROR_INTERNAL, -r, "name of a boot entry");
        return esp_add_entry(esp, file, text, e);
}

/* Only where the configuration that goes onto the node allows it. */
static int add_reset_entry(const struct esp *esp, const struct install_plan *p, struct error *e)
{
        char text[ENTRY_SIZE];
        struct entry entry;
        int r;

        if (!p->config || !p->config->reset.unattended)
                return 0;
        r = image_entry(p->source.image, INSTALL_RECOVERY_NUMBER, ENTRY_ROLE_RECOVERY,
                        bootloader_entry_key(&p->source.loader), text, e);
        if (r == 0 && entry_parse(text, sizeof(text), &entry) < 0)
                r = error_set(e, ERROR_INTERNAL, EINVAL, "boot entry");
        if (r == 0)
                r = statereset_text(&entry, text, e);
        return r < 0 ? r : esp_add_entry(esp, STATERESET_FILE, text, e);
}

int install_fill_esp(const struct esp *esp, const struct install_plan *p,
                     struct install_progress *progress, struct error *e)
{
        int r = esp_make_dir(esp, ESP_IMAGE_DIR, e);

        if (r == 0)
                r = esp_make_dir(esp, ESP_ENTRY_DIR, e);
        install_progress_step(progress, INSTALL_STEP_ACTIVE, NULL, image_size(p->source.image));
        if (r == 0)
                r = image_add(esp, p->source.image, INSTALL_IMAGE_NUMBER, e);
        install_progress_step(progress, INSTALL_STEP_RECOVERY, NULL, image_size(p->source.image));
        if (r == 0)
                r = image_add(esp, p->source.image, INSTALL_RECOVERY_NUMBER, e);
        install_progress_step(progress, INSTALL_STEP_ENTRIES, NULL, 0);
        if (r == 0)
                r = esp_add_file(esp, "loader/entries.srel", entries_srel, strlen(entries_srel), e);
        if (r == 0)
                r = install_firmware_fill_esp(p, esp, e);
        if (r == 0 && p->unattended)
                r = install_auto_fill_esp(p->config, image_sha256(p->source.image), esp, e);
        if (r == 0)
                r = add_entry(esp, p, ENTRY_ROLE_RECOVERY, INSTALL_RECOVERY_NUMBER, 0, e);
        if (r == 0)
                r = add_reset_entry(esp, p, e);
        if (r == 0)
                r = add_entry(esp, p, ENTRY_ROLE_PASSIVE, INSTALL_IMAGE_NUMBER, 0, e);
        if (r == 0)
                r = add_entry(esp, p, ENTRY_ROLE_ACTIVE, INSTALL_IMAGE_NUMBER, INSTALL_TRIES, e);
        if (r == 0)
                r = bootloader_add(esp, &p->source.loader, e);
        return r;
}

static int find_partition(const struct install_plan *p, const char *name,
                          const struct layout_partition **ret, struct error *e)
{
        int r = layout_find(&p->layout, name, ret);

        return r < 0 ? error_set(e, ERROR_INTERNAL, -r, "plan without \"%s\"", name) : 0;
}

static int make_esp(struct install_plan *p, struct install_progress *progress, struct error *e)
{
        _cleanup_free_ char *path = NULL, *target = NULL;
        const struct layout_partition *l;
        _cleanup_close_ int fd = -EBADF;
        struct esp esp;
        int r, unmounted;

        r = find_partition(p, LAYOUT_ESP_NAME, &l, e);
        if (r == 0)
                r = disk_partition_path(p->disk, l->number, &path, e);
        if (r == 0)
                r = mkfs_vfat(path, LAYOUT_ESP_LABEL, e);
        if (r < 0)
                return r;
        if (asprintf(&target, "%s/tb-agent/install-esp", p->env->run) < 0) {
                target = NULL;
                return error_oom(e);
        }
        r = node_mount_vfat(path, target, true, e);
        if (r < 0)
                return r;
        fd = file_open_dir(AT_FDCWD, target);
        if (fd < 0) {
                r = error_errno(e, -fd, "%s", target);
        } else {
                esp = (struct esp)ESP_INIT(fd);
                esp.copied = install_progress_bytes;
                esp.copied_arg = progress;
                r = install_fill_esp(&esp, p, progress, e);
                if (r == 0 && p->measured.n > 0)
                        r = measured_write(&p->measured, -EBADF, &esp, e);
        }
        close_p(&fd);
        /* The first failure is the one to report. */
        unmounted = mount_unmount(target, r < 0 ? NULL : e);
        return r < 0 ? r : unmounted;
}

static int make_data(struct install_plan *p, struct install_progress *progress, struct error *e)
{
        _cleanup_(tpm_free_p) struct tpm *tpm = NULL;
        int r = tpm_open(p->env->tcti, &tpm, e);

        install_progress_step(progress, INSTALL_STEP_OEM, NULL, 0);
        if (r == 0 && !install_keep_has(p, LAYOUT_OEM_NAME))
                r = install_data_partition(p, tpm, LAYOUT_OEM_NAME, LAYOUT_OEM_LABEL, EXTRA_FS_EXT4,
                                           e);
        if (r == 0)
                r = install_extra_partitions(p, tpm, progress, e);
        if (r < 0 || install_keep_has(p, LAYOUT_PERSISTENT_NAME))
                return r;
        install_progress_step(progress, INSTALL_STEP_PERSISTENT, NULL, 0);
        return install_data_partition(p, tpm, LAYOUT_PERSISTENT_NAME, LAYOUT_PERSISTENT_LABEL,
                                      EXTRA_FS_EXT4, e);
}

static int fill_disk(struct install_plan *p, struct install_progress *progress, struct error *e)
{
        int r;

        install_progress_step(progress, INSTALL_STEP_ESP, NULL, 0);
        r = make_esp(p, progress, e);
        if (r == 0)
                r = make_data(p, progress, e);
        /* Before the table: see agent/install_escrow.h. */
        if (r == 0)
                r = install_escrow_deliver(&p->escrow, e);
        if (r < 0)
                return r;
        install_progress_step(progress, INSTALL_STEP_TABLE, NULL, 0);
        return layout_write(p->disk, &p->layout, e);
}

/* The table is there: so the ESP comes last, and on it the boot loader. */
static int fill_partitions(struct install_plan *p, struct install_progress *progress,
                           struct error *e)
{
        int r = make_data(p, progress, e);

        if (r == 0)
                r = install_escrow_deliver(&p->escrow, e);
        if (r < 0)
                return r;
        install_progress_step(progress, INSTALL_STEP_ESP, NULL, 0);
        return make_esp(p, progress, e);
}

/* Last: a node that did not come to be is none to remember. It is complete without that; each of
 * its boots does the same again, and "status" tells when it fails there. */
void install_remember_node(const struct install_plan *p)
{
        _cleanup_(tpm_free_p) struct tpm *tpm = NULL;
        struct error error = ERROR_INIT;
        int r = tpm_open(p->env->tcti, &tpm, &error);

        if (r == 0)
                r = tpm_mark_set(tpm, &error);
        if (r < 0)
                log_warning("%s", error.text);
}

/* For "doctor" alone, which does without where it is not to be had. With new keys the next boot
 * measures something else. */
static void note_measurements(struct install_plan *p)
{
        _cleanup_(tpm_free_p) struct tpm *tpm = NULL;
        struct error error = ERROR_INIT;

        if (p->firmware.keys.wanted || tpm_open(p->env->tcti, &tpm, &error) < 0)
                return;
        if (measured_read_now(p->env, tpm, &p->measured, &error) < 0) {
                log_debug("%s", error.text);
                return;
        }
        (void)snprintf(p->measured.version, sizeof(p->measured.version), "%s",
                       image_version(p->source.image));
}

static int apply(struct install_plan *p, struct install_progress *progress, struct error *e)
{
        /* In the name space of the session: what is released there is released for all. */
        int r = install_disk_claim(p->disk, &p->choice, e);

        if (r == 0)
                r = mount_private(e);
        if (r < 0)
                return r;
        install_progress_step(progress, INSTALL_STEP_CLEAR, NULL, 0);
        r = p->no_format ? install_keep_clear(p, e) : prepare_disk(p, e);
        if (r < 0)
                return r;
        note_measurements(p);
        r = p->no_format ? fill_partitions(p, progress, e) : fill_disk(p, progress, e);
        if (r < 0)
                return r;
        install_progress_step(progress, INSTALL_STEP_FIRMWARE, NULL, 0);
        install_firmware_apply(p);
        install_remember_node(p);
        return 0;
}

int install_apply(struct install_plan *p, struct install_progress *progress, struct error *e)
{
        int r = install_escrow_begin(&p->escrow, p->env, p->disk, e);

        if (r < 0)
                return r;
        r = apply(p, progress, e);
        if (r < 0)
                install_escrow_abandon(&p->escrow);
        return r;
}
