/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/lock.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>

#include "base/file.h"

int lock_take(const struct env *env, struct error *e)
{
        _cleanup_free_ char *dir = NULL, *path = NULL;
        _cleanup_close_ int fd = -EBADF;
        int r;

        if (asprintf(&dir, "%s/tb-agent", env->run) < 0) {
                dir = NULL;
                return error_oom(e);
        }
        if (asprintf(&path, "%s/lock", dir) < 0) {
                path = NULL;
                return error_oom(e);
        }
        r = file_make_dirs(AT_FDCWD, dir, 0755);
        if (r < 0)
                return error_errno(e, -r, "%s", dir);
        fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (fd < 0)
                return error_errno(e, errno, "%s", path);
        if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
                if (errno != EWOULDBLOCK)
                        return error_errno(e, errno, "%s", path);
                error_set(e, ERROR_BUSY, EBUSY, "another tb-agent is changing this node");
                error_advise(e, "wait for it to end, then run this again");
                return -EBUSY;
        }
        return TAKE_FD(fd);
}
