/* SPDX-License-Identifier: Apache-2.0 */
/* tb-agent reset: command line, question, report; agent/reset.h does the work. */
#include "agent/reset.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/boot.h"
#include "agent/config.h"
#include "agent/config_userdata.h"
#include "agent/hooks.h"
#include "agent/install_escrow.h"
#include "agent/install_pin.h"
#include "agent/lock.h"
#include "agent/report.h"
#include "agent/reset_node.h"
#include "agent/reset_pin.h"
#include "agent/reset_release.h"
#include "agent/restart.h"
#include "agent/source_options.h"
#include "agent/verbs.h"
#include "base/codec.h"
#include "base/file.h"
#include "base/log.h"
#include "partition/mount.h"
#include "partition/pair.h"

struct verb_options {
        struct reset_wishes wishes;
        struct install_escrow_wishes escrow;
        struct install_pin_wishes pin;
        struct option_list configs;
        struct source_options from; /* of the configurations */
        struct config *config;      /* NULL: none */
        const char *certificate, *tcti;
        uint64_t progress_fd, wait;
        bool use_default_dirs, cancel, yes, dry_run, json, reboot, power_off;
};

enum outcome {
        OUTCOME_PLANNED,
        OUTCOME_PENDING,
        OUTCOME_RESET,
        OUTCOME_CANCELLED,
        OUTCOME_MAX,
};

static const char *const outcome_names[] = {"planned", "pending", "reset", "cancelled"};

struct run {
        const struct env *env;
        const struct verb_options *o;
        struct reset_plan plan;
        struct install_escrow escrow;
        struct secret *pin; /* NULL: none */
        struct progress *progress;
        struct reset_report report;
        int name_space;
        enum outcome outcome;
        unsigned hooks;
        char warning[1024];
};

/* It holds what would be too much for a stack. */
static struct run *run_new(const struct env *env, const struct verb_options *o)
{
        struct run *r = calloc(1, sizeof(*r));

        if (!r)
                return NULL;
        r->env = r->plan.env = env;
        r->o = o;
        r->escrow = (struct install_escrow)INSTALL_ESCROW_INIT;
        r->name_space = -EBADF;
        return r;
}

static void run_free(struct run *r)
{
        if (!r)
                return;
        install_escrow_done(&r->escrow);
        secret_free(r->pin);
        reset_plan_done(&r->plan);
        progress_free(r->progress);
        close_p(&r->name_space);
        free(r);
}
DEFINE_CLEANUP(struct run, run_free)

static void print_help(void)
{
        (void)printf(
                "Usage: tb-agent reset [OPTION...]\n\n"
                "Makes this node like new, from its recovery entry: recovery's image becomes "
                "active, "
                "then the\n"
                "data is erased, keys first, and new empty volumes are made. Power cuts are "
                "survived: the next\n"
                "boot goes on.\n\n"
                "  --oem              erase the OEM partition, too (default: kept)\n"
                "  --partition NAME   erase this partition of the user's, too; may be given "
                "several "
                "times\n"
                "  --all              also clear the version floor, with its place in the TPM, and "
                "what the\n"
                "                     agent remembers of upgrades\n"
                "  --overwrite        write zeros to the whole of each partition; may take hours\n"
                "  --force            outside of recovery: the next boot carries the reset out; or "
                "keep\n"
                "                     partitions that the TPM did not open\n"
                "  --cancel           take such a reset back, as long as it has not begun\n"
                "  --allow-downgrade  recovery's image may be below the version floor, which is "
                "cleared then\n"
                "  --recovery-key     show a new recovery key on the terminal\n"
                "  --recovery-key-file PATH  write it to a new file\n"
                "  --no-recovery-key  make none, and do not warn\n"
                "  --pin              the new volumes open with a PIN, which is asked for now "
                "(default: when the\n"
                "                     old ones do; the same, when one that is kept has it)\n"
                "  --pin-file PATH    the same, with the PIN in a file; \"-\" for standard input\n"
                "  --no-pin           the new volumes open without\n"
                "  --certificate FILE  write what was erased, and how that was verified, to a new "
                "or\n"
                "                     empty file\n"
                "  --config FILE      cloud-config whose section reset says what is not said here\n"
                "  --use-default-dirs  also the configurations in the known folders\n"
                "  --ca FILE          PEM certificates to trust for https, instead of the "
                "system's\n"
                "  --insecure HOST    HOST[:PORT] may be spoken to without TLS; several times\n"
                "  --attempts N       tries of a step that fails for the moment\n"
                "  --yes              do not ask\n"
                "  --dry-run          show the plan, change nothing\n"
                "  --reboot           restart the node at the end\n"
                "  --poweroff         turn it off at the end\n"
                "  --wait SECONDS     wait for another agent to end (default: fail at once)\n"
                "  --progress-fd N    write progress as JSON lines to this descriptor\n"
                "  --tcti TCTI        TPM to use (default: device:/dev/tpmrm0)\n"
                "  --json             print the result as JSON\n"
                "  --help             show this text\n");
}

