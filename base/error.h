/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Errors: a negative errno for the code that called, and a struct error for the person who reads.
 *
 * The function that notices a failure fills the struct once with error_set(); callers on the way up
 * may put a context in front with error_wrap() and say what to do about it with error_advise().
 * Every function here accepts a NULL struct error, so a caller that only wants the number may pass
 * none.
 *
 * The class decides the exit code of the program. The numbers are an interface of fleet jobs: never
 * renumber one.
 */
#pragma once

#include <stddef.h>

#include "base/cleanup.h"

enum error_class {
        ERROR_NONE = 0,     /* success */
        ERROR_INTERNAL = 1, /* a mistake of this program, or memory ran out */
        ERROR_USAGE = 2,    /* wrong words on the command line, paths of sources among them */
        ERROR_NOTHING = 3,  /* nothing to do: only where the caller asked to be told (--check) */
        ERROR_CONFIG = 4,   /* a configuration file is wrong */
        ERROR_SOURCE = 5,   /* source not reachable: try again later */
        ERROR_REFUSED = 6,  /* the image is malformed: permanent, like all refusals below */
        ERROR_SPACE = 7,    /* no space on the target */
        ERROR_BUSY = 8,     /* another run, a device in use, a boot on trial: try again later */
        ERROR_IO = 9,       /* the target device failed */
        ERROR_PRECONDITION =
                10,             /* TPM, Secure Boot or the state of the machine does not allow it */
        ERROR_INTERRUPTED = 11, /* stopped by a signal at a safe point: run again */
        ERROR_SIGNATURE = 12,   /* refused: firmware would not start the image */
        ERROR_REVOKED = 13,     /* refused: the image or its signer is revoked */
        ERROR_POLICY_KEY = 14,  /* refused: policy key that this machine's disk is not sealed to */
        ERROR_PCR_SIGNATURE = 15, /* refused: its own measurement is not signed for unlocking */
        ERROR_VERSION = 16,       /* refused: older than the version floor */
        ERROR_CLASS_MAX,
};

struct error {
        enum error_class class;
        int code;         /* positive errno, 0 = no error */
        char text[4096];  /* "what: why", outermost context first; may be a list of lines */
        char advice[512]; /* what to do next, may be empty */
};

#define ERROR_INIT                                                                                 \
        {                                                                                          \
                .class = ERROR_NONE                                                                \
        }

/*
 * Records an error and returns -code, so that "return error_set(...)" is one line. code is a
 * positive errno. A message that was there before is replaced: the last cause noticed is the one
 * that counts.
 *
 * A call that failed is no verdict about what the user gave: where the class is one of those
 * (usage, config, refused ...) and the number tells of the machine (EIO, ENOMEM, ENOSPC ...), the
 * class is the one of error_errno() instead.
 */
int error_set(struct error *e, enum error_class class, int code, const char *fmt, ...)
        _printf_(4, 5);

/* The same for a failed system call: appends ": <text of errno>" and picks SPACE, BUSY or IO from
 * the number. */
int error_errno(struct error *e, int code, const char *fmt, ...) _printf_(3, 4);

/* Out of memory, always ERROR_INTERNAL. Returns -ENOMEM. */
int error_oom(struct error *e);

/* Puts "context: " in front of the text. Returns -e->code, or -r unchanged when e is NULL: pass r
 * of the failed call. */
int error_wrap(struct error *e, int r, const char *fmt, ...) _printf_(3, 4);

/* Sets what the user should do next; an advice that is already there stays, because it is closer to
 * the cause. */
void error_advise(struct error *e, const char *fmt, ...) _printf_(2, 3);

/* The advice of an error, or what can be said for its class; NULL when that is nothing. */
const char *error_advice(const struct error *e);

/* Back to "no error". */
void error_clear(struct error *e);

/* Process exit code for a class; equal to the enum value. */
int error_exit_code(enum error_class class);

/* The same for a run that failed: never 0, also when nobody said why. */
int error_failure_code(const struct error *e);

/* Short lower-case name of a class, stable, used in JSON ("refused", "busy", ...). */
const char *error_class_name(enum error_class class);
