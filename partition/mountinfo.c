/* SPDX-License-Identifier: Apache-2.0 */
#include "partition/mountinfo.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/limits.h"
#include "base/num.h"

/* 36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue */
enum { FIELD_ID, FIELD_PARENT, FIELD_DEVICE, FIELD_ROOT, FIELD_TARGET, FIELD_OPTIONS, FIELDS };

void mountinfo_done(struct mountinfo *m)
{
        for (size_t i = 0; i < m->n; i++) {
                free(m->mount[i].target);
                free(m->mount[i].type);
                free(m->mount[i].source);
        }
        free(m->mount);
        *m = (struct mountinfo){.n = 0};
}

static bool is_octal(const char *s)
{
        return s[0] >= '0' && s[0] <= '3' && s[1] >= '0' && s[1] <= '7' && s[2] >= '0' &&
               s[2] <= '7';
}

void mountinfo_unescape(char *s)
{
        char *to = s;

        while (*s) {
                if (s[0] == '\\' && is_octal(s + 1)) {
                        *to++ = (char)((s[1] - '0') << 6 | (s[2] - '0') << 3 | (s[3] - '0'));
                        s += 4;
                } else {
                        *to++ = *s++;
                }
        }
        *to = '\0';
}

static int parse_number(const char *s, unsigned *ret)
{
        uint64_t v;
        int r = parse_u64_max(s, UINT_MAX, &v);

        if (r == 0)
                *ret = (unsigned)v;
        return r;
}

static int copy(char *s, char **ret)
{
        mountinfo_unescape(s);
        *ret = strdup(s);
        return *ret ? 0 : -ENOMEM;
}

/* Fields up to the optional ones; then, behind a lone "-", type and source. */
static int parse_line(char *line, struct mountinfo_mount *m)
{
        char *field[FIELDS], *type, *source, *minor;
        int r;

        for (size_t i = 0; i < FIELDS; i++) {
                field[i] = strsep(&line, " ");
                if (!line)
                        return -EBADMSG;
        }
        do {
                type = strsep(&line, " ");
                if (!line)
                        return -EBADMSG;
        } while (strcmp(type, "-") != 0);
        type = strsep(&line, " ");
        source = strsep(&line, " ");
        minor = strchr(field[FIELD_DEVICE], ':');
        if (!source || !minor)
                return -EBADMSG;
        *minor++ = '\0';
        if (parse_number(field[FIELD_ID], &m->id) < 0 ||
            parse_number(field[FIELD_PARENT], &m->parent) < 0 ||
            parse_number(field[FIELD_DEVICE], &m->major) < 0 || parse_number(minor, &m->minor) < 0)
                return -EBADMSG;
        r = copy(field[FIELD_TARGET], &m->target);
        if (r == 0)
                r = copy(type, &m->type);
        return r < 0 ? r : copy(source, &m->source);
}

int mountinfo_parse(char *text, struct mountinfo *ret, struct error *e)
{
        _cleanup_(mountinfo_done) struct mountinfo m = {.n = 0};
        size_t room = 1;
        char *line;
        int r = 0;

        for (const char *p = text; (p = strchr(p, '\n')); p++)
                room++;
        m.mount = calloc(room, sizeof(*m.mount));
        if (!m.mount)
                return error_oom(e);
        while (r == 0 && (line = strsep(&text, "\n"))) {
                if (*line)
                        r = parse_line(line, &m.mount[m.n++]);
        }
        if (r == -ENOMEM)
                return error_oom(e);
        if (r < 0)
                return error_set(e, ERROR_INTERNAL, -r, "mountinfo: line %zu makes no sense", m.n);
        *ret = m;
        m = (struct mountinfo){.n = 0};
        return 0;
}

int mountinfo_read(const struct env *env, struct mountinfo *ret, struct error *e)
{
        _cleanup_(buf_done) struct buf b = BUF_INIT(LIMIT_MOUNTINFO);
        _cleanup_free_ char *path = NULL;
        char none[] = "";
        int r;

        if (asprintf(&path, "%s/self/mountinfo", env->proc) < 0) {
                path = NULL;
                return error_oom(e);
        }
        r = file_read(AT_FDCWD, path, &b);
        if (r < 0)
                return error_errno(e, -r, "%s", path);
        return mountinfo_parse(b.data ? (char *)b.data : none, ret, e);
}

static bool is_below(const char *path, const char *target)
{
        size_t n = strlen(target);

        if (n > 0 && target[n - 1] == '/') /* the root */
                n--;
        return strncmp(path, target, n) == 0 && (path[n] == '/' || path[n] == '\0');
}

const struct mountinfo_mount *mountinfo_find(const struct mountinfo *m, const char *path)
{
        const struct mountinfo_mount *best = NULL;

        /* Of two on the same place the later one covers the earlier one. */
        for (size_t i = 0; i < m->n; i++) {
                if (is_below(path, m->mount[i].target) &&
                    (!best || strlen(m->mount[i].target) >= strlen(best->target)))
                        best = &m->mount[i];
        }
        return best;
}
