/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dm-verity: a tree of hashes over a read-only file system, of which the topmost, the root hash,
 * proves every block. The format is that of Linux and veritysetup(8), with what everybody makes:
 * version 1, SHA-256, blocks of 512 (systemd-repart of before 253) to 4096 bytes.
 *
 * How many blocks there are is not part of the proof: a few fewer that hang from the same hash make
 * a shorter device, on which the end of the file system is missing, and nothing else is there.
 */
#pragma once

#include <stdint.h>

#include "base/env.h"
#include "base/error.h"
#include "partition/ddi.h"

#define VERITY_BLOCK_MIN 512u
#define VERITY_BLOCK_MAX 4096u
#define VERITY_SALT_MAX 256u

struct verity {
        uint64_t blocks;                 /* of data */
        uint32_t data_block, hash_block; /* bytes */
        uint16_t salt_size;
        uint8_t salt[VERITY_SALT_MAX];
};

/* Reads what stands before the hashes, and sees that data and hashes lie inside of their
 * partitions. -EBADMSG (ERROR_REFUSED) otherwise. */
int verity_read(int fd, const struct ddi *d, struct verity *ret, struct error *e) _must_check_;

/* Reads all data and hashes of a plain file: -EBADMSG (ERROR_REFUSED) unless all of it hangs from
 * the root hash. */
int verity_check(int fd, const struct ddi *d, const uint8_t root_hash[SHA256_SIZE], struct error *e)
        _must_check_;

/*
 * Makes a device whose blocks the kernel proves when they are read, /dev/mapper/<name>; a block
 * that is not the right one is a read error. It lives on when fd is closed. *ret_path, to be freed,
 * is its node. The kernel needs dm_verity and loop.
 */
int verity_open(const struct env *env, int fd, const struct ddi *d,
                const uint8_t root_hash[SHA256_SIZE], const char *name, char **ret_path,
                struct error *e) _must_check_;

/* Takes the device away again. */
void verity_close(const char *name);
