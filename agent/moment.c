/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/moment.h"

#include <fcntl.h>
#include <stdio.h>
#include <time.h>

#include "base/file.h"

uint64_t moment_now(void)
{
        struct timespec t = {0};

        (void)clock_gettime(CLOCK_REALTIME, &t);
        return t.tv_sec > 0 ? (uint64_t)t.tv_sec : 0;
}

void moment_boot_id(const struct env *env, char ret[MOMENT_BOOT_ID_SIZE])
{
        _cleanup_(buf_done) struct buf id = BUF_INIT(64);
        _cleanup_free_ char *path = NULL;

        ret[0] = '\0';
        if (asprintf(&path, "%s/sys/kernel/random/boot_id", env->proc) < 0) {
                path = NULL;
                return;
        }
        if (file_read_line(AT_FDCWD, path, &id) == 0)
                (void)snprintf(ret, MOMENT_BOOT_ID_SIZE, "%s", buf_str(&id));
}
