/* SPDX-License-Identifier: Apache-2.0 */
#include "partition/disk_use.h"

#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/limits.h"
#include "partition/mountinfo.h"

static const char keep_vital[] = "the running system stands on it";

struct swap {
        char *path; /* device node or file */
        bool file;
};

struct scan {
        const struct env *env;
        struct mountinfo mounts;
        bool *mount_seen;                  /* one for each mount */
        const struct mountinfo_mount *own; /* where this program was started from */
        struct swap swaps[LIMIT_SWAPS];
        size_t n_swaps;
        struct sysblock_names loops; /* name and backing file in turns */
        struct sysblock_names seen;  /* devices that were visited */
        struct disk_uses uses;
        unsigned depth;
};

void disk_use_done(struct disk_uses *uses)
{
        for (size_t i = 0; i < uses->n; i++) {
                free(uses->use[i].name);
                free(uses->use[i].text);
        }
        free(uses->use);
        *uses = (struct disk_uses){.n = 0};
}

static void scan_done(struct scan *s)
{
        mountinfo_done(&s->mounts);
        free(s->mount_seen);
        for (size_t i = 0; i < s->n_swaps; i++)
                free(s->swaps[i].path);
        sysblock_names_done(&s->loops);
        sysblock_names_done(&s->seen);
        disk_use_done(&s->uses);
}

/* text becomes the use's, also on failure. */
static int add_use(struct scan *s, enum disk_use_kind kind, const char *name, bool vital,
                   const char *keep, char *text)
{
        struct disk_use *grown = NULL, u = {.kind = kind, .text = text, .vital = vital};

        u.keep = vital ? keep_vital : keep;
        u.name = text ? strdup(name) : NULL;
        if (u.name)
                grown = reallocarray(s->uses.use, s->uses.n + 1, sizeof(*grown));
        if (!grown) {
                free(u.name);
                free(u.text);
                return -ENOMEM;
        }
        grown[s->uses.n++] = u;
        s->uses.use = grown;
        return 0;
}

static _printf_(1, 2) char *say(const char *fmt, ...)
{
        char *text;
        va_list ap;
        int n;

        va_start(ap, fmt);
        n = vasprintf(&text, fmt, ap);
        va_end(ap);
        return n < 0 ? NULL : text;
}

/* --- what is known before the walk --- */

static int read_swaps(struct scan *s, struct error *e)
{
        _cleanup_(buf_done) struct buf b = BUF_INIT(LIMIT_SYSFS_FILE);
        _cleanup_free_ char *path = NULL;
        char *rest, *line;
        int r;

        if (asprintf(&path, "%s/swaps", s->env->proc) < 0) {
                path = NULL;
                return error_oom(e);
        }
        r = file_read(AT_FDCWD, path, &b);
        if (r == -ENOENT || (r == 0 && !b.data))
                return 0; /* a kernel without swap */
        if (r < 0)
                return error_errno(e, -r, "%s", path);
        rest = (char *)b.data;
        (void)strsep(&rest, "\n"); /* the headline */
        while ((line = strsep(&rest, "\n")) && s->n_swaps < LIMIT_SWAPS) {
                struct swap *w = &s->swaps[s->n_swaps];
                char *name = strsep(&line, " \t");

                if (!line)
                        continue;
                w->file = strncmp(line + strspn(line, " \t"), "file", 4) == 0;
                mountinfo_unescape(name);
                w->path = strdup(name);
                if (!w->path)
                        return error_oom(e);
                s->n_swaps++;
        }
        return 0;
}

static int read_loops(struct scan *s, struct error *e)
{
        _cleanup_(sysblock_names_done) struct sysblock_names all = {.n = 0};
        int r = sysblock_list(s->env, ".", ".", &all);

        for (size_t i = 0; i < all.n && r == 0; i++) {
                _cleanup_(buf_done) struct buf b = BUF_INIT(LIMIT_SYSFS_FILE);

                if (strncmp(all.name[i], "loop", 4) != 0)
                        continue;
                r = sysblock_read(s->env, all.name[i], "loop/backing_file", &b);
                if (r == 0 && b.len > 0)
                        r = sysblock_names_add(&s->loops, all.name[i]);
                if (r == 0 && b.len > 0)
                        r = sysblock_names_add(&s->loops, buf_str(&b));
        }
        return r < 0 ? error_errno(e, -r, "looking at the loop devices") : 0;
}

