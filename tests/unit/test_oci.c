/* SPDX-License-Identifier: Apache-2.0 */
#include "upgrade/oci.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/limits.h"

#define HEX "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define DIGEST "sha256:" HEX
#define OCI_MANIFEST "application/vnd.oci.image.manifest.v1+json"
#define OCI_INDEX "application/vnd.oci.image.index.v1+json"
#define DOCKER_MANIFEST "application/vnd.docker.distribution.manifest.v2+json"
#define DOCKER_LIST "application/vnd.docker.distribution.manifest.list.v2+json"
#define CONFIG "application/vnd.oci.image.config.v1+json"
#define EMPTY "application/vnd.oci.empty.v1+json"
#define LAYER "application/vnd.oci.image.layer.v1.tar"
#define Q(s) "\"" s "\""
#define BLOB(type, size, more)                                                                     \
        "{\"mediaType\":" Q(type) ",\"digest\":" Q(DIGEST) ",\"size\":" size more "}"
#define TITLE(name) ",\"annotations\":{\"org.opencontainers.image.title\":" Q(name) "}"
#define MANIFEST(type, config, layers, more)                                                       \
        "{\"schemaVersion\":2,\"mediaType\":" Q(type) ",\"config\":" config ",\"layers\":[" layers \
                                                      "]" more "}"
#define PLATFORM(os, architecture, more)                                                           \
        ",\"platform\":{\"os\":" Q(os) ",\"architecture\":" Q(architecture) more "}"
#define VARIANT(v) ",\"variant\":" Q(v)
#define INDEX(entries)                                                                             \
        "{\"schemaVersion\":2,\"mediaType\":" Q(OCI_INDEX) ",\"manifests\":[" entries "]}"

static const struct oci_platform amd64 = {"linux", "amd64", ""};

/* The result of one document. */
struct parsed {
        int r;
        struct error e;
        struct oci_manifest *m;
        struct oci_index *x;
};

static void parsed_done(struct parsed *p)
{
        oci_manifest_free(p->m);
        oci_index_free(p->x);
}

static struct parsed parse_as(const char *text, const char *content_type, enum oci_media expected)
{
        struct parsed p = {.e = ERROR_INIT};

        p.r = oci_document_parse(text, strlen(text), content_type, expected, &p.m, &p.x, &p.e);
        assert_int_equal(p.e.code, -p.r);
        assert_true(p.r == 0 ? !p.m != !p.x : !p.m && !p.x);
        assert_int_equal(p.e.class, p.r == 0 ? ERROR_NONE : ERROR_REFUSED);
        return p;
}

static struct parsed parse(const char *text)
{
        struct parsed p = parse_as(text, NULL, OCI_MEDIA_UNKNOWN);

        if (p.r < 0)
                print_message("%s\n", p.e.text);
        return p;
}

static void test_media_types(void **state)
{
        (void)state;
        assert_int_equal(oci_media_type(OCI_INDEX), OCI_MEDIA_INDEX);
        assert_int_equal(oci_media_type(DOCKER_LIST "; charset=utf-8"), OCI_MEDIA_INDEX);
        assert_int_equal(oci_media_type("Application/VND.oci.image.Manifest.v1+JSON ;x"),
                         OCI_MEDIA_MANIFEST);
        assert_int_equal(oci_media_type(LAYER "+zstd"), OCI_MEDIA_TAR_ZSTD);
        assert_int_equal(oci_media_type("application/vnd.docker.image.rootfs.diff.tar.gzip"),
                         OCI_MEDIA_TAR_GZIP);
        assert_int_equal(oci_media_type(OCI_TYPE_USI), OCI_MEDIA_USI);
        assert_int_equal(oci_media_type(LAYER "+xz"), OCI_MEDIA_UNKNOWN);
        assert_int_equal(oci_media_type("application/json"), OCI_MEDIA_UNKNOWN);
        assert_int_equal(oci_media_type(""), OCI_MEDIA_UNKNOWN);
        assert_int_equal(oci_media_type(NULL), OCI_MEDIA_UNKNOWN);
}

