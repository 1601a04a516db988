/* SPDX-License-Identifier: Apache-2.0 */
#include "partition/disk.h"

#include <blkid/blkid.h>
#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/blkpg.h>
#include <linux/fs.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "base/file.h"
#include "base/limits.h"
#include "base/num.h"
#include "partition/disk_use.h"

/* sysfs counts in these units whatever the device's sector size is. */
#define SYSFS_SECTOR UINT64_C(512)
/* Both ends of a disk where partition tables and RAID members keep their signatures. */
#define TABLE_AREA (1 * MIB)

static void close_dir(DIR **d)
{
        if (*d)
                (void)closedir(*d);
}

static void free_probe(blkid_probe *p)
{
        if (*p)
                blkid_free_probe(*p);
}

void disk_free(struct disk *d)
{
        if (!d)
                return;
        close_p(&d->fd);
        free(d->name);
        free(d->path);
        free(d->model);
        free(d->serial);
        free(d->wwn);
        free(d);
}

static int load_identity(struct disk *d)
{
        uint64_t sectors = 0, flag = 0;
        int r;

        r = sysblock_number(d->env, d->name, "size", &sectors);
        if (r == 0)
                r = mul_u64(sectors, SYSFS_SECTOR, &d->size);
        if (r == 0)
                r = sysblock_number(d->env, d->name, "queue/logical_block_size", &d->sector_size);
        if (r == 0)
                r = sysblock_number(d->env, d->name, "ro", &flag);
        d->read_only = flag != 0;
        if (r == 0)
                r = sysblock_number(d->env, d->name, "removable", &flag);
        d->removable = flag != 0;
        if (r == 0)
                r = sysblock_number(d->env, d->name, "queue/rotational", &flag);
        d->rotational = flag != 0;
        if (r == 0)
                r = sysblock_model(d->env, d->name, &d->model);
        if (r == 0)
                r = sysblock_serial(d->env, d->name, &d->serial);
        if (r == 0)
                r = sysblock_wwn(d->env, d->name, &d->wwn);
        d->bus = sysblock_bus(d->env, d->name);
        return r;
}

int disk_open_name(const struct env *env, const char *name, struct disk **ret, struct error *e)
{
        _cleanup_(disk_free_p) struct disk *d = calloc(1, sizeof(*d));
        int r;

        if (!d)
                return error_oom(e);
        d->env = env;
        d->fd = -EBADF;
        d->name = strdup(name);
        if (!d->name || asprintf(&d->path, "%s/%s", env->dev, name) < 0) {
                d->path = NULL;
                return error_oom(e);
        }
        r = load_identity(d);
        if (r < 0)
                return error_errno(e, -r, "%s: reading its properties from sysfs", d->path);
        if (d->sector_size < 512 || d->sector_size > 64 * KIB ||
            (d->sector_size & (d->sector_size - 1)) != 0)
                return error_set(e, ERROR_PRECONDITION, EINVAL,
                                 "%s: logical sector size of %" PRIu64 " bytes is not supported",
                                 d->path, d->sector_size);
        *ret = TAKE_PTR(d);
        return 0;
}

int disk_open_image(const char *path, int fd, uint64_t size, struct disk **ret, struct error *e)
{
        _cleanup_(disk_free_p) struct disk *d = calloc(1, sizeof(*d));
        _cleanup_close_ int own = fd;

        if (!d)
                return error_oom(e);
        d->fd = TAKE_FD(own);
        d->size = size;
        d->sector_size = SYSFS_SECTOR;
        d->path = strdup(path);
        if (!d->path)
                return error_oom(e);
        *ret = TAKE_PTR(d);
        return 0;
}

int disk_open(const struct env *env, const char *path, struct disk **ret, struct error *e)
{
        _cleanup_free_ char *link = NULL, *target = NULL;
        const char *name;
        struct stat st;

        if (stat(path, &st) < 0)
                return error_set(e, ERROR_USAGE, ENODEV, "%s: no such device", path);
        if (!S_ISBLK(st.st_mode))
                return error_set(e, ERROR_USAGE, ENOTBLK, "%s: not a block device", path);
        if (asprintf(&link, "%s/dev/block/%u:%u", env->sysfs, major(st.st_rdev),
                     minor(st.st_rdev)) < 0) {
                link = NULL;
                return error_oom(e);
        }
        target = realpath(link, NULL);
        if (!target)
                return error_errno(e, errno, "%s: not known to sysfs", path);
        name = strrchr(target, '/') + 1;
        free(link);
        if (asprintf(&link, "%s/partition", target) < 0) {
                link = NULL;
                return error_oom(e);
        }
        if (file_exists(AT_FDCWD, link)) {
                error_set(e, ERROR_USAGE, EINVAL, "%s: a partition, not a whole disk", path);
                error_advise(e, "name the whole disk");
                return -EINVAL;
        }
        return disk_open_name(env, name, ret, e);
}

