/* SPDX-License-Identifier: Apache-2.0 */
/* Text forms of bytes: hexadecimal, UUIDs, base64 (RFC 4648 section 4, padded, no line breaks),
 * UTF-16LE of EFI. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

/* Writes 2 * n lower-case digits and a NUL into out. */
void hex_encode(const uint8_t *data, size_t n, char *out);

/* Exactly 2 * n digits of either case, else -EINVAL. */
int hex_decode(const char *s, uint8_t *out, size_t n) _must_check_;

/*
 * The text of a UUID (RFC 9562), in lower case, from 16 bytes: random ones with version 4, those of
 * a digest with version 8. Version and variant take the place of six of the bits.
 */
#define UUID_TEXT_SIZE 37u
void uuid_encode(const uint8_t bytes[16], unsigned version, char ret[UUID_TEXT_SIZE]);

/* Appends the base64 form. */
int base64_encode(const uint8_t *data, size_t n, struct buf *out) _must_check_;

/* Appends the bytes; strict: -EINVAL for foreign characters, wrong padding or line breaks. */
int base64_decode(const char *s, size_t n, struct buf *out) _must_check_;

/*
 * UTF-16LE as found in EFI variables to a NUL-terminated UTF-8 string; stops at the first NUL
 * character. -EINVAL for an odd length or a lone surrogate.
 */
int utf16_to_utf8(const uint8_t *data, size_t n, struct buf *out) _must_check_;

/* UTF-8 to UTF-16LE including a final NUL character. -EINVAL for bad UTF-8. */
int utf8_to_utf16(const char *s, struct buf *out) _must_check_;
