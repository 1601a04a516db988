/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the world is. Filled once in main; tests point it at a scratch folder and at a TPM
 * emulator. Nothing below agent/ spells a path under /sys, /proc, /dev or efivarfs by itself.
 */
#pragma once

struct env {
        const char *root; /* where the system's own tree begins, default "" (see agent/root.h) */
        const char *efivarfs; /* default /sys/firmware/efi/efivars */
        const char *sysfs;    /* default /sys */
        const char *proc;     /* default /proc */
        const char *dev;      /* default /dev */
        const char *run;      /* default /run */
        const char *extra; /* where systemd-stub put the image's signature files, default /.extra */
        const char *oem;   /* mount point of the encrypted OEM partition, default /oem */
        const char *persistent; /* mount point of the persistent partition, default /usr/local */
        const char *tcti; /* TPM: "device:/dev/tpmrm0" by default, or any tpm2-tss TCTI string */
};

#define ENV_INIT                                                                                   \
        {                                                                                          \
                .root = "", .efivarfs = "/sys/firmware/efi/efivars", .sysfs = "/sys",              \
                .proc = "/proc", .dev = "/dev", .run = "/run", .extra = "/.extra", .oem = "/oem",  \
                .persistent = "/usr/local", .tcti = "device:/dev/tpmrm0"                           \
        }
