/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tb-agent secureboot: the key variables of the firmware, and signed changes of them. A change is
 * written only when the node will start after it, and will unlock its data by itself: the images
 * and the boot loader are judged by the keys to come, and the data is sealed for the state to come,
 * beside what it is sealed to now.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agent/enroll.h"
#include "agent/lock.h"
#include "agent/machine.h"
#include "agent/report.h"
#include "agent/root.h"
#include "agent/verbs.h"
#include "base/limits.h"
#include "base/log.h"

struct secureboot_options {
        struct enroll_options enroll; /* next: the changes */
        bool no_enroll;
        const char *action;
};

struct secureboot {
        const struct secureboot_options *options;
        struct enroll *n;
        struct keyset now, next;
        struct keyset_change *changes;
        size_t n_changes;
        bool written[KEYSET_MAX];
};

static void print_help(void)
{
        (void)printf(
                "Usage: tb-agent secureboot list | update CHANGE... [OPTION...]\n\n"
                "Shows the firmware's Secure Boot keys, and carries signed changes of them out.\n\n"
                "  list    what PK, KEK, db and dbx hold\n"
                "  update  when the node will start and unlock after it, writes each CHANGE in "
                "this order:\n"
                "          VARIABLE=FILE replaces, VARIABLE+=FILE appends; FILE is a signed write "
                "(.auth)\n\n"
                "  --key-file PATH       recovery key, needed where the data has to be sealed for "
                "the keys to\n"
                "                        come; \"-\" for standard input (default: ask on the "
                "terminal)\n"
                "  --policy-key KEY      seal also for images of this policy key, besides that of "
                "the running\n"
                "                        image: a PEM file, or the SHA-256 of a key that is here\n"
                "  --pin-file PATH       the PIN of the node, where sealing needs it; \"-\" for "
                "standard input\n"
                "                        (default: ask on the terminal)\n"
                "  --no-enroll           do not seal: the next boot asks for the recovery key\n"
                "  --force               also when an image or a boot loader will not start any "
                "more, as long\n"
                "                        as something does\n"
                "  --dry-run             show what would change\n"
                "  --allow-software-tpm  accept a TPM that is a program, for tests and virtual "
                "machines\n"
                "  --tcti TCTI           TPM to use (default: device:/dev/tpmrm0)\n"
                "  --root DIR            the node's root is mounted there\n"
                "  --wait SECONDS        wait for another agent to end (default: fail at once)\n"
                "  --json                print JSON\n"
                "  --help                show this text\n");
}

/* --- would it start? ------------------------------------------------------------------------- */

static int add_casualty(struct buf *out, const char *what, const char *roles,
                        const struct error *why)
{
        return buf_printf(out, "%s%s%s%s%s: %.200s", out->len > 0 ? "; " : "", what,
                          *roles ? " (" : "", roles, *roles ? ")" : "", why->text);
}

/* A boot loader that firmware will refuse. Another program at its path (shim), or none, is nothing
 * that can be judged here. */
static bool is_refused(const struct error *loader)
{
        return loader->class == ERROR_SIGNATURE || loader->class == ERROR_REVOKED;
}

/* Appends what will not start. *ret_survives: something of each kind does. */
static int find_casualties(const struct starters *s, struct buf *out, bool *ret_survives)
{
        bool image = false;
        int r = 0;

        if (is_refused(&s->loader_error))
                r = add_casualty(out, "boot loader", "", &s->loader_error);
        if (r == 0 && is_refused(&s->fallback_error))
                r = add_casualty(out, "boot loader at the fallback path", "", &s->fallback_error);
        for (unsigned i = 0; i < s->n && r == 0; i++) {
                const struct starter *item = &s->item[i];
                char roles[STARTERS_ROLES_SIZE];

                image = image || item->image;
                starters_roles(item, roles);
                if (!item->image)
                        r = add_casualty(out, item->file, roles, &item->error);
        }
        *ret_survives = image && !(is_refused(&s->loader_error) && is_refused(&s->fallback_error));
        return r;
}

static int check_start(struct secureboot *b, struct error *e)
{
        _cleanup_(buf_done) struct buf lost = BUF_INIT(4000);
        bool survives;

        if (find_casualties(&b->n->starters, &lost, &survives) < 0)
                return error_oom(e);
        if (lost.len == 0)
                return 0;
        if (survives && b->options->enroll.force) {
                enroll_warn(b->n, "will not start any more: %.200s", buf_str(&lost));
                return 0;
        }
        error_set(e, ERROR_REVOKED, EKEYREVOKED, "after this change the firmware refuses: %s",
                  buf_str(&lost));
        error_advise(e, survives ? "upgrade to an image that the keys to come accept (tb-agent "
                                   "upgrade --all), or insist with --force"
                                 : "nothing of this node would start: upgrade first");
        return -EKEYREVOKED;
}

/* --- what changes ---------------------------------------------------------------------------- */

