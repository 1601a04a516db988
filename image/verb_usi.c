/* SPDX-License-Identifier: Apache-2.0 */
/* tb-image usi: a root directory, a kernel and a command line become one signed image. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/codec.h"
#include "base/file.h"
#include "base/json.h"
#include "base/limits.h"
#include "image/cpio.h"
#include "image/epoch.h"
#include "image/keyfile.h"
#include "image/output.h"
#include "image/say.h"
#include "image/stub.h"
#include "image/tree.h"
#include "image/verb.h"
#include "image/words.h"
#include "upgrade/authenticode.h"
#include "upgrade/osrelease.h"
#include "upgrade/pcrsig.h"
#include "upgrade/usi.h"

#define DEFAULT_STUB "/usr/lib/systemd/boot/efi/linuxx64.efi.stub"
/* The only phase in which volumes may be unlocked. */
#define SIGNED_PHASE "enter-initrd"

struct settings {
        const char *rootfs, *kernel, *cmdline, *os_release, *keys, *out, *stub, *policy_keys;
        bool without_signature;
        bool json;
        unsigned level;
        uint64_t epoch;
};

/* Everything that goes into the image besides the root. */
struct inputs {
        int stub_fd;
        int kernel_fd;
        struct buf os_release;
        struct buf policy_public;
        EVP_PKEY *policy_private;
        EVP_PKEY *key;
        X509 *cert;
        struct tree *tree;
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
                .policy_public = BUF_INIT(LIMIT_PCRPKEY)                                           \
        }

static void inputs_done(struct inputs *in)
{
        close_p(&in->stub_fd);
        close_p(&in->kernel_fd);
        buf_done(&in->os_release);
        buf_done(&in->policy_public);
        EVP_PKEY_free(in->policy_private);
        EVP_PKEY_free(in->key);
        X509_free(in->cert);
        tree_free(in->tree);
}

