/* SPDX-License-Identifier: Apache-2.0 */
/* tb-agent upgrade: command line, node and report; agent/upgrade_run.h does the work. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agent/boot_report.h"
#include "agent/lock.h"
#include "agent/machine.h"
#include "agent/node.h"
#include "agent/report.h"
#include "agent/restart.h"
#include "agent/root.h"
#include "agent/stop.h"
#include "agent/termination.h"
#include "agent/upgrade_config.h"
#include "agent/upgrade_options.h"
#include "agent/verbs.h"
#include "base/file.h"
#include "base/log.h"

struct verb_options {
        struct upgrade_options upgrade;
        struct upgrade_config config;
        const char *root;
};

static void print_help(void)
{
        (void)printf(
                "Usage: tb-agent upgrade [--source SOURCE] [OPTION...]\n\n"
                "Gets an image, proves that it will boot and unlock here, and makes it the next\n"
                "active image, on trial. The image known to be good is kept as passive.\n\n"
                "  --source SOURCE    oci:REGISTRY/NAME[:TAG][@DIGEST], http(s)://..., "
                "ocifile:TAR,\n"
                "                     dir:PATH or file:PATH; without it: upgrade.source of\n"
                "                     the node's configuration\n"
                "  --config FILE      cloud-config whose section upgrade says what is not said "
                "here\n"
                "  --use-default-dirs  also the configurations in the known folders\n"
                "  --recovery         upgrade the recovery image instead\n"
                "  --all              recovery, too: a later run copies what was confirmed\n"
                "  --check            only tell whether there is another image that is not older "
                "(0: yes,\n"
                "                     3: no); what names no version counts as one, see the manual\n"
                "  --dry-run          show the plan, change nothing\n"
                "  --force            from an unconfirmed boot, or an image that failed here "
                "before\n"
                "  --allow-downgrade  accept an image below the version floor\n"
                "  --reboot           restart the node when another image is next\n"
                "  --poweroff         power it off then\n"
                "  --wait SECONDS     wait for another agent to end (default: fail at once)\n"
                "  --delay SECONDS    begin after a random time up to this\n"
                "  --root DIR         the node's root is mounted there\n"
                "  --progress-fd N    write progress as JSON lines to this descriptor\n"
                "  --tcti TCTI        TPM to use (default: device:/dev/tpmrm0)\n"
                "  --json             print the result as JSON\n"
                "  --help             show this text\n"
                "%s",
                source_help);
}

/* 0: go on; 1: help was shown; negative: *e is set. */
static int parse_options(int argc, char **argv, struct verb_options *o, struct error *e)
{
        struct option_spec specs[UPGRADE_SPECS + 5];
        int r;

        upgrade_specs(&o->upgrade, specs);
        specs[UPGRADE_SPECS] = (struct option_spec){"root", OPTION_TEXT, &o->root};
        specs[UPGRADE_SPECS + 1] = (struct option_spec){"reboot", OPTION_FLAG, &o->config.reboot};
        specs[UPGRADE_SPECS + 2] =
                (struct option_spec){"poweroff", OPTION_FLAG, &o->config.power_off};
        specs[UPGRADE_SPECS + 3] = (struct option_spec){"config", OPTION_LIST, &o->config.files};
        specs[UPGRADE_SPECS + 4] =
                (struct option_spec){"use-default-dirs", OPTION_FLAG, &o->config.known_folders};
        r = options_parse(argc, argv, specs, ARRAY_SIZE(specs), NULL, e);
        if (r > 0) {
                print_help();
                return 1;
        }
        if (r == 0 && o->config.reboot && o->config.power_off)
                return error_set(e, ERROR_USAGE, EINVAL,
                                 "--reboot and --poweroff exclude each other");
        return r < 0 ? r : upgrade_check_options(&o->upgrade, e);
}

/* --- demands --- */

struct demands {
        const struct env *env;
        bool allow_downgrade;
        struct machine machine;
        bool read;
};

static int ask_machine(void *arg, const struct image_demands **ret, struct error *e)
{
        struct demands *d = arg;
        const struct machine_options options = {.allow_downgrade = d->allow_downgrade};
        int r = machine_check_secure_boot(d->env, e);

        if (r == 0)
                r = machine_read(d->env, &options, &d->machine, e);
        if (r < 0)
                return r;
        d->read = true;
        *ret = &d->machine.demands;
        return 0;
}

static void demands_done(struct demands *d)
{
        if (d->read)
                machine_done(&d->machine);
}

/* --- the run --- */

static int check_node(const struct env *env, struct error *e)
{
        _cleanup_json_ struct json_object *report = NULL;
        const char *role;
        int r;

        if (geteuid() != 0)
                return error_set(e, ERROR_PRECONDITION, EPERM, "only root can upgrade a node");
        r = boot_report_read(env, &report, e);
        if (r < 0)
                return r;
        if (json_get_str(report, "role", &role) == 0 && strcmp(role, "live") != 0)
                return 0;
        error_set(e, ERROR_PRECONDITION, ENOTSUP, "this is a live session, not a node");
        error_advise(e, "install it first: tb-agent install");
        return -ENOTSUP;
}