/* Paths of an NVMe namespace with several controllers: disks without a node, beside the one that
 * counts. */
static bool is_hidden(const struct env *env, const char *name)
{
        uint64_t hidden;

        return sysblock_number(env, name, "hidden", &hidden) == 0 && hidden != 0;
}

static bool is_fixed_disk(const char *name)
{
        static const char *const skip[] = {"ram", "loop", "dm-", "md", "zram", "sr", "fd", "nbd"};

        if (name[0] == '.')
                return false;
        for (size_t i = 0; i < ARRAY_SIZE(skip); i++) {
                if (strncmp(name, skip[i], strlen(skip[i])) == 0)
                        return false;
        }
        return true;
}

void disk_free_names(char **names, size_t n)
{
        for (size_t i = 0; i < n; i++)
                free(names[i]);
        free(names);
}

static int append_name(char ***names, size_t *n, const char *name)
{
        char **grown = reallocarray(*names, *n + 1, sizeof(*grown));

        if (!grown)
                return -ENOMEM;
        *names = grown;
        grown[*n] = strdup(name);
        if (!grown[*n])
                return -ENOMEM;
        (*n)++;
        return 0;
}

/* sysfs has no order; people read lists. */
static int compare_names(const void *a, const void *b)
{
        const char *const *x = a, *const *y = b;

        return strverscmp(*x, *y);
}

int disk_list(const struct env *env, char ***ret, size_t *ret_n, struct error *e)
{
        _cleanup_free_ char *path = NULL;
        _cleanup_(close_dir) DIR *dir = NULL;
        struct dirent *entry;
        char **names = NULL;
        size_t n = 0;

        if (asprintf(&path, "%s/block", env->sysfs) < 0) {
                path = NULL;
                return error_oom(e);
        }
        dir = opendir(path);
        if (!dir)
                return error_errno(e, errno, "%s", path);
        while ((entry = readdir(dir))) {
                if (!is_fixed_disk(entry->d_name) || is_hidden(env, entry->d_name) ||
                    sysblock_is_virtual(env, entry->d_name))
                        continue;
                if (append_name(&names, &n, entry->d_name) < 0) {
                        disk_free_names(names, n);
                        return error_oom(e);
                }
        }
        if (n > 0)
                qsort(names, n, sizeof(*names), compare_names);
        *ret = names;
        *ret_n = n;
        return 0;
}

void disk_free_partitions(struct disk_partition *p, size_t n)
{
        for (size_t i = 0; i < n; i++)
                free(p[i].name);
        free(p);
}

/* Fills *p when the directory entry is a partition of the disk: 1, else 0. */
static int load_partition(const struct disk *d, const char *name, struct disk_partition *p)
{
        uint64_t number, start, size;
        int r;

        if (strncmp(name, d->name, strlen(d->name)) != 0)
                return 0;
        r = sysblock_number(d->env, name, "partition", &number);
        if (r < 0)
                return 0; /* other children of the device directory have no such attribute */
        if (number == 0 || number > LIMIT_PARTITIONS)
                return 0;
        r = sysblock_number(d->env, name, "start", &start);
        if (r == 0)
                r = sysblock_number(d->env, name, "size", &size);
        if (r == 0)
                r = mul_u64(start, SYSFS_SECTOR, &p->start);
        if (r == 0)
                r = mul_u64(size, SYSFS_SECTOR, &p->size);
        if (r < 0)
                return r;
        p->number = (unsigned)number;
        p->name = strdup(name);
        return p->name ? 1 : -ENOMEM;
}

static int compare_partitions(const void *a, const void *b)
{
        const struct disk_partition *x = a, *y = b;

        return x->number < y->number ? -1 : x->number > y->number;
}

int disk_partitions(const struct disk *d, struct disk_partition **ret, size_t *ret_n,
                    struct error *e)
{
        _cleanup_free_ char *path = NULL;
        _cleanup_(close_dir) DIR *dir = NULL;
        struct disk_partition *list;
        struct dirent *entry;
        size_t n = 0;
        int r = 0;

