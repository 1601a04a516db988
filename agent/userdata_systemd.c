/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/userdata_systemd.h"

#include <string.h>

#include "agent/userdata_node.h"
#include "agent/userdata_sysusers.h"
#include "agent/userdata_table.h"
#include "agent/userdata_user.h"
#include "base/codec.h"
#include "base/limits.h"

#define FOLDER "/run/tb-agent/userdata"
#define UNITS "/run/systemd/system"

/* Before anything of the system that is not needed for it; the loader of modules and sysctl have
 * units of their own. */
#define EARLY_UNIT                                                                                 \
        "DefaultDependencies=no\n"                                                                 \
        "Conflicts=shutdown.target\n"                                                              \
        "Before=sysinit.target shutdown.target\n"

static int add_text(struct userdata_files *files, const char *path, mode_t mode, const char *text)
{
        struct userdata_file *f = userdata_files_add(files, path, mode);

        return f ? buf_add_str(&f->content, text) : -ENOMEM;
}

/* --- commands ----------------------------------------------------------------------------------*/

/* 'word', for a shell. */
static int add_word(struct buf *out, const char *word)
{
        int r = buf_add_str(out, "'");

        for (; *word && r == 0; word++)
                r = *word == '\'' ? buf_add_str(out, "'\\''") : buf_add(out, word, 1);
        return r < 0 ? r : buf_add_str(out, "'");
}

/* As cloud-init makes them of the same lists. */
static int add_script(struct userdata_files *files, const char *path,
                      const struct config_node *commands)
{
        struct userdata_file *f = userdata_files_add(files, path, 0600);
        int r = f ? buf_add_str(&f->content, "#!/bin/sh\n") : -ENOMEM;

        for (const struct config_node *c = commands->first; c && r == 0; c = c->next) {
                if (c->kind == CONFIG_SCALAR)
                        r = buf_add_str(&f->content, c->text);
                for (const struct config_node *w = c->first; w && r == 0; w = w->next) {
                        r = w == c->first ? 0 : buf_add_str(&f->content, " ");
                        if (r == 0)
                                r = add_word(&f->content, w->text);
                }
                if (r == 0)
                        r = buf_add_str(&f->content, "\n");
        }
        return r;
}

/* --- files -------------------------------------------------------------------------------------*/

static const char *skip_space(const char *s)
{
        return s + strspn(s, " \t\r\n");
}

/* Base64 that may be folded. */
static int decode(const char *text, struct buf *out)
{
        _cleanup_(buf_done) struct buf flat = BUF_INIT(LIMIT_USERDATA);
        int r = 0;

        for (const char *s = skip_space(text); *s && r == 0; s = skip_space(s + 1))
                r = buf_add(&flat, s, 1);
        return r < 0 ? r : base64_decode(buf_str(&flat), flat.len, out);
}

/* -EINVAL: not to be had without cloud-init. */
static int content_of(const struct config_node *file, struct buf *out)
{
        const struct config_node *content = config_node_find(file, "content");
        const char *encoding = userdata_node_text(file, "encoding");
        bool base64;

        if (!content || content->kind == CONFIG_NOTHING)
                return config_node_find(file, "source") ? -EINVAL : 0;
        if (content->kind != CONFIG_SCALAR)
                return -EINVAL;
        base64 = content->binary ||
                 (encoding && (strcmp(encoding, "b64") == 0 || strcmp(encoding, "base64") == 0));
        if (!base64 && encoding && *encoding && strcmp(encoding, "text/plain") != 0)
                return -EINVAL;
        return base64 ? decode(content->text, out) : buf_add_str(out, content->text);
}

static bool owner_ok(const char *s)
{
        return userdata_user_name_ok(s) || (*s && !s[strspn(s, "0123456789")]);
}

/* "user:group", "user" */
static int split_owner(const char *owner, char user[LIMIT_USER_NAME + 1],
                       char group[LIMIT_USER_NAME + 1])
{
        size_t n = strcspn(owner, ":");
        const char *rest = owner[n] ? owner + n + 1 : "";

        if (n > LIMIT_USER_NAME || strlen(rest) > LIMIT_USER_NAME)
                return -EINVAL;
        memcpy(user, owner, n);
        user[n] = '\0';
        memcpy(group, *rest ? rest : "-", *rest ? strlen(rest) + 1 : 2);
        return owner_ok(user) && (!*rest || owner_ok(group)) ? 0 : -EINVAL;
}

