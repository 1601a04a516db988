/* SPDX-License-Identifier: Apache-2.0 */
#include "upgrade/oci.h"

#include <string.h>

#include "base/codec.h"
#include "base/json.h"
#include "base/limits.h"
#include "base/num.h"
#include "upgrade/oci_private.h"

static const struct {
        const char *text;
        enum oci_media media;
} media_types[] = {
        {"application/vnd.oci.image.index.v1+json", OCI_MEDIA_INDEX},
        {"application/vnd.docker.distribution.manifest.list.v2+json", OCI_MEDIA_INDEX},
        {"application/vnd.oci.image.manifest.v1+json", OCI_MEDIA_MANIFEST},
        {"application/vnd.docker.distribution.manifest.v2+json", OCI_MEDIA_MANIFEST},
        {"application/vnd.docker.distribution.manifest.v1+json", OCI_MEDIA_OBSOLETE},
        {"application/vnd.docker.distribution.manifest.v1+prettyjws", OCI_MEDIA_OBSOLETE},
        {"application/vnd.oci.image.config.v1+json", OCI_MEDIA_CONFIG},
        {"application/vnd.docker.container.image.v1+json", OCI_MEDIA_CONFIG},
        {"application/vnd.oci.empty.v1+json", OCI_MEDIA_EMPTY},
        {"application/vnd.oci.image.layer.v1.tar", OCI_MEDIA_TAR},
        {"application/vnd.oci.image.layer.v1.tar+gzip", OCI_MEDIA_TAR_GZIP},
        {"application/vnd.oci.image.layer.v1.tar+zstd", OCI_MEDIA_TAR_ZSTD},
        {"application/vnd.oci.image.layer.nondistributable.v1.tar", OCI_MEDIA_TAR},
        {"application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", OCI_MEDIA_TAR_GZIP},
        {"application/vnd.oci.image.layer.nondistributable.v1.tar+zstd", OCI_MEDIA_TAR_ZSTD},
        {"application/vnd.docker.image.rootfs.diff.tar", OCI_MEDIA_TAR},
        {"application/vnd.docker.image.rootfs.diff.tar.gzip", OCI_MEDIA_TAR_GZIP},
        {"application/vnd.docker.image.rootfs.diff.tar.zstd", OCI_MEDIA_TAR_ZSTD},
        {"application/vnd.docker.image.rootfs.foreign.diff.tar", OCI_MEDIA_TAR},
        {"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", OCI_MEDIA_TAR_GZIP},
        {OCI_TYPE_USI, OCI_MEDIA_USI},
};

/* Without parameters and the blanks before them. */
static size_t type_length(const char *text)
{
        return strcspn(text, "; \t");
}

enum oci_media oci_media_type(const char *text)
{
        for (size_t i = 0; text && i < ARRAY_SIZE(media_types); i++) {
                if (strlen(media_types[i].text) == type_length(text) &&
                    strncasecmp(text, media_types[i].text, type_length(text)) == 0)
                        return media_types[i].media;
        }
        return OCI_MEDIA_UNKNOWN;
}

bool oci_same_type(const char *a, const char *b)
{
        return type_length(a) == type_length(b) && strncasecmp(a, b, type_length(a)) == 0;
}

const struct oci_platform *oci_platform_here(void)
{
        static const struct oci_platform here = {
                .os = "linux",
#if defined(__x86_64__)
                .architecture = "amd64",
#elif defined(__aarch64__)
                .architecture = "arm64",
#else
#error "the name of this architecture is not known"
#endif
                .variant = "",
        };

        return &here;
}

/* A version is shown to people: one line of plain text, or none. */
static void take_version(const char *text, struct oci_facts *f)
{
        size_t n = strlen(text);

        if (n >= sizeof(f->version))
                return;
        for (size_t i = 0; i < n; i++) {
                if ((uint8_t)text[i] < ' ' || (uint8_t)text[i] >= 0x7f)
                        return;
        }
        memcpy(f->version, text, n + 1);
}

/* A string of an object; "" when absent. Only another type is an error. */
static int optional_string(struct json_object *o, const char *key, const char **ret)
{
        int r = json_get_str(o, key, ret);

        if (r == -ENOENT)
                *ret = "";
        return r == -ENOENT ? 0 : r;
}

