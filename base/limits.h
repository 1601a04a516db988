/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every cap on something that comes from outside: a disk, firmware, a peer, a user's file. One
 * table, so that a review sees all of them. Names say what is bounded; the comment says why the
 * number is big enough.
 */
#pragma once

#include <stdint.h>

#define KIB UINT64_C(1024)
#define MIB (UINT64_C(1024) * KIB)
#define GIB (UINT64_C(1024) * MIB)

/* FAT32 stores file sizes in 32 bits. */
#define LIMIT_IMAGE_SIZE (4 * GIB - 1)
/* systemd-stub 258 has room for 120 section headers; a multi-profile image uses a few dozen. */
#define LIMIT_PE_SECTIONS 256u
/* DOS stub, PE header and section table; real images use 1 KiB, firmware accepts more. */
#define LIMIT_PE_HEADER (64 * KIB)
/* PKCS#7 blobs with chains are under 10 KiB each. */
#define LIMIT_PE_CERT_TABLE (1 * MIB)
/* Real images carry one or two signatures, each with a chain of up to four certificates. */
#define LIMIT_PE_SIGNATURES 16u
#define LIMIT_SIGNATURE_CERTS 16u
/* Alignment between sections leaves less than a page; what lies there has to be kept in memory. */
#define LIMIT_PE_GAPS (1 * MIB)
/* SBAT: a few hundred bytes and under ten components in real images and level documents. */
#define LIMIT_SBAT (64 * KIB)
#define LIMIT_SBAT_COMPONENTS 256u
/* One signature is about 600 bytes; 15 phase paths and several keys fit many times. */
#define LIMIT_PCRSIG (256 * KIB)
#define LIMIT_PCRSIG_ENTRIES 256u
#define LIMIT_PCRPKEY (16 * KIB)
#define LIMIT_OS_RELEASE (64 * KIB)
#define LIMIT_CMDLINE (16 * KIB)
/* uname -r: the kernel's own field has 64 characters. */
#define LIMIT_UNAME 256u
#define LIMIT_KERNEL_RELEASE 64u
/* Start of an x86 kernel up to its version text, to which a 16-bit field points. */
#define LIMIT_KERNEL_SETUP (66 * KIB)
/* Small sections of all profiles of an image together; one profile needs a few KiB. */
#define LIMIT_USI_CONTENT (4 * MIB)
/* Longest word path of a boot phase policy, e.g. enter-initrd:leave-initrd:sysinit:ready. */
#define LIMIT_PHASE_PATH 256u

/* EFI variables: db and dbx are the large ones (dbx about 24 KiB today). */
#define LIMIT_EFI_VARIABLE (1 * MIB)
/* Entries of all signature lists of db or dbx together; a dbx of today has under 500. */
#define LIMIT_SIGDB_ENTRIES 16384u
/* Text variables of the boot loader: ids, paths, versions, all well under a page. */
#define LIMIT_LOADER_VARIABLE (16 * KIB)
/* Boot####: about 120 bytes for a disk; network and vendor entries are some hundred, of a dozen
 * nodes. BootOrder: a handful, a few dozen on servers with many network cards. */
#define LIMIT_LOAD_OPTION (16 * KIB)
#define LIMIT_LOAD_OPTION_NODES 64u
#define LIMIT_BOOT_ORDER 1024u
/* One loader entry of ours is 512 bytes; foreign ones are a few KiB at most. */
#define LIMIT_LOADER_ENTRY (16 * KIB)
#define LIMIT_LOADER_ENTRIES 256u
/* loader.conf: a few hundred bytes, with comments. */
#define LIMIT_LOADER_CONF (16 * KIB)
/* Names on an ESP: a few dozen of ours, some hundred with fonts and drivers of other systems. */
#define LIMIT_ESP_FILES 4096u
#define LIMIT_ESP_DEPTH 8u
#define LIMIT_BOOT_LOADER (16 * MIB)

/* LUKS2: the binary header area stores the JSON in at most 4 MiB; a token of ours is about 2 KiB.
 */
#define LIMIT_LUKS_JSON (4 * MIB)
#define LIMIT_TOKEN_JSON (64 * KIB)
#define LIMIT_LUKS_TOKENS 32
#define LIMIT_LUKS_KEYSLOTS 32
/* Maxima of the format and of its tools: key slot area 128 MiB, data at 16 MiB by default. */
#define LIMIT_LUKS_KEYSLOTS_AREA (128 * MIB)
#define LIMIT_LUKS_DATA_OFFSET (1 * GIB)
/* What cryptsetup's benchmark picks on fast machines; more would only stall the boot. */
#define LIMIT_LUKS_PBKDF2_ITERATIONS 20000000u
#define LIMIT_LUKS_ARGON2_TIME 64u
#define LIMIT_LUKS_ARGON2_MEMORY_KIB (1 * MIB)
/* What a disk image has to say to its machine: ten configurations of 1 MiB each, in base64. It lies
 * where the header of a volume will be. */
