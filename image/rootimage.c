/* SPDX-License-Identifier: Apache-2.0 */
#include "image/rootimage.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/codec.h"
#include "base/digest.h"
#include "base/file.h"
#include "base/limits.h"
#include "base/spawn.h"
#include "image/output.h"
#include "image/roottar.h"
#include "image/say.h"

/* The most that lz4hc knows. */
#define LZ4HC_LEVEL_MAX 12u
#define NUMBER_SIZE 24u

static const char *const names[_ROOT_FORMAT_MAX] = {
        [ROOT_FORMAT_CPIO] = "cpio",
        [ROOT_FORMAT_SQUASHFS] = "squashfs",
        [ROOT_FORMAT_EROFS] = "erofs",
};

const char *root_format_name(enum root_format format)
{
        return names[format];
}

int root_format_parse(const char *name, enum root_format *ret)
{
        for (unsigned i = 0; i < _ROOT_FORMAT_MAX; i++) {
                if (strcmp(name, names[i]) == 0) {
                        *ret = (enum root_format)i;
                        return 0;
                }
        }
        return -EINVAL;
}

/* What one file system is made with. */
struct job {
        const struct tree *tree;
        const struct rootimage_how *how;
        const struct tree_entry *top;
        int tar;
        const char *out;
        char epoch[NUMBER_SIZE];
};

static int run(const char *const argv[], const char *const *environment, const int *input,
               const char *package, struct error *e)
{
        const struct spawn_how how = {.timeout_seconds = LIMIT_MKFS_IMAGE_SECONDS,
                                      .environment = environment,
                                      .input = input};
        int r;

        if (input && lseek(*input, 0, SEEK_SET) < 0)
                return error_errno(e, errno, "cannot read the packed root");
        r = spawn_check_how(argv, &how, e);
        if (r == -ENOENT)
                error_advise(e, "install %s", package);
        return r;
}

static int make_squashfs(const struct job *j, struct error *e)
{
        char level[NUMBER_SIZE], mode[NUMBER_SIZE], uid[NUMBER_SIZE], gid[NUMBER_SIZE];
        char date[sizeof("SOURCE_DATE_EPOCH=") + NUMBER_SIZE];
        /* It also bounds the time of the top folder, of which mksquashfs 4.5 takes from a tar
         * neither the entry nor -root-time: it would be the current one. */
        const char *const environment[] = {date, NULL};
        const char *const argv[] = {"mksquashfs",
                                    "-",
                                    j->out,
                                    "-tar",
                                    "-noappend",
                                    "-quiet",
                                    "-no-progress",
                                    "-comp",
                                    "zstd",
                                    "-Xcompression-level",
                                    level,
                                    "-root-mode",
                                    mode,
                                    "-root-uid",
                                    uid,
                                    "-root-gid",
                                    gid,
                                    NULL};

        (void)snprintf(level, sizeof(level), "%u", j->how->level);
        (void)snprintf(date, sizeof(date), "SOURCE_DATE_EPOCH=%s", j->epoch);
        (void)snprintf(mode, sizeof(mode), "%o", (unsigned)(j->top->mode & 07777));
        (void)snprintf(uid, sizeof(uid), "%" PRIu32, j->top->uid);
        (void)snprintf(gid, sizeof(gid), "%" PRIu32, j->top->gid);
        return run(argv, environment, &j->tar, "squashfs-tools", e);
}

/* From version 1.7 on the tool reads a tar. */
static int erofs_takes_tar(bool *ret, struct error *e)
{
        static const char *const argv[] = {"mkfs.erofs", "--help", NULL};
        _cleanup_(buf_done) struct buf words = BUF_INIT(LIMIT_SMALL_FILE);
        struct spawn_result result;
        int r = spawn_run(argv, LIMIT_MKFS_IMAGE_SECONDS, &words, &result, e);

        if (r < 0)
                return r;
        if (result.status == 127) {
                r = error_set(e, ERROR_PRECONDITION, ENOENT, "there is no mkfs.erofs");
                error_advise(e, "install erofs-utils");
                return r;
        }
        *ret = strstr(buf_str(&words), "--tar") != NULL;
        return 0;
}

static int run_erofs(const struct job *j, const char *tar_option, const char *source,
                     struct error *e)
{
        unsigned level = j->how->level < LZ4HC_LEVEL_MAX ? j->how->level : LZ4HC_LEVEL_MAX;
        char compression[NUMBER_SIZE], time[NUMBER_SIZE + 2], uuid[UUID_TEXT_SIZE];
        uint8_t digest[SHA256_SIZE];
        const char *argv[12] = {"mkfs.erofs", "--quiet", compression, "-C65536", time, "-U", uuid};
        unsigned n = 7;
        int r = digest_fd(j->tar, digest, NULL);

