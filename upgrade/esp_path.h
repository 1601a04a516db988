/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading on the ESP: paths are walked component by component from the root's descriptor, so that
 * neither ".." nor a symbolic link leads out. Nothing here changes anything. Negative errno;
 * -EINVAL for a path that is absolute, has empty, "." or ".." components or backslashes, or that is
 * not of the wanted type.
 */
#pragma once

#include <dirent.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/cleanup.h"

/* Descriptor of the directory that holds path; *ret_name points at the last component inside path.
 */
int esp_path_parent(int root, const char *path, const char **ret_name) _must_check_;

/* Opens a regular file. */
int esp_path_open(int root, const char *path, int flags) _must_check_;

/* Appends a whole regular file. -E2BIG above out->max. */
int esp_path_read(int root, const char *path, struct buf *out) _must_check_;

/* Name (inside path) and size of a regular file. -ENOENT when there is none, or no directory for
 * it.
 */
int esp_path_find(int root, const char *path, const char **ret_name, uint64_t *ret_size)
        _must_check_;

/* The regular files of one directory. */
struct esp_path_dir {
        DIR *stream;
        int fd;           /* of the stream */
        const char *name; /* of the file next() stopped at */
        uint64_t size;
        unsigned count;
};

#define ESP_PATH_DIR_INIT                                                                          \
        {                                                                                          \
                .fd = -EBADF                                                                       \
        }

/* path "": the root folder. */
int esp_path_dir_open(struct esp_path_dir *d, int root, const char *path) _must_check_;
/*
 * 1 with name and size set, 0 at the end, -E2BIG after LIMIT_ESP_FILES names. -ESTALE when a file
 * went away since its name was read: what is listed so far may lack the one it was replaced by.
 */
int esp_path_dir_next(struct esp_path_dir *d) _must_check_;
void esp_path_dir_close(struct esp_path_dir *d);
