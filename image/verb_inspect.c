/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tb-image inspect: what is in an image, and whether its own promises hold. A PE image that is no
 * USI (a boot loader) makes fewer of them: what it is for, and who signed it.
 */
#include <openssl/x509.h>
#include <stdio.h>
#include <string.h>

#include "base/codec.h"
#include "base/limits.h"
#include "image/document.h"
#include "image/input.h"
#include "image/phases.h"
#include "image/say.h"
#include "image/verb.h"
#include "image/words.h"
#include "upgrade/authenticode.h"
#include "upgrade/image_profiles.h"
#include "upgrade/pcrsig.h"
#include "upgrade/usi.h"

/* What one profile of an image comes to; an image without profiles has one. */
struct profile {
        uint8_t pcr11[PHASE_MAX][SHA256_SIZE];
        uint8_t pol[PHASE_MAX][SHA256_SIZE];
        bool fits[PHASE_MAX];
};

struct image {
        int fd;
        struct pe *pe;
        uint64_t size;
        uint8_t sha256[SHA256_SIZE];
        uint8_t digest[SHA256_SIZE]; /* Authenticode */
        struct usi *usi;             /* NULL = it is none, and what follows is empty */
        struct pcrsig *pcrsig;       /* NULL = unsigned policy */
        struct profile *profiles;
        unsigned n_profiles;
};

static void image_done(struct image *i)
{
        free(i->profiles);
        pcrsig_free(i->pcrsig);
        usi_free(i->usi);
        pe_free(i->pe);
        close_p(&i->fd);
}

static int check_phases(struct image *i, unsigned number, struct error *e)
{
        const struct buf *key = usi_pcrpkey(i->usi);
        struct profile *p = &i->profiles[number];
        int r;

        for (unsigned k = 0; k < PHASE_MAX; k++) {
                r = usi_pcr11_profile(i->usi, number, phase_path((enum phase)k), p->pcr11[k], e);
                if (r == 0 && pcrsig_policy(p->pcr11[k], p->pol[k]) < 0)
                        r = error_set(e, ERROR_INTERNAL, EIO, "cannot compute the policy");
                if (r < 0)
                        return r;
                if (!i->pcrsig || !key)
                        continue;
                r = pcrsig_check(i->pcrsig, key->data, key->len, p->pcr11[k], NULL, e);
                if (r < 0 && r != -ENOENT && r != -EKEYREJECTED)
                        return r;
                p->fits[k] = r == 0;
                error_clear(e);
        }
        return 0;
}

static int check_profiles(struct image *i, struct error *e)
{
        int r = 0;

        i->n_profiles = image_profiles_count(i->usi);
        i->profiles = calloc(i->n_profiles, sizeof(*i->profiles));
        if (!i->profiles)
                return error_oom(e);
        for (unsigned k = 0; k < i->n_profiles && r == 0; k++)
                r = check_phases(i, k, e);
        return r;
}

static int load_usi(struct image *i, struct error *e)
{
        const struct buf *text;
        int r;

        r = usi_open(i->fd, &i->usi, e);
        if (r < 0)
                return r;
        text = usi_pcrsig(i->usi);
        if (text) {
                r = pcrsig_parse(text->data, text->len, &i->pcrsig, e);
                if (r < 0)
                        return r;
        }
        return check_profiles(i, e);
}

static int load(struct image *i, const char *path, struct error *e)
{
        int r;

        r = input_open(path, &i->fd, e);
        if (r < 0)
                return r;
        r = pe_open(i->fd, &i->pe, e);
        if (r == 0)
                r = authenticode_digest(i->pe, i->digest, e);
        if (r == 0 && pe_find(i->pe, usi_section_name(USI_LINUX)))
                r = load_usi(i, e);
        if (r < 0)
                return error_wrap(e, r, "%s", path);
        r = digest_fd(i->fd, i->sha256, &i->size);
        return r < 0 ? error_errno(e, -r, "cannot read %s", path) : 0;
}

/* Name of a machine type, as uname -m has it. */
static void name_machine(const struct image *i, char *ret, size_t n)
{
        uint16_t machine = pe_header(i->pe)->machine;

        if (machine == PE_MACHINE_X86_64)
                (void)snprintf(ret, n, "x86_64");
        else if (machine == PE_MACHINE_AARCH64)
                (void)snprintf(ret, n, "aarch64");
        else
                (void)snprintf(ret, n, "0x%04x", (unsigned)machine);
}

