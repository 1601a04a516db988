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
 * An image may hold several profiles (systemd-stub 257): what follows a .profile section belongs to
 * that profile and takes the place of the base's section of the same name. Profile 0 is what boots
 * when nobody chooses, and what every query speaks about that does not ask for a profile.
 *
 * Life cycle: usi_open(fd), or the reader of a stream in upgrade/usi_reader.h, ... usi_free().
 * Either way each byte of the image is seen once, and all that is known of it later is what was
 * seen then; only usi_pe() leads back to the descriptor, which stays the caller's.
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
 * Reads a file once. Refused (-EBADMSG, -E2BIG): whatever pe_open() refuses, an image that is no
 * EFI application, that has no .linux section, ambiguous section names, a small section above its
 * limit, a malformed os-release or command line.
 */
int usi_open(int fd, struct usi **ret, struct error *e) _must_check_;
void usi_free(struct usi *u);
DEFINE_CLEANUP(struct usi, usi_free)

/* Headers and section table; with content (pe_fd()) only after usi_open(). */
const struct pe *usi_pe(const struct usi *u);

/* Size and SHA-256 of the bytes that were read. */
uint64_t usi_size(const struct usi *u);
const uint8_t *usi_sha256(const struct usi *u); /* SHA256_SIZE bytes */

/* ".linux" and so on. */
const char *usi_section_name(enum usi_section kind);

/* The section that profile 0 has or takes from the base; NULL when it is absent or empty. */
const struct pe_section *usi_section(const struct usi *u, enum usi_section kind);

/*
 * Content of a small section as one profile sees it, borrowed; NULL when it is absent or empty,
 * when there is no such profile, and for the kinds that are not kept: kept are .osrel, .cmdline,
 * .sbat, .pcrsig, .pcrpkey, .profile, and a .uname of at most LIMIT_UNAME.
 */
const struct buf *usi_content(const struct usi *u, unsigned profile, enum usi_section kind);

/* Values of .osrel, borrowed; NULL when the section or the key is absent. */
const char *usi_image_id(const struct usi *u);
const char *usi_image_version(const struct usi *u);
const char *usi_pretty_name(const struct usi *u);

/* Command line without trailing newline and NUL, borrowed; NULL when absent. */
const char *usi_cmdline(const struct usi *u);

/* Content of .pcrpkey, .pcrsig and .sbat, borrowed; NULL when absent. */
const struct buf *usi_pcrpkey(const struct usi *u);
const struct buf *usi_pcrsig(const struct usi *u);
const struct buf *usi_sbat(const struct usi *u);

/* Release of the kernel ("6.1.0-28-amd64"): what .uname says, else what the kernel's own header
 * says (x86 boot protocol, field kernel_version), else NULL. Printable, without blanks. */
const char *usi_kernel_version(const struct usi *u);

/* Major version of systemd-stub ("252"), 0 when the image does not tell. */
unsigned usi_stub_version(const struct usi *u);

/* Number of .profile sections; 0 for a single-profile image. */
unsigned usi_profiles(const struct usi *u);

/*
 * Predicts PCR 11 of the sha256 bank after the stub ran and the words of phase_path
 * ("enter-initrd", "enter-initrd:leave-initrd"; "" = straight from the stub) were extended.
 *
 * Refused: -EINVAL for a malformed path (empty word, above LIMIT_PHASE_PATH) and for a profile that
 * is not there; -EOPNOTSUPP when the value cannot be known: sections chosen by hardware (.dtbauto,
 * .efifw), profiles under a stub that is not known to have them, or a section that only some stubs
 * measure while the image does not tell its stub's version.
 */
int usi_pcr11_profile(const struct usi *u, unsigned profile, const char *phase_path,
                      uint8_t ret[SHA256_SIZE], struct error *e) _must_check_;

/* The same for profile 0, or for the only one there is. */
int usi_pcr11(const struct usi *u, const char *phase_path, uint8_t ret[SHA256_SIZE],
              struct error *e) _must_check_;