static int delay(const struct upgrade_options *o, struct error *e)
{
        uint64_t seconds = 0;

        if (o->delay == 0)
                return 0;
        if (random_bytes(&seconds, sizeof(seconds)) < 0)
                return error_set(e, ERROR_INTERNAL, EIO, "no random numbers");
        seconds %= o->delay + 1;
        log_info("beginning in %u seconds", (unsigned)seconds);
        return stop_wait(seconds, e);
}

static const struct config_list *before(const struct verb_options *o)
{
        return o->config.config ? &o->config.config->upgrade.hooks.before : NULL;
}

static const struct config_list *after(const struct verb_options *o)
{
        return o->config.config ? &o->config.config->upgrade.hooks.after : NULL;
}

static int on_esp(const struct env *env, const struct verb_options *o, int state, int spool,
                  struct upgrade_report *ret, struct error *e)
{
        _cleanup_(demands_done) struct demands demands = {
                .env = env, .allow_downgrade = o->upgrade.allow_downgrade};
        struct upgrade_world world = {.env = env,
                                      .state = state,
                                      .hooks = {.root = env->root, .folders = hook_folders},
                                      .before = before(o),
                                      .after = after(o),
                                      .demands = ask_machine,
                                      .demands_arg = &demands};
        struct node_esp esp;
        int r = node_esp_open(env, !upgrade_only_looks(&o->upgrade), &esp, e);

        if (r < 0)
                return r;
        world.esp = &esp.esp;
        if (!upgrade_only_looks(&o->upgrade))
                r = esp_drop_salvaged(&esp.esp, e);
        if (r == 0)
                r = upgrade_execute(&o->upgrade, &world, spool, ret, e);
        return node_esp_close(env, &esp, r, e);
}

static int upgrade(const struct env *env, const struct verb_options *o, struct upgrade_report *ret,
                   struct error *e)
{
        _cleanup_close_ int lock = -EBADF, state = -EBADF, spool = -EBADF;
        int r = check_node(env, e);

        if (r == 0)
                r = stop_prepare(e);
        if (r == 0)
                r = delay(&o->upgrade, e);
        if (r < 0)
                return r;
        lock = lock_take(env, "upgrade", o->upgrade.wait, e);
        if (lock < 0)
                return lock;
        state = machine_open_state(env);
        if (state < 0)
                log_warning("%s is not mounted: nothing will be remembered", env->oem);
        if (!upgrade_only_looks(&o->upgrade))
                spool = machine_open_spool(env);
        return on_esp(env, o, state, spool < 0 ? -EBADF : spool, ret, e);
}

/* --- the end --- */

static void tell_end(int code, const struct upgrade_report *report, const struct error *e)
{
        const char *advice = error_advice(e);
        _cleanup_free_ char *text = NULL;
        int n;

        if (e->class != ERROR_NONE)
                n = asprintf(&text, "tb-agent upgrade: %s: %s%s%s", error_class_name(e->class),
                             e->text, advice ? "; " : "", advice ?: "");
        else
                n = asprintf(&text, "tb-agent upgrade: %s: %s (exit %d)",
                             upgrade_result_name(report->result),
                             *report->to_version ? report->to_version : "version unknown", code);
        if (n < 0)
                text = NULL;
        else
                termination_tell(TERMINATION_LOG, text);
}

/* What the node does when another image is next. */
static int leave(const struct env *env, const struct verb_options *o,
                 const struct upgrade_report *report, struct error *e)
{
        if (!report->reboot_needed || upgrade_only_looks(&o->upgrade))
                return 0;
        if (o->config.reboot)
                return restart_node(env, e);
        return o->config.power_off ? restart_power_off(env, e) : 0;
}

int verb_upgrade(const struct env *env, int argc, char **argv)
{
        _cleanup_(root_done) struct root root = {.n = 0};
        struct verb_options options = {.root = NULL};
        struct upgrade_report report = {.result = UPGRADE_NOTHING};
        struct error error = ERROR_INIT;
        int r = parse_options(argc, argv, &options, &error), code;

        if (r > 0)
                return 0;
        if (r == 0)
                r = root_make(env, options.root, options.upgrade.tcti, &root, &error);
        if (r == 0)
                r = upgrade_config_read(&root.env, &options.config, &options.upgrade, &error);
        if (r == 0)
                r = upgrade_check_source(&options.upgrade, &error);
        if (r == 0)
                r = upgrade(&root.env, &options, &report, &error);
        if (r == 0)
                r = leave(&root.env, &options, &report, &error);
        code = upgrade_finish(&options.upgrade, &report, r, &error);
        tell_end(code, &report, &error);
        upgrade_config_done(&options.config);
        return code;
}
