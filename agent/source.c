/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/source.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/limits.h"

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
                     "give dir:PATH (a folder with EFI/kairos/norole.efi), file:PATH (an image), "
                     "oci:REGISTRY/NAME:TAG, https://... or ocifile:TAR");
        return -EINVAL;
}

/* What the steps of opening share. */
struct opening {
        const char *name;
        const struct image_demands *demands;
        bool loader_needed;
        const struct source_transfer *transfer;
        struct proofs *proofs;
        struct source *source;
};

static int load_image(struct opening *o, struct error *e)
{
        struct source *s = o->source;
        struct stat st;

        s->image_fd = open(s->image_path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
        if (s->image_fd < 0) {
                bool named = strcmp(o->name, SOURCE_LIVE) != 0, missing = errno == ENOENT;
                int r = error_set(e, named && missing ? ERROR_USAGE : ERROR_SOURCE, errno,
                                  "image %s: %s", s->image_path, strerrordesc_np(errno));

                if (!named)
                        error_advise(e, "run this in a live session, or name a source");
                else if (missing)
                        error_advise(e, "check the path of the source");
                return r;
        }
        if (fstat(s->image_fd, &st) < 0)
                return error_errno(e, errno, "image %s", s->image_path);
        if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
                return error_set(e, ERROR_USAGE, EINVAL, "image %s: no regular file",
                                 s->image_path);
        return image_verify(s->image_fd, s->image_path, o->demands, o->proofs, &s->image, e);
}

/* The boot loader has to give the same proof to the firmware as the image. bytes NULL: path. */
static int load_loader(struct opening *o, const char *path, const struct buf *bytes,
                       struct error *e)
{
        _cleanup_(buf_done) struct buf why = BUF_INIT(1024);
        struct error error = ERROR_INIT;
        int r = bytes ? bootloader_take(bytes, &o->source->loader, &error)
                      : bootloader_load(AT_FDCWD, path, &o->source->loader, &error);

        if (r == -ENOENT) {
                error.class = ERROR_SOURCE; /* not the machine is incomplete: the source is */
                error_advise(&error, "the source has to bring its boot loader");
        }
        if (r == 0)
                r = bootloader_verify(&o->source->loader, o->demands->db, o->demands->dbx, &why,
                                      &error);
        if (r < 0)
                proof_fail(o->proofs, PROOF_LOADER, ERROR_NONE, &error);
        else
                proof_set(o->proofs, PROOF_LOADER, PROOF_PASSED, "systemd-boot %s: %s",
                          o->source->loader.version, buf_str(&why));
        if (r < 0)
                *e = error;
        return r;
}

static int load_tree(struct opening *o, const char *path, struct error *e)
{
        _cleanup_free_ char *loader = NULL;
        int r;

        if (asprintf(&o->source->image_path, "%s/%s", path, TREE_IMAGE) < 0) {
                o->source->image_path = NULL;
                return error_oom(e);
        }
        if (asprintf(&loader, "%s/%s", path, TREE_LOADER) < 0) {
                loader = NULL;
                return error_oom(e);
        }
        r = load_image(o, e);
        return r < 0 ? r : load_loader(o, loader, NULL, e);
}

static int load_system_loader(struct opening *o, struct error *e)
{
        for (size_t i = 0; i < ARRAY_SIZE(system_loaders); i++) {
                if (file_exists(AT_FDCWD, system_loaders[i]))
                        return load_loader(o, system_loaders[i], NULL, e);
        }
        error_set(e, ERROR_SOURCE, ENOENT, "no signed boot loader found");
        error_advise(e, "use a source of the form dir:PATH that brings EFI/BOOT/BOOTX64.EFI");
        return -ENOENT;
}

static int load_file(struct opening *o, const char *path, struct error *e)
{
        int r;

        o->source->image_path = strdup(path);
        if (!o->source->image_path)
                return error_oom(e);
        r = load_image(o, e);
        return r < 0 || !o->loader_needed ? r : load_system_loader(o, e);
}

static int load_remote(struct opening *o, struct error *e)
{
        _cleanup_(buf_done) struct buf loader = BUF_INIT(LIMIT_BOOT_LOADER);
        struct source *s = o->source;
        int r;

        s->image_path = strdup(o->name);
        if (!s->image_path)
                return error_oom(e);
        r = source_fetch(o->name, o->transfer, &s->image_fd, &loader, e);
        if (r == 0)
                r = image_verify(s->image_fd, s->image_path, o->demands, o->proofs, &s->image, e);
        if (r < 0 || !o->loader_needed)
                return r;
        return loader.len > 0 ? load_loader(o, NULL, &loader, e) : load_system_loader(o, e);
}

int source_open(const char *name, const struct image_demands *demands, bool loader_needed,
                const struct source_transfer *transfer, struct proofs *ret_proofs,
                struct source *ret, struct error *e)
{
        _cleanup_free_ struct proofs *own = calloc(1, sizeof(*own));
        struct source s = SOURCE_INIT;
        struct opening o = {.name = name ?: SOURCE_LIVE,
                            .demands = demands,
                            .loader_needed = loader_needed,
                            .transfer = transfer,
                            .proofs = ret_proofs ? ret_proofs : own,
                            .source = &s};
        int r;

        if (!own)
                return error_oom(e);
        if (strncmp(o.name, "dir:", 4) == 0 && o.name[4])
                r = load_tree(&o, o.name + 4, e);
        else if (strncmp(o.name, "file:", 5) == 0 && o.name[5])
                r = load_file(&o, o.name + 5, e);
        else if (transfer && source_fetch_takes(o.name))
                r = load_remote(&o, e);
        else
                r = unknown_source(o.name, e);
        if (r < 0) {
                source_done(&s);
                return r;
        }
        *ret = s;
        return 0;
}