static int parse(char *const argv[], struct settings *s, struct error *e)
{
        const char *level = NULL;
        const struct words_option options[] = {
                {.name = "rootfs", .value = &s->rootfs, .required = true},
                {.name = "kernel", .value = &s->kernel, .required = true},
                {.name = "cmdline", .value = &s->cmdline, .required = true},
                {.name = "os-release", .value = &s->os_release, .required = true},
                {.name = "keys", .value = &s->keys, .required = true},
                {.name = "out", .value = &s->out, .required = true},
                {.name = "stub", .value = &s->stub},
                {.name = "policy-keys", .value = &s->policy_keys},
                {.name = "unsigned", .flag = &s->without_signature},
                {.name = "compression-level", .value = &level},
                {.name = "json", .flag = &s->json},
        };
        int r;

        r = words_parse(argv, options, ARRAY_SIZE(options), NULL, 0, "", e);
        if (r != 0)
                return r;
        if (!s->stub)
                s->stub = DEFAULT_STUB;
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

static int load_os_release(const struct settings *s, struct inputs *in, struct error *e)
{
        _cleanup_(osrelease_free_p) struct osrelease *release = NULL;
        int r;

        r = file_read(AT_FDCWD, s->os_release, &in->os_release);
        if (r < 0)
                return error_set(e, ERROR_CONFIG, -r, "cannot read %s: %s", s->os_release,
                                 strerrordesc_np(-r));
        r = osrelease_parse(in->os_release.data, in->os_release.len, &release, e);
        if (r < 0)
                return bad_input(e, r, "file", s->os_release);
        if (!osrelease_get(release, "IMAGE_ID") || !osrelease_get(release, "IMAGE_VERSION"))
                say_warning("%s names no IMAGE_ID and IMAGE_VERSION: upgrades cannot compare "
                            "versions",
                            s->os_release);
        return 0;
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

static int open_input(const char *path, int *ret, struct error *e)
{
        int fd = open(path, O_RDONLY | O_CLOEXEC);

        if (fd < 0)
                return error_set(e, ERROR_CONFIG, errno, "cannot open %s: %s", path,
                                 strerrordesc_np(errno));
        *ret = fd;
        return 0;
}

static int load_inputs(const struct settings *s, struct inputs *in, struct error *e)
{
        uint16_t stub_type = 0, kernel_type = 0;
        int r;

        r = check_cmdline(s->cmdline, e);
        if (r == 0)
                r = load_os_release(s, in, e);
        if (r == 0)
                r = open_input(s->stub, &in->stub_fd, e);
        if (r == 0)
                r = open_input(s->kernel, &in->kernel_fd, e);
        if (r == 0)
                r = load_keys(s, in, e);
        if (r < 0)
                return r;
        r = pe_probe_machine(in->stub_fd, &stub_type, e);
        if (r < 0)
                return bad_input(e, r, "stub", s->stub);
        r = pe_probe_machine(in->kernel_fd, &kernel_type, e);
        if (r < 0)
                return bad_input(e, r, "kernel", s->kernel);
        if (stub_type != kernel_type)
                return error_set(e, ERROR_CONFIG, EINVAL,
                                 "stub and kernel are for different machines (%#x and %#x)",
                                 (unsigned)stub_type, (unsigned)kernel_type);
        return tree_scan(s->rootfs, &in->tree, e);
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
        if (r == 0)
                r = stub_add_file(stub, ".linux", in->kernel_fd, e);
        if (r == 0)
                r = stub_start(stub, ".initrd", e);
        if (r == 0)
                r = cpio_write(in->tree, s->epoch, s->level, append_to_stub, stub, e);
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

        r = stub_begin(in->stub_fd, fd, 6, &stub, e);
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
                      const char *pcr11, const char *policy)
{
        _cleanup_json_ struct json_object *root = json_object_new_object();
        struct json_object *phases = json_object_new_object();
        const char *text;
        int r;

        r = json_add_str(phases, SIGNED_PHASE, pcr11);
        if (r < 0) {
                (void)json_object_put(phases);
                return r;
        }
        r = json_add_u64(root, "version", 1);
        if (r == 0)
                r = json_add_str(root, "out", s->out);
        if (r == 0)
                r = json_add_u64(root, "size", res->size);
        if (r == 0)
                r = json_add_str(root, "sha256", digest);
        if (r == 0) {
                r = json_add_obj(root, "pcr11", phases);
                phases = NULL;
        }
        if (r == 0)
                r = json_add_str(root, "policy", policy);
        (void)json_object_put(phases);
        text = json_object_to_json_string_ext(root, JSON_C_TO_STRING_PLAIN |
                                                            JSON_C_TO_STRING_NOSLASHESCAPE);
        if (r < 0 || !text)
                return -ENOMEM;
        puts(text);
        return 0;
}

static int print(const struct settings *s, const struct result *res, struct error *e)
{
        char digest[SHA256_HEX_SIZE], pcr11[SHA256_HEX_SIZE], policy[SHA256_HEX_SIZE];

        hex_encode(res->digest, SHA256_SIZE, digest);
        hex_encode(res->pcr11, SHA256_SIZE, pcr11);
        hex_encode(res->policy, SHA256_SIZE, policy);
        if (s->json)
                return print_json(s, res, digest, pcr11, policy) < 0 ? error_oom(e) : 0;
        printf("image   %s\n"
               "size    %llu\n"
               "sha256  %s\n"
               "pcr11   %s (%s)\n"
               "policy  %s\n",
               s->out, (unsigned long long)res->size, digest, pcr11, SIGNED_PHASE, policy);
        return 0;
}

int verb_usi(char *const argv[], struct error *e)
{
        struct settings s = {.level = CPIO_LEVEL_DEFAULT};
        _cleanup_(inputs_done) struct inputs in = INPUTS_INIT;
        _cleanup_(output_free_p) struct output *output = NULL;
        struct result res;
        int r;

        r = parse(argv, &s, e);
        if (r != 0)
                return r;
        r = epoch_get(0, &s.epoch, e);
        if (r == 0)
                r = load_inputs(&s, &in, e);
        if (r == 0)
                r = output_open(s.out, &output, e);
        if (r == 0)
                r = build(&s, &in, output_fd(output), &res, e);
        if (r == 0)
                r = output_commit(output, e);
        if (r == 0)
                r = print(&s, &res, e);
        return r;
}
