/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/userdata_stage.h"

#include <stdio.h>
#include <string.h>

#include "agent/userdata_node.h"
#include "agent/userdata_table.h"
#include "agent/userdata_user.h"

#define MODULES_FILE "/run/modules-load.d/tb-agent.conf"
#define SYSCTL_FILE "/run/sysctl.d/tb-agent.conf"
#define DNS_FILE "/run/systemd/resolved.conf.d/tb-agent.conf"
#define TIME_FILE "/run/systemd/timesyncd.conf.d/tb-agent.conf"

struct translation {
        struct userdata *u;
        struct config_problems *problems;
};

static void wrong(const struct translation *t, const struct config_node *node, const char *what)
{
        config_error(t->problems, node->at, "stages: %s", what);
}

/* A text of one line, with nothing in it that a line of a file of ours cannot hold. */
static const char *line_of(const struct config_node *node)
{
        if (node->kind != CONFIG_SCALAR || node->binary)
                return NULL;
        for (const char *s = node->text; *s; s++) {
                if ((unsigned char)*s < ' ')
                        return NULL;
        }
        return node->text;
}

static struct config_node *top_list(const struct translation *t, const char *key,
                                    const struct config_node *from)
{
        return userdata_node_list(t->u->tree, key, from->at);
}

/* --- commands ----------------------------------------------------------------------------------*/

/* Appends a command of words to runcmd or bootcmd; words end with NULL. */
static int append_command(const struct translation *t, const char *key, const char *const *words,
                          const struct config_node *from)
{
        struct config_node *list = top_list(t, key, from), *command;
        int r = 0;

        command = list ? config_node_new(CONFIG_LIST, from->at) : NULL;
        if (!command)
                return -ENOMEM;
        config_node_add(list, command);
        for (; *words && r == 0; words++)
                r = userdata_node_append(command, *words, from->at);
        return r;
}

/* Each is a program of its own: neither a folder nor an exit of one reaches the next. */
static int take_commands(const struct translation *t, struct config_node *value)
{
        int r = 0;

        for (struct config_node *c = value->first; c && r == 0; c = c->next) {
                const char *const words[] = {"sh", "-c", c->text, NULL};

                if (c->kind == CONFIG_SCALAR && !c->binary)
                        r = append_command(t, "runcmd", words, c);
                else
                        wrong(t, c, "a command is a text");
        }
        return r;
}

static int take_units(const struct translation *t, struct config_node *list, const char *verb,
                      const char *option)
{
        int r = 0;

        for (struct config_node *c = list->first; c && r == 0; c = c->next) {
                const char *const words[] = {"systemctl", verb, option, "--", c->text, NULL};

                if (line_of(c))
                        r = append_command(t, "runcmd", words, c);
                else
                        wrong(t, c, "a unit is a name");
        }
        return r;
}

static int take_systemctl(const struct translation *t, struct config_node *value)
{
        static const struct {
                const char *verb, *option;
        } verbs[] = {{"mask", "--now"},
                     {"disable", "--now"},
                     {"enable", "--now"},
                     {"start", "--no-block"}};
        int r = 0;

        for (struct config_node *m = value->first; m && r == 0; m = m->next) {
                size_t i = 0;

                while (i < ARRAY_SIZE(verbs) && strcmp(verbs[i].verb, m->key) != 0)
                        i++;
                if (i < ARRAY_SIZE(verbs) && m->kind == CONFIG_LIST)
                        r = take_units(t, m, verbs[i].verb, verbs[i].option);
                else
                        config_warning(t->problems, m->key_at,
                                       "stages: systemctl: \"%s\" is left out; known are lists of "
                                       "enable, disable, start and mask",
                                       m->key);
        }
        return r;
}

/* --- files -------------------------------------------------------------------------------------*/

static const char *format_mode(mode_t mode, char buf[8])
{
        (void)snprintf(buf, 8, "%04o", mode & 07777u);
        return buf;
}

/* "0" or nothing is root; other numbers are no names that cloud-init takes. */
static const char *number_of(const struct config_node *map, const char *key)
{
        const char *text = userdata_node_text(map, key);

        return text && strcmp(text, "0") != 0 ? text : NULL;
}