static void test_ordinary_image(void **state)
{
        _cleanup_(parsed_done) struct parsed p = parse(MANIFEST(
                OCI_MANIFEST, BLOB(CONFIG, "1469", ""),
                BLOB(LAYER, "10", "") "," BLOB(LAYER "+gzip", "11", "") "," BLOB(
                        LAYER "+zstd", "12", "") "," BLOB("application/x-other", "13", ""),
                ",\"annotations\":{\"org.opencontainers.image.version\":\"v1.2\",\"x\":\"y\"}"));

        (void)state;
        assert_int_equal(p.r, 0);
        assert_true(p.m->has_config);
        assert_false(p.m->raw);
        assert_int_equal(p.m->config.size, 1469);
        assert_int_equal(p.m->n_layers, 4);
        assert_int_equal(p.m->layers[0].format, LAYER_TAR);
        assert_int_equal(p.m->layers[1].format, LAYER_TAR_GZIP);
        assert_int_equal(p.m->layers[2].format, LAYER_TAR_ZSTD);
        assert_true(p.m->layers[2].usable);
        assert_false(p.m->layers[3].usable);
        assert_int_equal(p.m->layers[2].blob.size, 12);
        assert_string_equal(p.m->layers[2].blob.digest.text, DIGEST);
        assert_string_equal(p.m->layers[2].blob.type, LAYER "+zstd");
        assert_string_equal(p.m->facts.version, "v1.2");
        assert_false(p.m->facts.has_sha256);
        assert_int_equal(p.m->facts.size, 0);
}

static void test_docker_image(void **state)
{
        _cleanup_(parsed_done) struct parsed p = parse_as(
                MANIFEST(DOCKER_MANIFEST,
                         BLOB("application/vnd.docker.container.image.v1+json", "1", ""),
                         BLOB("application/vnd.docker.image.rootfs.diff.tar.gzip", "5", ""), ""),
                DOCKER_MANIFEST, OCI_MEDIA_MANIFEST);

        (void)state;
        assert_int_equal(p.r, 0);
        assert_true(p.m->has_config);
        assert_int_equal(p.m->layers[0].format, LAYER_TAR_GZIP);
}

