/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What sysfs says about block devices, by kernel name ("vda", "nvme0n1p2", "dm-0"), and the links
 * that udev made to them. Everything here only reads.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/env.h"

/* How a disk is attached: the innermost of these that its place in sysfs goes through. */
enum sysblock_bus {
        SYSBLOCK_BUS_OTHER,
        SYSBLOCK_BUS_NVME,
        SYSBLOCK_BUS_VIRTIO, /* virtio-blk; a disk behind virtio-scsi is a SCSI disk */
        SYSBLOCK_BUS_SCSI,   /* SAS, iSCSI, Fibre Channel, virtio-scsi, Hyper-V */
        SYSBLOCK_BUS_SATA,   /* through libata */
        SYSBLOCK_BUS_USB,
        SYSBLOCK_BUS_MMC,
        SYSBLOCK_BUS_MAX,
};

struct sysblock_names {
        char **name;
        size_t n;
};

void sysblock_names_done(struct sysblock_names *names);
/* Appends a copy. -ENOMEM. */
int sysblock_names_add(struct sysblock_names *names, const char *name) _must_check_;

/* Attribute of a device as text of one line; out is empty when the attribute does not exist. */
int sysblock_read(const struct env *env, const char *device, const char *attribute, struct buf *out)
        _must_check_;
/* The same as a decimal number. -EINVAL when it is none, also when it does not exist. */
int sysblock_number(const struct env *env, const char *device, const char *attribute, uint64_t *ret)
        _must_check_;
/* The same without surrounding blanks, which firmware pads with. The caller frees it. */
int sysblock_text(const struct env *env, const char *device, const char *attribute, char **ret)
        _must_check_;

/*
 * Identity of a whole disk, each "" when it has none. The caller frees them. The serial of a SCSI
 * or SATA disk is taken from page 0x80 of its vital product data, as sysfs has it nowhere else.
 */
int sysblock_model(const struct env *env, const char *disk, char **ret) _must_check_;
int sysblock_serial(const struct env *env, const char *disk, char **ret) _must_check_;
int sysblock_wwn(const struct env *env, const char *disk, char **ret) _must_check_;
enum sysblock_bus sysblock_bus(const struct env *env, const char *disk);
/* A device that a driver makes out of others or of memory (bcache, zram, a ZFS volume), no disk. */
bool sysblock_is_virtual(const struct env *env, const char *device);
/* "nvme", "sata", ...; "other". */
const char *sysblock_bus_name(enum sysblock_bus bus);

/*
 * Names in a folder of a device ("holders", "slaves"), in a natural order; none when there is no
 * such folder. The partitions of a disk.
 */
int sysblock_list(const struct env *env, const char *device, const char *folder,
                  struct sysblock_names *ret) _must_check_;
int sysblock_partitions(const struct env *env, const char *disk, struct sysblock_names *ret)
        _must_check_;

/*
 * A link in a folder below /dev ("disk/by-id", "md") that leads to the device; of several one that
 * people can read, always the same. "" when there is none. The caller frees it. Only for showing:
 * links are global names.
 */
int sysblock_link(const struct env *env, const char *folder, const char *device, char **ret)
        _must_check_;
