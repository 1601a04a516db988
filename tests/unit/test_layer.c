/* SPDX-License-Identifier: Apache-2.0 */
#include "upgrade/layer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/limits.h"
#include "tests/unit/layer_run.h"

static void test_formats(void **state)
{
        static const size_t pieces[] = {1, 511, 4096, SIZE_MAX};
        _cleanup_(buf_done) struct buf tar = BUF_INIT(ROOM);

        (void)state;
        tar_header(&tar, "EFI/", '5', 0, NULL);
        tar_header(&tar, "EFI/kairos", '5', 0, NULL);
        tar_file(&tar, "EFI/kairos/norole.efi.sig", "x", 1);
        tar_file(&tar, "EFI/kairos/norole.efi", image, sizeof(image));
        tar_file(&tar, "loader/entries/norole.conf", "title x\n", 8);
        tar_file(&tar, "EFI/BOOT/BOOTX64.EFI", loader, sizeof(loader));
        tar_end(&tar);
        for (enum layer_format f = LAYER_TAR; f <= LAYER_TAR_ZSTD; f++) {
                _cleanup_(buf_done) struct buf blob = BUF_INIT(ROOM);

                pack(&blob, &tar, f);
                for (size_t i = 0; i < ARRAY_SIZE(pieces); i++) {
                        _cleanup_(outcome_done) struct outcome o = run(&blob, f, pieces[i]);

                        expect_image(&o, "formats");
                        assert_int_equal(o.given, blob.len);
                        assert_true(o.has_size);
                        assert_int_equal(o.size, sizeof(image));
                        assert_int_equal(o.loader.len, sizeof(loader));
                        assert_memory_equal(o.loader.data, loader, sizeof(loader));
                }
        }
}

static void test_names_and_order(void **state)
{
        static const struct {
                const char *image, *loader;
                bool loader_first, absent;
        } table[] = {
                {"./EFI/kairos/norole.efi", "./EFI/BOOT/BOOTX64.EFI", true, false},
                {"/EFI/kairos/norole.efi", "/EFI/BOOT/BOOTX64.EFI", false, false},
                {"efi/Kairos/NOROLE.EFI", "efi/boot/bootx64.efi", true, false},
                {".//./EFI/kairos/norole.efi", "//EFI/BOOT/BOOTX64.EFI", false, false},
                {"x/EFI/kairos/norole.efi", "EFI/BOOT/BOOTX64.EFI", false, true},
                {"EFI/kairos/../kairos/norole.efi", "EFI/BOOT/BOOTX64.EFI", false, true},
                {"EFI\\kairos\\norole.efi", "EFI/BOOT/BOOTX64.EFI", false, true},
                {"EFI/kairos/norole.ef", "EFI/BOOT/BOOTX64.EFI", false, true},
                {"EFI/kairos//norole.efi", "EFI/BOOT/BOOTX64.EFI", false, true},
                /* begins like an image: still a tar */
                {"MZ/norole.efi", "EFI/BOOT/BOOTX64.EFI", false, true},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
                _cleanup_(buf_done) struct buf tar = BUF_INIT(ROOM);
                _cleanup_(outcome_done) struct outcome o = {.r = 0};

                if (table[i].loader_first)
                        tar_file(&tar, table[i].loader, loader, sizeof(loader));
                tar_file(&tar, table[i].image, image, sizeof(image));
                if (!table[i].loader_first)
                        tar_file(&tar, table[i].loader, loader, sizeof(loader));
                tar_end(&tar);
                o = run(&tar, LAYER_TAR, SIZE_MAX);
                if (table[i].absent) {
                        assert_int_equal(o.r, 0);
                        assert_int_equal(o.state, LAYER_ABSENT);
                        assert_int_equal(o.image.len, 0);
                        assert_false(o.has_size);
                } else {
                        expect_image(&o, table[i].image);
                }
                assert_int_equal(o.loader.len, sizeof(loader));
        }
}

static void test_loader_not_wished(void **state)
{
        _cleanup_(buf_done) struct buf tar = BUF_INIT(ROOM);
        _cleanup_(outcome_done) struct outcome o = {.r = 0};
        struct stream_data s;

        (void)state;
        tar_file(&tar, LAYER_LOADER_NAME, loader, sizeof(loader));
        tar_file(&tar, LAYER_IMAGE_NAME, image, sizeof(image));
        tar_file(&tar, LAYER_LOADER_NAME, loader, sizeof(loader));
        tar_end(&tar);
        s = stream_data_make(tar.data, tar.len, SIZE_MAX);
        o = run_stream(&s, LAYER_TAR, (struct layer_wish){.loader = false});
        expect_image(&o, "without loader");
        assert_int_equal(o.loader.len, 0);
}

