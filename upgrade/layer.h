/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Takes the system image out of one layer while it streams by: nothing is unpacked to disk, links
 * and devices are never followed. Runs in the sandbox: the bytes are anybody's.
 *
 * Wanted members, without regard to case as on FAT, "./" and "/" in front allowed:
 *   EFI/kairos/norole.efi      the image, given out by layer_read()
 *   EFI/BOOT/BOOTX64.EFI       the boot loader, kept in memory (on other machines BOOTAA64.EFI)
 * in either order. Twice the same, or one of them as anything but a plain file, is refused. The
 * layer is read to its very end: a truncated or damaged one is an error even when the image was
 * whole, and bytes behind the archive are refused.
 *
 * Life cycle: layer_open() -> layer_read() until 0 or an error -> layer_state(), layer_loader() ->
 * layer_free(). An image is made of layers: try them from the last to the first while the state is
 * LAYER_ABSENT. The boot loader comes from the layers that were read on this way.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/error.h"
#include "upgrade/stream.h"

#define LAYER_IMAGE_NAME "EFI/kairos/norole.efi"
#if defined(__x86_64__)
#define LAYER_LOADER_NAME "EFI/BOOT/BOOTX64.EFI"
#elif defined(__aarch64__)
#define LAYER_LOADER_NAME "EFI/BOOT/BOOTAA64.EFI"
#else
#error "the name of the boot loader on this machine is not known"
#endif

enum layer_format {
        LAYER_RAW, /* the blob is the image */
        LAYER_TAR,
        LAYER_TAR_GZIP,
        LAYER_TAR_ZSTD,
};

/* By the first bytes; 4 are enough, fewer are fine. A tar cannot be told by them, so everything
 * else is one. */
enum layer_format layer_format_detect(const uint8_t *data, size_t n);

struct layer_wish {
        bool loader;        /* also the boot loader */
        uint64_t max_image; /* 0 = LIMIT_IMAGE_SIZE */
        /*
         * The image from this byte on. LAYER_RAW: the blob stream begins there already. LAYER_TAR:
         * the stream begins at the archive's begin; what lies between is skipped in the stream
         * where it can skip, else read. Compressed ones read everything.
         */
        uint64_t offset;
};

enum layer_state {
        LAYER_READING, /* the end was not reached */
        LAYER_IMAGE,   /* the image was in it */
        LAYER_ABSENT,  /* not in it: a lower layer may have it */
        LAYER_HIDDEN,  /* not in it, and lower layers are hidden by a whiteout */
};

struct layer;

/* blob is borrowed and read from here on. -EINVAL (ERROR_INTERNAL) for an offset beyond the limit.
 */
int layer_open(struct stream *blob, enum layer_format format, const struct layer_wish *wish,
               struct layer **ret, struct error *e) _must_check_;
void layer_free(struct layer *l);
DEFINE_CLEANUP(struct layer, layer_free)

/*
 * The next bytes of the image; 0: the end of the layer. Errors of the blob stream are passed on as
 * they are; -EBADMSG (damaged), -E2BIG (larger than allowed, or a bomb), -ENOTUNIQ (twice), -ELOOP
 * (a link), all ERROR_REFUSED.
 */
ssize_t layer_read(struct layer *l, void *buf, size_t n, struct error *e) _must_check_;

enum layer_state layer_state(const struct layer *l);

/* Size of the image in bytes; false before its begin was seen (raw ones: never). */
bool layer_image_size(const struct layer *l, uint64_t *ret);

/* The boot loader, empty when there was none; valid after the end. */
const struct buf *layer_loader(const struct layer *l);
