/* SPDX-License-Identifier: Apache-2.0 */
/* The code on the terminal, read back block by block into modules. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <qrencode.h>
#include <string.h>

#include "agent/qr.h"

#define QUIET 4
/* Modules of a code of version 4, which takes 78 bytes at the lowest level of correction. */
#define SIDE 33
#define WIDE (SIDE + 2 * QUIET)
#define HIGH (WIDE + 1)

static const char key[] = "cccbcdce-cfcgchci-cjckclcn-crctcucv-bcbbbdbe-bfbgbhbi-bjbkblbn-"
                          "brbtbubv";

static bool light[HIGH][WIDE];

static void read_block(const char **at, int x, int y)
{
        static const struct {
                const char *text;
                bool upper, lower;
        } blocks[] = {{"\xe2\x96\x88", true, true},
                      {"\xe2\x96\x80", true, false},
                      {"\xe2\x96\x84", false, true},
                      {" ", false, false}};

        for (size_t i = 0; i < ARRAY_SIZE(blocks); i++) {
                size_t n = strlen(blocks[i].text);

                if (strncmp(*at, blocks[i].text, n) != 0)
                        continue;
                light[y][x] = blocks[i].upper;
                light[y + 1][x] = blocks[i].lower;
                *at += n;
                return;
        }
        fail_msg("no block at %d, %d", x, y);
}

static void expect_text(const char **at, const char *text)
{
        assert_int_equal(strncmp(*at, text, strlen(text)), 0);
        *at += strlen(text);
}

static void shows_the_modules(void **state)
{
        _cleanup_(secret_free_p) struct secret *text = secret_new(sizeof(key) - 1), *out = NULL;
        QRcode *code = QRcode_encodeString(key, 0, QR_ECLEVEL_L, QR_MODE_8, 1);
        struct error e = ERROR_INIT;
        const char *at;

        (void)state;
        assert_non_null(code);
        assert_int_equal(code->width, SIDE);
        memcpy(text->data, key, text->len);
        assert_int_equal(qr_render(text, &out, &e), 0);
        at = (const char *)out->data;
        for (int y = 0; y < HIGH; y += 2) {
                expect_text(&at, "\x1b[40;37;1m");
                for (int x = 0; x < WIDE; x++)
                        read_block(&at, x, y);
                expect_text(&at, "\x1b[0m\n");
        }
        assert_ptr_equal(at, out->data + out->len);
        for (int y = 0; y < HIGH; y++) {
                for (int x = 0; x < WIDE; x++) {
                        int i = x - QUIET, k = y - QUIET;
                        bool quiet = i < 0 || i >= SIDE || k < 0 || k >= SIDE;

                        assert_int_equal(light[y][x], quiet || (code->data[k * SIDE + i] & 1) == 0);
                }
        }
        QRcode_free(code);
}

int main(void)
{
        const struct CMUnitTest tests[] = {cmocka_unit_test(shows_the_modules)};

        return cmocka_run_group_tests(tests, NULL, NULL);
}
