/* SPDX-License-Identifier: Apache-2.0 */
#include "upgrade/archive_source.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/limits.h"
#include "tests/unit/layer_run.h"

#define OCI_MANIFEST "application/vnd.oci.image.manifest.v1+json"
#define OCI_INDEX "application/vnd.oci.image.index.v1+json"
#define CONFIG "application/vnd.oci.image.config.v1+json"
#define LAYER "application/vnd.oci.image.layer.v1.tar"
#define LAYOUT "{\"imageLayoutVersion\":\"1.0.0\"}"

static const struct oci_platform amd64 = {"linux", "amd64", ""};

/* A file in memory that counts what is read of it. */
struct ranges_data {
        struct file_ranges ranges;
        const struct buf *file;
        struct stream_data stream;
        size_t given;
        int fail; /* of the next opens */
};

static int ranges_data_open(struct file_ranges *ranges, uint64_t begin, uint64_t end,
                            struct stream **ret, struct error *e)
{
        struct ranges_data *f = (struct ranges_data *)ranges;
        size_t from = begin < f->file->len ? (size_t)begin : f->file->len;
        size_t to = end < f->file->len ? (size_t)end : f->file->len;

        f->given += f->stream.given;
        f->stream = (struct stream_data){.given = 0};
        if (f->fail)
                return error_set(e, ERROR_SOURCE, ECONNRESET, "reset");
        f->stream = stream_data_make(f->file->data ? f->file->data + from : NULL, to - from, 5000);
        *ret = &f->stream.stream;
        return 0;
}

static struct ranges_data ranges_make(const struct buf *file)
{
        return (struct ranges_data){.ranges.open = ranges_data_open, .file = file};
}

/* Adds content as a blob; writes its descriptor to ret. */
static void add_blob(struct buf *tar, const char *type, const void *data, size_t n,
                     const char *more, char ret[512])
{
        struct oci_digest d;
        char name[160];

        assert_int_equal(oci_digest_of(data, n, &d), 0);
        (void)snprintf(name, sizeof(name), "blobs/sha256/%s", d.text + 7);
        tar_file(tar, name, data, n);
        (void)snprintf(ret, 512, "{\"mediaType\":\"%s\",\"digest\":\"%s\",\"size\":%zu%s}", type,
                       d.text, n, more);
}

static void add_text(struct buf *tar, const char *name, const char *text)
{
        tar_file(tar, name, text, strlen(text));
}

static void make_layer(struct buf *out, enum layer_format f)
{
        _cleanup_(buf_done) struct buf tar = BUF_INIT(ROOM);

        tar_file(&tar, LAYER_IMAGE_NAME, image, sizeof(image));
        tar_file(&tar, LAYER_LOADER_NAME, loader, sizeof(loader));
        tar_end(&tar);
        pack(out, &tar, f);
}

/* What to make an archive of. */
struct recipe {
        const char *config;   /* of the image */
        const char *platform; /* of the entry in the index, as JSON with a comma in front */
        unsigned nested;      /* indexes between index.json and the manifest */
        unsigned entries;     /* in index.json */
        const char *layout;
        bool damaged; /* a blob that is not what its name says */
};

static void make_oci(struct buf *tar, const struct recipe *r)
{
        _cleanup_(buf_done) struct buf layer = BUF_INIT(ROOM), text = BUF_INIT(ROOM);
        char config[512], lower[512], upper[512], entry[512];

        make_layer(&layer, LAYER_TAR_GZIP);
        add_blob(tar, LAYER, "nothing", 7, "", lower);
        add_blob(tar, LAYER "+gzip", layer.data, layer.len, "", upper);
        add_blob(tar, CONFIG, r->config, strlen(r->config), "", config);
        assert_int_equal(buf_printf(&text,
                                    "{\"schemaVersion\":2,\"config\":%s,\"layers\":[%s,%s],"
                                    "\"annotations\":{\"org.opencontainers.image.version\":\"5\"}}",
                                    config, lower, upper),
                         0);
        add_blob(tar, OCI_MANIFEST, text.data, text.len, r->platform, entry);
        if (r->damaged)
                tar->data[tar->len - TAR_BLOCK] ^= 0x20; /* the last blob: the manifest */
        for (unsigned i = 0; i < r->nested; i++) {
                buf_reset(&text);
                assert_int_equal(
                        buf_printf(&text, "{\"schemaVersion\":2,\"manifests\":[%s]}", entry), 0);
                add_blob(tar, OCI_INDEX, text.data, text.len, r->platform, entry);
        }
        buf_reset(&text);
        assert_int_equal(buf_add_str(&text, "{\"schemaVersion\":2,\"manifests\":["), 0);
        for (unsigned i = 0; i < r->entries; i++)
                assert_int_equal(buf_printf(&text, "%s%s", i > 0 ? "," : "", entry), 0);
        assert_int_equal(buf_add_str(&text, "]}"), 0);
        tar_file(tar, "index.json", text.data, text.len);
        if (r->layout)
                add_text(tar, "oci-layout", r->layout);
        tar_end(tar);
}

