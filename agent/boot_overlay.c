/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/boot_overlay.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "base/file.h"
#include "partition/mount.h"
#include "partition/mountinfo.h"

#define ASIDE "tb-agent/aside"
/* A page is what the kernel takes of mount options. */
#define OPTIONS_MAX 4096u
/* Mounts below /usr: /usr/local, and a folder for plug-ins of Kubernetes. */
#define ASIDE_MAX 8u

/* --- what is mounted below --- */

struct aside {
        unsigned n;
        char *target[ASIDE_MAX], *place[ASIDE_MAX];
        bool away[ASIDE_MAX];
};

static void aside_done(struct aside *a)
{
        for (unsigned i = 0; i < a->n; i++) {
                free(a->target[i]);
                free(a->place[i]);
        }
}

static bool is_below(const char *path, const char *folder)
{
        size_t n = strlen(folder);

        return strncmp(path, folder, n) == 0 && path[n] == '/';
}

/* Mounts below the folder; one inside of another moves along with it. */
static int find_below(const struct env *env, const char *folder, struct aside *ret, struct error *e)
{
        _cleanup_(mountinfo_done) struct mountinfo m = {.n = 0};
        int r = mountinfo_read(env, &m, e);

        for (size_t i = 0; i < m.n && r == 0; i++) {
                const char *target = m.mount[i].target;
                bool inner = !is_below(target, folder);

                for (size_t k = 0; k < m.n && !inner; k++)
                        inner = is_below(m.mount[k].target, folder) &&
                                is_below(target, m.mount[k].target);
                if (inner)
                        continue;
                if (ret->n == ASIDE_MAX)
                        return error_set(e, ERROR_CONFIG, E2BIG, "too many mounts below %s",
                                         folder);
                ret->target[ret->n] = strdup(target);
                if (asprintf(&ret->place[ret->n], "%s/" ASIDE "/%u", env->run, ret->n) < 0)
                        ret->place[ret->n] = NULL;
                ret->n++;
                if (!ret->target[ret->n - 1] || !ret->place[ret->n - 1])
                        return error_oom(e);
                r = file_make_dirs(AT_FDCWD, ret->place[ret->n - 1], 0700);
                if (r < 0)
                        return error_errno(e, -r, "%s", ret->place[ret->n - 1]);
        }
        return r;
}

static int move_away(struct aside *a, struct error *e)
{
        for (unsigned i = 0; i < a->n; i++) {
                if (mount(a->target[i], a->place[i], NULL, MS_MOVE, NULL) < 0)
                        return error_errno(e, errno, "moving the mount on %s", a->target[i]);
                a->away[i] = true;
        }
        return 0;
}

/* In the other order, because two may be on one folder. */
static int move_back(struct aside *a, struct error *e)
{
        for (unsigned i = a->n; i-- > 0;) {
                if (!a->away[i])
                        continue;
                if (mount(a->place[i], a->target[i], NULL, MS_MOVE, NULL) < 0)
                        return error_errno(e, errno, "moving the mount on %s back", a->target[i]);
                a->away[i] = false;
        }
        return 0;
}

/* An extension may have something else in the place of a folder. */
static int check_targets(const struct aside *a, struct error *e)
{
        for (unsigned i = 0; i < a->n; i++) {
                struct stat st;

                if (lstat(a->target[i], &st) < 0 || !S_ISDIR(st.st_mode))
                        return error_set(e, ERROR_REFUSED, ENOTDIR,
                                         "an extension has no folder at %s", a->target[i]);
        }
        return 0;
}

/* --- the overlay --- */

static int lay(const char *folder, const char *const *over, unsigned n, struct error *e)
{
        _cleanup_(buf_done) struct buf options = BUF_INIT(OPTIONS_MAX - 1);
        int r = buf_add_str(&options, "lowerdir=");

        while (n > 0 && r == 0)
                r = buf_printf(&options, "%s:", over[--n]);
        if (r == 0)
                r = buf_add_str(&options, folder);
        if (r < 0)
                return error_set(e, ERROR_SPACE, -r, "too many folders for %s", folder);
        return mount_fs("extensions", folder, "overlay", MS_RDONLY | MS_NODEV, buf_str(&options),
                        e);
}

int boot_overlay_lay(const struct env *env, const char *folder, const char *const *over, unsigned n,
                     bool *ret_lost, struct error *e)
{
        _cleanup_(aside_done) struct aside aside = {.n = 0};
        int r = find_below(env, folder, &aside, e);

        *ret_lost = false;
        if (r == 0)
                r = move_away(&aside, e);
        if (r == 0)
                r = lay(folder, over, n, e);
        if (r == 0) {
                r = check_targets(&aside, e);
                if (r == 0) {
                        r = move_back(&aside, e);
                        *ret_lost = r < 0;
                        return r;
                }
                if (umount2(folder, UMOUNT_NOFOLLOW) < 0)
                        *ret_lost = true;
        }
        if (move_back(&aside, NULL) < 0)
                *ret_lost = true;
        return r;
}