/* 0: go on; 1: help was shown; negative: *e is set. */
static int parse_options(int argc, char **argv, struct verb_options *o, struct error *e)
{
        const struct option_spec specs[] = {
                {"oem", OPTION_FLAG, &o->wishes.oem},
                {"partition", OPTION_LIST, &o->wishes.partitions},
                {"all", OPTION_FLAG, &o->wishes.all},
                {"overwrite", OPTION_FLAG, &o->wishes.overwrite},
                {"force", OPTION_FLAG, &o->wishes.force},
                {"allow-downgrade", OPTION_FLAG, &o->wishes.allow_downgrade},
                {"recovery-key", OPTION_FLAG, &o->escrow.show},
                {"recovery-key-file", OPTION_TEXT, &o->escrow.file},
                {"no-recovery-key", OPTION_FLAG, &o->escrow.none},
                {"pin", OPTION_FLAG, &o->pin.ask},
                {"pin-file", OPTION_TEXT, &o->pin.file},
                {"no-pin", OPTION_FLAG, &o->wishes.no_pin},
                {"certificate", OPTION_TEXT, &o->certificate},
                {"config", OPTION_LIST, &o->configs},
                {"use-default-dirs", OPTION_FLAG, &o->use_default_dirs},
                {"ca", OPTION_TEXT, &o->from.ca},
                {"insecure", OPTION_LIST, &o->from.insecure},
                {"attempts", OPTION_NUMBER, &o->from.attempts},
                {"cancel", OPTION_FLAG, &o->cancel},
                {"yes", OPTION_FLAG, &o->yes},
                {"dry-run", OPTION_FLAG, &o->dry_run},
                {"reboot", OPTION_FLAG, &o->reboot},
                {"poweroff", OPTION_FLAG, &o->power_off},
                {"wait", OPTION_NUMBER, &o->wait},
                {"progress-fd", OPTION_COUNT, &o->progress_fd},
                {"tcti", OPTION_TEXT, &o->tcti},
                {"json", OPTION_FLAG, &o->json},
        };
        int r = options_parse(argc, argv, specs, ARRAY_SIZE(specs), NULL, e);

        if (r > 0)
                print_help();
        if (r == 0)
                r = progress_check_fd(o->progress_fd, e);
        if (r == 0)
                r = install_escrow_check(&o->escrow, e);
        o->wishes.pin = o->pin.ask || o->pin.file;
        return r;
}

static void apply_config(const struct config *c, struct verb_options *o)
{
        const struct config_reset *in = &c->reset;
        bool said = o->reboot || o->power_off;

        o->wishes.persistent = in->persistent;
        o->wishes.oem = o->wishes.oem || in->oem;
        o->reboot = o->reboot || (in->reboot && !said);
        o->power_off = o->power_off || (in->poweroff && !said);
}

static int read_config(const struct env *env, struct verb_options *o, struct error *e)
{
        struct fetch_options fetch;
        const struct config_wish wish = {.sources = o->configs.item,
                                         .n_sources = o->configs.n,
                                         .known_folders = o->use_default_dirs,
                                         .fetch = &fetch};
        int r = source_check_options(&o->from, e);

        o->wishes.persistent = true;
        if (r < 0 || (o->configs.n == 0 && !o->use_default_dirs))
                return r;
        source_fetch_options(&o->from, &fetch);
        r = config_load_checked(env, &wish, &o->config, e);
        if (r == 0)
                apply_config(o->config, o);
        return r;
}