static int set_owner(const struct translation *t, const struct config_node *from,
                     struct config_node *file, const char *path)
{
        const char *name = userdata_node_text(from, "owner_string"),
                   *uid = number_of(from, "owner"), *gid = number_of(from, "group");
        _cleanup_free_ char *owner = NULL;
        int r = 0;

        if (name && *name) {
                r = userdata_node_set(file, "owner", name, false, from->at);
                /* Users are made after the first files. */
                return r < 0 ? r : userdata_node_set(file, "defer", "true", true, from->at);
        }
        if (!uid && !gid)
                return 0;
        if (asprintf(&owner, "%s:%s", uid ?: "0", gid ?: "0") < 0) {
                owner = NULL;
                return -ENOMEM;
        }
        return append_command(t, "runcmd", (const char *const[]){"chown", "--", owner, path, NULL},
                              from);
}

static int add_file(const struct translation *t, struct config_node *from, const char *path,
                    mode_t mode)
{
        char text[8];
        static const char *const taken[] = {"content", "encoding"};
        struct config_node *list = top_list(t, "write_files", from), *file;
        int r;

        file = list ? config_node_new(CONFIG_MAP, from->at) : NULL;
        if (!file)
                return -ENOMEM;
        config_node_add(list, file);
        r = userdata_node_set(file, "path", path, false, from->at);
        if (r == 0)
                r = userdata_node_set(file, "permissions", format_mode(mode, text), false,
                                      from->at);
        for (size_t i = 0; i < ARRAY_SIZE(taken) && r == 0; i++) {
                struct config_node *m = userdata_node_take(from, taken[i]);

                if (m && m->kind == CONFIG_SCALAR && *m->text) {
                        m->plain = false; /* a text, whatever it looks like */
                        config_node_add(file, m);
                } else {
                        config_node_free(m);
                }
        }
        return r < 0 ? r : set_owner(t, from, file, path);
}

static int take_files(const struct translation *t, struct config_node *value)
{
        int r = 0;

        for (struct config_node *f = value->first; f && r == 0; f = f->next) {
                const char *path = userdata_node_text(f, "path");
                mode_t mode;

                if (!path || userdata_mode(f, 0644, &mode) < 0)
                        wrong(t, f, "a file needs a path, and permissions like 0644");
                else
                        r = add_file(t, f, path, mode);
        }
        return r;
}

static int take_directories(const struct translation *t, struct config_node *value)
{
        int r = 0;

        for (struct config_node *d = value->first; d && r == 0; d = d->next) {
                const char *path = userdata_node_text(d, "path");
                char text[8];
                mode_t mode;

                if (path && userdata_mode(d, 0755, &mode) == 0)
                        r = append_command(t, "bootcmd",
                                           (const char *const[]){
                                                   "install", "-d", "-m", format_mode(mode, text),
                                                   "-o", number_of(d, "owner") ?: "0", "-g",
                                                   number_of(d, "group") ?: "0", "--", path, NULL},
                                           d);
                else
                        wrong(t, d, "a directory needs a path, and permissions like 0755");
        }
        return r;
}

/* --- users -------------------------------------------------------------------------------------*/

static int take_users(const struct translation *t, struct config_node *value)
{
        struct config_node *users = top_list(t, "users", value);

        return users ? userdata_user_add_map(users, value, t->problems) : -ENOMEM;
}

/* A user that is known otherwise keeps its password. */
static int new_user(struct config_node *users, const char *name, const struct config_node *from,
                    struct config_problems *problems)
{
        struct config_node *user = config_node_new(CONFIG_MAP, from->at);

        if (!user)
                return -ENOMEM;
        if (userdata_node_set(user, "lock_passwd", "false", true, from->at) < 0) {
                config_node_free(user);
                return -ENOMEM;
        }
        return userdata_user_add(users, name, user, problems);
}

