/* SPDX-License-Identifier: Apache-2.0 */
/* Logins from files: the half of upgrade/oci_auth.h that is about config.json. */
#include <string.h>

#include "base/buf.h"
#include "base/codec.h"
#include "base/json_secret.h"
#include "upgrade/oci_auth_private.h"

/* What the steps share. */
struct search {
        const void *text;
        size_t n;
        const char *what;
        const char *registry;
        const char *repository;
};

static int wrong(struct error *e, const struct search *s, int code, const char *why)
{
        return error_set(e, ERROR_CONFIG, code, "%s: %s", s->what, why);
}

/* --- keys --- */

/* All names under which Docker's registry goes. */
static bool is_docker(const char *host, size_t n)
{
        static const char *const names[] = {"docker.io", "index.docker.io", "registry-1.docker.io"};

        for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
                if (strlen(names[i]) == n && strncasecmp(host, names[i], n) == 0)
                        return true;
        }
        return false;
}

static bool same_host(const char *key, size_t n, const char *registry)
{
        if (is_docker(key, n))
                return is_docker(registry, strlen(registry));
        return strlen(registry) == n && strncasecmp(key, registry, n) == 0;
}

/*
 * How well a key fits: 0 not at all; the longer the path of repositories it names, the better;
 * among equals one without the scheme of old. Keys with a scheme name a registry and never a path.
 */
static size_t key_fitness(const char *key, const struct search *s)
{
        const char *scheme = strstr(key, "://"), *host = scheme ? scheme + strlen("://") : key;
        size_t n = strcspn(host, "/"), length;
        const char *path = host[n] == '/' ? host + n + 1 : "";

        if (scheme && strncasecmp(key, "https:", 6) != 0 && strncasecmp(key, "http:", 5) != 0)
                return 0;
        if (!same_host(host, n, s->registry))
                return 0;
        length = strlen(path);
        if (length > 0 && path[length - 1] == '/')
                length--;
        if (scheme || (length == 2 && (strncmp(path, "v1", 2) == 0 || strncmp(path, "v2", 2) == 0)))
                return scheme ? 1 : 2;
        if (length == 0)
                return 2;
        if (strncmp(path, s->repository, length) != 0 ||
            (s->repository[length] != '\0' && s->repository[length] != '/'))
                return 0;
        return 2 + length;
}

/* The member of an object whose key fits best, NULL. */
static const char *best_key(struct json_object *o, const struct search *s)
{
        const char *best = NULL;
        size_t best_fitness = 0;

        json_object_object_foreach(o, key, value)
        {
                size_t f = key_fitness(key, s);

                (void)value;
                if (f > best_fitness) {
                        best = key;
                        best_fitness = f;
                }
        }
        return best;
}

/* --- entries --- */

/* A string of an entry; NULL when it is absent or empty. */
static int take_string(struct json_object *o, const char *key, const struct search *s,
                       struct secret **ret, struct error *e)
{
        _cleanup_(secret_free_p) struct secret *v = NULL;
        int r = json_secret_get(o, key, s->text, s->n, &v);

        if (r == -ENOMEM)
                return error_oom(e);
        if (r < 0 && r != -ENOENT)
                return error_set(e, ERROR_CONFIG, EBADMSG, "%s: %s of %s is no text", s->what, key,
                                 s->registry);
        if (v && v->len > LIMIT_AUTH_PASSWORD)
                return error_set(e, ERROR_CONFIG, EBADMSG, "%s: %s of %s has %zu bytes", s->what,
                                 key, s->registry, v->len);
        *ret = v && v->len > 0 ? TAKE_PTR(v) : NULL;
        return 0;
}

/* Base64 of "user:password". */
static int decode_auth(const struct secret *text, const struct search *s, struct secret **ret,
                       struct error *e)
{
        size_t most = text->len / 4 * 3;
        /* One byte more for the NUL that a buffer keeps behind its content. */
        _cleanup_(secret_free_p) struct secret *out = secret_new(most + 1);
        struct buf window;

        if (!out)
                return error_oom(e);
        window = (struct buf){.data = out->data, .allocated = most + 1, .max = most};
        if (base64_decode((const char *)text->data, text->len, &window) < 0)
                return wrong(e, s, EBADMSG, "the login is not base64");
        out->len = window.len;
        /* Docker pads passwords with NULs in places, and takes them off again. */
        while (out->len > 0 && out->data[out->len - 1] == '\0')
                out->len--;
        if (!memchr(out->data, ':', out->len) || out->data[0] == ':')
                return wrong(e, s, EBADMSG, "the login is not of the form user:password");
        *ret = TAKE_PTR(out);
        return 0;
}

static int join(const struct secret *user, const struct secret *password, const struct search *s,
                struct secret **ret, struct error *e)
{
        struct secret *out;

