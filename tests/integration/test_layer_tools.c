/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Layers and archives as tar, gzip, zstd and skopeo write them, read where they are read in
 * earnest: in the sandbox, where libraries find no file and no locale.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "base/sandbox.h"
#include "base/spawn.h"
#include "tests/unit/layer_run.h"
#include "tests/unit/scratch.h"
#include "upgrade/archive_source.h"

#define NON_ASCII                                                                                  \
        "tree/usr/share/gr\xc3\xbc\xc3\x9f"                                                        \
        "e"
#define OCI "application/vnd.oci.image."

static const struct env env = ENV_INIT;
static struct scratch dir;

/* Fails with what the tool said. */
static void run_tool(const char *const argv[])
{
        _cleanup_(buf_done) struct buf out = BUF_INIT(8192);
        struct spawn_result result;
        struct error e = ERROR_INIT;

        if (spawn_run(argv, 60, &out, &result, &e) != 0)
                fail_msg("%s: %s", argv[0], e.text);
        if (result.status != 0)
                fail_msg("%s: status %d: %s", argv[0], result.status, buf_str(&out));
}

static const char *path(const char *name)
{
        static char paths[4][160];
        static unsigned next;
        char *p = paths[next++ % ARRAY_SIZE(paths)];

        (void)snprintf(p, sizeof(paths[0]), "%s/%s", dir.path, name);
        return p;
}

/* A tree with all that a root file system has: names beyond ASCII, long ones, links, holes. */
static void make_tree(void)
{
        char name[256] = "tree/usr/share/";
        size_t n = strlen(name);

        memset(name + n, 'n', 200);
        assert_int_equal(file_make_dirs(dir.fd, "tree/EFI/kairos", 0755), 0);
        assert_int_equal(file_make_dirs(dir.fd, "tree/EFI/BOOT", 0755), 0);
        assert_int_equal(file_make_dirs(dir.fd, "tree/usr/share", 0755), 0);
        scratch_put(&dir, "tree/EFI/kairos/norole.efi", image, sizeof(image));
        scratch_put(&dir, "tree/EFI/BOOT/BOOTX64.EFI", loader, sizeof(loader));
        scratch_put_text(&dir, NON_ASCII, "x");
        scratch_put_text(&dir, name, "x");
        assert_int_equal(symlinkat("/etc/passwd", dir.fd, "tree/usr/link"), 0);
        assert_int_equal(linkat(dir.fd, NON_ASCII, dir.fd, "tree/usr/second", 0), 0);
        assert_int_equal(mkfifoat(dir.fd, "tree/usr/pipe", 0600), 0);
        scratch_put_text(&dir, "tree/usr/holes", "x");
        assert_int_equal(truncate(path("tree/usr/holes"), 5 << 20), 0);
}

static int set_up(void **state)
{
        (void)layer_set_up(state);
        scratch_make(&dir);
        make_tree();
        return 0;
}

static int tear_down(void **state)
{
        (void)state;
        scratch_clean(&dir);
        return 0;
}

/* --- what runs in the sandbox; the result is its exit status --- */

enum verdict {
        VERDICT_GOOD = 42,
        VERDICT_ERROR,
        VERDICT_OTHER_BYTES,
        VERDICT_NOT_FOUND,
};

static enum verdict read_image(struct stream *blob, enum layer_format format)
{
        const struct layer_wish wish = {.loader = true};
        struct layer *l = NULL;
        struct error e = ERROR_INIT;
        static uint8_t chunk[65536];
        size_t at = 0;
        ssize_t n;

        if (layer_open(blob, format, &wish, &l, &e) < 0)
                return VERDICT_ERROR;
        while ((n = layer_read(l, chunk, sizeof(chunk), &e)) > 0) {
                if ((size_t)n > sizeof(image) - at || memcmp(chunk, image + at, (size_t)n) != 0)
                        return VERDICT_OTHER_BYTES;
                at += (size_t)n;
        }
        if (n < 0)
                return VERDICT_ERROR;
        if (layer_state(l) != LAYER_IMAGE || at != sizeof(image))
                return VERDICT_NOT_FOUND;
        if (layer_loader(l)->len != sizeof(loader) ||
            memcmp(layer_loader(l)->data, loader, sizeof(loader)) != 0)
                return VERDICT_OTHER_BYTES;
        layer_free(l);
        return VERDICT_GOOD;
}

static int child_layer(void *ctx, const int *fds)
{
        struct stream_fd file;

        stream_fd_init(&file, fds[0], 0, UINT64_MAX);
        return (int)read_image(&file.stream, *(const enum layer_format *)ctx);
}

static int child_archive(void *ctx, const int *fds)
{
        struct archive_store *s = NULL;
        struct local_image *m = NULL;
        struct oci_checked checked = {.hash = NULL};
        struct file_ranges_fd file;
        struct error e = ERROR_INIT;

        (void)ctx;
        file_ranges_fd_init(&file, fds[0]);
        if (archive_store_open(&file.ranges, &s, &e) < 0 ||
            local_image_find(archive_store_get(s), oci_platform_here(), &m, &e) < 0 ||
            local_image_open_layer(archive_store_get(s), &m->layers[m->n_layers - 1], &checked,
                                   &e) < 0)
                return VERDICT_ERROR;
        return (int)read_image(&checked.stream, m->layers[m->n_layers - 1].format);
}

