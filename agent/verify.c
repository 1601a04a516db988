/* SPDX-License-Identifier: Apache-2.0 */
/* tb-agent verify: would this image boot and unlock here? Changes nothing (design, section 8). */
#include <stdio.h>
#include <string.h>

#include "agent/machine.h"
#include "agent/options.h"
#include "agent/report.h"
#include "agent/root.h"
#include "agent/source_options.h"
#include "agent/stop.h"
#include "agent/verbs.h"
#include "base/codec.h"
#include "base/file.h"
#include "base/log.h"
#include "upgrade/bootloader.h"
#include "upgrade/source_name.h"

struct verify_options {
        struct machine_options machine;
        struct source_options from;
        const char *source, *tcti, *root;
        bool json;
};

static void print_help(void)
{
        (void)printf("Usage: tb-agent verify SOURCE [OPTION...]\n\n"
                     "Proves that an image will boot and unlock on this machine; changes nothing.\n"
                     "SOURCE is oci:REGISTRY/NAME[:TAG][@DIGEST], http(s)://..., ocifile:TAR, "
                     "dir:PATH or file:PATH.\n\n"
                     "  --db FILE          key database instead of this machine's (.esl, .auth, "
                     "DER or PEM);\n"
                     "                     may be given several times\n"
                     "  --dbx FILE         revocations, likewise\n"
                     "  --policy-key FILE  PEM public key instead of those this machine's disk is "
                     "sealed to\n"
                     "  --allow-downgrade  accept an image below the version floor\n"
                     "  --tcti TCTI        TPM to use (default: device:/dev/tpmrm0)\n"
                     "  --root DIR         the node's root is mounted there\n"
                     "  --json             print the proofs as JSON\n"
                     "  --help             show this text\n"
                     "%s",
                     source_help);
}

