/* SPDX-License-Identifier: Apache-2.0 */
#include "image/splash.h"

#include <stdbool.h>
#include <string.h>

#include "base/num.h"

/* BITMAPFILEHEADER and BITMAPINFOHEADER. */
#define HEADER 54u
#define INFO_HEADER 40u
#define SIZE_AT 2u
#define PIXELS_AT 10u
#define INFO_SIZE_AT 14u
#define WIDTH_AT 18u
#define HEIGHT_AT 22u
#define PLANES_AT 26u
#define DEPTH_AT 28u
#define COMPRESSION_AT 30u
#define BITFIELDS 3u
/* Larger than any screen. */
#define SIDE_MAX 16384u

static int bad(struct error *e, const char *why)
{
        int r = error_set(e, ERROR_CONFIG, EINVAL, "systemd-stub would not show it: %s", why);

        error_advise(e, "give a BMP without compression, e.g. of \"magick IN -type truecolor "
                        "BMP3:OUT\"");
        return r;
}

static bool known_depth(unsigned depth)
{
        return depth == 1 || depth == 4 || depth == 8 || depth == 16 || depth == 24 || depth == 32;
}

int splash_check(const struct buf *file, struct error *e)
{
        const uint8_t *d = file->data;
        uint32_t width, height, compression;
        uint64_t row, wanted;
        unsigned depth;

        if (file->len < HEADER || memcmp(d, "BM", 2) != 0)
                return bad(e, "it is no BMP");
        width = le32_at(d + WIDTH_AT);
        height = le32_at(d + HEIGHT_AT);
        depth = le16_at(d + DEPTH_AT);
        compression = le32_at(d + COMPRESSION_AT);
        if (le32_at(d + INFO_SIZE_AT) < INFO_HEADER || le16_at(d + PLANES_AT) != 1 ||
            !known_depth(depth))
                return bad(e, "a kind of BMP that it does not know");
        if (compression != 0 && !(compression == BITFIELDS && (depth == 16 || depth == 32)))
                return bad(e, "it is compressed");
        if (width == 0 || height == 0 || width > SIDE_MAX || height > SIDE_MAX)
                return bad(e, "no size of a picture (one that begins at its top counts as none)");
        row = ((uint64_t)width * depth + 31) / 32 * 4;
        wanted = le32_at(d + PIXELS_AT) + row * height;
        if (le32_at(d + PIXELS_AT) < HEADER || wanted > file->len ||
            le32_at(d + SIZE_AT) > file->len)
                return bad(e, "it is cut off");
        return 0;
}
