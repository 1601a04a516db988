/* SPDX-License-Identifier: Apache-2.0 */
/* tb-agent enroll: the ways into this node's data, by TPM and by recovery key. */
#include "agent/enroll.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agent/lock.h"
#include "agent/machine.h"
#include "agent/report.h"
#include "agent/root.h"
#include "agent/verbs.h"

static const struct {
        const char *name;
        int (*run)(struct enroll *n, struct error *e); /* NULL: only shows */
        bool with_tpm;
} actions[] = {
        {"list", NULL, false},           {"tpm", enroll_tpm, true},
        {"pin", enroll_pin, true},       {"recovery-key", enroll_recovery_key, false},
        {"finish", enroll_finish, true}, {"drop", enroll_drop, true},
};

static void print_help(void)
{
        (void)printf(
                "Usage: tb-agent enroll list | tpm | pin | recovery-key | finish | drop "
                "[OPTION...]\n\n"
                "Shows and changes the ways into the encrypted data of this node.\n\n"
                "  list           every way in, and what it is good for at the next boot\n"
                "  tpm            seal to the TPM for the images that may start next and are of "
                "the running\n"
                "                 image's policy key: after the TPM was cleared or exchanged, or "
                "Secure\n"
                "                 Boot's keys changed\n"
                "  pin            set the PIN that each start of the node asks for, in place of "
                "one or of none;\n"
                "                 the tokens without it are removed at once\n"
                "  recovery-key   add a recovery key\n"
                "  finish         when the TPM opened this boot: remove its tokens that open "
                "nothing here,\n"
                "                 and key slots that no token names\n"
                "  drop           remove the tokens of a policy key, or a recovery key\n\n"
                "  --key-file PATH           recovery key that gives the right to \"tpm\", "
                "\"pin\" and\n"
                "                            \"recovery-key\", or that \"drop --recovery-key\" "
                "removes; \"-\" for\n"
                "                            standard input "
                "(default: ask on the terminal)\n"
                "  --pin-file PATH           pin: the new PIN; tpm: the PIN of the node, where it "
                "has one; \"-\" for\n"
                "                            standard input (default: ask on the terminal)\n"
                "  --remove                  pin: from now on there is none\n"
                "  --bind-pcrs LIST          tpm: bind to the values of these PCRs, 7 among them, "
                "in place of\n"
                "                            what is bound now; the other tokens are removed at "
                "once\n"
                "  --next VARIABLE=FILE      tpm: seal for the time after this signed write of PK, "
                "KEK, db or\n"
                "                            dbx, \"+=\" for one that appends; may be given "
                "several times\n"
                "  --policy-key KEY          tpm, pin: also for images of this policy key, here "
                "or to come;\n"
                "                            drop: its tokens. A PEM file, or the SHA-256 of a key "
                "that is "
                "here\n"
                "  --recovery-key-file PATH  recovery-key: write the new key there (default: show "
                "it)\n"
                "  --rotate                  recovery-key: remove all others afterwards\n"
                "  --recovery-key            drop: the key of --key-file\n"
                "  --force                   drop, pin, tpm --bind-pcrs: also when an image "
                "besides the running\n"
                "                            and the next one is locked out\n"
                "  --dry-run                 show what would change\n"
                "  --allow-software-tpm      accept a TPM that is a program, for tests and virtual "
                "machines\n"
                "  --tcti TCTI               TPM to use (default: device:/dev/tpmrm0)\n"
                "  --root DIR                the node's root is mounted there\n"
                "  --wait SECONDS            wait for another agent to end (default: fail at "
                "once)\n"
                "  --json                    print JSON\n"
                "  --help                    show this text\n");
}

/* --- telling --------------------------------------------------------------------------------- */

static int print_json(const struct enroll *n, struct error *e)
{
        _cleanup_json_ struct json_object *root = report_new("enroll");
        int r = json_add_str(root, "action", n->options->action);

        if (r == 0)
                r = json_add_bool(root, "dry_run", n->options->dry_run);
        if (r == 0)
                r = enroll_add_report(n, root);
        if (r == 0)
                r = json_add_str(root, "recovery_key", install_escrow_place_name(n->escrow.place));
        return r < 0 ? error_oom(e) : report_print(root, e);
}

/* Of ours: opened in this boot by a way that opens the next. */
static bool all_proven(const struct enroll *n)
{
        for (unsigned i = 0; i < n->ways.n; i++)
                if (n->ways.volume[i].volume->label &&
                    !ways_proven(&n->ways.volume[i], &n->starters))
                        return false;
        return true;
}

static void print_text(const struct enroll *n)
{
        const struct enroll_options *o = n->options;

        enroll_print(n);
        if (strcmp(o->action, "list") != 0 && n->n_changes == 0)
                report_text(stdout, "nothing to do\n");
        if (strcmp(o->action, "tpm") == 0 && n->n_changes > 0 && !o->dry_run && !all_proven(n))
                report_text(stdout, "start the node: the TPM proves it. Then \"tb-agent enroll "
                                    "finish\" removes what is stale\n");
        if (strcmp(o->action, "pin") == 0 && n->n_changes > 0 && !o->dry_run)
                report_text(stdout, o->remove ? "the node starts without a PIN\n"
                                              : "each start of the node asks for this PIN\n");
}

/* --- running --------------------------------------------------------------------------------- */

static int act(const struct env *env, const struct enroll_options *o, unsigned action,
               struct error *e)
{
        _cleanup_free_ struct enroll *n = calloc(1, sizeof(*n));
        _cleanup_close_ int lock = -EBADF;
        int r = n ? 0 : error_oom(e);

