/* SPDX-License-Identifier: Apache-2.0 */
/* tb-agent install: command line, question, report. */
#include "agent/install.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agent/config_install.h"
#include "agent/config_userdata.h"
#include "agent/golden.h"
#include "agent/install_auto.h"
#include "agent/install_choose.h"
#include "agent/install_keep.h"
#include "agent/install_offer.h"
#include "agent/lock.h"
#include "agent/options.h"
#include "agent/progress.h"
#include "agent/report.h"
#include "agent/source_options.h"
#include "agent/verbs.h"
#include "base/log.h"

struct install_options {
        struct install_wishes wishes;
        struct option_list partitions, configs;
        const char *tcti, *pcrs;
        uint64_t progress_fd;
        bool yes, json, dry_run, use_default_dirs, reboot, poweroff, offer;
};

static void print_help(void)
{
        (void)printf(
                "Usage: tb-agent install [--target SPEC] [OPTION...]\n"
                "       tb-agent install --image FILE --size SIZE --db FILE [OPTION...]\n\n"
                "Installs this system on a disk. Everything on the disk is lost. On a terminal, "
                "without\n--target and --yes, it shows the disks and asks.\n"
                "Or writes such a disk into a file, as any user; data is encrypted at the first "
                "boot,\nor now, by the TPM of its machine (--tcti).\n\n"
                "  --target SPEC    whole disk, any path that leads to it; or a rule: auto "
                "(largest),\n"
                "                   smallest, or terms in one word, e.g. "
                "'size>=100G,bus=nvme,largest';\n"
                "                   terms: size (> < =), bus=, model=, serial=, wwn= (GLOBs), "
                "rotational=\n"
                "  --image FILE     disk image to make instead, sparse\n"
                "  --size SIZE      its size, e.g. 8G; a larger disk is filled at the first boot\n"
                "  --overwrite      replace FILE when it exists\n"
                "  --db FILE        key database of the machines that will start the image; may be "
                "given\n"
                "                   several times (--dbx FILE: revocations, likewise)\n"
                "  --force-release  unmount, swapoff and close what holds the disk, where that is "
                "safe\n"
                "  --config FILE    cloud-config with what is not said here: a path, an https:// "
                "URL or "
                "-;\n"
                "                   may be given several times; kept on the OEM partition\n"
                "  --use-default-dirs  also the configurations in the known folders\n"
                "  --no-format      into partitions that are there: data that opens with this "
                "image "
                "is kept\n"
                "  --source SOURCE  dir:PATH, file:PATH, oci:REGISTRY/NAME[:TAG][@DIGEST], "
                "http(s)://...\n"
                "                   or ocifile:TAR (default: the medium of this session)\n"
                "  --esp-size SIZE  size of the EFI system partition, e.g. 2G (default: 4 images "
                "of 1 GiB)\n"
                "  --oem-size SIZE  size of the OEM partition (default: 128 MiB)\n"
                "  --persistent-size SIZE  size of the persistent partition (default: the rest)\n"
                "  --partition NAME:SIZE[:ext4|none][:LABEL][:encrypted|plain]\n"
                "                   another partition; may be given several times\n"
                "  --recovery-key   show a recovery key on the terminal\n"
                "  --recovery-key-file PATH  write it to a new file\n"
                "  --no-recovery-key  make none, and do not warn\n"
                "  --event-log FILE  with --image and --tcti: firmware log of the machine of that "
                "TPM,\n"
                "                   instead of --db; the image is then a finished node\n"
                "  --pcr7 HEX       the same, with the value that PCR 7 will have, and --db\n"
                "  --allow-discards  tell the device which blocks of encrypted partitions are "
                "free\n"
                "  --bind-pcrs LIST  PCRs the data is bound to by value, 7 among them (default: "
                "7)\n"
                "  --pin            ask for a PIN now, and at each start of the node\n"
                "  --pin-file PATH  the same, with the PIN in a file\n"
                "  --allow-downgrade  accept an image below the version floor of this machine\n"
                "  --enroll-keys DIR      firmware in setup mode: enrol PK.auth, KEK.auth, db.auth "
                "(and dbx.auth)\n"
                "  --enroll-keys-by WHOM  agent (default), or loader: at the first start\n"
                "  --allow-software-tpm   accept a TPM that is a program, for tests and virtual "
                "machines\n"
                "  --reboot         restart the machine when the installation is complete\n"
                "  --poweroff       power it off instead\n"
                "  --yes            do not ask\n"
                "  --unattended     if a configuration in the known folders says install.auto, do "
                "what it\n"
                "                   says, show it on every console, and ask nothing\n"
                "  --offer          ask on the terminal first whether to install, and restart the "
                "machine\n"
                "                   in the end, as the console of a live session does\n"
                "  --dry-run        show the plan, change nothing\n"
                "  --progress-fd N  write progress to this descriptor, as JSON lines\n"
                "  --json           print the result as JSON\n"
                "  --tcti TCTI      TPM to use (default: device:/dev/tpmrm0)\n"
                "  --help           show this text\n"
                "%s",
                source_help);
}

