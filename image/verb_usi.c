/* SPDX-License-Identifier: Apache-2.0 */
/* tb-image usi: a root directory, a kernel and a command line become one signed image. */
#include <stdio.h>
#include <string.h>

#include "base/codec.h"
#include "base/file.h"
#include "base/json.h"
#include "base/limits.h"
#include "image/bootroot.h"
#include "image/cpio.h"
#include "image/document.h"
#include "image/epoch.h"
#include "image/input.h"
#include "image/inroot.h"
#include "image/keyfile.h"
#include "image/leak.h"
#include "image/output.h"
#include "image/rootfs_tar.h"
#include "image/say.h"
#include "image/sbom.h"
#include "image/splash.h"
#include "image/stub.h"
#include "image/tree.h"
#include "image/verb.h"
#include "image/words.h"
#include "upgrade/authenticode.h"
#include "upgrade/osrelease.h"
#include "upgrade/pcrsig.h"
#include "upgrade/usi.h"
#include "upgrade/usi_probe.h"

#define DEFAULT_STUB "/usr/lib/systemd/boot/efi/linuxx64.efi.stub"
/* The only phase in which volumes may be unlocked. */
#define SIGNED_PHASE "enter-initrd"
/* Sections that every image has besides those of the stub. */
#define SECTIONS 6u
/* From this version on the stub knows .uname; older ones have no room to waste in their headers. */
#define UNAME_STUB 254u
/* What a node's version floor and its boot entries hold (partition/floor.h, upgrade/entry.h). A
 * version is compared by the rules of UAPI.10; the last two signs separate there. */
#define ID_MAX 64u
#define VERSION_MAX 127u
#define VERSION_CHARACTERS "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-.~^_+"

struct settings {
        const char *rootfs, *kernel, *cmdline, *os_release, *keys, *out, *stub, *policy_keys;
        const char *uname, *splash, *sbom, *root_format;
        bool without_signature;
        unsigned level;
        uint64_t epoch;
        enum root_format format;
};

/* Everything that goes into the image besides the root. */
struct inputs {
        int stub_fd;
        unsigned stub_version;
        int kernel_fd;
        bool kernel_found; /* in the root */
        struct buf os_release;
        struct osrelease *release_file; /* what it says */
        struct buf policy_public;
        struct buf splash;
        char release[LIMIT_KERNEL_RELEASE + 1]; /* of the kernel; "": not known */
        EVP_PKEY *policy_private;
        EVP_PKEY *key;
        X509 *cert;
        struct tree *tree;
        struct tree *small; /* what becomes the initramfs when it is not the tree */
};

struct result {
        uint64_t size;
        uint8_t digest[SHA256_SIZE];
        uint8_t pcr11[SHA256_SIZE];
        uint8_t policy[SHA256_SIZE];
};

#define INPUTS_INIT                                                                                \
        {                                                                                          \
                .stub_fd = -EBADF, .kernel_fd = -EBADF, .os_release = BUF_INIT(LIMIT_OS_RELEASE),  \
                .policy_public = BUF_INIT(LIMIT_PCRPKEY), .splash = BUF_INIT(LIMIT_SPLASH)         \
        }

static void inputs_done(struct inputs *in)
{
        close_p(&in->stub_fd);
        close_p(&in->kernel_fd);
        buf_done(&in->os_release);
        osrelease_free(in->release_file);
        buf_done(&in->policy_public);
        buf_done(&in->splash);
        EVP_PKEY_free(in->policy_private);
        EVP_PKEY_free(in->key);
        X509_free(in->cert);
        tree_free(in->tree);
        tree_free(in->small);
}

