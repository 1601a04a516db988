/* SPDX-License-Identifier: Apache-2.0 */
#include "upgrade/http_url.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <string.h>
#include <strings.h>

#include "base/limits.h"
#include "base/num.h"

void http_url_done(struct http_url *u)
{
        free(u->text);
        free(u->host);
        free(u->user);
        if (u->password)
                explicit_bzero(u->password, strlen(u->password));
        free(u->password);
        *u = (struct http_url){.text = NULL};
}

static void curl_url_p(CURLU **u)
{
        curl_url_cleanup(*u);
}

/* A part as a string of ours; NULL when the URL has none. */
static int part(CURLU *u, CURLUPart what, unsigned flags, char **ret)
{
        char *text = NULL;
        CURLUcode c = curl_url_get(u, what, &text, flags);

        *ret = NULL;
        if (c == CURLUE_NO_USER || c == CURLUE_NO_PASSWORD || c == CURLUE_NO_ZONEID)
                return 0;
        if (c != CURLUE_OK)
                return c == CURLUE_OUT_OF_MEMORY ? -ENOMEM : -EINVAL;
        *ret = strdup(text);
        curl_free(text);
        return *ret ? 0 : -ENOMEM;
}

/* Letters, digits, "-", "_", "."; or an IPv6 address without a zone. Brackets are taken off. */
static int take_host(CURLU *u, struct http_url *ret)
{
        _cleanup_free_ char *zone = NULL;
        uint8_t address[sizeof(struct in6_addr)];
        size_t n;
        int r;

        r = part(u, CURLUPART_ZONEID, 0, &zone);
        if (r < 0)
                return r;
        if (zone)
                return -EINVAL;
        r = part(u, CURLUPART_HOST, 0, &ret->host);
        if (r < 0)
                return r;
        n = strlen(ret->host);
        if (ret->host[0] == '[' && n > 2) {
                memmove(ret->host, ret->host + 1, n - 2);
                ret->host[n - 2] = '\0';
                return inet_pton(AF_INET6, ret->host, address) == 1 ? 0 : -EINVAL;
        }
        if (n == 0 || n > LIMIT_HOST_NAME)
                return -EINVAL;
        for (char *p = ret->host; *p; p++) {
                if (*p >= 'A' && *p <= 'Z')
                        *p = (char)(*p - 'A' + 'a');
                if (!(*p >= 'a' && *p <= 'z') && !(*p >= '0' && *p <= '9') && !strchr("-_.", *p))
                        return -EINVAL;
        }
        return 0;
}

static int take_origin(CURLU *u, struct http_url *ret)
{
        _cleanup_free_ char *scheme = NULL, *port = NULL;
        uint64_t v;
        int r;

        r = part(u, CURLUPART_SCHEME, 0, &scheme);
        if (r < 0)
                return r;
        ret->tls = strcmp(scheme, "https") == 0;
        if (!ret->tls && strcmp(scheme, "http") != 0)
                return -EINVAL;
        r = part(u, CURLUPART_PORT, CURLU_DEFAULT_PORT, &port);
        if (r < 0)
                return r;
        if (parse_u64_max(port, UINT16_MAX, &v) < 0 || v == 0)
                return -EINVAL;
        ret->port = (uint16_t)v;
        return take_host(u, ret);
}

/* Takes everything out of the handle, which loses its user and fragment on the way. */
static int take_url(CURLU *u, struct http_url *ret)
{
        int r;

        r = take_origin(u, ret);
        if (r < 0)
                return r;
        r = part(u, CURLUPART_USER, CURLU_URLDECODE, &ret->user);
        if (r < 0)
                return r;
        r = part(u, CURLUPART_PASSWORD, CURLU_URLDECODE, &ret->password);
        if (r < 0)
                return r;
        if (curl_url_set(u, CURLUPART_USER, NULL, 0) != CURLUE_OK ||
            curl_url_set(u, CURLUPART_PASSWORD, NULL, 0) != CURLUE_OK ||
            curl_url_set(u, CURLUPART_FRAGMENT, NULL, 0) != CURLUE_OK)
                return -ENOMEM;
        return part(u, CURLUPART_URL, 0, &ret->text);
}

/* Within the limit, and visible ASCII. */
static bool well_formed(const char *text)
{
        size_t n = strnlen(text, LIMIT_URL + 1);

        if (n == 0 || n > LIMIT_URL)
                return false;
        for (size_t i = 0; i < n; i++) {
                if (text[i] <= 0x20 || text[i] >= 0x7f)
                        return false;
        }
        return true;
}

int http_url_parse(const char *text, struct http_url *ret, struct error *e)
{
        _cleanup_(curl_url_p) CURLU *u = curl_url();
        _cleanup_(http_url_done) struct http_url v = {.text = NULL};
        CURLUcode set;
        int r;

        if (!u)
                return error_oom(e);
        set = well_formed(text) ? curl_url_set(u, CURLUPART_URL, text, 0) : CURLUE_BAD_HANDLE;
        if (set == CURLUE_OUT_OF_MEMORY)
                return error_oom(e);
        if (set != CURLUE_OK)
                return error_set(e, ERROR_USAGE, EINVAL, "this is no valid URL");
        r = take_url(u, &v);
        if (r == -ENOMEM)
                return error_oom(e);
        if (r < 0)
                return error_set(e, ERROR_USAGE, EINVAL,
                                 "this is no valid URL of a server that speaks http or https");
        *ret = v;
        v = (struct http_url){.text = NULL};
        return 0;
}

int http_url_join(const struct http_url *base, const char *location, struct http_url *ret,
                  struct error *e)
{
        _cleanup_(curl_url_p) CURLU *u = curl_url();
        _cleanup_(http_url_done) struct http_url v = {.text = NULL};
        CURLUcode set;
        int r;

