/* SPDX-License-Identifier: Apache-2.0 */
/* tb-agent bless: confirms the running boot (design, section 5). */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agent/bless_floor.h"
#include "agent/boot_report.h"
#include "agent/health.h"
#include "agent/lock.h"
#include "agent/node.h"
#include "agent/options.h"
#include "agent/report.h"
#include "agent/verbs.h"
#include "base/log.h"
#include "efivars/loader.h"
#include "upgrade/esp.h"

static const char *const health_dirs[] = {"/usr/lib/tb-agent/health.d", "/etc/tb-agent/health.d",
                                          NULL};

struct bless_result {
        unsigned checks;
        bool counted; /* the boot was on trial */
        char role[16];
        bool has_floor;
        struct floor floor; /* where the version floor stands now */
};

/* The entry's confirmation on the ESP. */
static int confirm(const struct env *env, const char *path, struct error *e)
{
        _cleanup_(node_free_p) struct node *node = NULL;
        _cleanup_close_ int fd = -EBADF;
        struct esp esp;
        int r, unmounted;

        r = node_find_booted(env, &node, e);
        if (r == 0)
                r = node_mount_esp(env, node, true, &fd, e);
        if (r < 0)
                return r;
        esp = (struct esp)ESP_INIT(fd);
        r = esp_bless(&esp, path, e);
        close_p(&fd);
        /* The first failure is the one to report. */
        unmounted = node_unmount_esp(env, r < 0 ? NULL : e);
        return r < 0 ? r : unmounted;
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
 * tells what is wrong. */
static void raise_floor(const struct env *env, struct bless_result *ret)
{
        struct error error = ERROR_INIT;

        if (strcmp(ret->role, entry_role_name(ENTRY_ROLE_ACTIVE)) != 0)
                return;
        if (bless_raise_floor(env, &ret->floor, &error) == 0)
                ret->has_floor = true;
        else
                log_warning("version floor: %s", error.text);
}

static int confirm_if_counted(const struct env *env, struct bless_result *ret, struct error *e)
{
        _cleanup_(buf_done) struct buf path = BUF_INIT(4096);
        int r = loader_boot_count_path(env, &path);

        if (r == -ENOENT)
                return 0; /* the entry has no counter: confirmed before, or recovery */
        if (r < 0)
                return error_errno(e, -r, "LoaderBootCountPath");
        ret->counted = true;
        return confirm(env, buf_str(&path), e);
}

static int bless(const struct env *env, struct bless_result *ret, struct error *e)
{
        _cleanup_close_ int lock = -EBADF;
        int r = geteuid() != 0 ? error_set(e, ERROR_PRECONDITION, EPERM, "only root can bless")
                               : read_role(env, ret, e);

        if (r < 0)
                return r;
        lock = lock_take(env, e);
        if (lock < 0)
                return lock;
        r = health_check(health_dirs, &ret->checks, e);
        if (r == 0)
                r = confirm_if_counted(env, ret, e);
        if (r == 0)
                raise_floor(env, ret);
        return r;
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
                return 0;
        }
        o = report_new("bless");
        if (json_add_bool(o, "blessed", true) < 0 || json_add_str(o, "role", result->role) < 0 ||
            json_add_bool(o, "counted", result->counted) < 0 ||
            json_add_u64(o, "health_checks", result->checks) < 0 ||
            json_add_str(o, "floor", result->has_floor ? result->floor.version : NULL) < 0)
                return error_oom(e);
        return report_print(o, e);
}

static void print_help(void)
{
        (void)printf("Usage: tb-agent bless [--json]\n\n"
                     "Runs the health checks; when all succeed, confirms the running boot and ends "
                     "its trial.\n"
                     "Health checks are the executables of:\n");
        for (size_t i = 0; health_dirs[i]; i++)
                (void)printf("  %s\n", health_dirs[i]);
        (void)printf("\n  --json  print the result as JSON\n"
                     "  --help  show this text\n");
}

int verb_bless(const struct env *env, int argc, char **argv)
{
        struct bless_result result = {0};
        struct error error = ERROR_INIT;
        bool json = false;
        const struct option_spec specs[] = {{"json", OPTION_FLAG, &json}};
        int r = options_parse(argc, argv, specs, ARRAY_SIZE(specs), NULL, &error);

        if (r > 0)
                print_help();
        if (r == 0)
                r = bless(env, &result, &error);
        if (r == 0)
                r = print_result(json, &result, &error);
        return r < 0 ? report_failure("bless", json, &error) : 0;
}
