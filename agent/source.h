/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where an installation comes from: "dir:PATH" (a folder laid out like an installer medium),
 * "file:PATH" (an image), or what agent/source_fetch.h gets into memory.
 */
#pragma once

#include "agent/source_fetch.h"
#include "base/error.h"
#include "upgrade/bootloader.h"
#include "upgrade/image.h"

/* The medium of a live session, where the boot stage mounts it. */
#define SOURCE_LIVE "dir:/run/initramfs/live"

struct source {
        char *image_path;
        int image_fd;
        struct verified_image *image;
        struct bootloader loader; /* image empty: there is none */
};

#define SOURCE_INIT                                                                                \
        {                                                                                          \
                .image_fd = -EBADF                                                                 \
        }

/*
 * Opens and verifies image and boot loader against the demands of this machine. name is a source,
 * or NULL for the medium of this session. loader_needed: a source without a boot loader gets the
 * signed one of this system. transfer is for sources that are not here. ret_proofs may be NULL. The
 * image descriptor stays open as long as the source.
 */
int source_open(const char *name, const struct image_demands *demands, bool loader_needed,
                const struct source_transfer *transfer, struct proofs *ret_proofs,
                struct source *ret, struct error *e) _must_check_;
void source_done(struct source *s);
