/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/bless_floor.h"

#include <fcntl.h>

#include "agent/machine.h"
#include "base/file.h"
#include "base/limits.h"
#include "base/log.h"
#include "upgrade/osrelease.h"

/* Of the read-only root, not the ephemeral /etc that anybody may have written to since. */
#define OS_RELEASE "/usr/lib/os-release"

static int running_version(struct floor *ret, struct error *e)
{
        _cleanup_(buf_done) struct buf text = BUF_INIT(LIMIT_OS_RELEASE);
        _cleanup_(osrelease_free_p) struct osrelease *release = NULL;
        const char *version;
        int r = file_read(AT_FDCWD, OS_RELEASE, &text);

        if (r < 0)
                return error_errno(e, -r, OS_RELEASE);
        r = osrelease_parse(text.data, text.len, &release, e);
        if (r < 0)
                return error_wrap(e, r, OS_RELEASE);
        version = osrelease_get(release, "IMAGE_VERSION");
        if (!version || !*version)
                return error_set(
                        e, ERROR_PRECONDITION, ENODATA,
                        "the running system has no IMAGE_VERSION, so it has no version floor");
        return floor_make(osrelease_get(release, "IMAGE_ID"), version, ret, e);
}

int bless_raise_floor(const struct env *env, bool repair, struct floor *ret, struct error *e)
{
        _cleanup_(tpm_free_p) struct tpm *tpm = NULL;
        _cleanup_close_ int dir = -EBADF;
        struct error first = ERROR_INIT;
        struct floor running;
        int r;

        r = running_version(&running, e);
        if (r < 0)
                return r;
        dir = machine_open_state(env);
        if (dir < 0)
                return error_set(e, ERROR_PRECONDITION, ENOENT, "%s is not mounted", env->oem);
        r = tpm_open(env->tcti, &tpm, e);
        if (r < 0)
                return r;
        r = floor_raise(tpm, dir, FLOOR_FILE, &running, &first);
        if (r == -ENOENT || (r == -EREMOTE && repair)) {
                if (repair)
                        log_warning("the version floor is set up again, as asked for");
                r = floor_setup(tpm, dir, FLOOR_FILE, &running, repair, e);
        } else if (r < 0) {
                *e = first;
        }
        if (r == 0)
                *ret = running;
        return r;
}
