/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "agent/bootentry.h"
#include "agent/doctor.h"

static const char again[] = "give the node another image: \"tb-agent upgrade\"";

/* Its tries are used up. */
static void judge_tries(const struct entry_file *f, const struct state *state,
                        struct doctor_list *list)
{
        struct state_failure failure = {.reason = "nobody confirmed them"};

        if (state && f->entry.has_sha256)
                (void)!state_find_failure(state, f->entry.sha256, &failure);
        (void)doctor_add(list, DOCTOR_ENTRIES, DOCTOR_WARNING, "entry-used-up", f->file,
                         "\"tb-agent bootentry once active\" tries it once more; else upgrade to "
                         "another image",
                         "version %s has used up its %u tries: %.300s", f->entry.version,
                         f->name.tries_done, failure.reason);
}

void doctor_judge_entry(const struct entry_file *f, const uint8_t *digest,
                        const struct state *state, struct doctor_list *list)
{
        if (f->name.role == ENTRY_ROLE_NONE) {
                (void)doctor_add(list, DOCTOR_ENTRIES, DOCTOR_NOTE, "entry-foreign", f->file, NULL,
                                 "an entry of nobody here; it is left alone");
                return;
        }
        if (f->unreadable || !f->valid)
                (void)doctor_add(list, DOCTOR_ENTRIES, DOCTOR_PROBLEM, "entry-unreadable", f->file,
                                 again, "%s",
                                 f->unreadable ? "it cannot be read" : "it names no image");
        else if (!f->image_present)
                (void)doctor_add(list, DOCTOR_ENTRIES, DOCTOR_PROBLEM, "entry-image-missing",
                                 f->file, again, "its image %.200s is not there", f->entry.image);
        else if (digest && f->entry.has_sha256 && memcmp(digest, f->entry.sha256, SHA256_SIZE) != 0)
                (void)doctor_add(
                        list, DOCTOR_ENTRIES, DOCTOR_PROBLEM, "entry-image-damaged", f->file, again,
                        "its image %.200s has another digest than was written", f->entry.image);
        else if (f->name.counted && f->name.tries_left == 0)
                judge_tries(f, state, list);
        else if (f->name.counted)
                (void)doctor_add(list, DOCTOR_ENTRIES, DOCTOR_NOTE, "entry-on-trial", f->file,
                                 "\"tb-agent bless\" confirms it when its boot is good",
                                 "version %s is on trial, with %u tries left", f->entry.version,
                                 f->name.tries_left);
        else
                (void)doctor_add(list, DOCTOR_ENTRIES, DOCTOR_OK, "entry", f->file, NULL,
                                 "version %s, %.200s", f->entry.version, f->entry.image);
}

static bool has_role(const struct situation *s, enum entry_role role)
{
        for (size_t i = 0; i < s->slots.n_entries; i++) {
                if (s->slots.entries[i].name.role == role)
                        return true;
        }
        return false;
}

/* An entry that comes earlier in the order and is passed over. */
static bool falls_back(const struct situation *s, const struct entry_file *next)
{
        for (size_t i = 0; i < s->slots.n_entries; i++) {
                const struct entry_file *f = &s->slots.entries[i];

                if (f->name.role != ENTRY_ROLE_NONE && f->name.role < next->name.role &&
                    situation_is_bad(f))
                        return true;
        }
        return false;
}

