/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The digest of a reset's journal, in an NV index of the TPM from before the reset destroys
 * anything until it is complete. The journal itself is a plain file that everybody can write who
 * has the disk; with the note, only the one that this node wrote is gone on with.
 *
 * As with the mark of a node (partition/tpm_mark.h), the index is the owner's: it is not stopped by
 * it who has the TPM itself, in another system on this machine. He may as well seal volumes of his
 * own.
 */
#pragma once

#include <stdint.h>

#include "base/digest.h"
#include "partition/tpm.h"

/* Beside TPM_MARK_NV_INDEX. */
#define TPM_NOTE_NV_INDEX 0x01805444u

/* 1: *ret is filled; 0: none. One that was not made by tpm_note_write(), or was made and not
 * written, is none. 1 TPM command when there is no index, else 3. */
int tpm_note_read(struct tpm *t, uint8_t ret[SHA256_SIZE], struct error *e) _must_check_;

/* Durable when it returns 0; replaces an earlier one, or whatever has the index. A power cut leaves
 * the earlier one or none. -ENOSPC when the TPM is full. */
int tpm_note_write(struct tpm *t, const uint8_t digest[SHA256_SIZE], struct error *e) _must_check_;

/* None there is fine. 2 commands. */
int tpm_note_remove(struct tpm *t, struct error *e) _must_check_;
