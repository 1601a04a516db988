/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The version floor: no image older than this may be written or trusted on this node. It only
 * rises, unless an operator clears it.
 *
 * Two copies, and the higher one counts:
 *   - a record in a TPM NV index (FLOOR_NV_INDEX): readable by anyone, also before any disk is
 *     open; not rolled back by restoring an old copy of the disk;
 *   - a JSON file in the encrypted /oem: not touched by somebody who has the TPM but not this
 *     boot; it says that an index exists, so that taking the index away is noticed, and holds the
 *     key that alone may write it.
 *
 * Who may write the index, and the choices looked at (TPM commands for one raise in brackets, the
 * reading before it not counted):
 *
 *   owner authorization [1]    The owner password is empty, as everywhere systemd seals: any other
 *                              system started on this machine lowers the floor.
 *   signed PCR 11 + PCR 7 [7]  A running system is closed: upgrade and bless could not raise. And
 *                              after a change of db the index could never be written again.
 *   counter, bits [n]          The TPM itself only counts up, but a version is text and not a
 *                              number, and a step costs a write of flash for each unit.
 *   extend [1]                 The TPM only appends; the floor would be the maximum of a list kept
 *                              elsewhere. Undefine and define again starts an empty list, just as
 *                              with every other type but the counter.
 *   platform, POLICY_DELETE    Only such an index cannot be removed by the owner. It can be made
 *   [-]                        with platform authorization only, which firmware takes away before
 *                              it starts an operating system.
 *   key of this node [6]       Chosen: TPM2_PolicySigned by a P-256 key made for this index, whose
 *                              private half is in the encrypted file. The signature covers a
 *                              nonce of the TPM and the bytes written: it cannot be replayed.
 *
 * What that gives. The public area (attributes and the policy that names the key) is compared with
 * the one the file implies before the content is believed: what it holds was written by this
 * node's opened system.
 *   - Another system with the TPM and the disk (Secure Boot off, a foreign medium): cannot write;
 *     can remove the index as owner, and then cannot make one that passes. The file still counts,
 *     and the missing, empty or foreign index is reported (enum floor_finding).
 *   - An old copy of the disk: the index is higher and counts; reported.
 *   - Both together: the floor falls to the old copy's, but not silently: the old file says that
 *     there is an index, and nothing but floor_setup(repair) makes one again.
 *     Only a copy made during the first setup says "pending", which anyone may finish.
 *   - A power cut anywhere: the file says "pending" before the index is made and "defined" after it
 *     was written. The index is raised before the file. Every step can be repeated.
 *   - TPM2_Clear or a new TPM: reported as a missing index; sealing has to be done anew as well.
 *   - Not stopped: root of the running system, who has the key, may clear the index as an operator
 *     does, and could install the machine anew just as well. This module never lowers on its way.
 *
 * The TPM refuses the forger, not the old image: what refuses an old image is the code that asks
 * here, before it writes an image and before it hands over to the one that was started.
 *
 * Order of versions: base/version.h. A floor belongs to one product (IMAGE_ID): versions of
 * different products have no order, so another product is refused until the floor is cleared.
 *
 * Errors: class and numbers as in partition/tpm.h, and the ones given below. Files: dirfd is the
 * folder in the encrypted partition.
 *
 * References: TPM 2.0 Library, part 1, section 37 (NV memory); part 3, sections 23.3
 * (PolicySigned) and 31 (NV commands); part 2, section 13 (attributes).
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/error.h"
#include "partition/tpm.h"

/* In the range of owner indices that no specification assigns (0x01800000 to 0x01bfffff). */
#define FLOOR_NV_INDEX 0x01805442u
#define FLOOR_FILE "tb-agent-floor.json"

/* Longest texts, without NUL: the record must fit the smallest NV buffer and index of real TPMs. */
#define FLOOR_PRODUCT_MAX 64u
#define FLOOR_VERSION_MAX 128u

/* Record in the index: magic, format, lengths, two texts, SHA-256 over all that. */
#define FLOOR_RECORD_SIZE (8u + FLOOR_PRODUCT_MAX + FLOOR_VERSION_MAX + SHA256_SIZE)

struct floor {
        char product[FLOOR_PRODUCT_MAX + 1]; /* IMAGE_ID of os-release, may be empty */
        char version[FLOOR_VERSION_MAX + 1]; /* IMAGE_VERSION, never empty */
};

/*
 * Fills ret. -EINVAL (ERROR_REFUSED) when the version is empty, or a text is too long or not
 * printable ASCII. NULL product counts as empty.
 */
int floor_make(const char *product, const char *version, struct floor *ret, struct error *e)
        _must_check_;

/*
 * Whether an image may be used: 0 when it is not older than the floor. ERROR_VERSION: -EPERM for an
 * older one, -EXDEV for another product; the text shows both sides.
 */
int floor_allows(const struct floor *floor, const struct floor *image, struct error *e)
        _must_check_;

/* The higher of two; NULL is no floor. Products that differ: a, which should be the TPM's. NULL
 * when both are. */
const struct floor *floor_effective(const struct floor *a, const struct floor *b);

