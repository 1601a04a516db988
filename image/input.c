/* SPDX-License-Identifier: Apache-2.0 */
#include "image/input.h"

#include <fcntl.h>

#include "base/file.h"

static int failed(struct error *e, int r, const char *name)
{
        return error_set(e, ERROR_CONFIG, -r, "cannot read %s: %s", name, file_strerror(r));
}

int input_open_at(int dirfd, const char *name, int *ret, struct error *e)
{
        int fd = file_open_regular(dirfd, name);

        if (fd < 0)
                return failed(e, fd, name);
        *ret = fd;
        return 0;
}

int input_open(const char *path, int *ret, struct error *e)
{
        return input_open_at(AT_FDCWD, path, ret, e);
}

int input_read_at(int dirfd, const char *name, struct buf *out, struct error *e)
{
        int r = file_read(dirfd, name, out);

        return r < 0 ? failed(e, r, name) : 0;
}

int input_read(const char *path, struct buf *out, struct error *e)
{
        return input_read_at(AT_FDCWD, path, out, e);
}
