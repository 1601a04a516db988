/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The machine's identity (machine-id(5)). /etc is new at every boot, so it is kept on the
 * persistent partition, in etc/machine-id as Kairos does, and put into /etc before the system's
 * init looks for it. It is made at the first boot of a machine, so that images and golden disks
 * never carry one.
 */
#pragma once

#include "agent/boot_report.h"

#define MACHINE_ID_SIZE 33u /* text form with the NUL */

/* Reads an identity. -ENOENT; -EBADMSG when it is none: 32 small hexadecimal digits, not all 0. */
int machine_id_read(const char *path, char ret[MACHINE_ID_SIZE]) _must_check_;

/*
 * Puts the identity that persistent keeps into etc, making it when there is none. An identity that
 * is none is replaced, and one that cannot be kept lasts for this boot: both become problems of the
 * report. Fails only when etc cannot be written to.
 */
int machine_id_apply(const char *persistent, const char *etc, struct boot_report *report,
                     struct error *e) _must_check_;