/* Opens the archive and looks for the image. */
static int look(struct ranges_data *f, struct archive_store **ret_store, struct local_image **ret,
                struct error *e)
{
        int r = archive_store_open(&f->ranges, ret_store, e);

        return r < 0 ? r : local_image_find(archive_store_get(*ret_store), &amd64, ret, e);
}

static void expect_layer(struct archive_store *s, const struct local_layer *l)
{
        struct oci_checked c = {.hash = NULL};
        struct outcome o = {.image = BUF_INIT(ROOM), .loader = BUF_INIT(ROOM)};
        _cleanup_(layer_free_p) struct layer *layer = NULL;
        const struct layer_wish wish = {.loader = true};

        assert_int_equal(local_image_open_layer(archive_store_get(s), l, &c, &o.e), 0);
        assert_int_equal(layer_open(&c.stream, l->format, &wish, &layer, &o.e), 0);
        read_all(layer, &o);
        o.state = layer_state(layer);
        expect_image(&o, "layer");
        assert_int_equal(layer_loader(layer)->len, sizeof(loader));
        outcome_done(&o);
        oci_checked_done(&c);
}

static void test_oci_archive(void **state)
{
        static const struct recipe table[] = {
                {"{}", "", 0, 1, LAYOUT, false},
                {"{\"os\":\"linux\",\"architecture\":\"amd64\"}",
                 ",\"platform\":{\"os\":\"linux\",\"architecture\":\"amd64\"}", 1, 1, LAYOUT,
                 false},
                {"{}", "", 2, 1, LAYOUT, false},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
                _cleanup_(buf_done) struct buf tar = BUF_INIT(ROOM);
                _cleanup_(archive_store_free_p) struct archive_store *s = NULL;
                _cleanup_(local_image_free_p) struct local_image *m = NULL;
                struct error e = ERROR_INIT;
                struct ranges_data f;

                make_oci(&tar, &table[i]);
                f = ranges_make(&tar);
                if (look(&f, &s, &m, &e) != 0)
                        fail_msg("%zu: %s", i, e.text);
                assert_string_equal(m->facts.version, "5");
                assert_false(m->raw);
                assert_memory_equal(m->manifest, "sha256:", 7);
                assert_int_equal(m->n_layers, 2);
                assert_int_equal(m->layers[0].size, 7);
                assert_int_equal(m->layers[1].format, LAYER_TAR_GZIP);
                assert_true(m->layers[1].usable && m->layers[1].has_digest);
                /* The layers were passed over. */
                assert_true(f.given + f.stream.given < tar.len);
                expect_layer(s, &m->layers[1]);
        }
}