/* "path", for tmpfiles.d: a percent sign begins something there. */
static int add_path(struct buf *out, const char *path)
{
        int r = buf_add_str(out, "\"");

        for (; *path && r == 0; path++)
                r = *path == '%' ? buf_add_str(out, "%%") : buf_add(out, path, 1);
        return r < 0 ? r : buf_add_str(out, "\"");
}

static int write_line(struct buf *out, const char *type, const char *path, const char *rest,
                      const struct buf *content)
{
        int r = buf_printf(out, "%s ", type);

        if (r == 0)
                r = add_path(out, path);
        if (r == 0)
                r = buf_add_str(out, rest);
        if (r == 0 && content && content->len > 0)
                r = base64_encode(content->data, content->len, out);
        return r < 0 ? r : buf_add_str(out, "\n");
}

static int add_file(const struct config_node *file, struct config_problems *problems,
                    struct buf *out)
{
        _cleanup_(buf_done) struct buf content = BUF_INIT(LIMIT_USERDATA), rest = BUF_INIT(256);
        const char *path = userdata_node_text(file, "path"),
                   *owner = userdata_node_text(file, "owner") ?: "root:root";
        char user[LIMIT_USER_NAME + 1], group[LIMIT_USER_NAME + 1];
        mode_t mode = 0;
        int r = content_of(file, &content);

        if (r == -EINVAL || userdata_mode(file, 0644, &mode) < 0 ||
            split_owner(owner, user, group) < 0) {
                config_warning(problems, file->at,
                               "write_files: %s is left out: its %s cannot be had without "
                               "cloud-init",
                               path, r < 0 ? "content" : "owner");
                return 0;
        }
        if (r == 0)
                r = buf_printf(&rest, " %04o %s %s - ", mode, user, group);
        if (r < 0)
                return r;
        if (!userdata_node_bool(file, "append", false))
                return write_line(out, content.len > 0 ? "f+~" : "f+", path, buf_str(&rest),
                                  &content);
        r = write_line(out, "f", path, buf_str(&rest), NULL);
        return r < 0 || content.len == 0 ? r : write_line(out, "w+~", path, " - - - - ", &content);
}

static int add_files(const struct config_node *tree, struct config_problems *problems,
                     struct buf *out)
{
        const struct config_node *files = config_node_find(tree, "write_files");
        int r = 0;

        for (const struct config_node *f = files ? files->first : NULL; f && r == 0; f = f->next)
                r = add_file(f, problems, out);
        return r;
}

/* --- units -------------------------------------------------------------------------------------*/

/* Let a target want a unit. */
static int want(struct userdata_files *files, const char *target, const char *unit)
{
        _cleanup_(buf_done) struct buf path = BUF_INIT(512), text = BUF_INIT(512);
        int r = buf_printf(&path, UNITS "/%s.d/%s.conf", target, unit);

        if (r == 0)
                r = buf_printf(&text, "[Unit]\nWants=%s.service\n", unit);
        return r < 0 ? r : add_text(files, buf_str(&path), 0644, buf_str(&text));
}

static int add_unit(struct userdata_files *files, const char *target, const char *unit,
                    const char *text)
{
        _cleanup_(buf_done) struct buf path = BUF_INIT(512);
        int r = buf_printf(&path, UNITS "/%s.service", unit);

        if (r == 0)
                r = add_text(files, buf_str(&path), 0644, text);
        return r < 0 ? r : want(files, target, unit);
}

static int add_bootcmd(const struct config_node *tree, struct userdata_files *files)
{
        const struct config_node *commands = config_node_find(tree, "bootcmd");
        int r;

        if (!commands)
                return 0;
        r = add_script(files, FOLDER "/bootcmd", commands);
        return r < 0 ? r
                     : add_unit(files, "sysinit.target", "tb-agent-bootcmd",
                                "[Unit]\nDescription=Early commands of the user data\n" EARLY_UNIT
                                "After=local-fs.target\n"
                                "[Service]\nType=oneshot\nRemainAfterExit=yes\n"
                                "ExecStart=/bin/sh " FOLDER "/bootcmd\n");
}

/* After the target: a command may wait for what the target starts. */
static int add_runcmd(const struct config_node *tree, struct userdata_files *files)
{
        const struct config_node *commands = config_node_find(tree, "runcmd");
        int r;

        if (!commands)
                return 0;
        r = add_script(files, FOLDER "/runcmd", commands);
        return r < 0 ? r
                     : add_unit(files, "multi-user.target", "tb-agent-runcmd",
                                "[Unit]\nDescription=Commands of the user data\n"
                                "After=multi-user.target\n"
                                "[Service]\nType=oneshot\nRemainAfterExit=yes\n"
                                "TimeoutStartSec=infinity\n"
                                "ExecStart=/bin/sh " FOLDER "/runcmd\n");
}

