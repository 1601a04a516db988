/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/source_fetch.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "agent/preflight.h"
#include "base/file.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/num.h"

/* How often the memory is looked at. */
#define CHECK_EVERY (16 * MIB)

bool source_fetch_takes(const char *name)
{
        static const char *const forms[] = {"oci:", "http://", "https://", "ocifile:"};

        for (size_t i = 0; i < ARRAY_SIZE(forms); i++) {
                if (strncmp(name, forms[i], strlen(forms[i])) == 0)
                        return true;
        }
        return false;
}

static int check_memory(const struct env *env, uint64_t more, struct error *e)
{
        uint64_t available = preflight_memory(env, PREFLIGHT_MEMORY_AVAILABLE);
        char text[32], has[32];

        if (available == 0 ||
            (available >= SOURCE_FETCH_MEMORY_LEFT && available - SOURCE_FETCH_MEMORY_LEFT >= more))
                return 0;
        error_set(e, ERROR_SPACE, ENOSPC,
                  "the image does not fit into memory: %s more, and %s are available",
                  format_size(more, text, sizeof(text)), format_size(available, has, sizeof(has)));
        error_advise(e, "bring the image on a medium: file:PATH or dir:PATH");
        return -ENOSPC;
}

static int pull(struct fetch *f, const struct source_transfer *t, int fd, struct error *e)
{
        _cleanup_free_ uint8_t *chunk = malloc(FILE_CHUNK);
        uint64_t done = 0, checked = 0;
        int r = chunk ? 0 : error_oom(e);

        while (r == 0) {
                ssize_t n = fetch_read(f, chunk, FILE_CHUNK, e);

                if (n <= 0)
                        return (int)n;
                done += (uint64_t)n;
                if (done > LIMIT_IMAGE_SIZE)
                        return error_set(e, ERROR_REFUSED, EFBIG, "the image is larger than %u MiB",
                                         (unsigned)(LIMIT_IMAGE_SIZE / MIB));
                if (done - checked >= CHECK_EVERY) {
                        checked = done;
                        r = check_memory(t->env, CHECK_EVERY, e);
                }
                if (r == 0 && file_write(fd, chunk, (size_t)n) < 0)
                        r = error_set(e, ERROR_SPACE, ENOSPC, "the image does not fit into memory");
                t->done(t->arg, done);
        }
        return r;
}

static int receive(struct fetch *f, const struct source_transfer *t, int *ret, struct error *e)
{
        _cleanup_close_ int fd = memfd_create("image", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        int r;

        if (fd < 0)
                return error_errno(e, errno, "memory for the image");
        r = fetch_begin(f, 0, e);
        if (r == 0)
                r = pull(f, t, fd, e);
        if (r < 0)
                return r;
        if (fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) < 0)
                return error_errno(e, errno, "memory for the image");
        *ret = TAKE_FD(fd);
        return 0;
}

/* Bytes that turned out to be wrong are asked for somewhere else, as long as there is somewhere. */
static int receive_or_again(struct fetch *f, const struct source_transfer *t, int *ret,
                            struct error *e)
{
        int r;

        while ((r = receive(f, t, ret, e)) < 0) {
                if (r == -ENOSPC || !fetch_again(f))
                        return r;
                log_warning("%s: trying another place", e->text);
                error_clear(e);
        }
        return 0;
}

int source_fetch(const char *name, const struct source_transfer *t, int *ret_fd, struct buf *loader,
                 struct error *e)
{
        _cleanup_(source_name_done) struct source_name parsed = {.text = NULL};
        struct fetch_options options = *t->options;
        _cleanup_(fetch_free_p) struct fetch *f = NULL;
        _cleanup_close_ int fd = -EBADF;
        const struct fetch_info *info;
        const struct buf *bytes;
        int r = source_name_parse(name, &parsed, e);

        options.want_loader = true;
        if (r == 0)
                r = fetch_open(&parsed, &options, &f, e);
        if (r == 0)
                r = fetch_resolve(f, &info, e);
        if (r == 0)
                r = check_memory(t->env, info->size, e);
        if (r < 0)
                return r;
        t->begin(t->arg, info->size);
        r = receive_or_again(f, t, &fd, e);
        if (r < 0)
                return r;
        bytes = fetch_loader(f);
        if (bytes && buf_add(loader, bytes->data, bytes->len) < 0)
                return error_oom(e);
        *ret_fd = TAKE_FD(fd);
        return 0;
}
