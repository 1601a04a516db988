/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/userdata_user.h"

#include <stdlib.h>
#include <string.h>

#include "agent/userdata_node.h"
#include "base/limits.h"

bool userdata_user_name_ok(const char *name)
{
        static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_",
                          more[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_"
                                   "0123456789-";
        size_t n = strlen(name);

        return n > 0 && n <= LIMIT_USER_NAME && strchr(letters, name[0]) && strspn(name, more) == n;
}

struct config_node *userdata_user_find(const struct config_node *users, const char *name)
{
        for (struct config_node *u = users->first; u; u = u->next) {
                const char *text = userdata_node_text(u, "name");

                if (text && strcmp(text, name) == 0)
                        return u;
        }
        return NULL;
}

int userdata_user_add(struct config_node *users, const char *name, struct config_node *user,
                      struct config_problems *problems)
{
        struct config_node *there = userdata_user_find(users, name);
        int r;

        if (user->kind == CONFIG_NOTHING)
                user->kind = CONFIG_MAP;
        if (user->kind != CONFIG_MAP || (there && there->kind != CONFIG_MAP)) {
                config_error(problems, user->at, "users: a user is a map of keys");
                config_node_free(user);
                return 0;
        }
        if (there) {
                config_node_merge(there, user);
                config_node_free(user);
                return 0;
        }
        r = userdata_node_set(user, "name", name, false, user->at);
        if (r < 0) {
                config_node_free(user);
                return r;
        }
        free(user->key);
        user->key = NULL;
        config_node_add(users, user);
        return 0;
}

int userdata_user_add_map(struct config_node *users, struct config_node *map,
                          struct config_problems *problems)
{
        int r = 0;

        while (r == 0 && map->first) {
                struct config_node *user = userdata_node_take(map, map->first->key);
                _cleanup_free_ char *name = strdup(user->key);

                if (name) {
                        r = userdata_user_add(users, name, user, problems);
                } else {
                        config_node_free(user);
                        r = -ENOMEM;
                }
        }
        return r;
}

/* --- passwords and keys ------------------------------------------------------------------------*/

/* crypt(5), and the marks of a locked account. */
static bool is_hash(const char *s)
{
        return s[0] == '$' || s[0] == '!' || s[0] == '*';
}

/* An empty password would let everybody in. */
static void drop_empty(struct config_node *user, const char *key, struct config_problems *problems)
{
        const struct config_node *m = config_node_find(user, key);

        if (!m || (m->kind == CONFIG_SCALAR && !m->binary && *m->text))
                return;
        if (m->kind != CONFIG_NOTHING)
                config_error(problems, m->at, "users: %s: a password is a text that is not empty",
                             key);
        config_node_free(userdata_node_take(user, key));
}

/* passwd under the name that says what it is. */
static int rename_password(struct config_node *user, struct config_problems *problems)
{
        _cleanup_(config_node_free_p) struct config_node *passwd =
                userdata_node_take(user, "passwd");

        if (!passwd)
                return 0;
        if (userdata_node_text(user, "hashed_passwd") ||
            userdata_node_text(user, "plain_text_passwd")) {
                config_error(problems, passwd->at, "users: two passwords");
                return 0;
        }
        return userdata_node_set(user,
                                 is_hash(passwd->text) ? "hashed_passwd" : "plain_text_passwd",
                                 passwd->text, false, passwd->at);
}

static int settle_password(struct config_node *user, struct config_problems *problems)
{
        static const char *const keys[] = {"passwd", "hashed_passwd", "plain_text_passwd"};
        int r;

        for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
                drop_empty(user, keys[i], problems);
        r = rename_password(user, problems);
        if (r == 0 &&
            (config_node_find(user, "hashed_passwd") ||
             config_node_find(user, "plain_text_passwd")) &&
            !config_node_find(user, "lock_passwd") && !config_node_find(user, "lock-passwd"))
                r = userdata_node_set(user, "lock_passwd", "false", true, user->at);
        return r;
}

static int keep_key(struct config_node *key, void *arg)
{
        struct config_problems *problems = arg;

        if (key->kind != CONFIG_SCALAR || key->binary || strchr(key->text, '\n')) {
                config_error(problems, key->at, "users: a key is one line of text");
                return 0;
        }
        if (strncmp(key->text, "github:", 7) != 0 && strncmp(key->text, "gitlab:", 7) != 0)
                return 1;
        config_warning(problems, key->at, "users: \"%s\" is left out: nothing is fetched",
                       key->text);
        config_advise(problems, "give the key itself");
        return 0;
}

static int settle_keys(struct config_node *user, struct config_problems *problems)
{
        struct config_node *keys = config_node_find(user, "ssh_authorized_keys");

        if (!keys || keys->kind == CONFIG_NOTHING)
                return 0;
        if (keys->kind == CONFIG_LIST)
                return userdata_node_filter(keys, keep_key, problems);
        config_error(problems, keys->at, "users: ssh_authorized_keys is a list");
        config_node_free(userdata_node_take(user, "ssh_authorized_keys"));
        return 0;
}

static int keep_user(struct config_node *user, void *arg)
{
        struct config_problems *problems = arg;
        const char *name = userdata_node_text(user, "name");
        int r;

        if (user->kind == CONFIG_SCALAR && !user->binary && userdata_user_name_ok(user->text))
                return 1; /* "default": the user that cloud-init has anyway */
        if (user->kind != CONFIG_MAP || !name || !userdata_user_name_ok(name)) {
                config_error(problems, user->at,
                             "users: a user needs a name, of letters, "
                             "digits, _ and -");
                return 0;
        }
        r = settle_password(user, problems);
        if (r == 0)
                r = settle_keys(user, problems);
        return r < 0 ? r : 1;
}

int userdata_user_settle(struct config_node *tree, struct config_problems *problems)
{
        struct config_node *users = config_node_find(tree, "users");
        int r = 0;

        if (!users)
                return 0;
        if (users->kind == CONFIG_MAP) {
                _cleanup_(config_node_free_p) struct config_node *map =
                        userdata_node_take(tree, "users");

                users = userdata_node_list(tree, "users", map->at);
                r = users ? userdata_user_add_map(users, map, problems) : -ENOMEM;
        }
        if (r == 0 && users && users->kind == CONFIG_LIST)
                return userdata_node_filter(users, keep_user, problems);
        if (r == 0 && users && users->kind != CONFIG_NOTHING)
                config_error(problems, users->at, "users: expected a list");
        config_node_free(userdata_node_take(tree, "users"));
        return r;
}