        if (memchr(user->data, ':', user->len))
                return wrong(e, s, EBADMSG, "a user name with a colon");
        out = secret_new(user->len + 1 + password->len);
        if (!out)
                return error_oom(e);
        memcpy(out->data, user->data, user->len);
        out->data[user->len] = ':';
        memcpy(out->data + user->len + 1, password->data, password->len);
        *ret = out;
        return 0;
}

/* Tokens that would have to be exchanged for others first. */
static int refuse_tokens(struct json_object *entry, const struct search *s, struct error *e)
{
        static const char *const keys[] = {"identitytoken", "registrytoken"};

        for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
                _cleanup_(secret_free_p) struct secret *token = NULL;
                int r = take_string(entry, keys[i], s, &token, e);

                if (r < 0)
                        return r;
                if (!token)
                        continue;
                error_set(e, ERROR_CONFIG, ENOTSUP, "%s: the login for %s is an %s", s->what,
                          s->registry, keys[i]);
                error_advise(e,
                             "make a password or access token for this purpose, and log in with "
                             "it into a file of its own: docker --config FOLDER login %s",
                             s->registry);
                return -ENOTSUP;
        }
        return 0;
}

/* *ret stays NULL for an entry without a login, as those that only remember a helper. */
static int read_entry(struct json_object *entry, const struct search *s, struct secret **ret,
                      struct error *e)
{
        _cleanup_(secret_free_p) struct secret *auth = NULL, *user = NULL, *password = NULL,
                                               *out = NULL;
        int r;

        r = refuse_tokens(entry, s, e);
        if (r == 0)
                r = take_string(entry, "auth", s, &auth, e);
        if (r == 0)
                r = take_string(entry, "username", s, &user, e);
        if (r == 0)
                r = take_string(entry, "password", s, &password, e);
        if (r < 0)
                return r;
        if (auth)
                r = decode_auth(auth, s, &out, e);
        else if (user && password)
                r = join(user, password, s, &out, e);
        else if (user || password)
                r = wrong(e, s, EBADMSG, "a user name without a password, or the reverse");
        if (r < 0)
                return r;
        /* They end up in a header. */
        if (out && (!oci_secret_has(out, ' ', UINT8_MAX) || memchr(out->data, 0x7f, out->len)))
                return wrong(e, s, EBADMSG, "control characters in a login");
        *ret = TAKE_PTR(out);
        return 0;
}

/* --- helpers --- */

/* The name of a helper program, for messages. */
static int helper_name(struct json_object *o, const char *key, const struct search *s, char **ret,
                       struct error *e)
{
        _cleanup_(secret_free_p) struct secret *name = NULL;
        int r = take_string(o, key, s, &name, e);

        if (r < 0 || !name)
                return r;
        if (!oci_secret_has(name, '!', '~'))
                return wrong(e, s, EBADMSG, "a credential helper with a malformed name");
        *ret = strndup((const char *)name->data, name->len);
        return *ret ? 0 : error_oom(e);
}

/* credHelpers has one for a registry, credsStore is for all. */
static int find_helper(struct json_object *root, const struct search *s, char **ret,
                       struct error *e)
{
        struct json_object *helpers;
        const char *key = NULL;

        if (json_get_obj(root, "credHelpers", &helpers) == 0)
                key = best_key(helpers, s);
        return key ? helper_name(helpers, key, s, ret, e)
                   : helper_name(root, "credsStore", s, ret, e);
}

static int find_entry(struct json_object *root, const struct search *s, struct secret **ret,
                      struct error *e)
{
        struct json_object *auths, *entry;
        const char *key;
        int r;

        r = json_get_obj(root, "auths", &auths);
        if (r == -ENOENT || (r < 0 && !json_object_object_get(root, "auths")))
                return 0;
        if (r < 0)
                return wrong(e, s, EBADMSG, "auths is no object");
        key = best_key(auths, s);
        if (!key)
                return 0;
        if (json_get_obj(auths, key, &entry) < 0)
                return wrong(e, s, EBADMSG, "a login is no object");
        return read_entry(entry, s, ret, e);
}

int oci_login_find(const void *text, size_t n, const char *what, const char *registry,
                   const char *repository, struct secret **ret, char **ret_helper, struct error *e)
{
        const struct search s = {
                .text = text, .n = n, .what = what, .registry = registry, .repository = repository};
        _cleanup_(secret_free_p) struct secret *login = NULL;
        _cleanup_json_ struct json_object *root = NULL;
        _cleanup_free_ char *helper = NULL;
        int r;

        r = json_secret_read(text, n, LIMIT_AUTH_FILE, what, &root, e);
        if (r < 0) {
                if (e && e->class == ERROR_REFUSED)
                        e->class = ERROR_CONFIG; /* a file of this machine, not of the source */
                return r;
        }
        if (!json_object_is_type(root, json_type_object))
                return wrong(e, &s, EBADMSG, "no object");
        r = find_entry(root, &s, &login, e);
        if (r == 0 && !login)
                r = find_helper(root, &s, &helper, e);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(login);
        *ret_helper = TAKE_PTR(helper);
        return 0;
}