static void test_artifacts(void **state)
{
        static const struct {
                const char *text;
                bool raw;
                int r;
        } table[] = {
                {MANIFEST(OCI_MANIFEST, BLOB(EMPTY, "2", ""), BLOB(OCI_TYPE_USI, "77", ""), ""),
                 true, 0},
                {MANIFEST(OCI_MANIFEST, BLOB(CONFIG, "2", ""), BLOB(OCI_TYPE_USI, "77", ""), ""),
                 true, 0},
                {MANIFEST(OCI_MANIFEST, BLOB(EMPTY, "2", ""), BLOB("application/x-pe", "77", ""),
                          ",\"artifactType\":" Q(OCI_TYPE_USI)),
                 true, 0},
                {MANIFEST(OCI_MANIFEST, BLOB(OCI_TYPE_USI, "2", ""),
                          BLOB("application/octet-stream", "77", ""), ""),
                 true, 0},
                {MANIFEST(OCI_MANIFEST, BLOB(EMPTY, "2", ""),
                          BLOB("application/octet-stream", "77", TITLE("demo.EFI")), ""),
                 true, 0},
                {MANIFEST(OCI_MANIFEST, BLOB(EMPTY, "2", ""), BLOB(LAYER, "77", TITLE("demo.efi")),
                          ""),
                 true, 0},
                /* a layer of an ordinary image, whatever its title */
                {MANIFEST(OCI_MANIFEST, BLOB(CONFIG, "2", ""), BLOB(LAYER, "77", TITLE("x.efi")),
                          ""),
                 false, 0},
                {MANIFEST(OCI_MANIFEST, BLOB(EMPTY, "2", ""),
                          BLOB(LAYER "+gzip", "77", TITLE("x.efi")),
                          ",\"artifactType\":" Q(OCI_TYPE_USI)),
                 false, 0},
                {MANIFEST(OCI_MANIFEST, BLOB(EMPTY, "2", ""),
                          BLOB("application/octet-stream", "77", TITLE(".efi")), ""),
                 false, -EBADMSG},
                {MANIFEST(OCI_MANIFEST, BLOB(EMPTY, "2", ""),
                          BLOB("application/octet-stream", "77", TITLE("demo.tar")), ""),
                 false, -EBADMSG},
                {MANIFEST(OCI_MANIFEST, BLOB(EMPTY, "2", ""),
                          BLOB(OCI_TYPE_USI, "77", "") "," BLOB(OCI_TYPE_USI, "77", ""), ""),
                 false, -EBADMSG},
                {MANIFEST(OCI_MANIFEST, BLOB(EMPTY, "2", ""),
                          BLOB(LAYER, "77", "") "," BLOB(OCI_TYPE_USI, "77", ""), ""),
                 false, -EBADMSG},
                {MANIFEST(OCI_MANIFEST, BLOB(EMPTY, "2", ""), BLOB(OCI_TYPE_USI, "0", ""), ""),
                 false, -E2BIG},
                {MANIFEST(OCI_MANIFEST, BLOB(EMPTY, "2", ""), BLOB(OCI_TYPE_USI, "4294967295", ""),
                          ""),
                 true, 0},
                {MANIFEST(OCI_MANIFEST, BLOB(EMPTY, "2", ""), BLOB(OCI_TYPE_USI, "4294967296", ""),
                          ""),
                 false, -E2BIG},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
                _cleanup_(parsed_done) struct parsed p =
                        parse_as(table[i].text, NULL, OCI_MEDIA_MANIFEST);

                if (p.r != table[i].r)
                        fail_msg("%zu: %d %s", i, p.r, p.e.text);
                if (p.r < 0)
                        continue;
                assert_int_equal(p.m->raw, table[i].raw);
                assert_true(p.m->layers[0].usable);
                if (!p.m->raw)
                        continue;
                assert_int_equal(p.m->layers[0].format, LAYER_RAW);
                assert_true(p.m->facts.has_sha256);
                assert_memory_equal(p.m->facts.sha256, p.m->layers[0].blob.digest.bytes,
                                    SHA256_SIZE);
                assert_int_equal(p.m->facts.size, p.m->layers[0].blob.size);
        }
}

#define ANNOTATED(annotations)                                                                     \
        MANIFEST(OCI_MANIFEST, BLOB(CONFIG, "2", ""), BLOB(LAYER, "77", ""),                       \
                 ",\"annotations\":" annotations)

static void test_annotations(void **state)
{
        static const struct {
                const char *text, *version;
                bool has_sha256;
                uint64_t size;
                int r;
        } table[] = {
                {ANNOTATED("{}"), "", false, 0, 0},
                {ANNOTATED("null"), "", false, 0, 0},
                {ANNOTATED("{\"io.tb-agent.image.sha256\":" Q(HEX) "}"), "", true, 0, 0},
                {ANNOTATED("{\"io.tb-agent.image.size\":\"155454864\"}"), "", false, 155454864, 0},
                {ANNOTATED("{\"org.opencontainers.image.version\":\"a\\nb\"}"), "", false, 0, 0},
                {ANNOTATED("{\"org.opencontainers.image.version\":\"\\u001b[2J\"}"), "", false, 0,
                 0},
                {ANNOTATED("{\"org.opencontainers.image.version\":7}"), "", false, 0, -EBADMSG},
                {ANNOTATED("[]"), "", false, 0, -EBADMSG},
                {ANNOTATED("{\"io.tb-agent.image.sha256\":" Q(DIGEST) "}"), "", false, 0, -EBADMSG},
                {ANNOTATED("{\"io.tb-agent.image.sha256\":\"0123\"}"), "", false, 0, -EBADMSG},
                {ANNOTATED("{\"io.tb-agent.image.size\":\"0\"}"), "", false, 0, -EBADMSG},
                {ANNOTATED("{\"io.tb-agent.image.size\":\"4294967296\"}"), "", false, 0, -EBADMSG},
                {ANNOTATED("{\"io.tb-agent.image.size\":\"-1\"}"), "", false, 0, -EBADMSG},
                {ANNOTATED("{\"io.tb-agent.image.size\":1}"), "", false, 0, -EBADMSG},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
                _cleanup_(parsed_done) struct parsed p =
                        parse_as(table[i].text, NULL, OCI_MEDIA_UNKNOWN);

                if (p.r != table[i].r)
                        fail_msg("%zu: %d %s", i, p.r, p.e.text);
                if (p.r < 0)
                        continue;
                assert_string_equal(p.m->facts.version, table[i].version);
                assert_int_equal(p.m->facts.has_sha256, table[i].has_sha256);
                assert_int_equal(p.m->facts.size, table[i].size);
        }
}