static int parse(char *const argv[], bool *json, struct settings *s, struct error *e)
{
        const char *level = NULL;
        const struct words_option options[] = {
                {.name = "rootfs", .value = &s->rootfs, .required = true, .not_empty = true},
                {.name = "kernel", .value = &s->kernel, .not_empty = true},
                {.name = "cmdline", .value = &s->cmdline, .required = true},
                {.name = "os-release", .value = &s->os_release, .not_empty = true},
                {.name = "keys", .value = &s->keys, .not_empty = true},
                {.name = "out", .value = &s->out, .required = true, .not_empty = true},
                {.name = "stub", .value = &s->stub, .not_empty = true},
                {.name = "policy-keys", .value = &s->policy_keys, .not_empty = true},
                {.name = "uname", .value = &s->uname, .not_empty = true},
                {.name = "splash", .value = &s->splash, .not_empty = true},
                {.name = "sbom", .value = &s->sbom, .not_empty = true},
                {.name = "root-format", .value = &s->root_format, .not_empty = true},
                {.name = "unsigned", .flag = &s->without_signature},
                {.name = "compression-level", .value = &level},
                {.name = "json", .flag = json},
        };
        int r;

        r = words_parse(argv, options, ARRAY_SIZE(options), NULL, 0, "", e);
        if (r != 0)
                return r;
        if (!s->keys && !s->without_signature)
                return error_set(e, ERROR_USAGE, EINVAL, "option --keys is missing");
        if (!s->keys && !s->policy_keys)
                return error_set(e, ERROR_USAGE, EINVAL,
                                 "option --policy-keys or --keys is missing: the PCR policy is "
                                 "signed in any case");
        if (!s->stub)
                s->stub = DEFAULT_STUB;
        if (s->root_format && root_format_parse(s->root_format, &s->format) < 0)
                return error_set(e, ERROR_USAGE, EINVAL,
                                 "--root-format is cpio, squashfs or erofs, not \"%s\"",
                                 s->root_format);
        if (!s->policy_keys)
                s->policy_keys = s->keys;
        return words_number("compression-level", level, CPIO_LEVEL_MIN, CPIO_LEVEL_MAX, &s->level,
                            e);
}

static int check_cmdline(const char *cmdline, struct error *e)
{
        if (cmdline[0] == '\0')
                return error_set(e, ERROR_CONFIG, EINVAL, "the kernel command line is empty");
        if (strlen(cmdline) > LIMIT_CMDLINE)
                return error_set(e, ERROR_CONFIG, E2BIG,
                                 "the kernel command line is longer than %llu bytes",
                                 (unsigned long long)LIMIT_CMDLINE);
        for (const char *p = cmdline; *p != '\0'; p++)
                if ((unsigned char)*p < 0x20 || *p == 0x7f)
                        return error_set(e, ERROR_CONFIG, EINVAL,
                                         "control character in the kernel command line");
        return 0;
}

/* A file the caller named is not what it has to be: that is a mistake in the call, whatever the
 * reader of that format thinks of the file. */
static int bad_input(struct error *e, int r, const char *what, const char *path)
{
        if (e->class == ERROR_REFUSED)
                e->class = ERROR_CONFIG;
        return error_wrap(e, r, "%s %s", what, path);
}

/* NULL and "" say nothing. */
static bool is_named(const char *value)
{
        return value && *value;
}

static int bad_name(struct error *e, const char *key, const char *value, unsigned max)
{
        int r = error_set(e, ERROR_CONFIG, EINVAL, "%s=%s cannot be used", key, value);

        error_advise(e, "at most %u characters: ASCII letters, digits%s", max,
                     max == VERSION_MAX ? ", and - . ~ ^ _ +" : " and signs, no blanks");
        return r;
}

/* What nodes keep, compare and show has to fit there: better told here than by every node. */
static int check_names(const struct settings *s, const struct osrelease *release, struct error *e)
{
        const char *id = osrelease_get(release, "IMAGE_ID"),
                   *version = osrelease_get(release, "IMAGE_VERSION");

        if (!is_named(id) || !is_named(version))
                say_warning("%s names no IMAGE_ID and IMAGE_VERSION: upgrades cannot compare "
                            "versions",
                            s->os_release);
        for (const char *p = id; p && *p; p++)
                if (*p <= ' ' || *p > '~')
                        return bad_name(e, "IMAGE_ID", id, ID_MAX);
        if (id && strlen(id) > ID_MAX)
                return bad_name(e, "IMAGE_ID", id, ID_MAX);
        if (version && (strlen(version) > VERSION_MAX ||
                        strspn(version, VERSION_CHARACTERS) != strlen(version)))
                return bad_name(e, "IMAGE_VERSION", version, VERSION_MAX);
        return 0;
}

