/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/node.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/mount.h>

#include "agent/lock.h"
#include "base/file.h"
#include "base/log.h"
#include "efivars/loader.h"
#include "partition/fat_check.h"
#include "partition/mkfs.h"
#include "partition/mount.h"

void node_free(struct node *n)
{
        if (!n)
                return;
        disk_free(n->disk);
        free(n);
}

static const struct layout_partition *find_uuid(const struct layout *l, const char *uuid)
{
        for (size_t i = 0; i < l->n; i++) {
                const struct layout_partition *p = &l->partitions[i];

                if (strcasecmp(p->uuid, uuid) == 0 && strcasecmp(p->type, LAYOUT_TYPE_ESP) == 0)
                        return p;
        }
        return NULL;
}

static const struct disk_partition *find_number(const struct disk_partition *list, size_t count,
                                                unsigned number)
{
        for (size_t i = 0; i < count; i++) {
                if (list[i].number == number)
                        return &list[i];
        }
        return NULL;
}

/* A partition of the user's may be withheld from the system (agent/boot_expect.c). */
static bool may_be_missing(const struct node *n, const struct layout_partition *p)
{
        return p != n->esp && strcmp(p->name, LAYOUT_OEM_NAME) != 0 &&
               strcmp(p->name, LAYOUT_PERSISTENT_NAME) != 0;
}

/*
 * Partitions are opened as the kernel numbers them, so its view has to be the table's. 1; 0 when it
 * has not all of them (booting), or not all of the node's own (later), which an event will tell;
 * -ESTALE when it has other ones.
 */
static int kernel_agrees(const struct node *n, bool booting, struct error *e)
{
        struct disk_partition *list;
        size_t count;
        int r = disk_partitions(n->disk, &list, &count, e);

        if (r < 0)
                return r;
        r = 1;
        for (size_t i = 0; i < n->layout.n && r >= 0; i++) {
                const struct layout_partition *p = &n->layout.partitions[i];
                const struct disk_partition *there = find_number(list, count, p->number);

                if (there && (p->start != there->start || p->size != there->size))
                        r = -ESTALE;
                else if (!there && (booting || !may_be_missing(n, p)))
                        r = 0;
        }
        disk_free_partitions(list, count);
        if (r < 0)
                return error_set(e, ERROR_PRECONDITION, ESTALE,
                                 "%s: the kernel uses another partition table than the disk has",
                                 n->disk->path);
        return r;
}

/* Looks at one disk: 1 and *ret when it has the ESP, 0 when not. */
static int try_disk(const struct env *env, const char *name, const char *esp_uuid, bool booting,
                    struct node **ret, struct error *e)
{
        _cleanup_(node_free_p) struct node *n = calloc(1, sizeof(*n));
        struct error error = ERROR_INIT;
        int r;

        if (!n)
                return error_oom(e);
        r = disk_open_name(env, name, &n->disk, &error);
        if (r == 0 && n->disk->size > 0)
                r = layout_read(n->disk, &n->layout, &error);
        if (r < 0) {
                if (r != -ENOENT)
                        log_debug("%s", error.text);
                return 0; /* no table, no medium, no access: not the disk we were started from */
        }
        n->esp = find_uuid(&n->layout, esp_uuid);
        if (!n->esp)
                return 0;
        r = kernel_agrees(n, booting, e);
        if (r <= 0)
                return r;
        *ret = TAKE_PTR(n);
        return 1;
}

static int find_data(struct node *n, const char *name, const struct layout_partition **ret,
                     struct error *e)
{
        int r = layout_find(&n->layout, name, ret);

        if (r == -ENOTUNIQ)
                return error_set(e, ERROR_PRECONDITION, ENOTUNIQ,
                                 "%s: several partitions are named \"%s\"", n->disk->path, name);
        return 0;
}

static int twin_error(const char *esp_uuid, struct error *e)
{
        error_set(e, ERROR_PRECONDITION, ENOTUNIQ, "two disks have an ESP with the UUID %s",
                  esp_uuid);
        error_advise(e, "one is a copy of the other: detach one of them");
        return -ENOTUNIQ;
}

static int find(const struct env *env, const char *esp_uuid, bool booting, struct node **ret,
                struct error *e)
{
        _cleanup_(node_free_p) struct node *hit = NULL;
        char **names;
        size_t count;
        int r;

