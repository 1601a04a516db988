/* SPDX-License-Identifier: Apache-2.0 */
/*
 * UEFI variables through efivarfs (UEFI 2.10 section 8.2; kernel documentation of efivarfs). A
 * variable is a file "Name-guid" whose content is four bytes of attributes, little-endian, and the
 * value.
 *
 * Everything goes through env->efivarfs, so tests work on an ordinary folder. Functions return
 * negative errno and leave the wording to the caller: an absent variable is an answer, not a
 * failure, and a variable that cannot be written is something every caller has to survive (no
 * operation of this project depends on NVRAM alone).
 *
 * Names are ASCII; GUIDs are given in lower-case text form. A name that could leave the folder is
 * -EINVAL.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/env.h"

/* EFI_GLOBAL_VARIABLE: SecureBoot, SetupMode, PK, KEK, Boot####, BootOrder. */
#define EFIVAR_GUID_GLOBAL "8be4df61-93ca-11d2-aa0d-00e098032b8c"
/* EFI_IMAGE_SECURITY_DATABASE: db, dbx. */
#define EFIVAR_GUID_SECURITY "d719b2cb-3d3a-4596-a3bc-dad00e67656f"
/* Boot loader interface: Loader* and Stub*. */
#define EFIVAR_GUID_LOADER "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"
/* SbatLevelRT of shim. */
#define EFIVAR_GUID_SHIM "605dab50-e046-4300-abb6-3dd810dd8b23"

#define EFIVAR_NON_VOLATILE 1u
#define EFIVAR_BOOTSERVICE 2u
#define EFIVAR_RUNTIME 4u
#define EFIVAR_AUTHENTICATED 0x20u /* by a signature with a time; UEFI 2.10 section 8.2.2 */
#define EFIVAR_APPEND 0x40u        /* only of a write, never of a variable */
/* What a variable of ours that survives a reboot carries. */
#define EFIVAR_PERSISTENT (EFIVAR_NON_VOLATILE | EFIVAR_BOOTSERVICE | EFIVAR_RUNTIME)

/*
 * Appends the value to out (without the attribute bytes); *ret_attributes may be NULL. Interrupted
 * reads (the kernel limits their rate) are repeated. -ENOENT when the variable does not exist or
 * was created but never written (empty file), -EBADMSG for a file too short to be one, -E2BIG above
 * LIMIT_EFI_VARIABLE or out->max. On failure out is unchanged.
 */
int efivar_read(const struct env *env, const char *name, const char *guid, struct buf *out,
                uint32_t *ret_attributes) _must_check_;

/*
 * Sets the variable, in one write() as firmware demands. A variable that already has this value and
 * these attributes is not written again: flash wears out. The immutable flag that the kernel puts
 * on variables it does not know is lifted for the write and put back. When this returns 0 the
 * firmware has accepted the value.
 */
int efivar_write(const struct env *env, const char *name, const char *guid, uint32_t attributes,
                 const void *data, size_t n) _must_check_;

/* Deletes the variable. One that does not exist counts as deleted. */
int efivar_delete(const struct env *env, const char *name, const char *guid) _must_check_;
