/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/key_input.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/limits.h"
#include "partition/recovery_key.h"

int key_input_read(const char *path, struct secret **ret, struct error *e)
{
        _cleanup_(secret_free_p) struct secret *text = secret_new(LIMIT_RECOVERY_INPUT + 1);
        _cleanup_close_ int opened = -EBADF;
        bool input = strcmp(path, "-") == 0;
        size_t n = 0;
        int fd;

        if (!text)
                return error_oom(e);
        if (!input)
                opened = file_open_regular(AT_FDCWD, path);
        fd = input ? STDIN_FILENO : opened;
        if (fd < 0)
                return error_set(e, ERROR_USAGE, -fd, "%s: %s", path, file_strerror(fd));
        while (n < text->len) {
                ssize_t got = read(fd, text->data + n, text->len - n);

                if (got < 0 && errno == EINTR)
                        continue;
                if (got < 0)
                        return error_errno(e, errno, "%s", path);
                if (got == 0)
                        break;
                n += (size_t)got;
        }
        return recovery_key_parse(text->data, n, ret, e);
}