/* Where none is named, that of the root; messages then name it by its place there. */
static int load_os_release(struct settings *s, struct inputs *in, struct error *e)
{
        int r;

        if (s->os_release)
                r = input_read(s->os_release, &in->os_release, e);
        else
                r = inroot_os_release(in->tree, &in->os_release, &s->os_release, e);
        if (r < 0)
                return r;
        if (in->os_release.len == 0)
                r = error_set(e, ERROR_CONFIG, ENODATA,
                              "%s is empty: it has to say which system this is", s->os_release);
        else
                r = osrelease_parse(in->os_release.data, in->os_release.len, &in->release_file, e);
        if (r == 0)
                r = check_names(s, in->release_file, e);
        return r < 0 ? bad_input(e, r, "file", s->os_release) : 0;
}

static int load_keys(const struct settings *s, struct inputs *in, struct error *e)
{
        _cleanup_close_ int policy = keyfile_open_dir(s->policy_keys, e), keys = -EBADF;
        int r;

        if (policy < 0)
                return policy;
        r = keyfile_private(policy, KEYFILE_POLICY_PRIVATE, &in->policy_private, e);
        if (r == 0)
                r = keyfile_bytes(policy, KEYFILE_POLICY_PUBLIC, &in->policy_public, e);
        if (r < 0)
                return error_wrap(e, r, "%s", s->policy_keys);
        if (s->without_signature)
                return 0;
        keys = keyfile_open_dir(s->keys, e);
        if (keys < 0)
                return keys;
        r = keyfile_signer(keys, &in->key, &in->cert, e);
        return r < 0 ? error_wrap(e, r, "%s", s->keys) : 0;
}

/* Only of systemd-stub is known what it measures. */
static int check_stub(const struct settings *s, struct inputs *in, struct error *e)
{
        int r = usi_probe_stub(in->stub_fd, &in->stub_version, e);

        if (r < 0)
                return bad_input(e, r, "stub", s->stub);
        if (in->stub_version > 0)
                return 0;
        r = error_set(e, ERROR_REFUSED, EOPNOTSUPP,
                      "stub %s does not say that it is systemd-stub (section .sdmagic): what it "
                      "would measure into PCR 11 cannot be known",
                      s->stub);
        error_advise(e, "take the stub of systemd 252 or later, such as %s", DEFAULT_STUB);
        return r;
}

static int check_kernel(const struct settings *s, const struct inputs *in, uint16_t machine,
                        struct error *e)
{
        bool kernel = false;
        int r = usi_probe_kernel(in->kernel_fd, machine, &kernel, e);

        if (r < 0)
                return bad_input(e, r, "kernel", s->kernel);
        if (kernel)
                return 0;
        r = error_set(e, ERROR_CONFIG, ENOEXEC, "kernel %s has no boot header of Linux", s->kernel);
        error_advise(e,
                     "give the kernel itself (vmlinuz): no image that holds one, no boot loader");
        return r;
}

static int check_programs(const struct settings *s, struct inputs *in, struct error *e)
{
        uint16_t stub_type = 0, kernel_type = 0;
        int r;

        r = pe_probe_machine(in->stub_fd, &stub_type, e);
        if (r < 0)
                return bad_input(e, r, "stub", s->stub);
        r = check_stub(s, in, e);
        if (r < 0)
                return r;
        r = pe_probe_machine(in->kernel_fd, &kernel_type, e);
        if (r < 0)
                return bad_input(e, r, "kernel", s->kernel);
        if (stub_type != kernel_type)
                return error_set(e, ERROR_CONFIG, EINVAL,
                                 "stub and kernel are for different machines (%#x and %#x)",
                                 (unsigned)stub_type, (unsigned)kernel_type);
        return check_kernel(s, in, kernel_type, e);
}

