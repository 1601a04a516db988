/* SPDX-License-Identifier: Apache-2.0 */
#include "partition/pcr7.h"

#include <string.h>

#include "base/limits.h"
#include "base/num.h"
#include "partition/tpm.h"

#define GUID_SIZE 16u
/* EFI_SIGNATURE_LIST without header and entries: type, list size, header size, entry size. */
#define LIST_SIZE (GUID_SIZE + 12u)
/* GUID, length of the name in characters, length of the content. */
#define VARIABLE_HEADER_SIZE (GUID_SIZE + 16u)

/* 8be4df61-93ca-11d2-aa0d-00e098032b8c */
#define GUID_GLOBAL                                                                                \
        {                                                                                          \
                0x61, 0xdf, 0xe4, 0x8b, 0xca, 0x93, 0xd2, 0x11, 0xaa, 0x0d, 0x00, 0xe0, 0x98,      \
                        0x03, 0x2b, 0x8c                                                           \
        }
/* d719b2cb-3d3a-4596-a3bc-dad00e67656f */
#define GUID_SECURITY                                                                              \
        {                                                                                          \
                0xcb, 0xb2, 0x19, 0xd7, 0x3a, 0x3d, 0x96, 0x45, 0xa3, 0xbc, 0xda, 0xd0, 0x0e,      \
                        0x67, 0x65, 0x6f                                                           \
        }

static const struct {
        const char *name;
        uint8_t guid[GUID_SIZE];
} variables[PCR7_VARIABLE_MAX] = {
        [PCR7_SECUREBOOT] = {"SecureBoot", GUID_GLOBAL},
        [PCR7_PK] = {"PK", GUID_GLOBAL},
        [PCR7_KEK] = {"KEK", GUID_GLOBAL},
        [PCR7_DB] = {"db", GUID_SECURITY},
        [PCR7_DBX] = {"dbx", GUID_SECURITY},
};

const char *pcr7_variable_name(enum pcr7_variable v)
{
        return v < PCR7_VARIABLE_MAX ? variables[v].name : NULL;
}

/* --- UEFI_VARIABLE_DATA --- */

struct variable_data {
        size_t head; /* bytes up to the content */
        const uint8_t *content;
        size_t size;
        enum pcr7_variable which; /* PCR7_VARIABLE_MAX: another one */
};

static bool has_name(const uint8_t *utf16, size_t chars, const char *name)
{
        if (chars != strlen(name))
                return false;
        for (size_t i = 0; i < chars; i++)
                if (le16_at(utf16 + 2 * i) != (uint8_t)name[i])
                        return false;
        return true;
}

/* Errors of eventlog_variable(). */
static int variable_parse(const struct eventlog_event *ev, struct variable_data *ret)
{
        struct eventlog_variable found;
        struct variable_data v = {.which = PCR7_VARIABLE_MAX};
        int r = eventlog_variable(ev, &found);

        if (r < 0)
                return r;
        v.head = (size_t)(found.content - ev->data);
        v.content = found.content;
        v.size = found.size;
        for (unsigned i = 0; i < PCR7_VARIABLE_MAX; i++)
                if (memcmp(found.guid, variables[i].guid, GUID_SIZE) == 0 &&
                    has_name(found.name, found.name_size / 2, variables[i].name))
                        v.which = (enum pcr7_variable)i;
        *ret = v;
        return 0;
}

/* Digest of the event that the firmware will log for this content. */
static int variable_digest(const struct eventlog_event *ev, const struct variable_data *v,
                           const void *content, size_t size, uint8_t ret[SHA256_SIZE])
{
        _cleanup_(digest_free_p) struct digest *d = digest_new();
        uint8_t length[8];

        put_le32(length, (uint32_t)size);
        put_le32(length + 4, (uint32_t)((uint64_t)size >> 32));
        if (!d || digest_add(d, ev->data, GUID_SIZE + 8) < 0 ||
            digest_add(d, length, sizeof(length)) < 0 ||
            digest_add(d, ev->data + VARIABLE_HEADER_SIZE, v->head - VARIABLE_HEADER_SIZE) < 0 ||
            (size > 0 && digest_add(d, content, size) < 0))
                return -ENOMEM;
        return digest_final(d, ret);
}

/* --- signature lists --- */

/* Whether one of the entries (owner and data) is these bytes. A damaged list ends the search: the
 * firmware would not use what comes behind it either. */
