/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ways into the encrypted volumes of a node: each token of each header, what it is good for at
 * the next boot, and how to add or remove one so that no moment is without a way in.
 *
 * A key slot and its token are two writes, each atomic. Adding makes the slot first, removing takes
 * the token first: a cut between them leaves a slot that no token names, which the boot stage
 * passes over and the next change wipes (ways_clean()).
 *
 * What a token is good for is found out by proof and not by its text: seal_prove() with the values
 * and the signature of each image that may start next.
 */
#pragma once

#include "agent/data.h"
#include "agent/starters.h"
#include "base/json.h"
#include "partition/seal.h"

enum way_state {
        WAY_UNKNOWN, /* of a kind that is not made here, or the TPM could not be asked */
        WAY_RECOVERY_KEY,
        WAY_OPENS,       /* for an image that may start next */
        WAY_OTHER_TPM,   /* sealed by another TPM, or before this one was cleared */
        WAY_OTHER_STATE, /* for another Secure Boot state (PCR 7), or other values of the PCRs that
                            it is bound to besides, than the next boot's */
        WAY_OTHER_KEY,   /* for a policy key of which no image is here */
        WAY_STATE_MAX,
};

struct way {
        int number, keyslot; /* of the token; key slot -1: it names none that can be read */
        struct token *token; /* NULL: no TPM token, or unreadable */
        char id[TOKEN_ID_SIZE];
        enum way_state state;
        unsigned opens; /* bit i = starters item i */
        char why[256];
};

struct ways_volume {
        const struct data_volume *volume; /* in ways.list */
        char *device;
        struct luks *luks;
        struct way way[LIMIT_LUKS_TOKENS];
        unsigned n;
        uint32_t unnamed; /* bits: key slots that no token names; anybody's secret may open them */
        char unlocked_with[TOKEN_ID_SIZE]; /* token of this boot; "" = none, or not by the TPM */
};

struct ways {
        struct data_list list;
        struct ways_volume volume[ARRAY_SIZE(((struct data_list *)NULL)->item)];
        unsigned n;
};

/*
 * Reads the headers of all encrypted volumes of the node, and judges each way by the starters
 * (NULL: state stays WAY_UNKNOWN for TPM tokens). -ENXIO when one of ours is missing; errors of
 * data_open_header() for ours; one of the user's that is not encrypted is left out.
 */
int ways_read(const struct env *env, const struct node *node, struct tpm *tpm,
              const struct starters *starters, struct ways *ret, struct error *e) _must_check_;
void ways_done(struct ways *w);

/* The part for one volume, whose luks is open: each token of the header, judged. */
int ways_judge(struct ways_volume *v, struct tpm *tpm, const struct starters *starters,
               struct error *e) _must_check_;
void ways_volume_done(struct ways_volume *v);

/* Stable words: "opens", "other-tpm", ... */
const char *way_state_name(enum way_state state);

/* The way this boot was opened with, when it opens the next one, too; else NULL. */
const struct way *ways_proven(const struct ways_volume *v, const struct starters *starters);

/* Images that some way opens, apart from those in without (bit i = way i). */
unsigned ways_opened(const struct ways_volume *v, uint32_t without);

/* Wipes key slots that no token names. Returns how many. */
int ways_clean(struct ways_volume *v, struct error *e) _must_check_;

/* A new token for the TPM. */
struct ways_seal {
        struct tpm *tpm;
        const struct policy_key *key;
        uint32_t literal_pcrs; /* of PCR_CHOICE_LITERAL */
        uint8_t literal_values[PCR_CHOICE_LITERAL_COUNT * SHA256_SIZE];
        bool with_pin;
        const struct secret *pin;    /* needed to add one with_pin */
        const struct starter *prove; /* image that has to unlock by it; NULL: it is not here yet */
};

/*
 * Adds a random secret, sealed, in a key slot of its own, and proves it on what is then on the
 * disk: the header passes the check of the boot stage, the token leads to its policy (with the
 * image's values and signature, where there is one), the TPM knows its PIN, the secret opens its
 * slot. One that fails is removed.
 */
int ways_add_tpm(struct ways_volume *v, const struct secret *volume_key,
                 const struct ways_seal *seal, struct error *e) _must_check_;

/* Whether some token of the volume is for this key, these PCRs and a PIN or none, in this TPM. */
bool ways_has(const struct ways_volume *v, const struct ways_seal *seal);

/* The same for a recovery key. */
int ways_add_key(struct ways_volume *v, const struct secret *volume_key, const struct secret *key,
                 struct error *e) _must_check_;

/* Removes token and key slot. Other tokens on the slot keep it. */
int ways_remove(struct ways_volume *v, const struct way *way, struct error *e) _must_check_;

/* [{"name","device","ways":[{"token","keyslot","kind","id","state","opens","policy_key","pcrs",
 * "pin","text","unlocked_this_boot"},...],"unnamed_keyslots":[NUMBER,...]},...]; NULL when memory
 * ran out. */
struct json_object *ways_json(const struct ways *w, const struct starters *starters);
