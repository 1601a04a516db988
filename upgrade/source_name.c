/* SPDX-License-Identifier: Apache-2.0 */
#include "upgrade/source_name.h"

#include <arpa/inet.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/buf.h"
#include "base/limits.h"
#include "base/num.h"
#include "upgrade/oci_digest.h"

#define DEFAULT_REGISTRY "docker.io"
#define DEFAULT_TAG "latest"
#define LOWER "abcdefghijklmnopqrstuvwxyz"
#define UPPER "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define DIGITS "0123456789"

static int wrong(struct error *e, const struct source_name *s, const char *why)
{
        error_set(e, ERROR_USAGE, EINVAL, "source \"%s\": %s", s->text, why);
        error_advise(e, "give oci:REGISTRY/NAME[:TAG][@DIGEST], https://HOST/PATH, ocifile:FILE, "
                        "dir:FOLDER or file:FILE");
        return -EINVAL;
}

/* One group of letters, digits and single hyphens inside: a label of a host name. */
static bool label_valid(const char *s, size_t n)
{
        if (n == 0 || n > 63 || s[0] == '-' || s[n - 1] == '-')
                return false;
        return strspn(s, LOWER UPPER DIGITS "-") >= n;
}

static bool host_name_valid(const char *s, size_t n)
{
        if (n > 253)
                return false;
        for (;;) {
                const char *dot = memchr(s, '.', n);
                size_t length = dot ? (size_t)(dot - s) : n;

                if (!label_valid(s, length))
                        return false;
                if (!dot)
                        return true;
                s += length + 1;
                n -= length + 1;
        }
}

/* [2001:db8::1], without a zone: that is a matter of one machine. */
static bool ipv6_valid(const char *s, size_t n)
{
        char text[INET6_ADDRSTRLEN];
        struct in6_addr address;

        if (n < 3 || n - 2 >= sizeof(text) || s[0] != '[' || s[n - 1] != ']')
                return false;
        memcpy(text, s + 1, n - 2);
        text[n - 2] = '\0';
        return inet_pton(AF_INET6, text, &address) == 1;
}

static bool port_valid(const char *s)
{
        uint64_t port;

        return parse_u64_max(s, UINT16_MAX, &port) == 0 && port > 0;
}

/* HOST[:PORT], NUL-terminated. */
static bool registry_valid(const char *s)
{
        const char *close = s[0] == '[' ? strchr(s, ']') : NULL;
        const char *colon = strchr(close ? close : s, ':');
        size_t host = colon ? (size_t)(colon - s) : strlen(s);

        if (colon && !port_valid(colon + 1))
                return false;
        return close ? ipv6_valid(s, host) : host_name_valid(s, host);
}

/* Lower-case groups with ".", "_", "__" or any number of "-" between them. */
static bool component_valid(const char *s, size_t n)
{
        size_t i = 0;

        for (;;) {
                size_t group = strspn(s + i, LOWER DIGITS), between;

                if (group == 0 || i + group > n)
                        return false;
                i += group;
                if (i == n)
                        return true;
                between = strspn(s + i, "-");
                if (between == 0)
                        between = s[i] == '.' ? 1 : strspn(s + i, "_");
                if (between == 0 || (s[i] == '_' && between > 2))
                        return false;
                i += between;
        }
}

static bool repository_valid(const char *s)
{
        if (strlen(s) > LIMIT_REPOSITORY)
                return false;
        for (;;) {
                size_t n = strcspn(s, "/");

                if (!component_valid(s, n))
                        return false;
                if (s[n] == '\0')
                        return true;
                s += n + 1;
        }
}

static bool tag_valid(const char *s)
{
        size_t n = strlen(s);

        return n > 0 && n <= LIMIT_TAG && s[0] != '.' && s[0] != '-' &&
               strspn(s, LOWER UPPER DIGITS "_.-") == n;
}

/* Whether the part before the first slash is a host: as docker decides it. */
static bool names_host(const char *s, size_t n)
{
        return memchr(s, '.', n) || memchr(s, ':', n) || s[0] == '[' ||
               (n == strlen("localhost") && strncmp(s, "localhost", n) == 0);
}

/* Cuts digest and tag off the end. The digest is the last thing, the tag comes before it; a colon
 * before a slash belongs to a port. */
static int cut_tail(struct source_name *s, char *rest, struct error *e)
{
        struct oci_digest digest;
        char *at = strchr(rest, '@'), *colon;

        if (at) {
                *at = '\0';
                if (oci_digest_parse(at + 1, &digest) < 0)
                        return wrong(e, s,
                                     "behind @ stands no digest (sha256: or sha512: and "
                                     "lower-case hexadecimal digits)");
                s->digest = strdup(at + 1);
                if (!s->digest)
                        return error_oom(e);
        }
        colon = strrchr(rest, ':');
        if (colon && !strchr(colon, '/')) {
                *colon = '\0';
                if (!tag_valid(colon + 1))
                        return wrong(e, s, "the tag is malformed");
                s->tag = strdup(colon + 1);
        } else if (!at) {
                s->tag = strdup(DEFAULT_TAG);
        } else {
                return 0;
        }
        return s->tag ? 0 : error_oom(e);
}