static void find_own(struct scan *s)
{
        _cleanup_free_ char *link = NULL;
        char target[PATH_MAX];
        ssize_t n;

        if (asprintf(&link, "%s/self/exe", s->env->proc) < 0) {
                link = NULL;
                return;
        }
        n = readlink(link, target, sizeof(target) - 1);
        if (n <= 0)
                return;
        target[n] = '\0';
        s->own = mountinfo_find(&s->mounts, target);
}

static int prepare(struct scan *s, struct error *e)
{
        int r = mountinfo_read(s->env, &s->mounts, e);

        if (r < 0)
                return r;
        s->mount_seen = calloc(s->mounts.n + 1, sizeof(*s->mount_seen));
        if (!s->mount_seen)
                return error_oom(e);
        find_own(s);
        r = read_swaps(s, e);
        return r < 0 ? r : read_loops(s, e);
}

/* --- what the running system stands on --- */

static bool is_at_or_below(const char *path, const char *folder)
{
        size_t n = strlen(folder);

        return strncmp(path, folder, n) == 0 && (path[n] == '/' || path[n] == '\0');
}

/* Places of an operating system, and where live sessions of different makers have their medium. */
static bool is_vital_target(const struct env *env, const char *target)
{
        static const char *const folders[] = {
                "/usr",          "/etc",           "/var",
                "/bin",          "/lib",           "/sbin",
                "/boot",         "/efi",           "/oem",
                "/dev",          "/proc",          "/sys",
                "/nix",          "/run/initramfs", "/run/live",
                "/run/archiso",  "/run/rootfs",    "/run/rootfsbase",
                "/run/tb-agent", "/run/install",   "/lib/live",
                "/cdrom",        "/isodevice",     "/sysroot",
        };

        if (strcmp(target, "/") == 0 || is_at_or_below(target, env->oem) ||
            is_at_or_below(target, env->persistent))
                return true;
        for (size_t i = 0; i < ARRAY_SIZE(folders); i++) {
                if (is_at_or_below(target, folders[i]))
                        return true;
        }
        return false;
}

/* --- the walk: what stands on something is added before it --- */

static int visit_whole(struct scan *s, const char *device, bool *vital);
static int visit_mount(struct scan *s, size_t index, const char *device, bool *vital);

static int visit_loop(struct scan *s, size_t index, bool *vital)
{
        const char *loop = s->loops.name[index], *file = s->loops.name[index + 1];
        bool above = false;
        int r;

        for (size_t i = 0; i < s->seen.n; i++) {
                if (strcmp(s->seen.name[i], loop) == 0)
                        return 0;
        }
        r = visit_whole(s, loop, &above);
        if (r == 0)
                r = add_use(s, DISK_USE_LOOP, loop, above, NULL, say("%s shows %s", loop, file));
        *vital |= above;
        return r;
}

/* Swap files and loop devices whose file lies on the mount. */
static int visit_files(struct scan *s, const struct mountinfo_mount *m, bool *vital)
{
        int r = 0;

        for (size_t i = 0; i < s->loops.n && r == 0; i += 2) {
                if (mountinfo_find(&s->mounts, s->loops.name[i + 1]) == m)
                        r = visit_loop(s, i, vital);
        }
        for (size_t i = 0; i < s->n_swaps && r == 0; i++) {
                const struct swap *w = &s->swaps[i];

                if (w->file && mountinfo_find(&s->mounts, w->path) == m)
                        r = add_use(s, DISK_USE_SWAP, w->path, false, NULL,
                                    say("%s is a swap file in use", w->path));
        }
        return r;
}

static int visit_submounts(struct scan *s, const struct mountinfo_mount *m, bool *vital)
{
        int r = 0;

        for (size_t i = 0; i < s->mounts.n && r == 0; i++) {
                if (s->mounts.mount[i].parent == m->id)
                        r = visit_mount(s, i, s->mounts.mount[i].source, vital);
        }
        return r;
}

static bool loses_content(const char *type)
{
        return strcmp(type, "tmpfs") == 0 || strcmp(type, "ramfs") == 0;
}

/* device: what is mounted, in words. */
static int visit_mount(struct scan *s, size_t index, const char *device, bool *vital)
{
        const struct mountinfo_mount *m = &s->mounts.mount[index];
        bool own = m == s->own || is_vital_target(s->env, m->target);
        int r;

        if (s->mount_seen[index])
                return 0;
        if (s->depth >= LIMIT_DISK_STACK)
                return -ELOOP;
        s->mount_seen[index] = true;
        s->depth++;
        /* Below a mount that stays, nothing needs to go. */
        r = own ? 0 : visit_submounts(s, m, &own);
        if (r == 0)
                r = visit_files(s, m, &own);
        s->depth--;
        if (r == 0)
                r = add_use(s, DISK_USE_MOUNT, m->target, own,
                            loses_content(m->type) ? "its content would be lost" : NULL,
                            say("%s is mounted on %s (%s)", device, m->target, m->type));
        *vital |= own;
        return r;
}