        if (!u || curl_url_set(u, CURLUPART_URL, base->text, 0) != CURLUE_OK)
                return error_oom(e);
        set = well_formed(location) ? curl_url_set(u, CURLUPART_URL, location, CURLU_DISALLOW_USER)
                                    : CURLUE_BAD_HANDLE;
        if (set == CURLUE_OUT_OF_MEMORY)
                return error_oom(e);
        if (set != CURLUE_OK)
                return error_set(e, ERROR_REFUSED, EBADMSG, "redirected to an invalid address");
        r = take_url(u, &v);
        if (r == -ENOMEM)
                return error_oom(e);
        if (r < 0 || !well_formed(v.text))
                return error_set(e, ERROR_REFUSED, EBADMSG, "redirected to an invalid address");
        *ret = v;
        v = (struct http_url){.text = NULL};
        return 0;
}

bool http_url_same_origin(const struct http_url *a, const struct http_url *b)
{
        return a->tls == b->tls && a->port == b->port && strcmp(a->host, b->host) == 0;
}

/* HOST, HOST:PORT, [ADDRESS], [ADDRESS]:PORT, and a bare IPv6 address. */
static bool host_matches(const char *entry, size_t n, const char *host, uint16_t port)
{
        const char *end = entry + n, *name = entry, *name_end = end, *colon;
        char text[8];
        uint64_t v;

        if (n > 0 && *entry == '[') {
                name++;
                name_end = memchr(entry, ']', n);
                if (!name_end || (name_end + 1 < end && name_end[1] != ':'))
                        return false;
                colon = name_end + 1 < end ? name_end + 1 : NULL;
        } else {
                colon = memchr(entry, ':', n);
                if (colon && memchr(colon + 1, ':', (size_t)(end - colon - 1)))
                        colon = NULL;
                if (colon)
                        name_end = colon;
        }
        if (colon) {
                size_t digits = (size_t)(end - colon - 1);

                if (digits >= sizeof(text))
                        return false;
                memcpy(text, colon + 1, digits);
                text[digits] = '\0';
                if (parse_u64_max(text, UINT16_MAX, &v) < 0 || v != port)
                        return false;
        }
        return (size_t)(name_end - name) == strlen(host) &&
               strncasecmp(name, host, strlen(host)) == 0;
}

bool http_hosts_have(const struct http_hosts *hosts, const char *host, uint16_t port)
{
        for (unsigned i = 0; i < hosts->n; i++) {
                if (host_matches(hosts->names[i], strlen(hosts->names[i]), host, port))
                        return true;
        }
        return false;
}

int http_url_allowed(const struct http_url *from, const struct http_url *to,
                     const struct http_hosts *insecure, struct error *e)
{
        if (to->tls)
                return 0;
        if (from && from->tls)
                return error_set(e, ERROR_REFUSED, EPERM,
                                 "redirected from https to http, which is not protected: %s",
                                 to->host);
        if (http_hosts_have(insecure, to->host, to->port))
                return 0;
        if (from)
                return error_set(e, ERROR_REFUSED, EPERM,
                                 "redirected to a host that may not be spoken to over http: %s",
                                 to->host);
        error_set(e, ERROR_USAGE, EPERM, "%s may not be spoken to over http", to->host);
        error_advise(e, "use https, or allow this host with --insecure %s", to->host);
        return -EPERM;
}

/* 10.0.0.0/8, fd00::/8, or a single address. */
static bool network_has(const char *entry, size_t n, const char *host)
{
        uint8_t net[16], address[16];
        char text[64], *slash;
        uint64_t bits;
        int family = strchr(host, ':') ? AF_INET6 : AF_INET;

        if (n >= sizeof(text) || inet_pton(family, host, address) != 1)
                return false;
        memcpy(text, entry, n);
        text[n] = '\0';
        slash = strchr(text, '/');
        bits = family == AF_INET6 ? 128 : 32;
        if (slash) {
                *slash = '\0';
                if (parse_u64_max(slash + 1, bits, &bits) < 0)
                        return false;
        }
        if (inet_pton(family, text, net) != 1 || memcmp(net, address, bits / 8) != 0)
                return false;
        return bits % 8 == 0 || ((net[bits / 8] ^ address[bits / 8]) >> (8 - bits % 8)) == 0;
}

/* "example.com" and ".example.com" mean the domain and all below it. */
static bool domain_has(const char *entry, size_t n, const char *host)
{
        size_t length = strlen(host);

        if (n > 0 && *entry == '.') {
                entry++;
                n--;
        }
        if (n == 0 || length <= n || host[length - n - 1] != '.')
                return false;
        return strncasecmp(host + length - n, entry, n) == 0;
}

bool http_proxy_bypassed(const char *none, const char *host, uint16_t port)
{
        static const char separators[] = ", \t";

        if (!none)
                return false;
        for (const char *p = none; *p;) {
                size_t n;

                p += strspn(p, separators);
                n = strcspn(p, separators);
                if (n == 0)
                        break;
                if ((n == 1 && *p == '*') || host_matches(p, n, host, port) ||
                    (*p == '.' && host_matches(p + 1, n - 1, host, port)) ||
                    domain_has(p, n, host) || network_has(p, n, host))
                        return true;
                p += n;
        }
        return false;
}

const char *http_proxy_for(const struct http_proxies *p, const struct http_url *u)
{
        const char *proxy = p ? (u->tls ? p->https : p->http) : NULL;

        if (!proxy || !*proxy || http_proxy_bypassed(p->none, u->host, u->port))
                return NULL;
        return proxy;
}