        if (asprintf(&path, "%s/block/%s", d->env->sysfs, d->name) < 0) {
                path = NULL;
                return error_oom(e);
        }
        dir = opendir(path);
        if (!dir)
                return error_errno(e, errno, "%s", path);
        list = calloc(LIMIT_PARTITIONS, sizeof(*list));
        if (!list)
                return error_oom(e);
        while (r >= 0 && n < LIMIT_PARTITIONS && (entry = readdir(dir))) {
                r = load_partition(d, entry->d_name, &list[n]);
                if (r > 0)
                        n++;
        }
        if (r < 0) {
                disk_free_partitions(list, n);
                return error_errno(e, -r, "%s: reading its partitions", d->path);
        }
        qsort(list, n, sizeof(*list), compare_partitions);
        *ret = list;
        *ret_n = n;
        return 0;
}

int disk_partition_path(const struct disk *d, unsigned number, char **ret, struct error *e)
{
        struct disk_partition *list;
        size_t n;
        int r;

        r = disk_partitions(d, &list, &n, e);
        if (r < 0)
                return r;
        r = -ENXIO;
        for (size_t i = 0; i < n; i++) {
                if (list[i].number == number)
                        r = asprintf(ret, "%s/%s", d->env->dev, list[i].name) < 0 ? -ENOMEM : 0;
        }
        disk_free_partitions(list, n);
        if (r == -ENXIO)
                return error_set(e, ERROR_IO, ENXIO, "%s: the kernel knows no partition %u",
                                 d->path, number);
        return r < 0 ? error_oom(e) : 0;
}

static bool is_same(const struct disk *d, int fd)
{
        struct disk now = {.env = d->env, .name = d->name, .fd = -EBADF};
        uint64_t size = 0;
        int sector = 0;
        bool same;

        same = ioctl(fd, BLKGETSIZE64, &size) == 0 && ioctl(fd, BLKSSZGET, &sector) == 0 &&
               size == d->size && (uint64_t)sector == d->sector_size && load_identity(&now) == 0 &&
               strcmp(now.serial, d->serial) == 0 && strcmp(now.model, d->model) == 0 &&
               strcmp(now.wwn, d->wwn) == 0;
        free(now.model);
        free(now.serial);
        free(now.wwn);
        return same;
}

static void wake_up(int signal)
{
        (void)signal;
}

/*
 * Whenever a writer closes a disk, udev locks it for the moment of a look, so it has to be waited
 * for: a dry run just before this may be that writer. The alarm ends the waiting with EINTR.
 */
static int lock_exclusively(int fd)
{
        const struct sigaction alarmed = {.sa_handler = wake_up};
        struct sigaction before;
        int r;

        if (sigaction(SIGALRM, &alarmed, &before) < 0)
                return -errno;
        (void)alarm(LIMIT_DISK_LOCK_SECONDS);
        r = flock(fd, LOCK_EX) < 0 ? -errno : 0;
        (void)alarm(0);
        (void)sigaction(SIGALRM, &before, NULL);
        return r;
}

int disk_take(struct disk *d, struct error *e)
{
        _cleanup_close_ int fd = -EBADF;
        int r;

        if (d->fd >= 0)
                return 0;
        fd = open(d->path, O_RDWR | O_CLOEXEC | O_NOCTTY);
        if (fd < 0)
                return error_errno(e, errno, "%s", d->path);
        r = lock_exclusively(fd);
        if (r == -EINTR)
                return error_set(e, ERROR_BUSY, EBUSY, "%s is locked by another program", d->path);
        if (r < 0)
                return error_errno(e, -r, "%s: lock", d->path);
        if (!is_same(d, fd))
                return error_set(e, ERROR_PRECONDITION, ESTALE, "%s is another disk now", d->path);
        d->fd = TAKE_FD(fd);
        return 0;
}

int disk_lock(struct disk *d, struct error *e)
{
        _cleanup_(disk_use_done) struct disk_uses uses = {.n = 0};
        int r = disk_take(d, e);

        if (r == 0)
                r = disk_use_read(d, &uses, e);
        if (r == 0 && uses.n > 0)
                r = disk_use_refuse(d, &uses, e);
        return r;
}