#define LIMIT_BLANK_CONTENT (15 * MIB)
/* TPM2B structures never exceed a TPM's command buffer (4 KiB). */
#define LIMIT_TPM_BLOB (8 * KIB)
/* PCR 7 and 11 do not move in the initrd; another program measuring at the same time does so once
 * or twice. */
#define LIMIT_TPM_PCR_RETRIES 30u
/* The firmware reserves 64 KiB to 2 MiB for its event log and writes up to some hundred events; a
 * TPM has at most a handful of PCR banks. */
#define LIMIT_EVENTLOG (4 * MIB)
#define LIMIT_EVENTLOG_EVENTS 65536u
#define LIMIT_EVENTLOG_BANKS 16u

/* Registries: manifests, indexes and image configurations are a few KiB, a hundred with long
 * histories; 4 MiB is what registries accept at most. Docker stops at 127 layers; an index of a
 * popular image has some dozen entries; more than index, index, manifest nobody makes. */
#define LIMIT_OCI_DOCUMENT (4 * MIB)
#define LIMIT_OCI_LAYERS 256u
#define LIMIT_OCI_ENTRIES 256u
#define LIMIT_OCI_NESTING 2u
/* Layers carry the image and little else; an ordinary system image packed beside it fits too. */
#define LIMIT_OCI_BLOB (16 * GIB)
/* WWW-Authenticate: one or two challenges of three parameters. Tokens are 1 to 4 KiB. */
#define LIMIT_AUTH_HEADER (16 * KIB)
#define LIMIT_AUTH_CHALLENGES 8u
#define LIMIT_AUTH_PARAMETERS 32u
#define LIMIT_AUTH_TOKEN (1 * MIB)
#define LIMIT_AUTH_TOKEN_SECONDS 86400u
/* config.json with logins: a few KiB. */
#define LIMIT_AUTH_FILE (1 * MIB)
#define LIMIT_AUTH_PASSWORD (64 * KIB)
/* One layer unpacked, and how much may come out of each byte that goes in: system images are
 * compressed inside and give 1 to 3; ordinary text gives 10, zeros in gzip 1030, in zstd 100000.
 * The slack lets a small layer begin with zeros. */
#define LIMIT_LAYER_UNPACKED (16 * GIB)
#define LIMIT_LAYER_RATIO 200u
#define LIMIT_LAYER_SLACK (64 * MIB)
#define LIMIT_LAYER_MEMBERS 4000000u
/* docker-archive and oci-archive: a handful of documents and some layers, each with a folder. */
#define LIMIT_ARCHIVE_MEMBERS 4096u
#define LIMIT_ARCHIVE_NAME 512u
#define LIMIT_ARCHIVE_LINKS 4u
/* Room that a spooled transfer leaves to everybody else on its file system. */
#define LIMIT_SPOOL_RESERVE (64 * MIB)
/* Names of sources: a repository has at most 255 characters, paths and URLs 4095. */
#define LIMIT_SOURCE_NAME 4096u
#define LIMIT_REPOSITORY 255u
#define LIMIT_TAG 128u

/* As many as Linux makes devices for. */
#define LIMIT_PARTITIONS 256u
/* Partitions a user adds to a node: nobody has more than a handful. */
#define LIMIT_EXTRA_PARTITIONS 16u
/* Values of one JSON document, whatever its size: an image configuration with a long history has
 * some hundred, an index some thousand. */
