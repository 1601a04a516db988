/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The upgrade of one image of a node, from a source to a boot entry on trial (design, sections 4
 * and 10). Everything that touches the world is given, so that tests run exactly this on a plain
 * folder. The order:
 *
 *   what is there -> what the source leads to (documents only) -> plan -> nothing to do?
 *   -> an image that failed here before? -> space -> hooks -> the image, in one pass, proven and
 *   read back -> entries -> boot loader -> wishes that would pin an old image -> memory -> hooks
 *
 * The boot path is touched only after every proof was given. A run may end at any instruction; the
 * same call again finishes it. A run that finds its digest in place changes nothing.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "agent/config.h"
#include "agent/hooks.h"
#include "agent/progress.h"
#include "agent/situation.h"
#include "base/env.h"
#include "base/error.h"
#include "base/json.h"
#include "upgrade/fetch.h"
#include "upgrade/image.h"
#include "upgrade/slots.h"

struct upgrade_world {
        const struct env *env;
        const struct esp *esp;             /* mounted; writable unless only a look is wished */
        int state;                         /* folder of the memory, -EBADF: nothing is remembered */
        const struct fetch_options *fetch; /* want_loader is set here */
        struct hook_places hooks;
        const struct config_list *before, *after; /* hooks of a configuration; NULL: none */
        struct progress *progress;                /* may be NULL */
        /*
         * What this machine demands of an image: asked once, and only when an image has to be
         * proven, because it takes the TPM some time. Borrowed result.
         */
        int (*demands)(void *arg, const struct image_demands **ret, struct error *e);
        void *demands_arg;
        bool (*stop)(void *arg); /* whether somebody wants this to end; NULL: never */
        void *stop_arg;
};

struct upgrade_wish {
        const struct source_name *source;
        enum entry_role target; /* ENTRY_ROLE_ACTIVE or ENTRY_ROLE_RECOVERY */
        bool all;               /* recovery as well, once active is confirmed */
        bool check;             /* only tell whether there is something newer */
        bool dry_run;           /* only tell what would be done */
        bool force;
};

enum upgrade_result {
        UPGRADE_NOTHING,   /* the target has this image */
        UPGRADE_AVAILABLE, /* check: there is another one, and it is newer, or of unknown version */
        UPGRADE_OLDER,     /* check: what is there is newer than the source */
        UPGRADE_PLANNED,   /* dry_run */
        UPGRADE_DONE,
        UPGRADE_RESULT_MAX,
};

struct upgrade_report {
        enum upgrade_result result;
        enum entry_role target;                  /* what was changed, or would be */
        char source[512];                        /* without a password */
        char manifest[160];                      /* "" = none */
        char from_version[128], to_version[128]; /* "" = unknown */
        bool has_from, has_to;
        uint8_t from[SHA256_SIZE], to[SHA256_SIZE]; /* digests of images */
        uint64_t size;                              /* of the image, 0 = unknown */
        uint64_t network, spooled, written;         /* bytes; written: of the image, to the ESP */
        uint64_t resumed;                           /* bytes of the image that were there already */
        bool copied;                                /* from another image on the ESP */
        unsigned retries;
        uint64_t ms;
        bool dry_run;          /* as wished */
        bool reboot_needed;    /* another image than the running one is next */
        bool recovery_pending; /* all: waits for the confirmation of active */
        char loader[64];       /* version of the boot loader that was put there; "" = none was */
        unsigned cleared;      /* wishes in EFI variables */
        unsigned hooks;        /* that succeeded */
        char warning[1024];    /* of what went wrong behind the change; "" = nothing */
        bool proved;           /* the image was asked for its proofs: */
        struct proofs proofs;
        struct slots_plan plan;
};

/*
 * 0 with the report; negative errno with *e, and the report as far as it got. ERROR_INTERRUPTED
 * when stop() said so. Hooks that fail: before-upgrade -ESCRIPT (ERROR_PRECONDITION); after-upgrade
 * is a warning of the report.
 */
int upgrade_run(const struct upgrade_world *world, const struct upgrade_wish *wish,
                struct upgrade_report *ret, struct error *e) _must_check_;

/* "nothing", "available", "older", "planned", "upgraded". */
const char *upgrade_result_name(enum upgrade_result result);

/* The report as a document of the verb "upgrade", and as lines of text. e: the failure, or NULL. */
struct json_object *upgrade_report_json(const struct upgrade_report *r, const struct error *e);
void upgrade_report_text(const struct upgrade_report *r);
