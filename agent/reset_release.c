/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/reset_release.h"

#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "agent/reset_node.h"
#include "base/log.h"
#include "partition/floor_nv.h"
#include "partition/mount.h"
#include "upgrade/state.h"

static bool is_mount_point(const char *path)
{
        _cleanup_free_ char *above = NULL;
        struct stat here, up;

        if (asprintf(&above, "%s/..", path) < 0) {
                above = NULL;
                return false;
        }
        return stat(path, &here) == 0 && stat(above, &up) == 0 && here.st_dev != up.st_dev;
}

static int release(const struct reset_plan *p, const struct data_volume *v, struct error *e)
{
        const char *at = data_mount_point(p->env, v, p->recovery);
        int r = 0;

        if (!data_is_open(p->node, v))
                return 0;
        if (at && is_mount_point(at))
                r = mount_unmount(at, e);
        if (r == 0)
                r = luks_deactivate(v->mapping, e);
        if (r == 0)
                return 0;
        if (r == -EBUSY)
                e->class = ERROR_BUSY;
        error_wrap(e, r, "%s is in use, and nothing was changed", v->partition->name);
        error_advise(e, "end what uses it, unmount it, and run the same command again");
        return r;
}

int reset_release(const struct reset_plan *p, struct error *e)
{
        int r = reset_node_drop_stale(p->env, e);

        for (size_t i = 0; i < p->list.n && r == 0; i++) {
                if (p->erased[i])
                        r = release(p, &p->list.item[i], e);
        }
        return r;
}

static int forget_memory(int dir, struct error *e)
{
        _cleanup_(state_free_p) struct state *empty = NULL;
        int r = state_load(-EBADF, &empty, e);

        return r < 0 ? r : state_save(empty, dir, e);
}

/* A memory that goes with its partition needs no clearing. */
int reset_forget(const struct reset_plan *p, struct error *e)
{
        _cleanup_close_ int dir = machine_open_state(p->env);
        int r = 0;

        if (p->clear_memory && dir >= 0)
                r = forget_memory(dir, e);
        if (r < 0 || !p->clear_floor)
                return r;
        log_warning("the version floor is cleared, as asked for");
        return dir >= 0 ? floor_clear(p->tpm, dir, FLOOR_FILE, e) : floor_nv_undefine(p->tpm, e);
}
