/* SPDX-License-Identifier: Apache-2.0 */
/* tb-image iso: an installer medium from a signed system image and boot loader. */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/codec.h"
#include "base/file.h"
#include "base/json.h"
#include "base/limits.h"
#include "base/num.h"
#include "image/document.h"
#include "image/efitree.h"
#include "image/epoch.h"
#include "image/input.h"
#include "image/iso.h"
#include "image/keyfile.h"
#include "image/leak.h"
#include "image/say.h"
#include "image/tree.h"
#include "image/verb.h"
#include "image/words.h"

#define LABEL_CHARACTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_"
/* Where the agent looks for configurations on its medium: every *.yaml at the top. */
#define CONFIG_NAME "install.yaml"
/* Files of an overlay up to this size are kept in memory, larger ones stay open. */
#define SMALL_FILE (1 * MIB)

static const char *const enroll_modes[] = {"off", "manual", "if-safe", "force"};

struct settings {
        const char *usi, *loader, *out, *enroll_keys, *enroll, *overlay, *config, *title, *label;
        unsigned timeout;
        uint64_t epoch;
};

struct inputs {
        struct finished files;
        struct tree *overlay;
        int fds[LIMIT_OVERLAY_LARGE];
        unsigned n_fds;
};

static void inputs_done(struct inputs *in)
{
        finished_done(&in->files);
        tree_free(in->overlay);
        while (in->n_fds > 0)
                close_p(&in->fds[--in->n_fds]);
}

static int check_settings(const struct settings *s, struct error *e)
{
        size_t n = strlen(s->label);
        bool known = !s->enroll;

        if (n == 0 || n > ISO_LABEL_MAX || strspn(s->label, LABEL_CHARACTERS) != n)
                return error_set(e, ERROR_USAGE, EINVAL,
                                 "--label has 1 to %u upper-case letters, digits and \"_\"",
                                 ISO_LABEL_MAX);
        for (unsigned i = 0; i < ARRAY_SIZE(enroll_modes); i++)
                known = known || (s->enroll && strcmp(s->enroll, enroll_modes[i]) == 0);
        if (!known)
                return error_set(e, ERROR_USAGE, EINVAL,
                                 "--secure-boot-enroll is off, manual, if-safe or force");
        return 0;
}

static int parse(char *const argv[], bool *json, struct settings *s, struct error *e)
{
        const char *timeout = NULL;
        const struct words_option options[] = {
                {.name = "usi", .value = &s->usi, .required = true, .not_empty = true},
                {.name = "loader", .value = &s->loader, .required = true, .not_empty = true},
                {.name = "out", .value = &s->out, .required = true, .not_empty = true},
                {.name = "enroll-keys", .value = &s->enroll_keys, .not_empty = true},
                {.name = "secure-boot-enroll", .value = &s->enroll},
                {.name = "overlay", .value = &s->overlay, .not_empty = true},
                {.name = "config", .value = &s->config, .not_empty = true},
                {.name = "title", .value = &s->title, .not_empty = true},
                {.name = "label", .value = &s->label},
                {.name = "timeout", .value = &timeout},
                {.name = "json", .flag = json},
        };
        int r = words_parse(argv, options, ARRAY_SIZE(options), NULL, 0, "", e);

        if (r != 0)
                return r;
        if (s->enroll && !s->enroll_keys)
                return error_set(e, ERROR_USAGE, EINVAL,
                                 "--secure-boot-enroll wants --enroll-keys");
        if (!s->label)
                s->label = "TB_INSTALL";
        r = check_settings(s, e);
        return r == 0 ? words_number("timeout", timeout, 0, 3600, &s->timeout, e) : r;
}

/* --- what goes onto it besides the tree --- */

static int add_small(struct bundle *b, const char *name, int fd, struct error *e)
{
        _cleanup_(buf_done) struct buf content = BUF_INIT(SMALL_FILE);
        uint8_t *room;
        ssize_t got;

        if (buf_reserve(&content, SMALL_FILE, &room) < 0)
                return error_oom(e);
        got = file_pread(fd, room, SMALL_FILE, 0);
        if (got < 0)
                return error_errno(e, (int)-got, "cannot read %s", name);
        return bundle_add_data(b, name, room, (size_t)got, e);
}

static int add_file(struct inputs *in, struct bundle *b, const struct tree_entry *entry,
                    struct error *e)
{
        _cleanup_close_ int fd = tree_open(in->overlay, entry, e);