static void test_absent_and_hidden(void **state)
{
        static const struct {
                const char *name;
                char type;
                enum layer_state state;
        } table[] = {
                {"EFI/BOOT/x", '0', LAYER_ABSENT},
                {"EFI", '5', LAYER_ABSENT},
                {"./", '5', LAYER_ABSENT},
                {"EFI/kairos/", '5', LAYER_ABSENT},
                {"EFI/.wh.BOOT", '0', LAYER_ABSENT},
                {"EFI/kairos/.wh.norole.conf", '0', LAYER_ABSENT},
                {"usr/.wh..wh..opq", '0', LAYER_ABSENT},
                {".wh.EFI", '0', LAYER_HIDDEN},
                {"./EFI/.wh.kairos", '0', LAYER_HIDDEN},
                {"/EFI/kairos/.wh.norole.efi", '0', LAYER_HIDDEN},
                {".wh..wh..opq", '0', LAYER_HIDDEN},
                {"EFI/.wh..wh..opq", '0', LAYER_HIDDEN},
                {"EFI/kairos/.wh..wh..opq", '0', LAYER_HIDDEN},
                {"efi/KAIROS/.wh.Norole.efi", '0', LAYER_HIDDEN},
                {"EFI", '2', LAYER_HIDDEN},
                {"EFI/kairos", '2', LAYER_HIDDEN},
                {"EFI/kairos", '0', LAYER_HIDDEN},
                {"EFI/kairos", '1', LAYER_HIDDEN},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
                _cleanup_(buf_done) struct buf tar = BUF_INIT(ROOM);
                _cleanup_(outcome_done) struct outcome o = {.r = 0}, with = {.r = 0};

                tar_header(&tar, table[i].name, table[i].type, 0,
                           table[i].type == '1' || table[i].type == '2' ? "else" : NULL);
                tar_file(&tar, "a", "b", 1);
                tar_end(&tar);
                o = run(&tar, LAYER_TAR, SIZE_MAX);
                assert_int_equal(o.r, 0);
                if (o.state != table[i].state)
                        fail_msg("%s: state %d", table[i].name, o.state);
                /* The mark is for lower layers: an image of this one counts. */
                tar.len -= (size_t)2 * TAR_BLOCK;
                tar_file(&tar, LAYER_IMAGE_NAME, image, sizeof(image));
                tar_end(&tar);
                with = run(&tar, LAYER_TAR, SIZE_MAX);
                expect_image(&with, table[i].name);
        }
}

/* A layer without any member, as docker makes them. */
static void test_empty(void **state)
{
        (void)state;
        for (enum layer_format f = LAYER_TAR; f <= LAYER_TAR_ZSTD; f++) {
                _cleanup_(buf_done) struct buf tar = BUF_INIT(ROOM), blob = BUF_INIT(ROOM);
                _cleanup_(outcome_done) struct outcome o = {.r = 0}, nothing = {.r = 0};

                tar_end(&tar);
                pack(&blob, &tar, f);
                o = run(&blob, f, SIZE_MAX);
                assert_int_equal(o.r, 0);
                assert_int_equal(o.state, LAYER_ABSENT);
                blob.len = 0;
                nothing = run(&blob, f, SIZE_MAX);
                expect_refused(&nothing, -EBADMSG, "no byte");
        }
}

static void test_unfit_members(void **state)
{
        static const struct {
                const char *name;
                char type;
                int r;
        } table[] = {
                {LAYER_IMAGE_NAME, '1', -ELOOP},    {LAYER_IMAGE_NAME, '2', -ELOOP},
                {LAYER_IMAGE_NAME, '3', -EBADMSG},  {LAYER_IMAGE_NAME, '5', -EBADMSG},
                {LAYER_IMAGE_NAME, '6', -EBADMSG},  {LAYER_IMAGE_NAME, '0', -EBADMSG},
                {LAYER_LOADER_NAME, '1', -ELOOP},   {LAYER_LOADER_NAME, '2', -ELOOP},
                {LAYER_LOADER_NAME, '5', -EBADMSG}, {LAYER_LOADER_NAME, '0', -EBADMSG},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
                _cleanup_(buf_done) struct buf tar = BUF_INIT(ROOM);
                _cleanup_(outcome_done) struct outcome o = {.r = 0};

                tar_file(&tar, "real.efi", image, sizeof(image));
                tar_header(&tar, table[i].name, table[i].type, 0,
                           table[i].type == '1' || table[i].type == '2' ? "real.efi" : NULL);
                tar_end(&tar);
                o = run(&tar, LAYER_TAR, SIZE_MAX);
                expect_refused(&o, table[i].r, table[i].name);
                assert_int_equal(strstr(o.e.text, "is empty") != NULL, table[i].type == '0');
        }
}