/* What it does is said by the medium, and by nobody who could look. */
static int begin_unattended(struct install_options *o, struct error *e)
{
        if (o->wishes.target || o->wishes.image || o->configs.n > 0)
                return error_set(e, ERROR_USAGE, EINVAL,
                                 "--unattended goes by the configurations in the known folders: no "
                                 "--target, --image or --config");
        o->use_default_dirs = true;
        o->yes = true;
        return 0;
}

/* Somebody will be asked, and can be shown something. */
static bool is_attended(const struct install_options *o)
{
        return !o->yes && isatty(STDIN_FILENO) && isatty(STDERR_FILENO);
}

static int check_offer(const struct install_options *o, struct error *e)
{
        if (o->wishes.image || o->wishes.unattended || o->json || o->dry_run)
                return error_set(e, ERROR_USAGE, EINVAL,
                                 "--offer is for an installation on this machine: no --image, "
                                 "--unattended, --json or --dry-run");
        if (!is_attended(o))
                return error_set(e, ERROR_USAGE, EINVAL, "there is no terminal to ask on");
        return 0;
}

/* 0: go on; 1: help was shown; negative: *e is set. */
static int parse_options(int argc, char **argv, struct install_options *o, struct error *e)
{
        const struct option_spec own[] = {
                {"target", OPTION_TEXT, &o->wishes.target},
                {"image", OPTION_TEXT, &o->wishes.image},
                {"size", OPTION_SIZE, &o->wishes.image_size},
                {"overwrite", OPTION_FLAG, &o->wishes.overwrite},
                {"db", OPTION_LIST, &o->wishes.db},
                {"dbx", OPTION_LIST, &o->wishes.dbx},
                {"config", OPTION_LIST, &o->configs},
                {"use-default-dirs", OPTION_FLAG, &o->use_default_dirs},
                {"source", OPTION_TEXT, &o->wishes.source},
                {"pcr7", OPTION_TEXT, &o->wishes.pcr7},
                {"event-log", OPTION_TEXT, &o->wishes.event_log},
                {"force-release", OPTION_FLAG, &o->wishes.force_release},
                {"bind-pcrs", OPTION_TEXT, &o->pcrs},
                {"pin", OPTION_FLAG, &o->wishes.pin.ask},
                {"pin-file", OPTION_TEXT, &o->wishes.pin.file},
                {"no-format", OPTION_FLAG, &o->wishes.no_format},
                {"esp-size", OPTION_SIZE, &o->wishes.layout.esp_size},
                {"oem-size", OPTION_SIZE, &o->wishes.layout.oem_size},
                {"persistent-size", OPTION_SIZE, &o->wishes.layout.persistent_size},
                {"partition", OPTION_LIST, &o->partitions},
                {"recovery-key", OPTION_FLAG, &o->wishes.escrow.show},
                {"recovery-key-file", OPTION_TEXT, &o->wishes.escrow.file},
                {"no-recovery-key", OPTION_FLAG, &o->wishes.escrow.none},
                {"allow-discards", OPTION_FLAG, &o->wishes.allow_discards},
                {"allow-downgrade", OPTION_FLAG, &o->wishes.allow_downgrade},
                {"enroll-keys", OPTION_TEXT, &o->wishes.firmware.keys},
                {"enroll-keys-by", OPTION_TEXT, &o->wishes.firmware.keys_by},
                {"allow-software-tpm", OPTION_FLAG, &o->wishes.firmware.allow_software_tpm},
                {"progress-fd", OPTION_COUNT, &o->progress_fd},
                {"tcti", OPTION_TEXT, &o->tcti},
                {"reboot", OPTION_FLAG, &o->reboot},
                {"poweroff", OPTION_FLAG, &o->poweroff},
                {"yes", OPTION_FLAG, &o->yes},
                {"unattended", OPTION_FLAG, &o->wishes.unattended},
                {"offer", OPTION_FLAG, &o->offer},
                {"json", OPTION_FLAG, &o->json},
                {"dry-run", OPTION_FLAG, &o->dry_run},
        };
        struct option_spec specs[ARRAY_SIZE(own) + SOURCE_SPECS];
        int r;

        memcpy(specs, own, sizeof(own));
        source_specs(&o->wishes.from, specs + ARRAY_SIZE(own));
        r = options_parse(argc, argv, specs, ARRAY_SIZE(specs), NULL, e);
        if (r > 0)
                print_help();
        if (r == 0)
                r = source_check_options(&o->wishes.from, e);
        if (r == 0 && o->pcrs)
                r = pcr_choice_parse(o->pcrs, &o->wishes.literal_pcrs, e);
        if (r == 0 && o->wishes.target && o->wishes.image)
                r = error_set(e, ERROR_USAGE, EINVAL, "--target and --image exclude each other");
        if (r == 0 && o->wishes.unattended)
                r = begin_unattended(o, e);
        if (r == 0 && o->offer)
                r = check_offer(o, e);
        o->wishes.seal = o->wishes.image && o->tcti;
        for (unsigned i = 0; i < o->partitions.n && r == 0; i++)
                r = extra_parse(o->partitions.item[i], &o->wishes.layout.extras, e);
        return r == 0 ? install_end_choose(o->reboot, o->poweroff, &o->wishes.end, e) : r;
}