static int take_authorized_keys(const struct translation *t, struct config_node *value)
{
        struct config_node *users = top_list(t, "users", value), *keys, *user;
        int r = users ? 0 : -ENOMEM;

        for (struct config_node *m = value->first; m && r == 0; m = m->next) {
                if (!userdata_user_find(users, m->key))
                        r = new_user(users, m->key, m, t->problems);
                user = userdata_user_find(users, m->key);
                if (r < 0 || !user || m->kind != CONFIG_LIST)
                        continue;
                keys = userdata_node_list(user, "ssh_authorized_keys", m->at);
                if (!keys)
                        return -ENOMEM;
                for (struct config_node *k = m->first; k && r == 0; k = k->next) {
                        if (line_of(k))
                                r = userdata_node_append(keys, k->text, k->at);
                        else
                                wrong(t, k, "a key is one line of text");
                }
        }
        return r;
}

static int take_hostname(const struct translation *t, struct config_node *value)
{
        return userdata_node_set(t->u->tree, "hostname", value->text, false, value->at);
}

/* --- what systemd does in any image ------------------------------------------------------------*/

/* The file of that path, for one more line; the first time with its header. */
static struct userdata_file *common_file(const struct translation *t, const char *path,
                                         const char *header)
{
        struct userdata_files *files = &t->u->common;
        struct userdata_file *f;

        for (size_t i = 0; i < files->n; i++) {
                if (strcmp(files->item[i].path, path) == 0)
                        return &files->item[i];
        }
        f = userdata_files_add(files, path, 0644);
        return f && buf_add_str(&f->content, header) == 0 ? f : NULL;
}

static int take_modules(const struct translation *t, struct config_node *value)
{
        struct userdata_file *f = common_file(t, MODULES_FILE, "");
        int r = f ? 0 : -ENOMEM;

        for (struct config_node *m = value->first; m && r == 0; m = m->next) {
                if (line_of(m))
                        r = buf_printf(&f->content, "%s\n", m->text);
                else
                        wrong(t, m, "a module is a name");
        }
        return r;
}

static int take_lines(const struct translation *t, const struct config_node *value,
                      const char *path, const char *header, const char *format)
{
        struct userdata_file *f = common_file(t, path, header);
        int r = f ? 0 : -ENOMEM;

        for (const struct config_node *m = value->first; m && r == 0; m = m->next) {
                if (line_of(m) && !strpbrk(m->key, "\n=[]#; "))
                        r = buf_printf(&f->content, "%s%s%s\n", m->key, format, m->text);
                else
                        wrong(t, m, "expected a name and a value of one line");
        }
        return r;
}

static int take_sysctl(const struct translation *t, struct config_node *value)
{
        return take_lines(t, value, SYSCTL_FILE, "", " = ");
}

static int take_timesyncd(const struct translation *t, struct config_node *value)
{
        return take_lines(t, value, TIME_FILE, "[Time]\n", "=");
}

static int add_words(const struct translation *t, struct buf *out, const char *key,
                     const struct config_node *list)
{
        int r = buf_printf(out, "%s=", key);

        for (const struct config_node *m = list->first; m && r == 0; m = m->next) {
                if (line_of(m) && !strchr(m->text, ' '))
                        r = buf_printf(out, "%s%s", m == list->first ? "" : " ", m->text);
                else
                        wrong(t, m, "dns: expected a word");
        }
        return r < 0 ? r : buf_add_str(out, "\n");
}

static int take_dns(const struct translation *t, struct config_node *value)
{
        struct userdata_file *f = common_file(t, DNS_FILE, "[Resolve]\n");
        int r = f ? 0 : -ENOMEM;

        for (struct config_node *m = value->first; m && r == 0; m = m->next) {
                bool servers = strcmp(m->key, "nameservers") == 0;

                if (m->kind == CONFIG_LIST && (servers || strcmp(m->key, "search") == 0))
                        r = add_words(t, &f->content, servers ? "DNS" : "Domains", m);
                else
                        config_warning(t->problems, m->key_at,
                                       "stages: dns: \"%s\" is left out; known are lists of "
                                       "nameservers and search",
                                       m->key);
        }
        return r;
}

/* --- steps -------------------------------------------------------------------------------------*/

