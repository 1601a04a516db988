/* SPDX-License-Identifier: Apache-2.0 */
/* tb-agent bless: confirms the running boot (design, section 5). */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agent/bless_floor.h"
#include "agent/boot_report.h"
#include "agent/firmware_entry.h"
#include "agent/health.h"
#include "agent/lock.h"
#include "agent/machine.h"
#include "agent/measured.h"
#include "agent/node.h"
#include "agent/options.h"
#include "agent/report.h"
#include "agent/reset_node.h"
#include "agent/restart.h"
#include "agent/situation.h"
#include "agent/trial.h"
#include "agent/verbs.h"
#include "base/file.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/spawn.h"
#include "efivars/loader.h"
#include "upgrade/esp.h"

static const char *const health_dirs[] = {"/usr/lib/tb-agent/health.d", "/etc/tb-agent/health.d",
                                          NULL};

/* Exists from the first "bless" of a boot on: the boot was completed. */
#define COMPLETE_NOTE "complete"

struct bless_options {
        uint64_t wait;
        bool reboot, expire, repair_floor, json;
};

struct bless_result {
        unsigned checks;
        bool counted; /* the boot was on trial */
        char role[16];
        bool has_floor;
        struct floor floor; /* where the version floor stands now */
        struct firmware_entry entry;
};

/* Losing a reason is no reason to fail. */
static void remember(int r, struct error *error)
{
        if (r < 0)
                log_warning("not remembered: %s", error->text);
        error_clear(error);
}

/* The entry's confirmation on the ESP; path NULL: only a look. */
static int confirm(const struct env *env, const char *path, struct situation *ret, struct error *e)
{
        struct error error = ERROR_INIT;
        struct node_esp esp;
        int r = node_esp_open(env, path != NULL, &esp, e);

        if (r < 0)
                return r;
        r = situation_read(env, &esp.esp, ret, e);
        if (r == 0)
                r = situation_note(env, ret, e);
        if (r == 0 && path)
                r = esp_bless(&esp.esp, path, e);
        if (r == 0 && path && ret->reset_pending &&
            reset_node_drop_journal(env, &esp.esp, &error) < 0)
                log_warning("journal of a reset: %s", error.text);
        return node_esp_close(env, &esp, r, e);
}

static int read_role(const struct env *env, struct bless_result *ret, struct error *e)
{
        _cleanup_json_ struct json_object *report = NULL;
        const char *role;
        _cleanup_(buf_done) struct buf counter = BUF_INIT(4096);
        struct error error = ERROR_INIT;
        int r = boot_report_read(env, &report, &error);

        if (r == 0 && json_get_str(report, "role", &role) == 0)
                (void)snprintf(ret->role, sizeof(ret->role), "%s", role);
        /* A report that got lost must not cost a good boot its confirmation. */
        if (r == -ENOENT && loader_boot_count_path(env, &counter) == -ENOENT) {
                *e = error;
                return r;
        }
        if (r < 0)
                log_warning("%s", error.text);
        return 0;
}

/* A boot that works must not fail its confirmation, and fall back, because of the floor: "status"
 * tells what is wrong. Only who asked for its repair is told here. */
static int raise_floor(const struct env *env, bool repair, struct bless_result *ret,
                       struct error *e)
{
        struct error error = ERROR_INIT;
        int r;

        if (strcmp(ret->role, entry_role_name(ENTRY_ROLE_ACTIVE)) != 0)
                return !repair ? 0
                               : error_set(e, ERROR_PRECONDITION, EPERM,
                                           "only the active image sets the version floor, and "
                                           "%s runs",
                                           *ret->role ? ret->role : "something else");
        r = bless_raise_floor(env, repair, &ret->floor, &error);
        ret->has_floor = r == 0;
        if (r < 0 && repair)
                *e = error;
        else if (r < 0)
                log_warning("version floor: %s", error.text);
        return repair ? r : 0;
}

/* The firmware may have lost the entry of this node; the boot is good without it. A live session
 * has none, and what role a boot without a report has is not known. */
static void repair_entry(const struct env *env, struct bless_result *ret)
{
        static const enum entry_role roles[] = {ENTRY_ROLE_ACTIVE, ENTRY_ROLE_PASSIVE,
                                                ENTRY_ROLE_RECOVERY};

        for (size_t i = 0; i < ARRAY_SIZE(roles); i++) {
                if (strcmp(ret->role, entry_role_name(roles[i])) == 0)
                        firmware_entry_repair(env, &ret->entry);
        }
}

/* What became of the boots before this one; a boot that fell back remembers why. */
static void look_back(const struct env *env, const struct situation *s, bool passed)
{
        _cleanup_close_ int dir = machine_open_state(env);
        struct error error = ERROR_INIT;

        if (passed)
                remember(trial_passed(env, dir, s, &error), &error);
        if (s->running.role == ENTRY_ROLE_PASSIVE || s->running.role == ENTRY_ROLE_RECOVERY)
                remember(trial_fell_back(dir, s, &error), &error);
}

