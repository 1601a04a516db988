/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/userdata_sysusers.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "agent/userdata_node.h"
#include "agent/userdata_user.h"
#include "base/codec.h"
#include "base/limits.h"
#include "base/num.h"

struct user {
        const struct config_node *node;
        const char *name;
        const struct userdata_account *account; /* of the image; NULL: a new one */
        char home[256];
        uint64_t uid;
        bool has_uid, of_system;
};

struct making {
        const struct userdata_accounts *accounts;
        struct config_problems *problems;
        struct userdata_files *files;
        struct userdata_sysusers *out;
        struct user *users;
        size_t n;
};

static void left_out(const struct making *m, const struct config_node *node, const char *name,
                     const char *why)
{
        config_warning(m->problems, node->at, "users: %s: %s", name, why);
}

/* --- who ---------------------------------------------------------------------------------------*/

static bool is_taken(const struct making *m, uint64_t uid)
{
        for (size_t i = 0; i < m->n; i++) {
                if (m->users[i].has_uid && m->users[i].uid == uid)
                        return true;
        }
        return false;
}

static void take_said_id(struct making *m, struct user *u)
{
        const struct config_node *node = config_node_find(u->node, "uid");
        uint64_t uid;

        if (!node || node->kind == CONFIG_NOTHING)
                return;
        if (node->kind != CONFIG_SCALAR || parse_u64_max(node->text, USERDATA_LAST_UID, &uid) < 0 ||
            uid == 0 || is_taken(m, uid)) {
                config_error(m->problems, node->at, "users: %s: no uid that can be had", u->name);
                return;
        }
        u->uid = uid;
        u->has_uid = true;
}

/*
 * A user keeps the id that owns its home folder, because the folder outlives /etc; else the next
 * free one is taken, in the order of the list.
 */
static void choose_ids(struct making *m)
{
        uint64_t next = USERDATA_FIRST_UID;

        for (size_t i = 0; i < m->n; i++) {
                const struct user *u = &m->users[i];
                const struct userdata_account *owner =
                        userdata_accounts_owner(m->accounts, u->name);

                if (!u->has_uid && !u->account && owner && !is_taken(m, owner->uid)) {
                        m->users[i].uid = owner->uid;
                        m->users[i].has_uid = true;
                }
        }
        for (size_t i = 0; i < m->n; i++) {
                struct user *u = &m->users[i];

                if (u->has_uid || u->account || u->of_system)
                        continue;
                while (is_taken(m, next) ||
                       userdata_accounts_used(m->accounts, (uid_t)next, u->name))
                        next++;
                u->uid = next;
                u->has_uid = true;
        }
}

static bool field_ok(const char *text)
{
        for (; *text; text++) {
                if ((unsigned char)*text < ' ' || strchr(":\"\\%", *text))
                        return false;
        }
        return true;
}

static void choose_home(const struct making *m, struct user *u)
{
        const char *said = userdata_node_text(u->node, "homedir"), *home = said;

        if (said &&
            (!userdata_path_ok(said) || !field_ok(said) || strlen(said) >= sizeof(u->home))) {
                config_error(m->problems, u->node->at, "users: %s: no path for a home", u->name);
                home = NULL;
        }
        if (u->account)
                home = u->account->home;
        (void)snprintf(u->home, sizeof(u->home), home ? "%s" : "/home/%s", home ?: u->name);
}

static int collect(struct making *m, const struct config_node *list)
{
        m->users = calloc(list->n + 1, sizeof(*m->users));
        if (!m->users)
                return -ENOMEM;
        for (const struct config_node *node = list->first; node; node = node->next) {
                struct user *u = &m->users[m->n];

                if (node->kind != CONFIG_MAP)
                        continue; /* the user that cloud-init would have */
                u->node = node;
                u->name = userdata_node_text(node, "name");
                u->account = userdata_accounts_find(m->accounts, u->name);
                u->of_system = userdata_node_bool(node, "system", false);
                if (!u->account)
                        take_said_id(m, u);
                choose_home(m, u);
                m->n++;
        }
        choose_ids(m);
        return 0;
}

/* --- lines -------------------------------------------------------------------------------------*/

static int add_group(const struct making *m, const struct user *u, const char *group)
{
        if (!userdata_user_name_ok(group)) {
                left_out(m, u->node, u->name, "a group that has no name of a group is left out");
                return 0;
        }
        return buf_printf(&m->out->users, "m %s %s\n", u->name, group);
}

/* "a, b" or a list. */
static int add_groups(const struct making *m, const struct user *u)
{
        const struct config_node *node = config_node_find(u->node, "groups");
        _cleanup_free_ char *copy = NULL;
        char *rest, *word;
        int r = 0;

        if (!node || node->kind == CONFIG_NOTHING)
                return 0;
        for (const struct config_node *g = node->first; g && r == 0; g = g->next)
                r = add_group(m, u, g->kind == CONFIG_SCALAR ? g->text : "");
        if (node->kind != CONFIG_SCALAR)
                return r;
        copy = rest = strdup(node->text);
        if (!copy)
                return -ENOMEM;
        while (r == 0 && (word = strsep(&rest, ", "))) {
                if (*word)
                        r = add_group(m, u, word);
        }
        return r;
}

