/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Wishes for the next boots: which entry a name means, whether it may be wished for, and the
 * variable of the boot loader that says so. Entries on trial are started by themselves; a wish is
 * for people who want another one.
 */
#pragma once

#include <stdbool.h>

#include "agent/situation.h"
#include "base/env.h"
#include "base/error.h"

/*
 * The entry of that name: a role ("passive"; the best of its entries) or an id, with or without its
 * counter and ".conf", in any case of letters. NULL (ERROR_USAGE) when there is none; the advice
 * lists those that are there.
 */
const struct entry_file *bootentry_find(const struct situation *s, const char *name,
                                        struct error *e);

/*
 * The text that names the entry to this boot loader and no other one: its id, or a pattern where
 * the id changes with the counter.
 */
void bootentry_id(const struct situation *s, const struct entry_file *f, char ret[NAME_MAX + 1]);

/*
 * Starts it in the next boot, once. A bad one is refused (-EPERM, ERROR_PRECONDITION) unless
 * forced.
 */
int bootentry_once(const struct env *env, const struct situation *s, const struct entry_file *f,
                   bool force, struct error *e) _must_check_;

/*
 * Starts it in all boots to come. A bad one is refused unless forced. systemd-boot before 260
 * starts what it is told to even with its tries used up; there an entry with a counter is refused,
 * forced or not.
 */
int bootentry_prefer(const struct env *env, const struct situation *s, const struct entry_file *f,
                     bool force, struct error *e) _must_check_;

/*
 * Takes every wish back: the boot loader chooses by itself again. Also behind an upgrade, because a
 * default defeats the counter of the new entry when it names its role, and keeps the new image from
 * starting when it names another. *ret_cleared gets the number of wishes that were there.
 */
int bootentry_clear(const struct env *env, unsigned *ret_cleared, struct error *e) _must_check_;

/*
 * Text of a wish ("LoaderEntryOneShot", "LoaderEntryDefault", "LoaderEntryPreferred") as it is now;
 * "" when there is none.
 */
void bootentry_wish(const struct env *env, const char *variable, char ret[NAME_MAX + 1]);

/* What is started next: by the first wish that leads to an entry, else as situation_next(). NULL:
 * nothing of ours. */
const struct entry_file *bootentry_next(const struct env *env, const struct situation *s);