static int load_tree(const struct settings *s, struct inputs *in, struct error *e)
{
        int r;

        if (strncmp(s->rootfs, "oci:", 4) == 0) {
                r = error_set(e, ERROR_USAGE, EINVAL, "registries are not read: %s", s->rootfs);
                error_advise(e,
                             "bring the image here by \"skopeo copy docker://... oci:FOLDER\" and "
                             "name it as dir:FOLDER");
                return r;
        }
        if (rootfs_is_source(s->rootfs))
                return rootfs_from_source(s->rootfs, &in->tree, e);
        return tree_scan(s->rootfs, &in->tree, e);
}

static int check_tree(const struct settings *s, const struct inputs *in, struct error *e)
{
        int r = tree_check_init(in->tree, e);

        if (r == 0)
                r = leak_check(in->tree, s->policy_keys, e);
        if (r == 0 && s->keys && strcmp(s->keys, s->policy_keys) != 0)
                r = leak_check(in->tree, s->keys, e);
        return r;
}

/* Of a kernel in the root its place tells the release; of another one, who names it. */
static int set_release(const struct settings *s, struct inputs *in, struct error *e)
{
        const char *begin = s->uname;
        size_t n = begin ? strlen(begin) : 0;

        if (!begin && in->kernel_found && in->stub_version >= UNAME_STUB)
                begin = inroot_kernel_release(s->kernel, &n);
        for (size_t i = 0; i < n; i++)
                if (begin[i] <= ' ' || begin[i] > '~')
                        n = LIMIT_KERNEL_RELEASE + 1;
        if (n > LIMIT_KERNEL_RELEASE)
                return error_set(e, ERROR_CONFIG, EINVAL,
                                 "no release of a kernel: at most %u printable characters without "
                                 "blanks",
                                 LIMIT_KERNEL_RELEASE);
        if (n > 0)
                memcpy(in->release, begin, n);
        in->release[n] = '\0';
        return 0;
}

static int load_kernel(struct settings *s, struct inputs *in, struct error *e)
{
        in->kernel_found = !s->kernel;
        return in->kernel_found ? inroot_kernel(in->tree, &in->kernel_fd, &s->kernel, e)
                                : input_open(s->kernel, &in->kernel_fd, e);
}

static int load_splash(const struct settings *s, struct inputs *in, struct error *e)
{
        int r;

        if (!s->splash)
                return 0;
        r = input_read(s->splash, &in->splash, e);
        if (r < 0)
                return r;
        r = splash_check(&in->splash, e);
        return r < 0 ? bad_input(e, r, "picture", s->splash) : 0;
}

static int make_small(const struct settings *s, struct inputs *in, struct error *e)
{
        const struct rootimage_how how = {
                .format = s->format, .epoch = s->epoch, .level = s->level, .beside = s->out};
        const char *name = s->uname;
        _cleanup_free_ char *release = NULL;
        size_t n = name ? strlen(name) : 0;

        if (!name && in->kernel_found)
                name = inroot_kernel_release(s->kernel, &n);
        release = strndup(name ? name : "", n);
        return release ? bootroot_make(in->tree, &how, release, &in->small, e) : error_oom(e);
}

static int load_inputs(struct settings *s, struct inputs *in, struct error *e)
{
        int r;

        r = check_cmdline(s->cmdline, e);
        if (r == 0)
                r = input_open(s->stub, &in->stub_fd, e);
        if (r == 0)
                r = load_splash(s, in, e);
        if (r == 0)
                r = load_keys(s, in, e);
        if (r == 0)
                r = load_tree(s, in, e);
        if (r == 0)
                r = load_os_release(s, in, e);
        if (r == 0)
                r = load_kernel(s, in, e);
        if (r == 0)
                r = check_programs(s, in, e);
        if (r == 0)
                r = set_release(s, in, e);
        if (r == 0)
                r = check_tree(s, in, e);
        return r == 0 && s->format != ROOT_FORMAT_CPIO ? make_small(s, in, e) : r;
}

