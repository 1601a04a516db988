/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/userdata.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "agent/userdata_node.h"
#include "agent/userdata_stage.h"
#include "agent/userdata_table.h"
#include "agent/userdata_user.h"
#include "agent/userdata_yaml.h"
#include "base/file.h"
#include "base/limits.h"
#include "base/num.h"

/* --- files -------------------------------------------------------------------------------------*/

struct userdata_file *userdata_files_add(struct userdata_files *files, const char *path,
                                         mode_t mode)
{
        struct userdata_file *more = realloc(files->item, (files->n + 1) * sizeof(*more)), *f;

        if (!more)
                return NULL;
        files->item = more;
        f = &more[files->n];
        *f = (struct userdata_file){
                .path = strdup(path), .mode = mode, .content = BUF_INIT(LIMIT_USERDATA)};
        if (!f->path)
                return NULL;
        files->n++;
        return f;
}

void userdata_files_done(struct userdata_files *files)
{
        for (size_t i = 0; i < files->n; i++) {
                struct userdata_file *f = &files->item[i];

                if (f->content.data)
                        explicit_bzero(f->content.data, f->content.allocated);
                buf_done(&f->content);
                free(f->path);
        }
        free(files->item);
        *files = (struct userdata_files){.item = NULL};
}

/* A file with its mode before it has content. */
static int write_file(const struct userdata_file *f, const char *path)
{
        _cleanup_free_ char *dir = strdup(path);
        char *slash = dir ? strrchr(dir, '/') : NULL;
        _cleanup_close_ int fd = -EBADF;
        int r;

        if (!slash)
                return -ENOMEM;
        *slash = '\0';
        r = file_make_dirs(AT_FDCWD, dir, 0755);
        if (r < 0)
                return r;
        if (unlink(path) < 0 && errno != ENOENT)
                return -errno;
        fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, f->mode);
        if (fd < 0 || fchmod(fd, f->mode) < 0)
                return -errno;
        return f->content.len > 0 ? file_write(fd, f->content.data, f->content.len) : 0;
}

int userdata_write(const struct userdata_files *files, const char *root, struct error *e)
{
        for (size_t i = 0; i < files->n; i++) {
                _cleanup_free_ char *path = NULL;
                int r;

                if (asprintf(&path, "%s%s", root, files->item[i].path) < 0) {
                        path = NULL;
                        return error_oom(e);
                }
                r = write_file(&files->item[i], path);
                if (r < 0)
                        return error_errno(e, -r, "%s", path);
        }
        return 0;
}

/* --- values ------------------------------------------------------------------------------------*/

int userdata_mode(const struct config_node *map, mode_t fallback, mode_t *ret)
{
        const struct config_node *m = config_node_find(map, "permissions");
        const char *text;
        uint64_t mode = 0;
        int r = 0;

        if (!m || m->kind == CONFIG_NOTHING) {
                *ret = fallback;
                return 0;
        }
        if (m->kind != CONFIG_SCALAR || m->binary)
                return -EINVAL;
        text = m->text + (strncmp(m->text, "0o", 2) == 0 ? 2 : 0);
        if (m->plain && *m->text != '0') {
                r = parse_u64_max(text, 07777, &mode);
        } else {
                size_t n = strlen(text);

                if (n == 0 || n > 5 || strspn(text, "01234567") != n)
                        return -EINVAL;
                for (; *text; text++)
                        mode = mode * 8 + (uint64_t)(*text - '0');
        }
        if (r < 0 || mode > 07777)
                return -EINVAL;
        *ret = (mode_t)mode;
        return 0;
}

bool userdata_path_ok(const char *path)
{
        if (path[0] != '/' || strlen(path) > LIMIT_CONFIG_TEXT)
                return false;
        for (const char *s = path; *s; s++) {
                if ((unsigned char)*s < ' ' || *s == 0x7f || strchr("\"'\\", *s))
                        return false;
        }
        for (const char *part = path; *part;) {
                size_t n = strcspn(part + 1, "/");

                if (n == 0 || (n == 1 && part[1] == '.') ||
                    (n == 2 && part[1] == '.' && part[2] == '.'))
                        return false;
                part += 1 + n;
        }
        return true;
}

/* Every engine is given the mode as a text of octal digits. */
static int keep_file(struct config_node *file, void *arg)
{
        const struct config_node *said = config_node_find(file, "permissions");
        const char *path = userdata_node_text(file, "path");
        char text[8];
        mode_t mode;
        int r = 0;

        if (!path || !userdata_path_ok(path)) {
                config_error(arg, file->at,
                             "write_files: a file needs an absolute path, without \"..\", quotes "
                             "and backslashes");
                return 0;
        }
        if (userdata_mode(file, 0644, &mode) < 0) {
                config_error(arg, file->at, "write_files: permissions are like \"0644\"");
                return 0;
        }
        (void)snprintf(text, sizeof(text), "%04o", mode & 07777u);
        if (said)
                r = userdata_node_set(file, "permissions", text, false, said->at);
        return r < 0 ? r : 1;
}

