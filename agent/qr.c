/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/qr.h"

#include <qrencode.h>
#include <stdbool.h>
#include <string.h>

#include "base/buf.h"

#define QUIET 4
#define WHITE_ON_BLACK "\x1b[40;37;1m"
#define PLAIN "\x1b[0m\n"

/* Modules outside of the code are light. */
static bool is_light(const QRcode *code, int x, int y)
{
        if (x < 0 || y < 0 || x >= code->width || y >= code->width)
                return true;
        return (code->data[y * code->width + x] & 1) == 0;
}

static const char *block(bool upper, bool lower)
{
        if (upper)
                return lower ? "\xe2\x96\x88" : "\xe2\x96\x80"; /* full block, upper half */
        return lower ? "\xe2\x96\x84" : " ";                    /* lower half */
}

static int render(const QRcode *code, struct buf *out)
{
        int r = 0;

        for (int y = -QUIET; y < code->width + QUIET && r == 0; y += 2) {
                r = buf_add_str(out, WHITE_ON_BLACK);
                for (int x = -QUIET; x < code->width + QUIET && r == 0; x++)
                        r = buf_add_str(out, block(is_light(code, x, y), is_light(code, x, y + 1)));
                if (r == 0)
                        r = buf_add_str(out, PLAIN);
        }
        return r;
}

int qr_render(const struct secret *text, struct secret **ret, struct error *e)
{
        _cleanup_(secret_free_p) struct secret *out = NULL;
        QRcode *code = QRcode_encodeData((int)text->len, text->data, 0, QR_ECLEVEL_L);
        struct buf window;
        size_t side, room;
        int r;

        if (!code)
                return error_errno(e, errno, "QR code");
        side = (size_t)code->width + 2 * QUIET;
        /* Three bytes for each block; one byte for the NUL behind the content of a buffer. */
        room = (side / 2 + 1) * (side * 3 + strlen(WHITE_ON_BLACK PLAIN)) + 1;
        out = secret_new(room);
        if (out) {
                window = (struct buf){.data = out->data, .allocated = room, .max = room - 1};
                r = render(code, &window);
                out->len = window.len;
        } else {
                r = -ENOMEM;
        }
        explicit_bzero(code->data, (size_t)code->width * (size_t)code->width);
        QRcode_free(code);
        if (r < 0)
                return error_errno(e, -r, "QR code");
        *ret = TAKE_PTR(out);
        return 0;
}
