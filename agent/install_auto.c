/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/install_auto.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "agent/boot_issue.h"
#include "agent/console.h"
#include "base/codec.h"
#include "base/file.h"
#include "base/limits.h"
#include "partition/disk_content.h"
#include "partition/mount.h"

#define SENTINEL "cos/live_mode"
#define MARK_SIZE (SHA256_HEX_SIZE) /* the digits, and "\n" in the place of the end */

static bool is_live(const struct env *env)
{
        _cleanup_free_ char *path = NULL;

        if (asprintf(&path, "%s/" SENTINEL, env->run) < 0)
                path = NULL;
        return path && file_exists(AT_FDCWD, path);
}

int install_auto_check(const struct env *env, const struct config *c, struct error *e)
{
        /* A node keeps the configuration that installed it, and must not follow it once more. */
        if (!is_live(env))
                return error_set(e, ERROR_PRECONDITION, ENOTSUP,
                                 "--unattended: this is no live session");
        if (!c->install.automatic)
                return error_set(e, ERROR_NOTHING, ENODATA,
                                 "no configuration asks for an installation (install.auto)");
        return 0;
}

/* --- what is on the disk --- */

/* What the medium is known by again. */
static int make_mark(const struct config *c, const uint8_t image[SHA256_SIZE],
                     char ret[SHA256_HEX_SIZE])
{
        _cleanup_(digest_free_p) struct digest *digest = digest_new();
        uint8_t hash[SHA256_SIZE];
        int r = digest ? digest_add(digest, image, SHA256_SIZE) : -ENOMEM;

        /* Each text by its own hash, so that where it ends is part of it. */
        for (size_t i = 0; i < c->n_documents && r == 0; i++) {
                r = sha256(c->documents[i].text.data, c->documents[i].text.len, hash);
                if (r == 0)
                        r = digest_add(digest, hash, sizeof(hash));
        }
        if (r == 0)
                r = digest_final(digest, hash);
        if (r == 0)
                hex_encode(hash, sizeof(hash), ret);
        return r;
}

/* What cannot be read is no mark of ours. */
static bool has_mark(const char *device, const char mark[SHA256_HEX_SIZE])
{
        _cleanup_close_ int root = mount_look(device, "vfat", NULL);
        _cleanup_(buf_done) struct buf text = BUF_INIT(LIMIT_SMALL_FILE);

        return root >= 0 && file_read(root, INSTALL_AUTO_MARK, &text) == 0 &&
               text.len == MARK_SIZE && memcmp(text.data, mark, MARK_SIZE - 1) == 0;
}

/* By the labels that every node of this kind bears, those of Kairos among them. */
static bool is_of_a_node(const struct disk_content *content)
{
        static const char *const labels[] = {LAYOUT_ESP_LABEL, LAYOUT_OEM_LABEL,
                                             LAYOUT_PERSISTENT_LABEL};

        for (size_t i = 0; i < ARRAY_SIZE(labels); i++)
                if (strcmp(content->label, labels[i]) == 0)
                        return true;
        return false;
}

struct found {
        bool node, marked;
};

static int look_at(const struct disk *d, unsigned number, const char mark[SHA256_HEX_SIZE],
                   struct found *f, struct error *e)
{
        _cleanup_free_ char *path = NULL;
        struct disk_content content;
        int r = disk_partition_path(d, number, &path, e);

        /* What cannot be read might be a node's: the disk is none to be erased unasked. */
        if (r == 0)
                r = disk_content_read(path, &content, e);
        if (r < 0)
                return r;
        f->node = f->node || is_of_a_node(&content);
        if (strcmp(content.label, LAYOUT_ESP_LABEL) == 0)
                f->marked = f->marked || has_mark(path, mark);
        return 0;
}

