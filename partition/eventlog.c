/* SPDX-License-Identifier: Apache-2.0 */
#include "partition/eventlog.h"

#include <fcntl.h>
#include <string.h>

#include "base/file.h"
#include "base/limits.h"
#include "base/num.h"

#define LOG_PATH "kernel/security/tpm0/binary_bios_measurements"
#define ALG_SHA256 0x000bu
#define PCR_COUNT 24u
/* Field sizes of the first event, which has the form of TPM 1.2. */
#define SHA1_SIZE 20u
#define LARGEST_DIGEST 64u
/* UEFI_VARIABLE_DATA: GUID, length of the name in characters, length of the content. */
#define GUID_SIZE 16u
#define VARIABLE_HEADER_SIZE (GUID_SIZE + 16u)

/* With their final NUL, which is part of the format. */
static const char spec_id[16] = "Spec ID Event03";
static const char startup_locality[16] = "StartupLocality";

struct bank {
        uint16_t alg;
        uint16_t size;
};

struct eventlog {
        struct bank banks[LIMIT_EVENTLOG_BANKS];
        size_t bank_count;
        struct eventlog_event *events;
        size_t count, allocated;
        uint8_t locality; /* in which the TPM was started */
};

/* What is left of the input. */
struct cursor {
        const uint8_t *at;
        size_t left;
};

/* NULL when there is less. */
static const uint8_t *take(struct cursor *c, size_t n)
{
        const uint8_t *p = c->at;

        if (n > c->left)
                return NULL;
        c->at += n;
        c->left -= n;
        return p;
}

static int take_u16(struct cursor *c, uint16_t *ret)
{
        const uint8_t *p = take(c, 2);

        if (!p)
                return -EBADMSG;
        *ret = le16_at(p);
        return 0;
}

static int take_u32(struct cursor *c, uint32_t *ret)
{
        const uint8_t *p = take(c, 4);

        if (!p)
                return -EBADMSG;
        *ret = le32_at(p);
        return 0;
}

/* --- header --- */

static int take_bank(struct eventlog *l, struct cursor *c)
{
        struct bank b;

        if (take_u16(c, &b.alg) < 0 || take_u16(c, &b.size) < 0)
                return -EBADMSG;
        if (b.size == 0 || b.size > LARGEST_DIGEST ||
            (b.alg == ALG_SHA256 && b.size != SHA256_SIZE))
                return -EBADMSG;
        for (size_t i = 0; i < l->bank_count; i++)
                if (l->banks[i].alg == b.alg)
                        return -EBADMSG;
        l->banks[l->bank_count++] = b;
        return 0;
}

/* TCG_EfiSpecIDEvent: which digests the events carry. */
static int take_spec_id(struct eventlog *l, struct cursor c)
{
        const uint8_t *signature = take(&c, sizeof(spec_id)), *p;
        bool sha256_bank = false;
        uint32_t n;

        if (!signature || memcmp(signature, spec_id, sizeof(spec_id)) != 0)
                return -EPROTONOSUPPORT;
        /* Platform class, version, size of UINTN: nothing here depends on them. */
        if (!take(&c, 8) || take_u32(&c, &n) < 0)
                return -EBADMSG;
        if (n > LIMIT_EVENTLOG_BANKS)
                return -E2BIG;
        for (uint32_t i = 0; i < n; i++)
                if (take_bank(l, &c) < 0)
                        return -EBADMSG;
        p = take(&c, 1); /* size of vendor data */
        if (!p || c.left != *p)
                return -EBADMSG;
        for (size_t i = 0; i < l->bank_count; i++)
                sha256_bank |= l->banks[i].alg == ALG_SHA256;
        return sha256_bank ? 0 : -EPROTONOSUPPORT;
}

/* TCG_PCClientPCREvent. */
static int take_header(struct eventlog *l, struct cursor *c)
{
        uint32_t pcr, type, size;
        struct cursor event;

        if (take_u32(c, &pcr) < 0 || take_u32(c, &type) < 0 || !take(c, SHA1_SIZE) ||
            take_u32(c, &size) < 0)
                return -EBADMSG;
        event = (struct cursor){.at = take(c, size), .left = size};
        if (!event.at)
                return -EBADMSG;
        if (pcr != 0 || type != EVENTLOG_NO_ACTION)
                return -EPROTONOSUPPORT;
        return take_spec_id(l, event);
}

