/* SPDX-License-Identifier: Apache-2.0 */
#include "upgrade/oci_auth.h"

#include <stdbool.h>
#include <string.h>

#include "base/buf.h"
#include "base/codec.h"
#include "base/json_secret.h"
#include "base/limits.h"
#include "upgrade/oci_auth_private.h"

/* When a token server does not say how long its token lives, and the least it may say. */
#define TOKEN_SECONDS 60u

/* --- challenges --- */

static bool is_token(char c)
{
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
               (c && strchr("!#$%&'*+-.^_`|~", c));
}

static const char *skip_blanks(const char *p)
{
        return p + strspn(p, " \t");
}

static const char *skip_token(const char *p)
{
        while (is_token(*p))
                p++;
        return p;
}

/* Characters and padding of the other form of credentials, up to the end of the element. */
static bool is_token68(const char *p, const char **ret_end)
{
        const char *end = p;

        while (is_token(*end) || *end == '/')
                end++;
        end += strspn(end, "=");
        *ret_end = end;
        end = skip_blanks(end);
        return *ret_end > p && (*end == ',' || *end == '\0');
}

/* A quoted string at *p, without its quotes and backslashes. */
static int take_quoted(const char **p, struct buf *out)
{
        const char *s = *p + 1;

        for (; *s != '"'; s++) {
                if (*s == '\\')
                        s++;
                if (*s == '\0')
                        return -EBADMSG;
                if (buf_add(out, s, 1) < 0)
                        return -ENOMEM;
        }
        *p = s + 1;
        return 0;
}

/* Where a parameter goes that somebody here reads. */
static char **slot(struct oci_challenge *c, const char *name, size_t n)
{
        const struct {
                const char *name;
                char **value;
        } known[] = {
                {"realm", &c->realm},
                {"service", &c->service},
                {"scope", &c->scope},
                {"error", &c->error},
        };

        for (size_t i = 0; i < ARRAY_SIZE(known); i++) {
                if (strlen(known[i].name) == n && strncasecmp(known[i].name, name, n) == 0)
                        return known[i].value;
        }
        return NULL;
}

static bool is_plain(const char *s)
{
        for (; *s; s++) {
                if ((uint8_t)*s >= 0x7f)
                        return false;
        }
        return true;
}

/* One NAME=VALUE at *p. 1, or 0 when there is none (then the next challenge begins here). */
static int take_parameter(const char **p, struct oci_challenge *c)
{
        _cleanup_(buf_done) struct buf value = BUF_INIT(LIMIT_AUTH_HEADER);
        const char *name = *p, *end = skip_token(name), *s = skip_blanks(end);
        char **to;
        int r = 0;

        if (end == name || *s != '=')
                return 0;
        s = skip_blanks(s + 1);
        if (*s == '"') {
                r = take_quoted(&s, &value);
        } else {
                const char *stop = skip_token(s);

                if (stop == s)
                        return -EBADMSG;
                r = buf_add(&value, s, (size_t)(stop - s));
                s = stop;
        }
        if (r < 0)
                return r;
        to = slot(c, name, (size_t)(end - name));
        if (to) {
                /* Twice the same: which one is meant? */
                if (*to || !is_plain(buf_str(&value)))
                        return -EBADMSG;
                *to = strdup(buf_str(&value));
                if (!*to)
                        return -ENOMEM;
        }
        *p = s;
        return 1;
}

static enum oci_scheme scheme_of(const char *s, size_t n)
{
        if (n == strlen("Basic") && strncasecmp(s, "Basic", n) == 0)
                return OCI_SCHEME_BASIC;
        if (n == strlen("Bearer") && strncasecmp(s, "Bearer", n) == 0)
                return OCI_SCHEME_BEARER;
        return OCI_SCHEME_OTHER;
}

/* Parameters of one challenge, with commas between them; stops at the next scheme or the end. */
static int take_parameters(const char **p, struct oci_challenge *c)
{
        for (unsigned n = 0;; n++) {
                int r;

                *p += strspn(*p, " \t,");
                r = take_parameter(p, c);
                if (r <= 0)
                        return r;
                if (n >= LIMIT_AUTH_PARAMETERS)
                        return -E2BIG;
                *p = skip_blanks(*p);
                if (**p != ',' && **p != '\0')
                        return -EBADMSG;
        }
}

