/* SPDX-License-Identifier: Apache-2.0 */
#include "image/phases.h"

const char *phase_path(enum phase p)
{
        static const char *const paths[PHASE_MAX] = {
                [PHASE_NONE] = "",
                [PHASE_UNLOCK] = "enter-initrd",
                [PHASE_LEAVE] = "enter-initrd:leave-initrd",
                [PHASE_LEAVE_SYSINIT] = "enter-initrd:leave-initrd:sysinit",
                [PHASE_LEAVE_READY] = "enter-initrd:leave-initrd:sysinit:ready",
                [PHASE_SYSINIT] = "sysinit",
                [PHASE_READY] = "sysinit:ready",
                [PHASE_HANDOVER] = ("enter-initrd:" PHASE_HANDOVER_WORD),
        };

        return paths[p];
}
