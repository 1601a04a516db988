/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/config_source.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "agent/config_yaml.h"
#include "base/file.h"
#include "base/limits.h"
#include "upgrade/source_name.h"

/* A path of a known folder. */
#define FOLDER_ROOM 512u

static void done(struct config_document *d)
{
        if (d->text.data)
                explicit_bzero(d->text.data, d->text.allocated);
        buf_done(&d->text);
        free(d->name);
        d->name = NULL;
}

void config_documents_free(struct config_document *documents, size_t n)
{
        for (size_t i = 0; i < n; i++)
                done(&documents[i]);
        free(documents);
}

/* Takes the document over in any case. */
static int append(struct config_documents *list, struct config_document *d, struct error *e)
{
        struct config_document *more;

        if (list->n >= LIMIT_CONFIG_FILES) {
                done(d);
                return error_set(e, ERROR_CONFIG, E2BIG, "more than %u configuration files",
                                 LIMIT_CONFIG_FILES);
        }
        more = realloc(list->item, (list->n + 1) * sizeof(*more));
        if (!more) {
                done(d);
                return error_oom(e);
        }
        list->item = more;
        list->item[list->n++] = *d;
        return 0;
}

static int cannot_read(const char *name, int r, struct error *e)
{
        if (r == -E2BIG)
                return error_set(e, ERROR_CONFIG, E2BIG, "configuration %s: larger than 1 MiB",
                                 name);
        return error_set(e, ERROR_CONFIG, -r, "configuration %s: %s", name, file_strerror(r));
}

/* The memory for a whole text at once: growing would leave copies of what is in it. One byte more
 * than is accepted shows that there is more. */
static int prepare(struct config_document *d, const char *name, struct error *e)
{
        uint8_t *room;

        *d = (struct config_document){.name = strdup(name),
                                      .text = BUF_INIT(LIMIT_CONFIG_DOCUMENT + 1)};
        if (d->name && buf_reserve(&d->text, LIMIT_CONFIG_DOCUMENT + 1, &room) == 0)
                return 0;
        done(d);
        return error_oom(e);
}

/* --- files -------------------------------------------------------------------------------------*/

static int read_stream(int fd, struct buf *out)
{
        while (out->len <= LIMIT_CONFIG_DOCUMENT) {
                size_t left = (size_t)LIMIT_CONFIG_DOCUMENT + 1 - out->len;
                uint8_t *to;
                ssize_t n;
                int r = buf_reserve(out, left, &to);

                if (r < 0)
                        return r;
                n = read(fd, to, left);
                if (n < 0 && errno != EINTR)
                        return -errno;
                if (n == 0)
                        return 0;
                if (n > 0)
                        buf_commit(out, (size_t)n);
        }
        return -E2BIG;
}

/* path NULL: standard input. */
static int read_file(const char *path, struct config_document *ret, struct error *e)
{
        const char *name = path ?: "stdin";
        int r = prepare(ret, name, e);

        if (r < 0)
                return r;
        r = path ? file_read(AT_FDCWD, path, &ret->text) : read_stream(STDIN_FILENO, &ret->text);
        if (r == 0 && ret->text.len > LIMIT_CONFIG_DOCUMENT)
                r = -E2BIG;
        if (r == 0)
                return 0;
        done(ret);
        return cannot_read(name, r, e);
}

/* --- servers -----------------------------------------------------------------------------------*/

static int transfer(struct fetch *f, struct buf *out, struct error *e)
{
        const struct fetch_info *info;
        int r = fetch_resolve(f, &info, e);

        if (r == 0)
                r = fetch_begin(f, 0, e);
        while (r == 0) {
                uint8_t chunk[4096];
                ssize_t n = fetch_read(f, chunk, sizeof(chunk), e);

                if (n <= 0)
                        r = n < 0 ? (int)n : 1;
                else if (buf_add(out, chunk, (size_t)n) < 0)
                        r = error_set(e, ERROR_CONFIG, E2BIG, "larger than 1 MiB");
                explicit_bzero(chunk, sizeof(chunk));
        }
        return r > 0 ? 0 : r;
}

