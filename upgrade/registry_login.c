/* SPDX-License-Identifier: Apache-2.0 */
#include "upgrade/registry_login.h"

#include <curl/curl.h>
#include <stdio.h>
#include <string.h>

#include "base/limits.h"
#include "upgrade/oci_auth.h"

static const struct secret *header(struct http_auth *auth)
{
        return ((struct registry_login *)auth)->header;
}

/* "Scheme value", with a NUL behind. */
static int set_header(struct registry_login *l, const char *scheme, const struct secret *value,
                      bool basic, struct error *e)
{
        size_t n = strlen(scheme);
        struct secret *s = secret_new(n + value->len + 1);

        if (!s)
                return error_oom(e);
        memcpy(s->data, scheme, n);
        memcpy(s->data + n, value->data, value->len);
        secret_free(l->header);
        l->header = s;
        l->basic = basic;
        return 0;
}

int registry_login_basic(struct registry_login *l, struct error *e)
{
        _cleanup_(secret_free_p) struct secret *text = secret_base64(l->login);

        return text ? set_header(l, "Basic ", text, true, e) : error_oom(e);
}

static int add_parameter(struct buf *url, const char *name, const char *value)
{
        char *escaped;
        int r;

        if (!value)
                return 0;
        escaped = curl_easy_escape(NULL, value, 0);
        if (!escaped)
                return -ENOMEM;
        r = buf_printf(url, "%s=%s&", name, escaped);
        curl_free(escaped);
        return r;
}

/* The realm with the question behind it: which service, for what. */
static int token_url(const struct registry_login *l, const struct oci_challenge *c, struct buf *url,
                     struct error *e)
{
        char scope[LIMIT_REPOSITORY + 32];
        int r;

        (void)snprintf(scope, sizeof(scope), "repository:%s:pull", l->repository);
        r = buf_printf(url, "%s%c", c->realm, strchr(c->realm, '?') ? '&' : '?');
        if (r == 0)
                r = add_parameter(url, "service", c->service);
        if (r == 0)
                r = add_parameter(url, "scope", c->scope ? c->scope : scope);
        if (r == -ENOMEM)
                return error_oom(e);
        if (r < 0)
                return error_set(e, ERROR_REFUSED, EBADMSG,
                                 "the registry's challenge is too large");
        url->data[--url->len] = '\0'; /* the separator behind the last one */
        return 0;
}

/*
 * The realm is the server's word. It is asked over https alone, or where http was allowed by name,
 * because it gets the password and what it says is shown to the registry as ours.
 */
static int check_realm(const struct registry_login *l, const struct oci_challenge *c,
                       struct error *e)
{
        _cleanup_(http_url_done) struct http_url u = {.text = NULL};
        struct error why = ERROR_INIT;

        if (!c->realm || !*c->realm)
                return error_set(e, ERROR_REFUSED, EBADMSG,
                                 "the registry wants a token, and does not say from where");
        if (http_url_parse(c->realm, &u, &why) < 0 || u.user)
                return error_set(e, ERROR_REFUSED, EBADMSG,
                                 "the registry wants a token from an invalid address");
        if (http_url_allowed(NULL, &u, http_insecure(l->http), &why) < 0)
                return error_set(e, ERROR_REFUSED, EPERM,
                                 "the registry wants a token from a server without protection: %s",
                                 u.host);
        return 0;
}

static int give_up(struct http_auth *auth, const struct http_head *answer, struct error *e)
{
        (void)auth;
        (void)answer;
        (void)e;
        return 0;
}

static int ask_token(struct registry_login *l, const char *url, struct oci_token *ret,
                     struct error *e)
{
        _cleanup_(buf_done) struct buf text = BUF_INIT(LIMIT_AUTH_TOKEN);
        struct registry_login at_realm;
        const struct http_request rq = {.url = url,
                                        .accept = "application/json",
                                        .auth = l->login ? &at_realm.auth : NULL,
                                        .size = HTTP_SIZE_UNKNOWN};
        int r = 0;

        registry_login_init(&at_realm, l->http, l->login, l->repository);
        at_realm.auth.challenged = give_up; /* or the service could send us round in circles */
        if (l->login)
                r = registry_login_basic(&at_realm, e);
        if (r >= 0)
                r = http_get_document(l->http, &rq, &text, NULL, e);
        if (r >= 0)
                r = oci_token_parse(buf_str(&text), text.len, ret, e);
        if (text.data)
                explicit_bzero(text.data, text.allocated);
        registry_login_done(&at_realm);
        return r;
}

static int renew_token(struct registry_login *l, const struct oci_challenge *c, struct error *e)
{
        _cleanup_(buf_done) struct buf url = BUF_INIT(LIMIT_URL);
        struct oci_token token = {.token = NULL};
        int r;

        r = check_realm(l, c, e);
        if (r < 0)
                return r;
        r = token_url(l, c, &url, e);
        if (r < 0)
                return r;
        r = ask_token(l, buf_str(&url), &token, e);
        if (r < 0)
                return error_wrap(e, r, "asking for a token");
        r = set_header(l, "Bearer ", token.token, false, e);
        oci_token_done(&token);
        return r < 0 ? r : 1;
}

/* Basic: the login once, if there is one. */
static int show_login(struct registry_login *l, struct error *e)
{
        int r;

        if (!l->login || l->basic)
                return 0;
        r = registry_login_basic(l, e);
        return r < 0 ? r : 1;
}

static int challenged(struct http_auth *auth, const struct http_head *answer, struct error *e)
{
        struct registry_login *l = (struct registry_login *)auth;
        struct oci_challenges list = {.n = 0};
        const struct oci_challenge *bearer, *basic;
        const char *value;
        int r = 0;

        for (unsigned i = 0; r >= 0 && (value = http_head_find(answer, "www-authenticate", i)); i++)
                r = oci_challenges_add(&list, value, e);
        if (r >= 0) {
                bearer = oci_challenges_find(&list, OCI_SCHEME_BEARER);
                basic = oci_challenges_find(&list, OCI_SCHEME_BASIC);
                if (bearer)
                        r = renew_token(l, bearer, e);
                else if (basic)
                        r = show_login(l, e);
        }
        oci_challenges_done(&list);
        return r;
}

void registry_login_init(struct registry_login *l, struct http *http, const struct secret *login,
                         const char *repository)
{
        *l = (struct registry_login){.auth = {.header = header, .challenged = challenged},
                                     .http = http,
                                     .login = login,
                                     .repository = repository};
}

void registry_login_done(struct registry_login *l)
{
        secret_free(l->header);
        l->header = NULL;
}
