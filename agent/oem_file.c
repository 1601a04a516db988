/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/oem_file.h"

#include <fcntl.h>
#include <stdio.h>

#include "base/file.h"

int oem_file_read(const struct env *env, const char *name, struct buf *text, char **ret_path,
                  struct error *e)
{
        _cleanup_free_ char *path = NULL;
        int r;

        if (asprintf(&path, "%s/%s", env->oem, name) < 0) {
                path = NULL;
                return error_oom(e);
        }
        r = file_read(AT_FDCWD, path, text);
        if (r == -ENOENT)
                return 0;
        if (r < 0)
                return error_set(e, ERROR_CONFIG, -r, "%s: %s", path, file_strerror(r));
        *ret_path = TAKE_PTR(path);
        return 1;
}
