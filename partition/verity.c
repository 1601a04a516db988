/* SPDX-License-Identifier: Apache-2.0 */
#include "partition/verity.h"

#include <inttypes.h>
#include <libcryptsetup.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/num.h"
#include "partition/loop.h"

/* The superblock, as veritysetup(8) writes it into the first block of the hashes. */
#define SUPERBLOCK_SIZE 512u
#define VERSION_AT 8u
#define HASH_TYPE_AT 12u
#define ALGORITHM_AT 32u
#define ALGORITHM_SIZE 32u
#define DATA_BLOCK_AT 64u
#define HASH_BLOCK_AT 68u
#define BLOCKS_AT 72u
#define SALT_SIZE_AT 80u
#define SALT_AT 88u

/* The fewest hashes in a block, 16, to this power are more than 64 bits. */
#define LEVELS_MAX 16u

/* A run of blocks in the file: the data, or one level of hashes. */
struct level {
        uint64_t offset, blocks;
        uint32_t block; /* bytes of each */
};

static int refuse(struct error *e, const char *why)
{
        return error_set(e, ERROR_REFUSED, EBADMSG, "hashes of the disk image: %s", why);
}

/*
 * Data first, then the levels of hashes from the bottom up; in the file the topmost comes first.
 * Returns how many. -EBADMSG when they do not fit.
 */
static int make_levels(const struct ddi *d, const struct verity *v,
                       struct level level[LEVELS_MAX + 1])
{
        /* Behind the superblock, which is no larger than a block. */
        uint64_t at = v->hash_block, per_block = v->hash_block / SHA256_SIZE, size;
        int n = 1;

        if (v->blocks == 0 || mul_u64(v->blocks, v->data_block, &size) < 0 || size > d->data.size)
                return -EBADMSG;
        level[0] = (struct level){d->data.offset, v->blocks, v->data_block};
        for (; level[n - 1].blocks > 1; n++)
                level[n] =
                        (struct level){0, (level[n - 1].blocks - 1) / per_block + 1, v->hash_block};
        for (int i = n - 1; i > 0; i--) {
                level[i].offset = d->verity.offset + at;
                if (mul_u64(level[i].blocks, v->hash_block, &size) < 0 ||
                    !range_fits(at, size, d->verity.size))
                        return -EBADMSG;
                at += size;
        }
        return n;
}

static bool is_block_size(uint32_t n)
{
        return n >= VERITY_BLOCK_MIN && n <= VERITY_BLOCK_MAX && (n & (n - 1)) == 0;
}

static bool is_usual(const uint8_t *s)
{
        char algorithm[ALGORITHM_SIZE] = "sha256";

        return memcmp(s, "verity\0\0", VERSION_AT) == 0 && le32_at(s + VERSION_AT) == 1 &&
               le32_at(s + HASH_TYPE_AT) == 1 &&
               memcmp(s + ALGORITHM_AT, algorithm, sizeof(algorithm)) == 0 &&
               is_block_size(le32_at(s + DATA_BLOCK_AT)) &&
               is_block_size(le32_at(s + HASH_BLOCK_AT)) &&
               le16_at(s + SALT_SIZE_AT) <= VERITY_SALT_MAX;
}

int verity_read(int fd, const struct ddi *d, struct verity *ret, struct error *e)
{
        uint8_t s[SUPERBLOCK_SIZE];
        struct level level[LEVELS_MAX + 1];
        struct verity v;
        ssize_t n;

        if (d->verity.size < SUPERBLOCK_SIZE)
                return refuse(e, "no room for any");
        n = file_pread(fd, s, sizeof(s), d->verity.offset);
        if (n < 0)
                return error_errno(e, (int)-n, "reading the disk image");
        if ((size_t)n < sizeof(s) || !is_usual(s))
                return refuse(e, "not of version 1, SHA-256 and blocks of 512 to 4096 bytes");
        v = (struct verity){.blocks = le64_at(s + BLOCKS_AT),
                            .data_block = le32_at(s + DATA_BLOCK_AT),
                            .hash_block = le32_at(s + HASH_BLOCK_AT),
                            .salt_size = le16_at(s + SALT_SIZE_AT)};
        memcpy(v.salt, s + SALT_AT, v.salt_size);
        if (make_levels(d, &v, level) < 0)
                return refuse(e, "they do not fit to the partitions");
        *ret = v;
        return 0;
}

static int hash_block(const struct verity *v, const uint8_t *block, size_t size,
                      uint8_t ret[SHA256_SIZE])
{
        _cleanup_(digest_free_p) struct digest *digest = digest_new();
        int r = digest ? digest_add(digest, v->salt, v->salt_size) : -ENOMEM;

        if (r == 0)
                r = digest_add(digest, block, size);
        return r < 0 ? r : digest_final(digest, ret);
}