/* A text, or the words of a program. */
static int keep_command(struct config_node *command, void *arg)
{
        bool good = command->kind == CONFIG_SCALAR && !command->binary;

        if (command->kind == CONFIG_LIST && command->n > 0) {
                good = true;
                for (const struct config_node *w = command->first; w; w = w->next)
                        good = good && w->kind == CONFIG_SCALAR && !w->binary;
        }
        if (!good)
                config_error(arg, command->at, "a command is a text or a list of words");
        return good;
}

static int settle_list(struct config_node *tree, const char *key,
                       int (*keep)(struct config_node *, void *), struct config_problems *problems)
{
        struct config_node *list = config_node_find(tree, key);

        if (!list)
                return 0;
        if (list->kind == CONFIG_LIST)
                return userdata_node_filter(list, keep, problems);
        if (list->kind != CONFIG_NOTHING)
                config_error(problems, list->at, "%s: expected a list", key);
        config_node_free(userdata_node_take(tree, key));
        return 0;
}

static bool is_host_name(const char *s)
{
        static const char inner[] =
                "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-";
        size_t n = strlen(s);

        return n > 0 && n <= LIMIT_NODE_NAME && strspn(s, inner) == n && !strchr(".-", s[0]) &&
               !strchr(".-", s[n - 1]) && !strstr(s, "..");
}

static void settle_name(struct config_node *tree, const char *key, struct config_problems *problems)
{
        const struct config_node *m = config_node_find(tree, key);
        const char *text = userdata_node_text(tree, key);

        if (!m || (text && is_host_name(text)))
                return;
        if (text && strstr(text, "{{"))
                config_warning(problems, m->at, "%s is left out: templates are not filled in", key);
        else if (m->kind != CONFIG_NOTHING)
                config_error(problems, m->at, "%s: no name that a host can have", key);
        config_node_free(userdata_node_take(tree, key));
}

static int settle(struct config_node *tree, struct config_problems *problems)
{
        int r = userdata_user_settle(tree, problems);

        settle_name(tree, "hostname", problems);
        settle_name(tree, "fqdn", problems);
        if (r == 0)
                r = settle_list(tree, "write_files", keep_file, problems);
        if (r == 0)
                r = settle_list(tree, "bootcmd", keep_command, problems);
        return r < 0 ? r : settle_list(tree, "runcmd", keep_command, problems);
}

/* --- documents ---------------------------------------------------------------------------------*/

static int keep_known(struct config_node *m, void *arg)
{
        const struct userdata_key *key = userdata_table_find(userdata_top_keys, m->key);

        if (key && key->use == USERDATA_REFUSED)
                config_warning(arg, m->key_at, "%s is left out: %s", m->key, key->why);
        return (key && key->use != USERDATA_REFUSED) || strcmp(m->key, "stages") == 0;
}

/* The texts of a template are not what they will be. */
static bool is_template(const struct config_document *d)
{
        static const char mark[] = "## template:";

        return d->text.len >= sizeof(mark) - 1 && memcmp(d->text.data, mark, sizeof(mark) - 1) == 0;
}

static int add_document(struct userdata *u, const struct config_document *d,
                        struct config_problems *problems)
{
        struct config_node *tree = NULL;
        int r;

        config_problems_next(problems);
        if (is_template(d)) {
                config_error(problems, (struct config_place){d->name, 1, 1},
                             "user data is left out: templates are not filled in");
                return 0;
        }
        r = userdata_yaml_read(buf_str(&d->text), d->text.len, d->name, problems, &tree);
        if (r == 0 && tree)
                r = userdata_node_filter(tree, keep_known, problems);
        if (r == 0 && tree)
                config_node_merge(u->tree, tree);
        config_node_free(tree);
        return r;
}

static int keep_something(struct config_node *m, void *arg)
{
        (void)arg;
        /* "users: []" says that there are none. */
        return m->kind != CONFIG_NOTHING &&
               !(m->kind == CONFIG_LIST && m->n == 0 && strcmp(m->key, "users") != 0);
}

int userdata_make(const struct config_document *documents, size_t n,
                  struct config_problems *problems, struct userdata **ret, struct error *e)
{
        _cleanup_(userdata_free_p) struct userdata *u = calloc(1, sizeof(*u));
        int r = 0;

        if (!u)
                return error_oom(e);
        u->tree = config_node_new(CONFIG_MAP, (struct config_place){.file = NULL});
        if (!u->tree)
                return error_oom(e);
        for (size_t i = 0; i < n && r == 0; i++)
                r = add_document(u, &documents[i], problems);
        config_problems_next(problems);
        /* Before the stages add to it, so that they find lists; after it for what they added. */
        if (r == 0)
                r = settle(u->tree, problems);
        if (r == 0)
                r = userdata_stage_translate(u, problems);
        if (r == 0)
                r = settle(u->tree, problems);
        if (r == 0)
                r = userdata_node_filter(u->tree, keep_something, NULL);
        if (r < 0)
                return error_oom(e);
        *ret = TAKE_PTR(u);
        return 0;
}

void userdata_free(struct userdata *u)
{
        if (!u)
                return;
        config_node_free(u->tree);
        userdata_files_done(&u->common);
        free(u);
}

bool userdata_empty(const struct userdata *u)
{
        return u->tree->n == 0 && u->common.n == 0;
}
