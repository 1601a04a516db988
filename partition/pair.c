/* SPDX-License-Identifier: Apache-2.0 */
#include "partition/pair.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <string.h>
#include <unistd.h>

#include "base/codec.h"
#include "base/file.h"
#include "base/limits.h"

#define FILE_NAME "pair"
#define PART_WORD "tb-agent pair 1"

static int hmac(const struct secret *key, const void *data, size_t n, uint8_t ret[SHA256_SIZE])
{
        return HMAC(EVP_sha256(), key->data, (int)key->len, data, n, ret, NULL) ? 0 : -EIO;
}

/* What stands in a volume may be anybody's: no link leads out of it. */
static int open_folder(const char *path)
{
        int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

        return fd < 0 ? -errno : fd;
}

struct secret *pair_part(const struct secret *volume_key)
{
        struct secret *part = secret_new(SHA256_SIZE);

        if (part && hmac(volume_key, PART_WORD, strlen(PART_WORD), part->data) < 0) {
                secret_free(part);
                return NULL;
        }
        return part;
}

int pair_tag(const struct secret *oem, const struct secret *persistent, uint8_t ret[SHA256_SIZE])
{
        return hmac(oem, persistent->data, persistent->len, ret);
}

int pair_read(const char *folder, uint8_t ret[SHA256_SIZE], struct error *e)
{
        _cleanup_(buf_done) struct buf text = BUF_INIT(LIMIT_SMALL_FILE);
        _cleanup_close_ int fd = open_folder(folder);
        uint8_t tag[SHA256_SIZE];
        int r = fd < 0 ? fd : file_read(fd, FILE_NAME, &text);

        if (r == -ENOENT)
                return 0;
        if (r == 0 && (text.len != SHA256_HEX_SIZE || text.data[text.len - 1] != '\n'))
                r = -EBADMSG;
        if (r == 0) {
                text.data[text.len - 1] = '\0';
                r = hex_decode((const char *)text.data, tag, sizeof(tag)) < 0 ? -EBADMSG : 0;
        }
        if (r < 0)
                return error_set(e, ERROR_PRECONDITION, r == -EIO ? EIO : EBADMSG,
                                 "%s/" FILE_NAME ": %s", folder, file_strerror(r));
        memcpy(ret, tag, sizeof(tag));
        return 1;
}

int pair_write(const char *folder, const uint8_t tag[SHA256_SIZE], struct error *e)
{
        _cleanup_close_ int fd = -EBADF;
        char text[SHA256_HEX_SIZE];
        int r = file_make_dirs(AT_FDCWD, folder, 0700);

        hex_encode(tag, SHA256_SIZE, text);
        text[SHA256_HEX_SIZE - 1] = '\n';
        if (r == 0) {
                fd = open_folder(folder);
                r = fd < 0 ? fd : file_replace(fd, FILE_NAME, text, sizeof(text), 0600);
        }
        return r < 0 ? error_errno(e, -r, "%s/" FILE_NAME, folder) : 0;
}

int pair_forget(const char *folder, struct error *e)
{
        _cleanup_close_ int fd = open_folder(folder);
        int r = fd < 0 ? fd : 0;

        if (r == 0 && unlinkat(fd, FILE_NAME, 0) < 0)
                r = -errno;
        if (r == 0)
                r = file_sync(fd);
        return r < 0 && r != -ENOENT ? error_errno(e, -r, "%s/" FILE_NAME, folder) : 0;
}
