/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/golden_volume.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "agent/install_oem.h"
#include "agent/oem_file.h"
#include "agent/stop.h"
#include "agent/volume.h"
#include "base/file.h"
#include "base/limits.h"
#include "base/num.h"
#include "partition/ext4.h"
#include "partition/mkfs.h"
#include "partition/xts.h"

#define SECTOR 512u
#define PATH_SIZE 64u
/* Inode tables are a 64th of a large file system, the journal is at most as much of one that has
 * some GiB. */
#define TABLES_DIVISOR 32u

struct making {
        const struct install_plan *plan;
        const struct golden_file *file;
        const struct layout_partition *partition;
        const char *label;
        bool whole;     /* every sector is written */
        int header, fs; /* files in memory */
        char header_path[PATH_SIZE], fs_path[PATH_SIZE];
        uint64_t size; /* of the file system */
        struct ext4 *ext4;
        struct xts *xts;
        struct secret *chunk, *other; /* FILE_CHUNK bytes each */
};

static void making_done(struct making *m)
{
        ext4_free(m->ext4);
        xts_free(m->xts);
        secret_free(m->chunk);
        secret_free(m->other);
        close_p(&m->header);
        close_p(&m->fs);
}

static int memory_file(const struct env *env, const char *name, uint64_t size, int *ret_fd,
                       char path[PATH_SIZE], struct error *e)
{
        *ret_fd = memfd_create(name, MFD_CLOEXEC);
        if (*ret_fd < 0 || ftruncate(*ret_fd, (off_t)size) < 0)
                return error_errno(e, errno, "a file of %" PRIu64 " bytes in memory", size);
        (void)snprintf(path, PATH_SIZE, "%s/self/fd/%d", env->proc, *ret_fd);
        return 0;
}

/* --- the file system --- */

/* install_oem_put_fn */
static int put_file(void *ctx, const char *name, const void *data, size_t n, struct error *e)
{
        return ext4_add_file(ctx, name, data, n, e);
}

static int fill_oem(struct making *m, struct error *e)
{
        _cleanup_free_ struct install_record *record = calloc(1, sizeof(*record));
        _cleanup_(buf_done) struct buf text = BUF_INIT(LIMIT_SMALL_FILE);
        int r;

        if (!record)
                return error_oom(e);
        install_plan_record(m->plan, record);
        r = install_record_format(record, &text, e);
        if (r == 0)
                r = ext4_add_file(m->ext4, OEM_FILE_INSTALL, text.data, text.len, e);
        if (r == 0 && m->plan->config)
                r = install_oem_put(m->plan->config, put_file, m->ext4, e);
        return r < 0 ? r : ext4_sync(m->ext4, e);
}

static int make_file_system(struct making *m, struct error *e)
{
        int r = memory_file(m->plan->env, "file-system", m->size, &m->fs, m->fs_path, e);

        if (r == 0)
                r = mkfs_ext4_fd(m->fs, m->label, e);
        if (r == 0)
                r = ext4_open(m->fs_path, &m->ext4, e);
        if (r < 0 || strcmp(m->partition->name, LAYOUT_OEM_NAME) != 0)
                return r;
        return fill_oem(m, e);
}

/* What was in clear does not stay in memory until somebody else gets it. */
static void wipe(struct making *m)
{
        off_t at = 0, end;

        explicit_bzero(m->chunk->data, m->chunk->len);
        while (m->fs >= 0 && (at = lseek(m->fs, at, SEEK_DATA)) >= 0) {
                end = lseek(m->fs, at, SEEK_HOLE);
                while (at < end) {
                        size_t n =
                                (uint64_t)(end - at) < FILE_CHUNK ? (size_t)(end - at) : FILE_CHUNK;

                        if (file_pwrite(m->fs, m->chunk->data, n, (uint64_t)at) < 0)
                                return;
                        at += (off_t)n;
                }
        }
}

/* --- ranges of it --- */

/* One chunk, which is in m->chunk; at: in the file system. */
typedef int (*chunk_fn)(struct making *m, uint64_t at, size_t n, struct error *e);

