/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Certificates of others that stand beside our own in a machine's key databases: those of the maker
 * of its option ROMs, or all that the machine had before.
 */
#pragma once

#include "base/buf.h"
#include "base/error.h"
#include "image/efisig.h"

/*
 * Appends signature lists with everything that a directory has for a variable: the file
 * <variable>.esl, or else .auth, .der or .pem; and then, in the order of their names, all files of
 * its folder <variable>. Certificates and SHA-256 digests of images keep the owner that a list
 * names; owner is for the others. *ret_n: how many. ERROR_CONFIG for what is none of these.
 */
int vendor_add(const char *dir, enum efisig_variable v, const uint8_t owner[EFISIG_GUID_SIZE],
               struct buf *out, unsigned *ret_n, struct error *e) _must_check_;
