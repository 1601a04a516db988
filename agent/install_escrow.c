/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/install_escrow.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>

#include "agent/qr.h"
#include "agent/report.h"
#include "base/file.h"
#include "base/log.h"
#include "partition/recovery_key.h"

/* As long as a key, so that writing it later needs no space. Nobody takes it for one. */
static const char filler[] =
        "An installation is running. Its recovery key will be written here.    "
        " ";

_Static_assert(sizeof(filler) - 1 == RECOVERY_KEY_TEXT, "filler of another size than a key");

static void warn(struct install_escrow *k, const char *text)
{
        log_warning("%s", text);
        if (k->n_warnings < INSTALL_ESCROW_WARNINGS)
                k->warnings[k->n_warnings++] = text;
}

const char *install_escrow_place_name(enum install_escrow_place place)
{
        switch (place) {
        case INSTALL_ESCROW_NONE:
                return "none";
        case INSTALL_ESCROW_SHOWN:
                return "shown";
        case INSTALL_ESCROW_FILE:
                return "file";
        }
        return "none";
}

/* Standard error where that is a terminal; where it is a log, the terminal that the process belongs
 * to. A descriptor of our own. */
static int open_terminal(const struct env *env)
{
        _cleanup_free_ char *path = NULL;

        if (isatty(STDERR_FILENO))
                return fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
        if (asprintf(&path, "%s/tty", env->dev) < 0) {
                path = NULL;
                return -1;
        }
        return open(path, O_WRONLY | O_NOCTTY | O_CLOEXEC);
}

int install_escrow_check(const struct install_escrow_wishes *wishes, struct error *e)
{
        if (wishes->show + wishes->none + (wishes->file != NULL) > 1)
                return error_set(e, ERROR_USAGE, EINVAL,
                                 "--recovery-key, --recovery-key-file and --no-recovery-key "
                                 "exclude each other");
        if (wishes->file && strcmp(wishes->file, "-") == 0)
                return error_set(e, ERROR_USAGE, EINVAL,
                                 "--recovery-key-file: a key is not written to standard output");
        return 0;
}

int install_escrow_choose(const struct env *env, const struct install_escrow_wishes *wishes,
                          bool attended, struct install_escrow *ret, struct error *e)
{
        struct install_escrow *k = ret;

        *k = (struct install_escrow)INSTALL_ESCROW_INIT;
        if (wishes->file) {
                k->place = INSTALL_ESCROW_FILE;
                k->path = wishes->file;
        } else if (wishes->show || (attended && !wishes->none)) {
                k->terminal = open_terminal(env);
                if (k->terminal < 0 || !isatty(k->terminal)) {
                        error_set(e, ERROR_USAGE, ENOTTY,
                                  "there is no terminal to show the recovery key on");
                        error_advise(e, "give --recovery-key-file, or --no-recovery-key");
                        return -ENOTTY;
                }
                k->place = INSTALL_ESCROW_SHOWN;
        } else if (!wishes->none) {
                warn(k, "there will be no recovery key: when the TPM or the firmware of this "
                        "machine is exchanged, its data is lost (--recovery-key-file makes one)");
        }
        return 0;
}

void install_escrow_describe(const struct install_escrow *k, FILE *out)
{
        switch (k->place) {
        case INSTALL_ESCROW_NONE:
                report_text(out, "key      no recovery key\n");
                break;
        case INSTALL_ESCROW_SHOWN:
                report_text(out, "key      a recovery key, shown at the end\n");
                break;
        case INSTALL_ESCROW_FILE:
                report_text(out, "key      a recovery key, written to %s\n", k->path);
                break;
        }
}