        if (r < 0)
                return r;
        enroll_init(n, env, o);
        if (geteuid() != 0)
                r = error_set(e, ERROR_PRECONDITION, EPERM, "only root can ask this");
        /* With Secure Boot off everything below would be sealed to a state that protects nothing.
         */
        if (r == 0 && actions[action].with_tpm)
                r = machine_check_secure_boot(env, e);
        if (r == 0 && actions[action].run) {
                lock = lock_take(env, "enroll", o->wait, e);
                r = lock < 0 ? lock : 0;
        }
        if (r == 0)
                r = enroll_open(n, actions[action].with_tpm, e);
        if (r == 0 && actions[action].run)
                r = actions[action].run(n, e);
        if (r == 0 && o->json)
                r = print_json(n, e);
        else if (r == 0)
                print_text(n);
        enroll_done(n);
        return r;
}

static int misuse(struct error *e, const char *text)
{
        return error_set(e, ERROR_USAGE, EINVAL, "%s", text);
}

/* Options that mean nothing for an action are mistakes: somebody expects something else of it. */
static int check_options(const struct enroll_options *o, struct error *e)
{
        bool tpm = strcmp(o->action, "tpm") == 0, drop = strcmp(o->action, "drop") == 0;
        bool key = strcmp(o->action, "recovery-key") == 0, pin = strcmp(o->action, "pin") == 0;
        bool bind = tpm && o->pcrs;

        if ((o->pin_file && !tpm && !pin) || (o->remove && !pin) || (o->pcrs && !tpm))
                return misuse(e, "--pin-file belongs to \"tpm\" and \"pin\", --remove to \"pin\", "
                                 "--bind-pcrs to \"tpm\"");
        if (o->pin_file && o->remove)
                return misuse(e, "--remove needs no PIN: the recovery key gives the right to it");
        if (o->pin_file && o->key_file && strcmp(o->pin_file, "-") == 0 &&
            strcmp(o->key_file, "-") == 0)
                return misuse(e, "standard input cannot be the recovery key and the PIN");
        if (o->next.n > 0 && !tpm)
                return misuse(e, "--next belongs to \"tpm\"");
        if (o->policy_key && !tpm && !drop && !pin)
                return misuse(e, "--policy-key belongs to \"tpm\", \"pin\" and \"drop\"");
        if ((o->rotate || o->new_key_file) && !key)
                return misuse(e, "--rotate and --recovery-key-file belong to \"recovery-key\"");
        if (o->recovery_key && !drop)
                return misuse(e, "--recovery-key belongs to \"drop\"");
        if (o->force && !drop && !pin && !bind)
                return misuse(e, "--force belongs to \"drop\", \"pin\" and --bind-pcrs");
        if (drop && (o->policy_key != NULL) == o->recovery_key)
                return misuse(e, "give --policy-key or --recovery-key: what is to be dropped");
        if (o->recovery_key && !o->key_file)
                return misuse(e, "give the recovery key that is to be dropped by --key-file");
        if (o->key_file && !tpm && !key && !pin && !o->recovery_key)
                return misuse(e, "--key-file is of no use here");
        return 0;
}

/* 0: go on; 1: help was shown; negative: *e is set. */
static int parse_options(int argc, char **argv, struct enroll_options *o, unsigned *ret_action,
                         struct error *e)
{
        const struct option_spec specs[] = {
                {"key-file", OPTION_TEXT, &o->key_file},
                {"policy-key", OPTION_TEXT, &o->policy_key},
                {"recovery-key-file", OPTION_TEXT, &o->new_key_file},
                {"pin-file", OPTION_TEXT, &o->pin_file},
                {"remove", OPTION_FLAG, &o->remove},
                {"bind-pcrs", OPTION_TEXT, &o->pcrs},
                {"next", OPTION_LIST, &o->next},
                {"rotate", OPTION_FLAG, &o->rotate},
                {"recovery-key", OPTION_FLAG, &o->recovery_key},
                {"force", OPTION_FLAG, &o->force},
                {"dry-run", OPTION_FLAG, &o->dry_run},
                {"allow-software-tpm", OPTION_FLAG, &o->allow_software_tpm},
                {"tcti", OPTION_TEXT, &o->tcti},
                {"root", OPTION_TEXT, &o->root},
                {"wait", OPTION_NUMBER, &o->wait},
                {"json", OPTION_FLAG, &o->json},
        };
        int r;

        o->action = options_action(&argc, &argv);
        r = options_parse(argc, argv, specs, ARRAY_SIZE(specs), NULL, e);
        if (r > 0)
                print_help();
        if (r != 0)
                return r;
        for (unsigned i = 0; i < ARRAY_SIZE(actions) && o->action; i++) {
                if (strcmp(o->action, actions[i].name) == 0) {
                        *ret_action = i;
                        return check_options(o, e);
                }
        }
        r = error_set(e, ERROR_USAGE, EINVAL, "%s%s",
                      o->action ? "unknown action " : "an action is missing",
                      o->action ? o->action : "");
        error_advise(e, "give one of list, tpm, pin, recovery-key, finish, drop");
        return r;
}

int verb_enroll(const struct env *env, int argc, char **argv)
{
        struct enroll_options options = {.action = NULL};
        struct error error = ERROR_INIT;
        _cleanup_(root_done) struct root root = {.n = 0};
        unsigned action = 0;
        int r = parse_options(argc, argv, &options, &action, &error);

        if (r > 0)
                return 0;
        if (r == 0)
                r = root_make(env, options.root, options.tcti, &root, &error);
        if (r == 0)
                r = act(&root.env, &options, action, &error);
        return r < 0 ? report_failure("enroll", options.json, &error) : 0;
}
