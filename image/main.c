/* SPDX-License-Identifier: Apache-2.0 */
/* tb-image: the build side of Trusted Boot images. Picks the verb, reports its error. */
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "image/document.h"
#include "image/say.h"
#include "image/verb.h"
#include "image/words.h"

static const struct verb {
        const char *name;
        const char *summary;
        const char *help;
        int (*run)(char *const argv[], bool *json, struct error *e);
} verbs[] = {
        {"keys", "make Secure Boot and PCR policy keys",
         "Usage: tb-image keys [OPTIONS] DIR\n"
         "\n"
         "Makes PK, KEK and db (each .key .pem .der .esl .auth), the PCR policy key\n"
         "(tpm2-pcr-private.pem, tpm2-pcr-public.pem) and guid.txt in DIR. Existing keys are "
         "never\n"
         "overwritten.\n"
         "\n"
         "  --name CN    common name of the certificates (default \"Trusted Boot\")\n"
         "  --from DIR   take more certificates into KEK and db: DIR/KEK.esl and DIR/db.esl as a\n"
         "               machine exports them (or .auth, .der, .pem), and all files in DIR/KEK/\n"
         "               and DIR/db/\n"
         "  --pkcs11 URI make no keys: use those of the token that are called PK, KEK, db and\n"
         "               tpm2-pcr (and tpm2-pcr-later)\n"
         "  --phases LIST\n"
         "               also a second policy key (tpm2-pcr-later-...), by which \"usi\" signs "
         "these\n"
         "               phase paths and never enter-initrd; with commas between them\n"
         "  --days N     validity of the certificates (default 3650)\n"
         "  --bits N     RSA key size, 2048 to 4096 (default 2048)\n",
         verb_keys},
        {"usi", "build a Unified System Image",
         "Usage: tb-image usi [OPTIONS]\n"
         "\n"
         "Packs a root directory, a kernel and a command line into one PE image, predicts PCR 11,\n"
         "signs that policy and signs the image.\n"
         "\n"
         "  --rootfs ROOT           root of the operating system (becomes the initrd): a "
         "directory,\n"
         "                          tar:FILE, ocifile:FILE, dir:LAYOUT, or a container image "
         "in a\n"
         "                          registry: oci:REGISTRY/NAME[:TAG][@DIGEST]\n"
         "  --kernel FILE           kernel (default: the only one in the root)\n"
         "  --cmdline TEXT          kernel command line\n"
         "  --os-release FILE       os-release of the image (default: that of the root)\n"
         "  --keys DIR              directory made by \"tb-image keys\"; not needed with both\n"
         "                          --unsigned and --policy-keys\n"
         "  --out FILE              image to write\n"
         "  --stub FILE             systemd-stub (default\n"
         "                          /usr/lib/systemd/boot/efi/linuxx64.efi.stub)\n"
         "  --uname RELEASE         release of the kernel (default: by its place in the root)\n"
         "  --splash FILE           picture that is shown meanwhile (BMP)\n"
         "  --root-format FORMAT    cpio (default): the root is the initrd; squashfs, erofs: a "
         "file\n"
         "                          system in it, mounted read-only\n"
         "  --sbom FILE             also write a list of the packages in the root (CycloneDX)\n"
         "  --measure               also print the PCRs of a machine that starts the image\n"
         "  --loader FILE           with --measure: signed systemd-boot that starts it\n"
         "  --profile ID[:TITLE]=CMDLINE\n"
         "                          another profile of the image, with this command line; may be "
         "given\n"
         "                          several times; systemd-stub 257 or later\n"
         "  --variant NAME=CMDLINE  another image of the same root, beside FILE as FILE-NAME.efi; "
         "may\n"
         "                          be given several times\n"
         "                          A CMDLINE that begins with \"+\" is added to that of "
         "--cmdline.\n"
         "  --policy-keys DIR       take the PCR policy key from here instead of --keys\n"
         "  --unsigned              do not sign the image (the PCR policy is still signed)\n"
         "  --compression-level N   zstd level, 1 to 19 (default 9)\n"
         "  --json                  print the result as JSON\n"
         "\n"
         "Of a registry:\n"
         "  --ca FILE               PEM certificates to trust instead of the system's\n"
         "  --auth FILE             logins (config.json)\n"
         "  --insecure HOST         HOST[:PORT] may be spoken to without TLS; several times\n"
         "  --mirror HOST=URL       try URL before the registry HOST; several times\n"
         "  --attempts N            tries of a step that fails for the moment, 1 to 100\n",
         verb_usi},
        {"sign", "sign a PE image",
         "Usage: tb-image sign --keys DIR --out OUT IN\n"
         "\n"
         "Adds an Authenticode signature by the db key of DIR to IN and writes the result to OUT.\n"
         "\n"
         "  --keys DIR   directory made by \"tb-image keys\"\n"
         "  --out OUT    signed image to write\n",
         verb_sign},
        {"upgrade-image", "put an image into a container for upgrades",
         "Usage: tb-image upgrade-image --usi FILE --out OUT [OPTIONS]\n"
         "\n"
         "Puts a signed system image into a container image that a registry carries and nodes\n"
         "upgrade from. No container engine is needed; \"skopeo copy\" pushes the result.\n"
         "\n"
         "  --usi FILE           image made by \"tb-image usi\"\n"
         "  --out OUT            what to write: a new folder for oci, a file otherwise\n"
         "  --format FORMAT      oci (a layout; the default), oci-archive or docker-archive\n"
         "  --artifact           an OCI artifact that is the image itself, without a tree\n"
         "  --loader FILE        signed systemd-boot that comes along\n"
         "  --enroll-keys DIR    bring the public PK.auth, KEK.auth, db.auth of DIR; everything\n"
         "                       has to be signed by its db.pem\n"
         "  --name NAME          name of the repository in a docker-archive\n"
         "  --tag TAG            default: the version of the image\n"
         "  --title TEXT         title of the boot entry (default: PRETTY_NAME)\n"
         "  --json               print the result as JSON\n",
         verb_upgrade_image},
        {"iso", "make an installer medium",
         "Usage: tb-image iso --usi FILE --loader FILE --out FILE [OPTIONS]\n"
         "\n"
         "Makes an ISO that UEFI firmware starts from CD and, copied to it byte for byte, from a\n"
         "USB stick, with Secure Boot on. Its session installs the image.\n"
         "\n"
         "  --usi FILE                  image made by \"tb-image usi\"\n"
         "  --loader FILE               signed systemd-boot\n"
         "  --out FILE                  ISO to write\n"
         "  --enroll-keys DIR           bring the public PK.auth, KEK.auth, db.auth of DIR for\n"
         "                              firmware in setup mode; everything has to be signed by "
         "its\n"
         "                              db.pem\n"
         "  --secure-boot-enroll MODE   off, manual, if-safe or force: when systemd-boot enrols\n"
         "                              them (default: if-safe; below version 253, which does not\n"
         "                              know that, manual)\n"
         "  --config FILE               configuration of the installation (install.yaml on it);\n"
         "                              with \"auto: true\" the medium installs by itself\n"
         "  --overlay DIR               more files, as they are to be on the medium\n"
         "  --title TEXT                title of the boot entry (default: PRETTY_NAME)\n"
         "  --timeout N                 seconds of the boot menu (default 5)\n"
         "  --label LABEL               volume label (default TB_INSTALL)\n"
         "  --json                      print the result as JSON\n",
         verb_iso},
        {"measure", "predict the PCRs of a boot of an image",
         "Usage: tb-image measure [OPTIONS] FILE\n"
         "\n"
         "Predicts PCRs 4, 11, 12 and 13, and with --keys PCR 7, of a machine that starts the "
         "USI:\n"
         "sha256 bank, no credentials, addons or extensions beside it, no option ROMs.\n"
         "\n"
         "  --loader FILE   signed systemd-boot that starts it (default: firmware does)\n"
         "  --keys DIR      directory with PK.esl, KEK.esl, db.esl, and dbx.esl if there is one, "
         "that\n"
         "                  the firmware is enrolled with\n"
         "  --profile N     profile of the image that is started (default 0)\n"
         "  --json          print the result as JSON\n",
         verb_measure},
        {"inspect", "show what is in an image",
         "Usage: tb-image inspect [--json] FILE\n"
         "\n"
         "Shows sections, versions, predicted PCR 11 values and which of them are signed, and the\n"
         "Authenticode signatures; of a PE image that is no USI, what applies to it. Certificates\n"
         "are not checked against any trust store.\n"
         "\n"
         "  --json       print the result as JSON\n",
         verb_inspect},
};