/* Fills what the command line left open. */
static int read_config(const struct env *env, struct install_options *o, struct config **ret,
                       struct error *e)
{
        struct fetch_options fetch;
        const struct config_wish wish = {.sources = o->configs.item,
                                         .n_sources = o->configs.n,
                                         .known_folders = o->use_default_dirs,
                                         .fetch = &fetch};
        int r;

        if (o->configs.n == 0 && !o->use_default_dirs)
                return 0;
        source_fetch_options(&o->wishes.from, &fetch);
        r = config_load_checked(env, &wish, ret, e);
        if (r == 0 && o->wishes.unattended)
                r = install_auto_check(env, *ret, e);
        return r < 0 ? r : config_apply_to_install(*ret, &o->wishes, e);
}

static int check_wishes(const struct install_options *o, struct error *e)
{
        int r = golden_check(&o->wishes, e);

        if (r < 0)
                return r;
        if (o->wishes.image)
                return install_escrow_check(&o->wishes.escrow, e);
        if (!o->wishes.target && !is_attended(o)) {
                error_set(e, ERROR_USAGE, EINVAL,
                          "--target is missing, and no configuration names a device");
                error_advise(e, "on a terminal, without --yes, the disks are shown to choose from");
                return -EINVAL;
        }
        r = o->wishes.target ? install_disk_check(o->wishes.target, e) : 0;
        return r < 0 ? r : install_escrow_check(&o->wishes.escrow, e);
}

static int confirm(const struct install_plan *p, const struct install_options *o, struct error *e)
{
        char answer[128] = "";

        if (o->yes)
                return 0;
        if (!isatty(STDIN_FILENO) || !isatty(STDERR_FILENO)) {
                error_set(e, ERROR_USAGE, EINVAL, "there is no terminal to ask on");
                error_advise(e, "give --yes to destroy what is on %s", p->disk->path);
                return -EINVAL;
        }
        if (p->no_format)
                report_text(stderr,
                            "The partitions of %s that are listed as lost are made anew, the "
                            "others are kept.",
                            p->disk->path);
        else
                report_text(stderr, "Everything on %s will be lost.", p->disk->path);
        report_text(stderr, " Type \"%s\" or \"yes\" to go on: ", p->disk->name);
        if (fgets(answer, sizeof(answer), stdin))
                answer[strcspn(answer, "\r\n")] = '\0';
        if (!install_choose_confirms(p->disk, answer))
                return error_set(e, ERROR_INTERRUPTED, ECANCELED,
                                 "not confirmed, nothing was changed");
        return 0;
}

/* How far a run came. */
struct outcome {
        unsigned hooks;
        bool installed; /* the node is complete, whatever comes after it */
        bool told;      /* the document was printed, with the failure if there is one */
};

static void tell_key_file(const struct install_plan *p, bool installed)
{
        if (p->escrow.place == INSTALL_ESCROW_FILE && installed)
                report_text(stdout, "the recovery key is in %s\n", p->escrow.path);
}

static void print_text(const struct install_plan *p, const struct outcome *run)
{
        (void)printf("%s\n", !run->installed                ? "nothing was changed"
                             : p->end == INSTALL_END_REBOOT ? "installed; restarting"
                             : p->end == INSTALL_END_POWEROFF
                                     ? "installed; powering off"
                                     : "installed; restart from this disk");
        tell_key_file(p, run->installed);
}

