/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The file of a disk image: made under a temporary name in the folder of the final one, which it
 * gets when it is complete. Readable by its owner only, because it may hold a configuration.
 *
 * golden_file_make() -> write -> golden_file_publish() -> golden_file_done() in any case, which
 * removes what was not published.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

struct golden_file {
        const char *path; /* borrowed */
        char *temporary;  /* NULL: nothing to remove */
        int fd;
};

#define GOLDEN_FILE_INIT                                                                           \
        {                                                                                          \
                .fd = -EBADF                                                                       \
        }

/* ERROR_USAGE: -EEXIST for a file that is there and not to be replaced, -EINVAL for what is no
 * regular file (a device, above all). */
int golden_file_check(const char *path, bool overwrite, struct error *e) _must_check_;

/* A sparse file of that size. */
int golden_file_make(const char *path, uint64_t size, struct golden_file *ret, struct error *e)
        _must_check_;

/* Durable under its name when it returns 0. -EEXIST as golden_file_check(): somebody else was
 * quicker. */
int golden_file_publish(struct golden_file *f, bool overwrite, struct error *e) _must_check_;
void golden_file_done(struct golden_file *f);
