/* SPDX-License-Identifier: Apache-2.0 */
#include "upgrade/fetch_config.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/limits.h"
#include "upgrade/oci_auth.h"

/* Where the registry of the name "docker.io" is. */
#define DOCKER_NAME "docker.io"
#define DOCKER_HOST "registry-1.docker.io"

void fetch_config_forget(struct fetch_config *c)
{
        for (unsigned i = 0; i < c->n_endpoints; i++) {
                secret_free(c->endpoints[i].login);
                c->endpoints[i].login = NULL;
        }
}

void fetch_config_done(struct fetch_config *c)
{
        fetch_config_forget(c);
        for (unsigned i = 0; i < c->n_endpoints; i++) {
                free((void *)(uintptr_t)c->endpoints[i].url);
                free((void *)(uintptr_t)c->endpoints[i].upstream);
                free((void *)(uintptr_t)c->endpoints[i].helper);
        }
        free(c->endpoints);
        for (unsigned i = 0; i < c->n_named; i++)
                free(c->named[i]);
        free(c->named);
        free(c->proxy_http);
        free(c->proxy_https);
        free(c->proxy_none);
        buf_done(&c->ca);
        *c = (struct fetch_config){.name = NULL};
}

static struct http_hosts insecure_hosts(const struct fetch_config *c)
{
        return (struct http_hosts){c->options->insecure, c->options->n_insecure};
}

static int add_named(struct fetch_config *c, const char *host, struct error *e)
{
        char **more = realloc(c->named, (c->n_named + 1) * sizeof(*more));

        if (!more)
                return error_oom(e);
        c->named = more;
        c->named[c->n_named] = strdup(host);
        if (!c->named[c->n_named])
                return error_oom(e);
        c->n_named++;
        return 0;
}

/* --- authorities -------------------------------------------------------------------------------*/

static int read_ca_file(const char *path, struct buf *out, struct error *e)
{
        int r = file_read(AT_FDCWD, path, out);

        if (r < 0)
                return error_set(e, ERROR_CONFIG, -r, "certificates of authorities: %s: %s", path,
                                 strerror(-r));
        if (!strstr(buf_str(out), "-----BEGIN CERTIFICATE-----") &&
            !strstr(buf_str(out), "-----BEGIN TRUSTED CERTIFICATE-----"))
                return error_set(e, ERROR_CONFIG, EBADMSG,
                                 "certificates of authorities: %s: holds none in PEM form", path);
        return 0;
}

/* The bundle of the distribution, wherever it keeps it. None is no error: http needs none. */
static int read_ca(struct fetch_config *c, struct error *e)
{
        static const char *const places[] = {"/etc/ssl/certs/ca-certificates.crt",
                                             "/etc/pki/tls/certs/ca-bundle.crt",
                                             "/etc/ssl/ca-bundle.pem", "/etc/ssl/cert.pem"};
        const char *named = c->options->ca_file ? c->options->ca_file : getenv("SSL_CERT_FILE");

        if (named && *named)
                return read_ca_file(named, &c->ca, e);
        for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
                if (file_exists(AT_FDCWD, places[i]))
                        return read_ca_file(places[i], &c->ca, e);
        }
        return 0;
}

/* --- proxies -----------------------------------------------------------------------------------*/

static const char *environment(const char *lower, const char *upper)
{
        const char *value = getenv(lower);

        if (!value && upper)
                value = getenv(upper);
        return value && *value ? value : NULL;
}

/* A URL, or HOST:PORT, which means http. */
static int take_proxy(struct fetch_config *c, const char *text, char **ret, struct error *e)
{
        _cleanup_(http_url_done) struct http_url u = {.text = NULL};
        struct error why = ERROR_INIT;

        if (!text)
                return 0;
        if (asprintf(ret, "%s%s", strstr(text, "://") ? "" : "http://", text) < 0) {
                *ret = NULL;
                return error_oom(e);
        }
        if (http_url_parse(*ret, &u, &why) < 0)
                return error_set(e, ERROR_CONFIG, EINVAL,
                                 "the proxy named in the environment is no http or https proxy");
        return add_named(c, u.host, e);
}

