/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An installation that nobody attends: "tb-agent install --unattended", which every live session
 * starts by itself (agent/tb-agent-install.service). It is carried out where a configuration says
 * install.auto, and asks nothing.
 *
 * The medium may stay in the machine, and the firmware may start it again and again. So:
 * - a disk that holds a node, ours or another one of this kind, is refused unless the configuration
 *   says install.overwrite-node;
 * - a node that this very medium installed is never installed again by it. It is known by a mark on
 *   its EFI system partition: a hash of the configuration and of the image. A false mark keeps an
 *   installation from beginning, and nothing else.
 *
 * What it does is shown on every console, and how it ended stays in front of the login prompts.
 */
#pragma once

#include <stdbool.h>

#include "agent/config.h"
#include "agent/install.h"
#include "base/env.h"
#include "base/error.h"
#include "partition/disk.h"

/* The mark, on the ESP: 64 hexadecimal digits and an end of line. */
#define INSTALL_AUTO_MARK "loader/tb-install.id"

/* ERROR_PRECONDITION outside of a live session, -ENODATA (ERROR_NOTHING) when no configuration asks
 * for an installation. */
int install_auto_check(const struct env *env, const struct config *c, struct error *e) _must_check_;

/*
 * Before anything is done to the disk that was chosen. image: digest of what would be installed.
 * -EALREADY (ERROR_NOTHING): this medium installed the node on it; -EEXIST (ERROR_PRECONDITION): it
 * holds another one, and may not be overwritten.
 */
int install_auto_check_disk(const struct disk *d, const struct config *c,
                            const uint8_t image[SHA256_SIZE], struct error *e) _must_check_;

/* The mark. For install_fill_esp(). */
int install_auto_fill_esp(const struct config *c, const uint8_t image[SHA256_SIZE],
                          const struct esp *esp, struct error *e) _must_check_;

/* A line on every console. arg: struct env. For struct progress_options. */
void install_auto_say(const char *text, void *arg);

/* The plan in one line, before the first write. */
void install_auto_begin(const struct install_plan *p);

/*
 * How it ended, on every console and at the login prompts. e: NULL or class ERROR_NONE after
 * success; installed: the node is complete all the same. Nothing is shown where nobody wanted an
 * installation, and outside of a live session.
 */
void install_auto_end(const struct env *env, enum install_end end, bool installed,
                      const struct error *e);
