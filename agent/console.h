/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Asking a person for a recovery key, without echo: on every console of the kernel at once before
 * there is a system, or on the terminal of a process. Who answers first is heard.
 *
 * Nothing here waits for a device: a serial line that takes no output, or a console without a
 * driver, holds up nobody.
 */
#pragma once

#include "base/env.h"
#include "base/error.h"
#include "base/secret.h"

struct console;

/* All consoles that proc/consoles names and that are terminals; /dev/console when it names none.
 * -ENXIO (ERROR_PRECONDITION) when there is not one. */
int console_open_all(const struct env *env, struct console **ret, struct error *e) _must_check_;

/* The terminal of this process, where Ctrl-C and Ctrl-D end the asking. -ENOTTY (ERROR_USAGE) when
 * it has none. */
int console_open_terminal(const struct env *env, struct console **ret, struct error *e)
        _must_check_;

/* Gives the terminals their settings back. */
void console_close(struct console *c);
DEFINE_CLEANUP(struct console, console_close)

/*
 * Calls noticed while an answer is waited for, whenever fd can be read; noticed reads it empty. fd
 * is borrowed.
 */
void console_watch(struct console *c, int fd, void (*noticed)(void *ctx), void *ctx);

/* Shows a text, which is best effort. */
void console_say(struct console *c, const char *text);

/*
 * Shows a text on the consoles that console_open_all() would open, whoever uses them now: their
 * settings stay as they are, and what is being typed is not lost. Best effort.
 */
void console_tell(const struct env *env, const char *text);

/*
 * Reads one line, without its end. -ETIMEDOUT after so many seconds without one (0: never), -EPIPE
 * when the last terminal was hung up, -ECANCELED when the person gave up. A line of more than
 * LIMIT_RECOVERY_INPUT bytes is cut.
 */
int console_read(struct console *c, unsigned seconds, struct secret **ret) _must_check_;

/* Uses a key: 0 when all is open, negative with *e when it has to be asked again. */
typedef int (*console_attempt_fn)(void *ctx, const struct secret *key, struct error *e);

/*
 * Asks with this text until an attempt succeeds: at most LIMIT_RECOVERY_TRIES times, each for so
 * many seconds (0: for ever). What attempt says is shown. Returns 0, or the last failure: of an
 * attempt, -ETIMEDOUT, -EPIPE, -ECANCELED (ERROR_INTERRUPTED).
 */
int console_ask_key(struct console *c, const char *question, unsigned seconds,
                    console_attempt_fn attempt, void *ctx, struct error *e) _must_check_;
