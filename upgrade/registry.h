/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pulls from registries (OCI distribution specification): documents and blobs of one repository,
 * from mirrors and the registry itself, in order. A mirror is trusted as little as any server: the
 * digest decides. Runs in the child.
 *
 * An endpoint that failed for the moment after all tries, or lied about a digest, is left alone
 * from then on as long as there is another one; one that merely does not have something is asked
 * again for the next thing. The error reported is that of the last endpoint asked, the registry.
 */
#pragma once

#include "base/secret.h"
#include "upgrade/http.h"
#include "upgrade/oci_digest.h"

struct registry_endpoint {
        const char *url; /* "https://host:port", without a slash at the end; a path may follow */
        const char *upstream; /* of a mirror: the registry it stands for; NULL */
        const char *helper;   /* a program that has the login, and is not asked; NULL */
        bool probe;           /* one try, unless it has answered once: there is another way */
        struct secret *login; /* "user:password"; NULL: anonymous */
};

struct registry;

/* All is borrowed as long as the registry lives. */
int registry_new(struct http *http, const struct registry_endpoint *endpoints, unsigned n,
                 const char *repository, struct registry **ret, struct error *e) _must_check_;
void registry_free(struct registry *r);
DEFINE_CLEANUP(struct registry, registry_free)

/* What is asked for: by digest, or by tag. */
struct registry_wish {
        const char *tag;                 /* used when digest is NULL */
        const struct oci_digest *digest; /* checked */
        uint64_t size;                   /* HTTP_SIZE_UNKNOWN */
};

/* A manifest or an index into out (LIMIT_OCI_DOCUMENT), and what the server calls it (caller frees;
 * NULL: nothing). */
int registry_manifest(struct registry *r, const struct registry_wish *wish, struct buf *out,
                      char **ret_type, struct error *e) _must_check_;

/* A small blob, checked. */
int registry_small_blob(struct registry *r, const struct oci_digest *digest, uint64_t size,
                        struct buf *out, struct error *e) _must_check_;

/*
 * The bytes of a blob from an offset on, of exactly this size in all. The digest is not checked: an
 * oci_checked does that, and registry_distrust() tells who lied. The stream belongs to the registry
 * and ends with the next call.
 */
int registry_blob(struct registry *r, const struct oci_digest *digest, uint64_t size,
                  uint64_t offset, struct stream **ret, struct error *e) _must_check_;

/* The bytes of the last blob were wrong. Whether there is another endpoint to get it from. */
bool registry_distrust(struct registry *r);