int oci_facts_read(struct json_object *o, struct oci_facts *ret, struct error *e)
{
        const char *version, *digest, *size;
        struct oci_facts f = {.size = 0};
        struct json_object *annotations;
        int r;

        r = json_get_obj(o, "annotations", &annotations);
        if (r == -ENOENT || json_object_object_get(o, "annotations") == NULL) {
                *ret = f;
                return 0;
        }
        if (r < 0 || optional_string(annotations, OCI_ANNOTATION_VERSION, &version) < 0 ||
            optional_string(annotations, OCI_ANNOTATION_SHA256, &digest) < 0 ||
            optional_string(annotations, OCI_ANNOTATION_SIZE, &size) < 0)
                return error_set(e, ERROR_REFUSED, EBADMSG, "manifest: annotations are not text");
        take_version(version, &f);
        f.has_sha256 = digest[0] != '\0';
        if (f.has_sha256 && hex_decode(digest, f.sha256, sizeof(f.sha256)) < 0)
                return error_set(e, ERROR_REFUSED, EBADMSG, "manifest: annotation %s is no digest",
                                 OCI_ANNOTATION_SHA256);
        if (size[0] && (parse_u64_max(size, LIMIT_IMAGE_SIZE, &f.size) < 0 || f.size == 0))
                return error_set(e, ERROR_REFUSED, EBADMSG, "manifest: annotation %s is no size",
                                 OCI_ANNOTATION_SIZE);
        *ret = f;
        return 0;
}

int oci_facts_merge(struct oci_facts *f, const struct oci_facts *other, struct error *e)
{
        if (f->has_sha256 && other->has_sha256 &&
            memcmp(f->sha256, other->sha256, sizeof(f->sha256)) != 0)
                return error_set(e, ERROR_REFUSED, EBADMSG,
                                 "manifest: two different digests of the image are announced");
        if (f->size > 0 && other->size > 0 && f->size != other->size)
                return error_set(e, ERROR_REFUSED, EBADMSG,
                                 "manifest: two different sizes of the image are announced");
        if (!f->version[0])
                memcpy(f->version, other->version, sizeof(f->version));
        if (!f->has_sha256)
                memcpy(f->sha256, other->sha256, sizeof(f->sha256));
        f->has_sha256 = f->has_sha256 || other->has_sha256;
        if (f->size == 0)
                f->size = other->size;
        return 0;
}

void oci_word_copy(const char *text, char ret[OCI_WORD_SIZE])
{
        static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                      "0123456789._-";
        size_t n = strlen(text);

        if (n >= OCI_WORD_SIZE || strspn(text, allowed) != n) {
                text = "?";
                n = 1;
        }
        memcpy(ret, text, n + 1);
}

static int config_labels(struct json_object *root, struct oci_facts *f)
{
        struct json_object *config, *labels;
        const char *version;
        int r;

        r = json_get_obj(root, "config", &config);
        if (r == 0)
                r = json_get_obj(config, "Labels", &labels);
        /* Absent, or null where there is none. */
        if (r < 0)
                return 0;
        r = optional_string(labels, OCI_ANNOTATION_VERSION, &version);
        if (r == 0)
                take_version(version, f);
        return r;
}

int oci_config_parse(const void *text, size_t n, const struct oci_platform *want,
                     struct oci_facts *ret, struct error *e)
{
        char os_word[OCI_WORD_SIZE], architecture_word[OCI_WORD_SIZE];
        _cleanup_json_ struct json_object *root = NULL;
        const char *os, *architecture;
        struct oci_facts f = {.size = 0};
        int r;

        r = json_read_text(text, n, LIMIT_OCI_DOCUMENT, "image configuration", &root, e);
        if (r < 0)
                return r;
        if (!json_object_is_type(root, json_type_object) || optional_string(root, "os", &os) < 0 ||
            optional_string(root, "architecture", &architecture) < 0 || config_labels(root, &f) < 0)
                return error_set(e, ERROR_REFUSED, EBADMSG, "image configuration: malformed");
        oci_word_copy(os, os_word);
        oci_word_copy(architecture, architecture_word);
        if ((os[0] && strcmp(os, want->os) != 0) ||
            (architecture[0] && strcmp(architecture, want->architecture) != 0))
                return error_set(e, ERROR_REFUSED, EXDEV,
                                 "the image is for %s/%s, this machine is %s/%s", os_word,
                                 architecture_word, want->os, want->architecture);
        *ret = f;
        return 0;
}
