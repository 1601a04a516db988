/* SPDX-License-Identifier: Apache-2.0 */
#include "partition/disk_release.h"

#include <fcntl.h>
#include <libdevmapper.h>
#include <linux/loop.h>
#include <linux/major.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/swap.h>

#include "base/limits.h"
#include "base/log.h"
#include "partition/mount.h"

/* linux/raid/md_u.h, which cannot be included beside base/banned.h. */
#define STOP_ARRAY _IO(MD_MAJOR, 0x32)

static void destroy_task(struct dm_task **t)
{
        if (*t)
                dm_task_destroy(*t);
}

/* The library prints by itself otherwise; what it says is in the error number, too. */
static _printf_(5, 6) void quiet(int level, const char *file, int line, int code, const char *fmt,
                                 ...)
{
        (void)level;
        (void)file;
        (void)line;
        (void)code;
        (void)fmt;
}

/*
 * Without a udev cookie: a system without device-mapper's rules would keep this waiting forever,
 * and nothing afterwards looks at the links.
 */
static int remove_mapping(const char *name, struct error *e)
{
        _cleanup_(destroy_task) struct dm_task *t = NULL;
        int code;

        dm_log_with_errno_init(quiet);
        t = dm_task_create(DM_DEVICE_REMOVE);
        if (!t || !dm_task_set_name(t, name) || !dm_task_retry_remove(t))
                return error_oom(e);
        if (dm_task_run(t))
                return 0;
        code = dm_task_get_errno(t);
        if (code == ENXIO)
                return 0; /* it went with what stood on it */
        return error_errno(e, code > 0 ? code : EIO, "removing the mapping %s", name);
}

/*
 * The claim fails while the device is in use. Without it the kernel would keep a loop device in use
 * until its last user is gone, and call that a success.
 */
static int device_ioctl(const struct env *env, const char *name, unsigned long request,
                        const char *what, struct error *e)
{
        _cleanup_free_ char *path = NULL;
        _cleanup_close_ int fd = -EBADF;

        if (asprintf(&path, "%s/%s", env->dev, name) < 0) {
                path = NULL;
                return error_oom(e);
        }
        fd = open(path, O_RDWR | O_EXCL | O_CLOEXEC | O_NOCTTY);
        if (fd < 0)
                return error_errno(e, errno, "%s", path);
        if (ioctl(fd, request, 0) < 0 && errno != ENXIO) /* ENXIO: went with what stood on it */
                return error_errno(e, errno, "%s %s", what, path);
        return 0;
}

int disk_release_use(const struct env *env, const struct disk_use *use, struct error *e)
{
        switch (use->kind) {
        case DISK_USE_MOUNT:
                return mount_unmount(use->name, e);
        case DISK_USE_SWAP:
                return swapoff(use->name) < 0
                               ? error_errno(e, errno, "turning swap %s off", use->name)
                               : 0;
        case DISK_USE_MAPPER:
                return remove_mapping(use->name, e);
        case DISK_USE_MD:
                return device_ioctl(env, use->name, STOP_ARRAY, "stopping", e);
        case DISK_USE_LOOP:
                return device_ioctl(env, use->name, LOOP_CLR_FD, "detaching", e);
        case DISK_USE_HOLDER:
        case DISK_USE_UNSEEN:
                break;
        }
        return error_set(e, ERROR_BUSY, EBUSY, "%s", use->text);
}

static bool can_be_released(const struct disk_uses *uses)
{
        for (size_t i = 0; i < uses->n; i++) {
                if (uses->use[i].keep)
                        return false;
        }
        return true;
}

/* One try at each; true when one of them succeeded. The lists are for the message. */
static bool try_all(struct disk *d, const struct disk_uses *uses, disk_release_step step,
                    struct buf *done, struct buf *failed)
{
        bool progress = false;

        buf_reset(failed);
        for (size_t i = 0; i < uses->n; i++) {
                const struct disk_use *u = &uses->use[i];
                struct error error = ERROR_INIT;
                int added;

                if (step(d->env, u, &error) == 0) {
                        progress = true;
                        log_info("released: %s", u->text);
                        added = buf_printf(done, "\n  released: %s", u->text);
                } else {
                        log_warning("not released: %s: %s", u->text, error.text);
                        added = buf_printf(failed, "\n  not released: %s: %s", u->text, error.text);
                }
                if (added < 0)
                        log_debug("the list is cut"); /* the log has it all */
        }
        return progress;
}

static int partial(const struct disk *d, const struct buf *done, const struct buf *failed,
                   struct error *e)
{
        error_set(e, ERROR_BUSY, EBUSY, "%s is still in use:%s%s", d->path, buf_str(done),
                  buf_str(failed));
        error_advise(e, "end the programs that use it, or choose another disk; what was released "
                        "stays so");
        return -EBUSY;
}

int disk_release(struct disk *d, disk_release_step step, struct error *e)
{
        _cleanup_(buf_done) struct buf done = BUF_INIT(LIMIT_DISK_REPORT / 2);
        _cleanup_(buf_done) struct buf failed = BUF_INIT(LIMIT_DISK_REPORT / 2);
        bool progress = true;

        for (unsigned round = 0;; round++) {
                _cleanup_(disk_use_done) struct disk_uses uses = {.n = 0};
                int r = disk_use_read(d, &uses, e);

                if (r < 0 || uses.n == 0)
                        return r;
                if (round == 0 && !can_be_released(&uses))
                        return disk_use_refuse(d, &uses, e);
                if (!can_be_released(&uses) || !progress || round == LIMIT_DISK_ROUNDS) {
                        for (size_t i = 0; i < uses.n && failed.len == 0; i++) {
                                r = buf_printf(&failed, "\n  still there: %s", uses.use[i].text);
                                if (r < 0)
                                        return error_oom(e);
                        }
                        return partial(d, &done, &failed, e);
                }
                progress = try_all(d, &uses, step ?: disk_release_use, &done, &failed);
        }
}