static bool lists_contain(const uint8_t *p, size_t n, const uint8_t *entry, size_t entry_size)
{
        while (n >= LIST_SIZE) {
                uint32_t list = le32_at(p + GUID_SIZE), header = le32_at(p + GUID_SIZE + 4),
                         each = le32_at(p + GUID_SIZE + 8);

                if (list < LIST_SIZE || list > n || header > list - LIST_SIZE || each == 0)
                        return false;
                if (each == entry_size)
                        for (size_t at = LIST_SIZE + header; list - at >= each; at += each)
                                if (memcmp(p + at, entry, entry_size) == 0)
                                        return true;
                p += list;
                n -= list;
        }
        return false;
}

int pcr7_vouched(const struct eventlog *log, const uint8_t owner[16], const void *data, size_t size)
{
        int r = -ENODATA;

        for (size_t i = 0; i < eventlog_count(log); i++) {
                const struct eventlog_event *ev = eventlog_at(log, i);
                struct variable_data v;

                if (ev->pcr != TPM_PCR_BOOT_STATE || ev->type != EVENTLOG_VARIABLE_AUTHORITY ||
                    variable_parse(ev, &v) < 0 || v.which != PCR7_DB || v.size < GUID_SIZE)
                        continue;
                if (v.size - GUID_SIZE == size && memcmp(v.content, owner, GUID_SIZE) == 0 &&
                    memcmp(v.content + GUID_SIZE, data, size) == 0)
                        return 1;
                r = 0;
        }
        return r;
}

int pcr7_measured(const struct eventlog *log, enum pcr7_variable wanted, const void **ret,
                  size_t *ret_size)
{
        struct variable_data v, found = {.content = NULL};
        uint8_t digest[SHA256_SIZE];

        for (size_t i = 0; i < eventlog_count(log); i++) {
                const struct eventlog_event *ev = eventlog_at(log, i);

                if (ev->pcr != TPM_PCR_BOOT_STATE)
                        continue;
                if (ev->type == EVENTLOG_SEPARATOR)
                        break;
                if (ev->type != EVENTLOG_VARIABLE_DRIVER_CONFIG || variable_parse(ev, &v) < 0 ||
                    v.which != wanted)
                        continue;
                if (found.content || variable_digest(ev, &v, v.content, v.size, digest) < 0 ||
                    memcmp(digest, ev->digest, SHA256_SIZE) != 0)
                        return -EBADMSG;
                found = v;
        }
        if (!found.content)
                return -ENODATA;
        *ret = found.content;
        *ret_size = found.size;
        return 0;
}

bool pcr7_only_db_vouched(const struct eventlog *log)
{
        for (size_t i = 0; i < eventlog_count(log); i++) {
                const struct eventlog_event *ev = eventlog_at(log, i);
                struct variable_data v;

                if (ev->pcr == TPM_PCR_BOOT_STATE && ev->type == EVENTLOG_VARIABLE_AUTHORITY &&
                    (variable_parse(ev, &v) < 0 || v.which != PCR7_DB))
                        return false;
        }
        return true;
}

/* --- prediction --- */

struct prediction_run {
        const struct pcr7_contents *contents;
        bool other_authorities; /* those of the log are not counted on */
        struct pcr7_prediction p;
        bool separated;
};

static int predict_variable(struct prediction_run *run, const struct eventlog_event *ev, size_t i,
                            uint8_t digest[SHA256_SIZE])
{
        struct variable_data v;
        struct pcr7_change *change;
        uint8_t logged[SHA256_SIZE], will_be[SHA256_SIZE];
        bool again;

        if (variable_parse(ev, &v) < 0 || v.which == PCR7_VARIABLE_MAX)
                return 0;
        change = &run->p.variable[v.which];
        again = change->measured;
        change->measured = true;
        change->event = i;
        memcpy(change->was, ev->digest, SHA256_SIZE);
        memcpy(change->will_be, ev->digest, SHA256_SIZE);
        if (!run->contents->variable[v.which].given)
                return 0;
        if (variable_digest(ev, &v, v.content, v.size, logged) < 0 ||
            variable_digest(ev, &v, run->contents->variable[v.which].data,
                            run->contents->variable[v.which].size, will_be) < 0)
                return -ENOMEM;
        if (memcmp(logged, will_be, SHA256_SIZE) == 0)
                return 0;
        change->changed = true;
        /* What was extended is not the hash of what the log shows: the rule is another one. */
        change->stuck = again || memcmp(logged, ev->digest, SHA256_SIZE) != 0;
        memcpy(change->will_be, will_be, SHA256_SIZE);
        memcpy(digest, will_be, SHA256_SIZE);
        return 0;
}

