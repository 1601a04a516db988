/* SPDX-License-Identifier: Apache-2.0 */
/* How layers deal with what carries them: compression, offsets, failing streams, long headers. */
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

static void make_tar(struct buf *tar)
{
        tar_file(tar, "EFI/before", loader, 1000);
        tar_file(tar, LAYER_IMAGE_NAME, image, sizeof(image));
        tar_file(tar, LAYER_LOADER_NAME, loader, sizeof(loader));
        tar_end(tar);
}

static void test_offsets(void **state)
{
        static const size_t offsets[] = {
                1, 511, 512, 65536, 200000, sizeof(image) - 1, sizeof(image)};
        _cleanup_(buf_done) struct buf tar = BUF_INIT(ROOM);

        (void)state;
        make_tar(&tar);
        for (enum layer_format f = LAYER_TAR; f <= LAYER_TAR_ZSTD; f++) {
                _cleanup_(buf_done) struct buf blob = BUF_INIT(ROOM);

                pack(&blob, &tar, f);
                for (size_t i = 0; i < 2 * ARRAY_SIZE(offsets); i++) {
                        size_t offset = offsets[i / 2], left = sizeof(image) - offset;
                        struct stream_data s = stream_data_make(blob.data, blob.len, 3000);
                        _cleanup_(outcome_done) struct outcome o = {.r = 0};
                        bool skips = i % 2;

                        s.stream.skip = skips ? stream_data_skip : NULL;
                        o = run_stream(&s, f,
                                       (struct layer_wish){.loader = true, .offset = offset});
                        assert_int_equal(o.r, 0);
                        assert_int_equal(o.state, LAYER_IMAGE);
                        assert_int_equal(o.image.len, left);
                        if (left > 0)
                                assert_memory_equal(o.image.data, image + offset, left);
                        assert_int_equal(o.loader.len, sizeof(loader));
                        assert_memory_equal(o.loader.data, loader, sizeof(loader));
                        assert_int_equal(o.size, sizeof(image));
                        /* Only what is needed comes over the network, and a part of a piece. */
                        if (skips && f == LAYER_TAR && offset > 6000)
                                assert_true(o.skips == 1 && o.given <= blob.len - offset + 6000);
                        else if (f != LAYER_TAR)
                                assert_int_equal(o.given, blob.len);
                }
        }
}

static void test_offset_behind_the_image(void **state)
{
        _cleanup_(buf_done) struct buf tar = BUF_INIT(ROOM);
        _cleanup_(outcome_done) struct outcome o = {.r = 0}, p = {.r = 0};
        struct stream_data s;

        (void)state;
        make_tar(&tar);
        s = stream_data_make(tar.data, tar.len, SIZE_MAX);
        o = run_stream(&s, LAYER_TAR, (struct layer_wish){.offset = sizeof(image) + 1});
        expect_refused(&o, -ESPIPE, "offset");
        p = run_stream(&s, LAYER_TAR, (struct layer_wish){.offset = LIMIT_IMAGE_SIZE + 1});
        assert_int_equal(p.r, -EINVAL);
        assert_int_equal(p.e.class, ERROR_INTERNAL);
}

static void test_broken_stream(void **state)
{
        static const size_t at[] = {0, 100, 512, 2000, 70000, 250000};
        _cleanup_(buf_done) struct buf tar = BUF_INIT(ROOM);

        (void)state;
        make_tar(&tar);
        for (enum layer_format f = LAYER_RAW; f <= LAYER_TAR_ZSTD; f++) {
                _cleanup_(buf_done) struct buf blob = BUF_INIT(ROOM);

                pack(&blob, &tar, f == LAYER_RAW ? LAYER_TAR : f);
                for (size_t i = 0; i < ARRAY_SIZE(at); i++) {
                        struct stream_data s = stream_data_make(blob.data, blob.len, 100);
                        _cleanup_(outcome_done) struct outcome o = {.r = 0};

                        s.fail_at = at[i];
                        o = run_stream(&s, f, (struct layer_wish){.loader = true});
                        assert_int_equal(o.r, -ECONNRESET);
                        assert_int_equal(o.e.class, ERROR_SOURCE);
                        assert_string_equal(o.e.text, "reset");
                        assert_int_equal(o.state, LAYER_READING);
                }
        }
}