static void test_twice(void **state)
{
        static const char *const names[] = {LAYER_IMAGE_NAME, LAYER_LOADER_NAME};

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
                _cleanup_(buf_done) struct buf tar = BUF_INIT(ROOM);
                _cleanup_(outcome_done) struct outcome o = {.r = 0};

                tar_file(&tar, names[i], image, sizeof(image));
                tar_file(&tar, "x", "y", 1);
                tar_file(&tar, names[i], image, sizeof(image));
                tar_end(&tar);
                o = run(&tar, LAYER_TAR, SIZE_MAX);
                expect_refused(&o, -ENOTUNIQ, names[i]);
        }
}

/* Docker stops at the end mark, others do not: what hides there may be read, but not differ. */
static void test_behind_the_end(void **state)
{
        _cleanup_(buf_done) struct buf tar = BUF_INIT(ROOM);
        _cleanup_(outcome_done) struct outcome padded = {.r = 0}, second = {.r = 0},
                                               junk = {.r = 0};
        static const uint8_t zeros[7 * TAR_BLOCK];

        (void)state;
        tar_file(&tar, LAYER_IMAGE_NAME, image, sizeof(image));
        tar_end(&tar);
        assert_int_equal(buf_add(&tar, zeros, sizeof(zeros)), 0);
        padded = run(&tar, LAYER_TAR, SIZE_MAX);
        expect_image(&padded, "padded");
        tar_file(&tar, LAYER_IMAGE_NAME, image, sizeof(image));
        tar_end(&tar);
        second = run(&tar, LAYER_TAR, SIZE_MAX);
        expect_refused(&second, -ENOTUNIQ, "second archive");
        tar.len = 0;
        tar_file(&tar, LAYER_IMAGE_NAME, image, sizeof(image));
        tar_end(&tar);
        assert_int_equal(buf_add(&tar, image, TAR_BLOCK), 0);
        junk = run(&tar, LAYER_TAR, SIZE_MAX);
        expect_refused(&junk, -EBADMSG, "junk");
}

static void test_sizes(void **state)
{
        static const struct {
                const char *name;
                uint64_t size, max;
        } table[] = {
                {LAYER_IMAGE_NAME, LIMIT_IMAGE_SIZE + 1, 0},
                {LAYER_IMAGE_NAME, UINT64_C(1) << 62, 0},
                {LAYER_IMAGE_NAME, 1001, 1000},
                {LAYER_LOADER_NAME, LIMIT_BOOT_LOADER + 1, 0},
                {LAYER_LOADER_NAME, UINT64_C(1) << 62, 0},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
                _cleanup_(buf_done) struct buf tar = BUF_INIT(ROOM);
                _cleanup_(outcome_done) struct outcome o = {.r = 0};
                struct stream_data s;

                tar_header(&tar, table[i].name, '0', table[i].size, NULL);
                s = stream_data_make(tar.data, tar.len, SIZE_MAX);
                o = run_stream(&s, LAYER_TAR,
                               (struct layer_wish){.loader = true, .max_image = table[i].max});
                expect_refused(&o, -E2BIG, table[i].name);
        }
}

/* Negative and absurd sizes of members that nobody wants. */
static void test_sizes_of_others(void **state)
{
        static const uint64_t sizes[] = {UINT64_MAX, UINT64_C(1) << 63, (UINT64_C(1) << 63) - 1};

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
                _cleanup_(buf_done) struct buf tar = BUF_INIT(ROOM);
                _cleanup_(outcome_done) struct outcome o = {.r = 0};

                tar_header(&tar, "other", '0', sizes[i], NULL);
                tar_file(&tar, LAYER_IMAGE_NAME, image, sizeof(image));
                tar_end(&tar);
                o = run(&tar, LAYER_TAR, SIZE_MAX);
                expect_refused(&o, -EBADMSG, "other");
        }
}