static void test_kind(void **state)
{
        static const char manifest[] =
                MANIFEST(OCI_MANIFEST, BLOB(CONFIG, "2", ""), BLOB(LAYER, "77", ""), "");
        static const char plain[] = "{\"schemaVersion\":2,\"config\":" BLOB(
                CONFIG, "2", "") ",\"layers\":[" BLOB(LAYER, "77", "") "]}";
        static const char index[] = INDEX(BLOB(OCI_MANIFEST, "2", ""));
        static const struct {
                const char *text, *content_type;
                enum oci_media expected;
                int r;
        } table[] = {
                {manifest, OCI_MANIFEST, OCI_MEDIA_MANIFEST, 0},
                {manifest, "application/json", OCI_MEDIA_MANIFEST, 0},
                {manifest, "application/octet-stream", OCI_MEDIA_UNKNOWN, 0},
                {manifest, "Application/vnd.OCI.image.manifest.v1+json; charset=utf-8",
                 OCI_MEDIA_UNKNOWN, 0},
                {manifest, OCI_MANIFEST, OCI_MEDIA_INDEX, -EBADMSG},
                {manifest, OCI_INDEX, OCI_MEDIA_UNKNOWN, -EBADMSG},
                {manifest, DOCKER_MANIFEST, OCI_MEDIA_UNKNOWN, -EBADMSG},
                {manifest, OCI_TYPE_USI, OCI_MEDIA_UNKNOWN, -EBADMSG},
                {manifest, "text/html; charset=utf-8", OCI_MEDIA_UNKNOWN, -EBADMSG},
                {plain, DOCKER_MANIFEST, OCI_MEDIA_MANIFEST, 0},
                {plain, NULL, OCI_MEDIA_UNKNOWN, 0},
                {plain, DOCKER_LIST, OCI_MEDIA_UNKNOWN, -EBADMSG},
                {index, OCI_INDEX, OCI_MEDIA_INDEX, 0},
                {index, NULL, OCI_MEDIA_MANIFEST, -EBADMSG},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
                _cleanup_(parsed_done) struct parsed p =
                        parse_as(table[i].text, table[i].content_type, table[i].expected);

                if (p.r != table[i].r)
                        fail_msg("%zu: %d %s", i, p.r, p.e.text);
        }
}