/* "/dev/vda1": also for a swap and a mount source, which are words of the kernel and of the one who
 * mounted, not places this program looks at. */
static bool is_node_of(const char *path, const char *device, const char *mapping)
{
        static const char dev[] = "/dev/", mapper[] = "/dev/mapper/";

        return (strncmp(path, dev, strlen(dev)) == 0 && strcmp(path + strlen(dev), device) == 0) ||
               (*mapping && strncmp(path, mapper, strlen(mapper)) == 0 &&
                strcmp(path + strlen(mapper), mapping) == 0);
}

static int visit_mounts(struct scan *s, const char *device, const char *mapping, bool *vital)
{
        _cleanup_(buf_done) struct buf b = BUF_INIT(LIMIT_SYSFS_FILE);
        int r = sysblock_read(s->env, device, "dev", &b);

        for (size_t i = 0; i < s->mounts.n && r == 0; i++) {
                const struct mountinfo_mount *m = &s->mounts.mount[i];
                char number[32];

                (void)snprintf(number, sizeof(number), "%u:%u", m->major, m->minor);
                if (strcmp(number, buf_str(&b)) == 0 ||
                    (m->major == 0 && is_node_of(m->source, device, mapping)))
                        r = visit_mount(s, i, device, vital);
        }
        return r;
}

static int visit_backings(struct scan *s, const char *device, const char *mapping, bool *vital)
{
        int r = 0;

        for (size_t i = 0; i < s->n_swaps && r == 0; i++) {
                if (!s->swaps[i].file && is_node_of(s->swaps[i].path, device, mapping))
                        r = add_use(s, DISK_USE_SWAP, s->swaps[i].path, false, NULL,
                                    say("%s is swap in use", device));
        }
        for (size_t i = 0; i < s->loops.n && r == 0; i += 2) {
                if (is_node_of(s->loops.name[i + 1], device, mapping))
                        r = visit_loop(s, i, vital);
        }
        return r;
}

static int add_mapper(struct scan *s, const char *device, const char *holder, bool vital)
{
        static const struct {
                const char *prefix, *kind;
        } kinds[] = {{"CRYPT-LUKS", "LUKS"},  {"CRYPT-", "dm-crypt"},   {"LVM-", "LVM"},
                     {"mpath-", "multipath"}, {"DMRAID-", "BIOS RAID"}, {"", "device-mapper"}};
        _cleanup_free_ char *name = NULL, *uuid = NULL;
        const char *keep = NULL;
        size_t i = 0;
        int r = sysblock_text(s->env, holder, "dm/name", &name);

        if (r == 0)
                r = sysblock_text(s->env, holder, "dm/uuid", &uuid);
        if (r < 0)
                return r;
        while (strncmp(uuid, kinds[i].prefix, strlen(kinds[i].prefix)) != 0)
                i++;
        if (strcmp(kinds[i].kind, "multipath") == 0)
                keep = "a path of a disk with several paths is not for installing";
        return add_use(s, DISK_USE_MAPPER, name, vital, keep,
                       say("%s is held by the %s mapping %s", device, kinds[i].kind, name));
}

static int add_array(struct scan *s, const char *device, const char *holder, bool vital)
{
        _cleanup_free_ char *level = NULL, *link = NULL;
        int r = sysblock_text(s->env, holder, "md/level", &level);

        if (r == 0)
                r = sysblock_link(s->env, "md", holder, &link);
        if (r < 0)
                return r;
        return add_use(s, DISK_USE_MD, holder, vital, NULL,
                       say("%s is a member of the array %s (%s%s%s)", device, holder,
                           *level ? level : "no level", *link ? ", " : "", link));
}

static int visit_holder(struct scan *s, const char *device, const char *holder, bool *vital)
{
        bool above = false;
        int r;

        for (size_t i = 0; i < s->seen.n; i++) {
                if (strcmp(s->seen.name[i], holder) == 0)
                        return 0;
        }
        r = visit_whole(s, holder, &above);
        if (r < 0)
                return r;
        *vital |= above;
        if (strncmp(holder, "dm-", 3) == 0)
                return add_mapper(s, device, holder, above);
        if (strncmp(holder, "md", 2) == 0)
                return add_array(s, device, holder, above);
        return add_use(s, DISK_USE_HOLDER, holder, above, "this program cannot release it",
                       say("%s is held by %s", device, holder));
}