static void expect_good(const char *name, sandbox_main reader, enum layer_format format)
{
        _cleanup_close_ int fd = openat(dir.fd, name, O_RDONLY | O_CLOEXEC);
        _cleanup_(sandbox_free_p) struct sandbox *s = NULL;
        const struct sandbox_options options = {.env = &env,
                                                .name = "layer",
                                                .may_miss = SANDBOX_MISSING_IN_CONTAINER,
                                                .fds = &fd,
                                                .n_fds = 1};
        struct error e = ERROR_INIT;
        int status = 0;

        assert_true(fd >= 0);
        if (sandbox_spawn(&options, reader, &format, &s, &e) != 0 ||
            sandbox_wait(s, 60000, &status, &e) != 0)
                fail_msg("%s: %s", name, e.text);
        if (status != VERDICT_GOOD)
                fail_msg("%s: verdict %d", name, status);
}

/* --- the tests --- */

static void test_tar_formats(void **state)
{
        static const char *const formats[] = {"gnu", "oldgnu", "pax", "posix"};

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(formats); i++) {
                const char *const argv[] = {
                        "tar", "-c",         "-S", "--format", formats[i], "-f", path("layer.tar"),
                        "-C",  path("tree"), ".",  NULL};
                const char *const gzip[] = {"gzip", "-kf", path("layer.tar"), NULL};
                const char *const zstd[] = {"zstd", "-qf", "-19", "--long=27", path("layer.tar"),
                                            NULL};

                run_tool(argv);
                run_tool(gzip);
                run_tool(zstd);
                expect_good("layer.tar", child_layer, LAYER_TAR);
                expect_good("layer.tar.gz", child_layer, LAYER_TAR_GZIP);
                expect_good("layer.tar.zst", child_layer, LAYER_TAR_ZSTD);
        }
}

static void put_blob(const char *type, const char *file, const void *data, size_t n, char ret[512])
{
        _cleanup_(buf_done) struct buf content = BUF_INIT(ROOM);
        struct oci_digest d;
        char name[200];

        assert_int_equal(file ? file_read(dir.fd, file, &content) : buf_add(&content, data, n), 0);
        assert_int_equal(oci_digest_of(content.data, content.len, &d), 0);
        (void)snprintf(name, sizeof(name), "layout/blobs/sha256/%s", d.text + strlen("sha256:"));
        scratch_put(&dir, name, content.data, content.len);
        (void)snprintf(ret, 512, "{\"mediaType\":\"" OCI "%s\",\"digest\":\"%s\",\"size\":%zu}",
                       type, d.text, content.len);
}

/* An OCI layout with one layer, for skopeo to copy. */
static void make_layout(void)
{
        static const char config[] =
                "{\"os\":\"linux\",\"architecture\":\"amd64\",\"rootfs\":{\"type\":\"layers\","
                "\"diff_ids\":[\"%s\"]},\"config\":{}}";
        _cleanup_(buf_done) struct buf text = BUF_INIT(8192), tar = BUF_INIT(ROOM);
        const char *const argv[] = {"tar", "-cf", path("layer.tar"), "-C", path("tree"), "EFI",
                                    "usr", NULL};
        const char *const gzip[] = {"gzip", "-nkf", path("layer.tar"), NULL};
        char layer[512], description[512], manifest[512];
        struct oci_digest diff;

        run_tool(argv);
        run_tool(gzip);
        assert_int_equal(file_make_dirs(dir.fd, "layout/blobs/sha256", 0755), 0);
        assert_int_equal(file_read(dir.fd, "layer.tar", &tar), 0);
        assert_int_equal(oci_digest_of(tar.data, tar.len, &diff), 0);
        put_blob("layer.v1.tar+gzip", "layer.tar.gz", NULL, 0, layer);
        assert_int_equal(buf_add_str(&text, ""), 0);
        {
                char words[400];

                (void)snprintf(words, sizeof(words), config, diff.text);
                put_blob("config.v1+json", NULL, words, strlen(words), description);
        }
        assert_int_equal(buf_printf(&text,
                                    "{\"schemaVersion\":2,\"mediaType\":\"" OCI
                                    "manifest.v1+json\",\"config\":%s,\"layers\":[%s]}",
                                    description, layer),
                         0);
        put_blob("manifest.v1+json", NULL, text.data, text.len, manifest);
        buf_reset(&text);
        assert_int_equal(buf_printf(&text, "{\"schemaVersion\":2,\"manifests\":[%s]}", manifest),
                         0);
        scratch_put(&dir, "layout/index.json", text.data, text.len);
        scratch_put_text(&dir, "layout/oci-layout", "{\"imageLayoutVersion\":\"1.0.0\"}");
}

static void test_archives(void **state)
{
        static const struct {
                const char *transport, *file, *more;
        } table[] = {
                {"oci-archive:", "oci.tar", ""},
                {"oci-archive:", "named.tar", ":name:tag"},
                {"docker-archive:", "docker.tar", ""},
                {"docker-archive:", "tagged.tar", ":example.org/name:tag"},
        };
        char from[200], to[200];

        (void)state;
        make_layout();
        (void)snprintf(from, sizeof(from), "oci:%s", path("layout"));
        for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
                const char *const argv[] = {
                        "skopeo", "--insecure-policy", "--tmpdir", dir.path, "copy", "-q", from, to,
                        NULL};

                (void)snprintf(to, sizeof(to), "%s%s%s", table[i].transport, path(table[i].file),
                               table[i].more);
                run_tool(argv);
                expect_good(table[i].file, child_archive, LAYER_RAW);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_tar_formats, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_archives, set_up, tear_down),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