        r = disk_list(env, &names, &count, e);
        if (r < 0)
                return r;
        for (size_t i = 0; i < count && r >= 0; i++) {
                _cleanup_(node_free_p) struct node *n = NULL;

                r = try_disk(env, names[i], esp_uuid, booting, &n, e);
                if (r > 0 && hit)
                        r = twin_error(esp_uuid, e);
                else if (r > 0)
                        hit = TAKE_PTR(n);
        }
        disk_free_names(names, count);
        if (r < 0)
                return r;
        if (!hit)
                return error_set(e, ERROR_PRECONDITION, ENODEV, "no disk has the ESP %s", esp_uuid);
        r = find_data(hit, LAYOUT_OEM_NAME, &hit->oem, e);
        if (r == 0)
                r = find_data(hit, LAYOUT_PERSISTENT_NAME, &hit->persistent, e);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(hit);
        return 0;
}

int node_find(const struct env *env, const char *esp_uuid, struct node **ret, struct error *e)
{
        return find(env, esp_uuid, true, ret, e);
}

int node_find_booted(const struct env *env, struct node **ret, struct error *e)
{
        char uuid[LOADER_UUID_SIZE];
        int r = loader_device_part_uuid(env, uuid);

        if (r < 0) {
                error_set(e, ERROR_PRECONDITION, ENOENT,
                          "the boot loader did not tell which ESP it was started from");
                error_advise(e, "run this on a node that was started by systemd-boot");
                return -ENOENT;
        }
        return find(env, uuid, false, ret, e);
}

#define VFAT_FLAGS (MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_NOSYMFOLLOW)
#define VFAT_OPTIONS "umask=0077,shortname=mixed,utf8=1"

static int try_mount(const char *device, const char *target, bool writable, struct error *e)
{
        return mount_fs(device, target, "vfat", writable ? VFAT_FLAGS : VFAT_FLAGS | MS_RDONLY,
                        VFAT_OPTIONS, e);
}

/*
 * Linux has one instance of a mounted file system, and refuses to mount it read-only here and
 * writable there. So when somebody else has it (a status query beside a confirmation), this joins
 * that instance and sets what it needs itself.
 */
int node_mount_vfat(const char *device, const char *target, bool writable, struct error *e)
{
        struct error error = ERROR_INIT;
        int r = try_mount(device, target, writable, e);

        if (r != -EBUSY || try_mount(device, target, !writable, &error) < 0)
                return r;
        error_clear(e);
        if (!writable)
                return mount_set_flags(target, VFAT_FLAGS | MS_RDONLY, e);
        if (mount(NULL, target, NULL, MS_REMOUNT | VFAT_FLAGS, VFAT_OPTIONS) < 0)
                return error_errno(e, errno, "making %s writable", target);
        return 0;
}

static char *esp_target(const struct env *env)
{
        char *target;

        return asprintf(&target, "%s/tb-agent/esp", env->run) < 0 ? NULL : target;
}

/* The files that share clusters with one that the node needs. */
#define DROP_MAX 32u
struct crossing {
        struct esp esp;
        uint64_t drop[DROP_MAX]; /* records of those that it does not need */
        size_t n;
        bool stuck; /* it needs both, here and of these: */
        char one[FAT_CHECK_NAME], other[FAT_CHECK_NAME];
};

static void judge_pair(void *arg, const struct fat_check_name *one,
                       const struct fat_check_name *other)
{
        struct crossing *c = arg;
        bool needs_one = esp_needs(&c->esp, one->path),
             needs_other = esp_needs(&c->esp, other->path);
        const struct fat_check_name *rest = needs_one ? other : one;

        if (c->stuck || (!needs_one && !needs_other))
                return;
        if ((needs_one && needs_other) || c->n == DROP_MAX) {
                c->stuck = true;
                (void)snprintf(c->one, sizeof(c->one), "%s", one->path);
                (void)snprintf(c->other, sizeof(c->other), "%s", other->path);
                return;
        }
        log_warning("%s shares clusters with %s, which is needed", rest->path,
                    needs_one ? one->path : other->path);
        c->drop[c->n++] = rest->at;
}

static int look_for_crossing(const char *device, const char *target, struct crossing *ret,
                             struct error *e)
{
        _cleanup_close_ int dir = -EBADF, fd = open(device, O_RDONLY | O_CLOEXEC | O_NOCTTY);
        struct fat_check check;
        int r, unmounted;