static void check_authority(struct prediction_run *run, const struct eventlog_event *ev)
{
        const struct pcr7_contents *c = run->contents;
        struct variable_data v;

        /* Others that use the event: the lists of shim. They are not ours to predict. */
        if (variable_parse(ev, &v) < 0 || v.which != PCR7_DB)
                return;
        run->p.authorities++;
        if (c->variable[PCR7_DB].given &&
            !lists_contain(c->variable[PCR7_DB].data, c->variable[PCR7_DB].size, v.content, v.size))
                run->p.authorities_gone++;
}

static bool is_authority_of_db(const struct eventlog_event *ev)
{
        struct variable_data v;

        return ev->type == EVENTLOG_VARIABLE_AUTHORITY && variable_parse(ev, &v) == 0 &&
               v.which == PCR7_DB;
}

static int predict_event(struct prediction_run *run, const struct eventlog_event *ev, size_t i)
{
        uint8_t digest[SHA256_SIZE];
        int r = 0;

        if (run->other_authorities && is_authority_of_db(ev))
                return 0;

        memcpy(digest, ev->digest, SHA256_SIZE);
        if (ev->type == EVENTLOG_SEPARATOR)
                run->separated = true;
        else if (ev->type == EVENTLOG_VARIABLE_DRIVER_CONFIG && !run->separated)
                r = predict_variable(run, ev, i, digest);
        else if (ev->type == EVENTLOG_VARIABLE_AUTHORITY)
                check_authority(run, ev);
        if (r >= 0)
                r = eventlog_extend(run->p.next, digest);
        return r;
}

static int replay(const struct eventlog *log, struct prediction_run *run, struct error *e)
{
        eventlog_initial(log, TPM_PCR_BOOT_STATE, run->p.next);
        if (eventlog_replay(log, TPM_PCR_BOOT_STATE, run->p.now) < 0)
                return error_oom(e);
        for (size_t i = 0; i < eventlog_count(log); i++) {
                const struct eventlog_event *ev = eventlog_at(log, i);

                if (ev->pcr == TPM_PCR_BOOT_STATE && eventlog_is_extended(ev) &&
                    predict_event(run, ev, i) < 0)
                        return error_oom(e);
        }
        if (!run->separated)
                return error_set(e, ERROR_PRECONDITION, EBADMSG,
                                 "the event log says nothing complete about PCR 7");
        return 0;
}

static void finish(struct prediction_run *run, struct pcr7_prediction *ret)
{
        run->p.differs = memcmp(run->p.now, run->p.next, SHA256_SIZE) != 0;
        run->p.certain = run->p.authorities_gone == 0;
        for (unsigned i = 0; i < PCR7_VARIABLE_MAX; i++)
                if (run->p.variable[i].stuck)
                        run->p.certain = false;
        *ret = run->p;
}

int pcr7_predict(const struct eventlog *log, const struct pcr7_contents *contents,
                 struct pcr7_prediction *ret, struct error *e)
{
        struct prediction_run run = {.contents = contents};
        int r = replay(log, &run, e);

        if (r == 0)
                finish(&run, ret);
        return r;
}

/* --- other programs than those of the log ---------------------------------------------------- */

static bool same_authority(const struct pcr7_authority *a, const struct pcr7_authority *b)
{
        return a->size == b->size && memcmp(a->owner, b->owner, GUID_SIZE) == 0 &&
               memcmp(a->data, b->data, a->size) == 0;
}

/* What the firmware extends for a variable: the digest of its whole event. The content may come in
 * two pieces. */
static int extend_variable(uint8_t value[SHA256_SIZE], enum pcr7_variable which, const void *first,
                           size_t n_first, const void *second, size_t n_second)
{
        _cleanup_(digest_free_p) struct digest *d = digest_new();
        uint8_t head[VARIABLE_HEADER_SIZE] = {0}, result[SHA256_SIZE];
        const char *name = variables[which].name;
        int r = d ? 0 : -ENOMEM;

        memcpy(head, variables[which].guid, GUID_SIZE);
        put_le32(head + GUID_SIZE, (uint32_t)strlen(name));
        put_le32(head + GUID_SIZE + 8, (uint32_t)(n_first + n_second));
        if (r == 0)
                r = digest_add(d, head, sizeof(head));
        for (const char *p = name; *p && r == 0; p++)
                r = digest_add(d, (const uint8_t[]){(uint8_t)*p, 0}, 2);
        if (r == 0 && n_first > 0)
                r = digest_add(d, first, n_first);
        if (r == 0 && n_second > 0)
                r = digest_add(d, second, n_second);
        if (r == 0)
                r = digest_final(d, result);
        return r < 0 ? r : eventlog_extend(value, result);
}

