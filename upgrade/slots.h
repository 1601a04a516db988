/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The upgrade transaction on the ESP (design, section 4): which image stays, which entry is
 * switched, added, removed, in an order that keeps a known good image startable after every single
 * step. slots_plan() is pure; the two functions that carry a plan out go through upgrade/esp.h and
 * may be stopped and repeated at any point: planning again from what is then on the ESP leads to
 * the same end.
 *
 * Who becomes what:
 *   running blessed active   its image becomes passive, the new one active on trial
 *   running passive          passive is kept, whatever active is gets replaced
 *   running recovery, none   a confirmed passive (else a confirmed active) is kept, the rest as
 *                            above
 *   running unblessed active refused (-EPERM, ERROR_BUSY) unless forced: a
 *                            confirmed passive (else a confirmed active) is kept
 *   the new image runs       nothing but leftovers is removed: its confirmation does the rest
 *   recovery is the target   only the recovery entry changes, in place
 *
 * Order of use:
 *     slots_read() -> slots_plan() -> slots_check_space()        nothing has changed yet
 *     slots_make_room()                                          what stands before the image
 *     the image is written under plan->number (upgrade/image_receiver.h)
 *     slots_read() -> slots_plan() with have = SLOTS_HAVE_IMAGE  now its digest is known
 *     slots_apply()
 * A plan that writes no image (write is false) goes straight from the first plan to slots_apply(),
 * with the image taken by image_receiver_take(). A digest that is not known in advance and turns
 * out to be the one that is active already gives SLOTS_TIDY in the second plan.
 */
#pragma once

#include "upgrade/entry.h"
#include "upgrade/esp.h"
#include "upgrade/image.h"

/* Tries of a new active image. */
#define SLOTS_TRIES 3u

/* What is there. slots_read() fills the first five; the caller knows the rest. */
struct slots_situation {
        struct entry_file *entries;
        size_t n_entries;
        struct esp_image *images;
        size_t n_images;
        struct esp_space space;
        enum entry_role running; /* ENTRY_ROLE_NONE: none of ours runs (a repair from outside) */
        bool running_confirmed;  /* without a counter, or blessed in this boot */
        /* Image file the running system came from ("usi-00000007.efi"), "" = unknown. */
        char running_image[ENTRY_IMAGE_NAME_SIZE];
};

/* What is there of the new image, beside what entries say. */
enum slots_have {
        SLOTS_HAVE_NOTHING,
        SLOTS_HAVE_PARTIAL, /* a run for this very image left the file `number` */
        SLOTS_HAVE_IMAGE,   /* it stands complete and verified under `number` */
};

struct slots_wish {
        enum entry_role target; /* ENTRY_ROLE_ACTIVE or ENTRY_ROLE_RECOVERY */
        const uint8_t *sha256;  /* of the new image; NULL: not known yet */
        uint64_t size;          /* 0: not known yet */
        enum slots_have have;
        uint32_t number; /* of the partial or complete file; ignored when there is no such file, or
                            a partial one that an entry names */
        bool force;      /* from an unblessed active; a digest that failed before */
        bool again; /* an image with this digest on the ESP is not used: it was found damaged */
};

enum slots_outcome {
        SLOTS_NOTHING, /* the target has this image, confirmed or on trial with tries left; n is 0
                        */
        SLOTS_TIDY,    /* the same, and there are leftovers to remove */
        SLOTS_CHANGE,
};

enum slots_step_kind {
        SLOTS_ADD_IMAGE,    /* number: to be written by the caller */
        SLOTS_SWITCH_ENTRY, /* file, which exists */
        SLOTS_ADD_ENTRY,    /* file */
        SLOTS_REMOVE_ENTRY, /* file */
        SLOTS_REMOVE_IMAGE, /* number */
};

struct slots_step {
        enum slots_step_kind kind;
        char file[NAME_MAX + 1];
        uint32_t number;
        enum entry_role role;    /* entry steps: whose entry it is */
        bool of_new_image;       /* entry steps: names the new image; else the one of `from` */
        char from[NAME_MAX + 1]; /* the entry whose image, version and digest it takes over */
};

#define SLOTS_STEPS_MAX 64u

struct slots_plan {
        enum slots_outcome outcome;
        enum entry_role target;
        struct slots_step step[SLOTS_STEPS_MAX];
        unsigned n;
        unsigned n_room; /* the first so many come before the image: slots_make_room() */
        uint32_t number; /* of the new image: a fresh one, that of the partial file, or of an equal
                            image */
        bool write;      /* bytes have to be written; SLOTS_ADD_IMAGE is then step[n_room] */
        bool copy;       /* image copy_from has this digest and may be copied, without a source */
        uint32_t copy_from;
        /* Image that is known to be good and stays startable, "" = none is known. */
        char keep[PATH_MAX];
        /* Bytes that have to be written besides a partial file, that are free, and that the steps
         * before the image set free. need is 0 while the size is not known. */
        uint64_t need, available, freed;
};

/* Entries, images and free space of an ESP; the other fields are left as they are. Somebody who
 * only looks may call this while an upgrade or a confirmation is at work. */
int slots_read(const struct esp *esp, struct slots_situation *ret, struct error *e) _must_check_;
void slots_done(struct slots_situation *s);

/*
 * -EPERM: see above (ERROR_BUSY: the trial ends, one way or the other), and the only image known to
 * be good would be replaced as recovery (ERROR_PRECONDITION). -EKEYREJECTED (ERROR_PRECONDITION):
 * an image with this digest used up its tries on this node. -EOPNOTSUPP: the known good image has
 * an entry of a kind that cannot be moved. Forcing helps against the first two.
 */
int slots_plan(const struct slots_situation *s, const struct slots_wish *w, struct slots_plan *ret,
               struct error *e) _must_check_;

/* -ENOSPC (ERROR_SPACE) with the numbers, when the plan's image will not fit. */
int slots_check_space(const struct slots_plan *plan, struct error *e) _must_check_;

struct slots_hooks {
        /* Asked before each step; true stops there with -EINTR (ERROR_INTERRUPTED). May be NULL. */
        bool (*stop)(void *arg);
        /* Told before each step. May be NULL. */
        void (*step)(void *arg, const struct slots_step *step);
        void *arg;
};

/*
 * The steps before the image: collects what no entry names. Only where space is short, entries
 * that lead to images which are going to be replaced anyway give way first. key: how the boot
 * loader wants images to be named. hooks may be NULL. -ENOSPC as slots_check_space(), nothing is
 * changed then.
 */
int slots_make_room(const struct esp *esp, const struct slots_plan *plan, enum entry_key key,
                    const struct slots_hooks *hooks, struct error *e) _must_check_;

/*
 * The rest, when the image stands on the ESP: image is what upgrade/image_receiver.h
 * gave for plan->number (NULL for a plan without entry steps of the new image). key: how the boot
 * loader wants images to be named. Also makes durable what an earlier run may have left in memory,
 * so it is to be called for SLOTS_NOTHING, too. Images that cannot be deleted safely are left with
 * a warning. hooks may be NULL.
 */
int slots_apply(const struct esp *esp, const struct slots_plan *plan,
                const struct verified_image *image, enum entry_key key,
                const struct slots_hooks *hooks, struct error *e) _must_check_;

/*
 * Gives the entries of our roles the key "uki", each by one write in place, for boot loaders that
 * know it (258 and later): those start an entry with "efi" without counting down its tries, so that
 * a boot that fails would be tried for ever. *ret_changed (may be NULL) gets their number.
 */
int slots_adopt_uki(const struct esp *esp, unsigned *ret_changed, struct error *e) _must_check_;