static int check_options(const struct verb_options *o, struct error *e)
{
        if (o->wishes.no_pin + o->pin.ask + (o->pin.file != NULL) > 1)
                return error_set(e, ERROR_USAGE, EINVAL,
                                 "--pin, --pin-file and --no-pin exclude each other");
        if (o->reboot && o->power_off)
                return error_set(e, ERROR_USAGE, EINVAL,
                                 "--reboot and --poweroff exclude each other");
        if (geteuid() != 0)
                return error_set(e, ERROR_PRECONDITION, EPERM, "only root can reset a node");
        return 0;
}

/* --- asking --- */

static bool is_attended(const struct verb_options *o)
{
        return !o->yes && isatty(STDIN_FILENO) && isatty(STDERR_FILENO);
}

static int confirm(const struct run *run, struct error *e)
{
        char answer[8] = "", names[512];

        if (run->o->yes)
                return 0;
        if (!is_attended(run->o)) {
                error_set(e, ERROR_USAGE, EINVAL, "there is no terminal to ask on");
                error_advise(e, "give --yes to destroy the data of this node");
                return -EINVAL;
        }
        reset_plan_names(&run->plan, names, sizeof(names));
        (void)fprintf(stderr,
                      "All data on %s of this node will be lost. Type \"yes\" to go on: ", names);
        if (!fgets(answer, sizeof(answer), stdin) || strcmp(answer, "yes\n") != 0)
                return error_set(e, ERROR_INTERRUPTED, ECANCELED,
                                 "not confirmed, nothing was changed");
        return 0;
}

/* A key that is made in the next boot would have nobody to be told to. */
static int choose_escrow(struct run *run, struct error *e)
{
        struct install_escrow_wishes wishes = run->o->escrow;

        if (!run->plan.recovery && (wishes.show || wishes.file)) {
                error_set(e, ERROR_USAGE, EINVAL,
                          "a reset in the next boot makes no recovery key: there is nobody to tell "
                          "it to");
                error_advise(e, "reset the node from its recovery entry to have one");
                return -EINVAL;
        }
        return install_escrow_choose(run->env, &wishes, run->plan.recovery && is_attended(run->o),
                                     &run->escrow, e);
}

/* Before the first change: what stays has the same, and nothing else tells whether it is right. */
static int take_pin(struct run *run, struct error *e)
{
        struct reset_plan *p = &run->plan;
        const struct install_pin_wishes wishes = {.ask = !run->o->pin.file,
                                                  .file = run->o->pin.file};
        int r;

        if (!p->journal.pin)
                return 0;
        if (!p->recovery) {
                if (!run->o->pin.file)
                        return 0;
                error_set(e, ERROR_USAGE, EINVAL,
                          "a reset in the next boot asks for the PIN itself: it is kept nowhere");
                error_advise(e, "leave --pin-file out, or reset the node from its recovery entry");
                return -EINVAL;
        }
        r = p->pin_stays ? install_pin_known(run->env, wishes.file, &run->pin, e)
                         : install_pin_read(run->env, &wishes, &run->pin, e);
        if (r == -ENOTTY)
                error_advise(e, "or make volumes without a PIN, with --no-pin");
        if (r < 0 || !p->pin_stays)
                return r;
        return reset_pin_compare(p->node, &p->journal, p->tpm, run->pin, e);
}

static void describe(const struct run *run)
{
        FILE *out = !run->o->json && run->o->dry_run ? stdout : stderr;

        /* A dry run's plan is its result; otherwise it belongs to the question. */
        if (run->o->json && (run->o->yes || run->o->dry_run))
                return;
        reset_plan_describe(&run->plan, out);
        install_escrow_describe(&run->escrow, out);
}

/* --- doing --- */

