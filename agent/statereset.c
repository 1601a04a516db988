/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/statereset.h"

#include <fnmatch.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "agent/bootentry.h"
#include "agent/config.h"
#include "agent/config_source.h"
#include "base/log.h"

int statereset_allowed(const struct env *env, struct error *e)
{
        _cleanup_(config_problems_done) struct config_problems problems = CONFIG_PROBLEMS_INIT;
        _cleanup_(config_free_p) struct config *config = NULL;
        struct config_documents list = {.item = NULL};
        int r = config_source_read_at_boot(env, false, true, &problems, &list, e);

        if (r == 0)
                r = config_make(list.item, list.n, &problems, &config, e);
        return r < 0 ? r : config->reset.unattended;
}

int statereset_text(const struct entry *recovery, char ret[ENTRY_SIZE], struct error *e)
{
        struct entry entry = *recovery;

        entry_set_reset(&entry);
        if (entry_format(&entry, ret) < 0)
                return error_set(e, ERROR_INTERNAL, EINVAL, "boot entry %s", STATERESET_FILE);
        return 0;
}

static bool has_image_of_ours(const struct entry_file *f)
{
        char path[PATH_MAX];
        const char *name;
        uint32_t number;

        if (!f->valid || entry_image_path(&f->entry, path) < 0)
                return false;
        name = strrchr(path, '/');
        return name && entry_image_name_parse(name + 1, &number) == 0;
}

static bool leads_as(const struct entry_file *f, const struct entry *recovery)
{
        return f->valid && strcmp(f->entry.image, recovery->image) == 0 &&
               strcmp(f->entry.version, recovery->version) == 0 && f->entry.key == recovery->key &&
               f->entry.has_sha256 == recovery->has_sha256 &&
               memcmp(f->entry.sha256, recovery->sha256, SHA256_SIZE) == 0;
}

static int change(const struct esp *esp, const struct entry_file *now,
                  const struct entry_file *recovery, struct error *e)
{
        char text[ENTRY_SIZE];
        int r;

        if (!recovery)
                return now ? esp_remove(esp, ESP_ENTRY_DIR "/" STATERESET_FILE, e) : 0;
        if (now && leads_as(now, &recovery->entry))
                return 0;
        r = statereset_text(&recovery->entry, text, e);
        return r < 0 ? r : esp_set_entry(esp, STATERESET_FILE, text, e);
}

int statereset_sync(const struct esp *esp, bool allowed, struct error *e)
{
        const struct entry_file *now = NULL, *recovery = NULL;
        _cleanup_free_ struct entry_file *list = NULL;
        size_t n = 0;
        int r = esp_list_entries(esp, &list, &n, e);

        for (size_t i = 0; i < n && r == 0; i++) {
                const struct entry_file *f = &list[i];

                if (strcasecmp(f->file, STATERESET_FILE) == 0)
                        now = f;
                else if (f->name.role == ENTRY_ROLE_RECOVERY && f->image_present && allowed &&
                         has_image_of_ours(f))
                        recovery = f;
        }
        if (r < 0 || (now && now->valid && !has_image_of_ours(now)))
                return r;
        return change(esp, now, recovery, e);
}

static bool is_wished_for_always(const struct env *env)
{
        static const char *const variables[] = {"LoaderEntryDefault", "LoaderEntryPreferred"};

        for (size_t i = 0; i < ARRAY_SIZE(variables); i++) {
                char wish[NAME_MAX + 1];

                bootentry_wish(env, variables[i], wish);
                if (fnmatch(wish, STATERESET_FILE, FNM_CASEFOLD) == 0)
                        return true;
        }
        return false;
}

bool statereset_was_chosen(const struct env *env, const struct entry_file *list, size_t n,
                           unsigned loader_major)
{
        const struct entry_file *own = entry_select(list, n, loader_major);

        return own && !situation_is_bad(own) && !entry_is_reset(&own->name) &&
               !is_wished_for_always(env);
}
