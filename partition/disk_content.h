/* SPDX-License-Identifier: Apache-2.0 */
/* What stands on a disk or partition, for people who are asked whether it may be destroyed. */
#pragma once

#include "base/error.h"

struct disk_content {
        char type[64];  /* "ext4", "crypto_LUKS", "LVM2_member"; "" = nothing that libblkid knows */
        char label[64]; /* of the file system; "" = none */
        char table[32]; /* "gpt", "dos": partition table; "" = none */
};

/* Only reads. Content that is known in several ways at once is "ambivalent". Negative errno when
 * the device cannot be read. */
int disk_content_read(const char *path, struct disk_content *ret, struct error *e) _must_check_;
