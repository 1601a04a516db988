/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A signed disk image (UAPI "Discoverable Disk Image"): a partition table with exactly three
 * partitions of this machine's architecture, in any order: a root or /usr file system, its
 * dm-verity hashes, and a signature of their root hash ("Discoverable Partitions Specification").
 *
 * The table proves nothing by itself: it says where the parts lie, and is bounded here so that they
 * lie inside of the file, apart from each other. What they hold is proven by ddi_check_signature(),
 * which tells the root hash, and then by partition/verity.h.
 *
 * All errors are of class ERROR_REFUSED, but for those of reading. -EBADMSG: not in this form.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/digest.h"
#include "base/error.h"

struct ddi_part {
        uint64_t offset, size; /* bytes in the file */
};

struct ddi {
        bool usr; /* the file system is that of /usr, not of a root */
        struct ddi_part data, verity, signature;
};

/* Reads the table of a file of size bytes. Sectors are of 512 bytes. */
int ddi_read(int fd, uint64_t size, struct ddi *ret, struct error *e) _must_check_;

/*
 * Reads {"rootHash","signature"} from the signature partition and checks that the signature, PKCS#7
 * without the content, over the root hash as lower-case hexadecimal text, was made by the owner of
 * one of the certificates (PEM text). The certificates are taken as they are: neither who issued
 * them counts nor when they expire, because a clock is no proof. -EKEYREJECTED (ERROR_SIGNATURE)
 * when it was not.
 */
int ddi_check_signature(int fd, const struct ddi *d, const void *certificates, size_t n,
                        uint8_t ret_root_hash[SHA256_SIZE], struct error *e) _must_check_;