static int chunks(struct making *m, uint64_t at, uint64_t end, chunk_fn work, struct error *e)
{
        int r = 0;

        while (r == 0 && at < end) {
                size_t n = end - at < FILE_CHUNK ? (size_t)(end - at) : FILE_CHUNK;
                ssize_t got = file_pread(m->fs, m->chunk->data, n, at);

                if (got != (ssize_t)n)
                        return error_errno(e, got < 0 ? (int)-got : EIO, "file system in memory");
                r = stop_check(e);
                if (r == 0)
                        r = work(m, at, n, e);
                at += n;
        }
        return r;
}

static int for_each_used(struct making *m, chunk_fn work, struct error *e)
{
        uint64_t at = 0, end = m->size;
        int r = 1;

        if (m->whole)
                return chunks(m, 0, end, work, e);
        while (r > 0) {
                r = ext4_next_used(m->ext4, &at, &end, e);
                if (r > 0 && (r = chunks(m, at, end, work, e)) == 0) {
                        at = end;
                        r = 1;
                }
        }
        return r;
}

static uint64_t place(const struct making *m, uint64_t at)
{
        return m->partition->start + LUKS_HEADER_SIZE + at;
}

static int write_chunk(struct making *m, uint64_t at, size_t n, struct error *e)
{
        int r = xts_encrypt(m->xts, at, m->chunk->data, n);

        if (r == 0)
                r = file_pwrite(m->file->fd, m->chunk->data, n, place(m, at));
        return r < 0 ? error_errno(e, -r, "%s", m->file->path) : 0;
}

static int differs(const struct making *m, struct error *e)
{
        return error_set(e, ERROR_IO, EIO,
                         "%s: the encrypted partition does not give back what was written",
                         m->file->path);
}

static int compare_chunk(struct making *m, uint64_t at, size_t n, struct error *e)
{
        ssize_t got = file_pread(m->file->fd, m->other->data, n, place(m, at));
        int r = got == (ssize_t)n ? 0 : got < 0 ? (int)got : -EIO;

        if (r == 0)
                r = xts_decrypt(m->xts, at, m->other->data, n);
        if (r < 0)
                return error_errno(e, -r, "%s", m->file->path);
        return memcmp(m->chunk->data, m->other->data, n) == 0 ? 0 : differs(m, e);
}

/* --- the header --- */

static int write_header(struct making *m, struct error *e)
{
        for (uint64_t at = 0; at < LUKS_HEADER_SIZE; at += FILE_CHUNK) {
                ssize_t n = file_pread(m->header, m->other->data, FILE_CHUNK, at);
                int r = n == (ssize_t)FILE_CHUNK ? 0 : n < 0 ? (int)n : -EIO;

                /* All of it: an image may be copied over old data by its holes. */
                if (r == 0)
                        r = file_pwrite(m->file->fd, m->other->data, FILE_CHUNK,
                                        m->partition->start + at);
                if (r < 0)
                        return error_errno(e, -r, "%s", m->file->path);
        }
        return 0;
}

static int compare_header(struct making *m, struct error *e)
{
        for (uint64_t at = 0; at < LUKS_HEADER_SIZE; at += FILE_CHUNK) {
                if (file_pread(m->header, m->chunk->data, FILE_CHUNK, at) != (ssize_t)FILE_CHUNK ||
                    file_pread(m->file->fd, m->other->data, FILE_CHUNK, m->partition->start + at) !=
                            (ssize_t)FILE_CHUNK ||
                    memcmp(m->chunk->data, m->other->data, FILE_CHUNK) != 0)
                        return differs(m, e);
        }
        return 0;
}

/* The cipher with the key that the stored slot gives. */
static int take_key(struct making *m, const struct volume *v, struct error *e)
{
        _cleanup_(secret_free_p) struct secret *key = NULL;
        _cleanup_(luks_free_p) struct luks *luks = NULL;
        int r = luks_open(m->header_path, &luks, e);

        if (r == 0)
                r = luks_get_volume_key(luks, v->made.keyslot, v->made.passphrase, &key, e);
        if (r < 0)
                return r;
        xts_free(m->xts);
        m->xts = NULL;
        return xts_new(key, volume_sector(SECTOR), &m->xts, e);
}

