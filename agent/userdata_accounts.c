/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/userdata_accounts.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "agent/userdata_user.h"
#include "base/buf.h"
#include "base/file.h"
#include "base/limits.h"
#include "base/num.h"

void userdata_accounts_done(struct userdata_accounts *a)
{
        for (size_t i = 0; i < a->n; i++) {
                free(a->item[i].name);
                free(a->item[i].home);
        }
        free(a->item);
        *a = (struct userdata_accounts){.item = NULL};
}

static int add(struct userdata_accounts *a, const struct userdata_account *account)
{
        struct userdata_account *more, *to;

        if (a->n >= LIMIT_ACCOUNTS)
                return -E2BIG;
        more = realloc(a->item, (a->n + 1) * sizeof(*more));
        if (!more)
                return -ENOMEM;
        a->item = more;
        to = &more[a->n++];
        *to = *account;
        to->name = strdup(account->name);
        to->home = account->home ? strdup(account->home) : NULL;
        return to->name && (to->home || !account->home) ? 0 : -ENOMEM;
}

/* name:x:uid:gid:gecos:home:shell (passwd(5)); other lines are nobody's account. */
static int add_line(struct userdata_accounts *a, char *line)
{
        char *field[7];
        uint64_t uid, gid;

        for (size_t i = 0; i < ARRAY_SIZE(field); i++) {
                field[i] = strsep(&line, ":");
                if (!field[i])
                        return 0;
        }
        if (parse_u64_max(field[2], UINT32_MAX, &uid) < 0 ||
            parse_u64_max(field[3], UINT32_MAX, &gid) < 0)
                return 0;
        return add(a, &(struct userdata_account){.name = field[0],
                                                 .uid = (uid_t)uid,
                                                 .gid = (gid_t)gid,
                                                 .home = field[5],
                                                 .in_image = true});
}

static int read_passwd(const char *root, struct userdata_accounts *a)
{
        _cleanup_(buf_done) struct buf text = BUF_INIT(LIMIT_PASSWD_FILE);
        _cleanup_free_ char *path = NULL;
        char *lines, *line;
        int r;

        if (asprintf(&path, "%s/etc/passwd", root) < 0) {
                path = NULL;
                return -ENOMEM;
        }
        r = file_read(AT_FDCWD, path, &text);
        lines = (char *)text.data;
        while (r == 0 && lines && (line = strsep(&lines, "\n")))
                r = add_line(a, line);
        return r == -ENOENT ? 0 : r;
}

static int read_homes(const char *root, struct userdata_accounts *a)
{
        _cleanup_free_ char *path = NULL;
        int r = 0;
        DIR *d;

        if (asprintf(&path, "%s/home", root) < 0) {
                path = NULL;
                return -ENOMEM;
        }
        d = opendir(path);
        if (!d)
                return errno == ENOENT ? 0 : -errno;
        for (const struct dirent *x = readdir(d); x && r == 0; x = readdir(d)) {
                struct stat st;

                if (userdata_user_name_ok(x->d_name) &&
                    fstatat(dirfd(d), x->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
                    S_ISDIR(st.st_mode))
                        r = add(a, &(struct userdata_account){.name = (char *)(uintptr_t)x->d_name,
                                                              .uid = st.st_uid,
                                                              .gid = st.st_gid});
        }
        (void)closedir(d);
        return r;
}

int userdata_accounts_read(const char *root, struct userdata_accounts *ret, struct error *e)
{
        struct userdata_accounts a = {.item = NULL};
        _cleanup_free_ char *bash = NULL;
        int r;

        if (asprintf(&bash, "%s/bin/bash", root) < 0) {
                bash = NULL;
                return error_oom(e);
        }
        a.has_bash = file_exists(AT_FDCWD, bash);
        r = read_passwd(root, &a);
        if (r == 0)
                r = read_homes(root, &a);
        if (r < 0) {
                userdata_accounts_done(&a);
                return error_errno(e, -r, "reading the accounts of the image");
        }
        *ret = a;
        return 0;
}

const struct userdata_account *userdata_accounts_find(const struct userdata_accounts *a,
                                                      const char *name)
{
        for (size_t i = 0; i < a->n; i++) {
                if (a->item[i].in_image && strcmp(a->item[i].name, name) == 0)
                        return &a->item[i];
        }
        return NULL;
}

const struct userdata_account *userdata_accounts_owner(const struct userdata_accounts *a,
                                                       const char *name)
{
        for (size_t i = 0; i < a->n; i++) {
                const struct userdata_account *x = &a->item[i];

                if (!x->in_image && strcmp(x->name, name) == 0 && x->uid >= USERDATA_FIRST_UID &&
                    x->uid <= USERDATA_LAST_UID)
                        return x;
        }
        return NULL;
}

bool userdata_accounts_used(const struct userdata_accounts *a, uid_t uid, const char *name)
{
        for (size_t i = 0; i < a->n; i++) {
                if (a->item[i].uid == uid && strcmp(a->item[i].name, name) != 0)
                        return true;
        }
        return false;
}