static int take_over(struct install_escrow *k, const char *name, struct error *e)
{
        uint8_t text[RECOVERY_KEY_TEXT + 1];
        struct stat st;

        k->fd = openat(k->dir, name, O_RDWR | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
        if (k->fd >= 0 && fstat(k->fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_nlink == 1 &&
            st.st_uid == geteuid() &&
            file_pread(k->fd, text, sizeof(text), 0) == (ssize_t)RECOVERY_KEY_TEXT &&
            memcmp(text, filler, RECOVERY_KEY_TEXT) == 0)
                return 0;
        close_p(&k->fd);
        error_set(e, ERROR_USAGE, EEXIST, "%s exists", k->path);
        error_advise(e, "it may hold the key of another node: move it away, or name another file");
        return -EEXIST;
}

static int create(struct install_escrow *k, struct error *e)
{
        const char *slash = strrchr(k->path, '/'), *name = slash ? slash + 1 : k->path;
        _cleanup_free_ char *dir =
                slash ? strndup(k->path, (size_t)(slash - k->path) + 1) : strdup(".");

        if (!dir)
                return error_oom(e);
        if (!*name)
                return error_set(e, ERROR_USAGE, EISDIR, "%s: not the name of a file", k->path);
        k->dir = file_open_dir(AT_FDCWD, dir);
        if (k->dir < 0)
                return error_errno(e, -k->dir, "%s", dir);
        k->fd = openat(k->dir, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (k->fd < 0 && errno == EEXIST)
                return take_over(k, name, e);
        return k->fd < 0 ? error_errno(e, errno, "%s", k->path) : 0;
}

/* A file system of the target would be held by its mount, and such a disk is not taken; this is for
 * the case that the mount is out of sight. */
static int check_place(struct install_escrow *k, const struct env *env, const struct disk *disk,
                       struct error *e)
{
        _cleanup_free_ char *link = NULL, *inside = NULL, *real = NULL;
        struct statfs fs;
        struct stat st;

        if (fstat(k->fd, &st) < 0 || fstatfs(k->fd, &fs) < 0)
                return error_errno(e, errno, "%s", k->path);
        if (asprintf(&link, "%s/dev/block/%u:%u", env->sysfs, major(st.st_dev), minor(st.st_dev)) <
            0) {
                link = NULL;
                return error_oom(e);
        }
        if (asprintf(&inside, "/block/%s/", disk ? disk->name : "") < 0) {
                inside = NULL;
                return error_oom(e);
        }
        real = realpath(link, NULL);
        if (real && disk &&
            (strstr(real, inside) || strcmp(strrchr(real, '/') + 1, disk->name) == 0))
                return error_set(e, ERROR_USAGE, EINVAL,
                                 "%s is on the disk that will be overwritten", k->path);
        if (fs.f_type == TMPFS_MAGIC || fs.f_type == RAMFS_MAGIC ||
            fs.f_type == OVERLAYFS_SUPER_MAGIC) {
                if (k->leaving) {
                        error_set(e, ERROR_USAGE, EPERM,
                                  "%s is in the memory of this session, which ends with the "
                                  "installation",
                                  k->path);
                        error_advise(e, "name a file on a medium, or leave out the restart");
                        return -EPERM;
                }
                warn(k, "the file of the recovery key is in the memory of this session: copy it "
                        "away before the restart");
        }
        if (st.st_mode & 0077)
                warn(k, "the file of the recovery key is on a file system without permissions: "
                        "others can read it");
        return 0;
}

/* In place and synced; the folder too, for the name. */
static int write_file(struct install_escrow *k, const void *text, struct error *e)
{
        int r = file_pwrite(k->fd, text, RECOVERY_KEY_TEXT, 0);

        if (r == 0)
                r = file_sync(k->fd);
        if (r == 0)
                r = file_sync(k->dir);
        return r < 0 ? error_errno(e, -r, "%s", k->path) : 0;
}

int install_escrow_begin(struct install_escrow *k, const struct env *env, const struct disk *disk,
                         struct error *e)
{
        int r = 0;

        if (k->place == INSTALL_ESCROW_NONE)
                return 0;
        if (k->place == INSTALL_ESCROW_FILE) {
                r = create(k, e);
                if (r == 0)
                        r = check_place(k, env, disk, e);
                if (r == 0)
                        r = write_file(k, filler, e);
        }
        if (r == 0) {
                k->key = recovery_key_new();
                if (!k->key)
                        r = error_errno(e, errno, "recovery key");
        }
        if (r < 0)
                install_escrow_abandon(k);
        return r;
}

static int say(int fd, const char *text)
{
        return file_write(fd, text, strlen(text));
}

static int show(struct install_escrow *k, struct error *e)
{
        _cleanup_(secret_free_p) struct secret *code = NULL;
        int r = qr_render(k->key, &code, e);

        if (r < 0)
                return r;
        r = say(k->terminal, "\nThe recovery key of this node. It is shown this once:\n\n    ");
        if (r == 0)
                r = file_write(k->terminal, k->key->data, k->key->len);
        if (r == 0)
                r = say(k->terminal, "\n\n");
        if (r == 0)
                r = file_write(k->terminal, code->data, code->len);
        if (r == 0)
                r = say(k->terminal, "\nIt opens the data when the TPM does not. Keep it in a safe "
                                     "place, away from the node.\n\n");
        return r < 0 ? error_errno(e, -r, "showing the recovery key") : 0;
}

int install_escrow_deliver(struct install_escrow *k, struct error *e)
{
        switch (k->place) {
        case INSTALL_ESCROW_NONE:
                return 0;
        case INSTALL_ESCROW_SHOWN:
                return show(k, e);
        case INSTALL_ESCROW_FILE:
                return write_file(k, k->key->data, e);
        }
        return error_set(e, ERROR_INTERNAL, EINVAL, "place of the recovery key");
}

void install_escrow_abandon(struct install_escrow *k)
{
        const char *slash = k->path ? strrchr(k->path, '/') : NULL;

        if (k->fd < 0)
                return;
        /* What was written goes first: a name that cannot be removed then holds no key. */
        if (file_pwrite(k->fd, filler, RECOVERY_KEY_TEXT, 0) < 0 || file_sync(k->fd) < 0 ||
            unlinkat(k->dir, slash ? slash + 1 : k->path, 0) < 0)
                log_warning("%s is left behind; it holds no key that opens anything", k->path);
        close_p(&k->fd);
}

void install_escrow_done(struct install_escrow *k)
{
        secret_free(k->key);
        k->key = NULL;
        close_p(&k->dir);
        close_p(&k->fd);
        close_p(&k->terminal);
}

int install_escrow_report(const struct install_escrow *k, struct json_object *root)
{
        struct json_object *warnings = json_object_new_array();
        int r = json_add_obj(root, "warnings", warnings);

        if (r == 0)
                r = json_add_str(root, "recovery_key", install_escrow_place_name(k->place));
        for (unsigned i = 0; i < k->n_warnings && r == 0; i++)
                r = json_append(warnings, json_new_str(k->warnings[i]));
        return r;
}
