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
