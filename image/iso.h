/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Installer media that start from CD and from USB stick: an ISO 9660 file (ECMA-119) whose one FAT
 * file system is at the same time the El Torito boot image of a CD (platform UEFI) and the EFI
 * system partition of a GPT. Made by xorriso.
 */
#pragma once

#include "image/bundle.h"
#include "image/output.h"

/* Names are d-characters: upper-case letters, digits and "_". */
#define ISO_LABEL_MAX 32u

struct iso_facts {
        uint64_t size;
        uint8_t sha256[SHA256_SIZE];
};

/*
 * Writes the medium. label names the ISO and, cut to 11 characters, the FAT file system; serial
 * goes into the latter. The file system is built beside the output first. ERROR_PRECONDITION with
 * -ENOENT when xorriso is not installed.
 */
int iso_write(const struct bundle *b, const char *label, uint32_t serial, const char *path,
              struct iso_facts *ret, struct error *e) _must_check_;
