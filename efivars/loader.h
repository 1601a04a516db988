/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the firmware and the boot loader say about this boot, and the few wishes that can be left
 * for the next one. Variables of the Boot Loader Interface
 * (https://systemd.io/BOOT_LOADER_INTERFACE), written by systemd-boot and systemd-stub; values are
 * UTF-16.
 *
 * Readers return -ENOENT when the variable does not exist: no UEFI, another boot loader, or a boot
 * without counting. -EBADMSG means that it exists and makes no sense.
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

/* Any text variable of the loader's GUID, appended as UTF-8. */
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
 * Deletes a wish (LoaderEntryOneShot, LoaderEntryDefault, LoaderEntryPreferred, ...); absent is
 * fine. -EINVAL for names that do not begin with "LoaderEntry" or "LoaderConfig": the others belong
 * to the loader.
 */
int loader_clear(const struct env *env, const char *name) _must_check_;

/* UEFI 2.10 section 32.3. -ENOENT where the firmware knows no Secure Boot. */
int secureboot_state(const struct env *env, struct secureboot_state *ret) _must_check_;

/*
 * Whether systemd-stub measured the image into PCR 11 of a TPM during this boot: it sets the
 * variable only then. Unreadable counts as "not measured".
 */
bool stub_measured(const struct env *env);
