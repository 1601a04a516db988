/* SPDX-License-Identifier: Apache-2.0 */
/* Inside of "install": the plan (pure data, printed by --dry-run) and its execution. */
#pragma once

#include <stdbool.h>
#include <stdio.h>

#include "agent/config.h"
#include "agent/install_disk.h"
#include "agent/install_end.h"
#include "agent/install_escrow.h"
#include "agent/install_firmware.h"
#include "agent/install_pin.h"
#include "agent/install_progress.h"
#include "agent/install_record.h"
#include "agent/machine.h"
#include "agent/measured.h"
#include "agent/options.h"
#include "agent/pcr_choice.h"
#include "agent/source.h"
#include "agent/source_options.h"
#include "base/env.h"
#include "base/error.h"
#include "base/json.h"
#include "partition/disk.h"
#include "partition/disk_content.h"
#include "partition/layout.h"
#include "partition/tpm.h"

/* Numbers of the two copies a fresh install writes: one for active and passive, one for recovery.
 */
#define INSTALL_IMAGE_NUMBER 1u
#define INSTALL_RECOVERY_NUMBER 2u
/* Tries of a new active image before the boot loader falls back. */
#define INSTALL_TRIES 3u
/* Names of the mappings an installation uses for a moment: not those of the boot stage. */
#define INSTALL_DM_PREFIX "tb-install-"
/* The user's partitions share one: only one is open at a time. */
#define INSTALL_DM_EXTRA "extra"
/* LUKS2 label of a volume that is being made. It gets its own when all is on it: so a run that was
 * interrupted is told from data. */
#define INSTALL_UNFINISHED_LABEL "TB_UNFINISHED"

struct install_plan {
        const struct env *env;
        struct disk *disk; /* NULL: a disk image is made (agent/golden.h), and that is */
        const char *image; /* this file, */
        uint64_t image_size;
        bool overwrite, allow_software_tpm;
        bool sealed; /* the image is a finished node, of the TPM that was named: golden_tpm.h */
        struct buf packed;            /* else: with this configuration */
        struct install_choice choice; /* how it came to this disk */
        struct machine machine;       /* what the image was verified against */
        struct proofs proofs;
        struct source source;
        const struct option_list *insecure; /* hosts that may be spoken to without protection */
        struct layout layout;
        struct extra_list extras; /* the user's partitions in it */
        bool allow_discards;
        bool no_format;              /* agent/install_keep.h */
        bool unattended;             /* agent/install_auto.h */
        bool kept[LIMIT_PARTITIONS]; /* which of layout.partitions stay as they are */
        enum install_end end;
        const struct config *config; /* borrowed; NULL: none */
        struct install_escrow escrow;
        struct secret *pin;        /* asked for at each start; NULL: none */
        uint8_t pcr7[SHA256_SIZE]; /* value of the next boot */
        /* What new partitions are bound to by value, and the values, ascending. */
        uint32_t literal_pcrs;
        uint8_t literal_values[TPM_PCR_COUNT * SHA256_SIZE];
        struct install_firmware firmware;
        struct measured measured;  /* n 0: not known, or not what the next boot will measure */
        struct install_loss *lost; /* what is on the disk now */
        size_t n_lost;
};

/* The disk itself when something stands on it without a partition, and each partition. */
struct install_loss {
        char name[64]; /* kernel name */
        uint64_t size;
        struct disk_content content;
};

struct install_wishes {
        const char *target;          /* a path or a rule, see install_disk_find(); NULL: ask */
        const char *image;           /* or this file, see agent/golden.h; NULL: a disk */
        uint64_t image_size;         /* 0: not said */
        bool overwrite;              /* replace the file */
        struct option_list db, dbx;  /* files that stand for the firmware of its machines */
        bool seal;                   /* to the TPM named, which is that of its machine, */
        const char *pcr7;            /* to this value of PCR 7, */
        const char *event_log;       /* or to the one that this file leads to */
        const char *source;          /* NULL: the medium of this session */
        struct layout_wishes layout; /* esp_size 0: default */
        struct install_escrow_wishes escrow;
        struct install_firmware_wishes firmware;
        struct install_pin_wishes pin;
        const struct config *config;       /* what goes onto the OEM partition; NULL: nothing */
        struct source_options from;        /* how a source that is not here is loaded */
        char insecure[SOURCE_HOST_SIZE];   /* a host that the configuration adds to from.insecure */
        struct install_progress *progress; /* of that; may be NULL */
        bool allow_downgrade, allow_discards;
        bool no_format;        /* into the partitions that are there */
        bool unattended;       /* nobody is there to ask; needs config */
        uint32_t literal_pcrs; /* 0: PCR_CHOICE_NEEDED */
        enum install_end end;  /* what the machine does after it */
        bool force_release;    /* take away what holds the disk, where that is safe */
};

/*
 * Looks at source, disk and TPM and makes the plan; changes nothing. Refuses
 * with ERROR_PRECONDITION where the machine cannot be a node: no TPM, Secure Boot off.
 */
int install_prepare(const struct env *env, const struct install_wishes *wishes,
                    struct install_plan *ret, struct error *e) _must_check_;
/* Ends mappings that a killed run left behind; before install_prepare(), with the node's lock held.
 */
int install_drop_stale(const struct env *env, struct error *e) _must_check_;
void install_plan_done(struct install_plan *p);

/* What the node is to remember of this installation. */
void install_plan_record(const struct install_plan *p, struct install_record *ret);

/* The plan as text for people, and as JSON. */
void install_describe(const struct install_plan *p, FILE *out);
struct json_object *install_plan_json(const struct install_plan *p);

/*
 * Carries the plan out. Destroys what is on the disk. progress (may be NULL) is told each step as
 * it begins. When it returns 0 the disk boots and its partitions open in this TPM.
 */
int install_apply(struct install_plan *p, struct install_progress *progress, struct error *e)
        _must_check_;

/* The last step: the TPM remembers that it opens a node. A failure is told and is none. */
void install_remember_node(const struct install_plan *p);

/* For struct source_transfer; arg is the progress. */
void install_begin_fetch(void *arg, uint64_t total);

/* All files of the ESP, the entries last but for the boot loader. */
int install_fill_esp(const struct esp *esp, const struct install_plan *p,
                     struct install_progress *progress, struct error *e) _must_check_;

/*
 * One encrypted partition: format, enrol TPM and recovery key, prove, make the file system. name is
 * its GPT name in the plan, label that of LUKS2 header and file system.
 */
int install_data_partition(const struct install_plan *p, struct tpm *tpm, const char *name,
                           const char *label, enum extra_fs fs, struct error *e) _must_check_;

/* The user's partitions: encrypted ones like ours, plain ones only get their file system. */
int install_extra_partitions(const struct install_plan *p, struct tpm *tpm,
                             struct install_progress *progress, struct error *e) _must_check_;