static int read_blocks(int fd, uint8_t *data, const struct level *l, uint64_t first, size_t n,
                       struct error *e)
{
        ssize_t got = file_pread(fd, data, n * l->block, l->offset + first * l->block);

        if (got < 0)
                return error_errno(e, (int)-got, "reading the disk image");
        return (size_t)got == n * l->block ? 0 : refuse(e, "the file ends before them");
}

/* Blocks first to first + n of a level, against the hashes in one block of the level above. */
static int check_blocks(int fd, const struct verity *v, const struct level *l, uint64_t first,
                        size_t n, const uint8_t *hashes, uint8_t *scratch, struct error *e)
{
        size_t chunk = FILE_CHUNK / l->block;
        int r = 0;

        for (size_t i = 0; i < n && r == 0; i++) {
                uint8_t hash[SHA256_SIZE];

                if (i % chunk == 0)
                        r = read_blocks(fd, scratch, l, first + i, n - i < chunk ? n - i : chunk,
                                        e);
                if (r == 0 && hash_block(v, scratch + i % chunk * l->block, l->block, hash) < 0)
                        r = error_oom(e);
                if (r == 0 && memcmp(hash, hashes + i * SHA256_SIZE, SHA256_SIZE) != 0)
                        r = refuse(e, "the disk image is damaged");
        }
        return r;
}

/* above NULL: the only block of the level is the one that the root hash is of. */
static int check_level(int fd, const struct verity *v, const struct level *l,
                       const struct level *above, const uint8_t root_hash[SHA256_SIZE],
                       uint8_t *scratch, struct error *e)
{
        uint8_t hashes[VERITY_BLOCK_MAX];
        uint64_t per_block = v->hash_block / SHA256_SIZE;
        int r = 0;

        if (!above)
                return check_blocks(fd, v, l, 0, 1, root_hash, scratch, e);
        for (uint64_t i = 0; i < above->blocks && r == 0; i++) {
                uint64_t first = i * per_block, left = l->blocks - first;

                r = read_blocks(fd, hashes, above, i, 1, e);
                if (r == 0)
                        r = check_blocks(fd, v, l, first,
                                         (size_t)(left < per_block ? left : per_block), hashes,
                                         scratch, e);
        }
        return r;
}

int verity_check(int fd, const struct ddi *d, const uint8_t root_hash[SHA256_SIZE], struct error *e)
{
        _cleanup_free_ uint8_t *scratch = malloc(FILE_CHUNK);
        struct level level[LEVELS_MAX + 1];
        struct verity v;
        int n, r;

        if (!scratch)
                return error_oom(e);
        r = verity_read(fd, d, &v, e);
        if (r < 0)
                return r;
        n = make_levels(d, &v, level);
        /* From the root hash down, so that nothing is believed that is not proven. */
        for (int i = n - 1; i >= 0 && r == 0; i--)
                r = check_level(fd, &v, &level[i], i == n - 1 ? NULL : &level[i + 1], root_hash,
                                scratch, e);
        return n < 0 ? refuse(e, "they do not fit to the partitions") : r;
}

static void free_crypt(struct crypt_device **cd)
{
        crypt_free(*cd);
}

int verity_open(const struct env *env, int fd, const struct ddi *d,
                const uint8_t root_hash[SHA256_SIZE], const char *name, char **ret_path,
                struct error *e)
{
        _cleanup_free_ char *data_path = NULL, *hash_path = NULL, *path = NULL;
        _cleanup_close_ int data = -EBADF, hashes = -EBADF;
        _cleanup_(free_crypt) struct crypt_device *cd = NULL;
        struct verity v;
        int r = verity_read(fd, d, &v, e);

        if (r == 0)
                r = loop_attach(env, fd, d->data.offset, d->data.size, &data, &data_path, e);
        if (r == 0)
                r = loop_attach(env, fd, d->verity.offset, d->verity.size, &hashes, &hash_path, e);
        if (r < 0)
                return r;
        if (asprintf(&path, "%s/mapper/%s", env->dev, name) < 0) {
                path = NULL;
                return error_oom(e);
        }
        r = crypt_init_data_device(&cd, hash_path, data_path);
        if (r == 0)
                r = crypt_load(cd, CRYPT_VERITY, NULL);
        if (r == 0)
                r = crypt_activate_by_volume_key(cd, name, (const char *)root_hash, SHA256_SIZE,
                                                 CRYPT_ACTIVATE_READONLY);
        if (r < 0)
                return error_errno(e, -r, "dm-verity device \"%s\"", name);
        *ret_path = TAKE_PTR(path);
        return 0;
}

void verity_close(const char *name)
{
        (void)crypt_deactivate_by_name(NULL, name, CRYPT_DEACTIVATE_DEFERRED);
}