        if (r < 0)
                return error_errno(e, -r, "cannot read the packed root");
        (void)snprintf(compression, sizeof(compression), "-zlz4hc,%u", level);
        (void)snprintf(time, sizeof(time), "-T%s", j->epoch);
        uuid_encode(digest, 8, uuid);
        if (tar_option)
                argv[n++] = tar_option;
        argv[n++] = j->out;
        argv[n++] = source;
        argv[n] = NULL;
        return run(argv, NULL, tar_option ? &j->tar : NULL, "erofs-utils", e);
}

/* An older tool reads a folder, and only root can make one in which everything is what it was. */
static int erofs_from_folder(const struct job *j, struct error *e)
{
        _cleanup_free_ char *folder = NULL;
        const char *const unpack[] = {"tar",
                                      "--xattrs",
                                      "--xattrs-include=*",
                                      "--numeric-owner",
                                      "--same-owner",
                                      "-xpf",
                                      "-",
                                      "-C",
                                      NULL,
                                      NULL};
        const char *argv[ARRAY_SIZE(unpack)];
        const char *const clean[] = {"rm", "-rf", "--one-file-system", "--", NULL, NULL};
        const char *remove[ARRAY_SIZE(clean)];
        struct error ignored = ERROR_INIT;
        int r;

        if (asprintf(&folder, "%s.root.XXXXXX", j->how->beside) < 0) {
                folder = NULL;
                return error_oom(e);
        }
        if (!mkdtemp(folder))
                return error_errno(e, errno, "cannot create %s", folder);
        memcpy(argv, unpack, sizeof(unpack));
        memcpy(remove, clean, sizeof(clean));
        argv[8] = folder;
        remove[4] = folder;
        r = run(argv, NULL, &j->tar, "tar", e);
        if (r == 0)
                r = run_erofs(j, NULL, folder, e);
        if (spawn_check(remove, LIMIT_MKFS_IMAGE_SECONDS, &ignored) < 0)
                say_warning("%s is left behind: %s", folder, ignored.text);
        return r;
}

static int make_erofs(const struct job *j, struct error *e)
{
        bool takes_tar = false;
        int r = erofs_takes_tar(&takes_tar, e);

        if (r < 0)
                return r;
        if (takes_tar)
                return run_erofs(j, "--tar=f", "/dev/stdin", e);
        if (geteuid() == 0)
                return erofs_from_folder(j, e);
        r = error_set(e, ERROR_PRECONDITION, EOPNOTSUPP,
                      "this mkfs.erofs reads no tar, and only root can give it a folder");
        error_advise(e, "take --root-format=squashfs, or erofs-utils from version 1.7 on");
        return r;
}

static int make(struct job *j, struct output *scratch, struct output *file, struct error *e)
{
        bool erofs = j->how->format == ROOT_FORMAT_EROFS;
        struct stat st;
        int r;

        r = roottar_write(j->tree, j->how->epoch, erofs ? ROOTTAR_ACLS | ROOTTAR_TOP : 0,
                          output_fd(scratch), e);
        if (r == 0)
                r = output_name(file, &j->out, e);
        if (r == 0)
                r = erofs ? make_erofs(j, e) : make_squashfs(j, e);
        if (r < 0)
                return r;
        if (fstat(output_fd(file), &st) < 0)
                return error_errno(e, errno, "cannot read the root back");
        if (st.st_size == 0)
                return error_set(e, ERROR_INTERNAL, EIO, "the root was written to another file");
        return 0;
}

int rootimage_make(const struct tree *t, const struct rootimage_how *how, int *ret_fd,
                   struct error *e)
{
        _cleanup_(output_free_p) struct output *scratch = NULL, *file = NULL;
        struct job j = {.tree = t, .how = how, .top = tree_at(t, 0)};
        int r;

        r = output_open(how->beside, &scratch, e);
        if (r == 0)
                r = output_open(how->beside, &file, e);
        if (r < 0)
                return r;
        j.tar = output_fd(scratch);
        (void)snprintf(j.epoch, sizeof(j.epoch), "%" PRIu64, how->epoch);
        r = make(&j, scratch, file, e);
        if (r < 0)
                return r;
        *ret_fd = fcntl(output_fd(file), F_DUPFD_CLOEXEC, 0);
        return *ret_fd < 0 ? error_errno(e, errno, "cannot keep the root") : 0;
}
