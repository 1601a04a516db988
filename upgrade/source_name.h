/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names of sources, as people write them (design, section 9):
 *
 *   oci:REGISTRY/NAME[:TAG][@DIGEST]   an image in a registry
 *   http://..., https://...            one file: a raw PE, or an archive as for ocifile:
 *   ocifile:PATH                       docker-archive or oci-archive, a tar
 *   dir:PATH                           a folder: an EFI tree, or an OCI layout
 *   file:PATH                          one image, a raw PE
 *
 * Pure: nothing is opened.
 */
#pragma once

#include "base/cleanup.h"
#include "base/error.h"

enum source_kind {
        SOURCE_KIND_OCI,
        SOURCE_KIND_HTTP,
        SOURCE_KIND_OCIFILE,
        SOURCE_KIND_DIR,
        SOURCE_KIND_FILE,
};

struct source_name {
        enum source_kind kind;
        char *text;       /* for messages: as given, but password and query of a URL are blanked */
        char *path;       /* ocifile, dir, file */
        char *url;        /* http */
        char *registry;   /* oci: "ghcr.io", "localhost:5000"; "docker.io" when the first part names
                             no host */
        char *repository; /* oci: "kairos-io/demo"; "library/" is put in front on docker.io */
        char *tag;        /* oci: "latest" unless given; NULL when only a digest was */
        char *digest;     /* oci: "sha256:..." (or sha512), NULL when none was given */
};

/* Grammar of the OCI distribution specification for oci:. -EINVAL (ERROR_USAGE) names what is
 * wrong. */
int source_name_parse(const char *text, struct source_name *ret, struct error *e) _must_check_;
void source_name_done(struct source_name *s);
