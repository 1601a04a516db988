/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Further command lines of a system image, as words of a call:
 *
 *   profile  ID[:TITLE]=CMDLINE   in the same image, chosen in the menu (systemd-stub 257)
 *   variant  NAME=CMDLINE         in an image of its own, beside the first
 *
 * A CMDLINE that begins with "+" is added to the image's own, any other takes its place.
 */
#pragma once

#include "base/buf.h"
#include "base/error.h"
#include "base/limits.h"
#include "image/words.h"

#define COMMANDS_NAME_MAX 32u
#define COMMANDS_TITLE_MAX 64u
/* ID of what boots when nobody chooses. */
#define COMMANDS_MAIN "main"

struct command {
        char name[COMMANDS_NAME_MAX + 1];
        char title[COMMANDS_TITLE_MAX + 1]; /* "": none */
        char *cmdline;
};

struct commands {
        unsigned n;
        struct command item[WORDS_LIST_MAX];
};

/* What a kernel command line may be: not empty, no control characters, at most LIMIT_CMDLINE.
 * ERROR_CONFIG. */
int commands_check(const char *cmdline, struct error *e) _must_check_;

/*
 * Reads the words of --profile or --variant; option is its name, for messages. base is the image's
 * own command line. ERROR_USAGE for words that cannot be read, ERROR_CONFIG for a command line that
 * cannot be used. The caller frees *ret in any case.
 */
int commands_parse(const struct words_list *words, const char *option, const char *base,
                   struct commands *ret, struct error *e) _must_check_;
void commands_done(struct commands *c);

/* Appends the content of the section .profile. -ENOMEM, -E2BIG. */
int commands_profile(const char *id, const char *title, struct buf *out) _must_check_;

/* Where a variant goes: "os.efi" and "debug" give "os-debug.efi". The caller's to free; NULL when
 * memory ran out. */
char *commands_variant_path(const char *out, const char *name);