/* One device node, without its partitions. */
static int visit_device(struct scan *s, const char *device, bool *vital)
{
        _cleanup_(sysblock_names_done) struct sysblock_names holders = {.n = 0};
        _cleanup_free_ char *mapping = NULL;
        int r = sysblock_names_add(&s->seen, device);

        if (r == 0)
                r = sysblock_text(s->env, device, "dm/name", &mapping);
        if (r == 0)
                r = visit_mounts(s, device, mapping, vital);
        if (r == 0)
                r = visit_backings(s, device, mapping, vital);
        if (r == 0)
                r = sysblock_list(s->env, device, "holders", &holders);
        for (size_t i = 0; i < holders.n && r == 0; i++)
                r = visit_holder(s, device, holders.name[i], vital);
        return r;
}

static int visit_whole(struct scan *s, const char *device, bool *vital)
{
        _cleanup_(sysblock_names_done) struct sysblock_names parts = {.n = 0};
        int r;

        if (s->depth >= LIMIT_DISK_STACK)
                return -ELOOP;
        s->depth++;
        r = sysblock_partitions(s->env, device, &parts);
        for (size_t i = 0; i < parts.n && r == 0; i++)
                r = visit_device(s, parts.name[i], vital);
        if (r == 0)
                r = visit_device(s, device, vital);
        s->depth--;
        return r;
}

int disk_use_scan(const struct disk *d, struct disk_uses *ret, struct error *e)
{
        _cleanup_(scan_done) struct scan s = {.env = d->env};
        bool vital = false;
        int r = prepare(&s, e);

        if (r < 0)
                return r;
        r = visit_whole(&s, d->name, &vital);
        if (r < 0)
                return error_errno(e, -r, "%s: finding out what uses it", d->path);
        *ret = s.uses;
        s.uses = (struct disk_uses){.n = 0};
        return 0;
}

int disk_use_read(const struct disk *d, struct disk_uses *ret, struct error *e)
{
        _cleanup_(scan_done) struct scan s = {.env = d->env};
        _cleanup_close_ int exclusive = -EBADF;
        int r = disk_use_scan(d, &s.uses, e);

        if (r < 0)
                return r;
        /*
         * The kernel refuses an exclusive claim on the whole disk while a mount, swap,
         * device-mapper or md holds any part of it. The claim is dropped at once: it would keep our
         * own mounts out.
         */
        exclusive = open(d->path, O_RDONLY | O_EXCL | O_CLOEXEC | O_NOCTTY);
        if (exclusive < 0 && errno != EBUSY)
                return error_errno(e, errno, "%s", d->path);
        if (exclusive < 0 && s.uses.n == 0 &&
            add_use(&s, DISK_USE_UNSEEN, d->name, false, "what holds it cannot be seen from here",
                    say("%s is held by something that cannot be seen from here (a mount of another "
                        "name space, a ZFS pool, btrfs on several disks)",
                        d->name)) < 0)
                return error_oom(e);
        *ret = s.uses;
        s.uses = (struct disk_uses){.n = 0};
        return 0;
}

const struct disk_use *disk_use_vital(const struct disk_uses *uses)
{
        for (size_t i = 0; i < uses->n; i++) {
                if (uses->use[i].vital)
                        return &uses->use[i];
        }
        return NULL;
}

int disk_use_refuse(const struct disk *d, const struct disk_uses *uses, struct error *e)
{
        _cleanup_(buf_done) struct buf text = BUF_INIT(LIMIT_DISK_REPORT);
        bool kept = false;
        size_t i;

        for (i = 0; i < uses->n; i++) {
                const struct disk_use *u = &uses->use[i];

                if (buf_printf(&text, "\n  %s%s%s", u->text, u->keep ? ": " : "", u->keep ?: "") <
                    0)
                        break;
                kept |= u->keep != NULL;
        }
        error_set(e, ERROR_BUSY, EBUSY, "%s is in use:%s%s", d->path, buf_str(&text),
                  i < uses->n ? "\n  and more" : "");
        error_advise(e, "%s",
                     kept ? "release it yourself, or choose another disk"
                          : "release it yourself, let --force-release do it, or choose another "
                            "disk");
        return -EBUSY;
}
