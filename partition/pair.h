/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What ties the two data volumes of a node to each other.
 *
 * The TPM seals for everybody who has it at hand, and the policy of a node is no secret: somebody
 * with the machine can make a volume in exactly our form that opens in the next boot, put it in the
 * place of "oem", and have his configuration run beside the "persistent" of the owner; or the other
 * way round. What he cannot do is to name the volume key of the one that he did not make. So each
 * of the two file systems keeps a tag made of both volume keys: HMAC-SHA256 over a key derived from
 * persistent's, with a key derived from oem's. A tag that is there has to be the right one. What is
 * missing is written beside volumes that nothing speaks against: the first boot of new ones, and
 * the first one after a reset, which takes the tag out of an "oem" that it keeps.
 *
 * The tag tells nothing about the keys and is kept inside the encryption all the same: there nobody
 * can take it away.
 */
#pragma once

#include <stdint.h>

#include "base/digest.h"
#include "base/error.h"
#include "base/secret.h"

/* The part of a volume in the tag: keeps the volume key itself out of the memory. NULL: no memory.
 */
struct secret *pair_part(const struct secret *volume_key);

/* -EIO when the crypto library fails. */
int pair_tag(const struct secret *oem, const struct secret *persistent, uint8_t ret[SHA256_SIZE])
        _must_check_;

/* 1: *ret is the tag that folder keeps; 0: it keeps none; -EBADMSG: something else is in its place.
 * folder: tb-agent's in one of the two file systems. */
int pair_read(const char *folder, uint8_t ret[SHA256_SIZE], struct error *e) _must_check_;

/* Durable when it returns 0. Makes the folder. */
int pair_write(const char *folder, const uint8_t tag[SHA256_SIZE], struct error *e) _must_check_;

/* Durable when it returns 0. None there is fine. */
int pair_forget(const char *folder, struct error *e) _must_check_;
