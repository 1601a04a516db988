/* SPDX-License-Identifier: Apache-2.0 */
#include "upgrade/image_receiver.h"

#include <fcntl.h>
#include <inttypes.h>
#include <string.h>

#include "base/file.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/num.h"
#include "upgrade/esp_path.h"

struct image_receiver {
        const struct esp *esp;
        uint32_t number;
        uint64_t expected; /* size, 0 = unknown */
        bool has_sha256;
        uint8_t sha256[SHA256_SIZE];
        const struct image_demands *demands;
        char path[IMAGE_PATH_SIZE];
        struct esp_writer *writer;
        struct image_reader *reader;
        uint64_t size;    /* so far */
        uint64_t resumed; /* of it from an earlier run */
        bool refused;     /* and proofs says why */
        bool proved;
        struct proofs proofs;
};

/* An unknown size: whatever fits, and what is there already. */
static int find_max_size(const struct image_receiver *r, uint64_t *ret, struct error *e)
{
        uint64_t size = 0, sum;
        const char *name;
        int result;

        if (r->expected > 0) {
                *ret = r->expected;
                return 0;
        }
        result = esp_path_find(r->esp->root, r->path, &name, &size);
        if (result < 0 && result != -ENOENT)
                return error_errno(e, -result, "%s", r->path);
        result = esp_free_space(r->esp, ret, e);
        if (result == 0)
                *ret = add_u64(*ret, size, &sum) == 0 && sum < LIMIT_IMAGE_SIZE ? sum
                                                                                : LIMIT_IMAGE_SIZE;
        return result;
}

/* What an earlier run left, into the reader. */
static int replay(struct image_receiver *r, struct error *e)
{
        _cleanup_free_ uint8_t *chunk = malloc(FILE_CHUNK);
        ssize_t n;

        if (!chunk)
                return error_oom(e);
        while ((n = esp_writer_replay(r->writer, chunk, FILE_CHUNK, e)) > 0) {
                int result = image_reader_push(r->reader, chunk, (size_t)n, e);

                if (result < 0)
                        return result;
                if (image_reader_refused(r->reader))
                        return 0;
                r->size += (uint64_t)n;
        }
        r->resumed = r->size;
        return (int)n;
}

static int begin_anew(struct image_receiver *r, struct error *e)
{
        uint64_t max_size = 0;
        int result;

        esp_writer_free(TAKE_PTR(r->writer));
        image_reader_free(TAKE_PTR(r->reader));
        r->size = r->resumed = 0;
        result = esp_remove(r->esp, r->path, e);
        if (result == 0)
                result = find_max_size(r, &max_size, e);
        if (result == 0)
                result = image_reader_new(r->demands, &r->reader, e);
        if (result == 0)
                result = esp_writer_begin(r->esp, r->path, max_size, &r->writer, e);
        if (result == 0)
                esp_writer_leave_digest(r->writer);
        return result;
}

static int resume(struct image_receiver *r, struct error *e)
{
        uint64_t max_size = 0, size = 0;
        int result = find_max_size(r, &max_size, e);

        if (result == 0)
                result = image_reader_new(r->demands, &r->reader, e);
        if (result == 0)
                result = esp_writer_resume(r->esp, r->path, max_size, &r->writer, &size, e);
        if (result == 0) {
                esp_writer_leave_digest(r->writer);
                result = replay(r, e);
        }
        if (result == -EIO || (result == 0 && image_reader_refused(r->reader))) {
                log_info("%s: what an earlier run left is of no use", r->path);
                error_clear(e);
                result = begin_anew(r, e);
        }
        return result;
}

int image_receiver_begin(const struct esp *esp, const struct image_receive *what,
                         struct image_receiver **ret, uint64_t *ret_offset, struct error *e)
{
        _cleanup_(image_receiver_free_p) struct image_receiver *r = calloc(1, sizeof(*r));
        int result;

        if (!r)
                return error_oom(e);
        r->esp = esp;
        r->number = what->number;
        r->expected = what->size;
        r->demands = what->demands;
        if (what->sha256) {
                r->has_sha256 = true;
                memcpy(r->sha256, what->sha256, SHA256_SIZE);
        }
        if (image_path(what->number, r->path) < 0)
                return error_set(e, ERROR_INTERNAL, ERANGE, "image number %" PRIu32, what->number);
        result = what->resume ? resume(r, e) : begin_anew(r, e);
        if (result < 0)
                return result;
        *ret_offset = r->resumed;
        *ret = TAKE_PTR(r);
        return 0;
}

static int refuse(struct image_receiver *r, int result)
{
        r->refused = true;
        return result;
}

int image_receiver_push(struct image_receiver *r, const void *data, size_t n, struct error *e)
{
        int result;

        if (r->refused || r->proved)
                return error_set(e, ERROR_INTERNAL, EINVAL, "%s: not to be written now", r->path);
        if (r->expected > 0 && n > r->expected - r->size)
                return refuse(r, error_set(e, ERROR_REFUSED, EFBIG,
                                           "the image has more than the %" PRIu64
                                           " bytes that its source announced",
                                           r->expected));
        result = image_reader_push(r->reader, data, n, e);
        if (result < 0)
                return result;
        if (image_reader_refused(r->reader)) {
                result = image_reader_refusal(r->reader, &r->proofs, e);
                r->proved = true;
                return refuse(r, result);
        }
        result = esp_writer_write(r->writer, data, n, e);
        if (result == -EFBIG)
                result = error_set(e, ERROR_SPACE, ENOSPC,
                                   "boot partition: the image does not fit, no space is left after "
                                   "%" PRIu64 " bytes",
                                   r->size);
        if (result == 0)
                r->size += n;
        return result;
}

