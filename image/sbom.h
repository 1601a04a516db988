/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The packages of a root as bill of materials (CycloneDX 1.5, JSON): what the databases of dpkg
 * (also that of distroless images) and apk say is installed. The same root gives the same bytes.
 */
#pragma once

#include "base/error.h"
#include "image/tree.h"

struct sbom_subject {
        const char *name, *version; /* of the image; NULL: it has none */
        const char *distribution;   /* ID of os-release, for package URLs; NULL: unknown */
        const char *sha256;         /* hexadecimal, of the image's file */
        uint64_t epoch;
};

/* Writes the document to a file. *ret_n: packages. ERROR_CONFIG for a database that makes no sense,
 * and with -ENOENT when the root has none that is known here. */
int sbom_write(const struct tree *t, const struct sbom_subject *subject, const char *path,
               unsigned *ret_n, struct error *e) _must_check_;
