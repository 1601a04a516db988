/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/measured.h"

#include <stdio.h>
#include <string.h>

#include "base/codec.h"
#include "base/limits.h"
#include "efivars/keyset.h"
#include "partition/seal.h"

#define OWNER_SIZE 16u
#define HOLDS_MAX 4096u

void measured_done(struct measured *m)
{
        for (size_t i = 0; i < m->n; i++)
                free(m->events[i].holds);
        free(m->events);
        *m = (struct measured){.n = 0};
}

/* --- descriptions ---------------------------------------------------------------------------- */

static const char *type_name(uint32_t type)
{
        static const struct {
                uint32_t type;
                const char *name;
        } names[] = {
                {EVENTLOG_SEPARATOR, "separator"},
                {0x00000005u, "action"},
                {0x00000007u, "contents of the firmware"},
                {0x00000008u, "version of the firmware"},
                {0x00000001u, "part of the firmware"},
                {0x0000000du, "initial program loader"},
                {0x80000003u, "boot application"},
                {EVENTLOG_BOOT_SERVICES_DRIVER, "driver"},
                {EVENTLOG_RUNTIME_SERVICES_DRIVER, "driver"},
                {0x80000006u, "partition table"},
                {0x80000007u, "action"},
                {0x80000008u, "firmware volume"},
                {0x80000009u, "tables of the firmware"},
                {0x8000000au, "firmware volume"},
                {0x8000000bu, "tables of the firmware"},
                {0x80000010u, "HCRTM"},
        };

        for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
                if (names[i].type == type)
                        return names[i].name;
        }
        return NULL;
}

/* Adds a line, as long as there is room for it. */
static int add_line(struct buf *holds, const char *text)
{
        int r = buf_printf(holds, "%s%s", holds->len > 0 ? "\n" : "", text);

        return r == -E2BIG ? 0 : r;
}

static int describe_entries(const struct sigdb *db, struct measured_event *ret, struct buf *holds)
{
        const struct sigdb_entry *entry;
        int r = 0;

        for (size_t i = 0; (entry = sigdb_at(db, i)) && r == 0; i++) {
                char text[KEYSET_TEXT_SIZE];

                if (!entry->cert) {
                        ret->n_hashes++;
                        continue;
                }
                ret->n_certificates++;
                keyset_describe(entry, text);
                r = add_line(holds, text);
        }
        return r;
}

/* One entry of db is not a list of its own in the log: owner and certificate alone. */
static int describe_authority(const struct eventlog_variable *v, struct measured_event *ret,
                              struct buf *holds)
{
        const uint8_t *der = v->content + OWNER_SIZE;
        struct sigdb_entry entry = {.type = SIGDB_X509};
        char text[KEYSET_TEXT_SIZE];

        if (v->size <= OWNER_SIZE)
                return 0;
        entry.cert = d2i_X509(NULL, &der, (long)(v->size - OWNER_SIZE));
        if (!entry.cert)
                return 0;
        ret->n_certificates = 1;
        keyset_describe(&entry, text);
        X509_free(entry.cert);
        return add_line(holds, text);
}

static int describe_variable(const struct eventlog_event *ev, struct measured_event *ret,
                             struct buf *holds)
{
        _cleanup_(buf_done) struct buf name = BUF_INIT(256);
        _cleanup_(sigdb_free_p) struct sigdb *db = sigdb_new();
        bool authority = ev->type == EVENTLOG_VARIABLE_AUTHORITY;
        struct eventlog_variable v;

        if (!db)
                return -ENOMEM;
        if (eventlog_variable(ev, &v) < 0 || utf16_to_utf8(v.name, v.name_size, &name) < 0) {
                (void)snprintf(ret->what, sizeof(ret->what), "variable");
                return 0;
        }
        (void)snprintf(ret->what, sizeof(ret->what), "%s %.70s",
                       authority ? "vouched for by" : "variable", buf_str(&name));
        if (authority)
                return describe_authority(&v, ret, holds);
        if (v.size == 1)
                return add_line(holds, v.content[0] ? "on" : "off");
        if (sigdb_add_lists(db, v.content, v.size, buf_str(&name), NULL) == 0)
                return describe_entries(db, ret, holds);
        return 0;
}

