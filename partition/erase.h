/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The end of an encrypted volume: what makes its key is destroyed, and the medium is asked whether
 * it is.
 *
 * What is overwritten is everything in front of the data: both headers and all key slots. It goes
 * from its end to its begin, so that the primary header, which tells whose volume this is, is
 * the last to go, and a run that was cut finds it again. Each part is durable and was read back
 * past the cache before that last one is written. Random bytes for the key slots, zeros for the
 * first part, so that nobody takes the rest for a file system.
 *
 * Without these bytes the rest is noise, but somebody may hold a copy of a header. So the device is
 * then told that it may forget the whole range, and where it cannot, but can write zeros by itself,
 * it is asked for that. Neither is relied on.
 *
 * LUKS2: both headers and the key slots lie before the data segment (On-Disk Format, section 2).
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

struct erase_hooks {
        /* Before each step that changes the device. A negative errno ends the run with it; for
         * fault tests. May be NULL. */
        int (*step)(void *arg, const char *what);
        /* So many bytes of *total were treated. May be NULL. */
        void (*progress)(void *arg, uint64_t done, uint64_t total);
        void *arg;
};

struct erase_report {
        uint64_t overwritten;   /* bytes from the begin of the device on, all of them read back */
        bool discarded, zeroed; /* of the whole range: told to forget it; zeros written */
        bool reads_zero;        /* at all places looked at afterwards, over the whole range */
};

/*
 * path: a block device that nobody uses (-EBUSY), or a plain file. overwrite: zeros are written to
 * the whole range, whatever time that takes. -EIO (ERROR_IO) when the medium gives back something
 * else than what was written, or still shows a header.
 */
int erase_volume(const char *path, bool overwrite, const struct erase_hooks *hooks,
                 struct erase_report *ret, struct error *e) _must_check_;
