/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/data.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/log.h"
#include "partition/mkfs.h"
#include "partition/mount.h"
#include "partition/recovery_key.h"
#include "partition/sysblock.h"

static void add(struct data_list *list, const struct layout_partition *p, const char *label,
                const char *mapping)
{
        if (p && list->n < ARRAY_SIZE(list->item))
                list->item[list->n++] = (struct data_volume){p, label, mapping};
}

void data_list(const struct node *n, struct data_list *ret)
{
        ret->n = 0;
        add(ret, n->oem, LAYOUT_OEM_LABEL, DATA_DM_OEM);
        add(ret, n->persistent, LAYOUT_PERSISTENT_LABEL, DATA_DM_PERSISTENT);
        for (size_t i = 0; i < n->layout.n; i++) {
                const struct layout_partition *p = &n->layout.partitions[i], *only;

                if (strcasecmp(p->type, LAYOUT_TYPE_LINUX) == 0 && extra_name_ok(p->name) &&
                    layout_find(&n->layout, p->name, &only) == 0)
                        add(ret, p, NULL, p->name);
        }
}

const struct data_volume *data_find(const struct data_list *list, const char *mapping)
{
        for (size_t i = 0; i < list->n; i++) {
                if (strcmp(list->item[i].mapping, mapping) == 0)
                        return &list->item[i];
        }
        return NULL;
}

int data_open_header(const struct node *n, const struct data_volume *v, char **ret_device,
                     struct luks **ret, struct error *e)
{
        _cleanup_(luks_free_p) struct luks *l = NULL;
        int r = disk_partition_path(n->disk, v->partition->number, ret_device, e);

        if (r == 0)
                r = luks_open(*ret_device, &l, e);
        if (r == 0)
                r = luks_check_header(l, v->label ?: luks_label(l), e);
        if (r == 0 && strcmp(luks_label(l), LAYOUT_RESET_LABEL) == 0)
                r = error_set(e, ERROR_PRECONDITION, EBADMSG,
                              "it was being made anew by a reset that was cut");
        if (r == 0)
                *ret = TAKE_PTR(l);
        return r;
}

static char *mapped_path(const struct env *env, const char *mapping)
{
        char *path;

        return asprintf(&path, "%s/mapper/%s", env->dev, mapping) < 0 ? NULL : path;
}

/* "CRYPT-LUKS2-<UUID without dashes>-<mapping>", as libcryptsetup names its mappings. */
static bool is_volume(const char *dm_uuid, const struct luks *l, const char *mapping)
{
        char expected[128];
        size_t used;

        used = (size_t)snprintf(expected, sizeof(expected), "CRYPT-LUKS2-");
        for (const char *p = luks_uuid(l); *p && used + 1 < sizeof(expected); p++) {
                if (*p != '-')
                        expected[used++] = *p;
        }
        (void)snprintf(expected + used, sizeof(expected) - used, "-%s", mapping);
        return strcmp(dm_uuid, expected) == 0;
}

/* The UUID of the mapping of that name that stands on this device; NULL: there is none. */
static char *find_mapping(const struct env *env, const char *device, const char *mapping)
{
        _cleanup_(sysblock_names_done) struct sysblock_names holders = {.n = 0};
        char *uuid = NULL;

        if (sysblock_list(env, strrchr(device, '/') + 1, "holders", &holders) < 0)
                return NULL;
        for (size_t i = 0; i < holders.n && !uuid; i++) {
                _cleanup_free_ char *name = NULL;

                if (sysblock_text(env, holders.name[i], "dm/name", &name) < 0) {
                        name = NULL;
                        continue;
                }
                if (strcmp(name, mapping) == 0 &&
                    sysblock_text(env, holders.name[i], "dm/uuid", &uuid) < 0)
                        uuid = NULL;
        }
        return uuid;
}

bool data_is_open(const struct node *n, const struct data_volume *v)
{
        _cleanup_free_ char *device = NULL, *uuid = NULL;
        _cleanup_(luks_free_p) struct luks *l = NULL;

        if (disk_partition_path(n->disk, v->partition->number, &device, NULL) < 0)
                return false;
        uuid = find_mapping(n->disk->env, device, v->mapping);
        return uuid && luks_open(device, &l, NULL) == 0 && is_volume(uuid, l, v->mapping);
}

int data_open_by_key(struct luks *l, const struct data_volume *v, const struct secret *key,
                     struct tpm *tpm, struct secret **ret_volume_key, struct error *e)
{
        _cleanup_(secret_free_p) struct secret *volume_key = NULL;
        struct error error = ERROR_INIT;
        int r = recovery_key_find_slot(l, key, e);

        if (r >= 0)
                r = luks_activate(l, v->mapping, r, key, &volume_key, e);
        if (r < 0)
                return r;
        if (tpm && tpm_measure_volume_key(tpm, v->mapping, luks_uuid(l), volume_key, &error) < 0)
                log_warning("%s", error.text);
        if (ret_volume_key)
                *ret_volume_key = TAKE_PTR(volume_key);
        return 0;
}

const char *data_mount_point(const struct env *env, const struct data_volume *v, bool recovery)
{
        if (strcmp(v->mapping, DATA_DM_OEM) == 0)
                return env->oem;
        if (strcmp(v->mapping, DATA_DM_PERSISTENT) == 0 && !recovery)
                return env->persistent;
        return NULL;
}

static bool is_mounted(const char *device, const char *target)
{
        struct stat a, b;

        return stat(device, &a) == 0 && S_ISBLK(a.st_mode) && stat(target, &b) == 0 &&
               a.st_rdev == b.st_dev;
}

static int mount_data(const struct env *env, const char *mapping, const char *label,
                      const char *target, struct error *e)
{
        _cleanup_free_ char *device = mapped_path(env, mapping);
        int r;

        if (!device)
                return error_oom(e);
        if (is_mounted(device, target))
                return 0;
        r = mkfs_check_ext4(device, label, e);
        if (r == 0)
                r = mount_fs(device, target, "ext4", MS_NOSUID | MS_NODEV | MS_NOATIME, NULL, e);
        return r;
}

int data_mount_all(const struct env *env, bool recovery, struct data_mounted *ret, struct error *e)
{
        int r = mount_data(env, DATA_DM_OEM, LAYOUT_OEM_LABEL, env->oem, e);

        if (ret)
                ret->oem = r == 0;
        if (r < 0 || recovery)
                return r;
        r = mount_data(env, DATA_DM_PERSISTENT, LAYOUT_PERSISTENT_LABEL, env->persistent, e);
        if (ret)
                ret->persistent = r == 0;
        return r;
}
