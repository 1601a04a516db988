/* SPDX-License-Identifier: Apache-2.0 */
/* Roots out of archives: a tar, or the layers of a container image. */
#pragma once

#include "image/rootfs.h"
#include "upgrade/fetch.h"
#include "upgrade/oci_digest.h"
#include "upgrade/stream.h"

/*
 * Puts everything in a tar (plain, or compressed by gzip, zstd, xz or bzip2) on top of a root, as a
 * layer of it. whiteouts: files named ".wh." are about lower layers. Sockets are left out with a
 * warning; extended attributes are kept as image/xattr.h says. The stream is read to its end.
 * ERROR_CONFIG for an archive that is damaged or holds what a root cannot; the errors of the
 * stream.
 */
int rootfs_add_tar(struct rootfs *fs, struct stream *in, bool whiteouts, struct error *e)
        _must_check_;

/* Whether a --rootfs is no directory but an archive: "tar:FILE", "ocifile:FILE", "dir:LAYOUT",
 * "oci:REGISTRY/NAME". */
bool rootfs_is_source(const char *name);

/*
 * Such a root. ocifile: a docker-archive or oci-archive, dir: an OCI layout, oci: an image in a
 * registry, each with one image for this kind of machine, whose digests are checked.
 * manifest gets the digest that a container image was found by, of an index where there is one; ""
 * for a tar and a docker-archive. how: what is needed to know of registries (layers is set here).
 * ERROR_CONFIG; of registries the errors of fetch_resolve() and fetch_read(). Call it before
 * private keys are loaded: what reads from a registry is a process with a copy of this memory.
 */
int rootfs_from_source(const char *name, const struct fetch_options *how,
                       char manifest[OCI_DIGEST_TEXT_SIZE], struct tree **ret, struct error *e)
        _must_check_;

/* The layers of an image in a registry, put on top of each other in a new root. name: "oci:..." */
int rootfs_from_registry(const char *name, const struct fetch_options *how,
                         char manifest[OCI_DIGEST_TEXT_SIZE], struct rootfs **ret, struct error *e)
        _must_check_;