static void test_refused_oci_archives(void **state)
{
        static const struct {
                struct recipe recipe;
                int r;
        } table[] = {
                {{"{}", "", 0, 1, LAYOUT, true}, -EBADMSG},
                {{"{}", "", 3, 1, LAYOUT, false}, -ELOOP},
                {{"{}", "", 0, 2, LAYOUT, false}, -ENOENT},
                {{"{}", ",\"platform\":{\"os\":\"linux\",\"architecture\":\"amd64\"}", 0, 2, LAYOUT,
                  false},
                 -ENOTUNIQ},
                {{"{}", ",\"platform\":{\"os\":\"linux\",\"architecture\":\"s390x\"}", 0, 1, LAYOUT,
                  false},
                 -ENOENT},
                {{"{\"architecture\":\"arm64\"}", "", 0, 1, LAYOUT, false}, -EXDEV},
                {{"{}", "", 0, 1, "{}", false}, -EBADMSG},
                {{"{}", "", 0, 1, "{\"imageLayoutVersion\":\"2.0.0\"}", false}, -EBADMSG},
                {{"{}", "", 0, 1, NULL, false}, -ENOENT},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
                _cleanup_(buf_done) struct buf tar = BUF_INIT(ROOM);
                _cleanup_(archive_store_free_p) struct archive_store *s = NULL;
                _cleanup_(local_image_free_p) struct local_image *m = NULL;
                struct error e = ERROR_INIT;
                struct ranges_data f;
                int r;

                make_oci(&tar, &table[i].recipe);
                f = ranges_make(&tar);
                r = look(&f, &s, &m, &e);
                if (r != table[i].r)
                        fail_msg("%zu: %d %s", i, r, e.text);
                assert_int_equal(e.class, ERROR_REFUSED);
                assert_int_equal(e.code, -r);
        }
}

/* A blob that changes after its size was read: the digest is of the whole. */
static void test_damaged_layer(void **state)
{
        static const struct recipe recipe = {"{}", "", 0, 1, LAYOUT, false};
        _cleanup_(buf_done) struct buf tar = BUF_INIT(ROOM);
        _cleanup_(archive_store_free_p) struct archive_store *s = NULL;
        _cleanup_(local_image_free_p) struct local_image *m = NULL;
        struct oci_checked c = {.hash = NULL};
        struct error e = ERROR_INIT;
        struct ranges_data f;
        uint8_t chunk[4096];
        ssize_t n;

        (void)state;
        make_oci(&tar, &recipe);
        f = ranges_make(&tar);
        assert_int_equal(look(&f, &s, &m, &e), 0);
        tar.data[4 * TAR_BLOCK] ^= 1;
        assert_int_equal(local_image_open_layer(archive_store_get(s), &m->layers[1], &c, &e), 0);
        while ((n = stream_read(&c.stream, chunk, sizeof(chunk), &e)) > 0)
                ;
        assert_int_equal(n, -EBADMSG);
        oci_checked_done(&c);
        m->layers[1].size++;
        assert_int_equal(local_image_open_layer(archive_store_get(s), &m->layers[1], &c, &e),
                         -EBADMSG);
}

#define DOCKER(layers) "[{\"Config\":\"abc.json\",\"RepoTags\":[\"x:1\"],\"Layers\":[" layers "]}]"

/* A member with holes, whose bytes do not lie one behind the other: old GNU form, no data. */
static void tar_sparse(struct buf *tar, const char *name)
{
        size_t at = tar->len;
        unsigned sum = 0;
        char text[16];

        tar_header(tar, name, 'S', 0, NULL);
        memcpy(tar->data + at + 257, "ustar  ", 8);
        memcpy(tar->data + at + 386, "00000001000", 12); /* offset and length of the only piece */
        memcpy(tar->data + at + 398, "00000000000", 12);
        memcpy(tar->data + at + 483, "00000001000", 12); /* real size */
        memset(tar->data + at + 148, ' ', 8);
        for (size_t i = 0; i < TAR_BLOCK; i++)
                sum += tar->data[at + i];
        (void)snprintf(text, sizeof(text), "%06o", sum);
        memcpy(tar->data + at + 148, text, 7);
}

static void make_docker(struct buf *tar, const char *manifest)
{
        _cleanup_(buf_done) struct buf layer = BUF_INIT(ROOM), packed = BUF_INIT(ROOM);

        make_layer(&layer, LAYER_TAR);
        make_layer(&packed, LAYER_TAR_GZIP);
        tar_header(tar, "one/", '5', 0, NULL);
        tar_file(tar, "one/layer.tar", layer.data, layer.len);
        tar_file(tar, "./two/layer.tar", packed.data, packed.len);
        tar_header(tar, "three/layer.tar", '2', 0, "../two/layer.tar");
        tar_header(tar, "four/layer.tar", '1', 0, "one/layer.tar");
        tar_header(tar, "loop/layer.tar", '2', 0, "layer.tar");
        tar_header(tar, "out/layer.tar", '2', 0, "../../etc/passwd");
        tar_header(tar, "around/layer.tar", '2', 0, "../../one/layer.tar");
        tar_header(tar, "absolute/layer.tar", '2', 0, "/two/layer.tar");
        tar_header(tar, "five/layer.tar", '2', 0, ".././three//layer.tar");
        tar_file(tar, "mz/layer.tar", "MZ", 2);
        tar_sparse(tar, "sparse/layer.tar");
        add_text(tar, "twice/layer.tar", "a");
        add_text(tar, "twice/layer.tar", "b");
        add_text(tar, "abc.json",
                 "{\"os\":\"linux\",\"architecture\":\"amd64\",\"config\":{\"Labels\":"
                 "{\"org.opencontainers.image.version\":\"9\"}}}");
        if (manifest)
                add_text(tar, "manifest.json", manifest);
        tar_end(tar);
}

