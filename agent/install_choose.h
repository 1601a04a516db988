/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside of "install" on a terminal where no disk was named: shows all disks, with what is against
 * those that cannot be taken, and lets somebody choose.
 */
#pragma once

#include <stdio.h>

#include "agent/install_disk.h"

/*
 * Asks on out, reads lines of in: the number that was shown, or the name of the disk, with or
 * without its folder. *ret is its place in the list. ERROR_PRECONDITION when none can be chosen
 * (with the reasons); ERROR_INTERRUPTED when the input ends, or an answer is empty, or none of a
 * few will do.
 */
int install_choose_disk(const struct install_offers *offers, FILE *in, FILE *out, size_t *ret,
                        struct error *e) _must_check_;

/* Whether an answer confirms the disk: "yes", its kernel name, or its path. */
bool install_choose_confirms(const struct disk *d, const char *line);