/* As curl and others read them: HTTP_PROXY in capitals can be set by a web server's client. */
static int read_proxies(struct fetch_config *c, struct error *e)
{
        const char *all = environment("all_proxy", "ALL_PROXY");
        const char *http = environment("http_proxy", NULL);
        const char *https = environment("https_proxy", "HTTPS_PROXY");
        const char *none = environment("no_proxy", "NO_PROXY");
        int r;

        r = take_proxy(c, http ? http : all, &c->proxy_http, e);
        if (r >= 0)
                r = take_proxy(c, https ? https : all, &c->proxy_https, e);
        if (r < 0)
                return r;
        if (none) {
                c->proxy_none = strdup(none);
                if (!c->proxy_none)
                        return error_oom(e);
        }
        c->proxies = (struct http_proxies){
                .http = c->proxy_http, .https = c->proxy_https, .none = c->proxy_none};
        return 0;
}

/* --- logins ------------------------------------------------------------------------------------*/

/* HOST or HOST:PORT, as logins are filed. */
static int login_in(const char *path, bool must_exist, const char *registry, const char *repository,
                    struct registry_endpoint *endpoint, struct error *e)
{
        _cleanup_(buf_done) struct buf text = BUF_INIT(LIMIT_AUTH_FILE);
        char *helper = NULL;
        int r;

        r = file_read(AT_FDCWD, path, &text);
        if (r >= 0)
                r = oci_login_find(buf_str(&text), text.len, path, registry, repository,
                                   &endpoint->login, &helper, e);
        else if (!must_exist && (r == -ENOENT || r == -ENOTDIR || r == -EACCES))
                r = 0;
        else
                r = error_set(e, ERROR_CONFIG, -r, "logins: %s: %s", path, strerror(-r));
        if (text.data)
                explicit_bzero(text.data, text.allocated);
        if (helper && !endpoint->helper)
                endpoint->helper = TAKE_PTR(helper);
        free(helper);
        return r;
}

/* "DIRECTORY/REST", or nothing without a directory. */
static void below(const char *directory, const char *rest, char ret[PATH_MAX])
{
        (void)snprintf(ret, PATH_MAX, "%s%s", directory ?: "", directory ? rest : "");
}

#define LOGIN_PLACES 5u

/* As podman looks for them (containers-auth.json(5)), the files of docker last. */
static void list_logins(const struct env *env, char ret[LOGIN_PLACES][PATH_MAX])
{
        const char *session = environment("XDG_RUNTIME_DIR", NULL),
                   *config = environment("XDG_CONFIG_HOME", NULL),
                   *home = environment("HOME", NULL) ?: "/root";

        below(session, "/containers/auth.json", ret[0]);
        (void)snprintf(ret[1], PATH_MAX, "%s/containers/%u/auth.json", env->run,
                       (unsigned)geteuid());
        if (config)
                below(config, "/containers/auth.json", ret[2]);
        else
                below(home, "/.config/containers/auth.json", ret[2]);
        below(environment("DOCKER_CONFIG", NULL), "/config.json", ret[3]);
        below(home, "/.docker/config.json", ret[4]);
}

/* A file that was named is the only one; else the usual ones in turn until one has the login. */
static int find_login(const struct fetch_config *c, const char *registry,
                      struct registry_endpoint *endpoint, struct error *e)
{
        const char *named = c->options->auth_file ? c->options->auth_file
                                                  : environment("REGISTRY_AUTH_FILE", NULL);
        char paths[LOGIN_PLACES][PATH_MAX];
        int r = 0;

        if (named)
                return login_in(named, true, registry, c->name->repository, endpoint, e);
        list_logins(c->options->env, paths);
        for (size_t i = 0; r >= 0 && !endpoint->login && i < LOGIN_PLACES; i++) {
                if (*paths[i])
                        r = login_in(paths[i], false, registry, c->name->repository, endpoint, e);
        }
        return r;
}

