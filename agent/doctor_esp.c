/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "agent/doctor.h"
#include "base/file.h"
#include "base/limits.h"
#include "base/num.h"
#include "upgrade/esp_list.h"
#include "upgrade/loaderconf.h"

/* Nothing was cut, and yet clusters are lost: the rest of a file that was deleted. Little of it
 * does no harm. */
#define LOST_LITTLE (4 * MIB)

static const char repair[] = "start the node: the boot stage repairs what it can; else look at it "
                             "with \"fsck.vfat -n\" while it is not mounted";

static void judge_links(const struct fat_check *f, struct doctor_list *list)
{
        char lost[32];

        if (f->crossed > 0)
                (void)doctor_add(
                        list, DOCTOR_ESP, DOCTOR_PROBLEM, "esp-cross-linked", f->other,
                        "\"tb-agent upgrade\" takes away what no boot entry needs after a crash, "
                        "and "
                        "goes on beside the rest; \"fsck.vfat -r\" on the unmounted partition asks "
                        "which of the two to cut",
                        "shares %llu cluster%s with %s: one of the two is damaged",
                        (unsigned long long)f->crossed, f->crossed == 1 ? "" : "s", f->one);
        if (f->broken > 0)
                (void)doctor_add(list, DOCTOR_ESP, DOCTOR_PROBLEM, "esp-file-cut", f->broken_file,
                                 "if an entry names it, replace it (tb-agent upgrade --force); the "
                                 "file system check cuts it to what is left",
                                 "ends before its size says%s",
                                 f->broken > 1 ? ", and so do others" : "");
        if (f->lost > 0)
                (void)doctor_add(list, DOCTOR_ESP,
                                 f->lost * f->cluster > LOST_LITTLE ? DOCTOR_WARNING : DOCTOR_NOTE,
                                 "esp-lost-clusters", NULL, repair,
                                 "%s are in use and no file leads there",
                                 format_size(f->lost * f->cluster, lost, sizeof(lost)));
}

void doctor_judge_fat(const struct fat_check *f, bool mounted, struct doctor_list *list)
{
        bool healthy = f->crossed == 0 && f->broken == 0 && f->lost == 0 && f->table_differs == 0 &&
                       !f->backup_differs && !f->dirty;
        char free[32];

        if (f->dirty)
                (void)doctor_add(list, DOCTOR_ESP, mounted ? DOCTOR_NOTE : DOCTOR_WARNING,
                                 mounted ? "esp-in-use" : "esp-not-unmounted", NULL,
                                 mounted ? NULL : repair,
                                 mounted ? "somebody has it mounted for writing: what is said here "
                                           "may be of a moment in between"
                                         : "it was not unmounted: power was cut, or the system "
                                           "crashed while it was written to");
        if (f->table_differs > 0)
                (void)doctor_add(list, DOCTOR_ESP, mounted ? DOCTOR_NOTE : DOCTOR_WARNING,
                                 "esp-tables-differ", NULL, repair,
                                 "its two allocation tables differ in %llu sector%s",
                                 (unsigned long long)f->table_differs,
                                 f->table_differs == 1 ? "" : "s");
        if (f->backup_differs)
                (void)doctor_add(list, DOCTOR_ESP, DOCTOR_WARNING, "esp-boot-sectors-differ", NULL,
                                 repair, "its two boot sectors differ");
        judge_links(f, list);
        if (healthy)
                (void)doctor_add(list, DOCTOR_ESP, DOCTOR_OK, "esp-healthy", NULL, NULL,
                                 "FAT32, unmounted cleanly, %s free",
                                 format_size(f->free * f->cluster, free, sizeof(free)));
}

/* --- files ----------------------------------------------------------------------------------- */

static void judge_orphans(const struct slots_situation *s, struct doctor_list *list)
{
        for (size_t i = 0; i < s->n_images; i++) {
                char size[32];

                if (s->images[i].named)
                        continue;
                (void)doctor_add(list, DOCTOR_ESP, DOCTOR_NOTE, "esp-orphan", s->images[i].file,
                                 "the next upgrade goes on with it or removes it",
                                 "%s, and no entry leads to it: the rest of an interrupted upgrade",
                                 format_size(s->images[i].size, size, sizeof(size)));
        }
}

