/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/situation.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "agent/report.h"
#include "agent/reset_journal.h"
#include "base/codec.h"
#include "base/file.h"
#include "base/json.h"
#include "base/limits.h"

#define NOTE "running.json"
/* A version that reads entries of every kind. */
#define LOADER_UNKNOWN UINT16_MAX

void situation_done(struct situation *s)
{
        slots_done(&s->slots);
        *s = (struct situation){.has_loader = false};
}

/* --- what the boot loader says --- */

static const struct entry_file *find_file(const struct situation *s, const char *file)
{
        for (size_t i = 0; i < s->slots.n_entries; i++) {
                if (strcasecmp(s->slots.entries[i].file, file) == 0)
                        return &s->slots.entries[i];
        }
        return NULL;
}

/* An entry of that base name: the confirmed twin before what is left of its trial. */
static const struct entry_file *find_base(const struct situation *s, const struct entry_name *name)
{
        const struct entry_file *found = NULL;

        for (size_t i = 0; i < s->slots.n_entries; i++) {
                const struct entry_file *f = &s->slots.entries[i];

                if (strcasecmp(f->name.base, name->base) == 0 && (!found || !f->name.counted))
                        found = f;
        }
        return found;
}

/* "\loader\entries\active+2-1.conf" -> "active+2-1.conf" */
static const char *last_part(const char *path)
{
        const char *p = path + strlen(path);

        while (p > path && p[-1] != '\\' && p[-1] != '/')
                p--;
        return p;
}

/* The entry this boot was made from, as long as nobody has moved it. */
static const struct entry_file *find_started(const struct env *env, const struct situation *s,
                                             struct running *ret)
{
        _cleanup_(buf_done) struct buf id = BUF_INIT(4096), counted = BUF_INIT(4096);
        const struct entry_file *f;
        struct entry_name name;
        const char *file;

        if (loader_entry_selected(env, &id) < 0 || entry_name_parse(buf_str(&id), &name) < 0 ||
            entry_role_started(&name) == ENTRY_ROLE_NONE)
                return NULL;
        ret->role = entry_role_started(&name);
        ret->on_trial = name.counted;
        file = buf_str(&id);
        if (loader_boot_count_path(env, &counted) == 0) {
                ret->on_trial = true;
                file = last_part(buf_str(&counted));
        }
        f = find_file(s, file);
        return f ? f : find_base(s, &name);
}

static void take_entry(struct running *r, const struct entry_file *f)
{
        char path[PATH_MAX];
        const char *image;
        uint32_t number;

        r->confirmed = !f->name.counted;
        if (!f->valid)
                return;
        (void)snprintf(r->version, sizeof(r->version), "%s", f->entry.version);
        r->has_sha256 = f->entry.has_sha256;
        memcpy(r->sha256, f->entry.sha256, SHA256_SIZE);
        if (entry_image_path(&f->entry, path) < 0)
                return;
        image = last_part(path);
        if (entry_image_name_parse(image, &number) == 0)
                (void)snprintf(r->image, sizeof(r->image), "%s", image);
}

/* --- the note --- */

static char *note_path(const struct env *env, const char *name)
{
        char *path;

        return asprintf(&path, "%s/tb-agent%s", env->run, name) < 0 ? NULL : path;
}

static int read_note(const struct env *env, struct running *ret)
{
        _cleanup_(buf_done) struct buf text = BUF_INIT(LIMIT_SMALL_FILE);
        _cleanup_free_ char *path = note_path(env, "/" NOTE);
        _cleanup_json_ struct json_object *o = NULL;
        const char *role, *image, *version, *hex;
        struct running r = {.role = ENTRY_ROLE_NONE};
        uint32_t number;

        if (!path || file_read(AT_FDCWD, path, &text) < 0 ||
            json_read_text(text.data, text.len, LIMIT_SMALL_FILE, NOTE, &o, NULL) < 0 ||
            json_get_str(o, "role", &role) < 0 || json_get_str(o, "image", &image) < 0 ||
            json_get_str(o, "version", &version) < 0 || json_get_str(o, "sha256", &hex) < 0 ||
            json_get_bool(o, "on_trial", &r.on_trial) < 0 ||
            json_get_bool(o, "confirmed", &r.confirmed) < 0 ||
            entry_image_name_parse(image, &number) < 0)
                return -ENOENT;
        r.role = entry_role_parse(role);
        (void)snprintf(r.image, sizeof(r.image), "%s", image);
        (void)snprintf(r.version, sizeof(r.version), "%s", version);
        r.has_sha256 = hex_decode(hex, r.sha256, SHA256_SIZE) == 0;
        *ret = r;
        return 0;
}

