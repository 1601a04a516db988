/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A bundle as FAT32 file system (Microsoft's "FAT: General Overview of On-Disk Format", 1.03), as
 * firmware boots from. Written once from front to end: every file lies in one piece, and some
 * megabytes stay free, so that a person may add a configuration to a stick.
 *
 * ERROR_CONFIG: -EEXIST for names in one folder that differ by case only, -EILSEQ for names that
 * are no UTF-8 or hold signs that FAT has no place for, -EFBIG for a file of 4 GiB or more.
 */
#pragma once

#include "image/bundle.h"

#define FAT_LABEL_SIZE 11u

/* label: at most FAT_LABEL_SIZE upper-case ASCII characters. serial is the volume's id. fd is at
 * the begin of an empty file. */
int fat_write(const struct bundle *b, const char *label, uint32_t serial, int fd, struct error *e)
        _must_check_;
