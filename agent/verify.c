/* SPDX-License-Identifier: Apache-2.0 */
/* tb-agent verify: would this image boot and unlock here? Changes nothing (design, section 8). */
#include <stdio.h>
#include <string.h>

#include "agent/machine.h"
#include "agent/options.h"
#include "agent/report.h"
#include "agent/source.h"
#include "agent/verbs.h"
#include "base/codec.h"

struct verify_options {
        struct machine_options machine;
        const char *source, *tcti;
        bool json;
};

static void print_help(void)
{
        (void)printf("Usage: tb-agent verify SOURCE [OPTION...]\n\n"
                     "Proves that an image will boot and unlock on this machine; changes nothing.\n"
                     "SOURCE is dir:PATH or file:PATH.\n\n"
                     "  --db FILE          key database instead of this machine's (.esl, .auth, "
                     "DER or PEM);\n"
                     "                     may be given several times\n"
                     "  --dbx FILE         revocations, likewise\n"
                     "  --policy-key FILE  PEM public key instead of those this machine's disk is "
                     "sealed to\n"
                     "  --allow-downgrade  accept an image below the version floor\n"
                     "  --tcti TCTI        TPM to use (default: device:/dev/tpmrm0)\n"
                     "  --json             print the proofs as JSON\n"
                     "  --help             show this text\n");
}

/* 0: go on; 1: help was shown; negative: *e is set. */
static int parse_options(int argc, char **argv, struct verify_options *o, struct error *e)
{
        const struct option_spec specs[] = {
                {"db", OPTION_LIST, &o->machine.db},
                {"dbx", OPTION_LIST, &o->machine.dbx},
                {"policy-key", OPTION_TEXT, &o->machine.policy_key},
                {"allow-downgrade", OPTION_FLAG, &o->machine.allow_downgrade},
                {"tcti", OPTION_TEXT, &o->tcti},
                {"json", OPTION_FLAG, &o->json},
        };
        int r = options_parse(argc, argv, specs, ARRAY_SIZE(specs), &o->source, e);

        if (r > 0)
                print_help();
        else if (r == -ENODATA)
                error_advise(e, "give a source: dir:PATH or file:PATH");
        return r;
}

static void print_text(const struct proofs *proofs)
{
        for (unsigned i = 0; i < PROOF_MAX; i++) {
                const struct proof *p = &proofs->item[i];

                report_text(stdout, "%-14s  %-13s  %s\n", proof_state_name(p->state),
                            proof_name((enum proof_id)i), p->text);
                if (*p->advice)
                        report_text(stdout, "%31s%s\n", "", p->advice);
        }
}

/* Proofs of the machine that could not be asked for, as a list of names; "" when all were given. */
static int list_unknown(const struct machine *machine, const struct proofs *proofs, struct buf *out)
{
        static const enum proof_id of_machine[] = {PROOF_SBAT, PROOF_POLICY_KEY, PROOF_PCR7,
                                                   PROOF_VERSION};
        int r = 0;

        for (size_t i = 0; machine->demands.elsewhere && i < ARRAY_SIZE(of_machine) && r == 0;
             i++) {
                if (proofs->item[of_machine[i]].state == PROOF_NOT_APPLICABLE)
                        r = buf_printf(out, "%s%s", out->len > 0 ? ", " : "",
                                       proof_name(of_machine[i]));
        }
        return r;
}

/* With the error when the image was refused (NULL: accepted), so that one document says everything.
 */
static int print_json(const struct proofs *proofs, const struct source *source,
                      const struct error *refusal, struct error *e)
{
        _cleanup_json_ struct json_object *root = report_new("verify");
        char hex[SHA256_HEX_SIZE];
        int r = json_add_bool(root, "accepted", !refusal);

        if (r == 0)
                r = json_add_obj(root, "proofs", proofs_json(proofs));
        if (r == 0 && refusal)
                r = report_add_error(root, refusal);
        if (r == 0 && source->image) {
                hex_encode(image_sha256(source->image), SHA256_SIZE, hex);
                r = json_add_str(root, "sha256", hex);
        }
        return r < 0 ? error_oom(e) : report_print(root, e);
}

static int verify(const struct env *env, const struct verify_options *o)
{
        _cleanup_(source_done) struct source source = SOURCE_INIT;
        _cleanup_(machine_done) struct machine machine = {0};
        _cleanup_(buf_done) struct buf unknown = BUF_INIT(256);
        _cleanup_free_ struct proofs *proofs = calloc(1, sizeof(*proofs));
        struct error error = ERROR_INIT, output = ERROR_INIT;
        int r = proofs ? machine_read(env, &o->machine, &machine, &error) : error_oom(&error);

        if (r == 0)
                r = source_open(o->source, &machine.demands, false, proofs, &source, &error);
        /* No proof was tried: the source or this machine could not be read. */
        if (r < 0 && (!proofs || proofs->item[PROOF_FORMAT].state == PROOF_NOT_REACHED))
                return report_failure("verify", o->json, &error);
        if (o->json) {
                if (print_json(proofs, &source, r < 0 ? &error : NULL, &output) < 0)
                        return report_failure("verify", true, &output);
                return r < 0 ? error_exit_code(error.class) : 0;
        }
        print_text(proofs);
        if (r < 0)
                return report_failure("verify", false, &error);
        if (list_unknown(&machine, proofs, &unknown) < 0)
                return report_failure("verify", false, (error_oom(&error), &error));
        if (unknown.len > 0)
                report_text(stdout, "accepted as far as it can be known here, which is not: %s\n",
                            buf_str(&unknown));
        else
                report_text(stdout, "accepted: this image will boot and unlock here\n");
        return 0;
}

int verb_verify(const struct env *env, int argc, char **argv)
{
        struct verify_options options = {0};
        struct error error = ERROR_INIT;
        struct env used = *env;
        int r = parse_options(argc, argv, &options, &error);

        if (r > 0)
                return 0;
        if (r < 0)
                return report_failure("verify", options.json, &error);
        if (options.tcti)
                used.tcti = options.tcti;
        return verify(&used, &options);
}
