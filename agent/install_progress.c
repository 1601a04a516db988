/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/install_progress.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/progress.h"
#include "base/json.h"

struct install_progress {
        struct progress *progress;
        bool kairos;
        const char *said; /* step of the contract that was told last */
};

/* The boot loader has no step of its own in the contract's order: here it comes last, as the
 * firmware may start the disk once it is there. */
static const struct {
        const char *text, *kairos;
} steps[INSTALL_STEP_MAX] = {
        [INSTALL_STEP_FETCH] = {"loading the image", NULL}, /* the contract has no word for it */
        [INSTALL_STEP_CLEAR] = {"clearing the disk", "partition"},
        [INSTALL_STEP_ESP] = {"making the EFI system partition", "partition"},
        [INSTALL_STEP_ACTIVE] = {"writing the active image", "active"},
        [INSTALL_STEP_RECOVERY] = {"writing the recovery image", "recovery"},
        [INSTALL_STEP_ENTRIES] = {"writing boot entries and boot loader", "passive"},
        [INSTALL_STEP_OEM] = {"encrypting and enrolling the partition oem", "after-install"},
        [INSTALL_STEP_EXTRA] = {"making the partition", "after-install"},
        [INSTALL_STEP_PERSISTENT] = {"encrypting and enrolling the partition persistent",
                                     "after-install"},
        [INSTALL_STEP_TABLE] = {"writing the partition table", "after-install"},
        [INSTALL_STEP_FIRMWARE] = {"telling the firmware", "after-install"},
};

struct install_progress *install_progress_new(bool json, uint64_t fd,
                                              void (*line)(const char *text, void *arg), void *arg)
{
        struct install_progress *p = calloc(1, sizeof(*p));
        const char *wish = getenv("KAIROS_AGENT_PROGRESS");

        if (!p)
                return NULL;
        p->progress = progress_open_with(json, fd, line, arg);
        p->kairos = wish && *wish;
        return p;
}

void install_progress_free(struct install_progress *p)
{
        if (!p)
                return;
        progress_free(p->progress);
        free(p);
}

static void say(const struct install_progress *p, const char *event, const char *key,
                const char *value)
{
        _cleanup_json_ struct json_object *o = json_object_new_object();

        if (!p->kairos || json_add_str(o, "event", event) < 0 || json_add_str(o, key, value) < 0)
                return;
        (void)printf("%s\n", json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN));
        (void)fflush(stdout); /* who does not listen is no reason to fail */
}

void install_progress_step(struct install_progress *p, enum install_step step, const char *name,
                           uint64_t total)
{
        char text[128];

        if (!p)
                return;
        (void)snprintf(text, sizeof(text), "%s%s%s", steps[step].text, name ? " " : "",
                       name ? name : "");
        progress_phase(p->progress, text, total);
        if (!steps[step].kairos)
                return;
        if (!p->said || strcmp(p->said, steps[step].kairos) != 0)
                say(p, "step", "step", steps[step].kairos);
        p->said = steps[step].kairos;
}

void install_progress_bytes(void *arg, uint64_t done)
{
        struct install_progress *p = arg;

        if (p)
                progress_update(p->progress, done, 0);
}

void install_progress_end(struct install_progress *p, const struct error *e)
{
        if (!p)
                return;
        if (e)
                say(p, "error", "message", e->text);
        else
                say(p, "step", "step", "done");
        progress_free(p->progress);
        p->progress = NULL;
}