static int add_users(const struct userdata_sysusers *s, struct userdata_files *files)
{
        _cleanup_(buf_done) struct buf unit = BUF_INIT(LIMIT_USERDATA);
        int r;

        if (s->users.len == 0)
                return 0;
        r = add_text(files, FOLDER "/sysusers.conf", 0600, buf_str(&s->users));
        if (r == 0)
                r = buf_printf(&unit,
                               "[Unit]\nDescription=Users of the user data\n" EARLY_UNIT
                               "After=local-fs.target systemd-sysusers.service "
                               "tb-agent-bootcmd.service\n"
                               "[Service]\nType=oneshot\nRemainAfterExit=yes\n"
                               "ExecStart=systemd-sysusers " FOLDER "/sysusers.conf\n%s",
                               buf_str(&s->credentials));
        return r < 0 ? r : add_unit(files, "sysinit.target", "tb-agent-users", buf_str(&unit));
}

static int add_tmpfiles(const struct buf *lines, struct userdata_files *files)
{
        int r;

        if (lines->len == 0)
                return 0;
        r = add_text(files, FOLDER "/tmpfiles.conf", 0600, buf_str(lines));
        return r < 0 ? r
                     : add_unit(files, "sysinit.target", "tb-agent-files",
                                "[Unit]\nDescription=Files of the user data\n" EARLY_UNIT
                                "After=local-fs.target systemd-tmpfiles-setup.service "
                                "tb-agent-bootcmd.service tb-agent-users.service\n"
                                "[Service]\nType=oneshot\nRemainAfterExit=yes\n"
                                "ExecStart=systemd-tmpfiles --create " FOLDER "/tmpfiles.conf\n");
}

/* --- all ---------------------------------------------------------------------------------------*/

static int add_name(const struct config_node *tree, struct userdata_files *files)
{
        const char *name = userdata_node_text(tree, "hostname"),
                   *full = userdata_node_text(tree, "fqdn");
        struct userdata_file *f;
        int r;

        if (!name && !full)
                return 0;
        f = userdata_files_add(files, "/etc/hostname", 0644);
        if (!f)
                return -ENOMEM;
        r = name ? buf_add_str(&f->content, name) : buf_add(&f->content, full, strcspn(full, "."));
        return r < 0 ? r : buf_add_str(&f->content, "\n");
}

static void tell_left_out(const struct config_node *tree, struct config_problems *problems)
{
        for (const struct config_node *m = tree->first; m; m = m->next) {
                const struct userdata_key *key = userdata_table_find(userdata_top_keys, m->key);

                if (key && key->use == USERDATA_CLOUD)
                        config_warning(problems, m->key_at,
                                       "%s is left out: only cloud-init does it, and the image "
                                       "has none",
                                       m->key);
        }
}

static int make(const struct userdata *u, const struct userdata_accounts *accounts,
                struct config_problems *problems, struct userdata_files *files,
                struct userdata_sysusers *s)
{
        int r = userdata_sysusers(u->tree, accounts, problems, files, s);

        if (r == 0)
                r = add_files(u->tree, problems, &s->files);
        if (r == 0)
                r = add_name(u->tree, files);
        if (r == 0)
                r = add_bootcmd(u->tree, files);
        if (r == 0)
                r = add_users(s, files);
        if (r == 0)
                r = add_tmpfiles(&s->files, files);
        return r < 0 ? r : add_runcmd(u->tree, files);
}

int userdata_systemd(const struct userdata *u, const struct userdata_accounts *accounts,
                     struct config_problems *problems, struct userdata_files *files,
                     struct error *e)
{
        struct userdata_sysusers s = {.users = BUF_INIT(LIMIT_USERDATA),
                                      .files = BUF_INIT(LIMIT_USERDATA),
                                      .credentials = BUF_INIT(LIMIT_USERDATA)};
        int r;

        config_problems_next(problems);
        tell_left_out(u->tree, problems);
        r = make(u, accounts, problems, files, &s);
        buf_done(&s.users);
        buf_done(&s.files);
        buf_done(&s.credentials);
        if (r == -E2BIG)
                return error_set(e, ERROR_CONFIG, E2BIG, "user data: larger than 4 MiB");
        return r < 0 ? error_oom(e) : 0;
}
