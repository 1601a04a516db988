/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Choosing a disk by a rule. Pure: a rule and facts about disks go in, one disk or the reason why
 * there is none comes out.
 *
 *     rule   = term *( "," term )             blanks around a term do not count
 *     term   = "auto" | "largest" | "smallest"
 *            | "size" ( ">=" | "<=" | ">" | "<" | "=" ) SIZE
 *            | "bus=" ( "nvme" | "virtio" | "scsi" | "sata" | "ata" | "usb" | "mmc" )
 *            | "model=" GLOB | "serial=" GLOB | "wwn=" GLOB
 *            | "rotational=" ( "yes" | "no" )
 *     SIZE   = digits with K, M, G or T, powers of 1024: "100G"
 *     GLOB   = glob(7) pattern for the whole text; case does not count, "?" stands for a comma. A
 *              disk without a serial has none that matches. A world wide name may be written as
 *              sysfs has it ("naa.5000...", "eui....") or as udev has it ("0x5000...").
 *
 * Every term has to hold. "auto" is another word for "largest"; at most one of the three is given,
 * and each other key once, but for size. Without one of them exactly one disk has to match.
 *
 * Never chosen, whatever the rule says: disks that the caller marked (the live medium, too small
 * for the plan), removable and read-only ones, and those of size 0.
 */
#pragma once

#include <stdbool.h>

#include "base/limits.h"
#include "partition/disk.h"

enum disk_select_key {
        DISK_SELECT_LARGEST, /* "auto" as well */
        DISK_SELECT_SMALLEST,
        DISK_SELECT_SIZE,
        DISK_SELECT_BUS,
        DISK_SELECT_MODEL,
        DISK_SELECT_SERIAL,
        DISK_SELECT_WWN,
        DISK_SELECT_ROTATIONAL,
};

enum disk_select_relation {
        DISK_SELECT_EQUAL,
        DISK_SELECT_LESS,
        DISK_SELECT_AT_MOST,
        DISK_SELECT_MORE,
        DISK_SELECT_AT_LEAST,
};

struct disk_select_term {
        char text[LIMIT_DISK_TERM]; /* as it was given, for messages */
        enum disk_select_key key;
        enum disk_select_relation relation; /* of size */
        uint64_t size;
        enum sysblock_bus bus;
        bool rotational;
        const char *glob; /* inside text */
};

struct disk_rule {
        size_t n;
        struct disk_select_term term[LIMIT_DISK_TERMS];
};

/* What a rule chooses from. */
struct disk_candidate {
        const struct disk *disk; /* borrowed */
        const char *link;        /* stable path, may be empty; borrowed */
        const char *never;       /* why it must not be chosen, NULL: it may; borrowed */
};

/* -EINVAL (ERROR_USAGE) names the term and what is allowed. */
int disk_select_parse(const char *text, struct disk_rule *ret, struct error *e) _must_check_;

/*
 * Chooses one of n disks. *ret is its index, why (of n_why bytes) the reason in words. -ENODEV when
 * none matches: the message lists all, each with what was against it. -ENOTUNIQ for a tie: it lists
 * those that are equally good.
 */
int disk_select_choose(const struct disk_rule *rule, const struct disk_candidate *disks, size_t n,
                       size_t *ret, char *why, size_t n_why, struct error *e) _must_check_;