static int run_hooks(struct run *run, enum hook_event event, struct error *e)
{
        struct hook_places places = {.root = run->env->root, .folders = hook_folders};
        const struct config_hooks *own = run->o->config ? &run->o->config->reset.hooks : NULL;
        const struct config_list *list = !own                         ? NULL
                                         : event == HOOK_BEFORE_RESET ? &own->before
                                                                      : &own->after;
        char names[512], hex[SHA256_HEX_SIZE];
        struct hook_facts facts = {.target = names, .to_version = run->plan.look.version};
        unsigned n = 0;
        int r;

        if (list) {
                places.programs = list->item;
                places.n_programs = list->n;
        }
        facts.disk = run->plan.node->disk->path;
        reset_plan_names(&run->plan, names, sizeof(names));
        hex_encode(run->plan.look.sha256, SHA256_SIZE, hex);
        facts.to_sha256 = hex;
        if (event == HOOK_AFTER_RESET)
                facts.result = outcome_names[OUTCOME_RESET];
        r = hooks_run(&places, event, &facts, &n, e);
        run->hooks += n;
        return r;
}

static int on_esp(struct run *run, const struct esp *esp, struct error *e)
{
        struct reset_node node = {.env = run->env,
                                  .node = run->plan.node,
                                  .journal = &run->plan.journal,
                                  .escrow = &run->escrow,
                                  .progress = run->progress};
        struct reset_world w = {.env = run->env,
                                .esp = esp,
                                .tpm = run->plan.tpm,
                                .demands = &run->plan.machine.demands,
                                .values = run->plan.values,
                                .pin = run->pin};
        struct error error = ERROR_INIT;
        int r;

        reset_node_world(&node, &w);
        if (!run->plan.recovery) {
                r = reset_order(&w, &run->plan.journal, e);
                if (r < 0 && reset_cancel(&w, &run->plan.journal, &error) < 0)
                        log_warning("the journal stays: %s", error.text);
                return r;
        }
        r = reset_run(&w, &run->plan.journal, &run->report, e);
        if (r == 0 || !run->report.started) {
                if (r < 0 && reset_cancel(&w, &run->plan.journal, &error) < 0)
                        log_warning("the journal stays: %s", error.text);
                return r;
        }
        error_advise(e, "the data is gone: run \"tb-agent reset\" again, or restart; the next boot "
                        "goes on by itself");
        return r;
}

static int with_esp(struct run *run, int (*work)(struct run *, const struct esp *, struct error *),
                    struct error *e)
{
        struct esp esp;
        int fd, r, unmounted;

        r = node_mount_esp(run->env, run->plan.node, true, &fd, e);
        if (r < 0)
                return r;
        esp = (struct esp)ESP_INIT(fd);
        r = work(run, &esp, e);
        (void)close(fd); /* what was written is synced */
        unmounted = node_unmount_esp(run->env, r < 0 ? NULL : e);
        return r < 0 ? r : unmounted;
}

/* What is released is released for the whole session, and before the first change. */
static int prepare(struct run *run, struct error *e)
{
        int r = mount_return(run->name_space, e);

        if (r == 0)
                r = run_hooks(run, HOOK_BEFORE_RESET, e);
        if (r == 0)
                r = install_escrow_begin(&run->escrow, run->env, run->plan.node->disk, e);
        if (r == 0 && run->plan.recovery)
                r = reset_release(&run->plan, e);
        return r < 0 ? r : reset_forget(&run->plan, e);
}

/* An oem that is kept shall accept the persistent to come (partition/pair.h). */
static int part(const struct run *run, struct error *e)
{
        _cleanup_free_ char *folder = NULL;
        int r;

        if (run->o->wishes.oem)
                return 0;
        if (asprintf(&folder, "%s/" BOOT_PAIR_OEM, run->env->oem) < 0) {
                folder = NULL;
                return error_oom(e);
        }
        r = pair_forget(folder, e);
        return r < 0 ? error_wrap(e, r, "oem cannot be kept") : 0;
}

static int carry_out(struct run *run, struct error *e)
{
        struct error error = ERROR_INIT;
        int r = prepare(run, e);

        if (r == 0)
                r = part(run, e);
        if (r == 0)
                r = with_esp(run, on_esp, e);
        if (r < 0 && run->report.delivered && run->escrow.key) {
                /* It opens what was made, should the volumes be had back by hand. */
                log_warning("the recovery key that was told is of no use once the reset goes on: "
                            "it makes the volumes again");
                return r;
        }
        if (r < 0) {
                install_escrow_abandon(&run->escrow);
                return r;
        }
        run->outcome = run->plan.recovery ? OUTCOME_RESET : OUTCOME_PENDING;
        if (run->outcome == OUTCOME_RESET && run_hooks(run, HOOK_AFTER_RESET, &error) < 0) {
                log_warning("after-reset: %s", error.text);
                (void)snprintf(run->warning, sizeof(run->warning), "after-reset: %.900s",
                               error.text);
        }
        return 0;
}