static void print_overview(void)
{
        printf("Usage: tb-image VERB [OPTIONS]\n"
               "\n"
               "Builds, signs and inspects Trusted Boot system images.\n"
               "\n");
        for (unsigned i = 0; i < ARRAY_SIZE(verbs); i++)
                printf("  %-14s %s\n", verbs[i].name, verbs[i].summary);
        printf("\n"
               "  --help     this text; after a verb: its options\n"
               "  --version  version of the program\n");
}

static int run(char *const argv[], bool *json, struct error *e)
{
        if (!argv[1])
                return error_set(e, ERROR_USAGE, EINVAL, "no verb given");
        if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
                print_overview();
                return 0;
        }
        if (strcmp(argv[1], "--version") == 0) {
                printf("tb-image %s\n", TB_VERSION);
                return 0;
        }
        for (unsigned i = 0; i < ARRAY_SIZE(verbs); i++) {
                int r;

                if (strcmp(argv[1], verbs[i].name) != 0)
                        continue;
                r = verbs[i].run(argv + 1, json, e);
                if (r == WORDS_HELP) {
                        (void)fputs(verbs[i].help, stdout);
                        return 0;
                }
                if (r < 0 && e->class == ERROR_USAGE)
                        error_advise(e, "see \"tb-image %s --help\"", verbs[i].name);
                return r;
        }
        return error_set(e, ERROR_USAGE, EINVAL, "unknown verb \"%s\"", argv[1]);
}

static void report(const char *verb, bool json, const struct error *e)
{
        if (json && document_failure(verb, e) == 0)
                return;
        say(stderr, "tb-image: error: %s\n", e->text);
        if (error_advice(e))
                say(stderr, "tb-image: advice: %s\n", error_advice(e));
}

int main(int argc, char *argv[])
{
        struct error e = ERROR_INIT;
        bool json = false;
        int r;

        file_ensure_stdio();
        if (argc < 1)
                return error_exit_code(ERROR_USAGE);
        r = run(argv, &json, &e);
        if (r == 0 && fflush(stdout) != 0)
                r = error_errno(&e, errno, "cannot write to standard output");
        if (r == 0)
                return 0;
        if (e.class == ERROR_NONE)
                (void)error_set(&e, ERROR_INTERNAL, -r, "failed without a reason (%d)", r);
        if (e.class == ERROR_USAGE)
                error_advise(&e, "see \"tb-image --help\"");
        report(argv[1], json, &e);
        return error_exit_code(e.class);
}