#define LIMIT_JSON_VALUES 32768u
/* Small text and JSON files of our own: journals, sentinels, reports. */
#define LIMIT_SMALL_FILE (1 * MIB)
/* sysfs and procfs attributes are at most a page, mountinfo may be longer. */
#define LIMIT_SYSFS_FILE (1 * MIB)
/* A node with many containers has some thousand mounts of 200 bytes. The kernel allows 30 swaps. */
#define LIMIT_MOUNTINFO (16 * MIB)
#define LIMIT_SWAPS 64u
/* Devices and mounts upon each other; real stacks have three to six. */
#define LIMIT_DISK_STACK 32u
/* How long udev or another program may have a disk for itself: a look takes milliseconds. */
#define LIMIT_DISK_LOCK_SECONDS 10u
/* Rounds of releasing a disk: one, and one more for each thing that came back. */
#define LIMIT_DISK_ROUNDS 4u
/* A rule for choosing a disk: a handful of terms; models and serials have at most 64 characters. */
#define LIMIT_DISK_TERMS 16u
#define LIMIT_DISK_TERM 256u
/* Lists of disks, and of what uses one, inside a message. */
#define LIMIT_DISK_REPORT 3584u
/* What is kept of a child's output for an error message. */
#define LIMIT_CHILD_OUTPUT (64 * KIB)
/* Sandboxed children: descriptors handed over, address space (program and libraries included; the
 * largest zstd window an image may use is 128 MiB), processor time (4 GiB over TLS and zstd take
 * half a minute on slow machines), and how long building the sandbox may take. */
#define LIMIT_SANDBOX_FDS 8u
#define LIMIT_SANDBOX_RECEIVED_FDS 64u
#define LIMIT_SANDBOX_MEMORY (512 * MIB)
#define LIMIT_SANDBOX_CPU_SECONDS 600u
#define LIMIT_SANDBOX_START_SECONDS 30u
/* URLs: presigned ones of object stores have up to two KiB. Names of hosts: RFC 1035. */
#define LIMIT_URL (8 * KIB)
#define LIMIT_HOST_NAME 253u
/* Header of an answer: servers send one or two KiB, and accept 8 to 32 themselves. */
#define LIMIT_HTTP_HEADERS (64 * KIB)
/* Error pages are read to their end only so far, to keep the connection. */
#define LIMIT_HTTP_ERROR_BODY (64 * KIB)
/* Hops of one request: a registry redirects once, to its storage. */
#define LIMIT_HTTP_REDIRECTS 5u
/* A server that wants to be left alone for longer is left to the next run. */
#define LIMIT_HTTP_RETRY_AFTER_SECONDS 300u
/* Tries of a step without progress, with waits of 0.5, 1, 2, 4 ... seconds between them; a drop
 * after so much progress is continued at once and does not count. */
#define LIMIT_FETCH_ATTEMPTS 6u
#define LIMIT_FETCH_DELAY_MS 500u
#define LIMIT_FETCH_DELAY_MAX_MS 30000u
#define LIMIT_FETCH_PROGRESS (1 * MIB)
/* Less than this over so long is a stalled transfer: modems of 1990 were faster. */
#define LIMIT_FETCH_SPEED (1 * KIB)
#define LIMIT_FETCH_SPEED_SECONDS 60u
/* Connections of one transfer in all, addresses tried of a host, and the time for each. */
#define LIMIT_FETCH_CONNECTS 4096u
#define LIMIT_FETCH_ADDRESSES 8u
#define LIMIT_FETCH_CONNECT_SECONDS 10u
/* Where both https and http are allowed, how long https may take to show itself. */
#define LIMIT_FETCH_PROBE_SECONDS 5u
/* Of the child that fetches: one message, and silence after which it counts as stuck. It says so
 * when it waits for a server's sake, which is for LIMIT_HTTP_RETRY_AFTER_SECONDS at most. */
#define LIMIT_FETCH_FRAME (256 * KIB)
/* Notes of one child, a line of the log each: one for every wait, far below one for every
 * connection. */
#define LIMIT_FETCH_NOTES 8192u
#define LIMIT_FETCH_SILENCE_SECONDS 600u
/* Certificates of authorities: the system's bundle has 220 KiB. */
#define LIMIT_CA_BUNDLE (4 * MIB)
/* Health checks: number in the directory, and how long one may take. */
#define LIMIT_HEALTH_CHECKS 64u
#define LIMIT_HEALTH_CHECK_SECONDS 120u
/* Hooks of an event in one folder, and how long one may take: draining a node takes minutes. */
#define LIMIT_HOOKS 64u
#define LIMIT_HOOK_SECONDS 600u
/* Recovery keys: 71 characters, with room for blanks of a person. Three consoles are many. A person
 * who reads 64 letters from paper needs a minute; a node where nobody is has to come up. */
#define LIMIT_RECOVERY_INPUT 256u
#define LIMIT_RECOVERY_TRIES 5u
#define LIMIT_RECOVERY_SECONDS 120u
#define LIMIT_CONSOLES 16u
/* Wrong PINs of one boot; the TPM allows some more before it locks itself. */
#define LIMIT_PIN_TRIES 3u
/* Folders that a user adds to each list of mounts: the defaults have about thirty. */
#define LIMIT_BOOT_ADDITIONS 64u
/* How long the boot stage waits for a disk to appear. */
#define LIMIT_DEVICE_WAIT_SECONDS 30u
/* How long drivers of the usual kinds alone get for that, before those of all devices are loaded.
 */
