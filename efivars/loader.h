/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the firmware and the boot loader say about this boot, and the few wishes that can be left
 * for the next one. Variables of the Boot Loader Interface
 * (https://systemd.io/BOOT_LOADER_INTERFACE), written by systemd-boot and systemd-stub; values are
 * UTF-16.
 *
 * Readers return -ENOENT when the variable does not exist: no UEFI, another boot loader, or a boot
 * without counting. -EBADMSG means that it exists and makes no sense.
 *
 * What loader and stub report about a boot is volatile: it is gone with that boot. A running system
 * can leave a persistent variable of the same name, and the firmware then refuses the loader's own
 * one, because the attributes differ (UEFI 2.10 section 8.2.3): the value would be believed boot
 * after boot. Such a variable was planted; readers return -EUCLEAN for it, whatever it says.
 */
#pragma once

#include <stdbool.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/env.h"

#define LOADER_UUID_SIZE 37u /* 36 characters and a NUL */
#define LOADER_INFO_SIZE 128u

struct loader_info {
        char name[LOADER_INFO_SIZE];    /* "systemd-boot" */
        char version[LOADER_INFO_SIZE]; /* "257.13-1~deb13u1", "" when it gives none */
        bool systemd_boot;
        unsigned major; /* 257; 0 when the version does not start with a number */
};

struct secureboot_state {
        bool secure_boot; /* the firmware verifies what it starts */
        bool setup_mode;  /* no platform key: anybody may write the key databases */
};

/*
 * Any text variable of the loader's GUID, appended as UTF-8. -EUCLEAN for a planted one; wishes
 * (LoaderEntryDefault, ...) and names that loader and stub do not set are persistent by right.
 */
int loader_get(const struct env *env, const char *name, struct buf *out) _must_check_;

/*
 * Id of the entry that was started. Up to systemd-boot 252 with its counter
 * ("active+3-0.conf"), later without: entry_name_parse() reads both.
 */
int loader_entry_selected(const struct env *env, struct buf *out) _must_check_;

/* Partition the loader was started from, lower-case text form. */
int loader_device_part_uuid(const struct env *env, char ret[LOADER_UUID_SIZE]) _must_check_;

/* Path of the counted entry this boot was made from, as the loader wrote it (with backslashes). */
int loader_boot_count_path(const struct env *env, struct buf *out) _must_check_;

/* Name and version of the boot loader. */
int loader_info(const struct env *env, struct loader_info *ret) _must_check_;

/*
 * Entry for the next boot only; the loader deletes the variable when it reads it. Durable as far as
 * the firmware keeps its word: never rely on it alone.
 */
int loader_set_oneshot(const struct env *env, const char *entry_id) _must_check_;

/*
 * Entry for all boots to come. Default: started even when its tries are used up, so never for an
 * entry with a counter. Preferred: passed over when it is bad; understood from systemd-boot 260 on.
 */
int loader_set_default(const struct env *env, const char *entry_id) _must_check_;
int loader_set_preferred(const struct env *env, const char *entry_id) _must_check_;

/*
 * Deletes a wish (LoaderEntryOneShot, LoaderEntryDefault, LoaderEntryPreferred, ...); absent is
 * fine. -EINVAL for names that do not begin with "LoaderEntry" or "LoaderConfig": the others belong
 * to the loader.
 */
int loader_clear(const struct env *env, const char *name) _must_check_;

/* UEFI 2.10 section 32.3. -ENOENT where the firmware knows no Secure Boot. */
int secureboot_state(const struct env *env, struct secureboot_state *ret) _must_check_;

/*
 * Whether systemd-stub says that it measured the image into PCR 11 of a TPM during this boot. For
 * showing to people: false when the variable is planted, unreadable or says anything else.
 */
bool stub_measured(const struct env *env);

/*
 * Whether systemd-stub could have measured the image, so that a TPM policy may be open now. For
 * guards, which have to assume it when in doubt: false only when the machine has no efivarfs folder
 * (no UEFI) or the mounted efivarfs has no file of that variable. A planted one, one of any value,
 * one that cannot be read and an efivarfs that is not mounted count as measured.
 */
bool stub_may_have_measured(const struct env *env);

/*
 * Deletes every planted variable. All are tried; *ret_removed is their number, also when the first
 * failure is returned: the firmware refused (-EROFS, -EACCES, -EIO, ...), or a variable could not
 * be read to tell. No efivarfs is nothing to delete.
 *
 * A deleted one is gone for good when this returns, and the loader's own value is there from the
 * next boot on, not in this one: what loader and stub did in this boot stays unknown, and
 * stub_may_have_measured() afterwards misses the evidence. When *ret_removed is not 0, nothing
 * about this boot is to be trusted.
 */
int loader_remove_planted(const struct env *env, unsigned *ret_removed) _must_check_;