static int read_url(const char *url, const struct fetch_options *wished,
                    struct config_document *ret, struct error *e)
{
        _cleanup_(source_name_done) struct source_name name = {.text = NULL};
        _cleanup_(fetch_free_p) struct fetch *f = NULL;
        struct fetch_options options;
        int r;

        if (!wished)
                return error_set(e, ERROR_INTERNAL, EINVAL, "a URL, and nobody to fetch it");
        r = source_name_parse(url, &name, e);
        if (r == 0)
                r = prepare(ret, name.text, e);
        if (r < 0)
                return r;
        options = *wished;
        options.any_file = LIMIT_CONFIG_DOCUMENT;
        options.want_loader = false;
        options.spool = -EBADF;
        r = fetch_open(&name, &options, &f, e);
        if (r == 0)
                r = transfer(f, &ret->text, e);
        if (r == 0)
                return 0;
        /* No image was refused here: the server does not have this file. */
        if (e && e->class == ERROR_REFUSED)
                e->class = ERROR_CONFIG;
        done(ret);
        return error_wrap(e, r, "configuration %s", name.text);
}

/* --- known folders -----------------------------------------------------------------------------*/

static bool is_yaml(const char *name)
{
        const char *dot = strrchr(name, '.');

        return dot && dot > name && *name != '.' &&
               (strcmp(dot, ".yaml") == 0 || strcmp(dot, ".yml") == 0);
}

static int by_name(const void *a, const void *b)
{
        return strcmp(*(char *const *)a, *(char *const *)b);
}

static void free_names(char **names, size_t n)
{
        for (size_t i = 0; i < n; i++)
                free(names[i]);
        free(names);
}

/* The names of YAML files in a folder, in order. A folder that is not there has none. */
static int list_folder(const char *path, char ***ret, size_t *ret_n, struct error *e)
{
        char **names = calloc(LIMIT_CONFIG_FILES, sizeof(*names));
        DIR *d = names ? opendir(path) : NULL;
        size_t n = 0;
        int r = 0;

        if (!names)
                return error_oom(e);
        if (!d && errno != ENOENT && errno != ENOTDIR)
                r = cannot_read(path, -errno, e);
        for (const struct dirent *x = d ? readdir(d) : NULL; x && r == 0; x = readdir(d)) {
                if (!is_yaml(x->d_name))
                        continue;
                if (n >= LIMIT_CONFIG_FILES)
                        r = error_set(e, ERROR_CONFIG, E2BIG,
                                      "%s: more than %u configuration files", path,
                                      LIMIT_CONFIG_FILES);
                else if (!(names[n] = strdup(x->d_name)))
                        r = error_oom(e);
                else
                        n++;
        }
        if (d)
                (void)closedir(d);
        if (r < 0) {
                free_names(names, n);
                return r;
        }
        qsort(names, n, sizeof(*names), by_name);
        *ret = names;
        *ret_n = n;
        return 0;
}

static int take_known(const char *path, struct config_problems *problems,
                      struct config_documents *list, struct error *e)
{
        struct config_document d;
        int r = read_file(path, &d, e);

        if (r < 0)
                return r;
        if (config_yaml_has_header(buf_str(&d.text), d.text.len))
                return append(list, &d, e);
        config_problems_next(problems);
        config_warning(problems, (struct config_place){path, 1, 1},
                       "left out: the header #cloud-config is missing");
        done(&d);
        return 0;
}

static int read_folder(const char *folder, struct config_problems *problems,
                       struct config_documents *list, struct error *e)
{
        char **names = NULL;
        size_t n = 0;
        int r = list_folder(folder, &names, &n, e);

        if (r < 0)
                return r;
        for (size_t i = 0; i < n && r == 0; i++) {
                _cleanup_free_ char *path = NULL;

                if (asprintf(&path, "%s/%s", folder, names[i]) < 0) {
                        path = NULL;
                        r = error_oom(e);
                } else {
                        r = take_known(path, problems, list, e);
                }
        }
        free_names(names, n);
        return r;
}

/* A folder whose files may be wrong. */
static int read_forgiving(const char *folder, struct config_problems *problems,
                          struct config_documents *list, struct error *e)
{
        struct error error = ERROR_INIT;
        char **names = NULL;
        size_t n = 0;
        int r = list_folder(folder, &names, &n, &error);