static int cancel_on_esp(struct run *run, const struct esp *esp, struct error *e)
{
        struct reset_node node = {
                .env = run->env, .node = run->plan.node, .journal = &run->plan.journal};
        struct reset_world w = {.env = run->env, .esp = esp, .tpm = run->plan.tpm};
        int r = reset_journal_load(esp, NULL, &run->plan.journal, e);

        if (r == -ENOENT)
                return error_set(e, ERROR_PRECONDITION, ENOENT, "no reset is pending");
        if (r < 0)
                return r;
        reset_node_world(&node, &w);
        return reset_cancel(&w, &run->plan.journal, e);
}

static int cancel(struct run *run, struct error *e)
{
        int r = node_find_booted(run->env, &run->plan.node, e);

        if (r == 0)
                r = tpm_open(run->env->tcti, &run->plan.tpm, e);
        if (r == 0)
                r = with_esp(run, cancel_on_esp, e);
        if (r == 0)
                run->outcome = OUTCOME_CANCELLED;
        return r;
}

/* --- telling --- */

static int add_result(const struct run *run, struct json_object *root)
{
        const struct reset_plan *p = &run->plan;
        const char *warning = *run->warning ? run->warning : run->report.warning;
        int r = json_add_str(root, "result", outcome_names[run->outcome]);

        if (r == 0)
                r = json_add_bool(root, "dry_run", run->o->dry_run);
        if (r == 0)
                r = reset_plan_add_kept(p, root);
        if (r == 0)
                r = json_add_bool(root, "floor_cleared", p->clear_floor);
        if (r == 0)
                r = json_add_bool(root, "memory_cleared", p->clear_memory);
        if (r == 0)
                r = json_add_u64(root, "cleared_variables", run->report.cleared);
        if (r == 0)
                r = json_add_u64(root, "hooks", run->hooks);
        if (r == 0)
                r = json_add_str(root, "warning", *warning ? warning : NULL);
        return r < 0 ? r : install_escrow_report(&run->escrow, root);
}

static struct json_object *make_document(struct run *run)
{
        const struct reset_world w = {.disk = run->plan.node->disk};
        _cleanup_json_ struct json_object *root = NULL;

        if (run->outcome != OUTCOME_RESET)
                run->report = run->plan.look;
        root = reset_certificate(&w, &run->plan.journal, &run->report);
        return root && add_result(run, root) == 0 ? TAKE_PTR(root) : NULL;
}

/* A place that takes no file shows itself before anything is destroyed. An empty file may be what a
 * run left that went no further. */
static int open_certificate(const struct verb_options *o, int *ret, struct error *e)
{
        _cleanup_close_ int fd = -EBADF;
        struct stat st;

        if (!o->certificate || o->dry_run || o->cancel)
                return 0;
        fd = open(o->certificate, O_WRONLY | O_CREAT | O_NOFOLLOW | O_NOCTTY | O_CLOEXEC, 0600);
        if (fd < 0 || fstat(fd, &st) < 0)
                return error_set(e, ERROR_USAGE, errno, "%s: %s", o->certificate,
                                 strerrordesc_np(errno));
        if (!S_ISREG(st.st_mode) || st.st_size != 0)
                return error_set(e, ERROR_USAGE, EEXIST, "%s exists", o->certificate);
        *ret = TAKE_FD(fd);
        return 0;
}

static int write_certificate(const struct run *run, int fd, struct json_object *root,
                             struct error *e)
{
        const char *text = json_object_to_json_string_ext(
                root, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_NOSLASHESCAPE);
        int r;

        if (fd < 0)
                return 0;
        if (!text)
                return error_oom(e);
        r = file_write(fd, text, strlen(text));
        if (r == 0)
                r = file_write(fd, "\n", 1);
        if (r == 0)
                r = file_sync(fd);
        return r < 0 ? error_errno(e, -r, "%s", run->o->certificate) : 0;
}

