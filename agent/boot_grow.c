/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The persistent partition of a disk that became larger: of a virtual machine that was given more,
 * or a disk image that was written to a larger disk. Room that does not come is no reason not to
 * boot: what fails is a problem of the report.
 */
#include "agent/boot.h"
#include "base/log.h"
#include "base/num.h"
#include "partition/grow.h"

static void tell(struct boot *b, const char *key, const char *what, uint64_t from, uint64_t to)
{
        char old[32], new[32];

        log_info("%s: grew from %s to %s", what, format_size(from, old, sizeof(old)),
                 format_size(to, new, sizeof(new)));
        boot_report_set_u64(b->report, key, to);
}

static void problem(struct boot *b, int r, struct error *e)
{
        (void)error_wrap(e, r, "growing the persistent partition");
        log_warning("%s", e->text);
        boot_report_problem(b->report, e->text);
}

/* Before the partition is unlocked: then the volume that is activated has the new size already. */
void boot_grow_partition(struct boot *b)
{
        struct disk *d = b->node->disk;
        struct error error = ERROR_INIT;
        struct grow g;
        int r = grow_plan(d, LAYOUT_PERSISTENT_NAME, &g, &error);

        if (r == 0)
                return;
        if (r > 0)
                r = disk_lock(d, &error);
        if (r == 0)
                r = grow_apply(d, &g, &error);
        if (r == 0)
                r = disk_resize_kernel_partition(d, g.number, g.start, g.new_size, &error);
        if (r < 0)
                problem(b, r, &error);
        else
                tell(b, "grown_partition", LAYOUT_PERSISTENT_NAME, g.old_size, g.new_size);
}

void boot_grow_file_system(struct boot *b, const char *device, const char *mount_point)
{
        struct error error = ERROR_INIT;
        uint64_t old, new;
        int r = grow_ext4(device, mount_point, &old, &new, &error);

        if (r < 0)
                problem(b, r, &error);
        else if (r > 0)
                tell(b, "grown_file_system", mount_point, old, new);
}
