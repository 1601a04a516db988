/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/install_disk.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "agent/report.h"
#include "base/log.h"
#include "base/num.h"
#include "efivars/loader.h"
#include "partition/disk_release.h"
#include "partition/disk_select.h"
#include "partition/layout.h"

#define OBJECTION_SIZE 256u

/* All disks, with what is against each of them. */
struct market {
        const struct env *env;
        char medium[LOADER_UUID_SIZE]; /* partition this session was started from, "" unknown */
        struct disk **disks;
        struct disk_candidate *candidates;
        char (*objection)[OBJECTION_SIZE];
        size_t n;
};

void install_choice_done(struct install_choice *c)
{
        free(c->link);
        disk_use_done(&c->uses);
        *c = (struct install_choice){.link = NULL};
}

static void market_done(struct market *m)
{
        for (size_t i = 0; i < m->n; i++) {
                disk_free(m->disks[i]);
                free((char *)(uintptr_t)m->candidates[i].link);
        }
        free(m->disks);
        free(m->candidates);
        free(m->objection);
}

static void read_medium(const struct env *env, char medium[LOADER_UUID_SIZE])
{
        if (loader_device_part_uuid(env, medium) < 0)
                medium[0] = '\0'; /* no systemd-boot: then the mounts have to tell */
}

/* A table that cannot be read names no medium: the loader could not have read it either. */
static bool carries_partition(const struct disk *d, const char *uuid)
{
        _cleanup_free_ struct layout *l = malloc(sizeof(*l));

        if (!*uuid || d->size == 0 || !l || layout_read(d, l, NULL) < 0)
                return false;
        for (size_t i = 0; i < l->n; i++) {
                if (strcasecmp(l->partitions[i].uuid, uuid) == 0)
                        return true;
        }
        return false;
}

/* Never touched: where this session comes from. -EBUSY says so. */
static int check_session(const struct disk *d, const char *medium, struct error *e)
{
        _cleanup_(disk_use_done) struct disk_uses uses = {.n = 0};
        const struct disk_use *vital;
        int r;

        if (carries_partition(d, medium))
                return error_set(e, ERROR_PRECONDITION, EBUSY,
                                 "this session was started from it, so it stays");
        r = disk_use_scan(d, &uses, e);
        if (r < 0)
                return r;
        vital = disk_use_vital(&uses);
        return vital ? error_set(e, ERROR_PRECONDITION, EBUSY,
                                 "the running system stands on it: %s", vital->text)
                     : 0;
}

/* --- by a rule --- */

/* Objections that only the machine and the plan know; the rule knows the others. */
static void judge(struct market *m, size_t i, install_fits fits, void *data)
{
        const struct disk *d = m->disks[i];
        struct error error = ERROR_INIT;
        int r = check_session(d, m->medium, &error);

        if (r == 0 && d->size > 0)
                r = fits(d, data, &error);
        if (r == 0)
                return;
        (void)snprintf(m->objection[i], OBJECTION_SIZE, "%.255s", error.text);
        m->candidates[i].never = m->objection[i];
}

static int add_disk(struct market *m, const char *name, install_fits fits, void *data,
                    struct error *e)
{
        struct error error = ERROR_INIT;
        char *link = NULL;
        int r = disk_open_name(m->env, name, &m->disks[m->n], &error);

        if (r == -ENODEV || r == -ENOENT || r == -EINVAL) {
                /* Gone again, or unlike any disk: nothing to install on. */
                log_warning("passed over: %s", error.text);
                return 0;
        }
        /* A rule does not choose among fewer disks than there are. */
        if (r < 0) {
                *e = error;
                return r;
        }
        r = sysblock_link(m->env, "disk/by-id", name, &link);
        if (r < 0) {
                disk_free(m->disks[m->n]);
                return error_errno(e, -r, "%s: its names", name);
        }
        m->candidates[m->n] = (struct disk_candidate){.disk = m->disks[m->n], .link = link};
        judge(m, m->n, fits, data);
        m->n++;
        return 0;
}

static int open_market(struct market *m, install_fits fits, void *data, struct error *e)
{
        char **names;
        size_t n;
        int r = disk_list(m->env, &names, &n, e);

        if (r < 0)
                return r;
        m->disks = calloc(n + 1, sizeof(*m->disks));
        m->candidates = calloc(n + 1, sizeof(*m->candidates));
        m->objection = calloc(n + 1, sizeof(*m->objection));
        if (!m->disks || !m->candidates || !m->objection)
                r = error_oom(e);
        for (size_t i = 0; i < n && r == 0; i++)
                r = add_disk(m, names[i], fits, data, e);
        disk_free_names(names, n);
        return r;
}