/* Bytes of the index. floor_pack: -EIO when the crypto library fails; floor_unpack: -EBADMSG for
 * anything that floor_pack does not make. */
int floor_pack(const struct floor *floor, uint8_t ret[FLOOR_RECORD_SIZE]) _must_check_;
int floor_unpack(const uint8_t *data, size_t n, struct floor *ret) _must_check_;

/* --- the file --- */

/* The key that writes the index (partition/floor_nv.h). */
struct floor_key;
void floor_key_free(struct floor_key *k);
DEFINE_CLEANUP(struct floor_key, floor_key_free)

enum floor_stage {
        FLOOR_STAGE_PENDING, /* an index is being made, or was and not yet noted */
        FLOOR_STAGE_DEFINED, /* there is an index; when it is missing, somebody removed it */
        FLOOR_STAGE_CLEARED, /* an operator took the floor away */
        FLOOR_STAGE_MAX,
};

struct floor_state {
        enum floor_stage stage;
        struct floor floor;    /* the last one, when cleared */
        struct floor_key *key; /* NULL when cleared */
};

void floor_state_free(struct floor_state *s);
DEFINE_CLEANUP(struct floor_state, floor_state_free)

/* A pending state with a new key. */
int floor_state_new(const struct floor *floor, struct floor_state **ret, struct error *e)
        _must_check_;

/* -ENOENT when there is no file, -EBADMSG (ERROR_PRECONDITION) when it is not one of ours. */
int floor_load_file(int dirfd, const char *name, struct floor_state **ret, struct error *e)
        _must_check_;

/* Durable when it returns 0. Mode 0600. */
int floor_store_file(int dirfd, const char *name, const struct floor_state *state, struct error *e)
        _must_check_;

/* --- the index --- */

/*
 * What the index says, believed without proof: for status, and where the file is not open yet.
 * -ENOENT: no index; -ENODATA: made but never written; -EBADMSG: something else is there.
 */
int floor_read(struct tpm *tpm, struct floor *ret, struct error *e) _must_check_;

/* --- both --- */

enum floor_finding {
        FLOOR_NONE,            /* neither index nor file: no floor was ever set */
        FLOOR_AGREE,           /* both say the same */
        FLOOR_CLEARED,         /* an operator took it away */
        FLOOR_PENDING,         /* being set up: floor_setup() finishes it */
        FLOOR_FILE_BEHIND,     /* interrupted raise, or an old copy of the disk */
        FLOOR_INDEX_BEHIND,    /* never happens by interruption */
        FLOOR_INDEX_MISSING,   /* removed, or the TPM was cleared or replaced */
        FLOOR_INDEX_EMPTY,     /* removed and made again by a stranger */
        FLOOR_INDEX_FOREIGN,   /* made by a stranger: other attributes or key */
        FLOOR_INDEX_DAMAGED,   /* right index, wrong content */
        FLOOR_INDEX_UNCLAIMED, /* an index, but no file: left by an earlier installation */
        FLOOR_FINDING_MAX,
};

struct floor_report {
        enum floor_finding finding;
        bool has_index, has_file, has_floor;
        struct floor index; /* believed only as far as the finding says */
        struct floor file;
        struct floor effective; /* with has_floor */
};

/* Short stable name ("agree", "index-missing", ...) for JSON; a sentence for people. */
const char *floor_finding_name(enum floor_finding f);
const char *floor_finding_text(enum floor_finding f);
/* Whether the finding is something an operator must be told about. */
bool floor_finding_alarming(enum floor_finding f);

/*
 * Compares index and file (state may be NULL: no file). Changes nothing. A disagreement is a
 * finding, not an error. An unclaimed index counts as a floor, a foreign, empty or damaged one
 * beside a file does not.
 */
int floor_inspect(struct tpm *tpm, const struct floor_state *state, struct floor_report *ret,
                  struct error *e) _must_check_;

/*
 * Sets the floor up on this node, or finishes an interrupted setup; does nothing when it is there
 * and as high. An unclaimed index is replaced only by a floor that is not lower.
 *
 * -EPERM (ERROR_VERSION): the floor there is higher; -EXDEV: of another product. -EREMOTE: an index
 * that the file speaks of is gone or was replaced, and repair is not set; with repair, which is an
 * explicit wish of the operator, it is made anew at the higher of file and floor. -EEXIST: the
 * handle is used by something that is not a floor (with repair it is replaced).
 */
int floor_setup(struct tpm *tpm, int dirfd, const char *name, const struct floor *floor,
                bool repair, struct error *e) _must_check_;

/*
 * Raises both copies: index first. Idempotent. -EPERM (ERROR_VERSION): the floor is higher, nothing
 * was changed; -EXDEV: another product. -ENOENT: no floor is set up. -EREMOTE: the index is missing
 * or not ours; the file was raised nevertheless.
 */
int floor_raise(struct tpm *tpm, int dirfd, const char *name, const struct floor *to,
                struct error *e) _must_check_;

/*
 * The operator's way down: removes the index, whoever made it, and notes it in the file (when there
 * is one). Afterwards there is no floor until floor_setup(). Idempotent.
 */
int floor_clear(struct tpm *tpm, int dirfd, const char *name, struct error *e) _must_check_;
