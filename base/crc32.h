/* SPDX-License-Identifier: Apache-2.0 */
/* The checksum of partition tables: UEFI 2.10, section 5.3.2, names the polynomial of ISO 3309. */
#pragma once

#include <stddef.h>
#include <stdint.h>

uint32_t crc32_gpt(const uint8_t *p, size_t n);
