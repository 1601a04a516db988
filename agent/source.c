/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/source.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"

/* As in an upgrade image or on an installer medium (Kairos layout). */
#define TREE_IMAGE "EFI/kairos/norole.efi"
#define TREE_LOADER "EFI/BOOT/BOOTX64.EFI"

/* Signed boot loaders, when the source brings none: of the medium, then of this system. */
static const char *const system_loaders[] = {
        "/run/initramfs/live/" TREE_LOADER,
        "/usr/lib/systemd/boot/efi/systemd-bootx64.efi.signed",
};

void source_done(struct source *s)
{
        image_free(s->image);
        s->image = NULL;
        bootloader_done(&s->loader);
        close_p(&s->image_fd);
        free(s->image_path);
        s->image_path = NULL;
}

static int unknown_source(const char *name, struct error *e)
{
        error_set(e, ERROR_USAGE, EINVAL, "source \"%s\": unknown form", name);
        error_advise(e,
                     "give dir:PATH (a folder with EFI/kairos/norole.efi) or file:PATH (an image)");
        return -EINVAL;
}

static int load_image(struct source *s, struct error *e)
{
        s->image_fd = open(s->image_path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
        if (s->image_fd < 0) {
                int r = error_set(e, ERROR_SOURCE, errno, "image %s: %s", s->image_path,
                                  strerrordesc_np(errno));

                error_advise(e, "run this in a live session, or name the image with --source");
                return r;
        }
        return image_verify(s->image_fd, s->image_path, &s->image, e);
}

static int load_tree(struct source *s, const char *path, struct error *e)
{
        _cleanup_free_ char *loader = NULL;
        int r;

        if (asprintf(&s->image_path, "%s/%s", path, TREE_IMAGE) < 0) {
                s->image_path = NULL;
                return error_oom(e);
        }
        if (asprintf(&loader, "%s/%s", path, TREE_LOADER) < 0) {
                loader = NULL;
                return error_oom(e);
        }
        r = load_image(s, e);
        return r < 0 ? r : bootloader_load(AT_FDCWD, loader, &s->loader, e);
}

static int load_file(struct source *s, const char *path, struct error *e)
{
        int r;

        s->image_path = strdup(path);
        if (!s->image_path)
                return error_oom(e);
        r = load_image(s, e);
        if (r < 0)
                return r;
        for (size_t i = 0; i < ARRAY_SIZE(system_loaders); i++) {
                if (file_exists(AT_FDCWD, system_loaders[i]))
                        return bootloader_load(AT_FDCWD, system_loaders[i], &s->loader, e);
        }
        error_set(e, ERROR_SOURCE, ENOENT, "no signed boot loader found");
        error_advise(e, "use a source of the form dir:PATH that brings EFI/BOOT/BOOTX64.EFI");
        return -ENOENT;
}

int source_open(const char *name, struct source *ret, struct error *e)
{
        struct source s = SOURCE_INIT;
        int r;

        if (!name)
                name = SOURCE_LIVE;
        if (strncmp(name, "dir:", 4) == 0 && name[4])
                r = load_tree(&s, name + 4, e);
        else if (strncmp(name, "file:", 5) == 0 && name[5])
                r = load_file(&s, name + 5, e);
        else
                r = unknown_source(name, e);
        if (r < 0) {
                source_done(&s);
                return r;
        }
        *ret = s;
        return 0;
}