        if (fd < 0)
                return fd;
        if (entry->size <= SMALL_FILE)
                return add_small(b, entry->path, fd, e);
        if (in->n_fds == LIMIT_OVERLAY_LARGE)
                return error_set(e, ERROR_CONFIG, E2BIG,
                                 "the overlay has more than %u files above 1 MiB",
                                 LIMIT_OVERLAY_LARGE);
        in->fds[in->n_fds] = TAKE_FD(fd);
        return bundle_add_fd(b, entry->path, in->fds[in->n_fds++], e);
}

static int add_overlay(struct inputs *in, struct bundle *b, struct error *e)
{
        const struct tree_entry *entry;
        int r = 0;

        for (size_t i = 1; r == 0 && (entry = tree_at(in->overlay, i)); i++) {
                if (S_ISDIR(entry->mode))
                        r = bundle_add_folder(b, entry->path, e);
                else if (S_ISREG(entry->mode))
                        r = add_file(in, b, entry, e);
                else
                        r = error_set(
                                e, ERROR_CONFIG, EOPNOTSUPP,
                                "%s: neither file nor folder, and the medium holds only those",
                                entry->path);
        }
        return r;
}

static int add_config(const struct settings *s, struct bundle *b, struct error *e)
{
        _cleanup_(buf_done) struct buf text = BUF_INIT(LIMIT_CONFIG_DOCUMENT);
        int r = input_read(s->config, &text, e);

        return r == 0 ? bundle_add_data(b, CONFIG_NAME, text.data, text.len, e) : r;
}

static int load_overlay(const struct settings *s, struct inputs *in, struct error *e)
{
        int r = tree_scan(s->overlay, &in->overlay, e);

        if (r == 0 && s->enroll_keys)
                r = leak_check(in->overlay, s->enroll_keys, e);
        return r;
}

static int load_inputs(const struct settings *s, struct inputs *in, struct error *e)
{
        int r = finished_open(s->usi, s->loader, s->enroll_keys, &in->files, e);

        return r == 0 && s->overlay ? load_overlay(s, in, e) : r;
}

static int collect(const struct settings *s, struct inputs *in, struct bundle **ret,
                   struct error *e)
{
        const struct efitree tree = {.image = &in->files.image,
                                     .loader = &in->files.loader,
                                     .keys = in->files.keys,
                                     .enroll = s->enroll,
                                     .title = s->title,
                                     .timeout = s->timeout};
        _cleanup_(bundle_free_p) struct bundle *b = NULL;
        int r = bundle_new(s->epoch, &b, e);

        if (r == 0 && s->config)
                r = add_config(s, b, e);
        if (r == 0)
                r = efitree_add(&tree, b, e);
        if (r == 0 && in->overlay)
                r = add_overlay(in, b, e);
        if (r == 0)
                *ret = TAKE_PTR(b);
        return r;
}

static int print(const struct settings *s, const struct inputs *in, bool json,
                 const struct iso_facts *facts, struct error *e)
{
        _cleanup_json_ struct json_object *root = NULL;
        char digest[SHA256_HEX_SIZE], image[SHA256_HEX_SIZE];
        int r;

        hex_encode(facts->sha256, SHA256_SIZE, digest);
        hex_encode(usi_sha256(in->files.image.usi), SHA256_SIZE, image);
        if (!json) {
                say(stdout,
                    "medium        %s\nsize          %llu\nsha256        %s\n"
                    "system image  sha256:%s\n",
                    s->out, (unsigned long long)facts->size, digest, image);
                return 0;
        }
        root = document_new("iso");
        r = json_add_str(root, "out", s->out);
        if (r == 0)
                r = json_add_u64(root, "size", facts->size);
        if (r == 0)
                r = json_add_str(root, "sha256", digest);
        if (r == 0)
                r = json_add_str(root, "version", usi_image_version(in->files.image.usi));
        if (r == 0)
                r = json_add_str(root, "image", image);
        return r < 0 ? error_oom(e) : document_print(root, e);
}

int verb_iso(char *const argv[], bool *json, struct error *e)
{
        struct settings s = {.timeout = 5};
        _cleanup_(inputs_done) struct inputs in = {.files = FINISHED_INIT};
        _cleanup_(bundle_free_p) struct bundle *b = NULL;
        struct iso_facts facts;
        int r = parse(argv, json, &s, e);

        if (r != 0)
                return r;
        r = epoch_get(0, &s.epoch, e);
        if (r == 0)
                r = load_inputs(&s, &in, e);
        if (r == 0)
                r = collect(&s, &in, &b, e);
        if (r == 0)
                r = iso_write(b, s.label, le32_at(usi_sha256(in.files.image.usi)), s.out, &facts,
                              e);
        return r == 0 ? print(&s, &in, *json, &facts, e) : r;
}