static int find_by_rule(const struct env *env, const char *text, install_fits fits, void *data,
                        struct disk **ret, struct install_choice *c, struct error *e)
{
        _cleanup_(market_done) struct market m = {.env = env};
        _cleanup_free_ struct disk_rule *rule = malloc(sizeof(*rule));
        char why[128];
        size_t best;
        int r;

        if (!rule)
                return error_oom(e);
        r = disk_select_parse(text, rule, e);
        if (r < 0)
                return r;
        read_medium(env, m.medium);
        r = open_market(&m, fits, data, e);
        if (r == 0)
                r = disk_select_choose(rule, m.candidates, m.n, &best, why, sizeof(why), e);
        if (r < 0)
                return r;
        (void)snprintf(c->why, sizeof(c->why), "%s (%.100s)", why, text);
        c->link = (char *)(uintptr_t)m.candidates[best].link;
        m.candidates[best].link = NULL;
        *ret = m.disks[best];
        m.disks[best] = NULL;
        return 0;
}

/* --- by name --- */

static int find_by_path(const struct env *env, const char *path, install_fits fits, void *data,
                        struct disk **ret, struct install_choice *c, struct error *e)
{
        _cleanup_(disk_free_p) struct disk *d = NULL;
        char medium[LOADER_UUID_SIZE];
        int r = disk_open(env, path, &d, e);

        if (r < 0)
                return r;
        read_medium(env, medium);
        r = check_session(d, medium, e);
        if (r < 0) {
                error_advise(e, "choose another disk");
                return error_wrap(e, r, "%s", d->path);
        }
        if (d->size == 0)
                return error_set(e, ERROR_PRECONDITION, ENOMEDIUM, "%s: no medium", d->path);
        if (d->read_only) {
                error_set(e, ERROR_PRECONDITION, EROFS, "%s is read-only", d->path);
                error_advise(e, "look for a switch on the medium, or choose another disk");
                return -EROFS;
        }
        r = fits(d, data, e);
        if (r < 0)
                return error_wrap(e, r, "%s", d->path);
        r = sysblock_link(env, "disk/by-id", d->name, &c->link);
        if (r < 0)
                return error_errno(e, -r, "%s: its names", d->path);
        (void)snprintf(c->why, sizeof(c->why), "named: %.200s", path);
        *ret = TAKE_PTR(d);
        return 0;
}

static bool is_path(const char *spec)
{
        return *spec == '/' || *spec == '.';
}

int install_disk_check(const char *spec, struct error *e)
{
        _cleanup_free_ struct disk_rule *rule = malloc(sizeof(*rule));

        if (!rule)
                return error_oom(e);
        return is_path(spec) ? 0 : disk_select_parse(spec, rule, e);
}

int install_disk_find(const struct env *env, const char *spec, install_fits fits, void *data,
                      struct disk **ret, struct install_choice *ret_choice, struct error *e)
{
        _cleanup_(install_choice_done) struct install_choice c = {.link = NULL};
        int r = is_path(spec) ? find_by_path(env, spec, fits, data, ret, &c, e)
                              : find_by_rule(env, spec, fits, data, ret, &c, e);

        if (r < 0)
                return r;
        *ret_choice = c;
        c = (struct install_choice){.link = NULL};
        return 0;
}

/* --- by somebody who looks at them --- */

/* What nobody could put right by choosing another name for the same disk. */
static void object(const struct disk *d, bool release, char objection[OBJECTION_SIZE])
{
        _cleanup_(disk_use_done) struct disk_uses uses = {.n = 0};
        struct error error = ERROR_INIT;

        if (*objection)
                return;
        if (d->size == 0)
                (void)snprintf(objection, OBJECTION_SIZE, "no medium");
        else if (d->read_only)
                (void)snprintf(objection, OBJECTION_SIZE, "read-only");
        else if (disk_use_scan(d, &uses, &error) < 0)
                (void)snprintf(objection, OBJECTION_SIZE, "%.255s", error.text);
        else if (uses.n > 0 && (!release || uses.use[0].keep))
                (void)snprintf(objection, OBJECTION_SIZE, "in use: %.200s", uses.use[0].text);
}

