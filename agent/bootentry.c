/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/bootentry.h"

#include <ctype.h>
#include <fnmatch.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"

/* Since then there is LoaderEntryPreferred, which passes over entries without tries. */
#define LOADER_PREFERRED 260u
/* What is left of a name for its base, behind the longest thing that is put there. */
#define BASE_MAX (NAME_MAX - 8)

static const char *const wishes[] = {"LoaderEntryOneShot", "LoaderEntryDefault",
                                     "LoaderEntryPreferred"};

/* --- names --- */

static bool is_named(const struct entry_file *f, const char *name)
{
        static const char suffix[] = ".conf";
        size_t base = strlen(f->name.base), file = strlen(f->file), n = strlen(name);

        if (n > strlen(suffix) && strcasecmp(name + n - strlen(suffix), suffix) == 0)
                n -= strlen(suffix);
        return (n == base && strncasecmp(name, f->name.base, n) == 0) ||
               (n == file - strlen(suffix) && strncasecmp(name, f->file, n) == 0);
}

/* What the loader would take rather: one to start before a bad one, a confirmed one before one on
 * trial. */
static bool is_better(const struct entry_file *a, const struct entry_file *b)
{
        if (situation_is_bad(a) != situation_is_bad(b))
                return !situation_is_bad(a);
        return !a->name.counted && b->name.counted;
}

static void list_names(const struct situation *s, struct error *e)
{
        _cleanup_(buf_done) struct buf names = BUF_INIT(300);

        for (size_t i = 0; i < s->slots.n_entries; i++) {
                if (buf_printf(&names, "%s%s", i > 0 ? ", " : "", s->slots.entries[i].file) < 0)
                        break; /* the first ones do */
        }
        error_advise(e, "entries here: %s", names.len > 0 ? buf_str(&names) : "none");
}

const struct entry_file *bootentry_find(const struct situation *s, const char *name,
                                        struct error *e)
{
        const struct entry_file *found = NULL;

        for (size_t i = 0; i < s->slots.n_entries; i++) {
                const struct entry_file *f = &s->slots.entries[i];

                if (is_named(f, name) && (!found || is_better(f, found)))
                        found = f;
        }
        if (!found) {
                error_set(e, ERROR_USAGE, ENOENT, "there is no boot entry \"%s\"", name);
                list_names(s, e);
        }
        return found;
}

static void lower(char *text)
{
        for (; *text; text++)
                *text = (char)tolower((unsigned char)*text);
}

/* Whether the pattern would match an entry of another base name. */
static bool is_ambiguous(const struct situation *s, const struct entry_file *f, const char *pattern)
{
        for (size_t i = 0; i < s->slots.n_entries; i++) {
                const struct entry_file *other = &s->slots.entries[i];

                if (strcasecmp(other->name.base, f->name.base) != 0 &&
                    fnmatch(pattern, other->file, FNM_CASEFOLD) == 0)
                        return true;
        }
        return false;
}

void bootentry_id(const struct situation *s, const struct entry_file *f, char ret[NAME_MAX + 1])
{
        /* Up to 253 the id is the name of the file, later the counter is left out of it; what the
         * loader says about its version may be missing. */
        if (f->name.counted) {
                (void)snprintf(ret, NAME_MAX + 1, "%.*s*.conf", BASE_MAX, f->name.base);
                if (is_ambiguous(s, f, ret))
                        (void)snprintf(ret, NAME_MAX + 1, "%.*s%s", BASE_MAX, f->name.base,
                                       s->loader.major >= 254 ? ".conf" : "+*.conf");
        } else {
                (void)snprintf(ret, NAME_MAX + 1, "%s", f->file);
        }
        lower(ret);
}

/* --- wishes --- */

static int check_good(const struct entry_file *f, bool force, struct error *e)
{
        if (!situation_is_bad(f) || force)
                return 0;
        error_set(e, ERROR_PRECONDITION, EPERM, "%s is bad: %s", f->file,
                  f->valid && f->image_present ? "its tries are used up"
                                               : "there is no image to start");
        error_advise(e, "choose another entry, or give --force to start it all the same");
        return -EPERM;
}

