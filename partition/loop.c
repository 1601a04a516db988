/* SPDX-License-Identifier: Apache-2.0 */
#include "partition/loop.h"

#include <fcntl.h>
#include <linux/loop.h>
#include <stdio.h>
#include <sys/ioctl.h>

#define TRIES 8u

int loop_open_device(const struct env *env, const char *name, int flags, char **ret_path,
                     struct error *e)
{
        _cleanup_free_ char *path = NULL;
        int fd;

        if (asprintf(&path, "%s/%s", env->dev, name) < 0) {
                path = NULL;
                return error_oom(e);
        }
        fd = open(path, flags | O_CLOEXEC | O_NOCTTY);
        if (fd < 0)
                return error_errno(e, errno, "%s", path);
        *ret_path = TAKE_PTR(path);
        return fd;
}

/* Somebody may take the free one first: the next then. */
int loop_attach(const struct env *env, int fd, uint64_t offset, uint64_t size, int *ret_fd,
                char **ret_path, struct error *e)
{
        _cleanup_free_ char *control_path = NULL;
        _cleanup_close_ int control =
                loop_open_device(env, "loop-control", O_RDWR, &control_path, e);
        const struct loop_config config = {
                .fd = (uint32_t)fd,
                .info = {.lo_offset = offset,
                         .lo_sizelimit = size,
                         .lo_flags = LO_FLAGS_READ_ONLY | LO_FLAGS_AUTOCLEAR}};

        if (control < 0)
                return control;
        for (unsigned tries = 0; tries < TRIES; tries++) {
                _cleanup_free_ char *path = NULL;
                _cleanup_close_ int loop = -EBADF;
                int number = ioctl(control, LOOP_CTL_GET_FREE);
                char name[24];

                if (number < 0)
                        return error_errno(e, errno, "no free loop device");
                (void)snprintf(name, sizeof(name), "loop%d", number);
                loop = loop_open_device(env, name, O_RDONLY, &path, e);
                if (loop < 0)
                        return loop;
                if (ioctl(loop, LOOP_CONFIGURE, &config) == 0) {
                        *ret_fd = TAKE_FD(loop);
                        *ret_path = TAKE_PTR(path);
                        return 0;
                }
                if (errno != EBUSY)
                        return error_errno(e, errno, "%s", path);
        }
        return error_set(e, ERROR_BUSY, EBUSY, "no free loop device");
}
