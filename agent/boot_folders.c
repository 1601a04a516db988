/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/boot_folders.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/syscall.h>

#include "agent/oem_file.h"
#include "agent/seed.h"
#include "base/file.h"
#include "base/log.h"
#include "partition/mount.h"

/* Ephemeral writes may take this much of the memory. */
#define OVERLAY_SIZE "25%"
#define LAYOUT_ENV_MAX (64 * KIB)

static void problem(struct boot_report *report, const struct error *e)
{
        log_warning("%s", e->text);
        boot_report_problem(report, e->text);
}

/* 0 also when there are none. */
static int read_additions(const struct env *env, struct boot_additions *ret, struct error *e)
{
        _cleanup_(buf_done) struct buf text = BUF_INIT(LIMIT_SMALL_FILE);
        _cleanup_free_ char *path = NULL;
        int r = oem_file_read(env, OEM_FILE_MOUNTS, &text, &path, e);

        return r <= 0 ? r : boot_layout_parse(text.data, text.len, path, ret, e);
}

/* One path more, unless the plan does not take it: it is left out then, and the others are not. */
static void keep(struct boot_additions *kept, struct boot_path *list, size_t *n,
                 const struct boot_path *path, bool persistent, struct boot_layout *scratch,
                 struct boot_report *report)
{
        struct error error = ERROR_INIT;
        int r;

        list[(*n)++] = *path;
        r = boot_layout_plan(kept, persistent, scratch, &error);
        if (r == 0)
                return;
        (*n)--;
        (void)error_wrap(&error, r, "left out");
        problem(report, &error);
}

int boot_folders_plan(const struct env *env, struct boot_data data, struct boot_report *report,
                      struct boot_layout *ret, struct error *e)
{
        _cleanup_free_ struct boot_additions *all = calloc(1, sizeof(*all)),
                                             *kept = calloc(1, sizeof(*kept));
        struct error error = ERROR_INIT;
        int r;

        if (!all || !kept)
                return error_oom(e);
        r = data.oem ? read_additions(env, all, &error) : 0;
        if (r < 0) {
                (void)error_wrap(&error, r, "folders of the user are ignored");
                problem(report, &error);
                *all = (struct boot_additions){.n_binds = 0};
        }
        for (size_t i = 0; i < all->n_binds; i++)
                keep(kept, kept->binds, &kept->n_binds, &all->binds[i], data.persistent, ret,
                     report);
        for (size_t i = 0; i < all->n_ephemeral; i++)
                keep(kept, kept->ephemeral, &kept->n_ephemeral, &all->ephemeral[i], data.persistent,
                     ret, report);
        return boot_layout_plan(kept, data.persistent, ret, e);
}

/* A folder that is reached without a symbolic link, so that a mount lands where the plan says. */
static int open_folder(const char *path)
{
        struct open_how how = {.flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC,
                               .resolve = RESOLVE_NO_SYMLINKS};
        long fd = syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof(how));

        return fd < 0 ? -errno : (int)fd;
}

/* Drops what is no folder: a file, or a link that the image has in its place. */
static void drop_unusable(struct boot_layout *l, struct boot_report *report)
{
        size_t n = l->n;

        l->n = 0;
        for (size_t i = 0; i < n; i++) {
                _cleanup_close_ int fd = open_folder(l->mounts[i].path.text);
                struct error error = ERROR_INIT;

                if (fd >= 0 || fd == -ENOENT) {
                        l->mounts[l->n++] = l->mounts[i];
                        continue;
                }
                (void)error_set(&error, ERROR_CONFIG, -fd,
                                "\"%s\" stays as the image has it: not a folder, or behind a link",
                                l->mounts[i].path.text);
                problem(report, &error);
        }
}

/*
 * Without its folder on the persistent partition, a bound folder is ephemeral in this boot: there
 * is nothing in it yet that could be missed.
 */
static int seed_all(int state, struct boot_layout *l, struct boot_report *report, struct error *e)
{
        _cleanup_close_ int root = file_open_dir(AT_FDCWD, "/");
        char names[BOOT_LAYOUT_MAX][NAME_MAX + 1];
        const char *prepared[BOOT_LAYOUT_MAX];
        size_t n = 0;

        if (root < 0)
                return error_errno(e, -root, "/");
        for (size_t i = 0; i < l->n; i++) {
                struct boot_mount *m = &l->mounts[i];
                struct error error = ERROR_INIT;
                int r;

                if (!m->bind)
                        continue;
                boot_layout_state_name(&m->path, names[i]);
                r = seed_prepare(state, names[i], root, m->path.text + 1, &error);
                if (r > 0)
                        prepared[n++] = names[i];
                if (r >= 0)
                        continue;
                m->bind = false;
                (void)error_wrap(&error, r, "what is written to \"%s\" will be lost", m->path.text);
                problem(report, &error);
        }
        boot_report_set_u64(report, "folders_filled", n);
        return seed_finish(state, prepared, n, e);
}

static int open_state(const struct env *env, char **ret_path, struct error *e)
{
        int r;

        if (asprintf(ret_path, "%s/" BOOT_STATE_FOLDER, env->persistent) < 0) {
                *ret_path = NULL;
                return error_oom(e);
        }
        r = file_make_dirs(AT_FDCWD, *ret_path, 0755);
        if (r == 0)
                r = open_folder(*ret_path);
        return r < 0 ? error_errno(e, -r, "%s", *ret_path) : r;
}