/* Phase and profile whose policy an element of the signature document is for, -1 for none of the
 * known. */
static int phase_of(const struct image *i, const struct pcrsig_entry *entry, unsigned *ret_profile)
{
        for (unsigned p = 0; entry->mask == PCRSIG_MASK_PCR11 && p < i->n_profiles; p++)
                for (unsigned k = 0; k < PHASE_MAX; k++)
                        if (memcmp(entry->pol, i->profiles[p].pol[k], SHA256_SIZE) == 0) {
                                *ret_profile = p;
                                return (int)k;
                        }
        return -1;
}

/* Command line of a profile, without what the stub cuts off its end. */
static size_t cmdline_of(const struct image *i, unsigned profile, const char **ret)
{
        const struct buf *text = usi_content(i->usi, profile, USI_CMDLINE);
        size_t n = text ? text->len : 0;

        *ret = text ? (const char *)text->data : "";
        while (n > 0 && ((*ret)[n - 1] == '\n' || (*ret)[n - 1] == '\0'))
                n--;
        return n;
}

/* One Authenticode signature: who claims it, and whether it is about these bytes. */
struct signature {
        char subject[256];
        bool digest_fits;
};

static void read_signature(const struct image *i, PKCS7 *p7, struct signature *ret)
{
        STACK_OF(X509) *signers = NULL;
        uint8_t digest[SHA256_SIZE];

        *ret = (struct signature){.subject = "(no certificate)"};
        if (authenticode_claim(p7, digest, NULL) == 0)
                ret->digest_fits = memcmp(digest, i->digest, SHA256_SIZE) == 0;
        signers = PKCS7_get0_signers(p7, NULL, 0);
        if (signers && sk_X509_num(signers) > 0)
                (void)X509_NAME_oneline(X509_get_subject_name(sk_X509_value(signers, 0)),
                                        ret->subject, sizeof(ret->subject));
        sk_X509_free(signers);
}

typedef int (*signature_sink)(void *ctx, const struct signature *s);

static int each_signature(const struct image *i, signature_sink sink, void *ctx, struct error *e)
{
        uint64_t offset = 0;

        for (;;) {
                _cleanup_(authenticode_pkcs7_p) PKCS7 *p7 = NULL;
                struct signature s;
                int r = authenticode_next(i->pe, &offset, &p7, e);

                if (r <= 0)
                        return r;
                read_signature(i, p7, &s);
                if (sink(ctx, &s) < 0)
                        return error_oom(e);
        }
}

/* --- text --- */

static int print_signature(void *ctx, const struct signature *s)
{
        unsigned *n = ctx;

        ++*n;
        say(stdout, "signed by      %s (%s)\n", s->subject,
            s->digest_fits ? "digest fits" : "DIGEST DOES NOT FIT");
        return 0;
}

static void print_hex(const char *label, const uint8_t *digest, const char *remark)
{
        char hex[SHA256_HEX_SIZE];

        hex_encode(digest, SHA256_SIZE, hex);
        say(stdout, "%-14s %s%s\n", label, hex, remark);
}

/* By the key that is in the image. */
static bool is_own(const struct image *i, const struct pcrsig_entry *entry)
{
        const struct buf *pem = usi_pcrpkey(i->usi);
        _cleanup_(policy_key_free_p) struct policy_key *key = NULL;

        return pem && policy_key_from_pem(pem->data, pem->len, &key, NULL) == 0 &&
               memcmp(policy_key_fingerprint(key), entry->pkfp, SHA256_SIZE) == 0;
}

static void print_profile(const struct image *i, unsigned number)
{
        struct image_profile facts;
        const char *text;
        size_t n = cmdline_of(i, number, &text);

        image_profile_name(i->usi, number, &facts);
        say(stdout, "profile %-6u %s: %.*s\n", number, *facts.id ? facts.id : "(no name)", (int)n,
            text);
        print_hex("", i->profiles[number].pcr11[PHASE_UNLOCK], " (enter-initrd)");
}

