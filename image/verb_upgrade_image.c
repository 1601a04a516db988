/* SPDX-License-Identifier: Apache-2.0 */
/* tb-image upgrade-image: a signed system image in a container that registries carry. */
#include <stdio.h>
#include <string.h>

#include "image/container.h"
#include "image/document.h"
#include "image/efitree.h"
#include "image/epoch.h"
#include "image/keyfile.h"
#include "image/outfolder.h"
#include "image/output.h"
#include "image/say.h"
#include "image/verb.h"
#include "image/words.h"

/* Of a tag, by the OCI distribution specification; of a repository's name Docker takes less. */
#define TAG_MAX 128u
#define NAME_MAX_LENGTH 255u
#define LOWER "abcdefghijklmnopqrstuvwxyz"
#define UPPER "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define DIGITS "0123456789"
#define TAG_CHARACTERS LOWER UPPER DIGITS "_.-"
#define NAME_CHARACTERS LOWER DIGITS "._-/:"

enum format {
        FORMAT_OCI,
        FORMAT_OCI_ARCHIVE,
        FORMAT_DOCKER_ARCHIVE,
        FORMAT_MAX,
};

static const char *const format_names[FORMAT_MAX] = {"oci", "oci-archive", "docker-archive"};

struct settings {
        const char *usi, *out, *loader, *enroll_keys, *name, *tag, *title;
        enum format format;
        bool artifact;
        uint64_t epoch;
};

static int parse_format(const char *text, enum format *ret, struct error *e)
{
        for (unsigned i = 0; text && i < FORMAT_MAX; i++)
                if (strcmp(text, format_names[i]) == 0) {
                        *ret = (enum format)i;
                        return 0;
                }
        return text ? error_set(e, ERROR_USAGE, EINVAL,
                                "--format is oci, oci-archive or docker-archive")
                    : 0;
}

static int check_word(const char *option, const char *value, size_t max, const char *characters,
                      const char *first, struct error *e)
{
        size_t n = strlen(value);

        if (n > max || strspn(value, characters) != n || !strchr(first, value[0]))
                return error_set(e, ERROR_USAGE, EINVAL, "--%s \"%s\" is none that registries take",
                                 option, value);
        return 0;
}

/* An artifact has no tree, and "docker save" knows no artifacts. */
static int check_artifact(const struct settings *s, struct error *e)
{
        if (!s->artifact)
                return 0;
        if (s->format == FORMAT_DOCKER_ARCHIVE)
                return error_set(e, ERROR_USAGE, EINVAL,
                                 "--artifact cannot be a docker-archive: take oci or oci-archive");
        if (s->loader || s->enroll_keys || s->title)
                return error_set(e, ERROR_USAGE, EINVAL,
                                 "--artifact holds the image and nothing else: no --loader, "
                                 "--enroll-keys or --title");
        return 0;
}

static int parse(char *const argv[], bool *json, struct settings *s, struct error *e)
{
        const char *format = NULL;
        const struct words_option options[] = {
                {.name = "usi", .value = &s->usi, .required = true, .not_empty = true},
                {.name = "out", .value = &s->out, .required = true, .not_empty = true},
                {.name = "format", .value = &format},
                {.name = "artifact", .flag = &s->artifact},
                {.name = "loader", .value = &s->loader, .not_empty = true},
                {.name = "enroll-keys", .value = &s->enroll_keys, .not_empty = true},
                {.name = "name", .value = &s->name, .not_empty = true},
                {.name = "tag", .value = &s->tag, .not_empty = true},
                {.name = "title", .value = &s->title, .not_empty = true},
                {.name = "json", .flag = json},
        };
        int r = words_parse(argv, options, ARRAY_SIZE(options), NULL, 0, "", e);

        if (r == 0)
                r = parse_format(format, &s->format, e);
        if (r == 0)
                r = check_artifact(s, e);
        if (r == 0 && s->tag)
                r = check_word("tag", s->tag, TAG_MAX, TAG_CHARACTERS, LOWER UPPER DIGITS "_", e);
        if (r == 0 && s->name)
                r = check_word("name", s->name, NAME_MAX_LENGTH, NAME_CHARACTERS, LOWER DIGITS, e);
        return r;
}

/* The version as a tag; its signs that no tag may have turn into "_". */
static void tag_of(const struct finished *in, char ret[TAG_MAX + 1])
{
        const char *version = usi_image_version(in->image.usi);

        (void)snprintf(ret, TAG_MAX + 1, "%s", version && *version ? version : "latest");
        for (char *p = ret; *p; p++)
                if (!strchr(TAG_CHARACTERS, *p) || (p == ret && (*p == '.' || *p == '-')))
                        *p = '_';
}

