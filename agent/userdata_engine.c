/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/userdata_engine.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "agent/userdata_accounts.h"
#include "agent/userdata_cloudinit.h"
#include "agent/userdata_systemd.h"
#include "base/file.h"
#include "base/limits.h"

#define BOOT_ID_MAX 64u

static const char *const names[USERDATA_ENGINE_MAX] = {"none", "cloud-init", "systemd"};

const char *userdata_engine_name(enum userdata_engine engine)
{
        return names[engine];
}

int userdata_engine_parse(const char *name, enum userdata_engine *ret)
{
        for (unsigned i = USERDATA_ENGINE_CLOUD_INIT; i < USERDATA_ENGINE_MAX; i++) {
                if (strcmp(name, names[i]) == 0) {
                        *ret = (enum userdata_engine)i;
                        return 0;
                }
        }
        return -EINVAL;
}

static bool has(const char *root, const char *path)
{
        _cleanup_free_ char *full = NULL;

        if (asprintf(&full, "%s%s", root, path) < 0) {
                full = NULL;
                return false;
        }
        return file_exists(AT_FDCWD, full);
}

/* Whether a small file has the text in it; without regard to capitals. */
static bool says(const char *folder, const char *name, const char *text)
{
        _cleanup_(buf_done) struct buf content = BUF_INIT(LIMIT_SYSFS_FILE);
        _cleanup_free_ char *path = NULL;

        if (asprintf(&path, "%s/%s", folder, name) < 0) {
                path = NULL;
                return false;
        }
        return file_read(AT_FDCWD, path, &content) == 0 && strcasestr(buf_str(&content), text);
}

static bool has_cloud_init(const struct env *env)
{
        return has(env->root, "/usr/bin/cloud-init") &&
               (has(env->root, "/usr/lib/systemd/system/cloud-init.target") ||
                has(env->root, "/lib/systemd/system/cloud-init.target")) &&
               !has(env->root, USERDATA_CLOUD_INIT_OFF) &&
               !says(env->proc, "cmdline", "cloud-init=disabled");
}

enum userdata_engine userdata_engine_find(const struct env *env, bool *ret_dangerous)
{
        *ret_dangerous = false;
        if (has_cloud_init(env)) {
                if (!says(env->sysfs, "class/dmi/id/product_serial", "nocloud"))
                        return USERDATA_ENGINE_CLOUD_INIT;
                *ret_dangerous = true;
        }
        return has(env->root, "/usr/bin/systemd-tmpfiles") ||
                               has(env->root, "/bin/systemd-tmpfiles")
                       ? USERDATA_ENGINE_SYSTEMD
                       : USERDATA_ENGINE_NONE;
}

static int read_boot_id(const struct env *env, struct buf *out, struct error *e)
{
        _cleanup_free_ char *path = NULL;
        int r;

        if (asprintf(&path, "%s/sys/kernel/random/boot_id", env->proc) < 0) {
                path = NULL;
                return error_oom(e);
        }
        r = file_read_line(AT_FDCWD, path, out);
        return r < 0 ? error_errno(e, -r, "%s", path) : 0;
}

static int add_common(const struct userdata_files *common, struct userdata_files *files,
                      struct error *e)
{
        for (size_t i = 0; i < common->n; i++) {
                const struct userdata_file *from = &common->item[i];
                struct userdata_file *f = userdata_files_add(files, from->path, from->mode);

                if (!f || buf_add(&f->content, from->content.data, from->content.len) < 0)
                        return error_oom(e);
        }
        return 0;
}

static int for_systemd(const struct env *env, const struct userdata *u,
                       struct config_problems *problems, struct userdata_files *files,
                       struct error *e)
{
        struct userdata_accounts accounts = {.item = NULL};
        int r = userdata_accounts_read(env->root, &accounts, e);

        if (r == 0)
                r = userdata_systemd(u, &accounts, problems, files, e);
        userdata_accounts_done(&accounts);
        return r;
}

int userdata_engine_files(const struct env *env, enum userdata_engine engine,
                          const struct userdata *u, struct config_problems *problems,
                          struct userdata_files *files, struct error *e)
{
        _cleanup_(buf_done) struct buf id = BUF_INIT(BOOT_ID_MAX);
        int r = 0;

        if (engine == USERDATA_ENGINE_CLOUD_INIT) {
                r = read_boot_id(env, &id, e);
                if (r == 0)
                        r = userdata_cloudinit(u, buf_str(&id), files, e);
        } else if (has_cloud_init(env) &&
                   !userdata_files_add(files, USERDATA_CLOUD_INIT_OFF, 0644)) {
                return error_oom(e);
        }
        if (engine == USERDATA_ENGINE_SYSTEMD && u)
                r = for_systemd(env, u, problems, files, e);
        return r < 0 || !u || engine == USERDATA_ENGINE_NONE ? r : add_common(&u->common, files, e);
}