static int encrypt(struct making *m, const struct volume *v, struct error *e)
{
        int r = take_key(m, v, e);

        if (r == 0)
                r = for_each_used(m, write_chunk, e);
        if (r == 0)
                r = write_header(m, e);
        if (r == 0)
                r = compare_header(m, e);
        if (r == 0)
                r = take_key(m, v, e);
        return r < 0 ? r : for_each_used(m, compare_chunk, e);
}

static int make(struct making *m, const struct volume_keys *keys, struct error *e)
{
        _cleanup_(volume_done) struct volume v = {.device = m->header_path,
                                                  .label = m->label,
                                                  .device_sector = SECTOR,
                                                  .allow_discards = m->plan->allow_discards};
        /* As large as the partition, so that libcryptsetup finds room for the payload. */
        int r = memory_file(m->plan->env, "header", m->partition->size, &m->header, m->header_path,
                            e);

        if (r == 0)
                r = volume_enrol(keys, &v, e);
        if (r == 0)
                r = volume_prove(keys, &v, e);
        if (r == 0)
                r = make_file_system(m, e);
        if (r == 0)
                r = encrypt(m, &v, e);
        wipe(m);
        return r;
}

static int make_one(const struct install_plan *p, const struct golden_file *f,
                    const struct volume_keys *keys, const char *name, const char *label,
                    struct error *e)
{
        _cleanup_(making_done) struct making m = {.plan = p,
                                                  .file = f,
                                                  .label = label,
                                                  .whole = strcmp(name, LAYOUT_OEM_NAME) == 0,
                                                  .header = -EBADF,
                                                  .fs = -EBADF};
        int r = layout_find(&p->layout, name, &m.partition);

        if (r < 0 || m.partition->size <= LUKS_HEADER_SIZE)
                return error_set(e, ERROR_INTERNAL, EINVAL, "plan without \"%s\"", name);
        m.size = m.partition->size - LUKS_HEADER_SIZE;
        m.chunk = secret_new(FILE_CHUNK);
        m.other = secret_new(FILE_CHUNK);
        if (!m.chunk || !m.other)
                return error_oom(e);
        r = make(&m, keys, e);
        return r < 0 ? error_wrap(e, r, "%s", name) : 0;
}

int golden_volumes_make(const struct install_plan *p, const struct golden_file *f,
                        struct install_progress *progress, struct error *e)
{
        _cleanup_(tpm_free_p) struct tpm *tpm = NULL;
        struct volume_keys keys = {.image = p->source.image,
                                   .literal_pcrs = p->literal_pcrs,
                                   .literal_values = p->literal_values,
                                   .pin = p->pin,
                                   .recovery_key = p->escrow.key};
        int r = tpm_open(p->env->tcti, &tpm, e);

        keys.tpm = tpm;
        install_progress_step(progress, INSTALL_STEP_OEM, NULL, 0);
        if (r == 0)
                r = make_one(p, f, &keys, LAYOUT_OEM_NAME, LAYOUT_OEM_LABEL, e);
        install_progress_step(progress, INSTALL_STEP_PERSISTENT, NULL, 0);
        if (r == 0)
                r = make_one(p, f, &keys, LAYOUT_PERSISTENT_NAME, LAYOUT_PERSISTENT_LABEL, e);
        return r;
}

uint64_t golden_volumes_space(const struct install_plan *p)
{
        const struct layout_partition *oem, *persistent;

        if (layout_find(&p->layout, LAYOUT_OEM_NAME, &oem) < 0 ||
            layout_find(&p->layout, LAYOUT_PERSISTENT_NAME, &persistent) < 0)
                return 0;
        return oem->size + LUKS_HEADER_SIZE + persistent->size / TABLES_DIVISOR;
}
