/* SPDX-License-Identifier: Apache-2.0 */
/* Where configurations come from: files, servers, standard input, known folders. For
 * agent/config.c. */
#pragma once

#include "agent/config.h"

struct config_documents {
        struct config_document *item;
        size_t n;
};

/*
 * Reads the documents that are wished for, in the order they are merged. What lies in a known
 * folder without the header belongs to somebody else: a warning, and it is left out.
 */
int config_source_read(const struct env *env, const struct config_wish *wish,
                       struct config_problems *problems, struct config_documents *ret,
                       struct error *e) _must_check_;

/*
 * What a boot reads: /etc/kairos of the image, and of what is mounted /usr/local/cloud-config and
 * /oem; never the medium of a live session, which anybody may have written. A file or folder that
 * cannot be read becomes an error among the problems, and the others are read. -ENOMEM.
 */
int config_source_read_at_boot(const struct env *env, bool persistent, bool oem,
                               struct config_problems *problems, struct config_documents *ret,
                               struct error *e) _must_check_;
