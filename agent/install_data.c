/* SPDX-License-Identifier: Apache-2.0 */
/* One encrypted data partition of an installation: the volume, and the file system in it. */
#include "agent/install.h"

#include <stdio.h>
#include <string.h>

#include "agent/install_oem.h"
#include "agent/volume.h"
#include "partition/mkfs.h"

static char *mapping_name(const struct install_plan *p, const char *name)
{
        const char *last = extra_find(&p->extras, name) ? INSTALL_DM_EXTRA : name;
        char *mapping;

        return asprintf(&mapping, INSTALL_DM_PREFIX "%s", last) < 0 ? NULL : mapping;
}

static int fill_oem(const struct install_plan *p, const char *mapped, struct error *e)
{
        _cleanup_free_ struct install_record *record = calloc(1, sizeof(*record));

        if (!record)
                return error_oom(e);
        install_plan_record(p, record);
        return install_oem_fill(p->env, mapped, p->config, record, &p->measured, e);
}

static int make_file_system(const struct install_plan *p, const char *name, const char *label,
                            const struct volume *v, struct error *e)
{
        _cleanup_free_ char *dm_name = mapping_name(p, name), *mapped = NULL;
        int r, closed;

        if (!dm_name)
                return error_oom(e);
        if (asprintf(&mapped, "/dev/mapper/%s", dm_name) < 0) {
                mapped = NULL;
                return error_oom(e);
        }
        r = volume_activate(v, dm_name, e);
        if (r < 0)
                return r;
        r = mkfs_ext4(mapped, label, e);
        if (r == 0 && strcmp(name, LAYOUT_OEM_NAME) == 0)
                r = fill_oem(p, mapped, e);
        /* The first failure is the one to report. */
        closed = luks_deactivate(dm_name, r < 0 ? NULL : e);
        return r < 0 ? r : closed;
}

/* All is on it: from now on it is data. */
static int finish(const struct volume *v, const char *label, struct error *e)
{
        _cleanup_(luks_free_p) struct luks *luks = NULL, *again = NULL;
        int r = luks_open(v->device, &luks, e);

        if (r == 0)
                r = luks_set_label(luks, label, e);
        if (r == 0)
                r = luks_open(v->device, &again, e);
        return r < 0 ? r : luks_check_header(again, label, e);
}

int install_data_partition(const struct install_plan *p, struct tpm *tpm, const char *name,
                           const char *label, enum extra_fs fs, struct error *e)
{
        const struct volume_keys keys = {.tpm = tpm,
                                         .image = p->source.image,
                                         .literal_pcrs = p->literal_pcrs,
                                         .literal_values = p->literal_values,
                                         .pin = p->pin,
                                         .recovery_key = p->escrow.key};
        _cleanup_(volume_done) struct volume v = {.label = INSTALL_UNFINISHED_LABEL,
                                                  .device_sector = p->disk->sector_size,
                                                  .allow_discards = p->allow_discards};
        _cleanup_free_ char *device = NULL;
        const struct layout_partition *l;
        int r = layout_find(&p->layout, name, &l);

        if (r < 0)
                return error_set(e, ERROR_INTERNAL, -r, "plan without \"%s\"", name);
        r = disk_partition_path(p->disk, l->number, &device, e);
        if (r < 0)
                return r;
        v.device = device;
        r = volume_enrol(&keys, &v, e);
        if (r == 0)
                r = volume_prove(&keys, &v, e);
        if (r == 0 && fs != EXTRA_FS_NONE)
                r = make_file_system(p, name, label, &v, e);
        if (r == 0)
                r = finish(&v, label, e);
        return r < 0 ? error_wrap(e, r, "%s", name) : 0;
}