/* Signature document for a PCR value. Its length is the same for every value. */
static int sign_pcr11(const struct inputs *in, const uint8_t pcr11[SHA256_SIZE], struct buf *out,
                      struct error *e)
{
        uint8_t values[1][SHA256_SIZE];

        memcpy(values[0], pcr11, SHA256_SIZE);
        return pcrsig_build(in->policy_private, in->policy_public.data, in->policy_public.len,
                            (const uint8_t(*)[SHA256_SIZE])values, 1, out, e);
}

static int append_to_stub(void *ctx, const void *data, size_t n, struct error *e)
{
        return stub_append(ctx, data, n, e);
}

/* Sections in file order: what a verifier reads first stands first, the bulk last. */
static int add_sections(const struct settings *s, const struct inputs *in, struct stub *stub,
                        struct error *e)
{
        _cleanup_(buf_done) struct buf place = BUF_INIT(LIMIT_PCRSIG);
        const uint8_t zeros[SHA256_SIZE] = {0};
        int r;

        r = sign_pcr11(in, zeros, &place, e);
        if (r < 0)
                return r;
        memset(place.data, ' ', place.len); /* filled in when PCR 11 is known */
        r = stub_add(stub, ".osrel", in->os_release.data, in->os_release.len, e);
        if (r == 0)
                r = stub_add(stub, ".cmdline", s->cmdline, strlen(s->cmdline), e);
        if (r == 0)
                r = stub_add(stub, ".pcrpkey", in->policy_public.data, in->policy_public.len, e);
        if (r == 0)
                r = stub_add(stub, ".pcrsig", place.data, place.len, e);
        if (r == 0 && in->release[0] != '\0')
                r = stub_add(stub, ".uname", in->release, strlen(in->release), e);
        if (r == 0 && in->splash.len > 0)
                r = stub_add(stub, ".splash", in->splash.data, in->splash.len, e);
        if (r == 0)
                r = stub_add_file(stub, ".linux", in->kernel_fd, e);
        if (r == 0)
                r = stub_start(stub, ".initrd", e);
        if (r == 0)
                r = cpio_write(in->small ? in->small : in->tree, s->epoch, s->level, append_to_stub,
                               stub, e);
        if (r == 0)
                r = stub_end(stub, e);
        return r;
}

/* Predicts from the finished image, with the code that will verify it later, and fills .pcrsig. */
static int sign_policy(const struct inputs *in, int fd, struct result *res, struct error *e)
{
        _cleanup_(usi_free_p) struct usi *u = NULL;
        _cleanup_(pcrsig_free_p) struct pcrsig *doc = NULL;
        _cleanup_(buf_done) struct buf text = BUF_INIT(LIMIT_PCRSIG);
        const struct pe_section *place;
        int r;

        r = usi_open(fd, &u, e);
        if (r == 0)
                r = usi_pcr11(u, SIGNED_PHASE, res->pcr11, e);
        if (r == 0)
                r = sign_pcr11(in, res->pcr11, &text, e);
        if (r < 0)
                return r;
        place = usi_section(u, USI_PCRSIG);
        if (!place || place->virtual_size != text.len)
                return error_set(e, ERROR_INTERNAL, EINVAL, "the PCR signature does not fit");
        r = pcrsig_parse(text.data, text.len, &doc, e);
        if (r == 0)
                r = pcrsig_check(doc, in->policy_public.data, in->policy_public.len, res->pcr11,
                                 res->policy, e);
        if (r < 0)
                return r;
        r = file_pwrite(fd, text.data, text.len, place->raw_offset);
        return r < 0 ? error_errno(e, -r, "cannot write the image") : 0;
}