static int describe_event(const struct eventlog_event *ev, struct measured_event *ret)
{
        _cleanup_(buf_done) struct buf holds = BUF_INIT(HOLDS_MAX);
        const char *name = type_name(ev->type);
        int r = 0;

        *ret = (struct measured_event){.pcr = ev->pcr, .type = ev->type};
        memcpy(ret->digest, ev->digest, SHA256_SIZE);
        if (ev->type == EVENTLOG_VARIABLE_AUTHORITY || ev->type == EVENTLOG_VARIABLE_DRIVER_CONFIG)
                r = describe_variable(ev, ret, &holds);
        else if (name)
                (void)snprintf(ret->what, sizeof(ret->what), "%s", name);
        else
                (void)snprintf(ret->what, sizeof(ret->what), "type 0x%x", ev->type);
        if (r < 0)
                return r;
        ret->holds = strdup(buf_str(&holds));
        return ret->holds ? 0 : -ENOMEM;
}

/* --- taking ---------------------------------------------------------------------------------- */

int measured_take(const struct eventlog *log, uint32_t mask, struct measured *ret)
{
        struct measured m = {.pcrs = mask};
        uint8_t start[SHA256_SIZE];
        int r = 0;

        eventlog_initial(log, 0, start);
        m.locality = start[SHA256_SIZE - 1];
        m.events = calloc(MEASURED_EVENTS_MAX, sizeof(*m.events));
        if (!m.events)
                return -ENOMEM;
        for (size_t i = 0; i < eventlog_count(log) && r == 0; i++) {
                const struct eventlog_event *ev = eventlog_at(log, i);

                if (!eventlog_is_extended(ev) || !(mask & UINT32_C(1) << ev->pcr))
                        continue;
                r = m.n == MEASURED_EVENTS_MAX ? -E2BIG : describe_event(ev, &m.events[m.n]);
                if (r == 0)
                        m.n++;
        }
        if (r < 0) {
                measured_done(&m);
                return r;
        }
        *ret = m;
        return 0;
}

bool measured_same(const struct measured *a, const struct measured *b)
{
        if (a->has_tpm != b->has_tpm || memcmp(a->tpm, b->tpm, SHA256_SIZE) != 0 ||
            a->pcrs != b->pcrs || a->locality != b->locality || a->n != b->n)
                return false;
        for (size_t i = 0; i < a->n; i++) {
                if (a->events[i].pcr != b->events[i].pcr ||
                    memcmp(a->events[i].digest, b->events[i].digest, SHA256_SIZE) != 0)
                        return false;
        }
        return true;
}

int measured_value(const struct measured *m, unsigned pcr, uint8_t ret[SHA256_SIZE])
{
        uint8_t value[SHA256_SIZE] = {0};
        int r = pcr < TPM_PCR_COUNT && m->pcrs & UINT32_C(1) << pcr ? 0 : -ENOENT;

        if (pcr == 0)
                value[SHA256_SIZE - 1] = m->locality;
        for (size_t i = 0; i < m->n && r == 0; i++) {
                if (m->events[i].pcr == pcr)
                        r = eventlog_extend(value, m->events[i].digest);
        }
        if (r == 0)
                memcpy(ret, value, SHA256_SIZE);
        return r;
}

bool measured_is_of(const struct measured *m, const struct token *token)
{
        uint8_t values[TPM_PCR_COUNT * SHA256_SIZE], digest[SHA256_SIZE] = {0};
        size_t n = 0;

        if (token->literal_pcrs == 0 || (token->signed_pcrs != 0 && !token->key))
                return false;
        for (unsigned pcr = 0; pcr < TPM_PCR_COUNT; pcr++) {
                if (!(token->literal_pcrs & UINT32_C(1) << pcr))
                        continue;
                if (measured_value(m, pcr, values + n) < 0)
                        return false;
                n += SHA256_SIZE;
        }
        if ((token->signed_pcrs != 0 && policy_authorize(digest, token->key) < 0) ||
            policy_pcr(digest, token->literal_pcrs, values, n) < 0 ||
            (token->pin && policy_auth_value(digest) < 0))
                return false;
        return memcmp(digest, token->policy_hash, SHA256_SIZE) == 0;
}

/* --- comparing ------------------------------------------------------------------------------- */

/* The events of one PCR. */
struct side {
        const struct measured_event *event[MEASURED_EVENTS_MAX];
        size_t n;
};

static void pick(const struct measured *m, unsigned pcr, struct side *ret)
{
        ret->n = 0;
        for (size_t i = 0; i < m->n; i++) {
                if (m->events[i].pcr == pcr)
                        ret->event[ret->n++] = &m->events[i];
        }
}

static bool same_digest(const struct measured_event *a, const struct measured_event *b)
{
        return memcmp(a->digest, b->digest, SHA256_SIZE) == 0;
}

/* About the same thing, whatever it is now. */
static bool same_kind(const struct measured_event *a, const struct measured_event *b)
{
        return a->type == b->type && strcmp(a->what, b->what) == 0;
}

