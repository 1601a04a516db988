/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An image of an installation that is not on this machine: into memory, because there is no disk
 * yet that it may be written to, and because nothing of the disk is given up before the image was
 * proven. What comes is in a sealed file: nobody changes it any more.
 */
#pragma once

#include "base/env.h"
#include "base/error.h"
#include "upgrade/fetch.h"

/* Memory that has to stay free for the session. */
#define SOURCE_FETCH_MEMORY_LEFT (256 * MIB)

struct source_transfer {
        const struct env *env;
        const struct fetch_options *options;
        void (*begin)(void *arg, uint64_t total); /* 0: unknown */
        void (*done)(void *arg, uint64_t bytes);
        void *arg;
};

/* Whether the name has a form that source_fetch() takes: oci:, http(s):, ocifile:. */
bool source_fetch_takes(const char *name);

/*
 * A descriptor of the image (-ENOSPC, ERROR_SPACE: it does not fit into memory), and the bytes of
 * the boot loader beside it, none when there is none. loader must allow LIMIT_BOOT_LOADER bytes.
 * Nothing of it is proven.
 */
int source_fetch(const char *name, const struct source_transfer *t, int *ret_fd, struct buf *loader,
                 struct error *e) _must_check_;