static const struct {
        const char *key;
        enum config_kind kind;
        int (*take)(const struct translation *t, struct config_node *value);
} takers[] = {{"authorized_keys", CONFIG_MAP, take_authorized_keys},
              {"commands", CONFIG_LIST, take_commands},
              {"directories", CONFIG_LIST, take_directories},
              {"dns", CONFIG_MAP, take_dns},
              {"files", CONFIG_LIST, take_files},
              {"hostname", CONFIG_SCALAR, take_hostname},
              {"modules", CONFIG_LIST, take_modules},
              {"sysctl", CONFIG_MAP, take_sysctl},
              {"systemctl", CONFIG_MAP, take_systemctl},
              {"timesyncd", CONFIG_MAP, take_timesyncd},
              {"users", CONFIG_MAP, take_users}};

static int take_member(const struct translation *t, struct config_node *m)
{
        size_t i = 0;

        while (i < ARRAY_SIZE(takers) && strcmp(takers[i].key, m->key) != 0)
                i++;
        if (i == ARRAY_SIZE(takers) || m->kind == CONFIG_NOTHING)
                return 0;
        if (m->kind == takers[i].kind && !m->binary)
                return takers[i].take(t, m);
        config_error(t->problems, m->at, "stages: %s: expected %s", m->key,
                     takers[i].kind == CONFIG_MAP    ? "a map"
                     : takers[i].kind == CONFIG_LIST ? "a list"
                                                     : "a text");
        return 0;
}

/* Whether the step may be taken; what stands in its way is told. */
static bool check_step(const struct translation *t, const struct config_node *step)
{
        bool good = true;

        for (const struct config_node *m = step->first; m; m = m->next) {
                const struct userdata_key *key = userdata_table_find(userdata_step_keys, m->key);

                if (!key) {
                        config_warning(t->problems, m->key_at,
                                       "stages: \"%s\" is left out: not known here", m->key);
                } else if (key->use == USERDATA_STEP) {
                        config_warning(t->problems, m->key_at,
                                       "stages: this step is left out, because of \"%s\": %s",
                                       m->key, key->why);
                        good = false;
                } else if (key->use == USERDATA_REFUSED) {
                        config_warning(t->problems, m->key_at, "stages: \"%s\" is left out: %s",
                                       m->key, key->why);
                }
        }
        return good;
}

static int take_step(const struct translation *t, struct config_node *step)
{
        int r = 0;

        if (step->kind != CONFIG_MAP) {
                wrong(t, step, "a step is a map");
                return 0;
        }
        if (!check_step(t, step))
                return 0;
        for (struct config_node *m = step->first; m && r == 0; m = m->next)
                r = take_member(t, m);
        return r;
}

static int take_stage(const struct translation *t, struct config_node *stages, const char *name)
{
        _cleanup_(config_node_free_p) struct config_node *stage = userdata_node_take(stages, name);
        int r = 0;

        if (stage && stage->kind != CONFIG_LIST && stage->kind != CONFIG_NOTHING)
                wrong(t, stage, "a stage is a list of steps");
        else if (stage)
                for (struct config_node *s = stage->first; s && r == 0; s = s->next)
                        r = take_step(t, s);
        return r;
}

static int take_stages(const struct translation *t, struct config_node *stages)
{
        static const char *const parts[] = {".before", "", ".after"};
        int r = 0;

        for (size_t i = 0; userdata_stages[i] && r == 0; i++) {
                for (size_t k = 0; k < ARRAY_SIZE(parts) && r == 0; k++) {
                        char name[64];

                        (void)snprintf(name, sizeof(name), "%s%s", userdata_stages[i], parts[k]);
                        r = take_stage(t, stages, name);
                }
        }
        for (const struct config_node *m = stages->first; m && r == 0; m = m->next) {
                config_warning(t->problems, m->key_at,
                               "stages: \"%s\" is left out: no part of a boot", m->key);
                config_advise(t->problems, "what surrounds an installation, an upgrade or a reset "
                                           "is a hook");
        }
        return r;
}

int userdata_stage_translate(struct userdata *u, struct config_problems *problems)
{
        _cleanup_(config_node_free_p) struct config_node *stages =
                userdata_node_take(u->tree, "stages");
        const struct translation t = {u, problems};

        if (!stages || stages->kind == CONFIG_NOTHING)
                return 0;
        if (stages->kind == CONFIG_MAP)
                return take_stages(&t, stages);
        wrong(&t, stages, "expected a map of stages");
        return 0;
}
