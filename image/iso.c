/* SPDX-License-Identifier: Apache-2.0 */
#include "image/iso.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/codec.h"
#include "base/limits.h"
#include "base/spawn.h"
#include "image/bundle_fat.h"

#define ESP_TYPE "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"

/*
 * The partition offset makes xorriso count the appended partition as part of the ISO, as El Torito
 * wants it: the boot image has no size there that sixteen bits could tell, and reaches to the end.
 */
static int run_xorriso(const char *fat, const char *label, const char *guid, uint64_t epoch,
                       const char *out, struct error *e)
{
        const char *const argv[] = {"xorriso",
                                    "-as",
                                    "mkisofs",
                                    "-quiet",
                                    "-V",
                                    label,
                                    "-uid",
                                    "0",
                                    "-gid",
                                    "0",
                                    "-partition_offset",
                                    "16",
                                    "-iso_mbr_part_type",
                                    "0",
                                    "-appended_part_as_gpt",
                                    "-append_partition",
                                    "2",
                                    ESP_TYPE,
                                    fat,
                                    "--gpt_disk_guid",
                                    guid,
                                    "-e",
                                    "--interval:appended_partition_2:all::",
                                    "-no-emul-boot",
                                    "-o",
                                    out,
                                    NULL};
        char date[48];
        const char *const environment[] = {date, "TZ=UTC", NULL};
        const struct spawn_how how = {.timeout_seconds = LIMIT_XORRISO_SECONDS,
                                      .environment = environment};
        int r;

        (void)snprintf(date, sizeof(date), "SOURCE_DATE_EPOCH=%" PRIu64, epoch);
        r = spawn_check_how(argv, &how, e);
        if (r == -ENOENT)
                error_advise(e, "install xorriso");
        return r;
}

/* The file system in a file without a name that xorriso finds below /proc. */
static int write_fat(const struct bundle *b, const char *label, uint32_t serial,
                     struct output *scratch, uint8_t digest[SHA256_SIZE], struct error *e)
{
        char short_label[FAT_LABEL_SIZE + 1];
        int fd = output_fd(scratch), r;

        (void)snprintf(short_label, sizeof(short_label), "%.*s", (int)FAT_LABEL_SIZE, label);
        r = bundle_fat_write(b, short_label, serial, fd, e);
        if (r < 0)
                return r;
        r = digest_fd(fd, digest, NULL);
        return r < 0 ? error_errno(e, -r, "cannot read the file system back") : 0;
}

int iso_write(const struct bundle *b, const char *label, uint32_t serial, const char *path,
              struct iso_facts *ret, struct error *e)
{
        _cleanup_(output_free_p) struct output *output = NULL, *scratch = NULL;
        uint8_t digest[SHA256_SIZE];
        char guid[UUID_TEXT_SIZE], fat[64];
        const char *name;
        int r;

        r = output_open(path, &output, e);
        if (r == 0)
                r = output_open(path, &scratch, e);
        if (r == 0)
                r = write_fat(b, label, serial, scratch, digest, e);
        if (r == 0)
                r = output_name(output, &name, e);
        if (r < 0)
                return r;
        uuid_encode(digest, 8, guid); /* another content, another one */
        (void)snprintf(fat, sizeof(fat), "/proc/%ld/fd/%d", (long)getpid(), output_fd(scratch));
        r = run_xorriso(fat, label, guid, bundle_epoch(b), name, e);
        if (r < 0)
                return r;
        r = digest_fd(output_fd(output), ret->sha256, &ret->size);
        if (r < 0)
                return error_errno(e, -r, "cannot read the medium back");
        if (ret->size == 0)
                return error_set(e, ERROR_INTERNAL, EIO, "xorriso wrote to another file");
        return output_commit(output, e);
}
