/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A software TPM for a test: its own state folder, its own pair of loopback ports. The process dies
 * with the test program, also when that crashes.
 */
#pragma once

#include <sys/types.h>

#include "base/cleanup.h"

struct swtpm {
        char dir[64]; /* state; removed by swtpm_stop() */
        char tcti[64];
        unsigned port;
        pid_t pid;
};

/* Starts a TPM that was never used before; returns when it accepts connections. NULL on failure. */
struct swtpm *swtpm_start(void);

/* Power cycle: PCRs are reset, seeds and persistent objects stay. The port may change. 0 or
 * negative errno. */
int swtpm_reboot(struct swtpm *s);

void swtpm_stop(struct swtpm *s);
DEFINE_CLEANUP(struct swtpm, swtpm_stop)
