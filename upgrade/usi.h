/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A USI: a PE image made of systemd-stub and the sections it knows (UAPI "Unified Kernel Image";
 * systemd-stub(7)). This module says what the image holds and predicts what the stub will measure
 * of it. It trusts nothing in the image and proves nothing about it.
 *
 * Stubs of different age see different things: up to systemd 256 a section is found by *prefix* of
 * its name, the last one wins; later by the exact name, the first one wins. An image in which that
 * makes a difference (a known section twice, or a foreign name that begins like a known one) is
 * refused, so that every stub and this reader agree. Also, each stub measures only the sections it
 * knows: the version is read from the stub's own ".sdmagic" section.
 *
 * Life cycle: usi_open(fd) ... usi_free(); the descriptor stays the caller's.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/digest.h"
#include "base/error.h"
#include "upgrade/pe.h"

/* In the order in which systemd-stub measures them. */
enum usi_section {
        USI_LINUX,
        USI_OSREL,
        USI_CMDLINE,
        USI_INITRD,
        USI_UCODE,
        USI_SPLASH,
        USI_DTB,
        USI_UNAME,
        USI_SBAT,
        USI_PCRSIG, /* never measured: it signs the result */
        USI_PCRPKEY,
        USI_PROFILE,
        USI_DTBAUTO,
        USI_HWIDS,
        USI_EFIFW,
        USI_SECTION_MAX,
};

struct usi;

/*
 * Reads headers and the small sections. Refused (-EBADMSG, -E2BIG): whatever pe_open() refuses, an
 * image that is no EFI application, that has no .linux section, ambiguous section names, a small
 * section above its limit, a malformed os-release or command line.
 */
int usi_open(int fd, struct usi **ret, struct error *e) _must_check_;
void usi_free(struct usi *u);
DEFINE_CLEANUP(struct usi, usi_free)

const struct pe *usi_pe(const struct usi *u);

/* ".linux" and so on. */
const char *usi_section_name(enum usi_section kind);

/* The section in the base profile; NULL when it is absent or empty. */
const struct pe_section *usi_section(const struct usi *u, enum usi_section kind);

/* Values of .osrel, borrowed; NULL when the section or the key is absent. */
const char *usi_image_id(const struct usi *u);
const char *usi_image_version(const struct usi *u);
const char *usi_pretty_name(const struct usi *u);

/* Command line without trailing newline and NUL, borrowed; NULL when absent. */
const char *usi_cmdline(const struct usi *u);

/* Content of .pcrpkey and .pcrsig, borrowed; NULL when absent. */
const struct buf *usi_pcrpkey(const struct usi *u);
const struct buf *usi_pcrsig(const struct usi *u);

/* Major version of systemd-stub ("252"), 0 when the image does not tell. */
unsigned usi_stub_version(const struct usi *u);

/* Number of .profile sections; 0 for a single-profile image. */
unsigned usi_profiles(const struct usi *u);

/*
 * Predicts PCR 11 of the sha256 bank after the stub ran and the words of phase_path
 * ("enter-initrd", "enter-initrd:leave-initrd"; "" = straight from the stub) were extended. The
 * sections are read once, further calls only add the words.
 *
 * Refused: -EINVAL for a malformed path (empty word, above LIMIT_PHASE_PATH); -EOPNOTSUPP when the
 * value cannot be known: a multi-profile image (the profile is chosen at boot), sections chosen by
 * hardware (.dtbauto, .efifw), or a section that only some stubs measure while the image does not
 * tell its stub's version.
 */
int usi_pcr11(struct usi *u, const char *phase_path, uint8_t ret[SHA256_SIZE], struct error *e)
        _must_check_;
