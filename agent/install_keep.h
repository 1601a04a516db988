/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside of "install --no-format": an installation into partitions that are there. What it finds
 * decides what becomes of each:
 *
 *   the table       is never written
 *   efi             made anew: it holds the system, which is what is installed. Refused when there
 *                   is anything on it that is not of such a system, or when it cannot be read and
 *                   does not bear our label
 *
 *   oem, persistent, and the partitions that were asked for:
 *     nothing on it   made like those of any other installation
 *     LUKS2           kept, with its data, when its header is in our form and one of its tokens is
 *                     proven to open in this TPM for the image that is installed
 *     unfinished      LUKS2 of an installation that was interrupted: made anew
 *     anything else   refused: nothing of somebody's is overwritten
 *
 *   all others      not touched
 */
#pragma once

#include "agent/install.h"

/*
 * Pure: whether the table has what a node needs, with types, names and sizes (image_size 0: not
 * known, and the room on the ESP is not judged). The sizes of wishes are the least that is
 * accepted. -EINVAL (ERROR_PRECONDITION) with everything that is missing, a line for each.
 */
int install_keep_check_layout(const struct layout *l, const struct layout_wishes *wishes,
                              uint64_t image_size, struct error *e) _must_check_;

/*
 * Pure: whether an ESP (its root directory) holds a system of our kind or nothing. -EEXIST
 * (ERROR_PRECONDITION) with the names of what is neither.
 */
int install_keep_check_esp(int dirfd, struct error *e) _must_check_;

/*
 * Pure: an oem that is made anew is refused beside an encrypted partition that is kept, with
 * -EEXIST (ERROR_PRECONDITION): who can start the installer on a node shall not put his
 * configuration beside its data. The boot would not take them for a pair either (partition/pair.h).
 * No interrupted installation leaves this: oem is the first that is made.
 */
int install_keep_check_together(const struct install_plan *p, struct error *e) _must_check_;

/* For install_disk_find(): a disk that is prepared. data is a struct install_keep_fit. */
struct install_keep_fit {
        const struct layout_wishes *wishes;
        uint64_t image_size;
};
int install_keep_fits(const struct disk *d, void *data, struct error *e) _must_check_;

/* Reads the table of the plan's disk into the plan. */
int install_keep_read(struct install_plan *p, const struct layout_wishes *wishes, struct error *e)
        _must_check_;

/* Looks into the partitions and decides which are kept; the last thing of a plan, because the proof
 * needs the value of PCR 7. Fills what is lost. */
int install_keep_judge(struct install_plan *p, struct error *e) _must_check_;

/* Whether the partition of this name is kept; false without --no-format. */
bool install_keep_has(const struct install_plan *p, const char *name);
/* Whether no encrypted partition is new, so that a recovery key would have no place. */
bool install_keep_all(const struct install_plan *p);

/* Instead of preparing the disk: takes the old content of what is made anew away, the ESP first, so
 * that nothing starts from this disk until the end. */
int install_keep_clear(const struct install_plan *p, struct error *e) _must_check_;
