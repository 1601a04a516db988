/* SPDX-License-Identifier: Apache-2.0 */
/*
 * upgrade-here: the upgrade of "tb-agent upgrade", run on a plain folder instead of a mounted ESP
 * and with demands from files instead of a machine, for tests without a VM.
 *
 *   upgrade-here --esp DIR --state DIR --db FILE --policy-key FILE --source S [options of upgrade]
 *                [--dbx FILE] [--hooks DIR] [--running ENTRY] [--same-boot] [--floor VERSION]
 *                [--pcr7 TEXT]
 *
 * The node "runs" the entry that --running names (active.conf), confirmed when it has no counter.
 * Each run is a fresh boot of it, unless --same-boot says that the earlier one still goes on.
 * What a node keeps in /run and in the NVRAM is kept in DIR.run beside the state.
 *
 * What the TPM of a node would tell: --floor is the version floor of the product "demo", --pcr7 the
 * warning about PCR 7.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "agent/lock.h"
#include "agent/machine.h"
#include "agent/stop.h"
#include "agent/upgrade_options.h"
#include "base/codec.h"
#include "base/file.h"
#include "efivars/efivar.h"

struct here {
        struct upgrade_options upgrade;
        struct machine_options machine;
        const char *esp, *state, *hooks, *running, *floor, *pcr7;
        bool same_boot;
};

struct demands {
        const struct env *env;
        struct machine_options *options;
        const char *floor_version, *pcr7; /* NULL: none is set, nothing is known */
        struct floor floor;
        struct machine machine;
};

static int ask(void *arg, const struct image_demands **ret, struct error *e)
{
        struct demands *d = arg;
        int r = machine_read(d->env, d->options, &d->machine, e);

        if (r == 0 && d->floor_version) {
                r = floor_make("demo", d->floor_version, &d->floor, e);
                d->machine.demands.floor = &d->floor;
        }
        if (r == 0 && d->pcr7) {
                d->machine.demands.pcr7 = PROOF_WARNING;
                d->machine.demands.pcr7_text = d->pcr7;
        }
        if (r == 0)
                *ret = &d->machine.demands;
        return r;
}

static void demands_done(struct demands *d)
{
        machine_done(&d->machine);
}

static int parse(int argc, char **argv, struct here *h, struct error *e)
{
        struct option_spec specs[UPGRADE_SPECS + 10];
        const struct option_spec more[] = {
                {"esp", OPTION_TEXT, &h->esp},
                {"state", OPTION_TEXT, &h->state},
                {"db", OPTION_LIST, &h->machine.db},
                {"dbx", OPTION_LIST, &h->machine.dbx},
                {"policy-key", OPTION_TEXT, &h->machine.policy_key},
                {"hooks", OPTION_TEXT, &h->hooks},
                {"running", OPTION_TEXT, &h->running},
                {"pcr7", OPTION_TEXT, &h->pcr7},
                {"floor", OPTION_TEXT, &h->floor},
                {"same-boot", OPTION_FLAG, &h->same_boot},
        };
        int r;

        upgrade_specs(&h->upgrade, specs);
        memcpy(specs + UPGRADE_SPECS, more, sizeof(more));
        r = options_parse(argc, argv, specs, ARRAY_SIZE(specs), NULL, e);
        if (r == 0)
                r = upgrade_check_options(&h->upgrade, e);
        if (r == 0 && (!h->esp || !h->state))
                r = error_set(e, ERROR_USAGE, EINVAL, "--esp or --state is missing");
        h->machine.allow_downgrade = h->upgrade.allow_downgrade;
        return r > 0 ? error_set(e, ERROR_USAGE, EINVAL, "see the head of upgrade_here.c") : r;
}

static char *below(const char *folder, const char *name)
{
        char *path;

        return asprintf(&path, "%s%s", folder, name) < 0 ? NULL : path;
}

/* What the boot loader of this pretended boot said. */
static int start_entry(const struct env *env, const char *entry, struct error *e)
{
        _cleanup_(buf_done) struct buf wide = BUF_INIT(4096);
        int r = utf8_to_utf16(entry, &wide);

        if (r == 0)
                r = efivar_write(env, "LoaderEntrySelected", EFIVAR_GUID_LOADER,
                                 EFIVAR_BOOTSERVICE | EFIVAR_RUNTIME, wide.data, wide.len);
        return r < 0 ? error_errno(e, -r, "LoaderEntrySelected") : 0;
}

/* The places of the pretended node, which env only borrows. */
struct places {
        char *run, *efivars, *note;
};

static void places_done(struct places *p)
{
        free(p->run);
        free(p->efivars);
        free(p->note);
}

/* In a fresh boot, an earlier run's note about what runs does not count. */
static int make_world(struct env *env, struct places *p, const struct here *h, struct error *e)
{
        int r;

        p->run = below(h->state, ".run");
        p->efivars = below(h->state, ".run/efivars");
        p->note = below(h->state, ".run/tb-agent/running.json");
        if (!p->run || !p->efivars || !p->note)
                return error_oom(e);
        *env = (struct env)ENV_INIT;
        env->run = p->run;
        env->efivarfs = p->efivars;
        env->oem = env->persistent = env->proc = env->sysfs = env->dev = p->run;
        env->tcti = "device:/nonexistent/tpm0";
        env->oem = h->state;
        r = file_make_dirs(AT_FDCWD, p->efivars, 0700);
        if (r < 0)
                return error_errno(e, -r, "%s", p->efivars);
        if (!h->same_boot && unlink(p->note) < 0 && errno != ENOENT)
                return error_errno(e, errno, "%s", p->note);
        return start_entry(env, h->running ? h->running : "active.conf", e);
}

static int work(struct here *h, struct upgrade_report *ret, struct error *e)
{
        const char *const folders[] = {h->hooks, NULL};
        _cleanup_close_ int root = file_open_dir(AT_FDCWD, h->esp);
        _cleanup_close_ int state = file_open_dir(AT_FDCWD, h->state), lock = -EBADF;
        _cleanup_(places_done) struct places places = {.run = NULL};
        const struct esp esp = ESP_INIT(root);
        struct env env;
        _cleanup_(demands_done) struct demands demands = {
                .env = &env, .options = &h->machine, .floor_version = h->floor, .pcr7 = h->pcr7};
        struct upgrade_world world = {.env = &env,
                                      .esp = &esp,
                                      .state = state,
                                      .hooks = {.root = "", .folders = folders},
                                      .demands = ask,
                                      .demands_arg = &demands};
        int r;

        if (root < 0 || state < 0)
                return error_errno(e, root < 0 ? -root : -state, "--esp or --state");
        r = make_world(&env, &places, h, e);
        if (r == 0)
                r = stop_prepare(e);
        if (r < 0)
                return r;
        lock = lock_take(&env, "upgrade", h->upgrade.wait, e);
        if (lock < 0)
                return lock;
        return upgrade_execute(&h->upgrade, &world, state, ret, e);
}

int main(int argc, char **argv)
{
        struct here here = {.esp = NULL};
        struct upgrade_report report = {.result = UPGRADE_NOTHING};
        struct error error = ERROR_INIT;
        int r = parse(argc, argv, &here, &error);

        if (r == 0)
                r = work(&here, &report, &error);
        return upgrade_finish(&here.upgrade, &report, r, &error);
}
