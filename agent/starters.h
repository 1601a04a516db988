/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the next boots of this node may start: the images that its entries lead to, and the boot
 * loader, judged by the key databases that firmware will have then; and the value of PCR 7 in which
 * each image will want to unlock. Sealing and changes of the databases both ask this.
 *
 * The value comes from the log of this boot, replayed with other contents of the variables
 * (partition/pcr7.h). Where only the boot loader and the image run under Secure Boot, the entries
 * of db that vouch for these two are known beforehand; with programs of add-in cards those of this
 * boot are counted on. Without a log that explains this boot, and without a planned change, the
 * value of this boot is taken for that of the next, as an installation does.
 */
#pragma once

#include "agent/node.h"
#include "agent/pcr_choice.h"
#include "agent/situation.h"
#include "base/env.h"
#include "base/error.h"
#include "base/json.h"
#include "efivars/keychange.h"
#include "partition/tpm.h"
#include "upgrade/bootloader.h"
#include "upgrade/image.h"

#define STARTERS_MAX 16u

struct starter {
        char file[ENTRY_IMAGE_NAME_SIZE]; /* below ESP_IMAGE_DIR */
        char version[128];                /* of its entry */
        unsigned roles;                   /* bit i = an entry of this enum entry_role leads there */
        bool running, next;               /* of this boot; what the loader starts by itself */
        int fd;
        struct verified_image *image; /* NULL: it would not start, see error */
        bool copy;                    /* image is that of an earlier item, with the same bytes */
        bool has_pcr7;                /* else: error tells why it cannot be known */
        uint8_t pcr7[SHA256_SIZE];
        struct error error;
};

struct starters {
        struct starter *item;
        unsigned n;
        struct sigdb *db, *dbx;      /* as they will be */
        struct bootloader loader;    /* the copy that the firmware's entry names */
        struct error loader_error;   /* code 0: it will start */
        struct error fallback_error; /* the same for the copy at the fallback path */
        struct buf log_text;
        struct eventlog *log; /* NULL: none that explains this boot, see log_error */
        struct error log_error;
        uint8_t pcr7[SHA256_SIZE];                           /* now */
        uint8_t now[PCR_CHOICE_LITERAL_COUNT * SHA256_SIZE]; /* PCR_CHOICE_LITERAL, ascending */
        bool explained; /* nothing but boot loader and image ran under Secure Boot */
};

/*
 * Reads images and boot loader of the mounted ESP, which must stay as long as *ret. change: the
 * variables as they will be. Images that will not start, or whose PCR 7 cannot be known, are no
 * failure of this call.
 */
int starters_read(const struct env *env, const struct esp *esp, struct tpm *tpm,
                  const struct keychange *change, struct starters *ret, struct error *e)
        _must_check_;
void starters_done(struct starters *s);

/*
 * What the PCRs in pcrs, of PCR_CHOICE_LITERAL, will be when the item starts: 32 bytes each,
 * ascending. PCR 7 is the item's (has_pcr7); the firmware writes the others, and what they are now
 * they will be again.
 */
void starters_literal(const struct starters *s, const struct starter *item, uint32_t pcrs,
                      uint8_t *ret);

/* "active, passive": roles of an item. */
#define STARTERS_ROLES_SIZE 64u
void starters_roles(const struct starter *s, char ret[STARTERS_ROLES_SIZE]);

/* [{"image","roles","version","running","next","starts","policy_key","pcr7","error"},...]; NULL
 * when memory ran out. */
struct json_object *starters_json(const struct starters *s);