/* Every begin of a layer is an error, but those that lack only padding behind the end mark. */
static void test_truncated(void **state)
{
        _cleanup_(buf_done) struct buf tar = BUF_INIT(ROOM);
        size_t members;

        (void)state;
        tar_file(&tar, "EFI/a", image, 700);
        tar_file(&tar, LAYER_IMAGE_NAME, image, 1500);
        tar_file(&tar, LAYER_LOADER_NAME, loader, 10);
        members = tar.len;
        tar_end(&tar);
        for (enum layer_format f = LAYER_TAR; f <= LAYER_TAR_ZSTD; f++) {
                _cleanup_(buf_done) struct buf blob = BUF_INIT(ROOM);

                pack(&blob, &tar, f);
                for (size_t n = 0; n < blob.len; n++) {
                        struct stream_data s = stream_data_make(blob.data, n, SIZE_MAX);
                        _cleanup_(outcome_done) struct outcome o =
                                run_stream(&s, f, (struct layer_wish){.loader = true});

                        if (f == LAYER_TAR && n == members + TAR_BLOCK)
                                assert_int_equal(o.r, 0);
                        else
                                expect_refused(&o, -EBADMSG, "cut");
                }
        }
}

/* The content is covered by the digest of the blob; what the unpacker steers by is checked here. */
static void test_damaged(void **state)
{
        (void)state;
        for (enum layer_format f = LAYER_TAR; f <= LAYER_TAR_ZSTD; f++) {
                _cleanup_(buf_done) struct buf tar = BUF_INIT(ROOM), blob = BUF_INIT(ROOM);
                _cleanup_(outcome_done) struct outcome o = {.r = 0};

                tar_file(&tar, LAYER_IMAGE_NAME, image, sizeof(image));
                tar_end(&tar);
                tar.data[0] ^= 1; /* the header's own sum */
                pack(&blob, &tar, f);
                o = run(&blob, f, SIZE_MAX);
                expect_refused(&o, -EBADMSG, "damaged header");
        }
}

static void test_wrong_format(void **state)
{
        _cleanup_(buf_done) struct buf tar = BUF_INIT(ROOM);

        (void)state;
        tar_file(&tar, LAYER_IMAGE_NAME, image, sizeof(image));
        tar_end(&tar);
        for (enum layer_format is = LAYER_TAR; is <= LAYER_TAR_ZSTD; is++) {
                _cleanup_(buf_done) struct buf blob = BUF_INIT(ROOM), nested = BUF_INIT(ROOM);

                pack(&blob, &tar, is);
                for (enum layer_format f = LAYER_TAR; f <= LAYER_TAR_ZSTD; f++) {
                        _cleanup_(outcome_done) struct outcome o = run(&blob, f, SIZE_MAX);

                        if (f == is) {
                                expect_image(&o, "right format");
                                continue;
                        }
                        expect_refused(&o, -EBADMSG, "wrong format");
                        assert_non_null(strstr(o.e.text, "announced"));
                }
                /* Compressed once more than announced. */
                tar_compress(&nested, ARCHIVE_FILTER_GZIP, blob.data, blob.len);
                {
                        _cleanup_(outcome_done) struct outcome o =
                                run(&nested, LAYER_TAR_GZIP, SIZE_MAX);

                        if (is == LAYER_TAR)
                                expect_image(&o, "once");
                        else
                                expect_refused(&o, -EBADMSG, "nested");
                }
        }
}

static void test_detect(void **state)
{
        (void)state;
        assert_int_equal(layer_format_detect((const uint8_t *)"\x1f\x8b\x08", 3), LAYER_TAR_GZIP);
        assert_int_equal(layer_format_detect((const uint8_t *)"\x28\xb5\x2f\xfd", 4),
                         LAYER_TAR_ZSTD);
        assert_int_equal(layer_format_detect((const uint8_t *)"\x5f\x2a\x4d\x18", 4),
                         LAYER_TAR_ZSTD);
        assert_int_equal(layer_format_detect((const uint8_t *)"MZ\x90", 3), LAYER_RAW);
        assert_int_equal(layer_format_detect((const uint8_t *)"\x1f", 1), LAYER_TAR);
        assert_int_equal(layer_format_detect((const uint8_t *)"", 0), LAYER_TAR);
        assert_int_equal(layer_format_detect((const uint8_t *)"EFI/", 4), LAYER_TAR);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_formats),
                cmocka_unit_test(test_names_and_order),
                cmocka_unit_test(test_loader_not_wished),
                cmocka_unit_test(test_absent_and_hidden),
                cmocka_unit_test(test_empty),
                cmocka_unit_test(test_unfit_members),
                cmocka_unit_test(test_twice),
                cmocka_unit_test(test_behind_the_end),
                cmocka_unit_test(test_sizes),
                cmocka_unit_test(test_sizes_of_others),
                cmocka_unit_test(test_truncated),
                cmocka_unit_test(test_damaged),
                cmocka_unit_test(test_wrong_format),
                cmocka_unit_test(test_detect),
        };

        return cmocka_run_group_tests(tests, layer_set_up, NULL);
}
