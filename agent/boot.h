/* SPDX-License-Identifier: Apache-2.0 */
/* Inside of the boot stage: what its parts share. */
#pragma once

#include <stdbool.h>

#include "agent/boot_folders.h"
#include "agent/boot_report.h"
#include "agent/data.h"
#include "agent/node.h"
#include "base/buf.h"
#include "base/digest.h"
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

struct boot_extensions; /* agent/boot_extension.c */
/* What ties oem and persistent to each other: agent/boot_pair.c. */
struct boot_pair {
        struct secret *oem, *persistent; /* of the volume keys of those that this boot opened */
        bool proven;                     /* they belong together */
        bool refused;                    /* they do not, and are closed again */
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
        struct boot_pair pair;
        bool first;                 /* this boot makes the volumes of a disk image */
        bool chosen;                /* the entry statereset was: statereset_was_chosen() */
        bool measured;              /* image is known */
        uint8_t image[SHA256_SIZE]; /* which one runs: PCR 11 as it was when nothing was unsealed */
        struct boot_extensions *extensions; /* NULL: none */
        struct buf why; /* recovery: what is wrong with the other entries, in lines */
};

/*
 * Unlocks the partition by the TPM and maps it. Fails closed: nothing but a LUKS2 partition in
 * exactly our form is ever opened. Adds its record to the report. A user's partition that is not
 * encrypted is no failure and left alone.
 */
int boot_unlock(struct boot *b, const struct data_volume *v, struct error *e) _must_check_;

/* What the token gives in this boot, as the passphrase of its key slot. */
int boot_unseal(struct boot *b, const struct token *token, struct secret **ret, struct error *e)
        _must_check_;

/*
 * The first boot of a machine from a disk image (agent/golden.h, partition/blank.h): the TPM's
 * policy is open, the image that runs was measured, and nobody else runs yet. Every machine gets
 * its own volume keys here, sealed to its own TPM and to the state it is in; Secure Boot has to be
 * on, and what an installation demands of the TPM is demanded here.
 *
 * A mark on a disk proves nothing, so what it can start is bounded by what is there otherwise:
 * - Both blank: a first boot, unless the TPM remembers a node (partition/tpm_mark.h) or has a
 *   version floor: then somebody wiped one, and it is refused.
 * - "oem" made, "persistent" blank: a first boot that was cut; it goes on only when the OEM volume,
 *   opened by the TPM, says inside that it was begun.
 * - Anything else is refused. Above all the configuration of a blank "oem" never meets the data of
 *   a volume that is there.
 *
 * A partition with a LUKS2 header is never written to. The disk has to have the three partitions of
 * an image and no other. The active entry does this, and the passive one, which in a disk image
 * starts the same file: a machine whose power failed in three boots is not lost. Recovery never
 * does.
 *
 * The configuration of the image is measured into PCR 12, as the stub does with what comes from
 * outside of an image. It stands on the OEM partition from then on, with a record of this boot.
 *
 * boot_first_begin() makes "oem", if both are blank, with the record saying "begun"; then oem is
 * unlocked as in every boot; boot_first_finish() makes "persistent", if it is blank.
 * boot_first_forget() lets the record say "done", with both volumes made and oem mounted. All of
 * them do nothing on a disk that has both volumes. boot_first_remember(), with both open, has the
 * TPM remember that there is a node, in every boot, so that it is true of installed nodes as well.
 */
int boot_first_begin(struct boot *b, struct error *e) _must_check_;
int boot_first_finish(struct boot *b, struct error *e) _must_check_;
void boot_first_remember(struct boot *b);
void boot_first_forget(struct boot *b);

/* What the record says, for "status": "first_boot", null on nodes that were installed. -ENOMEM. */
int boot_first_add_status(const struct env *env, struct json_object *root) _must_check_;

/*
 * Asks for the PIN on every console, into b->pin.text. wrong: why the last one did not do; NULL
 * when there was none. Waits for ever, but in recovery, where an empty line goes on without.
 * Negative when no PIN is to be had any more in this boot: nobody gave one, too many were wrong, or
 * the TPM is in lockout; b->pin.given_up is set.
 */
