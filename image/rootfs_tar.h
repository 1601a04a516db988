/* SPDX-License-Identifier: Apache-2.0 */
/* Roots out of archives: a tar, or the layers of a container image. */
#pragma once

#include "image/rootfs.h"
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

/* Whether a --rootfs is no directory but an archive: "tar:FILE", "ocifile:FILE", "dir:LAYOUT". */
bool rootfs_is_source(const char *name);

/*
 * Such a root. ocifile: a docker-archive or oci-archive, dir: an OCI layout, each with one image
 * for this kind of machine, whose digests are checked. ERROR_CONFIG.
 */
int rootfs_from_source(const char *name, struct tree **ret, struct error *e) _must_check_;
