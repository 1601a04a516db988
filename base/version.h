/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Order of version strings (UAPI.10), as systemd-boot computes it. Where the text of the
 * specification and systemd-boot differ ("~" and "^" against the end or a longer string, a letter
 * against the number 0), the boot loader is followed: the question answered here is which entry it
 * will start.
 */
#pragma once

/* -1, 0 or 1 when a is older than, equal to or newer than b. NULL counts as "". */
int version_compare(const char *a, const char *b);