static int confirm_running(const struct env *env, const char *path, struct bless_result *ret,
                           struct error *e)
{
        _cleanup_(situation_done) struct situation s = {.has_loader = false};
        bool active = strcmp(ret->role, entry_role_name(ENTRY_ROLE_ACTIVE)) == 0;
        int r;

        /* A confirmed active boot has nothing to do on the ESP, and nothing to remember. */
        if (!path && active)
                return 0;
        r = confirm(env, path, &s, e);
        if (r == 0)
                look_back(env, &s, path && !s.running.confirmed);
        if (r < 0 && !path) {
                remember(r, e); /* it was only to be looked at */
                r = 0;
        }
        return r;
}

/* A folder descriptor of run/tb-agent. */
static int open_run(const struct env *env, struct error *e)
{
        _cleanup_free_ char *dir = NULL;
        int r;

        if (asprintf(&dir, "%s/tb-agent", env->run) < 0) {
                dir = NULL;
                return error_oom(e);
        }
        r = file_make_dirs(AT_FDCWD, dir, 0755);
        if (r == 0)
                r = file_open_dir(AT_FDCWD, dir);
        return r < 0 ? error_errno(e, -r, "%s", dir) : r;
}

static int note_complete(const struct env *env, struct error *e)
{
        _cleanup_close_ int dir = open_run(env, e);
        int r;

        if (dir < 0)
                return dir;
        r = file_write_volatile(dir, COMPLETE_NOTE, "1\n", 2, 0644);
        return r < 0 ? error_errno(e, -r, COMPLETE_NOTE) : 0;
}

/*
 * A boot on trial that failed: the reason is remembered, and the node starts again, so that the
 * boot loader counts on and falls back in the end. Never for a confirmed boot: what worked before
 * is not restarted because of a check.
 */
static void fail_trial(const struct env *env, const struct bless_options *o, const char *reason,
                       enum trial_reason how)
{
        _cleanup_(situation_done) struct situation s = {.has_loader = false};
        _cleanup_close_ int dir = machine_open_state(env);
        struct error error = ERROR_INIT;
        int r = confirm(env, NULL, &s, &error);

        if (r == 0 && (!s.running.on_trial || s.running.confirmed))
                return;
        if (r == 0)
                r = trial_failed(env, dir, &s, reason, how, &error);
        remember(r, &error);
        if (!o->reboot)
                return;
        log_error("this boot on trial has failed, the node starts again: %s", reason);
        if (restart_node_hard(env, &error) < 0)
                log_error("%s", error.text);
}

static int bless(const struct env *env, const struct bless_options *o, struct bless_result *ret,
                 struct error *e)
{
        _cleanup_(buf_done) struct buf path = BUF_INIT(4096);
        struct error error = ERROR_INIT;
        int r = loader_boot_count_path(env, &path);

        if (r < 0 && r != -ENOENT)
                return error_errno(e, -r, "LoaderBootCountPath");
        ret->counted = r == 0; /* else confirmed before, or recovery */
        r = health_check(health_dirs, &ret->checks, e);
        if (r == -EHEALTH && ret->counted)
                fail_trial(env, o, e->text, TRIAL_REPLACE);
        if (r == 0)
                r = confirm_running(env, ret->counted ? buf_str(&path) : NULL, ret, e);
        if (r < 0)
                return r;
        repair_entry(env, ret);
        if (measured_remember(env, &error) < 0)
                log_warning("what this boot measured is not noted: %s", error.text);
        return raise_floor(env, o->repair_floor, ret, e);
}

/* The units that failed, for the reason; "" when nobody can be asked. */
static void list_failed_units(char *out, size_t n)
{
        static const char *const argv[] = {"systemctl", "list-units",  "--failed",
                                           "--plain",   "--no-legend", NULL};
        _cleanup_(buf_done) struct buf said = BUF_INIT(LIMIT_CHILD_OUTPUT);
        struct spawn_result result = {.status = -1};
        size_t used = 0;
        char *line;

        *out = '\0';
        if (spawn_run(argv, 30, &said, &result, NULL) < 0 || result.status != 0 || said.len == 0)
                return;
        line = (char *)said.data;
        while (line && *line && used < n) {
                int word = (int)strcspn(line, " \n");

                used += (size_t)snprintf(out + used, n - used, "%s%.*s", used > 0 ? ", " : "", word,
                                         line);
                line = strchr(line, '\n');
                line += line != NULL;
        }
}