static void test_docker_archive(void **state)
{
        _cleanup_(buf_done) struct buf tar = BUF_INIT(ROOM);
        _cleanup_(archive_store_free_p) struct archive_store *s = NULL;
        _cleanup_(local_image_free_p) struct local_image *m = NULL;
        struct error e = ERROR_INIT;
        struct ranges_data f;

        (void)state;
        make_docker(&tar, DOCKER("\"one/layer.tar\",\"two/layer.tar\",\"three/layer.tar\","
                                 "\"four/layer.tar\",\"absolute/layer.tar\",\"five/layer.tar\","
                                 "\"mz/layer.tar\""));
        f = ranges_make(&tar);
        if (look(&f, &s, &m, &e) != 0)
                fail_msg("%s", e.text);
        assert_string_equal(m->manifest, "");
        assert_string_equal(m->facts.version, "9");
        assert_int_equal(m->n_layers, 7);
        /* Layers of Docker are tars, whatever they begin with. */
        assert_int_equal(m->layers[6].format, LAYER_TAR);
        for (unsigned i = 0; i < 6; i++) {
                assert_int_equal(m->layers[i].format,
                                 i == 0 || i == 3 ? LAYER_TAR : LAYER_TAR_GZIP);
                assert_false(m->layers[i].has_digest);
                assert_true(m->layers[i].usable);
                expect_layer(s, &m->layers[i]);
        }
}

static void test_refused_docker_archives(void **state)
{
        static const struct {
                const char *manifest;
                int r;
        } table[] = {
                {NULL, -ENOENT},
                {"", -EBADMSG},
                {"{}", -EBADMSG},
                {"[]", -ENOTUNIQ},
                {"[{},{}]", -ENOTUNIQ},
                {"[7]", -EBADMSG},
                {"[{}]", -EBADMSG},
                {"[{\"Config\":\"none.json\",\"Layers\":[\"one/layer.tar\"]}]", -ENOENT},
                {"[{\"Config\":\"abc.json\"}]", -EBADMSG},
                {DOCKER(""), -EBADMSG},
                {DOCKER("7"), -EBADMSG},
                {DOCKER("\"one\""), -ENOENT},
                {DOCKER("\"../one/layer.tar\""), -ENOENT},
                {DOCKER("\"loop/layer.tar\""), -ELOOP},
                {DOCKER("\"out/layer.tar\""), -ENOENT},
                {DOCKER("\"around/layer.tar\""), -ENOENT},
                {DOCKER("\"twice/layer.tar\""), -ENOTUNIQ},
                {DOCKER("\"sparse/layer.tar\""), -ENOENT},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
                _cleanup_(buf_done) struct buf tar = BUF_INIT(ROOM);
                _cleanup_(archive_store_free_p) struct archive_store *s = NULL;
                _cleanup_(local_image_free_p) struct local_image *m = NULL;
                struct error e = ERROR_INIT;
                struct ranges_data f;
                int r;

                make_docker(&tar, table[i].manifest);
                f = ranges_make(&tar);
                r = look(&f, &s, &m, &e);
                if (r != table[i].r)
                        fail_msg("%zu: %d %s", i, r, e.text);
                assert_int_equal(e.class, ERROR_REFUSED);
        }
}