static int make(const struct settings *s, const struct finished *in, const char *tag,
                struct bundle **ret, struct container_facts *facts, struct error *e)
{
        const struct container c = {
                .image = &in->image, .name = s->name, .tag = tag, .epoch = s->epoch};
        const struct efitree tree = {.image = &in->image,
                                     .loader = s->loader ? &in->loader : NULL,
                                     .keys = in->keys,
                                     .title = s->title,
                                     .timeout = 5};
        _cleanup_(bundle_free_p) struct bundle *layer = NULL;
        int r = 0;

        if (!s->artifact)
                r = bundle_new(s->epoch, &layer, e);
        if (r == 0 && layer)
                r = efitree_add(&tree, layer, e);
        if (r < 0)
                return r;
        if (s->format == FORMAT_DOCKER_ARCHIVE)
                return container_docker(&c, TAKE_PTR(layer), ret, facts, e);
        return container_oci(&c, TAKE_PTR(layer), ret, facts, e);
}

static int write_archive(const char *path, const struct bundle *b, struct error *e)
{
        _cleanup_(output_free_p) struct output *output = NULL;
        int fd, r = output_open(path, &output, e);

        if (r < 0)
                return r;
        fd = output_fd(output);
        r = bundle_write_tar(b, bundle_to_fd, &fd, e);
        return r == 0 ? output_commit(output, e) : r;
}

static int print_json(const struct settings *s, const struct finished *in, const char *tag,
                      const struct container_facts *facts, struct error *e)
{
        _cleanup_json_ struct json_object *root = document_new("upgrade-image");
        char manifest[SHA256_HEX_SIZE], layer[SHA256_HEX_SIZE], image[SHA256_HEX_SIZE];
        int r;

        hex_encode(facts->manifest, SHA256_SIZE, manifest);
        hex_encode(facts->layer, SHA256_SIZE, layer);
        hex_encode(usi_sha256(in->image.usi), SHA256_SIZE, image);
        r = json_add_str(root, "out", s->out);
        if (r == 0)
                r = json_add_str(root, "format", format_names[s->format]);
        if (r == 0)
                r = json_add_bool(root, "artifact", s->artifact);
        if (r == 0)
                r = json_add_str(root, "tag", tag);
        if (r == 0)
                r = json_add_str(root, "version", usi_image_version(in->image.usi));
        if (r == 0)
                r = json_add_str(root, "manifest", manifest);
        if (r == 0)
                r = json_add_str(root, "layer", layer);
        if (r == 0)
                r = json_add_u64(root, "layer_size", facts->layer_size);
        if (r == 0)
                r = json_add_str(root, "image", image);
        return r < 0 ? error_oom(e) : document_print(root, e);
}

static int print(const struct settings *s, const struct finished *in, bool json, const char *tag,
                 const struct container_facts *facts, struct error *e)
{
        char manifest[SHA256_HEX_SIZE], image[SHA256_HEX_SIZE];

        if (json)
                return print_json(s, in, tag, facts, e);
        hex_encode(facts->manifest, SHA256_SIZE, manifest);
        hex_encode(usi_sha256(in->image.usi), SHA256_SIZE, image);
        say(stdout,
            "upgrade image  %s (%s%s)\n"
            "tag            %s\n"
            "version        %s\n"
            "%-14s sha256:%s\n"
            "layer          %llu bytes\n"
            "system image   sha256:%s\n",
            s->out, format_names[s->format], s->artifact ? ", artifact" : "", tag,
            usi_image_version(in->image.usi) ?: "-",
            s->format == FORMAT_DOCKER_ARCHIVE ? "image id" : "manifest", manifest,
            (unsigned long long)facts->layer_size, image);
        return 0;
}

int verb_upgrade_image(char *const argv[], bool *json, struct error *e)
{
        struct settings s = {.usi = NULL};
        _cleanup_(finished_done) struct finished in = FINISHED_INIT;
        _cleanup_(bundle_free_p) struct bundle *b = NULL;
        struct container_facts facts;
        char tag[TAG_MAX + 1];
        int r = parse(argv, json, &s, e);

        if (r != 0)
                return r;
        r = epoch_get(0, &s.epoch, e);
        if (r == 0 && s.format == FORMAT_OCI)
                r = outfolder_check(s.out, e);
        if (r == 0)
                r = finished_open(s.usi, s.loader, s.enroll_keys, &in, e);
        if (r < 0)
                return r;
        if (s.tag)
                (void)snprintf(tag, sizeof(tag), "%s", s.tag);
        else
                tag_of(&in, tag);
        r = make(&s, &in, tag, &b, &facts, e);
        if (r == 0)
                r = s.format == FORMAT_OCI ? outfolder_write(s.out, b, e)
                                           : write_archive(s.out, b, e);
        return r == 0 ? print(&s, &in, *json, tag, &facts, e) : r;
}
