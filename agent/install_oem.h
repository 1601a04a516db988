/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an installation leaves on the OEM partition: the record of itself (agent/install_record.h),
 * and of its configuration the documents themselves,
 * byte for byte, as 90_custom.yaml, 91_custom.yaml ... (the name that Kairos uses), in the order in
 * which they were merged; and the wishes of the boot stage, tb-agent/mounts.json and
 * tb-agent/swap.json, where there are any. Documents may hold passwords: they are written inside of
 * the encryption only, and root alone reads them.
 */
#pragma once

#include "agent/config.h"
#include "agent/install_record.h"
#include "agent/measured.h"
#include "base/env.h"
#include "base/error.h"

/* Documents that get a name of their own; config_apply_to_install() refuses more. */
#define INSTALL_OEM_DOCUMENTS 10u

/* Takes one of the files: its name below the partition's root, and its content. */
typedef int (*install_oem_put_fn)(void *ctx, const char *name, const void *data, size_t n,
                                  struct error *e);

/* Gives the files to put, one after the other. */
int install_oem_put(const struct config *c, install_oem_put_fn put, void *ctx, struct error *e)
        _must_check_;

/* Writes the files below dirfd, each durably. */
int install_oem_write(const struct config *c, int dirfd, struct error *e) _must_check_;

/*
 * The same files as one text, for the disk image of a machine that will write them at its first
 * boot: {"files":[{"name","content"}]}, the content in base64.
 */
int install_oem_pack(const struct config *c, struct buf *ret, struct error *e) _must_check_;

/*
 * Writes the files of such a text below dirfd, each durably. The text may come from anybody who
 * could write the disk: names that install_oem_write() would not choose are refused (-EBADMSG,
 * ERROR_CONFIG).
 */
int install_oem_unpack(const void *text, size_t n, int dirfd, struct error *e) _must_check_;

/* Mounts the file system of the device for a moment and writes there the record, what was
 * measured (when it is known) and (unless NULL) the configuration. */
int install_oem_fill(const struct env *env, const char *device, const struct config *c,
                     const struct install_record *record, const struct measured *measured,
                     struct error *e) _must_check_;
