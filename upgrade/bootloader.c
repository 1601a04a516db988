/* SPDX-License-Identifier: Apache-2.0 */
#include "upgrade/bootloader.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "base/file.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/version.h"
#include "upgrade/authenticode_image.h"
#include "upgrade/esp_path.h"
#include "upgrade/pe.h"
#include "upgrade/proof.h"
#include "upgrade/trust.h"

void bootloader_done(struct bootloader *b)
{
        buf_done(&b->image);
}

static int read_version(int fd, struct bootloader *b, struct error *e)
{
        _cleanup_(pe_free_p) struct pe *pe = NULL;
        int r = pe_open(fd, &pe, e);

        return r < 0 ? r : bootloader_probe(pe, b->version, &b->major, e);
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

static int check_trust(const struct bootloader *b, const struct sigdb *db, const struct sigdb *dbx,
                       struct trust_report **ret, struct error *e)
{
        _cleanup_(authenticode_image_free_p) struct authenticode_image *image = NULL;
        int r;

        if (!db || !dbx)
                return error_set(e, ERROR_PRECONDITION, ENODATA,
                                 "this machine's key database is not known");
        if (authenticode_image_new(AUTHENTICODE_MASK_ALL, &image) < 0)
                return error_oom(e);
        r = authenticode_image_push(image, b->image.data, b->image.len, e);
        if (r == 0)
                r = authenticode_image_finish(image, e);
        if (r == 0)
                r = trust_check(image, db, dbx, ret, e);
        if (r == 0)
                r = trust_enforce(*ret, e);
        if (r < 0 && e && e->class == ERROR_REFUSED)
                e->class = proof_trust_class(r);
        return r < 0 ? error_wrap(e, r, "boot loader") : 0;
}

int bootloader_verify(const struct bootloader *b, const struct sigdb *db, const struct sigdb *dbx,
                      struct buf *why, struct error *e)
{
        _cleanup_free_ struct trust_report *report = NULL;
        int r = check_trust(b, db, dbx, &report, e);

        if (r < 0)
                return r;
        if (why && buf_add_str(why, report->why) < 0)
                return error_oom(e);
        return 0;
}

int bootloader_check_pcr7(const struct bootloader *b, const struct sigdb *db,
                          const struct sigdb *dbx, const struct eventlog *log, struct error *e)
{
        _cleanup_free_ struct trust_report *report = NULL;
        int r = log ? check_trust(b, db, dbx, &report, e) : 0;

        if (r < 0 || !log || trust_vouched(report, log) != 0)
                return r;
        error_set(
                e, ERROR_PRECONDITION, EXDEV,
                "boot loader %s: another entry of db vouches for it than for what runs now: PCR 7 "
                "would change, and a disk that is bound to it would not unlock",
                b->version);
        error_advise(e, "take a boot loader signed by the certificate that signs the running one");
        return -EXDEV;
}

const struct sigdb_entry *bootloader_authority(const struct bootloader *b, const struct sigdb *db,
                                               const struct sigdb *dbx)
{
        _cleanup_free_ struct trust_report *report = NULL;

        return check_trust(b, db, dbx, &report, NULL) == 0 ? trust_authority(report) : NULL;
}

enum entry_key bootloader_entry_key(const struct bootloader *b)
{
        return b->major >= 258 ? ENTRY_KEY_UKI : ENTRY_KEY_EFI;
}

int bootloader_major_on_esp(const struct esp *esp, unsigned running, unsigned *ret)
{
        static const char *const paths[] = {BOOTLOADER_PATH, BOOTLOADER_FALLBACK_PATH};
        unsigned oldest = UINT_MAX;
        bool other = false;

        for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
                struct bootloader b = {.image = BUF_INIT(LIMIT_BOOT_LOADER)};
                int r = esp_path_read(esp->root, paths[i], &b.image);

                if (r == 0) {
                        struct bootloader read = {.image = BUF_INIT(0)};

                        r = bootloader_take(&b.image, &read, NULL);
                        if (r == 0 && read.major < oldest)
                                oldest = read.major;
                        bootloader_done(&read);
                }
                other = other || (r < 0 && r != -ENOENT);
                bootloader_done(&b);
        }
        if (oldest == UINT_MAX)
                return -ENOENT;
        *ret = other && running < oldest ? running : oldest;
        return 0;
}

