/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Gets an image from a source of any kind as one stream of its bytes, without a copy on disk.
 *
 * Everything that reads what a peer or an archive wrote (TLS, HTTP, JSON, tar, gzip, zstd) runs in
 * a child behind base/sandbox.h. This side resolves names, connects sockets, opens local files, and
 * hands them over; what comes back is a stream of bytes that nobody trusts: the verifier decides.
 *
 * Life cycle: fetch_open() -> fetch_resolve() -> fetch_begin() -> fetch_read()... -> fetch_free().
 * One thread. Any call may wait for the network within the limits of the options.
 *
 * After the end or a failure of a transfer another one may begin; fetch_again() tells where that
 * helps.
 *
 * Errors: ERROR_SOURCE for what may be gone next time (no route, 5xx, 429, truncation, low speed,
 * the wrong part of a file), after retries with back-off; ERROR_REFUSED for what a repetition
 * cannot heal (digest mismatch at the end, malformed manifest, no image inside, nested too deep,
 * bombs, 404, 401 after credentials, a certificate that is not accepted, no TLS at all, a proxy
 * that says 403 or 407); ERROR_USAGE and ERROR_CONFIG for names, paths, CA and credential files.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/digest.h"
#include "base/env.h"
#include "base/error.h"
#include "upgrade/source_name.h"

struct fetch_options {
        const struct env *env;
        const char *ca_file;   /* PEM, instead of the system's; NULL */
        const char *auth_file; /* config.json; NULL: the usual places */
        /* HOST[:PORT] that may be spoken to over http or without a valid certificate. */
        const char *const *insecure;
        unsigned n_insecure;
        /* "HOST=URL": tried in order before the registry HOST itself. */
        const char *const *mirrors;
        unsigned n_mirrors;
        uint64_t rate_limit; /* bytes a second, 0 = none */
        unsigned attempts;   /* of a step that fails for the moment, 0 = LIMIT_FETCH_ATTEMPTS */
        /*
         * Folder (borrowed descriptor, -EBADF: none) that keeps what was received of a compressed
         * transfer, so that a killed run need not load it again. It belongs to the agent alone.
         */
        int spool;
        bool want_loader; /* also systemd-boot, where the source has one beside the image */
        /* No image, but any file of at most so many bytes, from an http source; 0: an image. */
        uint64_t any_file;
        /* No image, but the layers of an ordinary container image, of an oci source only:
         * fetch_begin_layer(). */
        bool layers;
        unsigned delay_ms;          /* before a second try, 0 = LIMIT_FETCH_DELAY_MS */
        unsigned low_speed_seconds; /* 0 = LIMIT_FETCH_SPEED_SECONDS */
        /*
         * Whether the caller wants to stop (a signal came); NULL: never. Asked when a signal
         * interrupted a wait, and at least once a second while waiting. When it says yes, the call
         * ends with -ECANCELED (ERROR_INTERRUPTED); what was received so far stays in the spool.
         */
        bool (*stop)(void *arg);
        void *stop_arg;
};

struct fetch_info {
        char manifest[160];    /* "sha256:...", of what the name leads to; "" = no such thing */
        bool has_image_sha256; /* the source says the digest of the image in advance */
        uint8_t image_sha256[SHA256_SIZE];
        uint64_t size;     /* of the image in bytes, 0 = unknown */
        uint64_t transfer; /* bytes that will cross the network or be read, 0 = unknown */
        unsigned n_layers; /* when they are what is wanted; at most LIMIT_OCI_LAYERS */
        bool seekable;     /* the image can begin at any offset */
        char version[128]; /* by annotation or label; "" = none */
};

struct fetch_counters {
        uint64_t network; /* bytes received, headers not counted */
        uint64_t spooled; /* of the transfer taken from the spool instead */
        unsigned retries;
};

struct fetch;

/* Starts the child. Nothing is asked of the network yet. */
int fetch_open(const struct source_name *name, const struct fetch_options *options,
               struct fetch **ret, struct error *e) _must_check_;
void fetch_free(struct fetch *f);
DEFINE_CLEANUP(struct fetch, fetch_free)

/* What the name leads to right now: manifests, never a blob. *ret is borrowed. */
int fetch_resolve(struct fetch *f, const struct fetch_info **ret, struct error *e) _must_check_;

/* The image from this byte on; offset 0 unless it is seekable (-EINVAL, ERROR_INTERNAL). */
int fetch_begin(struct fetch *f, uint64_t offset, struct error *e) _must_check_;

/* Layer n, lowest first, as the registry has it: a tar, perhaps compressed. */
int fetch_begin_layer(struct fetch *f, unsigned n, struct error *e) _must_check_;

/*
 * The next bytes, at most n. 0: the end, and all digests and sizes the source promised held (with
 * an offset: of what was transferred; the caller compares the whole). Negative errno.
 */
ssize_t fetch_read(struct fetch *f, void *buf, size_t n, struct error *e) _must_check_;

/*
 * After a refusal, by fetch_read() or by whoever looked at the image: whether the bytes were not
 * those the source promised, and fetch_begin(f, 0) would take others from somewhere else: from
 * another mirror, or from the network instead of the spool. Where that is possible at all, a
 * transfer that was left in the middle is read to its end to find out. Each call that says yes
 * leaves one possibility fewer.
 */
bool fetch_again(struct fetch *f);

/* The boot loader that was found on the way, NULL when there was none; valid after the end. A file
 * without a byte in its place is an empty one. */
const struct buf *fetch_loader(const struct fetch *f);

const struct fetch_counters *fetch_counters(const struct fetch *f);

/* Forgets what the spool holds of this or any other transfer. */
int fetch_drop_spool(int spool, struct error *e) _must_check_;
