/* SPDX-License-Identifier: Apache-2.0 */
#include "image/efitree.h"

#include <stdio.h>
#include <string.h>

#include "base/limits.h"
#include "image/keyfile.h"

#define IMAGE_PATH "EFI/kairos/norole.efi"
#define ENTRY_PATH "loader/entries/norole.conf"
#define CONF_PATH "loader/loader.conf"
#define KEYS_PATH "loader/keys/auto"
/* From this version on systemd-boot wants images under the key "uki". */
#define UKI_KEY_MAJOR 258u
/* And from this one it knows to enrol keys in virtual machines alone. */
#define IF_SAFE "if-safe"
#define IF_SAFE_MAJOR 253u

static const char *const variables[] = {"PK", "KEK", "db"};

/* One line of an entry: what a boot menu shows, and no second line by a newline in it. */
static int check_title(const char *title, struct error *e)
{
        size_t n = strlen(title);

        if (n == 0 || title[0] == ' ' || title[n - 1] == ' ')
                return error_set(e, ERROR_CONFIG, EINVAL,
                                 "the title of the entry is empty, or begins or ends with a blank");
        for (const char *p = title; *p; p++)
                if ((unsigned char)*p < ' ' || *p == 0x7f)
                        return error_set(e, ERROR_CONFIG, EINVAL,
                                         "control character in the title of the entry");
        return 0;
}

static const char *title_of(const struct efitree *t)
{
        const char *name = t->title;

        if (!name)
                name = usi_pretty_name(t->image->usi);
        if (!name || !*name)
                name = usi_image_id(t->image->usi);
        return name && *name ? name : "system image";
}

static int add_entry(const struct efitree *t, struct bundle *b, struct error *e)
{
        _cleanup_(buf_done) struct buf text = BUF_INIT(LIMIT_LOADER_ENTRY);
        const char *title = title_of(t), *version = usi_image_version(t->image->usi);
        bool uki = t->loader && t->loader->major >= UKI_KEY_MAJOR;
        int r = check_title(title, e);

        if (r < 0)
                return r;
        r = buf_printf(&text, "title %s\nsort-key norole-0\n", title);
        if (r == 0 && version && *version)
                r = buf_printf(&text, "version %s\n", version);
        if (r == 0)
                r = buf_printf(&text, "%s /" IMAGE_PATH "\n", uki ? "uki" : "efi");
        if (r < 0)
                return error_oom(e);
        return bundle_add_data(b, ENTRY_PATH, text.data, text.len, e);
}

/* A boot loader says of a word that it does not know that it is wrong, and enrols nothing. */
static int choose_enroll(const struct efitree *t, const char **ret, struct error *e)
{
        bool old = t->loader && t->loader->major < IF_SAFE_MAJOR;

        if (!t->enroll)
                *ret = old ? "manual" : IF_SAFE;
        else if (old && strcmp(t->enroll, IF_SAFE) == 0)
                return error_set(e, ERROR_CONFIG, EOPNOTSUPP,
                                 "systemd-boot %u does not know the enrolment " IF_SAFE
                                 ": that begins with %u",
                                 t->loader->major, IF_SAFE_MAJOR);
        else
                *ret = t->enroll;
        return 0;
}

static int add_conf(const struct efitree *t, struct bundle *b, struct error *e)
{
        const char *enroll = NULL;
        _cleanup_(buf_done) struct buf text = BUF_INIT(LIMIT_LOADER_CONF);
        int r = choose_enroll(t, &enroll, e);

        if (r < 0)
                return r;
        r = buf_printf(&text, "timeout %u\nconsole-mode max\neditor no\n", t->timeout);
        if (r == 0 && t->keys >= 0)
                r = buf_printf(&text, "secure-boot-enroll %s\n", enroll);
        if (r < 0)
                return error_oom(e);
        return bundle_add_data(b, CONF_PATH, text.data, text.len, e);
}

static int add_keys(const struct efitree *t, struct bundle *b, struct error *e)
{
        int r = 0;

        for (unsigned i = 0; i < ARRAY_SIZE(variables) && r == 0; i++) {
                _cleanup_(buf_done) struct buf auth = BUF_INIT(LIMIT_EFI_VARIABLE);
                char from[16], to[64];

                (void)snprintf(from, sizeof(from), "%s.auth", variables[i]);
                (void)snprintf(to, sizeof(to), KEYS_PATH "/%s", from);
                r = keyfile_bytes(t->keys, from, &auth, e);
                if (r == 0)
                        r = bundle_add_data(b, to, auth.data, auth.len, e);
        }
        return r;
}

int efitree_add(const struct efitree *t, struct bundle *b, struct error *e)
{
        char path[32];
        int r = 0;

        if (t->loader) {
                (void)snprintf(path, sizeof(path), "EFI/BOOT/%s", finished_boot_name(t->image));
                r = bundle_add_fd(b, path, t->loader->fd, e);
        }
        if (r == 0)
                r = add_conf(t, b, e);
        if (r == 0)
                r = add_entry(t, b, e);
        if (r == 0 && t->keys >= 0)
                r = add_keys(t, b, e);
        /* The bulk last: whoever reads a stream has the rest by then. */
        return r == 0 ? bundle_add_fd(b, IMAGE_PATH, t->image->fd, e) : r;
}