/* The bytes are the ones that were promised. */
static int compare(struct image_receiver *r, struct error *e)
{
        uint8_t found[SHA256_SIZE];
        int result;

        if (r->expected > 0 && r->size != r->expected)
                return error_set(e, ERROR_SOURCE, ENODATA,
                                 "image ends too early, after %" PRIu64 " of %" PRIu64 " bytes",
                                 r->size, r->expected);
        if (!r->has_sha256)
                return 0;
        result = image_reader_digest(r->reader, found);
        if (result < 0)
                return error_set(e, ERROR_INTERNAL, -result, "%s: digest", r->path);
        if (memcmp(found, r->sha256, SHA256_SIZE) == 0)
                return 0;
        return refuse(r, error_set(e, ERROR_REFUSED, EBADMSG,
                                   "the image does not have the digest that its source promises"));
}

int image_receiver_finish(struct image_receiver *r, struct verified_image **ret, struct error *e)
{
        _cleanup_(image_free_p) struct verified_image *v = NULL;
        _cleanup_close_ int fd = -EBADF;
        int result;

        if (r->refused || r->proved)
                return error_set(e, ERROR_INTERNAL, EINVAL, "%s: ended before", r->path);
        result = compare(r, e);
        if (result < 0)
                return result;
        fd = esp_path_open(r->esp->root, r->path, O_RDONLY);
        if (fd < 0)
                return error_errno(e, -fd, "%s: open", r->path);
        result = image_reader_finish(r->reader, fd, r->demands, &r->proofs, &v, e);
        r->proved = true;
        if (result == 0)
                result = esp_writer_finish(r->writer, image_sha256(v), NULL, NULL, e);
        if (result < 0)
                return refuse(r, result);
        image_set_number(v, r->number);
        *ret = TAKE_PTR(v);
        return 0;
}

bool image_receiver_resumed(const struct image_receiver *r)
{
        return r->resumed > 0;
}

const struct proofs *image_receiver_proofs(const struct image_receiver *r)
{
        return r->proved ? &r->proofs : NULL;
}

uint64_t image_receiver_written(const struct image_receiver *r)
{
        return r->size - r->resumed;
}

int image_receiver_keep(struct image_receiver *r, struct error *e)
{
        _cleanup_(image_receiver_free_p) struct image_receiver *own = r;

        return own->refused ? 0 : esp_writer_keep(TAKE_PTR(own->writer), e);
}

void image_receiver_free(struct image_receiver *r)
{
        if (!r)
                return;
        esp_writer_free(r->writer);
        image_reader_free(r->reader);
        free(r);
}

static int copy_file(struct image_receiver *r, int fd, struct error *e)
{
        _cleanup_free_ uint8_t *chunk = malloc(FILE_CHUNK);
        ssize_t n;

        if (!chunk)
                return error_oom(e);
        while ((n = file_pread(fd, chunk, FILE_CHUNK, r->size)) > 0) {
                int result = image_receiver_push(r, chunk, (size_t)n, e);

                if (result < 0)
                        return result;
        }
        return n < 0 ? error_errno(e, (int)-n, "reading") : 0;
}

static int open_image(const struct esp *esp, uint32_t number, char path[IMAGE_PATH_SIZE],
                      struct error *e)
{
        if (image_path(number, path) < 0)
                return error_set(e, ERROR_INTERNAL, ERANGE, "image number %" PRIu32, number);
        return esp_open_file(esp, path, e);
}

int image_receiver_copy(const struct esp *esp, uint32_t from, const struct image_receive *what,
                        struct proofs *ret_proofs, struct verified_image **ret, struct error *e)
{
        _cleanup_(image_receiver_free_p) struct image_receiver *r = NULL;
        struct image_receive anew = *what;
        _cleanup_close_ int fd = -EBADF;
        char path[IMAGE_PATH_SIZE];
        uint64_t offset;
        int result;

        if (!what->sha256 || from == what->number)
                return error_set(e, ERROR_INTERNAL, EINVAL, "copy of image %" PRIu32, from);
        anew.resume = false;
        fd = open_image(esp, from, path, e);
        if (fd < 0)
                return fd;
        result = image_receiver_begin(esp, &anew, &r, &offset, e);
        if (result == 0)
                result = copy_file(r, fd, e);
        if (result == 0)
                result = image_receiver_finish(r, ret, e);
        if (ret_proofs && r && r->proved)
                *ret_proofs = r->proofs;
        return result < 0 ? error_wrap(e, result, "copy of %s", path) : 0;
}

int image_receiver_take(const struct esp *esp, const struct image_receive *what,
                        struct proofs *ret_proofs, struct verified_image **ret, struct error *e)
{
        _cleanup_(image_free_p) struct verified_image *v = NULL;
        _cleanup_close_ int fd = -EBADF;
        char path[IMAGE_PATH_SIZE];
        int result;

        fd = open_image(esp, what->number, path, e);
        if (fd < 0)
                return fd;
        result = image_verify(fd, path, what->demands, ret_proofs, &v, e);
        if (result < 0)
                return result;
        if (what->sha256 && memcmp(image_sha256(v), what->sha256, SHA256_SIZE) != 0)
                return error_set(e, ERROR_REFUSED, EBADMSG, "%s does not have the expected digest",
                                 path);
        image_set_number(v, what->number);
        *ret = TAKE_PTR(v);
        return 0;
}