static int variable_error(int r, const char *what, struct error *e)
{
        if (r == -ENOENT)
                error_set(e, ERROR_PRECONDITION, ENOENT, "%s: this machine has no EFI variables",
                          what);
        else
                error_set(e, ERROR_PRECONDITION, -r, "%s: the firmware's variables: %s", what,
                          strerrordesc_np(-r));
        if (r == -EROFS || r == -EACCES || r == -EPERM)
                error_advise(e, "efivarfs is read-only here: mount it writable, or let the boot "
                                "loader choose by itself, which needs no variable");
        else if (r == -ENOSPC)
                error_advise(e, "the firmware has no room for variables: remove stale ones in its "
                                "setup");
        return r;
}

int bootentry_once(const struct env *env, const struct situation *s, const struct entry_file *f,
                   bool force, struct error *e)
{
        char id[NAME_MAX + 1];
        int r = check_good(f, force, e);

        if (r < 0)
                return r;
        bootentry_id(s, f, id);
        r = loader_set_oneshot(env, id);
        return r < 0 ? variable_error(r, "LoaderEntryOneShot", e) : 0;
}

static int set_old_default(const struct env *env, const struct situation *s,
                           const struct entry_file *f, const char *id, struct error *e)
{
        if (f->name.counted) {
                error_set(e, ERROR_PRECONDITION, EPERM,
                          "%s is on trial, and systemd-boot %s would go on starting it with its "
                          "tries used up",
                          f->file, s->has_loader ? s->loader.version : "of this version");
                error_advise(e, "use \"once\", or prefer it when it is confirmed");
                return -EPERM;
        }
        return loader_set_default(env, id);
}

int bootentry_prefer(const struct env *env, const struct situation *s, const struct entry_file *f,
                     bool force, struct error *e)
{
        char id[NAME_MAX + 1];
        struct error refused = ERROR_INIT;
        int r = check_good(f, force, e);

        if (r < 0)
                return r;
        bootentry_id(s, f, id);
        if (s->has_loader && s->loader.major >= LOADER_PREFERRED)
                r = loader_set_preferred(env, id);
        else
                r = set_old_default(env, s, f, id, &refused);
        if (refused.code != 0) {
                *e = refused;
                return r;
        }
        return r < 0 ? variable_error(r, "preferred entry", e) : 0;
}

int bootentry_clear(const struct env *env, unsigned *ret_cleared, struct error *e)
{
        int result = 0;

        *ret_cleared = 0;
        for (size_t i = 0; i < ARRAY_SIZE(wishes); i++) {
                char now[NAME_MAX + 1];
                int r;

                bootentry_wish(env, wishes[i], now);
                r = loader_clear(env, wishes[i]);
                if (r == 0 && *now) {
                        log_info("cleared %s, which was \"%s\"", wishes[i], now);
                        (*ret_cleared)++;
                } else if (r < 0 && r != -ENOENT && result == 0) {
                        result = variable_error(r, wishes[i], e);
                }
        }
        return result;
}

void bootentry_wish(const struct env *env, const char *variable, char ret[NAME_MAX + 1])
{
        _cleanup_(buf_done) struct buf text = BUF_INIT(NAME_MAX);

        if (loader_get(env, variable, &text) < 0)
                buf_reset(&text);
        (void)snprintf(ret, NAME_MAX + 1, "%s", buf_str(&text));
}

/* By its id, with the counter or without. */
static bool matches(const struct entry_file *f, const char *pattern)
{
        char id[NAME_MAX + 1];

        (void)snprintf(id, sizeof(id), "%.*s.conf", BASE_MAX, f->name.base);
        return fnmatch(pattern, f->file, FNM_CASEFOLD) == 0 ||
               fnmatch(pattern, id, FNM_CASEFOLD) == 0;
}

const struct entry_file *bootentry_next(const struct env *env, const struct situation *s)
{
        for (size_t i = 0; i < ARRAY_SIZE(wishes); i++) {
                const struct entry_file *found = NULL;
                char wish[NAME_MAX + 1];

                bootentry_wish(env, wishes[i], wish);
                for (size_t k = 0; *wish && k < s->slots.n_entries; k++) {
                        const struct entry_file *f = &s->slots.entries[k];

                        if (matches(f, wish) && (!found || is_better(f, found)))
                                found = f;
                }
                if (found)
                        return found;
        }
        return situation_next(s);
}
