/* SPDX-License-Identifier: Apache-2.0 */
/* Which program a PE image is that may be systemd-boot. */
#pragma once

#include "base/error.h"
#include "upgrade/pe.h"

#define BOOTLOADER_VERSION_SIZE 64u

/*
 * The version of a systemd-boot ("252.39-1~deb12u1") and the number it begins with, by its section
 * .sdmagic (systemd-boot(7)). ERROR_REFUSED with -EBADMSG when it is another program.
 */
int bootloader_probe(const struct pe *pe, char ret_version[BOOTLOADER_VERSION_SIZE],
                     unsigned *ret_major, struct error *e) _must_check_;