/* The last bytes are awaited even when the archive is complete: they belong to the digest. */
static void test_broken_at_the_end(void **state)
{
        _cleanup_(buf_done) struct buf tar = BUF_INIT(ROOM);

        (void)state;
        make_tar(&tar);
        for (enum layer_format f = LAYER_TAR; f <= LAYER_TAR_ZSTD; f++) {
                _cleanup_(buf_done) struct buf blob = BUF_INIT(ROOM);
                _cleanup_(outcome_done) struct outcome o = {.r = 0};
                struct stream_data s;

                pack(&blob, &tar, f);
                s = stream_data_make(blob.data, blob.len, SIZE_MAX);
                s.fail_at = blob.len;
                o = run_stream(&s, f, (struct layer_wish){.loader = true});
                assert_int_equal(o.r, -ECONNRESET);
        }
}

static void test_raw(void **state)
{
        struct stream_data s = stream_data_make(image, sizeof(image), 777);
        _cleanup_(outcome_done) struct outcome o = {.r = 0}, big = {.r = 0}, part = {.r = 0},
                                               empty = {.r = 0};

        (void)state;
        o = run_stream(&s, LAYER_RAW, (struct layer_wish){.loader = true});
        expect_image(&o, "raw");
        assert_false(o.has_size);
        assert_int_equal(o.loader.len, 0);
        s = stream_data_make(image, sizeof(image), 777);
        big = run_stream(&s, LAYER_RAW, (struct layer_wish){.max_image = sizeof(image) - 1});
        expect_refused(&big, -E2BIG, "raw, too large");
        s = stream_data_make(image + 1000, sizeof(image) - 1000, SIZE_MAX);
        part = run_stream(&s, LAYER_RAW,
                          (struct layer_wish){.offset = 1000, .max_image = sizeof(image)});
        assert_int_equal(part.r, 0);
        assert_int_equal(part.state, LAYER_IMAGE);
        assert_int_equal(part.image.len, sizeof(image) - 1000);
        /* what is there already counts */
        outcome_done(&big);
        s = stream_data_make(image + 1000, sizeof(image) - 1000, SIZE_MAX);
        big = run_stream(&s, LAYER_RAW,
                         (struct layer_wish){.offset = 1000, .max_image = sizeof(image) - 1});
        expect_refused(&big, -E2BIG, "raw, too large with what is there");
        s = stream_data_make(image, 0, SIZE_MAX);
        empty = run_stream(&s, LAYER_RAW, (struct layer_wish){.offset = 0});
        expect_refused(&empty, -EBADMSG, "raw, empty");
}

/* Several gzip members and zstd frames one behind the other are one stream; junk is none. */
static void test_joined_streams(void **state)
{
        static const uint8_t skippable[] = {0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0, 'm', 'e', 't', 'a'};
        _cleanup_(buf_done) struct buf tar = BUF_INIT(ROOM);

        (void)state;
        make_tar(&tar);
        for (enum layer_format f = LAYER_TAR_GZIP; f <= LAYER_TAR_ZSTD; f++) {
                _cleanup_(buf_done) struct buf blob = BUF_INIT(ROOM);
                _cleanup_(outcome_done) struct outcome o = {.r = 0}, junk = {.r = 0};

                if (f == LAYER_TAR_ZSTD)
                        assert_int_equal(buf_add(&blob, skippable, sizeof(skippable)), 0);
                tar_compress(&blob, filter_of(f), tar.data, 100000);
                tar_compress(&blob, filter_of(f), tar.data + 100000, tar.len - 100000);
                if (f == LAYER_TAR_ZSTD)
                        assert_int_equal(buf_add(&blob, skippable, sizeof(skippable)), 0);
                o = run(&blob, f, 1000);
                expect_image(&o, "joined");
                for (size_t n = 1; n < 40; n += 7) {
                        size_t length = blob.len;

                        assert_int_equal(buf_add(&blob, image, n), 0);
                        outcome_done(&junk);
                        junk = run(&blob, f, SIZE_MAX);
                        expect_refused(&junk, -EBADMSG, "junk behind");
                        outcome_done(&junk);
                        junk = run(&blob, f, 1);
                        expect_refused(&junk, -EBADMSG, "junk behind, byte by byte");
                        blob.len = length;
                }
        }
}