static int bind_folder(const char *state, const struct boot_mount *m, struct error *e)
{
        _cleanup_free_ char *source = NULL;
        char name[NAME_MAX + 1];
        int r;

        boot_layout_state_name(&m->path, name);
        if (asprintf(&source, "%s/%s", state, name) < 0) {
                source = NULL;
                return error_oom(e);
        }
        r = mount_bind(source, m->path.text, e);
        /* A bind mount has the flags of the file system's own mount, which are the usual ones. */
        if (r == 0 && (m->flags & MS_NOEXEC))
                r = mount_set_flags(m->path.text, m->flags | MS_NOATIME, e);
        return r;
}

static int mount_folder(const struct boot_mount *m, const char *upper, const char *state,
                        struct error *e)
{
        _cleanup_close_ int fd = -EBADF;
        int r = file_make_dirs(AT_FDCWD, m->path.text, 0755);

        if (r < 0)
                return error_errno(e, -r, "%s", m->path.text);
        /* Again, now that the folders around it are mounted: whoever owns one of those may have put
         * a link there. */
        fd = open_folder(m->path.text);
        if (fd < 0)
                return error_set(e, ERROR_CONFIG, -fd, "\"%s\": not a folder, or behind a link",
                                 m->path.text);
        return m->bind ? bind_folder(state, m, e) : mount_overlay(m->path.text, upper, m->flags, e);
}

static bool has_binds(const struct boot_layout *l)
{
        for (size_t i = 0; i < l->n; i++) {
                if (l->mounts[i].bind)
                        return true;
        }
        return false;
}

int boot_folders_mount(const struct env *env, struct boot_layout *l, struct boot_report *report,
                       struct error *e)
{
        _cleanup_free_ char *upper = NULL, *state = NULL;
        _cleanup_close_ int state_fd = -EBADF;
        int r;

        if (asprintf(&upper, "%s/overlay", env->run) < 0) {
                upper = NULL;
                return error_oom(e);
        }
        r = mount_fs("tmpfs", upper, "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755,size=" OVERLAY_SIZE,
                     e);
        if (r < 0)
                return r;
        drop_unusable(l, report);
        if (has_binds(l)) {
                state_fd = open_state(env, &state, e);
                r = state_fd < 0 ? state_fd : seed_all(state_fd, l, report, e);
        }
        for (size_t i = 0; i < l->n && r == 0; i++) {
                struct error error = ERROR_INIT;

                r = mount_folder(&l->mounts[i], upper, state, &error);
                /*
                 * Going on without a folder that holds data could look to its owner like a new
                 * node. An ephemeral one that the user added is no such thing, and a link in the
                 * place of one must not let whoever made it stop every boot.
                 */
                if (r < 0 && l->mounts[i].user &&
                    (!l->mounts[i].bind || r == -ELOOP || r == -ENOTDIR)) {
                        problem(report, &error);
                        r = 0;
                } else if (r < 0) {
                        *e = error;
                }
        }
        return r;
}

static int add_list(struct buf *b, const char *variable, const struct boot_layout *l, bool bind)
{
        const char *separator = "";
        int r = buf_printf(b, "%s=\"", variable);

        for (size_t i = 0; i < l->n && r == 0; i++) {
                if (l->mounts[i].bind != bind)
                        continue;
                r = buf_printf(b, "%s%s", separator, l->mounts[i].path.text);
                separator = " ";
        }
        return r < 0 ? r : buf_add_str(b, "\"\n");
}

/* The paths of a plan have no character that a shell would look at. */
static int format_env(struct buf *b, const struct env *env, const struct boot_layout *l,
                      struct boot_data data)
{
        int r = 0;

        if (data.persistent)
                r = buf_printf(b, "VOLUMES=\"LABEL=COS_PERSISTENT:%s\"\n", env->persistent);
        if (r == 0)
                r = buf_add_str(b, "OVERLAY=\"tmpfs:" OVERLAY_SIZE "\"\n");
        if (r == 0)
                r = add_list(b, "RW_PATHS", l, false);
        if (r < 0 || !data.persistent)
                return r;
        r = add_list(b, "PERSISTENT_STATE_PATHS", l, true);
        if (r == 0)
                r = buf_printf(b,
                               "PERSISTENT_STATE_TARGET=\"%s/" BOOT_STATE_FOLDER
                               "\"\nPERSISTENT_STATE_BIND=\"true\"\n",
                               env->persistent);
        return r;
}

int boot_folders_write_env(const struct env *env, const struct boot_layout *l,
                           struct boot_data data, struct error *e)
{
        _cleanup_(buf_done) struct buf text = BUF_INIT(LAYOUT_ENV_MAX);
        _cleanup_free_ char *dir = NULL, *path = NULL;
        int r;

        if (asprintf(&dir, "%s/cos", env->run) < 0) {
                dir = NULL;
                return error_oom(e);
        }
        if (asprintf(&path, "%s/cos-layout.env", dir) < 0) {
                path = NULL;
                return error_oom(e);
        }
        r = format_env(&text, env, l, data);
        if (r == 0)
                r = file_make_dirs(AT_FDCWD, dir, 0755);
        if (r == 0)
                r = file_write_volatile(AT_FDCWD, path, text.data, text.len, 0644);
        return r < 0 ? error_errno(e, -r, "%s", path) : 0;
}
