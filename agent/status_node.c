/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/status_node.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "agent/bootentry.h"
#include "agent/lock.h"
#include "agent/report.h"
#include "agent/reset_node.h"
#include "base/codec.h"

static int add_digest(struct json_object *o, const char *key, bool known,
                      const uint8_t sha256[SHA256_SIZE])
{
        char hex[SHA256_HEX_SIZE];

        hex_encode(sha256, SHA256_SIZE, hex);
        return json_add_str(o, key, known ? hex : NULL);
}

static int add_text(struct json_object *o, const char *key, const char *text)
{
        return json_add_str(o, key, *text ? text : NULL);
}

/* --- entries --- */

/* The entry names what runs. An upgrade may have given that image another role since. */
static bool is_booted(const struct situation *s, const struct entry_file *f)
{
        char path[PATH_MAX], expected[PATH_MAX];

        if (s->running.role == ENTRY_ROLE_NONE)
                return false;
        if (!*s->running.image) /* not one of ours: the role is all there is */
                return f->name.role == s->running.role;
        if (!f->valid || entry_image_path(&f->entry, path) < 0)
                return false;
        (void)snprintf(expected, sizeof(expected), ESP_IMAGE_DIR "/%s", s->running.image);
        return strcasecmp(path, expected) == 0;
}

static int add_entry(struct json_object *array, const struct entry_file *f, bool booted)
{
        struct json_object *o = json_object_new_object();
        int r = json_append(array, o);

        if (r == 0)
                r = json_add_str(o, "file", f->file);
        if (r == 0)
                r = json_add_str(o, "role", entry_role_name(f->name.role));
        if (r == 0)
                r = json_add_str(o, "title", f->valid ? f->entry.title : NULL);
        if (r == 0)
                r = json_add_str(o, "version", f->valid ? f->entry.version : NULL);
        if (r == 0)
                r = json_add_str(o, "image", f->valid ? f->entry.image : NULL);
        if (r == 0)
                r = add_digest(o, "sha256", f->valid && f->entry.has_sha256, f->entry.sha256);
        if (r == 0)
                r = json_add_bool(o, "image_present", f->image_present);
        if (r == 0)
                r = f->name.counted ? json_add_u64(o, "tries_left", f->name.tries_left)
                                    : json_add_null(o, "tries_left");
        if (r == 0)
                r = json_add_bool(o, "bad", situation_is_bad(f));
        if (r == 0)
                r = json_add_bool(o, "booted", booted);
        return r;
}

/* The role it was started in counts more than another one, and a confirmed twin more than what is
 * left of its trial. */
static unsigned booted_rank(const struct situation *s, const struct entry_file *f)
{
        return (f->name.role == s->running.role ? 2u : 0u) + (f->name.counted ? 0u : 1u);
}

static const struct entry_file *find_booted(const struct situation *s)
{
        const struct entry_file *booted = NULL;

        for (size_t i = 0; i < s->slots.n_entries; i++) {
                const struct entry_file *f = &s->slots.entries[i];

                if (is_booted(s, f) && (!booted || booted_rank(s, f) > booted_rank(s, booted)))
                        booted = f;
        }
        return booted;
}

static int add_entries(struct json_object *root, const struct situation *s)
{
        struct json_object *array = json_object_new_array();
        const struct entry_file *booted = find_booted(s), *next = situation_next(s);
        int r = json_add_obj(root, "entries", array);

        for (size_t i = 0; i < s->slots.n_entries && r == 0; i++)
                r = add_entry(array, &s->slots.entries[i], &s->slots.entries[i] == booted);
        if (r == 0)
                r = json_add_bool(root, "blessed", s->running.confirmed);
        if (r == 0)
                r = booted && booted->name.counted
                            ? json_add_u64(root, "tries_left", booted->name.tries_left)
                            : json_add_null(root, "tries_left");
        if (r == 0)
                r = add_text(root, "version", s->running.version);
        if (r == 0)
                r = json_add_str(root, "next", next ? next->file : NULL);
        return r;
}

static int add_running(struct json_object *root, const struct situation *s)
{
        struct json_object *o = json_object_new_object();
        int r = json_add_obj(root, "running", o);

        if (r == 0)
                r = add_text(o, "image", s->running.image);
        if (r == 0)
                r = add_text(o, "version", s->running.version);
        if (r == 0)
                r = add_digest(o, "sha256", s->running.has_sha256, s->running.sha256);
        if (r == 0)
                r = json_add_bool(o, "on_trial", s->running.on_trial && !s->running.confirmed);
        return r;
}