#define LIMIT_DEVICE_FIRST_WAIT_MS 500
/* The same for a drive with the disc of a live session: CD drives are slow to tell what they hold,
 * but a machine that started from the network has none. */
#define LIMIT_DISC_WAIT_SECONDS 15u

/* System extensions: tools and drivers of some hundred MiB; a node has a handful. The signature is
 * a JSON text of a few KiB, its partition has 16 KiB. Images that one may be enabled for: what
 * runs, what it may fall back to, and what comes next. */
#define LIMIT_EXTENSION_SIZE (4 * GIB)
#define LIMIT_EXTENSIONS 16u
#define LIMIT_EXTENSION_IMAGES 4u
#define LIMIT_EXTENSION_NAME 64u
#define LIMIT_DDI_SIGNATURE (256 * KIB)

/* Configuration: Kairos skips files above 1 MiB; real ones have a few KiB and nest six deep. What
 * is counted as nodes includes those of sections that are left alone (files in write_files). */
#define LIMIT_CONFIG_DOCUMENT (1 * MIB)
#define LIMIT_CONFIG_FILES 64u
#define LIMIT_CONFIG_DEPTH 32u
#define LIMIT_CONFIG_NODES 65536u
/* Of one map; all keys that cloud-init and Kairos know are some hundred. */
#define LIMIT_CONFIG_KEYS 1024u
/* Of one file: who made more mistakes mends these first. */
#define LIMIT_CONFIG_PROBLEMS 20u
/* Items of one list (the usual mounts are about thirty), and one text in our sections. */
#define LIMIT_CONFIG_LIST 64u
#define LIMIT_CONFIG_TEXT 4096u
#define LIMIT_CONFIG_EXTRA_PARTITIONS 16u
/* GPT names have 36 characters, ext4 labels 16. */
#define LIMIT_CONFIG_PARTITION_NAME 36u
#define LIMIT_CONFIG_LABEL 16u
/* A mounted folder is named after its path, in one file name. */
#define LIMIT_CONFIG_MOUNT 200u
/* Sizes in a configuration: more than any disk of today has. */
#define LIMIT_CONFIG_SIZE (1024 * 1024 * GIB)

/* User data: names as useradd and systemd accept them, a name of a host in the kernel, and all the
 * files of an engine together, which lie in memory twice for a moment. */
#define LIMIT_USER_NAME 31u
#define LIMIT_NODE_NAME 64u
#define LIMIT_USERDATA (4 * MIB)
/* /etc/passwd: a system has some dozen accounts, a directory server's cache some thousand. */
#define LIMIT_ACCOUNTS 4096u
#define LIMIT_PASSWD_FILE (1 * MIB)

/* Building images: files of one operating system tree (a full desktop has half a million), the
 * newc format's size field, and PEM files. */
#define LIMIT_TREE_ENTRIES 4000000u
#define LIMIT_TREE_DEPTH 256u
#define LIMIT_CPIO_FILE (4 * GIB - 1)
/* Everything in the files of all layers of a root. */
#define LIMIT_ROOT_CONTENT (64 * GIB)
/* Extended attributes of one file; the list of names and a value cannot be larger in Linux. */
#define LIMIT_XATTRS (64 * KIB)
/* The kernel's lists of its modules (a distribution's has some hundred KiB). */
#define LIMIT_MODULES_DEP (16 * MIB)
#define LIMIT_KEY_FILE (64 * KIB)
/* The list of installed packages: a full desktop has 5 MB. */
#define LIMIT_PACKAGE_DATABASE (64 * MIB)
/* The picture of an image: a screen of today in 32 bits has 33 MB. */
#define LIMIT_SPLASH (64 * MIB)
/* Directory records of one folder: FAT itself has 65536 of 32 bytes. */
#define LIMIT_FAT_FOLDER (2 * MIB)
/* Large files of an installer medium's overlay, which stay open; and how long xorriso may write:
 * a medium of 4 GiB to a slow disk. */
#define LIMIT_OVERLAY_LARGE 64u
#define LIMIT_XORRISO_SECONDS 3600u
/* A root of some gigabytes, well compressed by a slow machine. */
#define LIMIT_MKFS_IMAGE_SECONDS 7200u