int install_disk_offer(const struct env *env, install_fits fits, void *data, bool release,
                       struct install_offers *ret, struct error *e)
{
        _cleanup_(market_done) struct market m = {.env = env};
        struct install_offers offers = {.n = 0};
        int r;

        read_medium(env, m.medium);
        r = open_market(&m, fits, data, e);
        if (r < 0)
                return r;
        offers.item = calloc(m.n + 1, sizeof(*offers.item));
        if (!offers.item)
                return error_oom(e);
        for (size_t i = 0; i < m.n; i++) {
                struct install_offer *o = &offers.item[offers.n++];

                memcpy(o->objection, m.objection[i], OBJECTION_SIZE);
                object(m.disks[i], release, o->objection);
                o->disk = m.disks[i];
                m.disks[i] = NULL;
        }
        *ret = offers;
        return 0;
}

void install_offers_done(struct install_offers *offers)
{
        for (size_t i = 0; i < offers->n; i++)
                disk_free(offers->item[i].disk);
        free(offers->item);
        *offers = (struct install_offers){.n = 0};
}

/* --- in use --- */

int install_disk_take(struct disk *d, bool release, struct install_choice *c, struct error *e)
{
        bool refused;
        int r = disk_take(d, e);

        if (r == 0)
                r = disk_use_read(d, &c->uses, e);
        if (r < 0)
                return r;
        refused = !release && c->uses.n > 0;
        for (size_t i = 0; i < c->uses.n; i++)
                refused |= c->uses.use[i].keep != NULL;
        return refused ? disk_use_refuse(d, &c->uses, e) : 0;
}

int install_disk_claim(struct disk *d, const struct install_choice *c, struct error *e)
{
        int r = c->uses.n > 0 ? disk_release(d, NULL, e) : 0;

        return r < 0 ? r : disk_lock(d, e);
}

/* --- the plan --- */

void install_disk_describe(const struct disk *d, const struct install_choice *c, FILE *out)
{
        char size[32];

        report_text(out, "disk     %s %s %s, %s\n", d->path, *d->model ? d->model : "(no model)",
                    *d->serial ? d->serial : "(no serial)",
                    format_size(d->size, size, sizeof(size)));
        if (c->link && *c->link)
                report_text(out, "  path   %s\n", c->link);
        report_text(out, "  kind   %s, sectors of %llu bytes, %s%s%s%s\n",
                    sysblock_bus_name(d->bus), (unsigned long long)d->sector_size,
                    d->rotational ? "rotational" : "not rotational",
                    d->removable ? ", REMOVABLE" : "", *d->wwn ? ", wwn " : "", d->wwn);
        report_text(out, "  chosen %s\n", c->why);
        for (size_t i = 0; i < c->uses.n; i++)
                report_text(out, "  in use %s: will be released\n", c->uses.use[i].text);
}

struct json_object *install_disk_json(const struct disk *d, const struct install_choice *c)
{
        _cleanup_json_ struct json_object *o = json_object_new_object();
        const struct {
                const char *key, *value;
        } texts[] = {
                {"path", d->path},   {"stable_path", c->link && *c->link ? c->link : NULL},
                {"model", d->model}, {"serial", d->serial},
                {"wwn", d->wwn},     {"bus", sysblock_bus_name(d->bus)},
                {"chosen", c->why},
        };
        int r = o ? 0 : -ENOMEM;

        for (size_t i = 0; i < ARRAY_SIZE(texts) && r == 0; i++)
                r = json_add_str(o, texts[i].key, texts[i].value);
        if (r == 0)
                r = json_add_u64(o, "size", d->size);
        if (r == 0)
                r = json_add_u64(o, "sector_size", d->sector_size);
        if (r == 0)
                r = json_add_bool(o, "rotational", d->rotational);
        if (r == 0)
                r = json_add_bool(o, "removable", d->removable);
        return r < 0 ? NULL : TAKE_PTR(o);
}

struct json_object *install_disk_uses_json(const struct install_choice *c)
{
        _cleanup_json_ struct json_object *a = json_object_new_array();
        int r = a ? 0 : -ENOMEM;

        for (size_t i = 0; i < c->uses.n && r == 0; i++)
                r = json_append(a, json_new_str(c->uses.use[i].text));
        return r < 0 ? NULL : TAKE_PTR(a);
}