static int parse_oci(struct source_name *s, const char *text, struct error *e)
{
        _cleanup_free_ char *rest = strdup(text);
        char *name, *slash;
        int r;

        if (!rest)
                return error_oom(e);
        if (strstr(rest, "://"))
                return wrong(e, s, "a registry is named without http:// or https://");
        r = cut_tail(s, rest, e);
        if (r < 0)
                return r;
        slash = strchr(rest, '/');
        name = rest;
        if (slash && names_host(rest, (size_t)(slash - rest))) {
                *slash = '\0';
                if (!registry_valid(rest))
                        return wrong(e, s, "the name of the registry is malformed");
                name = slash + 1;
        }
        if (!repository_valid(name))
                return wrong(e, s,
                             "the name in the registry is malformed (lower-case letters, digits, "
                             "and . _ - / between them)");
        /* The old name of Docker's registry. */
        if (name == rest || strcasecmp(rest, "index.docker.io") == 0)
                s->registry = strdup(DEFAULT_REGISTRY);
        else
                s->registry = strdup(rest);
        if (!s->registry)
                return error_oom(e);
        for (char *p = s->registry; *p; p++)
                *p = (char)tolower((unsigned char)*p);
        if (asprintf(&s->repository, "%s%s",
                     strcmp(s->registry, DEFAULT_REGISTRY) == 0 && !strchr(name, '/') ? "library/"
                                                                                      : "",
                     name) < 0) {
                s->repository = NULL;
                return error_oom(e);
        }
        /* "library/" made it longer. */
        return repository_valid(s->repository) ? 0 : wrong(e, s, "the name is too long");
}

/* The authority of a URL: [user[:password]@]host[:port]. */
static int parse_http(struct source_name *s, const char *text, struct error *e)
{
        const char *authority = strstr(text, "://") + strlen("://");
        size_t n = strcspn(authority, "/?#");
        const char *at = memrchr(authority, '@', n);
        const char *host = at ? at + 1 : authority;
        _cleanup_free_ char *copy = strndup(host, n - (size_t)(host - authority));

        if (!copy)
                return error_oom(e);
        if (!registry_valid(copy))
                return wrong(e, s, "the URL names no host");
        if (authority[n] != '/' || authority[n + 1] == '\0')
                return wrong(e, s, "the URL names no file");
        if (strchr(text, '#'))
                return wrong(e, s, "a fragment (#) cannot be fetched");
        s->url = strdup(text);
        return s->url ? 0 : error_oom(e);
}

/* The text for messages: neither a password nor a token in the query may end up in a log. */
static char *blank_secrets(const char *text)
{
        const char *authority = strstr(text, "://"), *at, *colon, *query;
        char *copy;
        size_t n;

        if (!authority)
                return strdup(text);
        authority += strlen("://");
        n = strcspn(authority, "/?#");
        at = memrchr(authority, '@', n);
        /* A slash in a password is wrong, but it shall not show either. */
        if (!at)
                at = strrchr(authority, '@');
        colon = at ? memchr(authority, ':', (size_t)(at - authority)) : NULL;
        query = strchr(colon ? at : authority, '?');
        if (asprintf(&copy, "%.*s%s%.*s%s", (int)((colon ? colon + 1 : authority) - text), text,
                     colon ? "***" : "", (int)strcspn(colon ? at : authority, "?"),
                     colon ? at : authority, query ? "?***" : "") < 0)
                return NULL;
        return copy;
}

static int parse_path(struct source_name *s, const char *path, struct error *e)
{
        if (!path[0])
                return wrong(e, s, "the path is missing");
        s->path = strdup(path);
        return s->path ? 0 : error_oom(e);
}

static int parse(struct source_name *s, const char *text, struct error *e)
{
        static const struct {
                const char *prefix;
                enum source_kind kind;
        } forms[] = {
                {"oci:", SOURCE_KIND_OCI},      {"http://", SOURCE_KIND_HTTP},
                {"https://", SOURCE_KIND_HTTP}, {"ocifile:", SOURCE_KIND_OCIFILE},
                {"dir:", SOURCE_KIND_DIR},      {"file:", SOURCE_KIND_FILE},
        };

        for (size_t i = 0; i < ARRAY_SIZE(forms); i++) {
                size_t n = strlen(forms[i].prefix);

                if (strncmp(text, forms[i].prefix, n) != 0)
                        continue;
                s->kind = forms[i].kind;
                if (s->kind == SOURCE_KIND_OCI || s->kind == SOURCE_KIND_HTTP) {
                        for (const char *p = text; *p; p++) {
                                if ((uint8_t)*p <= ' ' || (uint8_t)*p >= 0x7f)
                                        return wrong(e, s,
                                                     "blanks and characters outside of ASCII "
                                                     "have no place in it");
                        }
                }
                if (s->kind == SOURCE_KIND_OCI)
                        return parse_oci(s, text + n, e);
                return s->kind == SOURCE_KIND_HTTP ? parse_http(s, text, e)
                                                   : parse_path(s, text + n, e);
        }
        return wrong(e, s, "unknown form");
}

int source_name_parse(const char *text, struct source_name *ret, struct error *e)
{
        struct source_name s = {.kind = SOURCE_KIND_OCI};
        int r;

        if (strlen(text) > LIMIT_SOURCE_NAME)
                return error_set(e, ERROR_USAGE, EINVAL, "source: a name of %zu characters",
                                 strlen(text));
        s.text = blank_secrets(text);
        if (!s.text)
                return error_oom(e);
        r = parse(&s, text, e);
        if (r < 0) {
                source_name_done(&s);
                return r;
        }
        *ret = s;
        return 0;
}

void source_name_done(struct source_name *s)
{
        free(s->text);
        free(s->path);
        free(s->url);
        free(s->registry);
        free(s->repository);
        free(s->tag);
        free(s->digest);
        *s = (struct source_name){.kind = SOURCE_KIND_OCI};
}