/* --- events --- */

static int add_event(struct eventlog *l, const struct eventlog_event *ev)
{
        struct eventlog_event *events;
        size_t n = l->allocated ? 2 * l->allocated : 64;

        if (l->count >= LIMIT_EVENTLOG_EVENTS)
                return -E2BIG;
        if (l->count == l->allocated) {
                events = reallocarray(l->events, n, sizeof(*events));
                if (!events)
                        return -ENOMEM;
                l->events = events;
                l->allocated = n;
        }
        l->events[l->count++] = *ev;
        return 0;
}

static const struct bank *find_bank(const struct eventlog *l, uint16_t alg, uint32_t *seen)
{
        for (size_t i = 0; i < l->bank_count; i++) {
                if (l->banks[i].alg != alg)
                        continue;
                if (*seen & 1u << i)
                        return NULL;
                *seen |= 1u << i;
                return &l->banks[i];
        }
        return NULL;
}

/* TPML_DIGEST_VALUES: banks of the header, none twice, in any order; SHA-256 must be there. */
static int take_digests(const struct eventlog *l, struct cursor *c, struct eventlog_event *ev)
{
        uint32_t n, seen = 0;

        if (take_u32(c, &n) < 0 || n > l->bank_count)
                return -EBADMSG;
        for (uint32_t i = 0; i < n; i++) {
                const struct bank *b;
                const uint8_t *digest;
                uint16_t alg;

                if (take_u16(c, &alg) < 0)
                        return -EBADMSG;
                b = find_bank(l, alg, &seen);
                digest = b ? take(c, b->size) : NULL;
                if (!digest)
                        return -EBADMSG;
                if (alg == ALG_SHA256)
                        ev->digest = digest;
        }
        return ev->digest ? 0 : -EBADMSG;
}

static void note_locality(struct eventlog *l, const struct eventlog_event *ev)
{
        if (ev->type == EVENTLOG_NO_ACTION && ev->pcr == 0 &&
            ev->size == sizeof(startup_locality) + 1 &&
            memcmp(ev->data, startup_locality, sizeof(startup_locality)) == 0)
                l->locality = ev->data[sizeof(startup_locality)];
}

/* TCG_PCR_EVENT2. */
static int take_event(struct eventlog *l, struct cursor *c)
{
        struct eventlog_event ev = {.pcr = 0};
        uint32_t size;

        if (take_u32(c, &ev.pcr) < 0 || take_u32(c, &ev.type) < 0 || take_digests(l, c, &ev) < 0 ||
            take_u32(c, &size) < 0)
                return -EBADMSG;
        ev.size = size;
        ev.data = take(c, size);
        /* An entry that is not extended may name no PCR at all. */
        if (!ev.data || (ev.pcr >= PCR_COUNT && eventlog_is_extended(&ev)))
                return -EBADMSG;
        note_locality(l, &ev);
        return add_event(l, &ev);
}

static int parse_error(int r, size_t at, struct error *e)
{
        switch (r) {
        case -ENOMEM:
                return error_oom(e);
        case -E2BIG:
                return error_set(e, ERROR_PRECONDITION, E2BIG, "event log is too large");
        case -EPROTONOSUPPORT:
                (void)error_set(e, ERROR_PRECONDITION, EPROTONOSUPPORT,
                                "event log is not in the format of TPM 2.0 with SHA-256");
                error_advise(e, "Enable the SHA-256 bank of the TPM in the firmware setup");
                return r;
        default:
                return error_set(e, ERROR_PRECONDITION, EBADMSG,
                                 "event log is damaged at offset %zu", at);
        }
}

