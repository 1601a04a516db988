/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Documents of the OCI image and Docker schema 2 formats: index (manifest list), manifest, image
 * configuration. Pure and strict: bytes in, a checked structure or an error out. Whoever loaded the
 * bytes compares their digest first (oci_digest_check()).
 *
 * What holds an image of ours:
 * - an ordinary image whose layers (tar, tar+gzip, tar+zstd) carry EFI/kairos/norole.efi; the layer
 *   that counts is found by trying from the last one down (upgrade/layer.h);
 * - an artifact whose one layer is the image itself, a raw PE: its media type is OCI_TYPE_USI, or
 *   the artifact's type is OCI_TYPE_USI and the layer's type is unknown, or the layer's title ends
 *   in ".efi" and its type is unknown or the manifest has no image configuration ("oras push" calls
 *   every file a tar). Several layers are refused where one has the type OCI_TYPE_USI.
 *
 * Annotations that are read, of the manifest and of its entry in the index:
 *   org.opencontainers.image.version   text for people and for --check; also a label of the image
 *   io.tb-agent.image.sha256           64 hexadecimal digits: of the unpacked image, which makes
 *                                      "nothing to do" known before a layer is loaded
 *   io.tb-agent.image.size             decimal: its bytes, for progress and the space check
 * They are hints of whoever made the image, covered by the digest the caller asked for and by
 * nothing else: they may save work, never a check. Malformed ones of our own are refused. Labels
 * are inherited by images that are built from others, so they do not say what the layers hold.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/digest.h"
#include "base/error.h"
#include "upgrade/layer.h"
#include "upgrade/oci_digest.h"

#define OCI_TYPE_USI "application/vnd.tb-agent.usi.v1"
#define OCI_ANNOTATION_VERSION "org.opencontainers.image.version"
#define OCI_ANNOTATION_SHA256 "io.tb-agent.image.sha256"
#define OCI_ANNOTATION_SIZE "io.tb-agent.image.size"

/* Value of the Accept header: without it some registries answer with the obsolete schema 1. */
#define OCI_ACCEPT                                                                                 \
        "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, "    \
        "application/vnd.docker.distribution.manifest.list.v2+json, "                              \
        "application/vnd.docker.distribution.manifest.v2+json"

enum oci_media {
        OCI_MEDIA_UNKNOWN,
        OCI_MEDIA_INDEX,
        OCI_MEDIA_MANIFEST,
        OCI_MEDIA_OBSOLETE, /* Docker schema 1 */
        OCI_MEDIA_CONFIG,   /* of an ordinary image */
        OCI_MEDIA_EMPTY,
        OCI_MEDIA_TAR,
        OCI_MEDIA_TAR_GZIP,
        OCI_MEDIA_TAR_ZSTD,
        OCI_MEDIA_USI,
};

/* Parameters ("; charset=utf-8") do not count, nor does case. */
enum oci_media oci_media_type(const char *text);

struct oci_descriptor {
        enum oci_media media;
        char type[128]; /* mediaType as written */
        struct oci_digest digest;
        uint64_t size;
};

/* What the documents say about the image. */
struct oci_facts {
        char version[128]; /* "" = nothing */
        bool has_sha256;
        uint8_t sha256[SHA256_SIZE];
        uint64_t size; /* 0 = unknown */
};

struct oci_layer {
        struct oci_descriptor blob;
        enum layer_format format;
        bool usable; /* false: of a kind that cannot hold an image */
};

struct oci_manifest {
        struct oci_descriptor config;
        bool has_config; /* an image configuration, fit for oci_config_parse() */
        bool raw;        /* an artifact: exactly one layer, LAYER_RAW */
        struct oci_facts facts;
        unsigned n_layers;
        struct oci_layer *layers; /* bottom first */
};

void oci_manifest_free(struct oci_manifest *m);
DEFINE_CLEANUP(struct oci_manifest, oci_manifest_free)

/* One system, in the words of Go: "linux", "amd64", "". */
struct oci_platform {
        const char *os;
        const char *architecture;
        const char *variant;
};

/* Of this program. */
const struct oci_platform *oci_platform_here(void);

/* Entries of an index, in its order. */
struct oci_index;
void oci_index_free(struct oci_index *x);
DEFINE_CLEANUP(struct oci_index, oci_index_free)

/*
 * One document from a registry or a layout: a manifest or an index, exactly one of the two results
 * is set. content_type is what the transport said, or NULL; where it and the document's mediaType
 * are both known they agree. expected is the media type of the descriptor that led here, or
 * OCI_MEDIA_UNKNOWN. -EBADMSG, -E2BIG, -ENOTSUP (obsolete), all ERROR_REFUSED; -ENOMEM.
 */
int oci_document_parse(const void *text, size_t n, const char *content_type,
                       enum oci_media expected, struct oci_manifest **ret_manifest,
                       struct oci_index **ret_index, struct error *e) _must_check_;

/*
 * The entry for a platform: the first with the same variant; or, where none has it, the first
 * without a variant, or with the one that every machine of the architecture has. A single entry
 * that names no platform is taken. The result may be an index again: LIMIT_OCI_NESTING.
 * Facts of the entry go into ret_facts. -ENOENT (ERROR_REFUSED) lists what there is.
 */
int oci_index_pick(const struct oci_index *x, const struct oci_platform *want,
                   const struct oci_descriptor **ret, struct oci_facts *ret_facts, struct error *e)
        _must_check_;

/* How many entries are as good as the one that oci_index_pick() takes; 0: it would fail. */
unsigned oci_index_count(const struct oci_index *x, const struct oci_platform *want);

/*
 * An image configuration: the platform it names must be this one (-EXDEV, ERROR_REFUSED), one that
 * names none is fine. Its version label goes into ret, all else is empty.
 */
int oci_config_parse(const void *text, size_t n, const struct oci_platform *want,
                     struct oci_facts *ret, struct error *e) _must_check_;

/* Takes over what is not known yet. -EBADMSG (ERROR_REFUSED) when both know the image's digest or
 * size and differ. */
int oci_facts_merge(struct oci_facts *f, const struct oci_facts *other, struct error *e)
        _must_check_;
