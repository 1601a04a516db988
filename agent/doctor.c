/* SPDX-License-Identifier: Apache-2.0 */
/* tb-agent doctor: what is wrong with this node, and what to do about it. Changes nothing. */
#include "agent/doctor.h"

#include <stdio.h>
#include <unistd.h>

#include "agent/options.h"
#include "agent/report.h"
#include "agent/root.h"
#include "agent/verbs.h"

struct doctor_options {
        const char *disk, *root, *tcti;
        bool json;
};

static const char *area_title(enum doctor_area a)
{
        static const char *const titles[DOCTOR_AREA_MAX] = {
                [DOCTOR_TPM] = "TPM",
                [DOCTOR_MEASUREMENTS] = "Measurements of the firmware",
                [DOCTOR_DATA] = "Encrypted data",
                [DOCTOR_ESP] = "EFI system partition",
                [DOCTOR_ENTRIES] = "Boot entries",
                [DOCTOR_FIRMWARE] = "Firmware",
                [DOCTOR_MEMORY] = "Operations and file systems"};

        return titles[a];
}

static void print_finding(const struct doctor_finding *f)
{
        report_text(stdout, "  %-8s %s%s%s\n", doctor_severity_name(f->severity), f->subject,
                    *f->subject ? ": " : "", f->text);
        if (*f->advice && f->severity > DOCTOR_OK)
                report_text(stdout, "           -> %s\n", f->advice);
}

static void print_text(const struct doctor_list *l)
{
        unsigned problems = doctor_count(l, DOCTOR_PROBLEM);

        for (unsigned a = 0; a < DOCTOR_AREA_MAX; a++) {
                report_text(stdout, "%s\n", area_title((enum doctor_area)a));
                for (size_t i = 0; i < l->n; i++) {
                        if (l->item[i].area == (enum doctor_area)a)
                                print_finding(&l->item[i]);
                }
        }
        report_text(stdout, "%u problem%s, %u warnings, %u notes%s\n", problems,
                    problems == 1 ? "" : "s", doctor_count(l, DOCTOR_WARNING),
                    doctor_count(l, DOCTOR_NOTE),
                    l->incomplete ? "; not all findings are shown" : "");
}

static void judge(struct doctor *d)
{
        if (geteuid() != 0)
                (void)doctor_add(&d->list, DOCTOR_MEMORY, DOCTOR_WARNING, "not-root", NULL,
                                 "run this as root",
                                 "only root can look at TPM, disks and the boot partition");
        doctor_tpm(d);
        doctor_events(d);
        doctor_data(d);
        doctor_esp(d);
        doctor_entries(d);
        doctor_firmware(d);
        doctor_memory(d);
}

static int print_json(const struct doctor *d, struct error *e)
{
        _cleanup_json_ struct json_object *root = report_new("doctor");
        int r = json_add_str(root, "role", *d->role ? d->role : NULL);

        if (r == 0)
                r = json_add_str(root, "disk", d->node ? d->node->disk->path : NULL);
        if (r == 0)
                r = doctor_json(&d->list, root);
        return r < 0 ? error_oom(e) : report_print(root, e);
}

/* The exit code, or negative. */
static int run(const struct env *env, const struct doctor_options *o, struct error *e)
{
        _cleanup_free_ struct doctor *d = calloc(1, sizeof(*d));
        int r = 0, rc;

        if (!d)
                return error_oom(e);
        doctor_look(d, env, o->disk);
        judge(d);
        if (o->json)
                r = print_json(d, e);
        else
                print_text(&d->list);
        rc = doctor_count(&d->list, DOCTOR_PROBLEM) > 0 ? error_exit_code(ERROR_PRECONDITION) : 0;
        doctor_done(d);
        return r < 0 ? r : rc;
}

static void print_help(void)
{
        (void)printf(
                "Usage: tb-agent doctor [OPTION...]\n\n"
                "Looks at everything that a node needs to start and to open its data, tells what "
                "is wrong and\n"
                "what to do about it: TPM, measurements, tokens, boot partition, entries, "
                "firmware. Changes nothing.\n"
                "Exit status 10 when there is a problem.\n\n"
                "  --disk DISK  the node's disk, in a live session (default: the one this system "
                "was started\n"
                "               from; in a live session the only disk with a node)\n"
                "  --root DIR   the node's root is mounted there\n"
                "  --tcti TCTI  TPM to use (default: device:/dev/tpmrm0)\n"
                "  --json       print a JSON document\n"
                "  --help       show this text\n");
}

int verb_doctor(const struct env *env, int argc, char **argv)
{
        struct doctor_options o = {.disk = NULL};
        _cleanup_(root_done) struct root root = {.n = 0};
        struct error error = ERROR_INIT;
        const struct option_spec specs[] = {{"disk", OPTION_TEXT, &o.disk},
                                            {"root", OPTION_TEXT, &o.root},
                                            {"tcti", OPTION_TEXT, &o.tcti},
                                            {"json", OPTION_FLAG, &o.json}};
        int r = options_parse(argc, argv, specs, ARRAY_SIZE(specs), NULL, &error);

        if (r > 0) {
                print_help();
                return 0;
        }
        if (r == 0)
                r = root_make(env, o.root, o.tcti, &root, &error);
        if (r == 0)
                r = run(&root.env, &o, &error);
        return r < 0 ? report_failure("doctor", o.json, &error) : r;
}