int boot_pin_ask(struct boot *b, const char *wrong, struct error *e) _must_check_;
/* A person is waited for: a boot on trial has its try back meanwhile. */
void boot_pin_wait(struct boot *b);
/* The PIN opened a partition: the boot is on trial again. */
void boot_pin_accepted(struct boot *b);
/* The data is open, or the boot goes on without: what fails from here on is the image's fault
 * again, also when nobody knew the PIN of a partition of the user's. */
void boot_pin_forget(struct boot *b);

/*
 * For the recovery role, with the TPM's policy closed: asks on every console for the recovery key
 * of the partitions that are locked, in our form, and have one. Ends after the answers or the time
 * of base/limits.h, so that a node where nobody is comes up all the same. 0: oem and persistent are
 * open now.
 */
int boot_recover(struct boot *b, struct error *e) _must_check_;

/* Where the two keep the tag of partition/pair.h, below their mount points. */
#define BOOT_PAIR_OEM "tb-agent"
#define BOOT_PAIR_PERSISTENT ".tb-agent"

/* Notes the volume key of one that was opened; other mappings than oem and persistent are ignored.
 */
void boot_pair_take(struct boot *b, const char *mapping, const struct secret *volume_key);

/*
 * With oem mounted, and persistent too unless this is recovery, before anything in them is used:
 * whether they belong together (partition/pair.h). What does not is unmounted and closed, and is an
 * error; *mounted tells what stays. Where only oem is open there is nothing to compare:
 * b->pair.proven stays false, and what stands in oem must not act. A persistent that is open in
 * recovery and cannot be read proves nothing either: it is closed.
 */
int boot_pair_check(struct boot *b, struct data_mounted *mounted, struct error *e) _must_check_;

/*
 * With the OEM partition mounted: compares the user's partitions with the record of the
 * installation. One that has to be encrypted and is not, or is gone, or outside of recovery is not
 * open, is a problem of the report, and withheld from the system.
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

/* Reads which image runs: what ran up to here, with nothing unsealed, is measured. */
void boot_extension_note_image(struct boot *b);

/*
 * Extensions that are enabled for the image that runs (agent/extension.h), in active and passive
 * boots. boot_extension_open(), with the data mounted and before the folders are made, proves them
 * and lays those for /etc over that of the image; boot_extension_merge(), when the folders are made
 * and before the root is read-only, lays the others over /usr, and keeps systemd-sysext from what
 * lies on the persistent partition. An extension that fails is a problem of the report, and left
 * out. Only what would go on without data that was mounted is an error.
 */
int boot_extension_open(struct boot *b, struct boot_data data, struct error *e) _must_check_;
int boot_extension_merge(struct boot *b, struct boot_data data, struct error *e) _must_check_;

/*
 * With everything mounted, the policy closed: carries out the reset that the entry statereset asks
 * for. true: it is complete, restart. false: it was another entry, or there is none, which is a
 * problem of the report.
 */
bool boot_statereset(struct boot *b, bool opened_by_tpm, bool has_oem);

/*
 * The PIN of the volumes that a reset makes anew, typed on every console: the one of what stays
 * (agent/reset_pin.h), or a new one twice. Waits for ever, but in recovery. Negative when none is
 * to be had: outside of recovery b->pin.given_up is set.
 */
struct reset_journal;
int boot_reset_pin(struct boot *b, const struct reset_journal *j, struct secret **ret,
                   struct error *e) _must_check_;

/*
 * Carries a reset on that was cut (agent/reset.h), before anything is unlocked: the one that the
 * TPM knows of; without one the boot partition is looked at in recovery alone, for its entries. 0:
 * go on, there is none, or it is complete, or it had destroyed nothing and was taken back, or has
 * to wait for an ESP that takes no writes; 1: it is complete, and another image than the running
 * one is to find the new volumes: restart.
 */
int boot_reset(struct boot *b, struct error *e) _must_check_;
