/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a file is before it becomes a part of a USI, by its own marks: systemd-stub says so in its
 * section .sdmagic, a Linux kernel by its boot header.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"

/* The stub's own identification, "#### LoaderInfo: systemd-stub 252.39-1 ####", and the most that
 * is read of it. */
#define USI_MAGIC_SECTION ".sdmagic"
#define USI_MAGIC_LIMIT 512u

/* Bytes of a kernel's start that usi_probe_kernel_header() looks at. */
#define USI_KERNEL_HEADER_SIZE 0x210u

/* Major version of systemd-stub that the text of a .sdmagic section tells; 0 = it does not. */
unsigned usi_probe_magic(const struct buf *text);

/* Whether a file that begins like this is a Linux kernel for a machine (PE_MACHINE_...). */
bool usi_probe_kernel_header(uint16_t machine, const uint8_t *data, size_t n);

/* The same of files. Refused: what pe_open() refuses; -EIO when reading fails. */
int usi_probe_stub(int fd, unsigned *ret_version, struct error *e) _must_check_;
int usi_probe_kernel(int fd, uint16_t machine, bool *ret, struct error *e) _must_check_;
