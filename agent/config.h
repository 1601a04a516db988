/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a person wants of an installation, of upgrades and of resets, as YAML in the form of
 * cloud-config (tb-agent-config(5)). Several files are merged into one result; each value knows
 * where it was said.
 *
 * The sections install, upgrade and reset and the keys bind-pcrs and bind-public-pcrs are read by
 * the table in agent/config_table.c and by nothing else; the rest of a document belongs to others
 * and is only handed on, byte for byte.
 *
 * Life cycle: config_load() -> read the fields -> config_free(). Everything a struct config points
 * to belongs to it. Nobody changes it after config_load().
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "agent/config_node.h"
#include "agent/config_problem.h"
#include "base/buf.h"
#include "base/env.h"
#include "base/error.h"
#include "upgrade/fetch.h"

/* At most LIMIT_CONFIG_LIST texts. */
struct config_list {
        const char **item;
        unsigned n;
};

/* Absolute paths of programs, in the order they run: before the first change, after the last. */
struct config_hooks {
        struct config_list before, after;
};

enum config_fs {
        CONFIG_FS_NONE, /* not formatted */
        CONFIG_FS_EXT4,
};

struct config_partition {
        const char *name; /* GPT name; unique, none of ours */
        const char
                *label; /* of file system and LUKS2 header; NULL: not said. Unique, none of ours */
        uint64_t size;  /* bytes */
        unsigned fs;    /* enum config_fs */
        bool encrypted; /* by itself, or named in install.encrypted_partitions */
};

struct config_partitions {
        struct config_partition *item;
        unsigned n; /* at most LIMIT_CONFIG_EXTRA_PARTITIONS */
};

enum config_recovery {
        CONFIG_RECOVERY_UNSAID, /* the installer does what it does */
        CONFIG_RECOVERY_SHOW,   /* on the terminal */
        CONFIG_RECOVERY_NONE,   /* no recovery key */
};

enum config_enroll {
        CONFIG_ENROLL_AGENT,  /* writes the variables itself */
        CONFIG_ENROLL_LOADER, /* leaves it to systemd-boot, by loader/keys/auto */
};

struct config_install {
        /* A path below /dev, or a rule of words with commas between them ("auto", "size>=100G");
         * never NULL. */
        const char *device;    /* path or rule; NULL: nobody chose a disk to erase */
        bool automatic;        /* a live session installs by itself: agent/install_auto.h */
        bool overwrite_node;   /* also where a node is */
        bool force_release;    /* take away what holds the disk, where that is safe */
        const char *source;    /* as upgrade/source_name.h reads it; NULL: medium of the session */
        bool reboot, poweroff; /* not both */
        bool no_format;        /* the partitions are there already */
        /* The registry or server of source may be spoken to without valid TLS. */
        bool allow_insecure_registries;
        bool allow_discards; /* the device learns which blocks of encrypted partitions are free */
        bool allow_software_tpm; /* a TPM that is a program is accepted */
        /* Labels or names, in addition to oem and persistent; already merged into extra. */
        struct config_list encrypted_partitions;
        struct config_list bind_mounts, ephemeral_mounts; /* absolute paths, besides the defaults */
        uint64_t efi_size, oem_size;                      /* bytes; 0: the installer's own choice */
        uint64_t persistent_size;                         /* bytes; 0: the rest of the disk */
        uint64_t swap_size; /* bytes, in a file on persistent; 0: none */
        struct config_partitions extra;
        unsigned recovery_key;         /* enum config_recovery; UNSAID when there is a file */
        const char *recovery_key_file; /* absolute; NULL: none */
        const char *enroll_keys;       /* folder of PK.auth, KEK.auth, db.auth; NULL: none */
        unsigned enroll_keys_by;       /* enum config_enroll */
        struct config_hooks hooks;
};

enum config_entry {
        CONFIG_ENTRY_ACTIVE,
        CONFIG_ENTRY_RECOVERY,
};

struct config_upgrade {
        const char *source;          /* of the system; NULL: not said */
        const char *recovery_source; /* of recovery, where it differs; NULL: the same */
        unsigned entry;              /* enum config_entry; RECOVERY also for upgrade.recovery */
        bool reboot, poweroff;       /* not both */
        bool allow_insecure_registries;
        struct config_hooks hooks;
};

struct config_reset {
        bool persistent; /* by default true */
        bool oem;
        bool reboot, poweroff; /* not both */
        bool unattended;       /* by its boot entry, see agent/statereset.h */
        struct config_hooks hooks;
};

/* One file as it was read. It may hold passwords of others' sections: wiped when freed. */
struct config_document {
        char *name; /* path or URL (without a password), "stdin" */
        struct buf text;
};

struct config {
        struct config_install install;
        struct config_upgrade upgrade;
        struct config_reset reset;
        uint32_t bind_pcrs;        /* mask of PCRs bound by value; PCR 7 is always in it */
        uint32_t bind_public_pcrs; /* mask of PCRs bound by the image's signature: PCR 11 */
        /* In the order they were merged, the last one counts most. */
        struct config_document *documents;
        size_t n_documents;
        struct config_node *tree; /* merged; for agent/config_show.c */
        bool recovery;            /* upgrade.recovery; counted in upgrade.entry */
};

struct config_wish {
        /* Paths, https:// URLs, "-" for standard input; merged in this order. */
        const char *const *sources;
        unsigned n_sources;
        /* Also what stands in the known folders, before the sources. Without sources: always. */
        bool known_folders;
        const struct fetch_options *fetch; /* for URLs; NULL: there are none */
};

/*
 * Reads, checks and merges. Known folders, in this order: /run/initramfs/live, /etc/kairos,
 * /usr/local/cloud-config, /oem, each with its *.yaml and *.yml in the order of their names.
 *
 * All mistakes of all files go into problems (the caller's, initialised). 0; -EBADMSG
 * (ERROR_CONFIG) when there was one; ERROR_CONFIG too for files that cannot be read; the errors of
 * upgrade/fetch.h for servers that cannot be reached. *ret only on success.
 */
int config_load(const struct env *env, const struct config_wish *wish,
                struct config_problems *problems, struct config **ret, struct error *e)
        _must_check_;
void config_free(struct config *c);
DEFINE_CLEANUP(struct config, config_free)

/*
 * The same for documents that are in memory already, which it takes over (in any case). For
 * config_load(), tests and fuzzing.
 */
int config_make(struct config_document *documents, size_t n, struct config_problems *problems,
                struct config **ret, struct error *e) _must_check_;
void config_documents_free(struct config_document *documents, size_t n);

/* Where a value was said, by its path ("install.partitions.oem.size"); NULL: it is a default. */
const struct config_place *config_origin(const struct config *c, const char *path);