static int take_challenge(const char **p, struct oci_challenge *c)
{
        const char *scheme = *p, *end = skip_token(scheme), *rest;

        if (end == scheme || (*end && !strchr(" \t,", *end)))
                return -EBADMSG;
        c->scheme = scheme_of(scheme, (size_t)(end - scheme));
        *p = end;
        if (*end != ' ' && *end != '\t')
                return 0;
        rest = skip_blanks(end);
        /* "Negotiate YII=" and the like; but "Basic, Bearer realm=..." has nothing here. */
        if (*rest != ',' && is_token68(rest, &end)) {
                *p = end;
                return 0;
        }
        return take_parameters(p, c);
}

static void challenge_done(struct oci_challenge *c)
{
        free(c->realm);
        free(c->service);
        free(c->scope);
        free(c->error);
        *c = (struct oci_challenge){.scheme = OCI_SCHEME_OTHER};
}

static int parse_challenges(struct oci_challenges *c, const char *p)
{
        for (;;) {
                int r;

                p += strspn(p, " \t,");
                if (*p == '\0')
                        return 0;
                if (c->n == LIMIT_AUTH_CHALLENGES)
                        return -E2BIG;
                r = take_challenge(&p, &c->list[c->n++]);
                if (r < 0)
                        return r;
        }
}

int oci_challenges_add(struct oci_challenges *c, const char *value, struct error *e)
{
        unsigned before = c->n;
        int r = 0;

        if (strlen(value) > LIMIT_AUTH_HEADER)
                return error_set(e, ERROR_REFUSED, E2BIG, "WWW-Authenticate: %zu bytes",
                                 strlen(value));
        for (const char *p = value; *p; p++) {
                if (((uint8_t)*p < ' ' && *p != '\t') || *p == 0x7f)
                        r = -EBADMSG;
        }
        if (r == 0)
                r = parse_challenges(c, value);
        if (r == 0)
                return 0;
        while (c->n > before)
                challenge_done(&c->list[--c->n]);
        if (r == -ENOMEM)
                return error_oom(e);
        return error_set(e, ERROR_REFUSED, -r, "WWW-Authenticate: %s",
                         r == -E2BIG ? "too many challenges or parameters" : "malformed");
}

void oci_challenges_done(struct oci_challenges *c)
{
        while (c->n > 0)
                challenge_done(&c->list[--c->n]);
}

const struct oci_challenge *oci_challenges_find(const struct oci_challenges *c,
                                                enum oci_scheme scheme)
{
        for (unsigned i = 0; i < c->n; i++) {
                if (c->list[i].scheme == scheme)
                        return &c->list[i];
        }
        return NULL;
}

/* --- tokens --- */

bool oci_secret_has(const struct secret *s, uint8_t lowest, uint8_t highest)
{
        for (size_t i = 0; i < s->len; i++) {
                if (s->data[i] < lowest || s->data[i] > highest)
                        return false;
        }
        return true;
}

int oci_token_parse(const void *text, size_t n, struct oci_token *ret, struct error *e)
{
        _cleanup_(secret_free_p) struct secret *token = NULL;
        _cleanup_json_ struct json_object *root = NULL;
        uint64_t seconds = TOKEN_SECONDS;
        int r;

        r = json_secret_read(text, n, LIMIT_AUTH_TOKEN, "answer of the token server", &root, e);
        if (r < 0)
                return r;
        r = json_secret_get(root, "token", text, n, &token);
        if (r == -ENOENT)
                r = json_secret_get(root, "access_token", text, n, &token);
        if (r == -ENOMEM)
                return error_oom(e);
        if (r < 0 || token->len == 0 || !oci_secret_has(token, '!', '~'))
                return error_set(e, ERROR_REFUSED, EBADMSG,
                                 "answer of the token server: no token in it");
        if (token->len > LIMIT_AUTH_PASSWORD)
                return error_set(e, ERROR_REFUSED, E2BIG,
                                 "answer of the token server: a token of %zu bytes", token->len);
        r = json_get_u64(root, "expires_in", &seconds);
        if (r < 0 && r != -ENOENT)
                return error_set(e, ERROR_REFUSED, EBADMSG,
                                 "answer of the token server: expires_in is no number of seconds");
        if (seconds < TOKEN_SECONDS)
                seconds = TOKEN_SECONDS;
        if (seconds > LIMIT_AUTH_TOKEN_SECONDS)
                seconds = LIMIT_AUTH_TOKEN_SECONDS;
        *ret = (struct oci_token){.token = TAKE_PTR(token), .seconds = seconds};
        return 0;
}

void oci_token_done(struct oci_token *t)
{
        secret_free(t->token);
        t->token = NULL;
}
