/* SPDX-License-Identifier: Apache-2.0 */
/* A swap file. It belongs on an encrypted file system: what is swapped out may be a secret. */
#pragma once

#include <stdint.h>

#include "base/error.h"
#include "base/limits.h"

/* What mkswap(8) demands at least is ten pages; less than this is of no use. */
#define SWAP_MIN (1 * MIB)

/*
 * Makes the swap file name in the folder dir, of this size in bytes (rounded down to pages), unless
 * it is there in this size already: allocated under another name, durable, then renamed. 1: made;
 * 0: it was there. -EINVAL for a size that cannot be; -ENOSPC when the file system has not so much,
 * or would have less than a quarter left for everything else.
 */
int swap_prepare(int dir, const char *name, uint64_t size, struct error *e) _must_check_;

/* Removes a file of swap_prepare(). 0 also when there is none, or something that somebody else
 * made. */
int swap_remove(int dir, const char *name, struct error *e) _must_check_;

/* Lets the kernel use it. */
int swap_start(const char *path, struct error *e) _must_check_;