struct diff {
        struct measured_change *change;
        size_t n, max;
};

static void note(struct diff *d, size_t number, const struct measured_event *was,
                 const struct measured_event *now)
{
        if (d->n < d->max)
                d->change[d->n] = (struct measured_change){number, was, now};
        d->n++;
}

/* Index of the next event in [from, to) of that kind; to: there is none. */
static size_t find_kind(const struct side *s, size_t from, size_t to,
                        const struct measured_event *like)
{
        while (from < to && !same_kind(s->event[from], like))
                from++;
        return from;
}

/* What both begin and end with is the same; between, events of a kind are pairs, in their order. */
static void compare(const struct side *a, const struct side *b, struct diff *d)
{
        size_t begin = 0, a_end = a->n, b_end = b->n, i, k;

        while (begin < a_end && begin < b_end && same_digest(a->event[begin], b->event[begin]))
                begin++;
        while (a_end > begin && b_end > begin &&
               same_digest(a->event[a_end - 1], b->event[b_end - 1])) {
                a_end--;
                b_end--;
        }
        for (i = k = begin; i < a_end; i++) {
                size_t at = find_kind(b, k, b_end, a->event[i]);

                if (at == b_end) {
                        note(d, i + 1, a->event[i], NULL);
                        continue;
                }
                for (; k < at; k++)
                        note(d, k + 1, NULL, b->event[k]);
                if (!same_digest(a->event[i], b->event[at]))
                        note(d, at + 1, a->event[i], b->event[at]);
                k = at + 1;
        }
        for (; k < b_end; k++)
                note(d, k + 1, NULL, b->event[k]);
}

size_t measured_compare(const struct measured *was, const struct measured *now, unsigned pcr,
                        struct measured_change *ret, size_t max)
{
        struct side *sides = calloc(2, sizeof(*sides));
        struct diff d = {.change = ret, .max = max};

        if (!sides)
                return 0;
        pick(was, pcr, &sides[0]);
        pick(now, pcr, &sides[1]);
        compare(&sides[0], &sides[1], &d);
        free(sides);
        return d.n;
}

/* --- telling --------------------------------------------------------------------------------- */

static bool has_line(const char *lines, const char *line, size_t n)
{
        for (const char *p = lines; *p; p += strcspn(p, "\n"), p += *p == '\n') {
                if (strcspn(p, "\n") == n && memcmp(p, line, n) == 0)
                        return true;
        }
        return false;
}

/* Lines that only one of them has. */
static int tell_lines(struct buf *out, const char *word, const char *lines, const char *without)
{
        int r = 0;

        for (const char *p = lines; *p && r == 0; p += strcspn(p, "\n"), p += *p == '\n') {
                size_t n = strcspn(p, "\n");

                if (!has_line(without, p, n))
                        r = buf_printf(out, "; %s: %.*s", word, (int)n, p);
        }
        return r;
}

static int add_count(struct buf *out, const char *one, const char *many, uint64_t was, uint64_t now)
{
        if (was == now)
                return 0;
        return buf_printf(out, "%s %llu %s instead of %llu", out->len > 0 ? "," : "",
                          (unsigned long long)now, now == 1 ? one : many, (unsigned long long)was);
}

static int describe_content(const struct measured_event *was, const struct measured_event *now,
                            struct buf *out)
{
        _cleanup_(buf_done) struct buf counts = BUF_INIT(256);
        const char *before = was->holds ?: "", *after = now->holds ?: "";
        int r = add_count(&counts, "certificate", "certificates", was->n_certificates,
                          now->n_certificates);

        if (r == 0)
                r = add_count(&counts, "hash", "hashes", was->n_hashes, now->n_hashes);
        if (r < 0)
                return r;
        if (counts.len == 0 && strcmp(before, after) == 0)
                return buf_add_str(out, ": its content is another one");
        if (counts.len > 0)
                r = buf_printf(out, ":%s", buf_str(&counts));
        else
                r = buf_add_str(out, ": changed");
        if (r == 0)
                r = tell_lines(out, "new", after, before);
        return r < 0 ? r : tell_lines(out, "gone", before, after);
}

int measured_describe(const struct measured_change *c, struct buf *out)
{
        const struct measured_event *one = c->now ?: c->was;
        int r = buf_printf(out, "event %zu, %s", c->number, one->what);

        if (r < 0)
                return r;
        if (c->was && c->now)
                return describe_content(c->was, c->now, out);
        r = buf_add_str(out, c->now ? ": new" : ": gone");
        return r < 0 ? r : tell_lines(out, "it is", one->holds ?: "", "");
}
