/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The reset of a node: a new active image from recovery, then the end of the data, then new empty
 * volumes. Everything that touches the world is given, so that tests run exactly this on plain
 * files and a folder. The order:
 *
 *   journal -> its digest in the TPM -> image and entries -> erase all volumes -> make all anew ->
 * deliver the recovery key
 *   -> give all their labels -> clear wishes in EFI variables -> remove digest and journal
 *
 * A run may end at any instruction; the boot stage of whatever starts next calls reset_resume(),
 * when the journal is the one that the TPM knows of (agent/reset_journal.h). How far the reset is,
 * is seen on the volumes, not in the journal:
 *
 *   header of the journal's UUID     not erased yet
 *   no header                        erased, or about to be made
 *   header with RESET_LABEL          made, but not known to be complete: made again
 *   anything else                    done; never touched by a resumed reset
 *
 * A volume in the making bears a label that no boot stage opens (one that knows of no resets opens
 * it for a partition of the user's alone); giving it its own label is the last thing done to it,
 * and one atomic write. A run that is cut between delivery and labels has told a key that the next
 * one makes void: nothing on the disk could be believed to say that a volume is complete. So no
 * data is ever written to a volume that a journal could still lead to.
 *
 * What stays: the image that is known to be good, as passive (design, I2), and recovery. There is
 * an entry to start at every moment, because the image goes the way of an upgrade.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "agent/install_record.h"
#include "agent/reset_journal.h"
#include "agent/volume.h"
#include "base/env.h"
#include "base/error.h"
#include "base/json.h"
#include "partition/disk.h"
#include "partition/erase.h"
#include "upgrade/image.h"

/* Label of a volume in the making. */
#define RESET_LABEL LAYOUT_RESET_LABEL

struct reset_volume_report {
        bool earlier; /* done by a run that was cut; nothing below is set then but new_uuid */
        struct erase_report erased;
        char new_uuid[LAYOUT_UUID_SIZE];
};

struct reset_report {
        bool resumed;
        bool stale;        /* resumed: nothing was left to do for the journal, and it was dropped */
        bool intact;       /* all volumes were as they were before the reset when this run began */
        bool started;      /* something was destroyed */
        bool delivered;    /* the recovery key is with its owner */
        char version[128]; /* of the image */
        bool has_image;
        uint8_t sha256[SHA256_SIZE];
        bool copied;      /* recovery's image was copied; else active had it */
        unsigned cleared; /* wishes in EFI variables */
        struct reset_volume_report volume[RESET_VOLUMES_MAX];
        char warning[1024]; /* "" = nothing */
};

struct reset_world {
        const struct env *env;
        const struct esp *esp;   /* mounted, writable */
        const struct disk *disk; /* for the certificate; NULL: unknown */
        struct tpm *tpm;
        const struct image_demands *demands;
        const uint8_t *values;             /* of the journal's PCRs, ascending */
        const struct secret *pin;          /* NULL: the journal wants none */
        uint64_t device_sector;            /* bytes */
        const struct secret *recovery_key; /* NULL: none */
        /* Its node. -ESTALE when the disk has no partition of that name and UUID. */
        int (*find)(void *arg, const struct reset_volume *v, char **ret, struct error *e);
        /* Refuses an image that could not open what stays: -ENOKEY. NULL: nothing stays. */
        int (*kept)(void *arg, const struct verified_image *image, struct error *e);
        /* Makes its file system, and puts record and certificate (NULL: none) into it. */
        int (*fill)(void *arg, const struct reset_volume *v, const struct volume *made,
                    const struct install_record *record, struct json_object *certificate,
                    struct error *e);
        /* Hands the recovery key to its owner. NULL: there is none. */
        int (*deliver)(void *arg, struct error *e);
        /* "erase", "make" and the name of the volume; bytes of it. NULL: nobody asks. */
        void (*tell)(void *arg, const char *phase, const char *name, uint64_t done, uint64_t total);
        void *arg;
        /* As esp->step, for everything else. NULL: nobody asks. */
        int (*step)(void *arg, const char *what, const char *name);
        void *step_arg;
};

/*
 * Carries out a reset. Nothing was destroyed when report->started is false after a failure, but the
 * journal may stand: reset_cancel() takes the reset back then, unless an earlier one has begun.
 * ERROR_VERSION when recovery's image is older than the version floor. A TPM that takes no note of
 * the journal is an error, and nothing is destroyed.
 */
int reset_run(const struct reset_world *w, const struct reset_journal *j, struct reset_report *ret,
              struct error *e) _must_check_;

/* Leaves it to the next boot: the journal, and the TPM's note of it. */
int reset_order(const struct reset_world *w, const struct reset_journal *j, struct error *e)
        _must_check_;

/* How far a journal that was found is: stale and intact of the report. Changes nothing, and needs
 * of the world its disk alone. */
int reset_look(const struct reset_world *w, const struct reset_journal *j, struct reset_report *ret,
               struct error *e) _must_check_;

/* The same as reset_run() for a journal that was found, and that the TPM knows of. A volume that
 * cannot be the journal's is left alone, and so is one that waits for a first boot. */
int reset_resume(const struct reset_world *w, const struct reset_journal *j,
                 struct reset_report *ret, struct error *e) _must_check_;

/* Takes a reset back that has not destroyed anything. -EPERM (ERROR_PRECONDITION) when it has. */
int reset_cancel(const struct reset_world *w, const struct reset_journal *j, struct error *e)
        _must_check_;

/*
 * "tb-agent reset --yes" by what the configuration says, in a recovery session whose init does not
 * run yet: without a recovery key, and nothing restarts at its end. Writes to standard output what
 * the verb writes there.
 */
int reset_unattended(const struct env *env, struct error *e) _must_check_;

/* --- its parts --- */

/* Number of the image that the recovery entry names. -ENOENT (ERROR_PRECONDITION). */
struct situation;
int reset_image_find(const struct situation *s, uint32_t *ret, struct error *e) _must_check_;

/* Whether that can be done: proofs and space. Changes nothing. */
int reset_image_look(const struct reset_world *w, struct reset_report *report,
                     struct verified_image **ret, struct error *e) _must_check_;

/* Makes the image of the recovery entry the active one and proves it as it stands there. */
int reset_image_apply(const struct reset_world *w, struct reset_report *report,
                      struct verified_image **ret, struct error *e) _must_check_;

/*
 * What was erased and how that was verified: the document of "reset --json", on the node, and in
 * the file of --certificate. NULL when memory ran out.
 */
struct json_object *reset_certificate(const struct reset_world *w, const struct reset_journal *j,
                                      const struct reset_report *report);
