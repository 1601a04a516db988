/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/termination.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/log.h"

#define TEXT_MAX 4096u

void termination_tell(const char *path, const char *text)
{
        /* Never created: elsewhere the name would be an ordinary file in /dev. */
        _cleanup_close_ int fd =
                open(path, O_WRONLY | O_TRUNC | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK);
        size_t n = strnlen(text, TEXT_MAX - 1);
        struct stat st;

        if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
                return;
        if (file_write(fd, text, n) < 0 || file_write(fd, "\n", 1) < 0)
                log_debug("%s: not written", path);
}