static void test_malformed(void **state)
{
        static const struct {
                const char *text;
                int r;
        } table[] = {
                {"", -EBADMSG},
                {"<html>", -EBADMSG},
                {"[]", -EBADMSG},
                {"{}", -EBADMSG},
                {"{\"schemaVersion\":2}", -EBADMSG},
                {"{\"schemaVersion\":3,\"manifests\":[]}", -EBADMSG},
                {"{\"schemaVersion\":\"2\",\"manifests\":[]}", -EBADMSG},
                {"{\"schemaVersion\":1,\"fsLayers\":[],\"signatures\":[]}", -ENOTSUP},
                {"{\"schemaVersion\":2,\"manifests\":[]}", -EBADMSG},
                {"{\"schemaVersion\":2,\"manifests\":{}}", -EBADMSG},
                {"{\"schemaVersion\":2,\"manifests\":[1]}", -EBADMSG},
                {"{\"schemaVersion\":2,\"mediaType\":7,\"manifests\":[" BLOB(OCI_MANIFEST, "2",
                                                                             "") "]}",
                 -EBADMSG},
                {MANIFEST(OCI_INDEX, BLOB(CONFIG, "2", ""), BLOB(LAYER, "77", ""), ""), -EBADMSG},
                {MANIFEST("x/y", BLOB(CONFIG, "2", ""), BLOB(LAYER, "77", ""), ""), -EBADMSG},
                {MANIFEST(OCI_MANIFEST, BLOB(CONFIG, "2", ""), BLOB(LAYER, "77", ""),
                          ",\"manifests\":[" BLOB(OCI_MANIFEST, "2", "") "]"),
                 -EBADMSG},
                {MANIFEST(OCI_MANIFEST, BLOB(CONFIG, "2", ""), BLOB(LAYER, "77", ""),
                          ",\"schemaVersion\":2"),
                 -EBADMSG},
                {MANIFEST(OCI_MANIFEST, BLOB(CONFIG, "2", ""), "", ""), -EBADMSG},
                {MANIFEST(OCI_MANIFEST, "{}", BLOB(LAYER, "77", ""), ""), -EBADMSG},
                {MANIFEST(OCI_MANIFEST, "null", BLOB(LAYER, "77", ""), ""), -EBADMSG},
                {MANIFEST(OCI_MANIFEST, BLOB(CONFIG, "4194305", ""), BLOB(LAYER, "77", ""), ""),
                 -EBADMSG},
                {MANIFEST(OCI_MANIFEST, BLOB(CONFIG, "2", ""), BLOB(LAYER, "-1", ""), ""),
                 -EBADMSG},
                {MANIFEST(OCI_MANIFEST, BLOB(CONFIG, "2", ""), BLOB(LAYER, "1.0", ""), ""),
                 -EBADMSG},
                {MANIFEST(OCI_MANIFEST, BLOB(CONFIG, "2", ""), BLOB(LAYER, "1e3", ""), ""),
                 -EBADMSG},
                {MANIFEST(OCI_MANIFEST, BLOB(CONFIG, "2", ""), BLOB(LAYER, "\"1\"", ""), ""),
                 -EBADMSG},
                {MANIFEST(OCI_MANIFEST, BLOB(CONFIG, "2", ""), BLOB(LAYER, "17179869185", ""), ""),
                 -EBADMSG},
                {MANIFEST(OCI_MANIFEST, BLOB(CONFIG, "2", ""),
                          BLOB(LAYER, "99999999999999999999999", ""), ""),
                 -EBADMSG},
                {MANIFEST(OCI_MANIFEST, BLOB(CONFIG, "2", ""),
                          BLOB(LAYER, "1", "") "," BLOB("", "1", ""), ""),
                 -EBADMSG},
                {"{\"schemaVersion\":2,\"config\":" BLOB(CONFIG, "2", "") ",\"layers\":[" BLOB(
                         LAYER, "77", "") "],\"manifests\":[" BLOB(OCI_MANIFEST, "2", "") "]}",
                 -EBADMSG},
                {"{\"schemaVersion\":2,\"config\":" BLOB(CONFIG, "2", "") ",\"manifests\":[" BLOB(
                         OCI_MANIFEST, "2", "") "]}",
                 -EBADMSG},
                {MANIFEST(OCI_MANIFEST, BLOB(CONFIG, "2", ""),
                          "{\"mediaType\":" Q(LAYER) ",\"size\":1,\"digest\":\"sha256:00\"}", ""),
                 -EBADMSG},
                {MANIFEST(OCI_MANIFEST, BLOB(CONFIG, "2", ""),
                          "{\"mediaType\":" Q(LAYER) ",\"size\":1,\"digest\":\"md5:" HEX "\"}", ""),
                 -EBADMSG},
                {MANIFEST(OCI_MANIFEST, BLOB(CONFIG, "2", ""),
                          "{\"mediaType\":" Q(LAYER) ",\"digest\":" Q(DIGEST) "}", ""),
                 -EBADMSG},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
                _cleanup_(parsed_done) struct parsed p =
                        parse_as(table[i].text, NULL, OCI_MEDIA_UNKNOWN);

                if (p.r != table[i].r)
                        fail_msg("%zu: %d %s", i, p.r, p.e.text);
        }
}

