/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The encrypted partitions of a disk image that is a finished node (agent/golden_tpm.h), made
 * without device-mapper and mounts:
 *
 *   1. the LUKS2 header, with its key slots and tokens, in a file in memory; enrolment and proof
 *      are those of an installation (agent/volume.h);
 *   2. the file system in another one, with the files of the OEM partition in it, so that nothing
 *      of them is on a disk in clear; it is overwritten at the end;
 *   3. both into the image: the header as it is, the sectors encrypted as dm-crypt would.
 *
 * Of oem every sector is written, and how much is on it does not show. Of persistent those that its
 * new file system uses: nothing is on it yet, so they tell its size and no more, and all others are
 * written before they are read (partition/ext4.h), as on a new disk.
 *
 * Proven before the image gets its name: what an installation proves (the sealed object loads in
 * the TPM, and a trial session of it, fed with the image's signature and the PCR 7 to be, ends at
 * the object's policy; each key opens its slot), and that the sectors of the image, read back and
 * decrypted with the key that the slot gives, are the file system. Not proven, because this is not
 * that boot: that the TPM unseals.
 */
#pragma once

#include "agent/golden_file.h"
#include "agent/install.h"

/* Both partitions. */
int golden_volumes_make(const struct install_plan *p, const struct golden_file *f,
                        struct install_progress *progress, struct error *e) _must_check_;

/* About how many bytes the file takes for them. */
uint64_t golden_volumes_space(const struct install_plan *p);