void doctor_judge_roles(const struct situation *s, const struct entry_file *next, const char *wish,
                        struct doctor_list *list)
{
        for (unsigned i = ENTRY_ROLE_ACTIVE; i < ENTRY_ROLE_MAX; i++) {
                if (!has_role(s, (enum entry_role)i))
                        (void)doctor_add(list, DOCTOR_ENTRIES, DOCTOR_WARNING, "entry-missing",
                                         entry_role_name((enum entry_role)i),
                                         "\"tb-agent upgrade --all\" makes it",
                                         "there is no entry of this role");
        }
        if (!next)
                (void)doctor_add(list, DOCTOR_ENTRIES, DOCTOR_PROBLEM, "nothing-starts", NULL,
                                 "install an image from a live session or by \"tb-agent upgrade\" "
                                 "before this system is restarted",
                                 "the boot loader finds no entry that it can start");
        else if (wish)
                (void)doctor_add(list, DOCTOR_ENTRIES, DOCTOR_NOTE, "next", next->file,
                                 "\"tb-agent bootentry clear\" takes the wish back",
                                 "starts next: %s asks for it", wish);
        else if (situation_is_bad(next))
                (void)doctor_add(list, DOCTOR_ENTRIES, DOCTOR_PROBLEM, "next-bad", next->file,
                                 again, "starts next, although it is bad: there is no better one");
        else
                (void)doctor_add(list, DOCTOR_ENTRIES,
                                 falls_back(s, next) ? DOCTOR_WARNING : DOCTOR_OK, "next",
                                 next->file, falls_back(s, next) ? again : NULL, "starts next: %s",
                                 falls_back(s, next) ? "those before it are bad (a fallback)"
                                                     : "the first in the order that is not bad");
}

/* --- images ---------------------------------------------------------------------------------- */

static const struct starter *find_starter(const struct doctor *d, const struct entry_file *f)
{
        char path[PATH_MAX];
        const char *name;

        if (!d->has_starters || !f->valid || entry_image_path(&f->entry, path) < 0)
                return NULL;
        name = strrchr(path, '/');
        for (unsigned i = 0; i < d->starters.n && name; i++) {
                if (strcasecmp(d->starters.item[i].file, name + 1) == 0)
                        return &d->starters.item[i];
        }
        return NULL;
}

/* Its digest as it is on the medium now, when nobody has taken it yet. */
static const uint8_t *find_digest(const struct doctor *d, const struct entry_file *f,
                                  uint8_t room[SHA256_SIZE])
{
        const struct starter *s = find_starter(d, f);
        char path[PATH_MAX];
        uint64_t size;

        if (s && s->image)
                return image_sha256(s->image);
        if (f->name.role == ENTRY_ROLE_NONE || !f->valid || !f->image_present ||
            entry_image_path(&f->entry, path) < 0 ||
            esp_digest(&d->esp.esp, path, room, &size, NULL) < 0)
                return NULL;
        return room;
}

static void judge_images(struct doctor *d)
{
        for (unsigned i = 0; d->has_starters && i < d->starters.n; i++) {
                const struct starter *s = &d->starters.item[i];
                char roles[STARTERS_ROLES_SIZE];

                if (s->image)
                        continue;
                starters_roles(s, roles);
                (void)doctor_add(
                        &d->list, DOCTOR_ENTRIES, DOCTOR_PROBLEM,
                        s->error.class == ERROR_REVOKED ? "image-revoked" : "image-refused",
                        s->file, error_advice(&s->error),
                        "this machine will not start the image of %s: %s", roles, s->error.text);
        }
}

void doctor_entries(struct doctor *d)
{
        static const char *const wishes[] = {"LoaderEntryOneShot", "LoaderEntryDefault",
                                             "LoaderEntryPreferred"};
        const struct situation *s = &d->situation;
        const struct entry_file *next;
        const char *wish = NULL;
        char text[NAME_MAX + 1];

        if (!d->has_situation) {
                doctor_add_error(&d->list, DOCTOR_ENTRIES,
                                 d->node ? DOCTOR_PROBLEM : DOCTOR_WARNING, "entries-unknown", NULL,
                                 &d->situation_error);
                return;
        }
        for (size_t i = 0; i < s->slots.n_entries; i++) {
                uint8_t room[SHA256_SIZE];

                doctor_judge_entry(&s->slots.entries[i], find_digest(d, &s->slots.entries[i], room),
                                   d->state, &d->list);
        }
        next = bootentry_next(d->env, s);
        for (size_t i = 0; i < ARRAY_SIZE(wishes) && !wish; i++) {
                bootentry_wish(d->env, wishes[i], text);
                wish = *text && next != situation_next(s) ? wishes[i] : NULL;
        }
        doctor_judge_roles(s, next, wish, &d->list);
        judge_images(d);
}
