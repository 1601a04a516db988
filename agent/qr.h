/* SPDX-License-Identifier: Apache-2.0 */
/* QR codes on a terminal: two modules in each character, by Unicode half blocks. */
#pragma once

#include "base/error.h"
#include "base/secret.h"

/*
 * Lines of UTF-8 text, white on black whatever the colours of the terminal are, with the quiet zone
 * of four modules around that the standard asks for (ISO/IEC 18004, section 9.1). The result shows
 * text and is as secret as that. (The library that computes the code keeps copies for a moment that
 * it frees without wiping.)
 */
int qr_render(const struct secret *text, struct secret **ret, struct error *e) _must_check_;