        if (r < 0)
                config_error(problems, (struct config_place){folder, 1, 1}, "%s", error.text);
        r = r == -ENOMEM ? error_oom(e) : 0;
        for (size_t i = 0; i < n && r == 0; i++) {
                _cleanup_free_ char *path = NULL;

                if (asprintf(&path, "%s/%s", folder, names[i]) < 0) {
                        path = NULL;
                        r = error_oom(e);
                        break;
                }
                config_problems_next(problems);
                if (take_known(path, problems, list, &error) < 0)
                        config_error(problems, (struct config_place){path, 1, 1}, "%s", error.text);
        }
        free_names(names, n);
        return r;
}

int config_source_read_at_boot(const struct env *env, bool persistent, bool oem,
                               struct config_problems *problems, struct config_documents *ret,
                               struct error *e)
{
        const struct {
                const char *base, *rest;
                bool there;
        } folders[] = {{env->root, "/etc/kairos", true},
                       {env->persistent, "/cloud-config", persistent},
                       {env->oem, "", oem}};
        struct config_documents list = {.item = NULL};
        int r = 0;

        for (size_t i = 0; i < ARRAY_SIZE(folders) && r == 0; i++) {
                char path[FOLDER_ROOM];

                if (!folders[i].there)
                        continue;
                if ((size_t)snprintf(path, sizeof(path), "%s%s", folders[i].base,
                                     folders[i].rest) >= sizeof(path))
                        r = error_set(e, ERROR_USAGE, ENAMETOOLONG, "%s: too long",
                                      folders[i].base);
                else
                        r = read_forgiving(path, problems, &list, e);
        }
        if (r < 0) {
                config_documents_free(list.item, list.n);
                return r;
        }
        *ret = list;
        return 0;
}

static int read_known(const struct env *env, struct config_problems *problems,
                      struct config_documents *list, struct error *e)
{
        const struct {
                const char *base, *rest;
        } folders[] = {{env->run, "/initramfs/live"},
                       {env->root, "/etc/kairos"},
                       {env->persistent, "/cloud-config"},
                       {env->oem, ""}};
        int r = 0;

        for (size_t i = 0; i < ARRAY_SIZE(folders) && r == 0; i++) {
                char path[FOLDER_ROOM];

                if ((size_t)snprintf(path, sizeof(path), "%s%s", folders[i].base,
                                     folders[i].rest) >= sizeof(path))
                        return error_set(e, ERROR_USAGE, ENAMETOOLONG, "%s: too long",
                                         folders[i].base);
                r = read_folder(path, problems, list, e);
        }
        return r;
}

static bool is_url(const char *s)
{
        return strncmp(s, "https://", 8) == 0 || strncmp(s, "http://", 7) == 0;
}

static int read_named(const struct config_wish *wish, struct config_documents *list,
                      struct error *e)
{
        bool used_stdin = false;
        int r = 0;

        for (unsigned i = 0; i < wish->n_sources && r == 0; i++) {
                const char *s = wish->sources[i];
                struct config_document d = {.name = NULL};
                bool is_stdin = strcmp(s, "-") == 0;

                if (is_stdin && used_stdin)
                        return error_set(e, ERROR_USAGE, EINVAL, "standard input can be read once");
                used_stdin = used_stdin || is_stdin;
                if (is_url(s))
                        r = read_url(s, wish->fetch, &d, e);
                else
                        r = read_file(is_stdin ? NULL : s, &d, e);
                if (r == 0)
                        r = append(list, &d, e);
        }
        return r;
}

int config_source_read(const struct env *env, const struct config_wish *wish,
                       struct config_problems *problems, struct config_documents *ret,
                       struct error *e)
{
        struct config_documents list = {.item = NULL};
        int r = 0;

        if (wish->known_folders || wish->n_sources == 0)
                r = read_known(env, problems, &list, e);
        if (r == 0)
                r = read_named(wish, &list, e);
        if (r < 0) {
                config_documents_free(list.item, list.n);
                return r;
        }
        *ret = list;
        return 0;
}
