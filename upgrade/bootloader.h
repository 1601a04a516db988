/* SPDX-License-Identifier: Apache-2.0 */
/*
 * systemd-boot as a file: which version it is, and its two copies on the ESP.
 */
#pragma once

#include "base/buf.h"
#include "base/error.h"
#include "efivars/sigdb.h"
#include "upgrade/esp.h"

struct bootloader {
        struct buf image; /* the whole file */
        char version[64]; /* "252.39-1~deb12u1" */
        unsigned major;   /* 252 */
};

/*
 * Reads a boot loader file. Refused when it is no PE image of systemd-boot, or above
 * LIMIT_BOOT_LOADER. name stands in messages.
 */
int bootloader_load(int dirfd, const char *path, struct bootloader *ret, struct error *e)
        _must_check_;
/* The same for one that came with an image and is in memory: a copy of the bytes. */
int bootloader_take(const struct buf *image, struct bootloader *ret, struct error *e) _must_check_;
/*
 * Whether this machine's firmware would start it, by db and dbx. ERROR_SIGNATURE or ERROR_REVOKED;
 * why (may be NULL) gets a sentence.
 */
int bootloader_verify(const struct bootloader *b, const struct sigdb *db, const struct sigdb *dbx,
                      struct buf *why, struct error *e) _must_check_;
void bootloader_done(struct bootloader *b);

/* How this version wants an entry to name an image: "uki" from 258 on, "efi" before. */
enum entry_key bootloader_entry_key(const struct bootloader *b);

/* Adds both copies: EFI/systemd/systemd-bootx64.efi, then EFI/BOOT/BOOTX64.EFI, which firmware
 * starts. */
int bootloader_add(const struct esp *esp, const struct bootloader *b, struct error *e) _must_check_;

/*
 * Replaces the copies on the ESP that are older, one after the other in that order, each by an
 * exchange: at every moment the path that firmware starts leads to a whole boot loader. A copy that
 * is missing is added; one that is newer, or no systemd-boot, stays: nothing is downgraded, and
 * what somebody put there is his. *ret_changed: something was replaced.
 */
int bootloader_update(const struct esp *esp, const struct bootloader *b, bool *ret_changed,
                      struct error *e) _must_check_;
