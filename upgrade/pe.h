/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Strict reader of PE32+ images (PE/COFF specification 11; UEFI 2.10, section 2.1.1). Only the
 * headers are held in memory; content is read in pieces with pread, so the position of the
 * descriptor never moves and images of any size cost the same.
 *
 * The reader checks everything that later code relies on: headers and section table lie inside the
 * file and the limits, no two sections share file bytes or addresses, every section lies inside the
 * file and inside SizeOfImage, and a certificate table, when there is one, is the last thing in the
 * file. What fails is ERROR_REFUSED with -EBADMSG (or -E2BIG for a limit).
 *
 * Life cycle of a file: pe_open(fd) ... pe_free(). The descriptor stays the caller's and must
 * outlive the reader; the file must not change meanwhile.
 *
 * Life cycle of a stream, whose size is known at its end only: pe_parse() with its first bytes as
 * soon as there are enough of them, the other bytes go where the sections say, pe_finish() with the
 * size that it had ... pe_free(). Such a reader has no content to give: pe_stream() and pe_read()
 * fail.
 */
#pragma once

#include <stdint.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/error.h"

#define PE_MACHINE_X86_64 0x8664u
#define PE_MACHINE_AARCH64 0xaa64u
#define PE_SUBSYSTEM_EFI_APPLICATION 10u

#define PE_NAME_SIZE 8u
#define PE_SECTION_HEADER_SIZE 40u

struct pe_section {
        char name[PE_NAME_SIZE + 1]; /* padded with NUL */
        uint32_t virtual_size;       /* bytes that count once loaded */
        uint32_t virtual_address;
        uint32_t raw_size; /* bytes in the file; may be more (padding) or less (zeros follow) */
        uint32_t raw_offset;
        uint32_t characteristics;
};

/* What the headers say, and where in the file the fields stand that signing and building change. */
struct pe_header {
        uint64_t file_size; /* 0 until pe_finish() of a stream */
        uint16_t machine;
        uint16_t subsystem;
        uint16_t n_sections;
        uint32_t section_alignment;
        uint32_t file_alignment;
        uint32_t size_of_image;
        uint32_t size_of_headers;
        uint64_t coff_offset;     /* COFF file header */
        uint64_t optional_offset; /* optional header */
        uint64_t table_offset;    /* section table */
        uint64_t checksum_offset; /* u32 CheckSum */
        uint64_t security_offset; /* data directory entry 4: u32 file offset, u32 size */
        uint64_t cert_offset;     /* certificate table, 0 = unsigned */
        uint64_t cert_size;
};

struct pe;

/* Reads and checks the headers. */
int pe_open(int fd, struct pe **ret, struct error *e) _must_check_;

/*
 * Reads and checks the headers in the first n bytes of an image. limit: its size, or the most it
 * may have when that is not known yet.
 *
 * -EAGAIN, with e untouched, when there are too few bytes: *ret_need is how many of the first bytes
 * are wanted (more than n, at most LIMIT_PE_HEADER); after some rounds they are all there.
 */
int pe_parse(const uint8_t *head, size_t n, uint64_t limit, size_t *ret_need, struct pe **ret,
             struct error *e) _must_check_;

/* The image turned out to have this size: the checks of pe_parse() that had to wait for it. */
int pe_finish(struct pe *pe, uint64_t file_size, struct error *e) _must_check_;

void pe_free(struct pe *pe);
DEFINE_CLEANUP(struct pe, pe_free)

/* Whether an image of so many bytes can stand on an ESP: 0, or -E2BIG (ERROR_REFUSED) above
 * LIMIT_IMAGE_SIZE. */
int pe_check_size(uint64_t size, struct error *e) _must_check_;

/*
 * Size of the file behind a descriptor. Refused: -EBADMSG when it is no regular file, -E2BIG above
 * LIMIT_IMAGE_SIZE.
 */
int pe_file_size(int fd, uint64_t *ret, struct error *e) _must_check_;

/* The descriptor that content is read from, borrowed; -EBADF for a stream. */
int pe_fd(const struct pe *pe);
/* Gives a reader made by pe_parse() the file that the bytes came from. */
void pe_set_fd(struct pe *pe, int fd);

const struct pe_header *pe_header(const struct pe *pe);

/* Section number i of the table, in table order; NULL past the end. */
const struct pe_section *pe_section_at(const struct pe *pe, unsigned i);

/* First section with exactly this name (at most 8 characters); NULL when there is none. */
const struct pe_section *pe_find(const struct pe *pe, const char *name);

/*
 * Hands the content of a section to sink in pieces, as it looks in memory: virtual_size bytes, of
 * which those beyond raw_size are zeros, and padding beyond virtual_size is left out. A negative
 * return value of sink ends the walk and is returned as it is (the error is sink's to set).
 */
typedef int (*pe_sink)(void *ctx, const void *data, size_t n);
int pe_stream(const struct pe *pe, const struct pe_section *section, pe_sink sink, void *ctx,
              struct error *e) _must_check_;

/* Appends the content of a section to out; -E2BIG (refused) beyond out->max. */
int pe_read(const struct pe *pe, const struct pe_section *section, struct buf *out, struct error *e)
        _must_check_;

/*
 * Machine type of any PE file, from its first headers alone. For embedded kernels, whose section
 * tables do not follow the rules above. -EBADMSG when it is no PE file.
 */
int pe_probe_machine(int fd, uint16_t *ret, struct error *e) _must_check_;
