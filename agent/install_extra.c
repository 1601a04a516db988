/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/install.h"

#include <stdio.h>

#include "agent/install_keep.h"
#include "partition/mkfs.h"

static int make_plain(const struct install_plan *p, const struct extra *x, struct error *e)
{
        _cleanup_free_ char *device = NULL;
        const struct layout_partition *l;
        int r = layout_find(&p->layout, x->name, &l);

        if (r < 0)
                return error_set(e, ERROR_INTERNAL, -r, "plan without \"%s\"", x->name);
        if (x->fs == EXTRA_FS_NONE)
                return 0;
        r = disk_partition_path(p->disk, l->number, &device, e);
        return r < 0 ? r : mkfs_ext4(device, x->label, e);
}

int install_extra_partitions(const struct install_plan *p, struct tpm *tpm,
                             struct install_progress *progress, struct error *e)
{
        int r = 0;

        for (size_t i = 0; i < p->extras.n && r == 0; i++) {
                const struct extra *x = &p->extras.item[i];

                if (install_keep_has(p, x->name))
                        continue;
                install_progress_step(progress, INSTALL_STEP_EXTRA, x->name, 0);
                if (x->encrypted)
                        r = install_data_partition(p, tpm, x->name, x->label, x->fs, e);
                else
                        r = make_plain(p, x, e);
        }
        return r;
}