        if (fd < 0)
                return error_errno(e, errno, "%s", device);
        r = fat_check(fd, 0, UINT64_MAX, &check, e);
        if (r < 0 || check.crossed == 0)
                return r;
        r = node_mount_vfat(device, target, false, e);
        if (r < 0)
                return r;
        dir = file_open_dir(AT_FDCWD, target);
        ret->esp = (struct esp)ESP_INIT(dir);
        r = dir < 0 ? error_errno(e, -dir, "%s", target)
                    : fat_check_pairs(fd, 0, UINT64_MAX, judge_pair, ret, &check, e);
        close_p(&dir);
        /* The first failure is the one to report. */
        unmounted = mount_unmount(target, r < 0 ? NULL : e);
        return r < 0 ? r : unmounted;
}

static int drop(const char *device, const struct crossing *c, struct error *e)
{
        _cleanup_close_ int fd = open(device, O_RDWR | O_EXCL | O_CLOEXEC | O_NOCTTY);
        int r = 0;

        if (fd < 0) /* mounted, perhaps */
                return error_errno(e, errno, "%s", device);
        for (size_t i = 0; i < c->n && r == 0; i++)
                r = fat_check_drop(fd, 0, c->drop[i], e);
        return r;
}

/* Of two files fsck.vfat cuts the one that it meets second: the one that is not needed goes before.
 * Of three that share a cluster, two are seen at a time. */
static int make_repairable(const char *device, const char *target, struct crossing *ret,
                           struct error *e)
{
        for (unsigned i = 0; i < DROP_MAX; i++) {
                int r;

                *ret = (struct crossing){.n = 0};
                r = look_for_crossing(device, target, ret, e);
                if (r < 0 || ret->stuck || ret->n == 0)
                        return r;
                r = drop(device, ret, e);
                if (r < 0)
                        return r;
        }
        return error_set(e, ERROR_IO, EUCLEAN, "%s: too many files share clusters", device);
}

int node_check_esp(const char *device, const char *target, struct error *e)
{
        struct crossing crossing;
        int r = mkfs_vfat_was_cut(device, e);

        if (r <= 0)
                return r;
        r = make_repairable(device, target, &crossing, e);
        if (r < 0)
                return r;
        if (!crossing.stuck)
                return mkfs_check_vfat(device, e);
        log_warning("%s was not unmounted and is not repaired, as that would cut one of two files "
                    "that are needed: %s and %s share clusters",
                    device, crossing.one, crossing.other);
        return 0;
}

int node_mount_esp(const struct env *env, const struct node *n, bool writable, int *ret_fd,
                   struct error *e)
{
        _cleanup_free_ char *device = NULL, *target = esp_target(env);
        _cleanup_close_ int turn = -EBADF;
        int r, fd;

        if (!target)
                return error_oom(e);
        turn = lock_turn(env, e);
        if (turn < 0)
                return turn;
        r = disk_partition_path(n->disk, n->esp->number, &device, e);
        if (r == 0)
                r = mount_private(e);
        if (r == 0 && writable)
                r = node_check_esp(device, target, e);
        if (r == 0)
                r = node_mount_vfat(device, target, writable, e);
        if (r < 0)
                return r;
        fd = file_open_dir(AT_FDCWD, target);
        if (fd < 0)
                return error_errno(e, -fd, "%s", target);
        *ret_fd = fd;
        return 0;
}

int node_unmount_esp(const struct env *env, struct error *e)
{
        _cleanup_free_ char *target = esp_target(env);

        return target ? mount_unmount(target, e) : error_oom(e);
}

int node_esp_open(const struct env *env, bool writable, struct node_esp *ret, struct error *e)
{
        struct node_esp n = {.fd = -EBADF};
        int r = node_find_booted(env, &n.node, e);

        if (r == 0)
                r = node_mount_esp(env, n.node, writable, &n.fd, e);
        if (r < 0) {
                node_free(n.node);
                return r;
        }
        n.esp = (struct esp)ESP_INIT(n.fd);
        *ret = n;
        return 0;
}

int node_esp_close(const struct env *env, struct node_esp *n, int r, struct error *e)
{
        int unmounted;

        (void)close(n->fd); /* what was written is synced */
        unmounted = node_unmount_esp(env, r < 0 ? NULL : e);
        node_free(n->node);
        *n = (struct node_esp){.fd = -EBADF};
        return r < 0 ? r : unmounted;
}
