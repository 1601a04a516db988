/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Escrow: the recovery key of an installation, one for all encrypted partitions of the node, in a
 * key slot of its own on each, and where it goes.
 *
 * A key that nobody can read is worthless, and one that is lost behind a finished node is worse:
 * it looks like a way back. So the owner has the key before there is a node:
 *   1. install_escrow_choose()   looks where it will go; a wish that cannot work ends the run here;
 *   2. install_escrow_begin()    makes the key and reserves the file, durably, with a filler of the
 *                              size of a key: a full, read-only or foreign place shows itself while
 *                              the disk still has its old content;
 *   3. the partitions are made, and proven to open by the key;
 *   4. install_escrow_deliver()  writes the file and syncs it, or shows the key on the terminal;
 *   5. the partition table is written, which makes the disk a node.
 * A failure after 2. removes the file. A run that is killed leaves the filler, and the next one
 * takes the file over; killed between 4. and 5. it leaves a key that opens nothing, and the next
 * run asks for another name rather than touch it.
 *
 * The key goes to that file or that terminal alone: never to standard output, JSON, logs.
 */
#pragma once

#include <stdbool.h>
#include <stdio.h>

#include "base/env.h"
#include "base/error.h"
#include "base/json.h"
#include "base/secret.h"
#include "partition/disk.h"

enum install_escrow_place {
        INSTALL_ESCROW_NONE,
        INSTALL_ESCROW_SHOWN,
        INSTALL_ESCROW_FILE,
};

/* At most one of them (install_escrow_check()); none is up to install_escrow_choose(). */
struct install_escrow_wishes {
        bool show, none;
        const char *file;
};

#define INSTALL_ESCROW_WARNINGS 3u

struct install_escrow {
        enum install_escrow_place place;
        struct secret *key; /* text of the key from install_escrow_begin() on; NULL: none */
        const char *path;   /* of the file */
        bool leaving;       /* set by the caller before begin: the session ends by itself */
        int dir, fd;        /* its folder, and itself */
        int terminal;       /* where to show */
        const char *warnings[INSTALL_ESCROW_WARNINGS]; /* for the report, static texts */
        unsigned n_warnings;
};

#define INSTALL_ESCROW_INIT                                                                        \
        {                                                                                          \
                .dir = -EBADF, .fd = -EBADF, .terminal = -EBADF                                    \
        }

/* ERROR_USAGE for wishes that exclude each other, or that name standard output. */
int install_escrow_check(const struct install_escrow_wishes *wishes, struct error *e) _must_check_;

/*
 * Decides where the key goes. Without a wish: to the terminal when there is a person (attended),
 * else nowhere, with a warning. Changes nothing. ERROR_USAGE for a key to
 * be shown without a terminal.
 */
int install_escrow_choose(const struct env *env, const struct install_escrow_wishes *wishes,
                          bool attended, struct install_escrow *ret, struct error *e) _must_check_;

/* One line of the plan for people. */
void install_escrow_describe(const struct install_escrow *k, FILE *out);

/*
 * Step 2. disk is the one that will be overwritten: the file must not be on it; NULL: none is.
 * -EEXIST
 * (ERROR_USAGE) when the file is there; -EPERM (likewise) when the key would be gone with a session
 * that ends by itself: its file is in memory.
 */
int install_escrow_begin(struct install_escrow *k, const struct env *env, const struct disk *disk,
                         struct error *e) _must_check_;

/* Step 4. */
int install_escrow_deliver(struct install_escrow *k, struct error *e) _must_check_;

/* After a failure: removes the file that install_escrow_begin() made. */
void install_escrow_abandon(struct install_escrow *k);

void install_escrow_done(struct install_escrow *k);

/* "none", "shown", "file". */
const char *install_escrow_place_name(enum install_escrow_place place);

/* Adds "recovery_key" (the place) and "warnings" to a report. -ENOMEM. */
int install_escrow_report(const struct install_escrow *k, struct json_object *root) _must_check_;