/* As an upgrade to an image as large as the largest here would find it. */
static void judge_room(const struct slots_situation *s, struct doctor_list *list)
{
        _cleanup_free_ struct slots_plan *plan = calloc(1, sizeof(*plan));
        struct slots_wish wish = {.target = ENTRY_ROLE_ACTIVE, .force = true};
        struct error error = ERROR_INIT;

        for (size_t i = 0; i < s->n_images; i++) {
                if (s->images[i].size > wish.size)
                        wish.size = s->images[i].size;
        }
        if (!plan || wish.size == 0)
                return;
        /* What makes a plan impossible is told with the entries. */
        if (slots_plan(s, &wish, plan, &error) == 0 && slots_check_space(plan, &error) < 0)
                doctor_add_error(list, DOCTOR_ESP, DOCTOR_WARNING, "esp-full", NULL, &error);
}

void doctor_judge_files(const struct slots_situation *s, struct doctor_list *list)
{
        judge_orphans(s, list);
        judge_room(s, list);
}

/* --- boot loader ----------------------------------------------------------------------------- */

static void judge_copy(struct doctor *d, const char *path, const struct error *e)
{
        bool refused = e->class == ERROR_SIGNATURE || e->class == ERROR_REVOKED;

        if (e->code == 0)
                return;
        (void)doctor_add(&d->list, DOCTOR_ESP, refused ? DOCTOR_PROBLEM : DOCTOR_WARNING,
                         refused ? "boot-loader-refused" : "boot-loader-damaged", path,
                         "\"tb-agent upgrade\" makes it anew from the other copy, or from the "
                         "image that it loads",
                         "%s", e->text);
}

static void judge_loaders(struct doctor *d)
{
        _cleanup_(bootloader_done) struct bootloader fallback = {.major = 0};
        const struct starters *s = &d->starters;
        struct error error = ERROR_INIT;

        if (!d->has_starters)
                return;
        judge_copy(d, BOOTLOADER_PATH, &s->loader_error);
        judge_copy(d, BOOTLOADER_FALLBACK_PATH, &s->fallback_error);
        if (s->loader_error.code != 0 || s->fallback_error.code != 0 ||
            bootloader_load(d->esp.fd, BOOTLOADER_FALLBACK_PATH, &fallback, &error) < 0)
                return;
        if (strcmp(s->loader.version, fallback.version) != 0)
                (void)doctor_add(&d->list, DOCTOR_ESP, DOCTOR_NOTE, "boot-loader-versions", NULL,
                                 "\"tb-agent upgrade\" brings both up to date",
                                 "the boot loader is version %s, its fallback copy %s",
                                 s->loader.version, fallback.version);
        else
                (void)doctor_add(&d->list, DOCTOR_ESP, DOCTOR_OK, "boot-loader", NULL, NULL,
                                 "systemd-boot %s, twice, and the firmware starts both",
                                 s->loader.version);
}

static void judge_conf(struct doctor *d)
{
        _cleanup_(buf_done) struct buf text = BUF_INIT(LIMIT_LOADER_ENTRY);
        _cleanup_(buf_done) struct buf wanted = BUF_INIT(2 * LIMIT_LOADER_ENTRY);
        int r = file_read(d->esp.fd, LOADERCONF_PATH, &text);

        if (r == 0)
                r = loaderconf_merge(text.data, text.len, &wanted);
        if (r < 0)
                (void)doctor_add(&d->list, DOCTOR_ESP, DOCTOR_WARNING, "loader-conf-unreadable",
                                 LOADERCONF_PATH, "\"tb-agent upgrade\" makes it anew", "%s",
                                 file_strerror(r));
        else if (r > 0)
                (void)doctor_add(&d->list, DOCTOR_ESP, DOCTOR_WARNING, "loader-conf",
                                 LOADERCONF_PATH, "\"tb-agent upgrade\" corrects it",
                                 "it names a default, which defeats the counting of tries, has the "
                                 "editor on, or lacks what an installation writes");
}

void doctor_esp(struct doctor *d)
{
        if (d->fat_error.code != 0)
                doctor_add_error(&d->list, DOCTOR_ESP, d->node ? DOCTOR_PROBLEM : DOCTOR_WARNING,
                                 "esp-unknown", NULL, &d->fat_error);
        else
                doctor_judge_fat(&d->fat, d->esp_mounted, &d->list);
        if (d->esp_read_only)
                (void)doctor_add(&d->list, DOCTOR_ESP, DOCTOR_PROBLEM, "esp-read-only", NULL,
                                 "end its write protection (\"blockdev --setrw\", if it is the "
                                 "kernel's): no boot can be confirmed and nothing upgraded",
                                 "its device takes no writes");
        if (d->esp.fd < 0) {
                if (d->node)
                        doctor_add_error(&d->list, DOCTOR_ESP, DOCTOR_PROBLEM, "esp-not-mounted",
                                         NULL, &d->esp_error);
                return;
        }
        if (d->has_situation)
                doctor_judge_files(&d->situation.slots, &d->list);
        judge_loaders(d);
        judge_conf(d);
}
