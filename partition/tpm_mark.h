/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The TPM remembers that it opens the data of a node: by an NV index that exists, and says nothing
 * else. A disk alone cannot make a machine forget that.
 *
 * What it is for: the TPM opens every volume that is sealed to it, new ones and old ones. Whoever
 * can write the disk, and no more, could set the volumes of a node aside, let the machine make new
 * ones with a configuration of his (partition/blank.h), and put the old "persistent" back beside
 * his "oem". So a machine whose TPM remembers a node makes no volumes by itself any more. Clearing
 * the TPM takes the index away, and with it everything that was sealed: the old volumes are then
 * lost to everybody. Whoever seals an old volume to a TPM that may be a new one therefore sets it
 * first, and does not seal when that fails. An installation sets it at its end, and each boot that
 * opened its volumes again; there a failure is told and no more, because nothing old is opened.
 *
 * Not stopped by it: who has the TPM itself, in another system on this machine, may remove the
 * index as its owner. He may as well seal volumes of his own: that they are not used beside those
 * of the node is up to partition/pair.h.
 */
#pragma once

#include "partition/tpm.h"

/* Beside FLOOR_NV_INDEX. */
#define TPM_MARK_NV_INDEX 0x01805443u

/* 1: the TPM remembers a node; 0: it does not. One command. */
int tpm_mark_look(struct tpm *t, struct error *e) _must_check_;

/* Makes it remember; done already is fine. -ENOSPC when the TPM is full. One or two commands. */
int tpm_mark_set(struct tpm *t, struct error *e) _must_check_;