/* Lists at and above their limit. */
static void test_many(void **state)
{
        (void)state;
        for (unsigned extra = 0; extra < 2; extra++) {
                _cleanup_(buf_done) struct buf layers = BUF_INIT(1 << 20),
                                               entries = BUF_INIT(1 << 20);
                _cleanup_(parsed_done) struct parsed m = {.r = 0}, x = {.r = 0};

                assert_int_equal(buf_add_str(&layers, "{\"schemaVersion\":2,\"config\":" BLOB(
                                                              CONFIG, "2", "") ",\"layers\":["),
                                 0);
                assert_int_equal(buf_add_str(&entries, "{\"schemaVersion\":2,\"manifests\":["), 0);
                for (unsigned i = 0; i < LIMIT_OCI_LAYERS + extra; i++)
                        assert_int_equal(buf_printf(&layers, "%s%s", i > 0 ? "," : "",
                                                    BLOB(LAYER, "77", "")),
                                         0);
                for (unsigned i = 0; i < LIMIT_OCI_ENTRIES + extra; i++)
                        assert_int_equal(buf_printf(&entries, "%s%s", i > 0 ? "," : "",
                                                    BLOB(OCI_MANIFEST, "77", "")),
                                         0);
                assert_int_equal(buf_add_str(&layers, "]}"), 0);
                assert_int_equal(buf_add_str(&entries, "]}"), 0);
                m = parse_as(buf_str(&layers), NULL, OCI_MEDIA_MANIFEST);
                x = parse_as(buf_str(&entries), NULL, OCI_MEDIA_INDEX);
                assert_int_equal(m.r, extra ? -E2BIG : 0);
                assert_int_equal(x.r, extra ? -E2BIG : 0);
        }
}

static void test_document_size(void **state)
{
        _cleanup_(buf_done) struct buf text = BUF_INIT(LIMIT_OCI_DOCUMENT + 2);
        _cleanup_(parsed_done) struct parsed p = {.r = 0}, q = {.r = 0};
        uint8_t *rest;

        (void)state;
        assert_int_equal(buf_add_str(&text, INDEX(BLOB(OCI_MANIFEST, "2", ""))), 0);
        assert_int_equal(buf_reserve(&text, LIMIT_OCI_DOCUMENT - text.len, &rest), 0);
        memset(rest, ' ', LIMIT_OCI_DOCUMENT - text.len);
        buf_commit(&text, LIMIT_OCI_DOCUMENT - text.len);
        p = parse_as(buf_str(&text), NULL, OCI_MEDIA_UNKNOWN);
        assert_int_equal(p.r, 0);
        assert_int_equal(buf_add_str(&text, " "), 0);
        q = parse_as(buf_str(&text), NULL, OCI_MEDIA_UNKNOWN);
        assert_int_equal(q.r, -E2BIG);
}

#define ENTRY(size, platform) BLOB(OCI_MANIFEST, size, platform)

