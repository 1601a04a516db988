/* SPDX-License-Identifier: Apache-2.0 */
/* Between the files of the child: fetch_child.c serves the parent, fetch_child_source.c knows the
 * kinds of sources, fetch_child_store.c gets through to files of the parent. */
#pragma once

#include "upgrade/archive_source.h"
#include "upgrade/fetch_child.h"
#include "upgrade/http.h"
#include "upgrade/layer.h"
#include "upgrade/oci.h"
#include "upgrade/registry.h"

struct child;

/* A file that the parent reads for us: of a layout, or the spool. */
struct remote {
        struct stream stream;
        struct child *child;
        enum wire_ask_kind kind;
        uint64_t at;
};

struct child_store {
        struct oci_store store;
        struct child *child;
        struct remote file;
};

/* A file on a server, by ranges. */
struct child_ranges {
        struct file_ranges ranges;
        struct child *child;
        struct http_body *body;
};

/* A blob that begins in the spool and continues on the network, from where it is spooled. */
struct child_spool {
        struct stream stream;
        struct child *child;
        struct remote have;
        uint64_t end; /* of what is in the spool */
        uint64_t at;
        const struct oci_descriptor *blob;
        struct stream *network; /* NULL until it is needed */
        bool keep;              /* bytes of the network are spooled */
        bool used;              /* bytes came from the spool */
};

struct child {
        const struct fetch_config *config;
        int pipe, control, file;
        bool has_spool;
        bool resolved;
        bool again; /* see struct wire_error */
        uint64_t spooled;
        uint8_t *buffer; /* one frame */
        bool loader_sent;
        struct http *http;
        struct registry_endpoint *endpoints; /* with the logins */
        struct registry *registry;
        struct child_spool spool;
        /* What was found, by kind of source. */
        struct oci_manifest *manifest;
        struct oci_facts facts;
        char digest[OCI_DIGEST_TEXT_SIZE];
        uint64_t size; /* of the file on the server */
        bool ranges;
        char *etag, *modified;
        struct http_auth *file_auth;
        struct child_ranges on_server;
        struct file_ranges_fd on_disk;
        struct child_store layout;
        struct archive_store *archive;
        struct local_image *local;
};

/* fetch_child.c */
int child_ask(struct child *c, const struct wire_ask *ask, struct wire_answer *ret, void *rest,
              size_t rest_max, struct error *e) _must_check_;
int child_send(struct child *c, enum wire_type type, const void *data, size_t n, struct error *e)
        _must_check_;

/* fetch_child_store.c */
void child_remote_init(struct remote *r, struct child *c, enum wire_ask_kind kind, uint64_t at);
void child_store_init(struct child_store *s, struct child *c);
void child_ranges_init(struct child_ranges *g, struct child *c);
/* keep: with the spool; else only the network. */
int child_spool_init(struct child *c, const struct oci_descriptor *blob, bool keep, struct error *e)
        _must_check_;

/* fetch_child_source.c */
int child_resolve(struct child *c, struct wire_info *ret, struct error *e) _must_check_;
int child_begin(struct child *c, uint64_t offset, struct error *e) _must_check_;
int child_layer(struct child *c, uint64_t number, struct error *e) _must_check_;