static void print_phases(const struct image *i)
{
        char hex[SHA256_HEX_SIZE], profile[32] = "";

        print_hex("pcr11", i->profiles[0].pcr11[PHASE_NONE], " (before the first phase)");
        print_hex("", i->profiles[0].pcr11[PHASE_UNLOCK], " (enter-initrd)");
        for (unsigned k = 1; k < i->n_profiles; k++)
                print_profile(i, k);
        if (!i->pcrsig)
                say(stdout, "pcr signature  none\n");
        for (unsigned k = 0; i->pcrsig && pcrsig_at(i->pcrsig, k); k++) {
                unsigned p = 0;
                int phase = phase_of(i, pcrsig_at(i->pcrsig, k), &p);

                if (phase < 0) {
                        print_hex("SIGNED POLICY", pcrsig_at(i->pcrsig, k)->pol, "");
                        say(stdout, "               fits no known phase of this image\n");
                        continue;
                }
                hex_encode(i->profiles[p].pcr11[phase], SHA256_SIZE, hex);
                if (i->n_profiles > 1)
                        (void)snprintf(profile, sizeof(profile), " of profile %u", p);
                say(stdout, "signed phase   %s%s (%s)\n               %s\n",
                    phase > 0 ? phase_path((enum phase)phase) : "(none)", profile,
                    is_own(i, pcrsig_at(i->pcrsig, k)) ? i->profiles[p].fits[phase]
                                                                 ? "signature fits"
                                                                 : "SIGNATURE DOES NOT FIT"
                                                       : "by another key than its own: not checked",
                    hex);
        }
}

static void print_usi(const struct image *i)
{
        say(stdout, "name           %s\n", usi_pretty_name(i->usi) ?: "-");
        say(stdout, "image          %s version %s\n", usi_image_id(i->usi) ?: "-",
            usi_image_version(i->usi) ?: "-");
        say(stdout, "command line   %s\n", usi_cmdline(i->usi) ?: "-");
        if (usi_stub_version(i->usi) > 0)
                say(stdout, "systemd-stub   %u\n", usi_stub_version(i->usi));
        else
                say(stdout, "systemd-stub   UNKNOWN: what it measures cannot be known\n");
}

static int print_text(const struct image *i, struct error *e)
{
        const struct pe_section *s;
        char machine[16];
        unsigned n = 0;
        int r;

        if (i->usi)
                print_usi(i);
        else
                say(stdout, "kind           PE image, no USI (it has no section .linux)\n");
        name_machine(i, machine, sizeof(machine));
        say(stdout, "machine        %s\n", machine);
        say(stdout, "size           %llu\n", (unsigned long long)i->size);
        print_hex("sha256", i->sha256, "");
        print_hex("authenticode", i->digest, "");
        if (i->usi)
                print_phases(i);
        r = each_signature(i, print_signature, &n, e);
        if (r < 0)
                return r;
        if (n == 0)
                say(stdout, "signed by      nobody\n");
        say(stdout, "\nsection        size       address    offset\n");
        for (unsigned k = 0; (s = pe_section_at(i->pe, k)); k++)
                say(stdout, "%-9s %9u    0x%08x 0x%08x\n", s->name, s->virtual_size,
                    s->virtual_address, s->raw_offset);
        return 0;
}

/* --- JSON --- */

static int add_hex(struct json_object *o, const char *key, const uint8_t *digest)
{
        char hex[SHA256_HEX_SIZE];

        hex_encode(digest, SHA256_SIZE, hex);
        return json_add_str(o, key, hex);
}

static int add_signature(void *ctx, const struct signature *s)
{
        struct json_object *array = ctx, *o = json_object_new_object();
        int r;

        r = json_append(array, o);
        if (r == 0)
                r = json_add_str(o, "subject", s->subject);
        if (r == 0)
                r = json_add_bool(o, "digest_fits", s->digest_fits);
        return r;
}

static int add_sections(const struct image *i, struct json_object *array)
{
        const struct pe_section *s;
        int r = array ? 0 : -ENOMEM;

        for (unsigned k = 0; r == 0 && (s = pe_section_at(i->pe, k)); k++) {
                struct json_object *o = json_object_new_object();

                r = json_append(array, o);
                if (r == 0)
                        r = json_add_str(o, "name", s->name);
                if (r == 0)
                        r = json_add_u64(o, "size", s->virtual_size);
                if (r == 0)
                        r = json_add_u64(o, "address", s->virtual_address);
                if (r == 0)
                        r = json_add_u64(o, "offset", s->raw_offset);
        }
        return r;
}

