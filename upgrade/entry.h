/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Boot entries: names and text of the files in loader/entries (Boot Loader Specification, type #1),
 * and which of them systemd-boot would start. Pure: nothing here touches a disk; upgrade/esp.h
 * does.
 *
 * A role is the base name of an entry file. An entry on trial carries a counter in its name:
 * "active+3-0.conf" has three tries left and none done; systemd-boot renames it before each start.
 * An entry of ours is exactly 512 bytes, so that switching it to another image is one write of one
 * sector that cannot be torn.
 */
#pragma once

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/digest.h"

#define ENTRY_SIZE 512u
/* "usi-00000007.efi" and a NUL. */
#define ENTRY_IMAGE_NAME_SIZE 17u
#define ENTRY_IMAGE_NUMBER_MAX 99999999u
/* Constant-width counters: one digit each (see formats, boot counting). */
#define ENTRY_TRIES_MAX 9u

enum entry_role {
        ENTRY_ROLE_NONE, /* installer media, ENTRY_RESET_BASE, entries of other systems */
        ENTRY_ROLE_ACTIVE,
        ENTRY_ROLE_PASSIVE,
        ENTRY_ROLE_RECOVERY,
        ENTRY_ROLE_MAX,
};

struct entry_name {
        enum entry_role role;
        char base[NAME_MAX + 1]; /* "active" */
        bool counted;
        uint32_t tries_left; /* 0 with counted: the entry is bad */
        uint32_t tries_done;
};

enum entry_key {
        ENTRY_KEY_NONE,
        ENTRY_KEY_EFI,
        ENTRY_KEY_UKI,   /* understood by systemd-boot 258 and later */
        ENTRY_KEY_LINUX, /* only in entries of other systems */
};

struct entry {
        char title[128];
        char sort_key[64];   /* "" = none */
        char version[128];   /* "" = none */
        char machine_id[64]; /* read only, for sorting */
        char image[256];     /* as written: "/EFI/kairos/usi-00000007.efi" */
        enum entry_key key;
        bool has_sha256;
        uint8_t sha256[SHA256_SIZE]; /* of the image, in a comment: the boot loader ignores it */
};

/* One file of loader/entries, as esp_list_entries() finds it. */
struct entry_file {
        char file[NAME_MAX + 1];
        struct entry_name name;
        struct entry entry; /* empty unless valid */
        uint64_t size;
        bool unreadable;    /* nobody knows what the text names: esp_remove() keeps every image */
        bool valid;         /* the text names an image */
        bool image_present; /* and a file of that name exists: else systemd-boot hides the entry */
};

/*
 * Base name of the entry that asks for a reset. It starts recovery's image, and is the entry of no
 * role, so that nothing takes it for recovery's own.
 */
#define ENTRY_RESET_BASE "statereset"
bool entry_is_reset(const struct entry_name *name);
/* The role of a boot that an entry of this name started. */
enum entry_role entry_role_started(const struct entry_name *name);

/* "active", "passive", "recovery"; "none". */
const char *entry_role_name(enum entry_role role);
/* ENTRY_ROLE_NONE for anything else. */
enum entry_role entry_role_parse(const char *name);

/*
 * Takes a file name or an entry id apart. ".conf" and the role match in any case, as on FAT. Like
 * systemd-boot, a malformed counter is not a counter but part of the base name. -EINVAL for names
 * that systemd-boot does not list: no ".conf", empty base, hidden, "auto-" prefix, a path.
 */
int entry_name_parse(const char *file, struct entry_name *ret) _must_check_;

/* "active.conf", "active+3-0.conf". -EINVAL for an empty base or counters above one digit. */
int entry_name_format(const struct entry_name *name, char ret[NAME_MAX + 1]) _must_check_;

/*
 * Makes it the entry of a role: its sort key, and a title that ends in the role's name, cut to 100
 * characters in front of it and rid of the name of another role. -EINVAL for ENTRY_ROLE_NONE.
 */
int entry_set_role(struct entry *entry, enum entry_role role) _must_check_;
/* The same for the entry that asks for a reset: the last of all. */
void entry_set_reset(struct entry *entry);

/*
 * The text: exactly ENTRY_SIZE bytes, no NUL, ends with a newline, filled up by a comment. image,
 * title and a key of EFI or UKI are required; sort_key, version and sha256 are written when there.
 * -EINVAL for values that a line cannot carry (control characters, blanks at the ends, bad UTF-8,
 * an image path that is not absolute), -E2BIG when it does not fit.
 */
int entry_format(const struct entry *entry, char ret[ENTRY_SIZE]) _must_check_;

/*
 * Reads an entry of any writer; unknown keys are ignored, the last of a repeated key counts, as in
 * systemd-boot. -E2BIG above LIMIT_LOADER_ENTRY, -EBADMSG when it contains a NUL byte, names no
 * image, or has a value too long for the struct (a title is cut instead).
 */
int entry_parse(const void *text, size_t n, struct entry *ret) _must_check_;

/*
 * The image as a path relative to the ESP with single forward slashes:
 * "EFI/kairos/usi-00000007.efi". -EINVAL when it is empty or contains "..".
 */
int entry_image_path(const struct entry *entry, char ret[PATH_MAX]) _must_check_;

/* Image files: "usi-%08u.efi". Parsing is exact: -EINVAL for anything else. */
int entry_image_name_format(uint32_t number, char ret[ENTRY_IMAGE_NAME_SIZE]) _must_check_;
int entry_image_name_parse(const char *name, uint32_t *ret) _must_check_;

/*
 * The entry systemd-boot of that major version starts when no variable and no "default" of
 * loader.conf names one: not bad before bad, then sort-key, machine-id, version (newest first), id,
 * counters (Boot Loader Specification, "Sorting"). Hidden entries (no text, no image, a key the
 * version does not know) do not take part. NULL when there is none. Points into list.
 */
const struct entry_file *entry_select(const struct entry_file *list, size_t n,
                                      unsigned loader_major);
