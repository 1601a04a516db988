/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SBAT, revocation by generation (shim's SBAT.md): an image tells in its .sbat section the
 * generation of each component it is made of ("systemd,1,The systemd Developers,systemd,252,URL");
 * the machine's level document tells the lowest generation that is still allowed
 * ("sbat,1,2023012900", "shim,2"). Both are lines of comma-separated fields.
 *
 * The level is kept by shim, which mirrors it in the variable SbatLevelRT. A machine that boots
 * without shim has none, and then nothing of this applies.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/env.h"
#include "base/error.h"

struct sbat_component {
        const char *name;
        uint64_t generation;
        const char *rest; /* remaining fields as they stand: vendor and version, or the date */
};

struct sbat;

/*
 * Reads a document: every line has a name and a generation (decimal, at most 65535); empty lines,
 * CR LF, a byte order mark and NUL padding at the end are accepted. what stands in messages ("the
 * image's .sbat", "SbatLevelRT"). Refused: -EBADMSG (also for a document without any line), or
 * -E2BIG beyond LIMIT_SBAT or LIMIT_SBAT_COMPONENTS.
 */
int sbat_parse(const void *text, size_t n, const char *what, struct sbat **ret, struct error *e)
        _must_check_;
void sbat_free(struct sbat *s);
DEFINE_CLEANUP(struct sbat, sbat_free)

/* In document order; NULL past the end. Borrowed. */
const struct sbat_component *sbat_at(const struct sbat *s, unsigned i);

/* Reads this machine's level. 1, or 0 when it has none (*ret is untouched). ERROR_PRECONDITION when
 * the variable exists and cannot be read or makes no sense. */
int sbat_level(const struct env *env, struct sbat **ret, struct error *e) _must_check_;

/*
 * Compares an image with a level. image NULL: the image has no .sbat section. level NULL: the
 * machine has no level, always 0. Refused: -ESTALE when a component is below the level (the text
 * names it and both generations), -ENODATA when there is a level and the image tells nothing.
 */
int sbat_check(const struct sbat *image, const struct sbat *level, struct error *e) _must_check_;