/* A boot on trial that does not come to its confirmation, see tb-agent-trial.timer. */
static int expire(const struct env *env, const struct bless_options *o, struct bless_result *ret,
                  struct error *e)
{
        _cleanup_(buf_done) struct buf path = BUF_INIT(4096);
        _cleanup_close_ int dir = open_run(env, e);
        char units[256], reason[320];

        if (dir < 0)
                return dir;
        ret->counted = loader_boot_count_path(env, &path) == 0;
        /* Completed: whatever came of it, "bless" has decided. */
        if (!ret->counted || file_exists(dir, COMPLETE_NOTE))
                return 0;
        list_failed_units(units, sizeof(units));
        (void)snprintf(reason, sizeof(reason), "the boot was never completed%s%s",
                       *units ? "; failed: " : "", units);
        fail_trial(env, o, reason, TRIAL_KEEP);
        return error_set(e, ERROR_PRECONDITION, ETIMEDOUT, "%s", reason);
}

static int act(const struct env *env, const struct bless_options *o, struct bless_result *ret,
               struct error *e)
{
        _cleanup_close_ int lock = -EBADF;
        int r = geteuid() != 0 ? error_set(e, ERROR_PRECONDITION, EPERM, "only root can bless")
                               : read_role(env, ret, e);

        /* Before the lock: an upgrade that has it for long must not make this boot look like one
         * that hangs. */
        if (r == 0 && !o->expire)
                r = note_complete(env, e);
        if (r < 0)
                return r;
        lock = lock_take(env, "bless", o->wait, e);
        if (lock < 0)
                return lock;
        return o->expire ? expire(env, o, ret, e) : bless(env, o, ret, e);
}

static int print_expired(bool json, struct error *e)
{
        _cleanup_json_ struct json_object *o = NULL;

        if (!json) {
                (void)printf("this boot needs no further trial\n");
                return 0;
        }
        o = report_new("bless");
        return json_add_bool(o, "expired", false) < 0 ? error_oom(e) : report_print(o, e);
}

static int print_result(bool json, const struct bless_result *result, struct error *e)
{
        _cleanup_json_ struct json_object *o = NULL;

        if (!json) {
                (void)printf("%s boot %s (%u health checks passed)\n", result->role,
                             result->counted ? "confirmed" : "needs no confirmation",
                             result->checks);
                if (result->has_floor)
                        (void)printf("version floor: %s\n", result->floor.version);
                if (result->entry.outcome == FIRMWARE_ENTRY_WRITTEN)
                        (void)printf("firmware boot entry made again: %s\n", result->entry.name);
                return 0;
        }
        o = report_new("bless");
        if (json_add_bool(o, "blessed", true) < 0 || json_add_str(o, "role", result->role) < 0 ||
            json_add_bool(o, "counted", result->counted) < 0 ||
            json_add_u64(o, "health_checks", result->checks) < 0 ||
            json_add_str(o, "floor", result->has_floor ? result->floor.version : NULL) < 0 ||
            firmware_entry_json(o, &result->entry) < 0)
                return error_oom(e);
        return report_print(o, e);
}

static void print_help(void)
{
        (void)printf("Usage: tb-agent bless [OPTION...]\n\n"
                     "Runs the health checks; when all succeed, confirms the running boot and ends "
                     "its trial.\n"
                     "Health checks are the executables of:\n");
        for (size_t i = 0; health_dirs[i]; i++)
                (void)printf("  %s\n", health_dirs[i]);
        (void)printf(
                "\n  --reboot        when a boot on trial fails, start the node again at once\n"
                "  --expire        give a boot on trial up that was never completed\n"
                "  --repair-floor  set the version floor up again when the TPM has lost it or "
                "holds "
                "another one\n"
                "  --wait SECONDS  wait for another agent to end (default: fail at once)\n"
                "  --json          print the result as JSON\n"
                "  --help          show this text\n");
}

int verb_bless(const struct env *env, int argc, char **argv)
{
        struct bless_options o = {.wait = 0};
        struct bless_result result = {0};
        struct error error = ERROR_INIT;
        const struct option_spec specs[] = {{"reboot", OPTION_FLAG, &o.reboot},
                                            {"expire", OPTION_FLAG, &o.expire},
                                            {"repair-floor", OPTION_FLAG, &o.repair_floor},
                                            {"wait", OPTION_NUMBER, &o.wait},
                                            {"json", OPTION_FLAG, &o.json}};
        int r = options_parse(argc, argv, specs, ARRAY_SIZE(specs), NULL, &error);

        if (r > 0) {
                print_help();
                return 0;
        }
        if (r == 0)
                r = act(env, &o, &result, &error);
        if (r == 0)
                r = o.expire ? print_expired(o.json, &error)
                             : print_result(o.json, &result, &error);
        return r < 0 ? report_failure("bless", o.json, &error) : 0;
}
