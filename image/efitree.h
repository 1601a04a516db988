/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tree of Kairos, which media and upgrade images share: one system image without a role, an
 * entry for it, and what may come along (see man tb-image, "TREE").
 *
 *   EFI/BOOT/BOOTX64.EFI                      systemd-boot
 *   EFI/kairos/norole.efi                     the image
 *   loader/loader.conf, loader/entries/norole.conf
 *   loader/keys/auto/{PK,KEK,db}.auth         to be enrolled in setup mode
 */
#pragma once

#include "image/bundle.h"
#include "image/finished.h"

struct efitree {
        const struct finished_usi *image;
        const struct finished_loader *loader; /* NULL: none comes along */
        int keys;                             /* directory with the .auth files; -EBADF: none */
        const char *enroll; /* for loader.conf: "off", "manual", "if-safe" or "force"; NULL:
                               "if-safe", or "manual" for a loader that does not know that */
        const char *title;  /* of the entry; NULL: the image's name */
        unsigned timeout;   /* of the menu, in seconds */
};

/* Adds all of it. ERROR_CONFIG for a title that a line cannot carry, for missing keys, and for an
 * enrolment that the boot loader does not know. */
int efitree_add(const struct efitree *t, struct bundle *b, struct error *e) _must_check_;