/* failure: of what comes after a complete installation; NULL: there is none. */
static int print_result(const struct install_plan *p, const struct install_options *o,
                        struct outcome *run, const struct error *failure, struct error *e)
{
        _cleanup_json_ struct json_object *root = NULL;

        if (!o->json) {
                if (!failure)
                        print_text(p, run);
                return 0;
        }
        root = report_new("install");
        if (!root || json_add_bool(root, "dry_run", o->dry_run) < 0 ||
            json_add_obj(root, "plan", install_plan_json(p)) < 0 ||
            json_add_bool(root, "installed", run->installed) < 0 ||
            json_add_u64(root, "hooks", run->hooks) < 0 ||
            install_firmware_add_result(root, p) < 0 ||
            install_escrow_report(&p->escrow, root) < 0 ||
            (failure && report_add_error(root, failure) < 0))
                return error_oom(e);
        run->told = true;
        return report_print(root, e);
}

static int print_image(const struct install_plan *p, const struct install_options *o,
                       struct error *e)
{
        _cleanup_json_ struct json_object *root = NULL;

        if (!o->json) {
                if (o->dry_run)
                        report_text(stdout, "nothing was changed\n");
                else
                        report_text(stdout, "%s is complete; %s\n", p->image,
                                    p->sealed ? "its data opens with the TPM that was named"
                                              : "the machines that start it encrypt their data at "
                                                "the first boot");
                tell_key_file(p, !o->dry_run);
                return 0;
        }
        root = report_new("install");
        if (!root || json_add_bool(root, "dry_run", o->dry_run) < 0 ||
            json_add_obj(root, "plan", install_plan_json(p)) < 0 ||
            json_add_bool(root, "installed", !o->dry_run) < 0 ||
            (p->sealed && install_escrow_report(&p->escrow, root) < 0))
                return error_oom(e);
        return report_print(root, e);
}

/* What belongs to one machine. */
static int choose_secrets(const struct env *env, const struct install_options *o,
                          struct install_plan *p, struct error *e)
{
        int r = install_escrow_choose(env, &o->wishes.escrow, is_attended(o), &p->escrow, e);

        return r < 0 ? r : install_pin_read(env, &o->wishes.pin, &p->pin, e);
}

/* Nothing is asked: nothing is lost that was not named twice. */
static int make_image(const struct env *env, const struct install_options *o,
                      struct install_progress *progress, struct error *e)
{
        _cleanup_(install_plan_done) struct install_plan plan = {.source = SOURCE_INIT,
                                                                 .escrow = INSTALL_ESCROW_INIT};
        FILE *out = o->dry_run ? stdout : stderr;
        int r = golden_prepare(env, &o->wishes, &plan, e);

        if (r == 0 && plan.sealed)
                r = choose_secrets(env, o, &plan, e);
        if (r < 0)
                return r;
        if (!o->json)
                install_describe(&plan, out);
        if (!o->json && plan.sealed)
                install_escrow_describe(&plan.escrow, out);
        if (!o->dry_run)
                r = golden_apply(&plan, progress, e);
        return r < 0 ? r : print_image(&plan, o, e);
}

/* From the consent to the end of the run. */
static int carry_out(struct install_plan *plan, const struct install_options *o,
                     struct install_progress *progress, struct outcome *run, struct error *e)
{
        struct error output = ERROR_INIT;
        int r = install_end_prepare(plan, e);

        if (r == 0)
                r = confirm(plan, o, e);
        if (r == 0)
                r = install_end_ask_hooks(plan, &run->hooks, e);
        if (r == 0 && plan->unattended)
                install_auto_begin(plan);
        if (r == 0)
                r = install_apply(plan, progress, e);
        if (r < 0)
                return r;
        run->installed = true;
        r = install_end_tell_hooks(plan, &run->hooks, e);
        /* Whoever restarts the machine ends this process soon. */
        if (r == 0 && plan->unattended)
                install_auto_end(plan->env, plan->end, true, NULL);
        if (r == 0)
                r = install_end_wait(plan, e);
        if (r == 0 && o->offer)
                install_offer_end(stdin, stderr,
                                  plan->end == INSTALL_END_POWEROFF ? "power off" : "restart");
        if (r == 0)
                r = install_end_leave(plan, e);
        if (r == 0)
                return print_result(plan, o, run, NULL, e);
        /* This failure is the one to report. */
        if (print_result(plan, o, run, e, &output) < 0)
                log_error("%s", output.text);
        return r;
}