static int add_policies(const struct image *i, struct json_object *array)
{
        int r = array ? 0 : -ENOMEM;

        for (unsigned k = 0; r == 0 && i->pcrsig && pcrsig_at(i->pcrsig, k); k++) {
                const struct pcrsig_entry *entry = pcrsig_at(i->pcrsig, k);
                unsigned p = 0;
                int phase = phase_of(i, entry, &p);
                struct json_object *o = json_object_new_object();

                r = json_append(array, o);
                if (r == 0)
                        r = json_add_str(o, "phase",
                                         phase < 0 ? NULL : phase_path((enum phase)phase));
                if (r == 0)
                        r = phase < 0 ? json_add_null(o, "profile") : json_add_u64(o, "profile", p);
                if (r == 0)
                        r = add_hex(o, "policy", entry->pol);
                if (r == 0)
                        r = add_hex(o, "key", entry->pkfp);
                if (r == 0)
                        r = json_add_bool(o, "fits", phase >= 0 && i->profiles[p].fits[phase]);
        }
        return r;
}

static int add_phases(const struct profile *p, struct json_object *values)
{
        int r = values ? 0 : -ENOMEM;

        for (unsigned k = 0; r == 0 && k < PHASE_MAX; k++)
                r = add_hex(values, phase_path((enum phase)k), p->pcr11[k]);
        return r;
}

static int add_profiles(const struct image *i, struct json_object *array)
{
        int r = array ? 0 : -ENOMEM;

        for (unsigned k = 0; k < usi_profiles(i->usi) && r == 0; k++) {
                struct json_object *o = json_object_new_object();
                _cleanup_free_ char *cmdline = NULL;
                struct image_profile facts;
                const char *text;
                size_t n = cmdline_of(i, k, &text);

                image_profile_name(i->usi, k, &facts);
                cmdline = strndup(text, n);
                r = cmdline ? json_append(array, o) : -ENOMEM;
                if (r == 0)
                        r = json_add_str(o, "id", facts.id);
                if (r == 0)
                        r = json_add_str(o, "cmdline", cmdline);
                if (r == 0)
                        r = add_phases(&i->profiles[k], document_object(o, "pcr11"));
        }
        return r;
}

static int add_usi(const struct image *i, struct json_object *root)
{
        int r;

        r = json_add_str(root, "pretty_name", usi_pretty_name(i->usi));
        if (r == 0)
                r = json_add_str(root, "image_id", usi_image_id(i->usi));
        if (r == 0)
                r = json_add_str(root, "image_version", usi_image_version(i->usi));
        if (r == 0)
                r = json_add_str(root, "cmdline", usi_cmdline(i->usi));
        if (r == 0)
                r = json_add_u64(root, "stub_version", usi_stub_version(i->usi));
        if (r < 0)
                return r;
        r = add_phases(&i->profiles[0], document_object(root, "pcr11"));
        if (r == 0)
                r = add_policies(i, document_array(root, "policies"));
        return r == 0 ? add_profiles(i, document_array(root, "profiles")) : r;
}

static int add_facts(const struct image *i, struct json_object *root)
{
        char machine[16];
        int r;

        name_machine(i, machine, sizeof(machine));
        r = json_add_str(root, "kind", i->usi ? "usi" : "pe");
        if (r == 0)
                r = json_add_str(root, "machine", machine);
        if (r == 0)
                r = json_add_u64(root, "size", i->size);
        if (r == 0)
                r = add_hex(root, "sha256", i->sha256);
        if (r == 0)
                r = add_hex(root, "authenticode", i->digest);
        return r;
}

static int print_json(const struct image *i, struct error *e)
{
        _cleanup_json_ struct json_object *root = document_new("inspect");
        struct json_object *signatures;
        int r;

        r = add_facts(i, root);
        if (r == 0 && i->usi)
                r = add_usi(i, root);
        signatures = document_array(root, "signatures");
        if (r < 0 || !signatures)
                return error_oom(e);
        r = each_signature(i, add_signature, signatures, e);
        if (r < 0)
                return r;
        return add_sections(i, document_array(root, "sections")) < 0 ? error_oom(e)
                                                                     : document_print(root, e);
}

int verb_inspect(char *const argv[], bool *json, struct error *e)
{
        _cleanup_(image_done) struct image i = {.fd = -EBADF};
        const char *path = NULL;
        const struct words_option options[] = {{.name = "json", .flag = json}};
        int r;

        r = words_parse(argv, options, ARRAY_SIZE(options), &path, 1, "the image", e);
        if (r == 0)
                r = load(&i, path, e);
        if (r != 0)
                return r;
        r = *json ? print_json(&i, e) : print_text(&i, e);
        return r < 0 ? error_wrap(e, r, "%s", path) : 0;
}