static int fill_set(const struct keychange *k, bool next, struct keyset *ret, struct error *e)
{
        int r = 0;

        for (unsigned i = 0; i < KEYSET_MAX && r == 0; i++) {
                struct keyset_item *item = &ret->item[i];
                const struct buf *lists = next ? &k->item[i].next : &k->item[i].now;

                item->given = true;
                item->raw = (struct buf)BUF_INIT(LIMIT_EFI_VARIABLE);
                item->db = sigdb_new();
                if (!item->db || buf_add(&item->raw, lists->data, lists->len) < 0)
                        return error_oom(e);
                r = sigdb_add_lists(item->db, lists->data, lists->len,
                                    keyset_name((enum keyset_variable)i), e);
        }
        return r;
}

static int compare(struct secureboot *b, struct error *e)
{
        int r = fill_set(&b->n->keys, false, &b->now, e);

        if (r == 0)
                r = fill_set(&b->n->keys, true, &b->next, e);
        if (r == 0 && keyset_compare(&b->now, &b->next, &b->changes, &b->n_changes) < 0)
                r = error_oom(e);
        return r;
}

/* --- telling --------------------------------------------------------------------------------- */

static int add_entries(struct json_object *root, const struct keyset *k)
{
        struct json_object *array = json_object_new_array();
        int r = json_add_obj(root, "keys", array);

        for (unsigned i = 0; i < KEYSET_MAX; i++) {
                const struct sigdb_entry *entry;

                for (size_t at = 0; r == 0 && (entry = sigdb_at(k->item[i].db, at)); at++) {
                        struct json_object *o = json_object_new_object();
                        char text[KEYSET_TEXT_SIZE];

                        keyset_describe(entry, text);
                        r = json_append(array, o);
                        if (r == 0)
                                r = json_add_str(o, "variable",
                                                 keyset_name((enum keyset_variable)i));
                        if (r == 0)
                                r = json_add_str(o, "entry", text);
                }
        }
        return r;
}

static int add_changes(struct json_object *root, const struct secureboot *b)
{
        struct json_object *array = json_object_new_array(), *written = json_object_new_array();
        int r = json_add_obj(root, "key_changes", array);

        if (json_add_obj(root, "written", written) < 0)
                r = -ENOMEM;
        for (size_t i = 0; i < b->n_changes && r == 0; i++) {
                struct json_object *o = json_object_new_object();
                char text[KEYSET_TEXT_SIZE];

                keyset_describe(b->changes[i].entry, text);
                r = json_append(array, o);
                if (r == 0)
                        r = json_add_str(o, "variable", keyset_name(b->changes[i].variable));
                if (r == 0)
                        r = json_add_str(o, "change", b->changes[i].added ? "added" : "removed");
                if (r == 0)
                        r = json_add_str(o, "entry", text);
        }
        for (unsigned i = 0; i < KEYSET_MAX && r == 0; i++)
                if (b->written[i])
                        r = json_append(written,
                                        json_new_str(keyset_name((enum keyset_variable)i)));
        return r;
}

static int print_json(const struct secureboot *b, struct error *e)
{
        _cleanup_json_ struct json_object *root = report_new("secureboot");
        int r = json_add_str(root, "action", "update");

        if (r == 0)
                r = json_add_bool(root, "dry_run", b->options->enroll.dry_run);
        if (r == 0)
                r = add_changes(root, b);
        if (r == 0)
                r = enroll_add_report(b->n, root);
        return r < 0 ? error_oom(e) : report_print(root, e);
}

static void print_text(const struct secureboot *b)
{
        bool any = false;

        for (size_t i = 0; i < b->n_changes; i++) {
                char text[KEYSET_TEXT_SIZE];

                keyset_describe(b->changes[i].entry, text);
                report_text(stdout, "%s %-3s %s\n", b->changes[i].added ? "new " : "lost",
                            keyset_name(b->changes[i].variable), text);
        }
        enroll_print(b->n);
        for (unsigned i = 0; i < KEYSET_MAX; i++) {
                if (b->written[i])
                        report_text(stdout, "%s is written\n",
                                    keyset_name((enum keyset_variable)i));
                any = any || b->written[i];
        }
        if (any)
                report_text(stdout, "start the node, then run \"tb-agent enroll finish\"\n");
        else if (!b->options->enroll.dry_run)
                report_text(stdout, "nothing to do\n");
}

/* --- list ------------------------------------------------------------------------------------ */

static int list(const struct env *env, bool json, struct error *e)
{
        _cleanup_(keyset_done) struct keyset k = {0};
        _cleanup_json_ struct json_object *root = NULL;
        int r = keyset_read(env, &k, e);

        if (r < 0)
                return r;
        if (json) {
                root = report_new("secureboot");
                if (json_add_str(root, "action", "list") < 0 || add_entries(root, &k) < 0)
                        return error_oom(e);
                return report_print(root, e);
        }
        for (unsigned i = 0; i < KEYSET_MAX; i++) {
                const struct sigdb_entry *entry;

                for (size_t at = 0; (entry = sigdb_at(k.item[i].db, at)); at++) {
                        char text[KEYSET_TEXT_SIZE];

                        keyset_describe(entry, text);
                        report_text(stdout, "%-3s %s\n", keyset_name((enum keyset_variable)i),
                                    text);
                }
        }
        return 0;
}

