/* SPDX-License-Identifier: Apache-2.0 */
/* Roots out of archives: the half of image/rootfs_tar.h that opens them. */
#include <fcntl.h>
#include <string.h>

#include "base/file.h"
#include "image/input.h"
#include "image/rootfs_tar.h"
#include "upgrade/archive_source.h"

static const char *after(const char *name, const char *prefix)
{
        size_t n = strlen(prefix);

        return strncmp(name, prefix, n) == 0 ? name + n : NULL;
}

bool rootfs_is_source(const char *name)
{
        return after(name, "tar:") || after(name, "ocifile:") || after(name, "dir:") ||
               after(name, "oci:");
}

/* A layout in a folder, as store. */
struct folder {
        struct oci_store store;
        int dir;
        int fd; /* of what is open */
        struct stream_fd stream;
};

static void folder_done(struct folder *f)
{
        close_p(&f->fd);
        close_p(&f->dir);
}

static int folder_open(struct oci_store *s, const char *name, struct stream **ret,
                       uint64_t *ret_size, struct error *e)
{
        struct folder *f = (struct folder *)s;
        off_t size;

        close_p(&f->fd);
        f->fd = layout_open(f->dir, name, e);
        if (f->fd < 0)
                return f->fd;
        size = lseek(f->fd, 0, SEEK_END);
        if (size < 0)
                return error_errno(e, errno, "%s", name);
        stream_fd_init(&f->stream, f->fd, 0, (uint64_t)size);
        *ret = &f->stream.stream;
        *ret_size = (uint64_t)size;
        return 0;
}

/* Lowest layer first. */
static int add_image(struct rootfs *fs, struct oci_store *store,
                     char manifest[OCI_DIGEST_TEXT_SIZE], struct error *e)
{
        _cleanup_(local_image_free_p) struct local_image *image = NULL;
        int r = local_image_find(store, oci_platform_here(), &image, e);

        if (r == 0 && image->raw)
                r = error_set(e, ERROR_CONFIG, EINVAL,
                              "an artifact with a system image: there is no "
                              "root in it");
        if (r < 0)
                return r;
        memcpy(manifest, image->manifest, OCI_DIGEST_TEXT_SIZE);
        for (unsigned i = 0; i < image->n_layers && r == 0; i++) {
                const struct local_layer *l = &image->layers[i];
                _cleanup_(oci_checked_done) struct oci_checked checked = {.hash = NULL};

                if (!l->usable)
                        return error_set(e, ERROR_CONFIG, ENOTSUP,
                                         "layer %u is of a kind that is not known here", i + 1);
                r = local_image_open_layer(store, l, &checked, e);
                if (r == 0)
                        r = rootfs_add_tar(fs, &checked.stream, true, e);
                if (r < 0)
                        return error_wrap(e, r, "layer %u", i + 1);
        }
        return 0;
}

static int from_tar(struct rootfs *fs, const char *path, struct error *e)
{
        _cleanup_close_ int fd = -EBADF;
        struct stream_fd stream;
        int r = input_open(path, &fd, e);

        if (r < 0)
                return r;
        stream_fd_init(&stream, fd, 0, UINT64_MAX);
        return rootfs_add_tar(fs, &stream.stream, false, e);
}

static int from_archive(struct rootfs *fs, const char *path, char manifest[OCI_DIGEST_TEXT_SIZE],
                        struct error *e)
{
        _cleanup_(archive_store_free_p) struct archive_store *store = NULL;
        _cleanup_close_ int fd = -EBADF;
        struct file_ranges_fd ranges;
        int r = input_open(path, &fd, e);

        if (r < 0)
                return r;
        file_ranges_fd_init(&ranges, fd);
        r = archive_store_open(&ranges.ranges, &store, e);
        return r == 0 ? add_image(fs, archive_store_get(store), manifest, e) : r;
}

static int from_folder(struct rootfs *fs, const char *path, char manifest[OCI_DIGEST_TEXT_SIZE],
                       struct error *e)
{
        _cleanup_(folder_done) struct folder f = {
                .store = {.open = folder_open}, .dir = file_open_dir(AT_FDCWD, path), .fd = -EBADF};
        int r;

        if (f.dir < 0)
                return error_set(e, ERROR_CONFIG, -f.dir, "cannot read %s: %s", path,
                                 file_strerror(f.dir));
        r = layout_is(f.dir, e);
        if (r < 0)
                return error_wrap(e, r, "%s", path);
        if (r == 0)
                return error_set(e, ERROR_CONFIG, EINVAL, "%s is no OCI layout", path);
        return add_image(fs, &f.store, manifest, e);
}

static int from_file(const char *name, char manifest[OCI_DIGEST_TEXT_SIZE], struct rootfs **ret,
                     struct error *e)
{
        _cleanup_(rootfs_free_p) struct rootfs *fs = NULL;
        const char *path;
        int r = rootfs_new(&fs, e);

        if (r < 0)
                return r;
        if ((path = after(name, "tar:")))
                r = from_tar(fs, path, e);
        else if ((path = after(name, "ocifile:")))
                r = from_archive(fs, path, manifest, e);
        else
                r = from_folder(fs, after(name, "dir:"), manifest, e);
        if (r < 0) {
                if (e->class == ERROR_REFUSED || e->class == ERROR_SOURCE)
                        e->class = ERROR_CONFIG; /* a file that the caller named */
                return error_wrap(e, r, "%s", name);
        }
        *ret = TAKE_PTR(fs);
        return 0;
}

int rootfs_from_source(const char *name, const struct fetch_options *how,
                       char manifest[OCI_DIGEST_TEXT_SIZE], struct tree **ret, struct error *e)
{
        _cleanup_(rootfs_free_p) struct rootfs *fs = NULL;
        int r;

        *manifest = '\0';
        r = after(name, "oci:") ? rootfs_from_registry(name, how, manifest, &fs, e)
                                : from_file(name, manifest, &fs, e);
        return r == 0 ? rootfs_tree(fs, ret, e) : r;
}
