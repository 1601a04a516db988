/* SPDX-License-Identifier: Apache-2.0 */
/* Loop devices: a part of a file or of another device as a block device, read-only. */
#pragma once

#include <stdint.h>

#include "base/env.h"
#include "base/error.h"

/* Opens a device by its kernel name; *ret_path, to be freed, is its node. */
int loop_open_device(const struct env *env, const char *name, int flags, char **ret_path,
                     struct error *e) _must_check_;

/*
 * size bytes of fd from offset on. *ret_path, to be freed, is the node; the device goes away with
 * *ret_fd and the last user of it. -EBUSY when there is no free one.
 */
int loop_attach(const struct env *env, int fd, uint64_t offset, uint64_t size, int *ret_fd,
                char **ret_path, struct error *e) _must_check_;