/* --- update ---------------------------------------------------------------------------------- */

static int change(struct secureboot *b, struct error *e)
{
        int r = compare(b, e);

        if (r < 0 || !keychange_differs(&b->n->keys))
                return r;
        r = check_start(b, e);
        if (r == 0 && b->options->no_enroll)
                enroll_warn(b->n, "not sealed for the keys to come: the next boot may ask for the "
                                  "recovery key");
        else if (r == 0)
                r = enroll_tpm(b->n, e);
        if (r < 0 || b->options->enroll.dry_run)
                return r;
        r = keychange_write(b->n->env, &b->n->keys, b->written, e);
        if (r < 0)
                error_advise(e,
                             "what was sealed for the change is left beside the rest: \"tb-agent "
                             "enroll finish\" removes it");
        return r;
}

static int update(const struct env *env, const struct secureboot_options *o, struct error *e)
{
        _cleanup_free_ struct enroll *n = calloc(1, sizeof(*n));
        _cleanup_close_ int lock = -EBADF;
        struct secureboot b = {.options = o, .n = n};
        int r = n ? machine_check_secure_boot(env, e) : error_oom(e);

        if (r < 0)
                return r;
        enroll_init(n, env, &o->enroll);
        lock = lock_take(env, "secureboot", o->enroll.wait, e);
        r = lock < 0 ? lock : enroll_open(n, true, e);
        if (r == 0)
                r = change(&b, e);
        if (r == 0 && o->enroll.json)
                r = print_json(&b, e);
        else if (r == 0)
                print_text(&b);
        free(b.changes);
        keyset_done(&b.now);
        keyset_done(&b.next);
        enroll_done(n);
        return r;
}

/* 0: go on; 1: help was shown; negative: *e is set. */
static int parse_options(int argc, char **argv, struct secureboot_options *o, struct error *e)
{
        const struct option_spec specs[] = {
                {"", OPTION_LIST, &o->enroll.next},
                {"key-file", OPTION_TEXT, &o->enroll.key_file},
                {"policy-key", OPTION_TEXT, &o->enroll.policy_key},
                {"pin-file", OPTION_TEXT, &o->enroll.pin_file},
                {"no-enroll", OPTION_FLAG, &o->no_enroll},
                {"force", OPTION_FLAG, &o->enroll.force},
                {"dry-run", OPTION_FLAG, &o->enroll.dry_run},
                {"allow-software-tpm", OPTION_FLAG, &o->enroll.allow_software_tpm},
                {"tcti", OPTION_TEXT, &o->enroll.tcti},
                {"root", OPTION_TEXT, &o->enroll.root},
                {"wait", OPTION_NUMBER, &o->enroll.wait},
                {"json", OPTION_FLAG, &o->enroll.json},
        };
        bool updates;
        int r;

        o->action = options_action(&argc, &argv);
        r = options_parse(argc, argv, specs, ARRAY_SIZE(specs), NULL, e);
        if (r > 0)
                print_help();
        if (r != 0)
                return r;
        updates = o->action && strcmp(o->action, "update") == 0;
        if (!updates && !(o->action && strcmp(o->action, "list") == 0)) {
                r = error_set(e, ERROR_USAGE, EINVAL, "%s%s",
                              o->action ? "unknown action " : "an action is missing",
                              o->action ? o->action : "");
                error_advise(e, "give one of list, update CHANGE...");
        } else if (updates != (o->enroll.next.n > 0)) {
                r = error_set(e, ERROR_USAGE, EINVAL,
                              updates ? "a change is missing" : "list takes no change");
                error_advise(e, "e.g. \"tb-agent secureboot update db+=new.auth\"");
        }
        return r;
}

int verb_secureboot(const struct env *env, int argc, char **argv)
{
        struct secureboot_options options = {.action = NULL};
        struct error error = ERROR_INIT;
        _cleanup_(root_done) struct root root = {.n = 0};
        int r = parse_options(argc, argv, &options, &error);

        if (r > 0)
                return 0;
        if (r == 0)
                r = root_make(env, options.enroll.root, options.enroll.tcti, &root, &error);
        if (r == 0 && strcmp(options.action, "list") == 0)
                r = list(&root.env, options.enroll.json, &error);
        else if (r == 0 && geteuid() != 0)
                r = error_set(&error, ERROR_PRECONDITION, EPERM, "only root can change this");
        else if (r == 0)
                r = update(&root.env, &options, &error);
        return r < 0 ? report_failure("secureboot", options.enroll.json, &error) : 0;
}