/* --- falling back --- */

/* Why the boot loader passes over the entry. */
static void bad_reason(const struct entry_file *f, const struct state *state, char *out, size_t n)
{
        struct state_failure failure;

        if (state && f->valid && f->entry.has_sha256 &&
            state_find_failure(state, f->entry.sha256, &failure) == 0)
                (void)snprintf(out, n, "%s", failure.reason);
        else if (!f->valid || !f->image_present)
                (void)snprintf(out, n, "its image is missing");
        else
                (void)snprintf(out, n, "%u boots that nobody confirmed", f->name.tries_done);
}

static int add_reason(struct json_object *array, const struct entry_file *f,
                      const struct state *state)
{
        struct json_object *o = json_object_new_object();
        char reason[STATE_TEXT_MAX];
        int r = json_append(array, o);

        bad_reason(f, state, reason, sizeof(reason));
        if (r == 0)
                r = json_add_str(o, "entry", f->file);
        if (r == 0)
                r = json_add_str(o, "version", f->valid ? f->entry.version : NULL);
        if (r == 0)
                r = add_digest(o, "sha256", f->valid && f->entry.has_sha256, f->entry.sha256);
        if (r == 0)
                r = json_add_u64(o, "boots", f->name.tries_done);
        if (r == 0)
                r = json_add_str(o, "reason", reason);
        return r;
}

/* Roles are numbered in the order in which they are started. */
static int add_fallback(struct json_object *root, const struct situation *s,
                        const struct state *state)
{
        struct json_object *array = json_object_new_array();
        enum entry_role role = s->running.role;
        bool startable = false;
        int r = json_add_obj(root, "bad_entries", array);

        for (size_t i = 0; i < s->slots.n_entries && r == 0; i++) {
                const struct entry_file *f = &s->slots.entries[i];

                if (f->name.role == ENTRY_ROLE_NONE)
                        continue;
                if (situation_is_bad(f))
                        r = add_reason(array, f, state);
                else if (f->name.role < role)
                        startable = true;
        }
        /* With a better entry that could be started this boot was somebody's choice. */
        if (r == 0)
                r = json_add_bool(root, "fallback", role > ENTRY_ROLE_ACTIVE && !startable);
        return r;
}

static int add_pins(const struct env *env, struct json_object *root)
{
        static const char *const variables[] = {"LoaderEntryOneShot", "LoaderEntryDefault",
                                                "LoaderEntryPreferred"};
        struct json_object *o = json_object_new_object();
        int r = json_add_obj(root, "wishes", o);

        for (size_t i = 0; i < ARRAY_SIZE(variables) && r == 0; i++) {
                char wish[NAME_MAX + 1];

                bootentry_wish(env, variables[i], wish);
                if (*wish)
                        r = json_add_str(o, variables[i], wish);
        }
        return r;
}

/* --- memory --- */

static int add_failures(struct json_object *root, const struct state *state)
{
        struct json_object *array = json_object_new_array();
        int r = json_add_obj(root, "failed_images", array);

        for (unsigned i = 0; i < state_failures(state) && r == 0; i++) {
                struct json_object *o = json_object_new_object();
                struct state_failure f;

                r = json_append(array, o);
                if (r < 0 || state_failure_at(state, i, &f) < 0)
                        continue;
                r = add_digest(o, "sha256", true, f.sha256);
                if (r == 0)
                        r = json_add_u64(o, "time", f.time);
                if (r == 0)
                        r = json_add_str(o, "reason", f.reason);
        }
        return r;
}