int install_auto_check_disk(const struct disk *d, const struct config *c,
                            const uint8_t image[SHA256_SIZE], struct error *e)
{
        struct found found = {.node = false};
        char mark[SHA256_HEX_SIZE];
        struct disk_partition *list;
        size_t n;
        int r = make_mark(c, image, mark);

        if (r < 0)
                return error_oom(e);
        r = disk_partitions(d, &list, &n, e);
        if (r < 0)
                return r;
        for (size_t i = 0; i < n && r == 0; i++)
                r = look_at(d, list[i].number, mark, &found, e);
        disk_free_partitions(list, n);
        if (r < 0)
                return r;
        if (found.marked) {
                error_set(e, ERROR_NOTHING, EALREADY, "%s: this medium has installed it already",
                          d->path);
                error_advise(e, "take the medium out and restart; to install it once more, call "
                                "\"tb-agent install --use-default-dirs\"");
                return -EALREADY;
        }
        if (!found.node || c->install.overwrite_node)
                return 0;
        error_set(e, ERROR_PRECONDITION, EEXIST, "%s: there is a node on it already", d->path);
        error_advise(e, "take the medium out and restart; or say \"overwrite-node: true\" in the "
                        "section install of its configuration");
        return -EEXIST;
}

int install_auto_fill_esp(const struct config *c, const uint8_t image[SHA256_SIZE],
                          const struct esp *esp, struct error *e)
{
        char mark[SHA256_HEX_SIZE];

        if (make_mark(c, image, mark) < 0)
                return error_oom(e);
        mark[MARK_SIZE - 1] = '\n';
        return esp_add_file(esp, INSTALL_AUTO_MARK, mark, MARK_SIZE, e);
}

/* --- what people see --- */

void install_auto_say(const char *text, void *arg)
{
        console_tell(arg, text);
}

void install_auto_begin(const struct install_plan *p)
{
        _cleanup_(buf_done) struct buf text = BUF_INIT(LIMIT_SMALL_FILE);
        const struct disk *d = p->disk;

        if (boot_issue_add(&text, image_title(p->source.image), "\ninstalling ") == 0 &&
            boot_issue_add(&text, d->path, " on ") == 0 &&
            boot_issue_add(&text, *d->model ? d->model : "no model", " (") == 0 &&
            boot_issue_add(&text, *d->serial ? d->serial : "none", ", serial ") == 0 &&
            buf_add_str(&text, "); what is on it is lost\n") == 0)
                console_tell(p->env, buf_str(&text));
}

static int describe_failure(const struct error *e, bool installed, struct buf *ret)
{
        const char *advice = error_advice(e);
        int r = buf_printf(ret, "\n%s (exit code %d):\n",
                           installed ? "The node is installed, but something failed after that"
                                     : "The unattended installation FAILED",
                           error_exit_code(e->class));

        if (r == 0)
                r = boot_issue_add(ret, e->text, "  - ");
        if (r == 0 && advice)
                r = buf_add_str(ret, "\nWhat can be done:\n");
        if (r == 0 && advice)
                r = boot_issue_add(ret, advice, "  - ");
        return r == 0 ? buf_add_str(ret, "\nIn full: journalctl -u tb-agent-install\n\n") : r;
}

static int describe_end(enum install_end end, struct buf *ret)
{
        switch (end) {
        case INSTALL_END_REBOOT:
                return buf_add_str(ret, "\nThe node is installed; restarting.\n\n");
        case INSTALL_END_POWEROFF:
                return buf_add_str(ret, "\nThe node is installed; powering off.\n\n");
        case INSTALL_END_STAY:
                break;
        }
        return buf_add_str(ret, "\nThe node is installed. Take the medium out and restart.\n\n");
}

void install_auto_end(const struct env *env, enum install_end end, bool installed,
                      const struct error *e)
{
        _cleanup_(buf_done) struct buf text = BUF_INIT(LIMIT_SMALL_FILE);
        int r;

        if (!is_live(env))
                return; /* whoever typed it on a node reads it there */
        if (!e || e->class == ERROR_NONE) {
                r = describe_end(end, &text);
        } else if (e->class != ERROR_NOTHING) {
                r = describe_failure(e, installed, &text);
        } else if (e->code == EALREADY) {
                r = boot_issue_add(&text, e->text, "\nNothing was installed: ");
                if (r == 0)
                        r = boot_issue_add(&text, e->advice, "\n");
                if (r == 0)
                        r = buf_add_str(&text, "\n\n");
        } else {
                return;
        }
        if (r == 0)
                boot_issue_show(env, buf_str(&text));
}
