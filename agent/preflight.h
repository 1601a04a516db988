/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Can this machine become a node? Looked at before the first write of an installation, and told as
 * a list: each check has a sentence of its own, and an advice when it fails (design, sections 7 and
 * 8; TCG TPM 2.0 Library part 2, section 6.13, for the properties).
 *
 *     preflight_read() -> preflight_judge() -> preflight_enforce()    the world, pure, the gate
 */
#pragma once

#include "base/env.h"
#include "base/error.h"
#include "base/json.h"
#include "efivars/loader.h"
#include "partition/tpm.h"
#include "upgrade/proof.h"

enum preflight_check {
        PREFLIGHT_UEFI,
        PREFLIGHT_SECURE_BOOT, /* on, or setup mode and keys to enrol */
        PREFLIGHT_TPM,         /* a TPM 2.0 that answers */
        PREFLIGHT_TPM_KIND,    /* and is no program */
        PREFLIGHT_PCR_BANK,
        PREFLIGHT_LOCKOUT,
        PREFLIGHT_STORAGE_KEY,
        PREFLIGHT_MEMORY,
        PREFLIGHT_ESP,
        PREFLIGHT_MAX,
};

/* What was found out. */
struct preflight_facts {
        bool uefi;
        struct secureboot_state secure_boot;
        bool keys_given;         /* --enroll-keys */
        bool allow_software_tpm; /* --allow-software-tpm */
        struct error tpm_error;  /* code 0: the TPM answers, and tpm is filled */
        struct tpm_info tpm;
        struct error storage_key; /* code 0: it can be made */
        uint64_t memory;          /* of the machine in bytes; 0: unknown */
        uint64_t image_size;      /* 0: not known yet, as is the ESP's */
        uint64_t esp_size;
};

/* In the words of upgrade/proof.h: state, text, advice. */
struct preflight {
        struct proof item[PREFLIGHT_MAX];
};

/* Asks firmware, TPM (through env->tcti) and kernel; fills all but the wishes and sizes, and
 * changes nothing. What cannot be found out is a fact as well. */
void preflight_read(const struct env *env, struct preflight_facts *facts);

/* Pure. Checks whose facts are missing because an earlier one failed are not reached; those of the
 * sizes do not apply as long as these are 0. */
void preflight_judge(const struct preflight_facts *facts, struct preflight *ret);

/* 0, or the first failed check as ERROR_PRECONDITION; the others that failed are logged. */
int preflight_enforce(const struct preflight *p, struct error *e) _must_check_;

/* What was accepted by somebody's wish, in one line; "" when nothing was. */
void preflight_overrides(const struct preflight *p, char *ret, size_t size);

/* Bytes of memory that the kernel says under this key of meminfo; 0: unknown. */
#define PREFLIGHT_MEMORY_TOTAL "MemTotal:"
#define PREFLIGHT_MEMORY_AVAILABLE "MemAvailable:"
uint64_t preflight_memory(const struct env *env, const char *key);

/* Stable name: "uefi", "secure-boot", "tpm", ... */
const char *preflight_name(enum preflight_check check);

/* [{"check","state","text","advice"},...]; NULL when memory ran out. */
struct json_object *preflight_json(const struct preflight *p);

/*
 * What kind of TPM says this of itself. Software: swtpm and the reference simulator, whose state is
 * a file for whoever runs the machine. Virtual: those of clouds and hypervisors.
 */
enum preflight_tpm_kind { PREFLIGHT_TPM_HARDWARE, PREFLIGHT_TPM_VIRTUAL, PREFLIGHT_TPM_SOFTWARE };
enum preflight_tpm_kind preflight_tpm_kind(const struct tpm_info *info);
