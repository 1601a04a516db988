/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>
#include <sys/vfs.h>

#include "agent/bootentry.h"
#include "agent/doctor.h"
#include "base/num.h"
#include "efivars/bootorder.h"
#include "efivars/loader.h"
#include "upgrade/bootloader.h"

/* A fleet's firmware refuses to start or to write with less. */
#define NVRAM_LITTLE (8u * 1024u)

static void judge_boot_entry(struct doctor *d)
{
        static const char *const ids[] = {[BOOTORDER_MISSING] = "boot-entry-missing",
                                          [BOOTORDER_UNLISTED] = "boot-entry-not-listed",
                                          [BOOTORDER_NOT_FIRST] = "boot-entry-not-first",
                                          [BOOTORDER_FIRST] = "boot-entry"};
        static const char *const texts[] = {
                [BOOTORDER_MISSING] = "the firmware has no boot entry for this node",
                [BOOTORDER_UNLISTED] = "the firmware's boot order does not name the node's entry",
                [BOOTORDER_NOT_FIRST] = "the firmware tries other entries before this node's",
                [BOOTORDER_FIRST] = "the firmware starts this node's boot loader first"};
        _cleanup_(bootorder_done) struct bootorder b = {.n = 0};
        struct error error = ERROR_INIT;
        enum bootorder_state state;
        bool live = strcmp(d->role, "live") == 0;

        if (!d->node)
                return;
        if (bootorder_read(d->env, &b, &error) < 0) {
                doctor_add_error(&d->list, DOCTOR_FIRMWARE, DOCTOR_WARNING, "boot-order-unknown",
                                 NULL, &error);
                return;
        }
        state = bootorder_find(&b, d->node->esp->uuid, BOOTLOADER_PATH, NULL);
        (void)doctor_add(&d->list, DOCTOR_FIRMWARE,
                         state == BOOTORDER_FIRST               ? DOCTOR_OK
                         : state == BOOTORDER_NOT_FIRST || live ? DOCTOR_NOTE
                                                                : DOCTOR_WARNING,
                         ids[state], NULL,
                         state == BOOTORDER_FIRST       ? NULL
                         : state == BOOTORDER_NOT_FIRST ? "set the order in the firmware setup"
                                                        : "\"tb-agent bless\" makes it again; "
                                                          "until then it starts by the fallback "
                                                          "path, if no other disk comes first",
                         "%s", texts[state]);
}

static void judge_wishes(struct doctor *d)
{
        static const char *const variables[] = {"LoaderEntryOneShot", "LoaderEntryDefault",
                                                "LoaderEntryPreferred"};

        for (size_t i = 0; i < ARRAY_SIZE(variables); i++) {
                char wish[NAME_MAX + 1];
                struct error error = ERROR_INIT;
                const struct entry_file *f;

                bootentry_wish(d->env, variables[i], wish);
                if (!*wish)
                        continue;
                f = d->has_situation ? bootentry_find(&d->situation, wish, &error) : NULL;
                if (i == 1 && f && f->name.counted)
                        (void)doctor_add(
                                &d->list, DOCTOR_FIRMWARE, DOCTOR_WARNING, "default-counted",
                                variables[i], "\"tb-agent bootentry clear\" takes it back",
                                "names %s, which is on trial: it will be started even when "
                                "its tries are used up",
                                wish);
                else if (d->has_situation && !f)
                        (void)doctor_add(&d->list, DOCTOR_FIRMWARE, DOCTOR_NOTE, "wish-stale",
                                         variables[i], "\"tb-agent bootentry clear\" takes it back",
                                         "names %s, which is no entry here", wish);
                else
                        (void)doctor_add(&d->list, DOCTOR_FIRMWARE, DOCTOR_NOTE, "wish",
                                         variables[i], "\"tb-agent bootentry clear\" takes it back",
                                         "asks for %s", wish);
        }
}

/* What loader and stub report about a boot, and a system before this one left. */
static void judge_planted(struct doctor *d)
{
        static const char *const names[] = {"LoaderInfo", "LoaderDevicePartUUID",
                                            "LoaderEntrySelected", "LoaderBootCountPath",
                                            "StubInfo"};

        for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
                _cleanup_(buf_done) struct buf value = BUF_INIT(4096);

                if (loader_get(d->env, names[i], &value) == -EUCLEAN)
                        (void)doctor_add(
                                &d->list, DOCTOR_FIRMWARE, DOCTOR_PROBLEM, "variable-planted",
                                names[i],
                                "start the node again: its boot stage deletes it. Somebody "
                                "had root in an earlier system: find out who",
                                "was left by a system before this boot, and hides what the "
                                "boot loader says");
        }
}

static void judge_nvram(struct doctor *d)
{
        struct statfs s;
        uint64_t available;
        char text[32];

        /* Linux 6.6 and later tell; before, there are no blocks. */
        if (statfs(d->env->efivarfs, &s) < 0 || s.f_blocks == 0 || s.f_bsize <= 0 ||
            mul_u64(s.f_bavail, (uint64_t)s.f_bsize, &available) < 0)
                return;
        (void)format_size(available, text, sizeof(text));
        if (available < NVRAM_LITTLE)
                (void)doctor_add(&d->list, DOCTOR_FIRMWARE, DOCTOR_WARNING, "nvram-full", NULL,
                                 "delete boot entries and crash dumps that nobody needs "
                                 "(efibootmgr, /sys/fs/pstore)",
                                 "%s left for variables: boot entries and key updates may fail",
                                 text);
        else
                (void)doctor_add(&d->list, DOCTOR_FIRMWARE, DOCTOR_OK, "nvram", NULL, NULL,
                                 "%s left for variables", text);
}

void doctor_firmware(struct doctor *d)
{
        if (d->variables_error.code != 0)
                doctor_add_error(&d->list, DOCTOR_FIRMWARE, DOCTOR_WARNING, "keys-unknown", NULL,
                                 &d->variables_error);
        judge_boot_entry(d);
        judge_wishes(d);
        judge_planted(d);
        judge_nvram(d);
}
