/* SPDX-License-Identifier: Apache-2.0 */
/* The small files of this program on the encrypted OEM partition, besides the memory of upgrades
 * (upgrade/state.h) and the version floor (partition/floor.h). */
#pragma once

#include "base/buf.h"
#include "base/env.h"
#include "base/error.h"

#define OEM_FILE_FOLDER "tb-agent"
#define OEM_FILE_MOUNTS OEM_FILE_FOLDER "/mounts.json"         /* agent/boot_layout.h */
#define OEM_FILE_SWAP OEM_FILE_FOLDER "/swap.json"             /* agent/boot_swap.c */
#define OEM_FILE_INSTALL OEM_FILE_FOLDER "/install.json"       /* agent/install_record.h */
#define OEM_FILE_MEASURED OEM_FILE_FOLDER "/measured.json"     /* agent/measured.h */
#define OEM_FILE_EXTENSIONS OEM_FILE_FOLDER "/extensions.json" /* agent/extension.h */

/*
 * Reads one of them from the mounted partition. 1: text has it, and *ret_path, to be freed, is what
 * it is called in messages; 0: there is none. Errors are ERROR_CONFIG.
 */
int oem_file_read(const struct env *env, const char *name, struct buf *text, char **ret_path,
                  struct error *e) _must_check_;