/* --- servers -----------------------------------------------------------------------------------*/

/* "HOST:PORT" as people write it: without the port that the scheme has anyway. */
static void host_name(const struct http_url *u, char *out, size_t size)
{
        bool six = strchr(u->host, ':');

        if (u->port == (u->tls ? 443 : 80))
                (void)snprintf(out, size, "%s%s%s", six ? "[" : "", u->host, six ? "]" : "");
        else
                (void)snprintf(out, size, "%s%s%s:%u", six ? "[" : "", u->host, six ? "]" : "",
                               (unsigned)u->port);
}

/* Takes over the URL. login: the name under which the login is filed; NULL: as the host is called.
 */
static int add_endpoint(struct fetch_config *c, const char *text, const char *upstream,
                        const char *login, struct error *e)
{
        const struct http_hosts insecure = insecure_hosts(c);
        _cleanup_(http_url_done) struct http_url u = {.text = NULL};
        struct registry_endpoint *more, *x;
        char host[LIMIT_HOST_NAME + 16];
        int r;

        r = http_url_parse(text, &u, e);
        if (r < 0)
                return r;
        if (u.user || strchr(u.text, '?'))
                return error_set(e, ERROR_USAGE, EINVAL,
                                 "the address of a registry has no user and no question");
        r = http_url_allowed(NULL, &u, &insecure, e);
        if (r < 0)
                return r;
        more = realloc(c->endpoints, (c->n_endpoints + 1) * sizeof(*more));
        if (!more)
                return error_oom(e);
        c->endpoints = more;
        x = &c->endpoints[c->n_endpoints++];
        *x = (struct registry_endpoint){.upstream = upstream ? strdup(upstream) : NULL};
        while (u.text[strlen(u.text) - 1] == '/')
                u.text[strlen(u.text) - 1] = '\0';
        x->url = TAKE_PTR(u.text);
        if (upstream && !x->upstream)
                return error_oom(e);
        host_name(&u, host, sizeof(host));
        r = add_named(c, u.host, e);
        return r < 0 ? r : find_login(c, login ? login : host, x, e);
}

/* HOST[:PORT] and no more. A bare address of IPv6 cannot have a port. */
static bool is_host(const char *text, size_t n)
{
        _cleanup_(http_url_done) struct http_url u = {.text = NULL};
        _cleanup_(buf_done) struct buf url = BUF_INIT(LIMIT_URL);
        const char *colon = memchr(text, ':', n);
        bool six = n > 0 && *text != '[' && colon &&
                   memchr(colon + 1, ':', n - (size_t)(colon + 1 - text));

        for (size_t i = 0; i < n; i++) {
                if (strchr("/?#@ ", text[i]))
                        return false;
        }
        return n > 0 && text[n - 1] != ':' &&
               buf_printf(&url, "http://%s%.*s%s", six ? "[" : "", (int)n, text, six ? "]" : "") ==
                       0 &&
               http_url_parse(buf_str(&url), &u, NULL) == 0;
}

static int check_mirror(const char *text, const struct http_hosts *insecure, struct error *e)
{
        _cleanup_(http_url_done) struct http_url u = {.text = NULL};
        const char *equals = strchr(text, '=');
        int r;

        if (!equals || !is_host(text, (size_t)(equals - text)))
                return error_set(e, ERROR_USAGE, EINVAL, "it does not begin with HOST=");
        r = http_url_parse(equals + 1, &u, e);
        if (r < 0)
                return r;
        if (u.user || strchr(u.text, '?'))
                return error_set(e, ERROR_USAGE, EINVAL,
                                 "the address of a registry has no user and no question");
        return http_url_allowed(NULL, &u, insecure, e);
}