int situation_note(const struct env *env, const struct situation *s, struct error *e)
{
        const struct running *r = &s->running;
        _cleanup_json_ struct json_object *o = report_new("running");
        _cleanup_free_ char *dir = note_path(env, ""), *path = note_path(env, "/" NOTE);
        char hex[SHA256_HEX_SIZE] = "";
        const char *text;
        int result;

        if (r->role == ENTRY_ROLE_NONE || !*r->image)
                return 0;
        if (r->has_sha256)
                hex_encode(r->sha256, SHA256_SIZE, hex);
        if (!dir || !path || json_add_str(o, "role", entry_role_name(r->role)) < 0 ||
            json_add_str(o, "image", r->image) < 0 || json_add_str(o, "version", r->version) < 0 ||
            json_add_str(o, "sha256", hex) < 0 || json_add_bool(o, "on_trial", r->on_trial) < 0 ||
            json_add_bool(o, "confirmed", r->confirmed) < 0)
                return error_oom(e);
        text = json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN);
        if (!text)
                return error_oom(e);
        result = file_make_dirs(AT_FDCWD, dir, 0755);
        /* Whole or not at all: without it, a later run would take the new entry for the running
         * one. */
        if (result == 0)
                result = file_replace(AT_FDCWD, path, text, strlen(text), 0644);
        return result < 0 ? error_errno(e, -result, "%s", path) : 0;
}

/* --- together --- */

/* Confirmed since it was noted: an entry of the role without a counter names the image. */
static bool confirmed_since(const struct situation *s, const struct running *r)
{
        for (size_t i = 0; i < s->slots.n_entries; i++) {
                struct running seen = {.role = s->slots.entries[i].name.role};

                take_entry(&seen, &s->slots.entries[i]);
                if (seen.role == r->role && seen.confirmed && strcmp(seen.image, r->image) == 0)
                        return true;
        }
        return false;
}

static void find_running(const struct env *env, struct situation *s)
{
        struct running *r = &s->running;
        const struct entry_file *f;

        if (read_note(env, r) == 0) {
                r->confirmed = r->confirmed || confirmed_since(s, r);
                return;
        }
        f = find_started(env, s, r);
        if (f)
                take_entry(r, f);
}

static void fill_slots(struct situation *s)
{
        s->slots.running = s->running.role;
        s->slots.running_confirmed = s->running.confirmed;
        (void)snprintf(s->slots.running_image, sizeof(s->slots.running_image), "%s",
                       s->running.image);
}

static bool is_reset_pending(const struct esp *esp)
{
        struct reset_journal journal;

        return reset_journal_load(esp, NULL, &journal, NULL) == 0;
}

int situation_read(const struct env *env, const struct esp *esp, struct situation *ret,
                   struct error *e)
{
        struct situation s = {.esp = *esp};
        int r = slots_read(esp, &s.slots, e);

        if (r < 0)
                return r;
        find_running(env, &s);
        fill_slots(&s);
        s.has_loader = loader_info(env, &s.loader) == 0;
        s.reset_pending = is_reset_pending(esp);
        *ret = s;
        return 0;
}

int situation_refresh(struct situation *s, struct error *e)
{
        struct slots_situation fresh = {.n_entries = 0};
        int r = slots_read(&s->esp, &fresh, e);

        if (r < 0)
                return r;
        slots_done(&s->slots);
        s->slots = fresh;
        fill_slots(s);
        return 0;
}

const struct entry_file *situation_next(const struct situation *s)
{
        return entry_select(s->slots.entries, s->slots.n_entries,
                            s->has_loader ? s->loader.major : LOADER_UNKNOWN);
}

bool situation_is_bad(const struct entry_file *f)
{
        return !f->valid || !f->image_present || (f->name.counted && f->name.tries_left == 0);
}
