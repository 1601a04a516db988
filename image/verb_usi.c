/* SPDX-License-Identifier: Apache-2.0 */
/* tb-image usi: a root directory, a kernel and a command line become one signed image. */
#include <stdio.h>
#include <string.h>

#include "base/codec.h"
#include "base/file.h"
#include "base/json.h"
#include "base/limits.h"
#include "base/log.h"
#include "image/assemble.h"
#include "image/bootroot.h"
#include "image/commands.h"
#include "image/cpio.h"
#include "image/document.h"
#include "image/epoch.h"
#include "image/input.h"
#include "image/inroot.h"
#include "image/keyfile.h"
#include "image/leak.h"
#include "image/output.h"
#include "image/predict.h"
#include "image/rootfs_tar.h"
#include "image/say.h"
#include "image/sbom.h"
#include "image/splash.h"
#include "image/stub.h"
#include "image/tree.h"
#include "image/verb.h"
#include "image/words.h"
#include "upgrade/authenticode.h"
#include "upgrade/fetch_config.h"
#include "upgrade/osrelease.h"
#include "upgrade/pcrsig.h"
#include "upgrade/usi.h"
#include "upgrade/usi_probe.h"

#define DEFAULT_STUB "/usr/lib/systemd/boot/efi/linuxx64.efi.stub"
/* Of a step that fails for the moment. */
#define ATTEMPTS_MAX 100u
/* From this version on the stub knows profiles. */
#define PROFILE_STUB 257u
/* From this version on the stub knows .uname; older ones have no room to waste in their headers. */
#define UNAME_STUB 254u
/* What a node's version floor and its boot entries hold (partition/floor.h, upgrade/entry.h). A
 * version is compared by the rules of UAPI.10; the last two signs separate there. */
#define ID_MAX 64u
#define VERSION_MAX 127u
#define VERSION_CHARACTERS "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-.~^_+"

struct settings {
        const char *rootfs, *kernel, *cmdline, *os_release, *keys, *out, *stub, *policy_keys;
        const char *uname, *splash, *sbom, *root_format, *loader;
        const char *ca, *auth; /* of a registry */
        struct words_list insecure, mirrors;
        struct words_list profile_words, variant_words;
        struct commands profiles, variants;
        bool without_signature, measure;
        unsigned level, attempts;
        uint64_t epoch;
        enum root_format format;
};

/* Everything that goes into the image besides the root. */
struct inputs {
        int stub_fd;
        int loader_fd; /* which starts the image, to predict the PCRs */
        unsigned stub_version;
        int kernel_fd;
        bool kernel_found; /* in the root */
        struct buf os_release;
        struct osrelease *release_file; /* what it says */
        struct buf policy_public;
        struct buf splash;
        char release[LIMIT_KERNEL_RELEASE + 1]; /* of the kernel; "": not known */
        EVP_PKEY *policy_private;
        struct later later;
        EVP_PKEY *key;
        X509 *cert;
        struct tree *tree;
        char manifest[OCI_DIGEST_TEXT_SIZE]; /* the container image that it is of; "" */
        struct tree *small; /* what becomes the initramfs when it is not the tree */
};

/* One of the images that are made of the same root. */
struct job {
        struct assemble_image image;
        char *path;                     /* of a variant; owned */
        struct prediction *predictions; /* of each profile; NULL: not asked for; owned */
        struct output *output;
};

/* The image itself, and its variants. */
struct jobs {
        unsigned n;
        struct job item[WORDS_LIST_MAX + 1];
};

#define INPUTS_INIT                                                                                \
        {                                                                                          \
                .stub_fd = -EBADF, .loader_fd = -EBADF, .kernel_fd = -EBADF,                       \
                .os_release = BUF_INIT(LIMIT_OS_RELEASE),                                          \
                .policy_public = BUF_INIT(LIMIT_PCRPKEY), .splash = BUF_INIT(LIMIT_SPLASH),        \
                .later = LATER_INIT                                                                \
        }

