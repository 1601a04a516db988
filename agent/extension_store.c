/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/extension_store.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "agent/extension.h"
#include "agent/stop.h"
#include "base/file.h"
#include "partition/verity.h"

/* One agent at a time: what bears the name was left by a run that was cut. */
#define INCOMING "incoming"

static int copy(int from, int to, uint64_t size, struct error *e)
{
        _cleanup_free_ uint8_t *data = malloc(FILE_CHUNK);
        uint64_t done = 0;

        if (!data)
                return error_oom(e);
        while (done < size) {
                ssize_t n = file_pread(from, data, FILE_CHUNK, done);
                int r = stop_check(e);

                if (r < 0)
                        return r;
                if (n < 0)
                        return error_errno(e, (int)-n, "reading the disk image");
                if (n == 0)
                        return error_set(e, ERROR_REFUSED, EBADMSG,
                                         "the disk image becomes shorter while it is read");
                r = file_pwrite(to, data, (size_t)n, done);
                if (r < 0)
                        return error_errno(e, -r, "storing the disk image");
                done += (uint64_t)n;
        }
        return 0;
}

/* What is stored is what was proven: the proof is of the copy. */
static int store(int folder, int from, uint64_t size, const struct buf *certificates,
                 uint8_t ret_root_hash[SHA256_SIZE], struct error *e)
{
        _cleanup_close_ int to =
                openat(folder, INCOMING, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
        char name[EXTENSION_FILE_SIZE];
        uint64_t stored;
        struct ddi ddi;
        int r;

        if (to < 0)
                return error_errno(e, errno, "storing the disk image");
        r = copy(from, to, size, e);
        if (r == 0)
                r = extension_prove(to, certificates, &ddi, ret_root_hash, &stored, e);
        if (r == 0)
                r = verity_check(to, &ddi, ret_root_hash, e);
        if (r < 0)
                return r;
        extension_file_name(ret_root_hash, name);
        r = file_sync(to);
        if (r == 0)
                r = file_put_aside(folder, INCOMING, name);
        return r < 0 ? error_errno(e, -r, "storing the disk image") : 0;
}

static int open_folder(int persistent, struct error *e)
{
        int r = file_make_dirs(persistent, EXTENSION_FOLDER, 0700);

        if (r == 0)
                r = file_open_dir(persistent, EXTENSION_FOLDER);
        return r < 0 ? error_errno(e, -r, "persistent partition: " EXTENSION_FOLDER) : r;
}

int extension_store_add(const struct env *env, int persistent, const char *path,
                        uint8_t ret_root_hash[SHA256_SIZE], uint64_t *ret_size, struct error *e)
{
        _cleanup_(buf_done) struct buf certificates = BUF_INIT(LIMIT_KEY_FILE);
        _cleanup_close_ int from = -EBADF, folder = -EBADF;
        struct ddi ddi;
        int r = extension_certificates(env, &certificates, e);

        if (r < 0)
                return r;
        from = file_open_regular(AT_FDCWD, path);
        if (from < 0)
                return error_set(e, ERROR_USAGE, -from, "%s: %s", path, file_strerror(from));
        /* Before a large file is copied for nothing. */
        r = extension_prove(from, &certificates, &ddi, ret_root_hash, ret_size, e);
        if (r < 0)
                return error_wrap(e, r, "%s", path);
        folder = open_folder(persistent, e);
        if (folder < 0)
                return folder;
        (void)unlinkat(folder, INCOMING, 0);
        r = store(folder, from, *ret_size, &certificates, ret_root_hash, e);
        if (r < 0)
                (void)unlinkat(folder, INCOMING, 0);
        return r < 0 ? error_wrap(e, r, "%s", path) : 0;
}

int extension_store_drop(int persistent, const uint8_t root_hash[SHA256_SIZE], struct error *e)
{
        _cleanup_close_ int folder = open_folder(persistent, e);
        char name[EXTENSION_FILE_SIZE];
        int r = 0;

        if (folder < 0)
                return folder;
        extension_file_name(root_hash, name);
        if (unlinkat(folder, name, 0) < 0 && errno != ENOENT)
                r = -errno;
        if (r == 0)
                r = file_sync(folder);
        return r < 0 ? error_errno(e, -r, "persistent partition: %s", name) : 0;
}