int bootloader_add(const struct esp *esp, const struct bootloader *b, struct error *e)
{
        int r = esp_make_dir(esp, "EFI/systemd", e);

        if (r == 0)
                r = esp_make_dir(esp, "EFI/BOOT", e);
        if (r == 0)
                r = esp_add_file(esp, BOOTLOADER_PATH, b->image.data, b->image.len, e);
        if (r == 0)
                r = esp_add_file(esp, BOOTLOADER_FALLBACK_PATH, b->image.data, b->image.len, e);
        return r;
}

/* --- bringing up to date --------------------------------------------------------------------- */

enum copy_state {
        COPY_BROKEN, /* missing, or firmware would not start it */
        COPY_WHOLE,
        COPY_FOREIGN, /* another program that firmware starts */
};

struct copy {
        const char *path;
        enum copy_state state;
        struct bootloader loader; /* of a whole one */
};

/* In the order in which whole copies are replaced: firmware starts the other one as long as there
 * is doubt about this one. */
#define COPIES                                                                                     \
        {                                                                                          \
                {.path = BOOTLOADER_PATH}, {.path = BOOTLOADER_FALLBACK_PATH},                     \
        }

static int look_at_copy(const struct esp *esp, const struct bootloader_wish *wish, struct copy *c,
                        struct error *e)
{
        struct bootloader b = {.image = BUF_INIT(LIMIT_BOOT_LOADER)};
        struct error error = ERROR_INIT;
        int r = esp_path_read(esp->root, c->path, &b.image);

        if (r == -EIO || r == -ENOMEM) {
                buf_done(&b.image);
                return error_errno(e, -r, "%s: read", c->path);
        }
        if (r == 0 && bootloader_verify(&b, wish->db, wish->dbx, NULL, &error) == 0) {
                r = bootloader_take(&b.image, &c->loader, &error);
                c->state = r == 0 ? COPY_WHOLE : COPY_FOREIGN;
        } else if (r != -ENOENT) {
                log_warning("%s is damaged: %s", c->path, error.text);
        }
        buf_done(&b.image);
        return 0;
}

/* An entry that this version would not show may be the only way to boot. */
static int check_entries(const struct esp *esp, const struct bootloader *b, struct error *e)
{
        _cleanup_free_ struct entry_file *list = NULL;
        size_t n = 0;
        int r = bootloader_entry_key(b) == ENTRY_KEY_UKI ? 0 : esp_list_entries(esp, &list, &n, e);

        if (r < 0)
                return r;
        for (size_t i = 0; i < n; i++) {
                if (list[i].valid && list[i].entry.key == ENTRY_KEY_UKI)
                        return error_set(e, ERROR_PRECONDITION, EPERM,
                                         "boot loader %s would not show boot entry %s: it does not "
                                         "know the key \"uki\"",
                                         b->version, list[i].file);
        }
        return 0;
}

/* What both copies are to be. *ret_newer: the fresh one is not it, for being older. */
static const struct bootloader *choose(const struct copy *copies, size_t n,
                                       const struct bootloader_wish *wish, bool *ret_newer)
{
        const struct bootloader *best = wish->fresh;

        *ret_newer = false;
        if (best && wish->force)
                return best;
        for (size_t i = 0; i < n; i++) {
                if (copies[i].state == COPY_WHOLE &&
                    (!best || version_compare(copies[i].loader.version, best->version) > 0))
                        best = &copies[i].loader;
        }
        *ret_newer = wish->fresh && best != wish->fresh;
        return best;
}