static int add_account(const struct making *m, const struct user *u)
{
        const char *group = userdata_node_text(u->node, "primary_group"),
                   *gecos = userdata_node_text(u->node, "gecos"),
                   *shell = userdata_node_text(u->node, "shell");
        char id[24] = "-";
        int r = 0;

        if (gecos && !field_ok(gecos)) {
                left_out(m, u->node, u->name, "gecos is left out");
                gecos = NULL;
        }
        if (!shell || !userdata_path_ok(shell) || !field_ok(shell))
                shell = m->accounts->has_bash ? "/bin/bash" : "/bin/sh";
        if (group && strcmp(group, u->name) == 0)
                group = NULL;
        if (group && !userdata_user_name_ok(group)) {
                left_out(m, u->node, u->name, "primary_group is left out");
                group = NULL;
        }
        if (u->has_uid)
                (void)snprintf(id, sizeof(id), "%" PRIu64, u->uid);
        /* A group beside an id needs both to be there. */
        if (group && u->has_uid)
                r = buf_printf(&m->out->users, "g %s -\nu %s %s:%s", group, u->name, id, group);
        else
                r = buf_printf(&m->out->users, "u %s %s", u->name, id);
        return r < 0 ? r
                     : buf_printf(&m->out->users, " \"%s\" \"%s\" \"%s\"\n",
                                  gecos && *gecos ? gecos : u->name, u->home, shell);
}

static int add_credential(const struct making *m, const struct user *u, const char *kind,
                          const char *value)
{
        _cleanup_free_ char *path = NULL;
        struct userdata_file *f;
        int r;

        if (asprintf(&path, USERDATA_CREDENTIALS "/passwd.%s.%s", kind, u->name) < 0) {
                path = NULL;
                return -ENOMEM;
        }
        f = userdata_files_add(m->files, path, 0600);
        r = f ? buf_add_str(&f->content, value) : -ENOMEM;
        return r < 0 ? r
                     : buf_printf(&m->out->credentials, "LoadCredential=passwd.%s.%s:%s\n", kind,
                                  u->name, path);
}

static int add_password(const struct making *m, const struct user *u)
{
        const char *hash = userdata_node_text(u->node, "hashed_passwd"),
                   *plain = userdata_node_text(u->node, "plain_text_passwd");
        bool lock = userdata_node_bool(u->node, "lock_passwd",
                                       userdata_node_bool(u->node, "lock-passwd", true));

        if ((!hash && !plain) || lock)
                return 0;
        if (u->account) {
                left_out(m, u->node, u->name,
                         "the password is left out: the account is the image's");
                return 0;
        }
        if (strchr(hash ?: plain, '\n')) {
                left_out(m, u->node, u->name, "a password is one line; it is left out");
                return 0;
        }
        return add_credential(m, u, hash ? "hashed-password" : "plaintext-password", hash ?: plain);
}

/* --- home --------------------------------------------------------------------------------------*/

/* Owner and group of what is in the home, as tmpfiles.d has them. */
static int add_line(const struct making *m, const struct user *u, const char *type,
                    const char *below, const char *mode)
{
        const char *group = userdata_node_text(u->node, "primary_group");
        struct buf *out = &m->out->files;

        if (u->account)
                return buf_printf(out, "%s \"%s%s\" %s %" PRIu32 " %" PRIu32 " -", type, u->home,
                                  below, mode, u->account->uid, u->account->gid);
        return buf_printf(out, "%s \"%s%s\" %s %s %s -", type, u->home, below, mode, u->name,
                          group && userdata_user_name_ok(group) ? group : u->name);
}

static int add_base64(struct buf *out, const struct buf *content)
{
        int r = buf_add_str(out, " ");

        if (r == 0)
                r = base64_encode(content->data, content->len, out);
        return r < 0 ? r : buf_add_str(out, "\n");
}

static int add_keys(const struct making *m, const struct user *u)
{
        const struct config_node *keys = config_node_find(u->node, "ssh_authorized_keys");
        _cleanup_(buf_done) struct buf text = BUF_INIT(LIMIT_USERDATA);
        int r = 0;

        if (!keys || keys->kind != CONFIG_LIST || keys->n == 0)
                return 0;
        for (const struct config_node *k = keys->first; k && r == 0; k = k->next)
                r = buf_printf(&text, "%s\n", k->text);
        if (r == 0)
                r = add_line(m, u, "d", "/.ssh", "0700");
        if (r == 0)
                r = buf_add_str(&m->out->files, "\n");
        if (r == 0)
                r = add_line(m, u, "f+~", "/.ssh/authorized_keys", "0600");
        return r < 0 ? r : add_base64(&m->out->files, &text);
}