static int add_operation(const struct env *env, struct json_object *root, const struct state *state)
{
        struct state_operation op;
        struct json_object *o;
        int r;

        if (state_operation_at(state, 0, &op) < 0)
                return json_add_null(root, "last_operation");
        o = json_object_new_object();
        r = json_add_obj(root, "last_operation", o);
        if (r == 0)
                r = json_add_str(o, "verb", op.verb);
        if (r == 0)
                r = add_text(o, "target", op.target);
        if (r == 0)
                r = add_text(o, "source", op.source);
        if (r == 0)
                r = add_text(o, "from_version", op.from_version);
        if (r == 0)
                r = add_text(o, "to_version", op.to_version);
        if (r == 0)
                r = add_digest(o, "sha256", op.has_sha256, op.sha256);
        if (r == 0)
                r = json_add_u64(o, "time", op.time);
        if (r == 0)
                r = json_add_bool(o, "finished", op.finished);
        if (r == 0)
                r = json_add_bool(o, "running", !op.finished && lock_is_held(env));
        if (r == 0)
                r = add_text(o, "result", op.result);
        if (r == 0)
                r = add_text(o, "text", op.text);
        if (r == 0)
                r = add_text(o, "overridden", op.overridden);
        return r;
}

/* Whether the image runs, or an entry leads to it. */
static bool is_here(const struct situation *s, const uint8_t sha256[SHA256_SIZE])
{
        const struct running *running = &s->running;
        bool here = running->has_sha256 && memcmp(running->sha256, sha256, SHA256_SIZE) == 0;

        for (size_t i = 0; i < s->slots.n_entries && !here; i++) {
                const struct entry *entry = &s->slots.entries[i].entry;

                here = s->slots.entries[i].valid && entry->has_sha256 &&
                       memcmp(entry->sha256, sha256, SHA256_SIZE) == 0;
        }
        return here;
}

struct override {
        const char *verb, *version, *text;
        const uint8_t *sha256;
        uint64_t time;
};

static int add_override(struct json_object *array, const struct override *override)
{
        struct json_object *o = json_object_new_object();
        int r = json_append(array, o);

        if (r == 0)
                r = add_text(o, "verb", override->verb);
        if (r == 0)
                r = add_text(o, "version", override->version);
        if (r == 0)
                r = add_digest(o, "sha256", true, override->sha256);
        if (r == 0)
                r = json_add_u64(o, "time", override->time);
        return r < 0 ? r : add_text(o, "text", override->text);
}

/* Images of this node that did not give every proof, because somebody accepted that: newest first,
 * and told until no entry leads there any more. */
static int add_overrides(struct json_object *root, const struct situation *s,
                         const struct state *state)
{
        struct json_object *array = json_object_new_array();
        int r = json_add_obj(root, "overrides", array);

        for (unsigned i = 0; i < state_operations(state) && r == 0; i++) {
                struct state_operation op;

                if (state_operation_at(state, i, &op) < 0 || !*op.overridden || !op.has_sha256 ||
                    !is_here(s, op.sha256))
                        continue;
                r = add_override(array, &(struct override){.verb = op.verb,
                                                           .version = op.to_version,
                                                           .text = op.overridden,
                                                           .sha256 = op.sha256,
                                                           .time = op.time});
        }
        return r;
}

int status_add_record(struct json_object *root, const struct situation *s,
                      const struct install_record *record)
{
        struct override o = {.verb = "install",
                             .version = record->version,
                             .sha256 = record->sha256,
                             .time = record->time};
        struct json_object *array;
        int r = 0;

        if (json_get_array(root, "overrides", &array) < 0)
                return 0; /* it was not known what there was */
        if (*record->image_override && is_here(s, record->sha256)) {
                o.text = record->image_override;
                r = add_override(array, &o);
        }
        if (r == 0 && *record->machine_override) {
                o.text = record->machine_override;
                r = add_override(array, &o);
        }
        return r;
}

static int add_memory(const struct env *env, struct json_object *root, const struct situation *s,
                      const struct state *state)
{
        uint8_t recovery[SHA256_SIZE] = {0};
        int r;

        if (!state) {
                r = json_add_null(root, "failed_images");
                if (r == 0)
                        r = json_add_null(root, "last_operation");
                if (r == 0)
                        r = json_add_null(root, "overrides");
                return r < 0 ? r : json_add_null(root, "pending_recovery");
        }
        r = add_failures(root, state);
        if (r == 0)
                r = add_operation(env, root, state);
        if (r == 0)
                r = add_overrides(root, s, state);
        if (r == 0)
                r = add_digest(root, "pending_recovery",
                               state_get_recovery_wish(state, recovery) == 0, recovery);
        return r;
}