static void print_text(const struct run *run)
{
        static const char *const words[] = {"nothing was changed", "the next boot resets this node",
                                            "this node is reset; restart it",
                                            "the reset is taken back"};

        _Static_assert(ARRAY_SIZE(words) == OUTCOME_MAX && ARRAY_SIZE(outcome_names) == OUTCOME_MAX,
                       "words for each outcome");
        for (size_t i = 0; i < run->plan.journal.n && run->outcome == OUTCOME_RESET; i++) {
                const struct erase_report *r = &run->report.volume[i].erased;

                report_text(stdout, "%-12s erased: keys overwritten and read back, data %s\n",
                            run->plan.journal.volume[i].name,
                            r->zeroed      ? "overwritten"
                            : r->discarded ? "discarded"
                                           : "left, without its key");
        }
        report_text(stdout, "%s\n", words[run->outcome]);
        if (run->escrow.place == INSTALL_ESCROW_FILE && run->outcome == OUTCOME_RESET)
                report_text(stdout, "the recovery key is in %s\n", run->escrow.path);
}

static int tell(struct run *run, int certificate, struct error *e)
{
        _cleanup_json_ struct json_object *root = make_document(run);
        int r;

        if (!root)
                return error_oom(e);
        r = write_certificate(run, certificate, root, e);
        if (r < 0)
                return r;
        if (run->o->json)
                return report_print(root, e);
        print_text(run);
        return 0;
}

/* --- together --- */

static int plan_and_do(struct run *run, struct error *e)
{
        int r = reset_plan_make(&run->plan, &run->o->wishes, e);

        if (r == 0)
                r = choose_escrow(run, e);
        if (r < 0)
                return r;
        describe(run);
        if (run->o->dry_run)
                return 0;
        r = confirm(run, e);
        if (r == 0)
                r = take_pin(run, e);
        if (r < 0)
                return r;
        run->progress = progress_open(run->o->json, run->o->progress_fd);
        return carry_out(run, e);
}

static int restart(const struct run *run, struct error *e)
{
        if (run->outcome != OUTCOME_RESET && run->outcome != OUTCOME_PENDING)
                return 0;
        if (run->o->power_off)
                return restart_power_off(run->env, e);
        return run->o->reboot ? restart_node(run->env, e) : 0;
}

static int reset(const struct env *env, const struct verb_options *o, struct error *e)
{
        _cleanup_(run_free_p) struct run *run = run_new(env, o);
        _cleanup_close_ int lock = -EBADF, certificate = -EBADF;
        int r;

        if (!run)
                return error_oom(e);
        lock = lock_take(env, "reset", o->wait, e);
        if (lock < 0)
                return lock;
        /* Who reads the messages may go away; a reset goes on. */
        (void)signal(SIGPIPE, SIG_IGN);
        r = open_certificate(o, &certificate, e);
        if (r < 0)
                return r;
        run->name_space = mount_name_space(e);
        r = run->name_space < 0 ? run->name_space : 0;
        if (r == 0)
                r = o->cancel ? cancel(run, e) : plan_and_do(run, e);
        if (r == 0)
                r = tell(run, certificate, e);
        return r < 0 ? r : restart(run, e);
}

int reset_unattended(const struct env *env, struct error *e)
{
        struct verb_options o = {.yes = true, .use_default_dirs = true, .escrow.none = true};
        int r = read_config(env, &o, e);

        o.reboot = o.power_off = false;
        if (r == 0)
                r = reset(env, &o, e);
        config_free(o.config);
        return r;
}

int verb_reset(const struct env *env, int argc, char **argv)
{
        struct verb_options o = {.certificate = NULL};
        struct error error = ERROR_INIT;
        struct env used = *env;
        int r = parse_options(argc, argv, &o, &error);

        if (r > 0)
                return 0;
        if (o.tcti)
                used.tcti = o.tcti;
        if (r == 0)
                r = read_config(&used, &o, &error);
        if (r == 0)
                r = check_options(&o, &error);
        if (r == 0)
                r = reset(&used, &o, &error);
        config_free(o.config);
        return r < 0 ? report_failure("reset", o.json, &error) : 0;
}