static bool is_same(const struct copy *c, const struct bootloader *wanted)
{
        return c->state == COPY_WHOLE && c->loader.image.len == wanted->image.len &&
               memcmp(c->loader.image.data, wanted->image.data, wanted->image.len) == 0;
}

/* What stays as it is needs no proof. */
static int check_change(const struct copy *copies, size_t n, const struct bootloader *wanted,
                        const struct bootloader_wish *wish, struct error *e)
{
        for (size_t i = 0; i < n; i++) {
                if (copies[i].state != COPY_FOREIGN && !is_same(&copies[i], wanted))
                        return bootloader_check_pcr7(wanted, wish->db, wish->dbx, wish->log, e);
        }
        return 0;
}

/* One copy. *outcome rises with what was done. */
static int settle_copy(const struct esp *esp, const struct copy *c, const struct bootloader *wanted,
                       enum bootloader_outcome *outcome, struct error *e)
{
        bool same = is_same(c, wanted);
        enum bootloader_outcome done =
                c->state == COPY_BROKEN ? BOOTLOADER_REPAIRED : BOOTLOADER_UPDATED;
        int r;

        if (c->state == COPY_FOREIGN) {
                log_info("%s is not systemd-boot and stays", c->path);
                return 0;
        }
        /* Also when it is the same: what a cut left beside it goes. */
        r = esp_exchange_file(esp, c->path, wanted->image.data, wanted->image.len, e);
        if (r == 0 && !same && done > *outcome)
                *outcome = done;
        return r;
}

static int settle_copies(const struct esp *esp, const struct copy *copies, size_t n,
                         const struct bootloader *wanted, enum bootloader_outcome *outcome,
                         struct error *e)
{
        int r = esp_make_dir(esp, "EFI/systemd", e);

        if (r == 0)
                r = esp_make_dir(esp, "EFI/BOOT", e);
        for (int broken = 1; broken >= 0; broken--) {
                for (size_t i = 0; i < n && r == 0; i++) {
                        if ((copies[i].state == COPY_BROKEN) == (broken == 1))
                                r = settle_copy(esp, &copies[i], wanted, outcome, e);
                }
        }
        return r;
}

static int update(const struct esp *esp, const struct bootloader_wish *wish, struct copy *copies,
                  size_t n, enum bootloader_outcome *ret, struct error *e)
{
        enum bootloader_outcome outcome = BOOTLOADER_SAME;
        const struct bootloader *wanted;
        bool newer;
        int r = 0;

        if (wish->fresh)
                r = bootloader_verify(wish->fresh, wish->db, wish->dbx, NULL, e);
        for (size_t i = 0; i < n && r == 0; i++)
                r = look_at_copy(esp, wish, &copies[i], e);
        if (r < 0)
                return r;
        wanted = choose(copies, n, wish, &newer);
        if (!wanted)
                return error_set(e, ERROR_PRECONDITION, ENODATA,
                                 "there is no whole boot loader on the boot partition");
        r = check_entries(esp, wanted, e);
        if (r == 0)
                r = check_change(copies, n, wanted, wish, e);
        if (r == 0)
                r = settle_copies(esp, copies, n, wanted, &outcome, e);
        if (r == 0)
                *ret = newer ? BOOTLOADER_NEWER : outcome;
        return r;
}

int bootloader_update(const struct esp *esp, const struct bootloader_wish *wish,
                      enum bootloader_outcome *ret, struct error *e)
{
        struct copy copies[] = COPIES;
        int r;

        if (!wish->db || !wish->dbx)
                return error_set(e, ERROR_PRECONDITION, ENODATA,
                                 "this machine's key database is not known");
        r = update(esp, wish, copies, ARRAY_SIZE(copies), ret, e);
        for (size_t i = 0; i < ARRAY_SIZE(copies); i++)
                bootloader_done(&copies[i].loader);
        return r;
}
