/* SPDX-License-Identifier: Apache-2.0 */
/* Which disk an installation goes to: named, or chosen by a rule (partition/disk_select.h). */
#pragma once

#include <stdbool.h>

#include "base/env.h"
#include "base/error.h"
#include "base/json.h"
#include "partition/disk.h"
#include "partition/disk_use.h"

struct install_choice {
        char why[256];         /* why this disk */
        char *link;            /* stable path, may be empty */
        struct disk_uses uses; /* what has to be released before anything is written */
};

/* Whether a plan could be made for a disk; its words are what is against the disk. data is the
 * caller's. */
typedef int (*install_fits)(const struct disk *d, void *data, struct error *e);

/*
 * Finds the disk: spec is a path when it begins with "/" or ".", else a rule. Refuses the medium of
 * this session, and every disk the running system stands on, in any case; a removable one only to a
 * rule; one that is read-only or does not fit. Changes nothing.
 */
int install_disk_find(const struct env *env, const char *spec, install_fits fits, void *data,
                      struct disk **ret, struct install_choice *ret_choice, struct error *e)
        _must_check_;
/* A disk for somebody to choose, or why not. */
struct install_offer {
        struct disk *disk;
        char objection[256]; /* "": it can be chosen */
};

struct install_offers {
        struct install_offer *item;
        size_t n;
};

/* All disks, judged as install_disk_find() would a named one; release: what holds a disk will be
 * taken away where that is safe, and is no objection. Changes nothing. */
int install_disk_offer(const struct env *env, install_fits fits, void *data, bool release,
                       struct install_offers *ret, struct error *e) _must_check_;
void install_offers_done(struct install_offers *offers);

/* Whether spec is a path or a rule without a mistake; looks at no disk. */
int install_disk_check(const char *spec, struct error *e) _must_check_;
void install_choice_done(struct install_choice *c);

/*
 * Takes the disk, and refuses one in use; with release only when a use of it cannot be released,
 * and then nothing is released yet.
 */
int install_disk_take(struct disk *d, bool release, struct install_choice *c, struct error *e)
        _must_check_;

/* Releases what was found, and makes certain that nothing holds the disk: before the first write.
 */
int install_disk_claim(struct disk *d, const struct install_choice *c, struct error *e)
        _must_check_;

/* For the plan. */
void install_disk_describe(const struct disk *d, const struct install_choice *c, FILE *out);
struct json_object *install_disk_json(const struct disk *d, const struct install_choice *c);
struct json_object *install_disk_uses_json(const struct install_choice *c);
