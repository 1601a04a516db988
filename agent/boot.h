/* SPDX-License-Identifier: Apache-2.0 */
/* Inside of the boot stage: what its parts share. */
#pragma once

#include <stdbool.h>

#include "agent/boot_folders.h"
#include "agent/boot_report.h"
#include "agent/data.h"
#include "agent/node.h"
#include "base/env.h"
#include "base/error.h"
#include "partition/module.h"
#include "partition/tpm.h"
#include "upgrade/entry.h"

/* Said into PCR 11 when the last partition is unlocked; no image ever signs a policy for it
 * (design, section 6). */
#define BOOT_CLOSING_WORD "tb-agent-handover"
/* The phase that the image's policy is signed for. */
#define BOOT_PHASE_WORD "enter-initrd"
#define BOOT_PCR 11u

/* What the TPM wants of a person: agent/boot_pin.c. */
struct boot_pin {
        struct secret *text; /* typed last; it may open the other partitions, too */
        unsigned wrong;
        bool given_up;
        bool try_returned; /* the boot on trial has its try back meanwhile */
};

struct boot {
        const struct env *env;
        struct boot_report *report;
        struct module_loader *modules;
        struct tpm *tpm;   /* NULL: no TPM */
        struct node *node; /* disk we were started from; NULL: unknown */
        struct entry_name entry;
        bool counted; /* the entry is on trial */
        bool live;
        struct boot_pin pin;
};

/*
 * Unlocks the partition by the TPM and maps it. Fails closed: nothing but a LUKS2 partition in
 * exactly our form is ever opened. Adds its record to the report. A user's partition that is not
 * encrypted is no failure and left alone.
 */
int boot_unlock(struct boot *b, const struct data_volume *v, struct error *e) _must_check_;

/*
 * Asks for the PIN on every console, into b->pin.text. wrong: why the last one did not do; NULL
 * when there was none. Waits for ever, but in recovery, where an empty line goes on without.
 * Negative when no PIN is to be had any more in this boot: nobody gave one, too many were wrong, or
 * the TPM is in lockout; b->pin.given_up is set.
 */
int boot_pin_ask(struct boot *b, const char *wrong, struct error *e) _must_check_;
/* The PIN opened a partition: the boot is on trial again. */
void boot_pin_accepted(struct boot *b);

/*
 * For the recovery role, with the TPM's policy closed: asks on every console for the recovery key
 * of the partitions that are locked, in our form, and have one. Ends after the answers or the time
 * of base/limits.h, so that a node where nobody is comes up all the same. 0: oem and persistent are
 * open now.
 */
int boot_recover(struct boot *b, struct error *e) _must_check_;

/*
 * With the OEM partition mounted: compares the user's partitions with the record of the
 * installation. One that has to be encrypted and is not, or is gone, is a problem of the report,
 * and withheld from the system.
 */
void boot_expect(struct boot *b);

/*
 * Lets the persistent partition, and later the file system inside, follow a disk that became
 * larger. What fails is a problem of the report. Writes nothing when everything fits already.
 */
void boot_grow_partition(struct boot *b);
void boot_grow_file_system(struct boot *b, const char *device, const char *mount_point);

/* Starts the swap that the user wants on the persistent file system, or removes one that nobody
 * wants any more. What fails is a problem of the report. */
void boot_swap(struct boot *b);

/*
 * Gives the user data of the configurations to the engine of the image (agent/userdata_engine.h);
 * /etc, /var and /run must be writable by now. What fails is a problem of the report.
 */
void boot_userdata(struct boot *b, struct boot_data data);
