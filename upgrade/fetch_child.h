/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The child of a fetch: everything that reads what a peer or an archive wrote. For upgrade/fetch.c
 * alone. It answers the commands of upgrade/fetch_wire.h until the parent is gone.
 */
#pragma once

#include "upgrade/fetch_config.h"
#include "upgrade/fetch_wire.h"

/* Descriptors of the child, in this order. */
enum {
        FETCH_CHILD_PIPE,    /* frames, to be written */
        FETCH_CHILD_CONTROL, /* commands and questions */
        FETCH_CHILD_FILE,    /* the archive of an ocifile source, to be read */
        FETCH_CHILD_FDS,
};

struct fetch_child_setup {
        const struct fetch_config *config;
        bool spool; /* there is one */
};

/* For sandbox_spawn(); ctx is a struct fetch_child_setup. */
int fetch_child_main(void *ctx, const int *fds);
