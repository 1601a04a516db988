/* SPDX-License-Identifier: Apache-2.0 */
/* Files of extensions on the persistent partition: agent/extension.h. */
#pragma once

#include <stdint.h>

#include "base/digest.h"
#include "base/env.h"
#include "base/error.h"

/*
 * Copies a disk image to the partition, whose root is persistent, and proves the copy: signature
 * and every block. Durable when it returns 0; on failure there is nothing new. The root hash is the
 * name of the file.
 */
int extension_store_add(const struct env *env, int persistent, const char *path,
                        uint8_t ret_root_hash[SHA256_SIZE], uint64_t *ret_size, struct error *e)
        _must_check_;

/* A file that is not there is no error. */
int extension_store_drop(int persistent, const uint8_t root_hash[SHA256_SIZE], struct error *e)
        _must_check_;