static void inputs_done(struct inputs *in)
{
        close_p(&in->stub_fd);
        close_p(&in->loader_fd);
        close_p(&in->kernel_fd);
        buf_done(&in->os_release);
        osrelease_free(in->release_file);
        buf_done(&in->policy_public);
        buf_done(&in->splash);
        EVP_PKEY_free(in->policy_private);
        later_done(&in->later);
        EVP_PKEY_free(in->key);
        X509_free(in->cert);
        tree_free(in->tree);
        tree_free(in->small);
}

static int parse(char *const argv[], bool *json, struct settings *s, struct error *e)
{
        const char *level = NULL, *attempts = NULL;
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
                {.name = "measure", .flag = &s->measure},
                {.name = "loader", .value = &s->loader, .not_empty = true},
                {.name = "ca", .value = &s->ca, .not_empty = true},
                {.name = "auth", .value = &s->auth, .not_empty = true},
                {.name = "insecure", .list = &s->insecure},
                {.name = "mirror", .list = &s->mirrors},
                {.name = "attempts", .value = &attempts},
                {.name = "profile", .list = &s->profile_words},
                {.name = "variant", .list = &s->variant_words},
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
        if (s->profile_words.n > 0 && s->variant_words.n > 0)
                return error_set(e, ERROR_USAGE, EINVAL,
                                 "--profile and --variant exclude each other");
        if (s->loader && !s->measure)
                return error_set(e, ERROR_USAGE, EINVAL, "--loader is for --measure");
        if (!s->stub)
                s->stub = DEFAULT_STUB;
        if (s->root_format && root_format_parse(s->root_format, &s->format) < 0)
                return error_set(e, ERROR_USAGE, EINVAL,
                                 "--root-format is cpio, squashfs or erofs, not \"%s\"",
                                 s->root_format);
        if (!s->policy_keys)
                s->policy_keys = s->keys;
        r = words_number("compression-level", level, CPIO_LEVEL_MIN, CPIO_LEVEL_MAX, &s->level, e);
        return r == 0 ? words_number("attempts", attempts, 1, ATTEMPTS_MAX, &s->attempts, e) : r;
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
        return r < 0 ? assemble_bad_input(e, r, "file", s->os_release) : 0;
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
        if (r == 0)
                r = later_load(policy, &in->later, e);
        if (r == 0 && in->later.n > 0 && EVP_PKEY_eq(in->policy_private, in->later.key) == 1)
                r = error_set(e, ERROR_CONFIG, EINVAL,
                              KEYFILE_LATER_PRIVATE " is the key that unlocks: with it the data "
                                                    "would open in later phases");
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

static int check_profiles(const struct settings *s, const struct inputs *in, struct error *e)
{
        if (s->profiles.n == 0 || in->stub_version >= PROFILE_STUB)
                return 0;
        error_set(e, ERROR_CONFIG, EOPNOTSUPP,
                  "profiles need systemd-stub %u or later, and %s is of %u", PROFILE_STUB, s->stub,
                  in->stub_version);
        error_advise(e, "take a later stub (--stub), or make images of their own by --variant");
        return -EOPNOTSUPP;
}

/* Only of systemd-stub is known what it measures. */
static int check_stub(const struct settings *s, struct inputs *in, struct error *e)
{
        int r = usi_probe_stub(in->stub_fd, &in->stub_version, e);

        if (r < 0)
                return assemble_bad_input(e, r, "stub", s->stub);
        if (in->stub_version > 0)
                return check_profiles(s, in, e);
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
                return assemble_bad_input(e, r, "kernel", s->kernel);
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
                return assemble_bad_input(e, r, "stub", s->stub);
        r = check_stub(s, in, e);
        if (r < 0)
                return r;
        r = pe_probe_machine(in->kernel_fd, &kernel_type, e);
        if (r < 0)
                return assemble_bad_input(e, r, "kernel", s->kernel);
        if (stub_type != kernel_type)
                return error_set(e, ERROR_CONFIG, EINVAL,
                                 "stub and kernel are for different machines (%#x and %#x)",
                                 (unsigned)stub_type, (unsigned)kernel_type);
        return check_kernel(s, in, kernel_type, e);
}

static int load_tree(const struct settings *s, struct inputs *in, struct error *e)
{
        static const struct env own = ENV_INIT;
        const struct fetch_options how = {.env = &own,
                                          .ca_file = s->ca,
                                          .auth_file = s->auth,
                                          .insecure = s->insecure.item,
                                          .n_insecure = s->insecure.n,
                                          .mirrors = s->mirrors.item,
                                          .n_mirrors = s->mirrors.n,
                                          .attempts = s->attempts,
                                          .spool = -EBADF};
        int r = fetch_config_check(&how, e);

        if (r < 0)
                return r;
        if (rootfs_is_source(s->rootfs))
                return rootfs_from_source(s->rootfs, &how, in->manifest, &in->tree, e);
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
        return r < 0 ? assemble_bad_input(e, r, "picture", s->splash) : 0;
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

        r = commands_check(s->cmdline, e);
        if (r == 0)
                r = commands_parse(&s->profile_words, "profile", s->cmdline, &s->profiles, e);
        if (r == 0)
                r = commands_parse(&s->variant_words, "variant", s->cmdline, &s->variants, e);
        if (r == 0)
                r = input_open(s->stub, &in->stub_fd, e);
        if (r == 0)
                r = load_splash(s, in, e);
        if (r == 0 && s->loader)
                r = input_open(s->loader, &in->loader_fd, e);
        /* Before the keys: see rootfs_from_source(). */
        if (r == 0)
                r = load_tree(s, in, e);
        if (r == 0)
                r = load_keys(s, in, e);
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

/* --- all of them --- */

static void jobs_done(struct jobs *jobs)
{
        for (unsigned i = 0; i < jobs->n; i++) {
                output_free(jobs->item[i].output);
                free(jobs->item[i].path);
                free(jobs->item[i].predictions);
        }
}

static const char *job_path(const struct settings *s, const struct job *job)
{
        return job->path ?: s->out;
}

static int open_jobs(const struct settings *s, struct jobs *jobs, struct error *e)
{
        static const struct commands none = {.n = 0};
        int r = 0;

        for (unsigned i = 0; i <= s->variants.n && r == 0; i++) {
                struct job *job = &jobs->item[jobs->n++];
                const struct command *variant = i > 0 ? &s->variants.item[i - 1] : NULL;

                job->image.cmdline = variant ? variant->cmdline : s->cmdline;
                job->image.profiles = variant ? &none : &s->profiles;
                job->path = variant ? commands_variant_path(s->out, variant->name) : NULL;
                r = variant && !job->path ? error_oom(e)
                                          : output_open(job_path(s, job), &job->output, e);
        }
        return r;
}

/* The root is packed once. */
static int build_all(const struct settings *s, const struct inputs *in, struct jobs *jobs,
                     struct error *e)
{
        const struct assemble_parts parts = {.stub = in->stub_fd,
                                             .stub_name = s->stub,
                                             .kernel = in->kernel_fd,
                                             .os_release = &in->os_release,
                                             .splash = &in->splash,
                                             .release = in->release,
                                             .policy_private = in->policy_private,
                                             .policy_public = &in->policy_public,
                                             .later = &in->later,
                                             .key = s->without_signature ? NULL : in->key,
                                             .cert = in->cert,
                                             .tree = in->small ? in->small : in->tree,
                                             .level = s->level,
                                             .epoch = s->epoch};
        _cleanup_(usi_free_p) struct usi *first = NULL;
        int r = 0;

        for (unsigned i = 0; i < jobs->n && r == 0; i++) {
                struct job *job = &jobs->item[i];

                if (i == 1)
                        r = usi_open(output_fd(jobs->item[0].output), &first, e);
                job->image.packed = first;
                if (r == 0)
                        r = assemble_build(&parts, &job->image, output_fd(job->output), e);
        }
        return r;
}

/* What the machine will measure that starts it, profile by profile. */
static int predict_job(const struct settings *s, const struct inputs *in, struct job *job,
                       struct error *e)
{
        _cleanup_(usi_free_p) struct usi *usi = NULL;
        struct measure_boot boot = {.loader = in->loader_fd, .image = output_fd(job->output)};
        int r = usi_open(boot.image, &usi, e);

        if (r < 0)
                return r;
        boot.usi = usi;
        job->predictions = calloc(job->image.profiles->n + 1, sizeof(*job->predictions));
        if (!job->predictions)
                return error_oom(e);
        for (unsigned i = 0; i <= job->image.profiles->n && r == 0; i++)
                r = predict(&boot, i, s->without_signature ? NULL : s->keys, &job->predictions[i],
                            e);
        return r;
}

static int predict_all(const struct settings *s, const struct inputs *in, struct jobs *jobs,
                       struct error *e)
{
        int r = 0;

        for (unsigned i = 0; i < jobs->n && r == 0; i++)
                r = predict_job(s, in, &jobs->item[i], e);
        return r;
}

static int commit_all(struct jobs *jobs, struct error *e)
{
        int r = 0;

        for (unsigned i = 0; i < jobs->n && r == 0; i++)
                r = output_commit(jobs->item[i].output, e);
        return r;
}

/* --- output --- */

static int add_policy(struct json_object *o, const struct job *job, unsigned i)
{
        const struct assemble_image *image = &job->image;
        char hex[SHA256_HEX_SIZE];
        int r;

        hex_encode(image->pcr11[i], SHA256_SIZE, hex);
        r = json_add_str(document_object(o, "pcr11"), ASSEMBLE_PHASE, hex);
        hex_encode(image->policy[i], SHA256_SIZE, hex);
        if (r == 0)
                r = json_add_str(o, "policy", hex);
        if (r < 0 || !job->predictions)
                return r;
        return predict_add(&job->predictions[i], document_object(o, "pcrs"));
}

static int add_image(struct json_object *o, const struct settings *s, const struct job *job)
{
        char digest[SHA256_HEX_SIZE];
        int r;

        hex_encode(job->image.digest, SHA256_SIZE, digest);
        r = json_add_str(o, "out", job_path(s, job));
        if (r == 0)
                r = json_add_u64(o, "size", job->image.size);
        if (r == 0)
                r = json_add_str(o, "sha256", digest);
        return r == 0 ? add_policy(o, job, 0) : r;
}

static int add_further_profiles(const struct job *job, struct json_object *array)
{
        int r = array ? 0 : -ENOMEM;

        for (unsigned i = 0; i < assemble_profiles(&job->image) && r == 0; i++) {
                const struct command *c = i > 0 ? &job->image.profiles->item[i - 1] : NULL;
                struct json_object *o = json_object_new_object();

                r = json_append(array, o);
                if (r == 0)
                        r = json_add_str(o, "id", c ? c->name : COMMANDS_MAIN);
                if (r == 0)
                        r = json_add_str(o, "title", c && *c->title ? c->title : NULL);
                if (r == 0)
                        r = add_policy(o, job, i);
        }
        return r;
}

static int add_variants(const struct settings *s, const struct jobs *jobs,
                        struct json_object *array)
{
        int r = array ? 0 : -ENOMEM;

        for (unsigned i = 1; i < jobs->n && r == 0; i++) {
                struct json_object *o = json_object_new_object();

                r = json_append(array, o);
                if (r == 0)
                        r = json_add_str(o, "name", s->variants.item[i - 1].name);
                if (r == 0)
                        r = add_image(o, s, &jobs->item[i]);
        }
        return r;
}

static int print_json(const struct settings *s, const struct inputs *in, const struct jobs *jobs,
                      struct error *e)
{
        _cleanup_json_ struct json_object *root = document_new("usi");
        int r = add_image(root, s, &jobs->item[0]);

        if (r == 0)
                r = json_add_str(root, "root_manifest", *in->manifest ? in->manifest : NULL);
        if (r == 0)
                r = add_further_profiles(&jobs->item[0], document_array(root, "profiles"));
        if (r == 0)
                r = add_variants(s, jobs, document_array(root, "variants"));
        return r < 0 ? error_oom(e) : document_print(root, e);
}

static void print_policy(const struct job *job, unsigned i, const char *profile)
{
        const struct assemble_image *image = &job->image;
        char pcr11[SHA256_HEX_SIZE], policy[SHA256_HEX_SIZE];

        hex_encode(image->pcr11[i], SHA256_SIZE, pcr11);
        hex_encode(image->policy[i], SHA256_SIZE, policy);
        if (*profile)
                say(stdout, "profile %s\n", profile);
        say(stdout, "pcr11   %s (%s)\npolicy  %s\n", pcr11, ASSEMBLE_PHASE, policy);
        if (job->predictions)
                predict_print(&job->predictions[i]);
}

static void print_text(const struct settings *s, const struct job *job)
{
        char digest[SHA256_HEX_SIZE];

        hex_encode(job->image.digest, SHA256_SIZE, digest);
        say(stdout, "image   %s\nsize    %llu\nsha256  %s\n", job_path(s, job),
            (unsigned long long)job->image.size, digest);
        print_policy(job, 0, job->image.profiles->n > 0 ? COMMANDS_MAIN : "");
        for (unsigned i = 0; i < job->image.profiles->n; i++)
                print_policy(job, i + 1, job->image.profiles->item[i].name);
}

static int print(const struct settings *s, bool json, const struct inputs *in,
                 const struct jobs *jobs, struct error *e)
{
        if (json)
                return print_json(s, in, jobs, e);
        if (*in->manifest)
                say(stdout, "root    %s\n", in->manifest);
        for (unsigned i = 0; i < jobs->n; i++)
                print_text(s, &jobs->item[i]);
        return 0;
}

static int write_sbom(const struct settings *s, const struct inputs *in,
                      const struct assemble_image *image, struct error *e)
{
        char digest[SHA256_HEX_SIZE];
        const struct sbom_subject subject = {
                .name = osrelease_get(in->release_file, "IMAGE_ID"),
                .version = osrelease_get(in->release_file, "IMAGE_VERSION"),
                .distribution = osrelease_get(in->release_file, "ID"),
                .sha256 = digest,
                .epoch = s->epoch};
        unsigned n;

        hex_encode(image->digest, SHA256_SIZE, digest);
        return sbom_write(in->tree, &subject, s->sbom, &n, e);
}

static int make(struct settings *s, bool json, struct error *e)
{
        _cleanup_(inputs_done) struct inputs in = INPUTS_INIT;
        _cleanup_(jobs_done) struct jobs jobs = {.n = 0};
        int r = epoch_get(0, &s->epoch, e);

        if (r == 0)
                r = load_inputs(s, &in, e);
        if (r == 0)
                r = open_jobs(s, &jobs, e);
        if (r == 0)
                r = build_all(s, &in, &jobs, e);
        if (r == 0 && s->measure)
                r = predict_all(s, &in, &jobs, e);
        if (r == 0 && s->sbom)
                r = write_sbom(s, &in, &jobs.item[0].image, e);
        if (r == 0)
                r = commit_all(&jobs, e);
        return r == 0 ? print(s, json, &in, &jobs, e) : r;
}

int verb_usi(char *const argv[], bool *json, struct error *e)
{
        struct settings s = {.level = CPIO_LEVEL_DEFAULT};
        int r = parse(argv, json, &s, e);

        if (*json)
                log_set_level(LOG_LEVEL_WARNING);
        if (r == 0)
                r = make(&s, *json, e);
        commands_done(&s.profiles);
        commands_done(&s.variants);
        return r;
}