static void test_pick(void **state)
{
        static const struct {
                const char *text;
                struct oci_platform want;
                uint64_t size; /* of the entry: tells which; 0 = none */
        } table[] = {
                {INDEX(ENTRY("1", PLATFORM("linux", "arm64", "")) "," ENTRY(
                         "2", PLATFORM("linux", "amd64", ""))),
                 {"linux", "amd64", ""},
                 2},
                {INDEX(ENTRY("1", PLATFORM("linux", "arm64", VARIANT("v8")))),
                 {"linux", "arm64", ""},
                 1},
                {INDEX(ENTRY("1", PLATFORM("linux", "arm", VARIANT("v6"))) "," ENTRY(
                         "2", PLATFORM("linux", "arm", VARIANT("v7")))),
                 {"linux", "arm", "v7"},
                 2},
                /* what only newer machines can run is not for all */
                {INDEX(ENTRY("1", PLATFORM("linux", "amd64", VARIANT("v3")))),
                 {"linux", "amd64", ""},
                 0},
                {INDEX(ENTRY("1", PLATFORM("linux", "amd64", VARIANT("v3"))) "," ENTRY(
                         "2", PLATFORM("linux", "amd64",
                                       VARIANT("v1"))) "," ENTRY("3",
                                                                 PLATFORM("linux", "amd64", ""))),
                 {"linux", "amd64", ""},
                 3},
                /* the first of equals; attestations are for no platform */
                {INDEX(ENTRY("1", PLATFORM("unknown", "unknown", "")) "," ENTRY(
                         "2", PLATFORM("linux", "amd64",
                                       "")) "," ENTRY("3", PLATFORM("linux", "amd64", ""))),
                 {"linux", "amd64", ""},
                 2},
                {INDEX(ENTRY("1", PLATFORM("windows", "amd64", ""))), {"linux", "amd64", ""}, 0},
                {INDEX(ENTRY("1", PLATFORM("Linux", "amd64", ""))), {"linux", "amd64", ""}, 0},
                {INDEX(ENTRY("1", "")), {"linux", "amd64", ""}, 1},
                {INDEX(ENTRY("1", ",\"platform\":null")), {"linux", "amd64", ""}, 1},
                {INDEX(ENTRY("1", "") "," ENTRY("2", "")), {"linux", "amd64", ""}, 0},
                {INDEX(ENTRY("1", "") "," ENTRY("2", PLATFORM("linux", "amd64", ""))),
                 {"linux", "amd64", ""},
                 2},
                {INDEX(BLOB(OCI_INDEX, "9", PLATFORM("linux", "amd64", ""))),
                 {"linux", "amd64", ""},
                 9},
                {INDEX(BLOB(LAYER, "9", PLATFORM("linux", "amd64", ""))),
                 {"linux", "amd64", ""},
                 0},
                {INDEX(ENTRY("1", PLATFORM("linux", "amd\\u000a64", ""))),
                 {"linux", "amd64", ""},
                 0},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
                _cleanup_(parsed_done) struct parsed p =
                        parse_as(table[i].text, NULL, OCI_MEDIA_INDEX);
                const struct oci_descriptor *d = NULL;
                struct oci_facts facts;
                struct error e = ERROR_INIT;
                int r;

                assert_int_equal(p.r, 0);
                r = oci_index_pick(p.x, &table[i].want, &d, &facts, &e);
                if (r != (table[i].size > 0 ? 0 : -ENOENT))
                        fail_msg("%zu: %d %s", i, r, e.text);
                if (r < 0) {
                        assert_int_equal(e.class, ERROR_REFUSED);
                        assert_null(strchr(e.text, '\n'));
                        continue;
                }
                if (d->size != table[i].size)
                        fail_msg("%zu: picked %llu", i, (unsigned long long)d->size);
        }
}

static void test_pick_too_large(void **state)
{
        _cleanup_(parsed_done) struct parsed p = parse(INDEX(ENTRY("4194305", "")));
        const struct oci_descriptor *d;
        struct oci_facts facts;

        (void)state;
        assert_int_equal(oci_index_pick(p.x, &amd64, &d, &facts, NULL), -E2BIG);
}

