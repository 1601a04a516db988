/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The phase paths of PCR 11 that are in use: those of systemd-measure(1), of systems without a
 * second stage, and what a node of tb-agent has from its hand-over on. A signature document does
 * not name its phases; one that fits none of these is foreign.
 */
#pragma once

/* By this word a node closes its policy; nobody ever signs it. */
#define PHASE_HANDOVER_WORD "tb-agent-handover"

enum phase {
        PHASE_NONE,   /* straight from the stub */
        PHASE_UNLOCK, /* enter-initrd: the only one in which volumes may be unlocked */
        PHASE_LEAVE,
        PHASE_LEAVE_SYSINIT,
        PHASE_LEAVE_READY,
        PHASE_SYSINIT,
        PHASE_READY,
        PHASE_HANDOVER, /* closed: nobody ever signs it */
        PHASE_MAX,
};

/* The path, e.g. "enter-initrd:leave-initrd". */
const char *phase_path(enum phase p);