int status_add_node(const struct env *env, struct json_object *root, const struct situation *s,
                    const struct state *state)
{
        int r = add_entries(root, s);

        if (r == 0)
                r = add_running(root, s);
        if (r == 0)
                r = add_fallback(root, s, state);
        if (r == 0)
                r = add_pins(env, root);
        if (r == 0)
                r = json_add_bool(root, "reset_pending",
                                  s->reset_pending && reset_node_is_noted(env, NULL) != 0);
        return r < 0 ? r : add_memory(env, root, s, state);
}

/* --- text --- */

const char *status_text(struct json_object *o, const char *key)
{
        const char *s;

        return json_get_str(o, key, &s) < 0 ? "unknown" : s;
}

const char *status_yes_no(struct json_object *o, const char *key)
{
        bool v;

        return json_get_bool(o, key, &v) < 0 ? "unknown" : v ? "yes" : "no";
}

static void print_entry(struct json_object *o)
{
        uint64_t tries;
        bool booted = false;

        if (json_get_bool(o, "booted", &booted) < 0)
                booted = false;
        report_text(stdout, "%c %-20s %s, version %s", booted ? '*' : ' ', status_text(o, "file"),
                    status_text(o, "image"), status_text(o, "version"));
        if (json_get_u64(o, "tries_left", &tries) == 0 && tries == 0)
                report_text(stdout, ", bad: its tries are used up");
        else if (json_get_u64(o, "tries_left", &tries) == 0)
                report_text(stdout, ", on trial, %u tries left", (unsigned)tries);
        report_text(stdout, "\n");
}

static void print_bad(struct json_object *o)
{
        report_text(stdout, "  %s, version %s: %s\n", status_text(o, "entry"),
                    status_text(o, "version"), status_text(o, "reason"));
}

static void print_list(struct json_object *root, const char *key, const char *title,
                       void (*print)(struct json_object *))
{
        struct json_object *array;

        if (json_get_array(root, key, &array) < 0 || json_object_array_length(array) == 0)
                return;
        report_text(stdout, "%s\n", title);
        for (size_t i = 0; i < json_object_array_length(array); i++)
                print(json_object_array_get_idx(array, i));
}

static void print_override(struct json_object *o)
{
        report_text(stdout, "  %s, version %s, sha256 %.12s: %s\n", status_text(o, "verb"),
                    status_text(o, "version"), status_text(o, "sha256"), status_text(o, "text"));
}

static void print_wishes(struct json_object *root)
{
        struct json_object *wishes;

        if (json_get_obj(root, "wishes", &wishes) < 0)
                return;
        json_object_object_foreach(wishes, variable, value)
        {
                report_text(stdout, "wish          %s is \"%s\"%s\n", variable,
                            json_object_get_string(value),
                            strcmp(variable, "LoaderEntryDefault") == 0
                                    ? ": boot counting does not apply to it"
                                    : "");
        }
}

static void print_operation(struct json_object *root)
{
        struct json_object *o;
        const char *text;
        bool finished, running;

        if (json_get_obj(root, "last_operation", &o) < 0 ||
            json_get_bool(o, "finished", &finished) < 0 ||
            json_get_bool(o, "running", &running) < 0)
                return;
        report_text(stdout, "last run      %s", status_text(o, "verb"));
        if (json_get_str(o, "target", &text) == 0)
                report_text(stdout, " of %s", text);
        if (json_get_str(o, "to_version", &text) == 0)
                report_text(stdout, " to version %s", text);
        if (!finished)
                report_text(stdout, ": %s\n",
                            running ? "at work now" : "interrupted; run it again to continue");
        else
                report_text(stdout, ": %s\n", json_get_str(o, "text", &text) == 0 ? text : "done");
}

void status_print_node(struct json_object *root)
{
        const char *digest;
        bool reset;

        if (json_get_bool(root, "reset_pending", &reset) == 0 && reset)
                report_text(stdout, "reset         is pending: the next boot carries it out\n");
        if (json_get_str(root, "pending_recovery", &digest) == 0)
                report_text(stdout, "recovery      is to become %.12s, once that is confirmed\n",
                            digest);
        print_wishes(root);
        print_operation(root);
        print_list(root, "overrides", "accepted by somebody's wish", print_override);
        print_list(root, "entries", "boot entries", print_entry);
        print_list(root, "bad_entries", "not started by themselves", print_bad);
}