int disk_wipe_signatures(const char *path, struct error *e)
{
        _cleanup_(free_probe) blkid_probe probe = NULL;
        _cleanup_close_ int fd = open(path, O_RDWR | O_CLOEXEC | O_NOCTTY);
        int r;

        if (fd < 0)
                return error_errno(e, errno, "%s", path);
        probe = blkid_new_probe();
        if (!probe || blkid_probe_set_device(probe, fd, 0, 0) < 0)
                return error_oom(e);
        (void)blkid_probe_enable_superblocks(probe, 1);
        (void)blkid_probe_set_superblocks_flags(probe, BLKID_SUBLKS_MAGIC | BLKID_SUBLKS_BADCSUM);
        (void)blkid_probe_enable_partitions(probe, 1);
        (void)blkid_probe_set_partitions_flags(probe, BLKID_PARTS_MAGIC | BLKID_PARTS_FORCE_GPT);
        while ((r = blkid_do_probe(probe)) == 0) {
                if (blkid_do_wipe(probe, 0) < 0)
                        return error_set(e, ERROR_IO, EIO, "%s: removing an old signature failed",
                                         path);
        }
        if (r < 0)
                return error_set(e, ERROR_IO, EIO, "%s: looking for old signatures failed", path);
        r = file_sync(fd);
        return r < 0 ? error_errno(e, -r, "%s: sync", path) : 0;
}

static int drop_kernel_partitions(struct disk *d, struct error *e)
{
        struct disk_partition *list;
        size_t n;
        int r;

        r = disk_partitions(d, &list, &n, e);
        if (r < 0)
                return r;
        for (size_t i = 0; i < n && r == 0; i++)
                r = disk_drop_kernel_partition(d, list[i].number, e);
        disk_free_partitions(list, n);
        return r;
}

static int zero_range(struct disk *d, uint64_t offset, uint64_t size, struct error *e)
{
        _cleanup_free_ uint8_t *zeros = calloc(1, (size_t)size);
        int r;

        if (!zeros)
                return error_oom(e);
        r = file_pwrite(d->fd, zeros, (size_t)size, offset);
        return r < 0 ? error_errno(e, -r, "%s: clearing", d->path) : 0;
}

int disk_clear(struct disk *d, struct error *e)
{
        struct disk_partition *list;
        size_t n;
        int r;

        r = disk_partitions(d, &list, &n, e);
        if (r < 0)
                return r;
        for (size_t i = 0; i < n && r == 0; i++) {
                _cleanup_free_ char *path = NULL;

                if (asprintf(&path, "%s/%s", d->env->dev, list[i].name) < 0) {
                        path = NULL;
                        r = error_oom(e);
                        break;
                }
                r = disk_wipe_signatures(path, e);
        }
        disk_free_partitions(list, n);
        if (r == 0)
                r = disk_wipe_signatures(d->path, e);
        if (r == 0)
                r = drop_kernel_partitions(d, e);
        if (r < 0)
                return r;
        /* Many devices cannot discard; then old blocks stay until they are overwritten. */
        (void)ioctl(d->fd, BLKDISCARD, (uint64_t[]){0, d->size});
        r = zero_range(d, 0, TABLE_AREA, e);
        if (r == 0)
                r = zero_range(d, d->size - TABLE_AREA, TABLE_AREA, e);
        if (r == 0 && file_sync(d->fd) < 0)
                r = error_errno(e, errno, "%s: sync", d->path);
        return r;
}

/* op: BLKPG_*; doing: for the message. */
static int tell_kernel(struct disk *d, int op, const char *doing, unsigned number, uint64_t start,
                       uint64_t size, struct error *e)
{
        struct blkpg_partition p = {
                .start = (long long)start, .length = (long long)size, .pno = (int)number};
        struct blkpg_ioctl_arg arg = {.op = op, .datalen = sizeof(p), .data = &p};

        if (ioctl(d->fd, BLKPG, &arg) < 0)
                return error_errno(e, errno, "%s: %s partition %u", d->path, doing, number);
        return 0;
}

int disk_add_kernel_partition(struct disk *d, unsigned number, uint64_t start, uint64_t size,
                              struct error *e)
{
        return tell_kernel(d, BLKPG_ADD_PARTITION, "adding", number, start, size, e);
}

int disk_drop_kernel_partition(struct disk *d, unsigned number, struct error *e)
{
        return tell_kernel(d, BLKPG_DEL_PARTITION, "dropping", number, 0, 0, e);
}

int disk_resize_kernel_partition(struct disk *d, unsigned number, uint64_t start, uint64_t size,
                                 struct error *e)
{
        return tell_kernel(d, BLKPG_RESIZE_PARTITION, "resizing", number, start, size, e);
}