static void test_malformed_entries(void **state)
{
        static const char *const table[] = {
                INDEX(ENTRY("1", ",\"platform\":7")),
                INDEX(ENTRY("1", ",\"platform\":{\"os\":7}")),
                INDEX(ENTRY("1", ",\"platform\":[]")),
                INDEX(ENTRY("1", ",\"annotations\":{\"io.tb-agent.image.size\":\"x\"}")),
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
                _cleanup_(parsed_done) struct parsed p =
                        parse_as(table[i], NULL, OCI_MEDIA_UNKNOWN);

                if (p.r != -EBADMSG)
                        fail_msg("%zu: %d", i, p.r);
        }
}

static void test_facts(void **state)
{
        _cleanup_(parsed_done) struct parsed p =
                parse(INDEX(ENTRY("1", ",\"annotations\":{\"io.tb-agent.image.sha256\":" Q(
                                               HEX) ",\"io.tb-agent.image.size\":\"9\"}")));
        const struct oci_descriptor *d;
        struct oci_facts facts, own = {.version = "7"}, other;
        struct error e = ERROR_INIT;

        (void)state;
        assert_int_equal(oci_index_pick(p.x, &amd64, &d, &facts, NULL), 0);
        assert_int_equal(oci_facts_merge(&own, &facts, &e), 0);
        assert_true(own.has_sha256 && own.sha256[0] == 0x01 && own.size == 9);
        assert_string_equal(own.version, "7");
        other = own;
        other.version[0] = '8';
        assert_int_equal(oci_facts_merge(&own, &other, &e), 0);
        assert_string_equal(own.version, "7");
        other.size = 10;
        assert_int_equal(oci_facts_merge(&own, &other, &e), -EBADMSG);
        other.size = 0;
        assert_int_equal(oci_facts_merge(&own, &other, &e), 0);
        other.sha256[31] ^= 1;
        assert_int_equal(oci_facts_merge(&own, &other, &e), -EBADMSG);
        assert_int_equal(e.class, ERROR_REFUSED);
}

static void test_config(void **state)
{
        static const struct {
                const char *text, *version;
                int r;
        } table[] = {
                {"{}", "", 0},
                {"{\"os\":\"linux\",\"architecture\":\"amd64\",\"rootfs\":{}}", "", 0},
                {"{\"config\":null}", "", 0},
                {"{\"config\":{\"Labels\":null}}", "", 0},
                {"{\"config\":{\"Labels\":{\"org.opencontainers.image.version\":\"3\"}}}", "3", 0},
                /* labels are inherited: they cannot know what is in the layers */
                {"{\"config\":{\"Labels\":{\"io.tb-agent.image.sha256\":" Q(HEX) "}}}", "", 0},
                {"{\"os\":\"linux\",\"architecture\":\"arm64\"}", "", -EXDEV},
                {"{\"os\":\"windows\",\"architecture\":\"amd64\"}", "", -EXDEV},
                {"{\"config\":{\"Labels\":{\"org.opencontainers.image.version\":3}}}", "",
                 -EBADMSG},
                {"{\"os\":3}", "", -EBADMSG},
                {"[]", "", -EBADMSG},
                {"x", "", -EBADMSG},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
                struct oci_facts f;
                struct error e = ERROR_INIT;
                int r = oci_config_parse(table[i].text, strlen(table[i].text), &amd64, &f, &e);

                if (r != table[i].r)
                        fail_msg("%s: %d %s", table[i].text, r, e.text);
                if (r < 0) {
                        assert_int_equal(e.class, ERROR_REFUSED);
                        continue;
                }
                assert_string_equal(f.version, table[i].version);
                assert_false(f.has_sha256);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_media_types),    cmocka_unit_test(test_ordinary_image),
                cmocka_unit_test(test_docker_image),   cmocka_unit_test(test_artifacts),
                cmocka_unit_test(test_annotations),    cmocka_unit_test(test_kind),
                cmocka_unit_test(test_malformed),      cmocka_unit_test(test_many),
                cmocka_unit_test(test_document_size),  cmocka_unit_test(test_pick),
                cmocka_unit_test(test_pick_too_large), cmocka_unit_test(test_malformed_entries),
                cmocka_unit_test(test_facts),          cmocka_unit_test(test_config),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