/* Those that vouch, each once. *ret_n (may be NULL): how many that are. */
static int extend_authorities(uint8_t value[SHA256_SIZE], const struct pcr7_authority *a, size_t n,
                              unsigned *ret_n)
{
        for (size_t i = 0; i < n; i++) {
                bool again = false;

                for (size_t k = 0; k < i; k++)
                        again = again || same_authority(&a[i], &a[k]);
                if (again)
                        continue;
                if (ret_n)
                        ++*ret_n;
                if (a[i].size > LIMIT_EFI_VARIABLE ||
                    extend_variable(value, PCR7_DB, a[i].owner, GUID_SIZE, a[i].data, a[i].size) <
                            0)
                        return -ENOMEM;
        }
        return 0;
}

int pcr7_predict_started(const struct eventlog *log, const struct pcr7_contents *contents,
                         const struct pcr7_authority *authorities, size_t n,
                         struct pcr7_prediction *ret, struct error *e)
{
        struct prediction_run run = {.contents = contents, .other_authorities = true};
        int r = replay(log, &run, e);

        if (r == 0 && extend_authorities(run.p.next, authorities, n, &run.p.authorities) < 0)
                r = error_oom(e);
        if (r == 0)
                finish(&run, ret);
        return r;
}

int pcr7_fresh(const struct pcr7_contents *contents, const struct pcr7_authority *authorities,
               size_t n, uint8_t ret[SHA256_SIZE])
{
        static const uint8_t separator[4] = {0};
        uint8_t value[SHA256_SIZE] = {0}, digest[SHA256_SIZE];
        int r = 0;

        for (unsigned i = 0; i < PCR7_VARIABLE_MAX && r == 0; i++)
                r = extend_variable(value, (enum pcr7_variable)i, contents->variable[i].data,
                                    contents->variable[i].given ? contents->variable[i].size : 0,
                                    NULL, 0);
        if (r == 0)
                r = sha256(separator, sizeof(separator), digest);
        if (r == 0)
                r = eventlog_extend(value, digest);
        if (r == 0)
                r = extend_authorities(value, authorities, n, NULL);
        if (r == 0)
                memcpy(ret, value, SHA256_SIZE);
        return r;
}

unsigned pcr7_count_drivers(const struct eventlog *log)
{
        unsigned n = 0;

        for (size_t i = 0; i < eventlog_count(log); i++) {
                const struct eventlog_event *ev = eventlog_at(log, i);

                n += ev->pcr == TPM_PCR_DRIVERS && (ev->type == EVENTLOG_BOOT_SERVICES_DRIVER ||
                                                    ev->type == EVENTLOG_RUNTIME_SERVICES_DRIVER);
        }
        return n;
}

int pcr7_explains(const struct eventlog *log, const uint8_t value[SHA256_SIZE], struct error *e)
{
        uint8_t replayed[SHA256_SIZE];
        int r;

        if (eventlog_replay(log, TPM_PCR_BOOT_STATE, replayed) < 0)
                return error_oom(e);
        if (memcmp(replayed, value, SHA256_SIZE) == 0)
                return 0;
        r = error_set(e, ERROR_PRECONDITION, ENOTRECOVERABLE,
                      "the firmware's event log does not explain PCR 7");
        error_advise(e, "PCR 7 of the next boot cannot be predicted on this machine: keep the "
                        "recovery key at hand when Secure Boot keys change, and enrol afterwards");
        return r;
}

int pcr7_describe(const struct pcr7_prediction *p, struct buf *out)
{
        const char *separator = "";
        int r = 0;

        for (unsigned i = 0; r >= 0 && i < PCR7_VARIABLE_MAX; i++) {
                const struct pcr7_change *c = &p->variable[i];

                if (!c->changed)
                        continue;
                r = buf_printf(out, "%s%s changed since this boot%s", separator, variables[i].name,
                               c->stuck ? " and is measured in an unknown way" : "");
                separator = "; ";
        }
        if (r >= 0 && p->authorities_gone > 0)
                r = buf_printf(out,
                               "%s%u of the %u db entries that vouched for this boot's programs "
                               "are gone",
                               separator, p->authorities_gone, p->authorities);
        return r;
}