/* Zeros compress to nothing: refused before they fill memory or time, wherever they stand. */
static void test_bombs(void **state)
{
        const size_t zeros = (size_t)192 << 20;
        _cleanup_(buf_done) struct buf plain = BUF_INIT(ROOM), end = BUF_INIT(ROOM);
        uint8_t *p;

        (void)state;
        tar_header(&plain, "usr/zeros", '0', zeros, NULL);
        assert_int_equal(buf_reserve(&plain, zeros, &p), 0);
        memset(p, 0, zeros);
        buf_commit(&plain, zeros);
        make_tar(&plain);
        /* The same zeros as padding behind the end. */
        make_tar(&end);
        assert_int_equal(buf_add(&end, p, zeros), 0);
        for (enum layer_format f = LAYER_TAR_GZIP; f <= LAYER_TAR_ZSTD; f++) {
                const struct buf *const tars[] = {&plain, &end};

                for (size_t i = 0; i < ARRAY_SIZE(tars); i++) {
                        _cleanup_(buf_done) struct buf blob = BUF_INIT(ROOM);
                        _cleanup_(outcome_done) struct outcome o = {.r = 0};
                        struct stream_data s;

                        pack(&blob, tars[i], f);
                        s = stream_data_make(blob.data, blob.len, 4096);
                        o = run_stream(&s, f, (struct layer_wish){.loader = true});
                        expect_refused(&o, -E2BIG, "bomb");
                }
        }
        {
                _cleanup_(outcome_done) struct outcome o = run(&plain, LAYER_TAR, SIZE_MAX);

                expect_image(&o, "zeros in a plain tar");
        }
}

/* An image of zeros is a bomb too: its size is bounded by the header, its ratio by this. */
static void test_image_as_bomb(void **state)
{
        const size_t zeros = (size_t)192 << 20;
        _cleanup_(buf_done) struct buf plain = BUF_INIT(ROOM), blob = BUF_INIT(ROOM);
        _cleanup_(outcome_done) struct outcome o = {.r = 0};
        uint8_t *p;

        (void)state;
        tar_header(&plain, LAYER_IMAGE_NAME, '0', zeros, NULL);
        assert_int_equal(buf_reserve(&plain, zeros, &p), 0);
        memset(p, 0, zeros);
        buf_commit(&plain, zeros);
        tar_end(&plain);
        pack(&blob, &plain, LAYER_TAR_ZSTD);
        o = run(&blob, LAYER_TAR_ZSTD, 100);
        expect_refused(&o, -E2BIG, "image as a bomb");
        assert_true(o.image.len < LIMIT_LAYER_SLACK + (32 << 20));
}

/* One attribute of a pax header: "LENGTH key=value\n", the length counts itself. */
static void pax_record(struct buf *out, const char *key, const char *value)
{
        size_t n = strlen(key) + strlen(value) + 3, digits = 1;

        while (n + digits >= 10 && digits < 2)
                digits++;
        if (n + digits >= 100)
                digits = 3;
        assert_int_equal(buf_printf(out, "%zu %s=%s\n", n + digits, key, value), 0);
}

static void test_pax(void **state)
{
        static const struct {
                const char *key, *value;
                bool global;
                int r;
        } table[] = {
                {"path", "./EFI/kairos/norole.efi", false, 0},
                {"path", "EFI/BOOT/\xc3\xa9.efi", false, 1}, /* 1: another member, absent */
                {"linkpath", "x", false, 0},
                {"comment", "made by hand", true, 0},
                {"size", "307277", false, 0},
                {"uname", "J\xc3\xbcrgen", false, 0},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
                _cleanup_(buf_done) struct buf tar = BUF_INIT(ROOM), record = BUF_INIT(ROOM);
                _cleanup_(outcome_done) struct outcome o = {.r = 0};
                bool path = strcmp(table[i].key, "path") == 0;

                pax_record(&record, table[i].key, table[i].value);
                tar_header(&tar, "pax", table[i].global ? 'g' : 'x', record.len, NULL);
                assert_int_equal(buf_add(&tar, record.data, record.len), 0);
                tar_pad(&tar);
                tar_file(&tar, path ? "short" : LAYER_IMAGE_NAME, image, sizeof(image));
                tar_end(&tar);
                o = run(&tar, LAYER_TAR, SIZE_MAX);
                if (table[i].r == 0) {
                        expect_image(&o, table[i].key);
                } else {
                        assert_int_equal(o.r, 0);
                        assert_int_equal(o.state, LAYER_ABSENT);
                }
        }
}