static int build(const struct settings *s, const struct inputs *in, int fd, struct result *res,
                 struct error *e)
{
        _cleanup_(stub_free_p) struct stub *stub = NULL;
        int r;

        r = stub_begin(in->stub_fd, fd, SECTIONS + (in->release[0] != '\0') + (in->splash.len > 0),
                       &stub, e);
        if (r < 0)
                return bad_input(e, r, "stub", s->stub);
        r = add_sections(s, in, stub, e);
        if (r == 0)
                r = stub_finish(stub, e);
        if (r == 0)
                r = sign_policy(in, fd, res, e);
        if (r == 0 && !s->without_signature)
                r = authenticode_sign(fd, in->key, in->cert, e);
        if (r < 0)
                return r;
        r = digest_fd(fd, res->digest, &res->size);
        return r < 0 ? error_errno(e, -r, "cannot read the image back") : 0;
}

static int print_json(const struct settings *s, const struct result *res, const char *digest,
                      const char *pcr11, const char *policy, struct error *e)
{
        _cleanup_json_ struct json_object *root = document_new("usi");
        int r;

        r = json_add_str(root, "out", s->out);
        if (r == 0)
                r = json_add_u64(root, "size", res->size);
        if (r == 0)
                r = json_add_str(root, "sha256", digest);
        if (r == 0)
                r = json_add_str(document_object(root, "pcr11"), SIGNED_PHASE, pcr11);
        if (r == 0)
                r = json_add_str(root, "policy", policy);
        return r < 0 ? error_oom(e) : document_print(root, e);
}

static int print(const struct settings *s, bool json, const struct result *res, struct error *e)
{
        char digest[SHA256_HEX_SIZE], pcr11[SHA256_HEX_SIZE], policy[SHA256_HEX_SIZE];

        hex_encode(res->digest, SHA256_SIZE, digest);
        hex_encode(res->pcr11, SHA256_SIZE, pcr11);
        hex_encode(res->policy, SHA256_SIZE, policy);
        if (json)
                return print_json(s, res, digest, pcr11, policy, e);
        say(stdout,
            "image   %s\n"
            "size    %llu\n"
            "sha256  %s\n"
            "pcr11   %s (%s)\n"
            "policy  %s\n",
            s->out, (unsigned long long)res->size, digest, pcr11, SIGNED_PHASE, policy);
        return 0;
}

static int write_sbom(const struct settings *s, const struct inputs *in, const struct result *res,
                      struct error *e)
{
        char digest[SHA256_HEX_SIZE];
        const struct sbom_subject subject = {
                .name = osrelease_get(in->release_file, "IMAGE_ID"),
                .version = osrelease_get(in->release_file, "IMAGE_VERSION"),
                .distribution = osrelease_get(in->release_file, "ID"),
                .sha256 = digest,
                .epoch = s->epoch};
        unsigned n;

        hex_encode(res->digest, SHA256_SIZE, digest);
        return sbom_write(in->tree, &subject, s->sbom, &n, e);
}

int verb_usi(char *const argv[], bool *json, struct error *e)
{
        struct settings s = {.level = CPIO_LEVEL_DEFAULT};
        _cleanup_(inputs_done) struct inputs in = INPUTS_INIT;
        _cleanup_(output_free_p) struct output *output = NULL;
        struct result res;
        int r;

        r = parse(argv, json, &s, e);
        if (r != 0)
                return r;
        r = epoch_get(0, &s.epoch, e);
        if (r == 0)
                r = load_inputs(&s, &in, e);
        if (r == 0)
                r = output_open(s.out, &output, e);
        if (r == 0)
                r = build(&s, &in, output_fd(output), &res, e);
        if (r == 0 && s.sbom)
                r = write_sbom(&s, &in, &res, e);
        if (r == 0)
                r = output_commit(output, e);
        if (r == 0)
                r = print(&s, *json, &res, e);
        return r;
}