/* A recovery key, and a PIN, need a partition that is made. */
static int choose_escrow(const struct install_options *o, struct install_plan *p, struct error *e)
{
        const struct install_escrow_wishes *w = &o->wishes.escrow;

        if (!p->no_format || !install_keep_all(p))
                return install_escrow_choose(p->env, w, is_attended(o), &p->escrow, e);
        if (!w->show && !w->file && !o->wishes.pin.ask && !o->wishes.pin.file)
                return 0;
        error_set(e, ERROR_USAGE, EINVAL,
                  "all encrypted partitions are kept, so no recovery key or PIN can be added");
        error_advise(e, "those that they have stay; leave the option out");
        return -EINVAL;
}

/* The partition is closed in this session, and stays so. */
static void warn_of_config(const struct install_plan *p)
{
        if (p->config && install_keep_has(p, LAYOUT_OEM_NAME))
                log_warning("the partition oem is kept as it is: the configuration of this "
                            "installation is not put there");
}

static int install(const struct env *env, struct install_options *o,
                   struct install_progress *progress, struct outcome *run, struct error *e)
{
        _cleanup_(install_plan_done) struct install_plan plan = {.source = SOURCE_INIT,
                                                                 .escrow = INSTALL_ESCROW_INIT};
        _cleanup_close_ int lock = -EBADF;
        int r;

        if (o->wishes.image)
                return make_image(env, o, progress, e);
        if (geteuid() != 0)
                return error_set(e, ERROR_PRECONDITION, EPERM, "only root can install");
        lock = lock_take(env, "install", 0, e);
        if (lock < 0)
                return lock;
        /* Who reads the messages may go away; an installation goes on. */
        (void)signal(SIGPIPE, SIG_IGN);
        if (!o->dry_run) {
                r = install_drop_stale(env, e);
                if (r < 0)
                        return r;
        }
        o->wishes.progress = progress;
        r = install_prepare(env, &o->wishes, &plan, e);
        if (r == 0)
                r = choose_escrow(o, &plan, e);
        if (r == 0)
                r = install_pin_read(env, &o->wishes.pin, &plan.pin, e);
        if (r < 0)
                return r;
        warn_of_config(&plan);
        /* A dry run's plan is its result; otherwise it belongs to the question. */
        if (!o->json || (!o->yes && !o->dry_run)) {
                FILE *out = !o->json && o->dry_run ? stdout : stderr;

                install_describe(&plan, out);
                install_escrow_describe(&plan.escrow, out);
        }
        return o->dry_run ? print_result(&plan, o, run, NULL, e)
                          : carry_out(&plan, o, progress, run, e);
}

static struct install_progress *open_progress(struct env *env, const struct install_options *o)
{
        return install_progress_new(o->json, o->progress_fd,
                                    o->wishes.unattended ? install_auto_say : NULL, env);
}

int verb_install(const struct env *env, int argc, char **argv)
{
        _cleanup_(install_progress_free_p) struct install_progress *progress = NULL;
        _cleanup_(config_free_p) struct config *config = NULL;
        struct install_options options = {0};
        struct outcome run = {0};
        struct error error = ERROR_INIT;
        struct env used = *env;
        int r = parse_options(argc, argv, &options, &error);

        if (r > 0)
                return 0;
        if (options.tcti)
                used.tcti = options.tcti;
        if (r == 0 && options.offer)
                r = install_offer_begin(stdin, stderr, &error);
        if (r == 0)
                r = read_config(&used, &options, &config, &error);
        if (r == 0 && options.offer && options.wishes.end == INSTALL_END_STAY)
                options.wishes.end = INSTALL_END_REBOOT;
        if (r == 0)
                r = check_wishes(&options, &error);
        if (r == 0)
                r = progress_check_fd(options.progress_fd, &error);
        if (r == 0)
                progress = open_progress(&used, &options);
        if (r == 0)
                r = install(&used, &options, progress, &run, &error);
        if (r < 0 && !progress) /* who reads the steps is told of an early end, too */
                progress = install_progress_new(options.json, 0, NULL, NULL);
        if (r < 0 || !options.dry_run)
                install_progress_end(progress, r < 0 ? &error : NULL);
        if (r < 0 && options.wishes.unattended && !options.dry_run)
                install_auto_end(&used, INSTALL_END_STAY, run.installed, &error);
        if (run.told)
                return r < 0 ? error_failure_code(&error) : 0;
        return r < 0 ? report_failure("install", options.json, &error) : 0;
}
