/* SPDX-License-Identifier: Apache-2.0 */
/* Small PE32+ images for tests, made in memory. Sections are laid out one after the other; tests
 * that want a broken image patch the bytes afterwards. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define PEIMAGE_ALIGNMENT 512u
/* Where the fields stand that tests break. */
#define PEIMAGE_PE 0x80u
#define PEIMAGE_COFF (PEIMAGE_PE + 4)
#define PEIMAGE_OPTIONAL (PEIMAGE_COFF + 20)
#define PEIMAGE_CHECKSUM (PEIMAGE_OPTIONAL + 64)
#define PEIMAGE_SECURITY (PEIMAGE_OPTIONAL + 112 + 4 * 8)
#define PEIMAGE_TABLE (PEIMAGE_OPTIONAL + 240)
#define PEIMAGE_SECTION(i) (PEIMAGE_TABLE + 40 * (i))

struct peimage_section {
        const char *name;
        const void *data;
        size_t size;
        uint32_t virtual_size; /* 0 = size */
};

/* A descriptor of an unnamed file that holds the image. Fails the test when it cannot be made. */
int peimage_make(const struct peimage_section *sections, unsigned n);

/* Overwrites width (1, 2, 4) bytes little-endian. */
void peimage_patch(int fd, uint64_t offset, unsigned width, uint32_t value);

/* First file offset of section i. */
uint32_t peimage_raw_offset(int fd, unsigned i);
