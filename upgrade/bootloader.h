/* SPDX-License-Identifier: Apache-2.0 */
/*
 * systemd-boot as a file: which version it is, and its two copies on the ESP.
 */
#pragma once

#include "base/buf.h"
#include "base/error.h"
#include "efivars/sigdb.h"
#include "partition/eventlog.h"
#include "upgrade/bootloader_probe.h"
#include "upgrade/esp.h"

#if defined(__x86_64__)
#define BOOTLOADER_NAME "systemd-bootx64.efi"
#define BOOTLOADER_FALLBACK_NAME "BOOTX64.EFI"
#elif defined(__aarch64__)
#define BOOTLOADER_NAME "systemd-bootaa64.efi"
#define BOOTLOADER_FALLBACK_NAME "BOOTAA64.EFI"
#endif
/* The copy that the firmware's boot entry names; the other one is the fallback path. */
#define BOOTLOADER_PATH "EFI/systemd/" BOOTLOADER_NAME
#define BOOTLOADER_FALLBACK_PATH "EFI/BOOT/" BOOTLOADER_FALLBACK_NAME

struct bootloader {
        struct buf image;                      /* the whole file */
        char version[BOOTLOADER_VERSION_SIZE]; /* "252.39-1~deb12u1" */
        unsigned major;                        /* 252 */
};

/*
 * Reads a boot loader file. Refused when it is no PE image of systemd-boot, or above
 * LIMIT_BOOT_LOADER. name stands in messages.
 */
int bootloader_load(int dirfd, const char *path, struct bootloader *ret, struct error *e)
        _must_check_;
/* The same for one that came with an image and is in memory: a copy of the bytes. */
int bootloader_take(const struct buf *image, struct bootloader *ret, struct error *e) _must_check_;
/*
 * Whether this machine's firmware would start it, by db and dbx. ERROR_SIGNATURE or ERROR_REVOKED;
 * why (may be NULL) gets a sentence.
 */
int bootloader_verify(const struct bootloader *b, const struct sigdb *db, const struct sigdb *dbx,
                      struct buf *why, struct error *e) _must_check_;
/*
 * For one that is verified: -EXDEV (ERROR_PRECONDITION) when another entry of db vouches for it
 * than for anything in the boot of the log. PCR 7 would change, for every image on the disk. log
 * NULL: that cannot be said, and is no failure.
 */
int bootloader_check_pcr7(const struct bootloader *b, const struct sigdb *db,
                          const struct sigdb *dbx, const struct eventlog *log, struct error *e)
        _must_check_;
/* The certificate of db that vouches for it (trust_authority()), borrowed; NULL when there is none.
 */
const struct sigdb_entry *bootloader_authority(const struct bootloader *b, const struct sigdb *db,
                                               const struct sigdb *dbx);
void bootloader_done(struct bootloader *b);

/*
 * The oldest major version among the copies on the ESP: what entries have to suit, because firmware
 * may start either copy. Another program in the place of one (shim) starts a boot loader from
 * somewhere else, which is not replaced: then running counts as well, the version of the one that
 * started this boot (0: unknown, so any). -ENOENT when neither is systemd-boot. Nothing is proven
 * about them.
 */
int bootloader_major_on_esp(const struct esp *esp, unsigned running, unsigned *ret) _must_check_;

/* How this version wants an entry to name an image: "uki" from 258 on, "efi" before. */
enum entry_key bootloader_entry_key(const struct bootloader *b);

/* Adds both copies: EFI/systemd/systemd-bootx64.efi, then EFI/BOOT/BOOTX64.EFI, which firmware
 * starts. */
int bootloader_add(const struct esp *esp, const struct bootloader *b, struct error *e) _must_check_;

struct bootloader_wish {
        const struct bootloader *fresh; /* NULL: repair only */
        const struct sigdb *db, *dbx;   /* of this machine */
        const struct eventlog *log;     /* of this boot; NULL: unknown */
        bool force;                     /* also when it is older */
};

enum bootloader_outcome {
        BOOTLOADER_SAME,     /* both copies were whole and stay */
        BOOTLOADER_REPAIRED, /* a missing or damaged copy was made anew */
        BOOTLOADER_UPDATED,  /* the fresh one took the place of another */
        BOOTLOADER_NEWER,    /* what is there is newer than the fresh one, and stays (repaired) */
};

/*
 * Brings the two copies on the ESP up to date: to the fresh boot loader or the newest whole copy,
 * whichever is newer; of equal versions the fresh one. A copy is whole when firmware would start
 * it; the path that somebody gave to another program that firmware starts (shim) is left alone. The
 * damaged copy comes first, then the other; each by an exchange, so that one is whole at every
 * moment, and both unless one was damaged before.
 *
 * Errors of bootloader_verify() for the fresh one. -ENODATA (ERROR_PRECONDITION): the key database
 * is not known, or there is no whole boot loader to repair with. -EPERM (ERROR_PRECONDITION):
 * entries of this ESP would be hidden by it, because it is too old for the key "uki"; forcing does
 * not help. -EXDEV (ERROR_PRECONDITION): see bootloader_check_pcr7(); no image would unlock the
 * disk after it, and forcing does not help either.
 */
int bootloader_update(const struct esp *esp, const struct bootloader_wish *wish,
                      enum bootloader_outcome *ret, struct error *e) _must_check_;