int eventlog_parse(const void *data, size_t n, struct eventlog **ret, struct error *e)
{
        _cleanup_(eventlog_free_p) struct eventlog *l = calloc(1, sizeof(*l));
        struct cursor c = {.at = data, .left = n};
        size_t at = 0;
        int r;

        if (!l)
                return error_oom(e);
        if (n > LIMIT_EVENTLOG)
                return parse_error(-E2BIG, 0, e);
        r = take_header(l, &c);
        while (r >= 0 && c.left > 0) {
                at = n - c.left;
                r = take_event(l, &c);
        }
        if (r < 0)
                return parse_error(r, at, e);
        *ret = TAKE_PTR(l);
        return 0;
}

void eventlog_free(struct eventlog *l)
{
        if (!l)
                return;
        free(l->events);
        free(l);
}

int eventlog_read(const struct env *env, struct buf *out, struct error *e)
{
        _cleanup_close_ int dir = file_open_dir(AT_FDCWD, env->sysfs);
        int r = dir < 0 ? dir : file_read(dir, LOG_PATH, out);

        if (r == -ENOENT || r == -ENODEV) {
                (void)error_set(e, ERROR_PRECONDITION, ENOENT,
                                "the kernel shows no event log of the firmware");
                error_advise(e,
                             "Check that the TPM is enabled in the firmware setup and that "
                             "%s/kernel/security is mounted",
                             env->sysfs);
                return -ENOENT;
        }
        if (r == -E2BIG)
                return parse_error(r, 0, e);
        return r < 0 ? error_errno(e, -r, "cannot read the event log of the firmware") : 0;
}

/* --- queries --- */

size_t eventlog_count(const struct eventlog *l)
{
        return l->count;
}

const struct eventlog_event *eventlog_at(const struct eventlog *l, size_t i)
{
        return i < l->count ? &l->events[i] : NULL;
}

bool eventlog_is_extended(const struct eventlog_event *ev)
{
        return ev->type != EVENTLOG_NO_ACTION;
}

int eventlog_variable(const struct eventlog_event *ev, struct eventlog_variable *ret)
{
        uint64_t chars, size;
        struct eventlog_variable v;

        if (ev->size < VARIABLE_HEADER_SIZE)
                return -EBADMSG;
        chars = le64_at(ev->data + GUID_SIZE);
        size = le64_at(ev->data + GUID_SIZE + 8);
        if (chars > (ev->size - VARIABLE_HEADER_SIZE) / 2)
                return -EBADMSG;
        v = (struct eventlog_variable){.guid = ev->data,
                                       .name = ev->data + VARIABLE_HEADER_SIZE,
                                       .name_size = 2 * (size_t)chars};
        if (size != ev->size - VARIABLE_HEADER_SIZE - v.name_size)
                return -EBADMSG;
        v.content = v.name + v.name_size;
        v.size = (size_t)size;
        *ret = v;
        return 0;
}

int eventlog_extend(uint8_t value[SHA256_SIZE], const uint8_t digest[SHA256_SIZE])
{
        uint8_t both[2 * SHA256_SIZE];

        memcpy(both, value, SHA256_SIZE);
        memcpy(both + SHA256_SIZE, digest, SHA256_SIZE);
        return sha256(both, sizeof(both), value);
}

void eventlog_initial(const struct eventlog *l, unsigned pcr, uint8_t ret[SHA256_SIZE])
{
        memset(ret, pcr >= 17 && pcr <= 22 ? 0xff : 0, SHA256_SIZE);
        if (pcr == 0)
                ret[SHA256_SIZE - 1] = l->locality;
}

int eventlog_replay(const struct eventlog *l, unsigned pcr, uint8_t ret[SHA256_SIZE])
{
        uint8_t value[SHA256_SIZE];

        if (pcr >= PCR_COUNT)
                return -EINVAL;
        eventlog_initial(l, pcr, value);
        for (size_t i = 0; i < l->count; i++) {
                const struct eventlog_event *ev = &l->events[i];
                int r;

                if (ev->pcr != pcr || !eventlog_is_extended(ev))
                        continue;
                r = eventlog_extend(value, ev->digest);
                if (r < 0)
                        return r;
        }
        memcpy(ret, value, SHA256_SIZE);
        return 0;
}
