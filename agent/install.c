/* SPDX-License-Identifier: Apache-2.0 */
/* tb-agent install: command line, question, report. */
#include "agent/install.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agent/lock.h"
#include "agent/report.h"
#include "agent/verbs.h"
#include "base/log.h"
#include "base/num.h"

struct install_options {
        struct install_wishes wishes;
        const char *tcti;
        bool yes, json, dry_run;
};

enum {
        OPTION_TARGET = 256,
        OPTION_SOURCE,
        OPTION_ESP_SIZE,
        OPTION_ALLOW_DOWNGRADE,
        OPTION_TCTI,
        OPTION_YES,
        OPTION_JSON,
        OPTION_DRY_RUN,
        OPTION_HELP,
};

static void print_help(void)
{
        (void)printf(
                "Usage: tb-agent install --target DISK [OPTION...]\n\n"
                "Installs this system on a disk. Everything on the disk is lost.\n\n"
                "  --target DISK    whole disk, any path that leads to it\n"
                "  --source SOURCE  dir:PATH or file:PATH (default: the medium of this session)\n"
                "  --esp-size SIZE  size of the EFI system partition, e.g. 2G (default: 4 images "
                "of 1 GiB)\n"
                "  --allow-downgrade  accept an image below the version floor of this machine\n"
                "  --yes            do not ask\n"
                "  --dry-run        show the plan, change nothing\n"
                "  --json           print the result as JSON\n"
                "  --tcti TCTI      TPM to use (default: device:/dev/tpmrm0)\n"
                "  --help           show this text\n");
}

/* 0: go on; 1: help was shown; negative: *e is set. */
static int parse_options(int argc, char **argv, struct install_options *o, struct error *e)
{
        static const struct option options[] = {
                {"target", required_argument, NULL, OPTION_TARGET},
                {"source", required_argument, NULL, OPTION_SOURCE},
                {"esp-size", required_argument, NULL, OPTION_ESP_SIZE},
                {"allow-downgrade", no_argument, NULL, OPTION_ALLOW_DOWNGRADE},
                {"tcti", required_argument, NULL, OPTION_TCTI},
                {"yes", no_argument, NULL, OPTION_YES},
                {"json", no_argument, NULL, OPTION_JSON},
                {"dry-run", no_argument, NULL, OPTION_DRY_RUN},
                {"help", no_argument, NULL, OPTION_HELP},
                {0},
        };
        int c;

        opterr = 0;
        while ((c = getopt_long(argc, argv, ":", options, NULL)) >= 0) {
                switch (c) {
                case OPTION_TARGET:
                        o->wishes.target = optarg;
                        break;
                case OPTION_SOURCE:
                        o->wishes.source = optarg;
                        break;
                case OPTION_ESP_SIZE:
                        if (parse_size(optarg, &o->wishes.esp_size) < 0 || o->wishes.esp_size == 0)
                                return error_set(e, ERROR_USAGE, EINVAL,
                                                 "--esp-size: \"%s\" is not a size", optarg);
                        break;
                case OPTION_ALLOW_DOWNGRADE:
                        o->wishes.allow_downgrade = true;
                        break;
                case OPTION_TCTI:
                        o->tcti = optarg;
                        break;
                case OPTION_YES:
                        o->yes = true;
                        break;
                case OPTION_JSON:
                        o->json = true;
                        break;
                case OPTION_DRY_RUN:
                        o->dry_run = true;
                        break;
                case OPTION_HELP:
                        print_help();
                        return 1;
                case ':':
                        return error_set(e, ERROR_USAGE, EINVAL, "%s needs a value",
                                         argv[optind - 1]);
                default:
                        return error_set(e, ERROR_USAGE, EINVAL, "unknown option \"%s\"",
                                         argv[optind - 1]);
                }
        }
        if (optind < argc)
                return error_set(e, ERROR_USAGE, EINVAL, "unexpected argument \"%s\"",
                                 argv[optind]);
        if (!o->wishes.target)
                return error_set(e, ERROR_USAGE, EINVAL, "--target is missing");
        return 0;
}

static int confirm(const struct install_plan *p, const struct install_options *o, struct error *e)
{
        char answer[8] = "";

        if (o->yes)
                return 0;
        if (!isatty(STDIN_FILENO) || !isatty(STDERR_FILENO)) {
                error_set(e, ERROR_USAGE, EINVAL, "there is no terminal to ask on");
                error_advise(e, "give --yes to destroy what is on %s", p->disk->path);
                return -EINVAL;
        }
        (void)fprintf(stderr,
                      "Everything on %s will be lost. Type \"yes\" to go on: ", p->disk->path);
        if (!fgets(answer, sizeof(answer), stdin) || strcmp(answer, "yes\n") != 0)
                return error_set(e, ERROR_INTERRUPTED, ECANCELED,
                                 "not confirmed, nothing was changed");
        return 0;
}

static void show_step(const char *step)
{
        log_info("%s", step);
}

static int print_result(const struct install_plan *p, const struct install_options *o,
                        struct error *e)
{
        _cleanup_json_ struct json_object *root = NULL;

        if (!o->json) {
                (void)printf("%s\n", o->dry_run ? "nothing was changed"
                                                : "installed; restart from this disk");
                return 0;
        }
        root = report_new("install");
        if (!root || json_add_bool(root, "dry_run", o->dry_run) < 0 ||
            json_add_obj(root, "plan", install_plan_json(p)) < 0 ||
            json_add_bool(root, "installed", !o->dry_run) < 0)
                return error_oom(e);
        return report_print(root, e);
}

static int install(const struct env *env, const struct install_options *o, struct error *e)
{
        _cleanup_(install_plan_done) struct install_plan plan = {.source = SOURCE_INIT};
        _cleanup_close_ int lock = -EBADF;
        int r;

        if (geteuid() != 0)
                return error_set(e, ERROR_PRECONDITION, EPERM, "only root can install");
        lock = lock_take(env, e);
        if (lock < 0)
                return lock;
        if (!o->dry_run) {
                r = install_drop_stale(e);
                if (r < 0)
                        return r;
        }
        r = install_prepare(env, &o->wishes, &plan, e);
        if (r < 0)
                return r;
        if (!o->json || !o->yes)
                install_describe(&plan);
        if (!o->dry_run) {
                r = confirm(&plan, o, e);
                if (r == 0)
                        r = install_apply(&plan, show_step, e);
                if (r < 0)
                        return r;
        }
        return print_result(&plan, o, e);
}

int verb_install(const struct env *env, int argc, char **argv)
{
        struct install_options options = {0};
        struct error error = ERROR_INIT;
        struct env used = *env;
        int r = parse_options(argc, argv, &options, &error);

        if (r > 0)
                return 0;
        if (options.tcti)
                used.tcti = options.tcti;
        if (r == 0)
                r = install(&used, &options, &error);
        return r < 0 ? report_failure("install", options.json, &error) : 0;
}
