/* SPDX-License-Identifier: Apache-2.0 */
#include "upgrade/bootloader.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "base/file.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/num.h"
#include "base/version.h"
#include "upgrade/authenticode_image.h"
#include "upgrade/pe.h"
#include "upgrade/proof.h"
#include "upgrade/trust.h"

/* systemd-boot(7): section .sdmagic holds this text. */
#define MAGIC_START "#### LoaderInfo: systemd-boot "
#define MAGIC_END " ####"

#if defined(__x86_64__)
#define LOADER_NAME "systemd-bootx64.efi"
#define REMOVABLE_NAME "BOOTX64.EFI"
#elif defined(__aarch64__)
#define LOADER_NAME "systemd-bootaa64.efi"
#define REMOVABLE_NAME "BOOTAA64.EFI"
#endif

void bootloader_done(struct bootloader *b)
{
        buf_done(&b->image);
}

static int not_ours(struct error *e)
{
        error_set(e, ERROR_REFUSED, EBADMSG, "not a systemd-boot image");
        error_advise(e, "the source must bring systemd-boot, signed for this machine");
        return -EBADMSG;
}

static int read_version(int fd, struct bootloader *b, struct error *e)
{
        _cleanup_(pe_free_p) struct pe *pe = NULL;
        _cleanup_(buf_done) struct buf magic = BUF_INIT(4096);
        const struct pe_section *section;
        const char *start, *end;
        uint64_t major;
        int r;

        r = pe_open(fd, &pe, e);
        if (r < 0)
                return r;
        section = pe_find(pe, ".sdmagic");
        if (!section)
                return not_ours(e);
        r = pe_read(pe, section, &magic, e);
        if (r < 0)
                return r;
        start = strstr(buf_str(&magic), MAGIC_START);
        end = start ? strstr(start, MAGIC_END) : NULL;
        if (!end)
                return not_ours(e);
        start += strlen(MAGIC_START);
        if ((size_t)(end - start) >= sizeof(b->version))
                return not_ours(e);
        (void)snprintf(b->version, sizeof(b->version), "%.*s", (int)(end - start), start);
        /* "252.39-1~deb12u1": the number before the first other character. */
        buf_reset(&magic);
        if (buf_add(&magic, b->version, strspn(b->version, "0123456789")) < 0 ||
            parse_u64_max(buf_str(&magic), 99999, &major) < 0)
                return not_ours(e);
        b->major = (unsigned)major;
        return 0;
}

int bootloader_take(const struct buf *image, struct bootloader *ret, struct error *e)
{
        struct bootloader b = {.image = BUF_INIT(LIMIT_BOOT_LOADER)};
        _cleanup_close_ int fd = memfd_create("boot-loader", MFD_CLOEXEC);
        int r;

        if (fd < 0)
                return error_errno(e, errno, "boot loader");
        r = file_write(fd, image->data, image->len);
        if (r < 0)
                return error_errno(e, -r, "boot loader");
        r = read_version(fd, &b, e);
        if (r < 0)
                return error_wrap(e, r, "boot loader of the source");
        if (buf_add(&b.image, image->data, image->len) < 0) {
                bootloader_done(&b);
                return error_oom(e);
        }
        *ret = b;
        return 0;
}

int bootloader_load(int dirfd, const char *path, struct bootloader *ret, struct error *e)
{
        struct bootloader b = {.image = BUF_INIT(LIMIT_BOOT_LOADER)};
        _cleanup_close_ int fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
        int r;

        if (fd < 0)
                return error_errno(e, errno, "boot loader %s", path);
        r = read_version(fd, &b, e);
        if (r < 0)
                return error_wrap(e, r, "boot loader %s", path);
        r = file_read(dirfd, path, &b.image);
        if (r < 0) {
                bootloader_done(&b);
                return error_errno(e, -r, "boot loader %s", path);
        }
        *ret = b;
        return 0;
}

int bootloader_verify(const struct bootloader *b, const struct sigdb *db, const struct sigdb *dbx,
                      struct buf *why, struct error *e)
{
        _cleanup_(authenticode_image_free_p) struct authenticode_image *image = NULL;
        _cleanup_free_ struct trust_report *report = NULL;
        int r;

        if (!db || !dbx)
                return error_set(e, ERROR_PRECONDITION, ENODATA,
                                 "this machine's key database is not known");
        if (authenticode_image_new(TRUST_DIGESTS, &image) < 0)
                return error_oom(e);
        r = authenticode_image_push(image, b->image.data, b->image.len, e);
        if (r == 0)
                r = authenticode_image_finish(image, e);
        if (r == 0)
                r = trust_check(image, db, dbx, &report, e);
        if (r == 0)
                r = trust_enforce(report, e);
        if (r < 0 && e && e->class == ERROR_REFUSED)
                e->class = proof_trust_class(r);
        if (r < 0)
                return error_wrap(e, r, "boot loader");
        if (why && buf_add_str(why, report->why) < 0)
                return error_oom(e);
        return 0;
}

enum entry_key bootloader_entry_key(const struct bootloader *b)
{
        return b->major >= 258 ? ENTRY_KEY_UKI : ENTRY_KEY_EFI;
}

int bootloader_add(const struct esp *esp, const struct bootloader *b, struct error *e)
{
        int r = esp_make_dir(esp, "EFI/systemd", e);

        if (r == 0)
                r = esp_make_dir(esp, "EFI/BOOT", e);
        if (r == 0)
                r = esp_add_file(esp, "EFI/systemd/" LOADER_NAME, b->image.data, b->image.len, e);
        if (r == 0)
                r = esp_add_file(esp, "EFI/BOOT/" REMOVABLE_NAME, b->image.data, b->image.len, e);
        return r;
}

/* 1: the copy at the path is to be replaced, or added; 0: it stays. */
static int is_outdated(const struct esp *esp, const struct bootloader *b, const char *path)
{
        _cleanup_(bootloader_done) struct bootloader there = {.image = BUF_INIT(0)};
        struct error error = ERROR_INIT;
        int r = bootloader_load(esp->root, path, &there, &error);

        if (r == -ENOENT)
                return 1;
        if (r < 0) {
                log_warning("%s stays as it is: %s", path, error.text);
                return 0;
        }
        return version_compare(there.version, b->version) < 0;
}

int bootloader_update(const struct esp *esp, const struct bootloader *b, bool *ret_changed,
                      struct error *e)
{
        static const char *const copies[] = {"EFI/systemd/" LOADER_NAME,
                                             "EFI/BOOT/" REMOVABLE_NAME};
        bool changed = false;
        int r = esp_make_dir(esp, "EFI/systemd", e);

        if (r == 0)
                r = esp_make_dir(esp, "EFI/BOOT", e);
        for (size_t i = 0; i < ARRAY_SIZE(copies) && r == 0; i++) {
                if (!is_outdated(esp, b, copies[i]))
                        continue;
                r = esp_exchange_file(esp, copies[i], b->image.data, b->image.len, e);
                changed = changed || r == 0;
        }
        *ret_changed = changed;
        return r;
}