static int add_home(const struct making *m, const struct user *u)
{
        bool made = !u->account && !userdata_node_bool(u->node, "no_create_home", u->of_system);
        int r = 0;

        if (made)
                r = add_line(m, u, "d", "", "0700");
        if (r == 0 && made)
                r = buf_add_str(&m->out->files, "\n");
        return r < 0 ? r : add_keys(m, u);
}

/* --- sudo --------------------------------------------------------------------------------------*/

static int add_rule(const struct user *u, const struct config_node *rule, struct buf *text)
{
        if (rule->kind != CONFIG_SCALAR || rule->binary || strchr(rule->text, '\n') ||
            strcasecmp(rule->text, "false") == 0)
                return 0;
        return buf_printf(text, "%s %s\n", u->name, rule->text);
}

static int add_sudo(const struct making *m)
{
        _cleanup_(buf_done) struct buf text = BUF_INIT(LIMIT_USERDATA);
        int r = 0;

        for (size_t i = 0; i < m->n && r == 0; i++) {
                const struct config_node *sudo = config_node_find(m->users[i].node, "sudo");

                if (!sudo)
                        continue;
                r = add_rule(&m->users[i], sudo, &text);
                for (const struct config_node *s = sudo->first; s && r == 0; s = s->next)
                        r = add_rule(&m->users[i], s, &text);
        }
        if (r < 0 || text.len == 0)
                return r;
        r = buf_add_str(&m->out->files, "f+~ /etc/sudoers.d/90-tb-agent 0440 root root -");
        return r < 0 ? r : add_base64(&m->out->files, &text);
}

/* --- all ---------------------------------------------------------------------------------------*/

static void tell_unknown(const struct making *m, const struct user *u)
{
        static const char *const known[] = {"name",           "uid",
                                            "gecos",          "homedir",
                                            "shell",          "system",
                                            "primary_group",  "groups",
                                            "no_create_home", "lock_passwd",
                                            "lock-passwd",    "hashed_passwd",
                                            "sudo",           "no_log_init",
                                            "no_user_group",  "plain_text_passwd",
                                            "create_groups",  "ssh_authorized_keys"};

        for (const struct config_node *k = u->node->first; k; k = k->next) {
                size_t i = 0;

                while (i < ARRAY_SIZE(known) && strcmp(known[i], k->key) != 0)
                        i++;
                if (i == ARRAY_SIZE(known))
                        config_warning(m->problems, k->key_at,
                                       "users: %s: \"%s\" is left out: only cloud-init does it",
                                       u->name, k->key);
        }
}

static int add_user(const struct making *m, const struct user *u)
{
        int r = u->account ? 0 : add_account(m, u);

        tell_unknown(m, u);
        if (r == 0)
                r = add_groups(m, u);
        if (r == 0)
                r = add_password(m, u);
        return r < 0 ? r : add_home(m, u);
}

/* [NAME...] or [{NAME: [MEMBER...]}...], the uppermost "groups". */
static int add_top_groups(const struct making *m, const struct config_node *tree)
{
        const struct config_node *groups = config_node_find(tree, "groups");
        int r = 0;

        if (!groups || groups->kind != CONFIG_LIST)
                return 0;
        for (const struct config_node *g = groups->first; g && r == 0; g = g->next) {
                const struct config_node *named = g->kind == CONFIG_MAP ? g->first : g;
                const char *name = g->kind == CONFIG_MAP && named ? named->key : g->text;

                if (!name || !userdata_user_name_ok(name)) {
                        config_error(m->problems, g->at, "groups: no name of a group");
                        continue;
                }
                r = buf_printf(&m->out->users, "g %s -\n", name);
                for (const struct config_node *u = named->first; u && r == 0; u = u->next) {
                        if (u->kind == CONFIG_SCALAR && userdata_user_name_ok(u->text))
                                r = buf_printf(&m->out->users, "m %s %s\n", u->text, name);
                }
        }
        return r;
}

int userdata_sysusers(const struct config_node *tree, const struct userdata_accounts *accounts,
                      struct config_problems *problems, struct userdata_files *files,
                      struct userdata_sysusers *ret)
{
        struct making m = {.accounts = accounts, .problems = problems, .files = files, .out = ret};
        const struct config_node *users = config_node_find(tree, "users");
        int r = users ? collect(&m, users) : 0;

        for (size_t i = 0; i < m.n && r == 0; i++)
                r = add_user(&m, &m.users[i]);
        if (r == 0)
                r = add_top_groups(&m, tree);
        if (r == 0)
                r = add_sudo(&m);
        ret->n = m.n;
        free(m.users);
        return r;
}