/* 0: go on; 1: help was shown; negative: *e is set. */
static int parse_options(int argc, char **argv, struct verify_options *o, struct error *e)
{
        const struct option_spec own[] = {
                {"db", OPTION_LIST, &o->machine.db},
                {"dbx", OPTION_LIST, &o->machine.dbx},
                {"policy-key", OPTION_TEXT, &o->machine.policy_key},
                {"allow-downgrade", OPTION_FLAG, &o->machine.allow_downgrade},
                {"tcti", OPTION_TEXT, &o->tcti},
                {"root", OPTION_TEXT, &o->root},
                {"json", OPTION_FLAG, &o->json},
        };
        struct option_spec specs[ARRAY_SIZE(own) + SOURCE_SPECS];
        int r;

        memcpy(specs, own, sizeof(own));
        source_specs(&o->from, specs + ARRAY_SIZE(own));
        r = options_parse(argc, argv, specs, ARRAY_SIZE(specs), &o->source, e);
        if (r > 0)
                print_help();
        else if (r == -ENODATA)
                error_advise(e, "give a source, e.g. oci:REGISTRY/NAME:TAG or file:PATH");
        if (r == 0)
                r = source_check_options(&o->from, e);
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
static int print_json(const struct proofs *proofs, const struct verified_image *image,
                      const struct error *refusal, struct error *e)
{
        _cleanup_json_ struct json_object *root = report_new("verify");
        char hex[SHA256_HEX_SIZE];
        int r = json_add_bool(root, "accepted", !refusal);

        if (r == 0)
                r = json_add_obj(root, "proofs", proofs_json(proofs));
        if (r == 0 && refusal)
                r = report_add_error(root, refusal);
        if (r == 0 && image) {
                hex_encode(image_sha256(image), SHA256_SIZE, hex);
                r = json_add_str(root, "sha256", hex);
        }
        return r < 0 ? error_oom(e) : report_print(root, e);
}

/* --- the image, as a stream --- */

/* Pushes until the end, or until nothing can change a proof any more: what is no USI is read on for
 * its signature. */
static int read_image(struct fetch *f, struct image_reader *reader, struct error *e)
{
        _cleanup_free_ uint8_t *chunk = malloc(FILE_CHUNK);
        ssize_t n = 1;
        int r = chunk ? 0 : error_oom(e);

        while (r == 0 && n > 0 && !image_reader_settled(reader)) {
                n = fetch_read(f, chunk, FILE_CHUNK, e);
                if (n < 0)
                        return (int)n;
                if (n > 0)
                        r = image_reader_push(reader, chunk, (size_t)n, e);
        }
        return r;
}

/* Bytes that turned out to be wrong are asked for somewhere else, as long as there is somewhere. */
static int stream_image(struct fetch *f, const struct image_demands *demands, struct proofs *proofs,
                        struct verified_image **ret, struct error *e)
{
        for (;;) {
                _cleanup_(image_reader_free_p) struct image_reader *reader = NULL;
                int r = image_reader_new(NULL, &reader, e);

                if (r == 0)
                        r = fetch_begin(f, 0, e);
                if (r == 0)
                        r = read_image(f, reader, e);
                if (r == 0)
                        return image_reader_finish(reader, -EBADF, demands, proofs, ret, e);
                if (!fetch_again(f))
                        return r;
                log_warning("%s: trying another place", e->text);
                error_clear(e);
        }
}

/* The boot loader that comes with it has to give the same proof to the firmware as the image. */
static int verify_loader(const struct buf *bytes, const struct image_demands *demands,
                         struct proofs *proofs, struct error *e)
{
        _cleanup_(bootloader_done) struct bootloader loader = {.image = BUF_INIT(0)};
        _cleanup_(buf_done) struct buf why = BUF_INIT(1024);
        struct error error = ERROR_INIT;
        int r;

        if (!bytes)
                return 0;
        r = bootloader_take(bytes, &loader, &error);
        if (r == 0)
                r = bootloader_verify(&loader, demands->db, demands->dbx, &why, &error);
        if (r == 0 &&
            bootloader_check_pcr7(&loader, demands->db, demands->dbx, demands->log, &error) < 0) {
                proof_set(proofs, PROOF_LOADER, PROOF_WARNING, "%.400s; an upgrade leaves it out",
                          error.text);
                return 0;
        }
        if (r == 0) {
                proof_set(proofs, PROOF_LOADER, PROOF_PASSED, "systemd-boot %s: %s", loader.version,
                          buf_str(&why));
                return 0;
        }
        proof_fail(proofs, PROOF_LOADER, ERROR_NONE, &error);
        *e = error;
        return r;
}

static int verify_source(const struct verify_options *o, const struct image_demands *demands,
                         struct proofs *proofs, struct verified_image **ret, struct error *e)
{
        _cleanup_(source_name_done) struct source_name name = {.text = NULL};
        _cleanup_(fetch_free_p) struct fetch *f = NULL;
        const struct fetch_info *info;
        struct fetch_options options;
        int r;

        source_fetch_options(&o->from, &options);
        options.want_loader = true;
        r = source_name_parse(o->source, &name, e);
        if (r == 0)
                r = fetch_open(&name, &options, &f, e);
        if (r == 0)
                r = fetch_resolve(f, &info, e);
        if (r == 0)
                r = stream_image(f, demands, proofs, ret, e);
        return r < 0 ? r : verify_loader(fetch_loader(f), demands, proofs, e);
}

static int verify(const struct env *env, const struct verify_options *o)
{
        _cleanup_(image_free_p) struct verified_image *image = NULL;
        _cleanup_(machine_done) struct machine machine = {0};
        _cleanup_(buf_done) struct buf unknown = BUF_INIT(256);
        _cleanup_free_ struct proofs *proofs = calloc(1, sizeof(*proofs));
        struct error error = ERROR_INIT, output = ERROR_INIT;
        int r = proofs ? stop_prepare(&error) : error_oom(&error);

        if (r == 0)
                r = machine_read(env, &o->machine, &machine, &error);
        if (r == 0)
                r = verify_source(o, &machine.demands, proofs, &image, &error);
        /* No proof was tried: the source or this machine could not be read. */
        if (r < 0 && (!proofs || proofs->item[PROOF_FORMAT].state == PROOF_NOT_REACHED))
                return report_failure("verify", o->json, &error);
        if (o->json) {
                if (print_json(proofs, image, r < 0 ? &error : NULL, &output) < 0)
                        return report_failure("verify", true, &output);
                return r < 0 ? error_failure_code(&error) : 0;
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
        _cleanup_(root_done) struct root root = {.n = 0};
        struct verify_options options = {0};
        struct error error = ERROR_INIT;
        int r = parse_options(argc, argv, &options, &error);

        if (r > 0)
                return 0;
        options.machine.tpm_named = options.tcti != NULL;
        if (r == 0)
                r = root_make(env, options.root, options.tcti, &root, &error);
        if (r < 0)
                return report_failure("verify", options.json, &error);
        return verify(&root.env, &options);
}