/* Everything that is no whole plain tar. */
static void test_refused_tars(void **state)
{
        static const enum layer_format formats[] = {LAYER_TAR_GZIP, LAYER_TAR_ZSTD};
        _cleanup_(buf_done) struct buf tar = BUF_INIT(ROOM);
        struct error e = ERROR_INIT;
        size_t whole;

        (void)state;
        make_docker(&tar, DOCKER("\"one/layer.tar\""));
        for (size_t i = 0; i < ARRAY_SIZE(formats); i++) {
                _cleanup_(buf_done) struct buf blob = BUF_INIT(ROOM);
                struct archive_store *s = NULL;
                struct ranges_data f;

                pack(&blob, &tar, formats[i]);
                f = ranges_make(&blob);
                assert_int_equal(archive_store_open(&f.ranges, &s, &e), -EBADMSG);
                assert_non_null(strstr(e.text, "compressed"));
                assert_true(e.advice[0]);
        }
        /* Cut anywhere but inside the padding at the end. */
        whole = tar.len - (size_t)2 * TAR_BLOCK;
        for (size_t n = 0; n <= whole; n += n < 4096 || n > whole - 4096 ? 64 : 9999) {
                struct archive_store *s = NULL;
                struct buf cut = {.data = tar.data, .len = n};
                struct ranges_data f = ranges_make(&cut);
                int r = archive_store_open(&f.ranges, &s, &e);

                if (r != -EBADMSG)
                        fail_msg("%zu of %zu: %d", n, whole, r);
                assert_int_equal(e.class, ERROR_REFUSED);
        }
}

/* Sizes that lead far behind the end of the file, or around. */
static void test_absurd_sizes(void **state)
{
        static const uint64_t sizes[] = {1 << 20, UINT64_C(1) << 40, (UINT64_C(1) << 63) - 1};

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
                _cleanup_(buf_done) struct buf tar = BUF_INIT(ROOM);
                struct archive_store *s = NULL;
                struct error e = ERROR_INIT;
                struct ranges_data f;

                tar_header(&tar, "index.json", '0', sizes[i], NULL);
                tar_end(&tar);
                f = ranges_make(&tar);
                assert_int_equal(archive_store_open(&f.ranges, &s, &e), -EBADMSG);
        }
}

static void test_many_members(void **state)
{
        (void)state;
        for (unsigned extra = 0; extra < 2; extra++) {
                _cleanup_(buf_done) struct buf tar = BUF_INIT(ROOM);
                _cleanup_(archive_store_free_p) struct archive_store *s = NULL;
                struct error e = ERROR_INIT;
                struct ranges_data f;

                for (unsigned i = 0; i < LIMIT_ARCHIVE_MEMBERS + extra; i++)
                        tar_header(&tar, "x", '0', 0, NULL);
                tar_end(&tar);
                f = ranges_make(&tar);
                assert_int_equal(archive_store_open(&f.ranges, &s, &e), extra ? -E2BIG : 0);
        }
}

static void test_broken_file(void **state)
{
        _cleanup_(buf_done) struct buf tar = BUF_INIT(ROOM);
        _cleanup_(archive_store_free_p) struct archive_store *s = NULL, *never = NULL;
        struct local_image *m = NULL;
        struct error e = ERROR_INIT;
        struct ranges_data f;

        (void)state;
        make_docker(&tar, DOCKER("\"one/layer.tar\""));
        f = ranges_make(&tar);
        assert_int_equal(archive_store_open(&f.ranges, &s, &e), 0);
        f.fail = 1;
        assert_int_equal(local_image_find(archive_store_get(s), &amd64, &m, &e), -ECONNRESET);
        assert_int_equal(e.class, ERROR_SOURCE);
        assert_int_equal(archive_store_open(&f.ranges, &never, &e), -ECONNRESET);
        assert_int_equal(e.class, ERROR_SOURCE);
        assert_string_equal(e.text, "reset");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_oci_archive),
                cmocka_unit_test(test_refused_oci_archives),
                cmocka_unit_test(test_damaged_layer),
                cmocka_unit_test(test_docker_archive),
                cmocka_unit_test(test_refused_docker_archives),
                cmocka_unit_test(test_refused_tars),
                cmocka_unit_test(test_absurd_sizes),
                cmocka_unit_test(test_many_members),
                cmocka_unit_test(test_broken_file),
        };

        return cmocka_run_group_tests(tests, layer_set_up, NULL);
}