/* Long names of GNU tar, and a name longer than anything. */
static void test_long_names(void **state)
{
        _cleanup_(buf_done) struct buf tar = BUF_INIT(ROOM), big = BUF_INIT(ROOM);
        _cleanup_(outcome_done) struct outcome o = {.r = 0}, huge = {.r = 0};
        char name[5000];

        (void)state;
        memset(name, 'n', sizeof(name));
        tar_header(&tar, "././@LongLink", 'L', sizeof(name), NULL);
        name[sizeof(name) - 1] = '\0';
        assert_int_equal(buf_add(&tar, name, sizeof(name)), 0);
        tar_pad(&tar);
        tar_file(&tar, "nnnn", "x", 1);
        tar_file(&tar, LAYER_IMAGE_NAME, image, sizeof(image));
        tar_end(&tar);
        o = run(&tar, LAYER_TAR, SIZE_MAX);
        expect_image(&o, "long name");
        tar_header(&big, "././@LongLink", 'L', UINT64_C(1) << 40, NULL);
        huge = run(&big, LAYER_TAR, SIZE_MAX);
        expect_refused(&huge, -EBADMSG, "huge name");
}

/* A sparse image: holes are zeros, as when it is unpacked. */
static void test_sparse(void **state)
{
        static uint8_t expanded[400000];
        _cleanup_(buf_done) struct buf tar = BUF_INIT(ROOM);
        struct archive *a = archive_write_new();
        struct archive_entry *entry = archive_entry_new();

        (void)state;
        assert_int_equal(archive_write_set_format_pax(a), ARCHIVE_OK);
        assert_int_equal(archive_write_open(a, &tar, NULL, tar_take, NULL), ARCHIVE_OK);
        archive_entry_set_pathname(entry, LAYER_IMAGE_NAME);
        archive_entry_set_filetype(entry, AE_IFREG);
        archive_entry_set_size(entry, sizeof(expanded));
        archive_entry_sparse_add_entry(entry, 8192, 4096);
        archive_entry_sparse_add_entry(entry, 300000, 1000);
        memcpy(expanded + 8192, image, 4096);
        memcpy(expanded + 300000, image + 5000, 1000);
        assert_int_equal(archive_write_header(a, entry), ARCHIVE_OK);
        assert_true(archive_write_data(a, expanded, sizeof(expanded)) ==
                    (la_ssize_t)sizeof(expanded));
        assert_int_equal(archive_write_close(a), ARCHIVE_OK);
        archive_entry_free(entry);
        assert_int_equal(archive_write_free(a), ARCHIVE_OK);
        assert_true(tar.len < sizeof(expanded) / 2);
        for (size_t offset = 0; offset < sizeof(expanded); offset += 99999) {
                struct stream_data s = stream_data_make(tar.data, tar.len, 1000);
                _cleanup_(outcome_done) struct outcome o = {.r = 0};

                s.stream.skip = stream_data_skip;
                o = run_stream(&s, LAYER_TAR, (struct layer_wish){.offset = offset});
                assert_int_equal(o.r, 0);
                assert_int_equal(o.image.len, sizeof(expanded) - offset);
                assert_memory_equal(o.image.data, expanded + offset, sizeof(expanded) - offset);
                assert_int_equal(o.skips, 0);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_offsets),
                cmocka_unit_test(test_offset_behind_the_image),
                cmocka_unit_test(test_broken_stream),
                cmocka_unit_test(test_broken_at_the_end),
                cmocka_unit_test(test_raw),
                cmocka_unit_test(test_joined_streams),
                cmocka_unit_test(test_bombs),
                cmocka_unit_test(test_image_as_bomb),
                cmocka_unit_test(test_pax),
                cmocka_unit_test(test_long_names),
                cmocka_unit_test(test_sparse),
        };

        return cmocka_run_group_tests(tests, layer_set_up, NULL);
}
