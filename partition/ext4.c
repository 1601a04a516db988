/* SPDX-License-Identifier: Apache-2.0 */
#include "partition/ext4.h"

#include <string.h>
#include <time.h>

/* The header's own code does not keep our rules. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wsign-conversion"
#pragma GCC diagnostic ignored "-Wundef"
#include <ext2fs/ext2fs.h>
#pragma GCC diagnostic pop

#include "base/num.h"

#define FILE_MODE 0600u
#define FOLDER_MODE 0700u
#define FILE_MAX (UINT32_MAX / 2)

struct ext4 {
        ext2_filsys fs;
};

static int fail(errcode_t code, const char *what, struct error *e)
{
        if (code == EXT2_ET_BLOCK_ALLOC_FAIL || code == EXT2_ET_INODE_ALLOC_FAIL)
                return error_set(e, ERROR_SPACE, ENOSPC, "%s: the file system is full", what);
        if (code == EXT2_ET_NO_MEMORY)
                return error_oom(e);
        if (code > 0 && code < INT16_MAX)
                return error_errno(e, (int)code, "%s", what);
        return error_set(e, ERROR_INTERNAL, EIO, "%s: error %ld of libext2fs", what, code);
}

int ext4_open(const char *path, struct ext4 **ret, struct error *e)
{
        _cleanup_(ext4_free_p) struct ext4 *x = calloc(1, sizeof(*x));
        errcode_t r;

        if (!x)
                return error_oom(e);
        r = ext2fs_open(path, EXT2_FLAG_RW | EXT2_FLAG_64BITS, 0, 0, unix_io_manager, &x->fs);
        if (r)
                x->fs = NULL;
        else
                r = ext2fs_read_bitmaps(x->fs);
        if (r)
                return fail(r, path, e);
        *ret = TAKE_PTR(x);
        return 0;
}

void ext4_free(struct ext4 *x)
{
        if (!x)
                return;
        if (x->fs)
                ext2fs_free(x->fs);
        free(x);
}

/* --- files --- */

static errcode_t find_folder(ext2_filsys fs, const char *name, ext2_ino_t *ret)
{
        struct ext2_inode inode;
        errcode_t r = ext2fs_lookup(fs, EXT2_ROOT_INO, name, (int)strlen(name), NULL, ret);

        if (r != EXT2_ET_FILE_NOT_FOUND)
                return r;
        r = ext2fs_mkdir(fs, EXT2_ROOT_INO, 0, name);
        if (!r)
                r = ext2fs_lookup(fs, EXT2_ROOT_INO, name, (int)strlen(name), NULL, ret);
        if (!r)
                r = ext2fs_read_inode(fs, *ret, &inode);
        if (r)
                return r;
        inode.i_mode = LINUX_S_IFDIR | FOLDER_MODE;
        return ext2fs_write_inode(fs, *ret, &inode);
}

static errcode_t make_inode(ext2_filsys fs, ext2_ino_t folder, ext2_ino_t *ret)
{
        ext2_extent_handle_t extents = NULL;
        uint32_t now = (uint32_t)time(NULL);
        struct ext2_inode inode = {.i_mode = LINUX_S_IFREG | FILE_MODE,
                                   .i_links_count = 1,
                                   .i_atime = now,
                                   .i_ctime = now,
                                   .i_mtime = now};
        errcode_t r = ext2fs_new_inode(fs, folder, inode.i_mode, NULL, ret);

        if (r)
                return r;
        ext2fs_inode_alloc_stats2(fs, *ret, +1, 0);
        if (ext2fs_has_feature_extents(fs->super)) {
                inode.i_flags |= EXT4_EXTENTS_FL;
                r = ext2fs_extent_open2(fs, *ret, &inode, &extents);
                if (r)
                        return r;
                ext2fs_extent_free(extents);
        }
        return ext2fs_write_new_inode(fs, *ret, &inode);
}

static errcode_t write_content(ext2_filsys fs, ext2_ino_t ino, const void *data, size_t n)
{
        unsigned int written = 0;
        ext2_file_t file;
        errcode_t r = ext2fs_file_open(fs, ino, EXT2_FILE_WRITE, &file), closed;

        if (r)
                return r;
        if (n > 0)
                r = ext2fs_file_write(file, data, (unsigned int)n, &written);
        if (!r && written != n)
                r = EIO;
        closed = ext2fs_file_close(file);
        return r ? r : closed;
}

static errcode_t link_name(ext2_filsys fs, ext2_ino_t folder, const char *name, ext2_ino_t ino)
{
        errcode_t r = ext2fs_link(fs, folder, name, ino, EXT2_FT_REG_FILE);

        if (r != EXT2_ET_DIR_NO_SPACE)
                return r;
        r = ext2fs_expand_dir(fs, folder);
        return r ? r : ext2fs_link(fs, folder, name, ino, EXT2_FT_REG_FILE);
}

static errcode_t add(ext2_filsys fs, ext2_ino_t folder, const char *name, const void *data,
                     size_t n)
{
        ext2_ino_t ino;
        errcode_t r = ext2fs_lookup(fs, folder, name, (int)strlen(name), NULL, &ino);

        if (r != EXT2_ET_FILE_NOT_FOUND)
                return r ? r : EEXIST;
        r = make_inode(fs, folder, &ino);
        if (!r)
                r = write_content(fs, ino, data, n);
        return r ? r : link_name(fs, folder, name, ino);
}

int ext4_add_file(struct ext4 *x, const char *name, const void *data, size_t n, struct error *e)
{
        const char *slash = strchr(name, '/');
        _cleanup_free_ char *folder = slash ? strndup(name, (size_t)(slash - name)) : NULL;
        ext2_ino_t in = EXT2_ROOT_INO;
        errcode_t r = 0;

        if (slash && !folder)
                return error_oom(e);
        if (n > FILE_MAX)
                return error_set(e, ERROR_INTERNAL, E2BIG, "%s: too large", name);
        if (folder)
                r = find_folder(x->fs, folder, &in);
        if (!r)
                r = add(x->fs, in, slash ? slash + 1 : name, data, n);
        return r ? fail(r, name, e) : 0;
}

int ext4_sync(struct ext4 *x, struct error *e)
{
        errcode_t r = ext2fs_flush(x->fs);

        return r ? fail(r, "writing the file system", e) : 0;
}

/* --- blocks --- */

int ext4_next_used(struct ext4 *x, uint64_t *at, uint64_t *ret_end, struct error *e)
{
        const uint64_t size = x->fs->blocksize, last = ext2fs_blocks_count(x->fs->super) - 1;
        blk64_t first, end;
        errcode_t r;

        if (*at / size > last)
                return 0;
        r = ext2fs_find_first_set_block_bitmap2(x->fs->block_map, *at / size, last, &first);
        if (r == ENOENT)
                return 0;
        if (r)
                return fail(r, "block bitmap", e);
        r = ext2fs_find_first_zero_block_bitmap2(x->fs->block_map, first, last, &end);
        if (r == ENOENT)
                end = last + 1;
        else if (r)
                return fail(r, "block bitmap", e);
        *at = first * size;
        *ret_end = end * size;
        return 1;
}