int fetch_config_check(const struct fetch_options *options, struct error *e)
{
        const struct http_hosts insecure = {options->insecure, options->n_insecure};
        int r = 0;

        for (unsigned i = 0; i < insecure.n; i++) {
                if (is_host(insecure.names[i], strlen(insecure.names[i])))
                        continue;
                error_set(e, ERROR_USAGE, EINVAL, "--insecure %s: is no host", insecure.names[i]);
                error_advise(e, "give HOST or HOST:PORT, e.g. --insecure registry.local:5000");
                return -EINVAL;
        }
        for (unsigned i = 0; i < options->n_mirrors && r == 0; i++) {
                r = check_mirror(options->mirrors[i], &insecure, e);
                if (r < 0) {
                        r = error_wrap(e, r, "--mirror");
                        error_advise(e, "give HOST=URL: the registry, and the address to ask "
                                        "before it, e.g. --mirror ghcr.io=https://mirror.local");
                }
        }
        return r;
}

static int add_mirrors(struct fetch_config *c, struct error *e)
{
        size_t n = strlen(c->name->registry);

        for (unsigned i = 0; i < c->options->n_mirrors; i++) {
                const char *text = c->options->mirrors[i];
                int r;

                if (!strchr(text, '='))
                        return error_set(e, ERROR_USAGE, EINVAL, "mirror: %s: is not HOST=URL",
                                         text);
                if (strncmp(text, c->name->registry, n) != 0 || text[n] != '=')
                        continue;
                r = add_endpoint(c, text + n + 1, c->name->registry, NULL, e);
                if (r < 0)
                        return error_wrap(e, r, "mirror of %s", c->name->registry);
        }
        return 0;
}

/* https, and http behind it where that is allowed. */
static int add_registry(struct fetch_config *c, struct error *e)
{
        const char *registry = c->name->registry;
        const char *host = strcmp(registry, DOCKER_NAME) == 0 ? DOCKER_HOST : registry;
        const struct http_hosts insecure = insecure_hosts(c);
        _cleanup_(http_url_done) struct http_url plain = {.text = NULL};
        _cleanup_(buf_done) struct buf https = BUF_INIT(LIMIT_URL), http = BUF_INIT(LIMIT_URL);
        int r;

        if (buf_printf(&https, "https://%s", host) < 0 || buf_printf(&http, "http://%s", host) < 0)
                return error_oom(e);
        r = add_endpoint(c, buf_str(&https), NULL, registry, e);
        if (r < 0)
                return r;
        r = http_url_parse(buf_str(&http), &plain, e);
        if (r < 0)
                return r;
        if (!http_hosts_have(&insecure, plain.host, plain.port))
                return 0;
        c->endpoints[c->n_endpoints - 1].probe = true;
        return add_endpoint(c, buf_str(&http), NULL, registry, e);
}

static int read_servers(struct fetch_config *c, struct error *e)
{
        _cleanup_(http_url_done) struct http_url u = {.text = NULL};
        const struct http_hosts insecure = insecure_hosts(c);
        int r;

        if (c->name->kind == SOURCE_KIND_HTTP) {
                r = http_url_parse(c->name->url, &u, e);
                if (r >= 0)
                        r = http_url_allowed(NULL, &u, &insecure, e);
                return r < 0 ? r : add_named(c, u.host, e);
        }
        r = add_mirrors(c, e);
        return r < 0 ? r : add_registry(c, e);
}

int fetch_config_read(const struct source_name *name, const struct fetch_options *options,
                      struct fetch_config *ret, struct error *e)
{
        struct fetch_config c = {.name = name, .options = options, .ca = BUF_INIT(LIMIT_CA_BUNDLE)};
        int r = 0;

        if (name->kind == SOURCE_KIND_OCI || name->kind == SOURCE_KIND_HTTP) {
                r = read_ca(&c, e);
                if (r >= 0)
                        r = read_proxies(&c, e);
                if (r >= 0)
                        r = read_servers(&c, e);
        }
        if (r < 0) {
                fetch_config_done(&c);
                return r;
        }
        *ret = c;
        return 0;
}
