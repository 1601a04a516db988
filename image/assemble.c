/* SPDX-License-Identifier: Apache-2.0 */
#include "image/assemble.h"

#include <string.h>

#include "base/file.h"
#include "base/limits.h"
#include "image/cpio.h"
#include "image/stub.h"
#include "upgrade/authenticode.h"
#include "upgrade/pcrsig.h"

/* Sections that every image has besides those of the stub. */
#define SECTIONS 6u
#define LATER_VALUES (ASSEMBLE_PROFILES_MAX * LATER_PHASES_MAX)

int assemble_bad_input(struct error *e, int r, const char *what, const char *path)
{
        if (e->class == ERROR_REFUSED)
                e->class = ERROR_CONFIG;
        return error_wrap(e, r, "%s %s", what, path);
}

unsigned assemble_profiles(const struct assemble_image *image)
{
        return image->profiles->n > 0 ? image->profiles->n + 1 : 0;
}

static unsigned count_policies(const struct assemble_image *image)
{
        return image->profiles->n + 1;
}

/* Values of the later phases, profile by profile. */
struct later_values {
        unsigned n;
        uint8_t pcr11[LATER_VALUES][SHA256_SIZE];
};

/* Signature document for the values of PCR 11. Its length is the same for all values. */
static int sign_pcr11(const struct assemble_parts *p, const struct assemble_image *image,
                      const struct later_values *later, struct buf *out, struct error *e)
{
        const struct pcrsig_signer signers[] = {
                {p->policy_private, p->policy_public->data, p->policy_public->len,
                 (const uint8_t(*)[SHA256_SIZE])image->pcr11, count_policies(image)},
                {p->later->key, p->later->public.data, p->later->public.len,
                 (const uint8_t(*)[SHA256_SIZE])later->pcr11, later->n},
        };

        return pcrsig_build_all(signers, later->n > 0 ? 2 : 1, out, e);
}

static int append_to_stub(void *ctx, const void *data, size_t n, struct error *e)
{
        return stub_append(ctx, data, n, e);
}

struct repack {
        struct stub *stub;
        struct error *e;
};

static int append_again(void *ctx, const void *data, size_t n)
{
        struct repack *r = ctx;

        return stub_append(r->stub, data, n, r->e);
}

static int add_initrd(const struct assemble_parts *p, const struct assemble_image *image,
                      struct stub *stub, struct error *e)
{
        struct repack again = {stub, e};
        int r = stub_start(stub, ".initrd", e);

        if (r == 0 && image->packed)
                r = pe_stream(usi_pe(image->packed), usi_section(image->packed, USI_INITRD),
                              append_again, &again, e);
        else if (r == 0)
                r = cpio_write(p->tree, p->epoch, p->level, append_to_stub, stub, e);
        return r == 0 ? stub_end(stub, e) : r;
}

static int add_profile(struct stub *stub, const char *id, const char *title, const char *cmdline,
                       struct error *e)
{
        _cleanup_(buf_done) struct buf text = BUF_INIT(LIMIT_OS_RELEASE);
        int r = commands_profile(id, title, &text) < 0 ? error_oom(e) : 0;

        if (r == 0)
                r = stub_add(stub, ".profile", text.data, text.len, e);
        return r == 0 && cmdline ? stub_add(stub, ".cmdline", cmdline, strlen(cmdline), e) : r;
}

/* Behind everything else, which is the base of all of them. */
static int add_profiles(const struct assemble_image *image, struct stub *stub, struct error *e)
{
        int r = image->profiles->n > 0 ? add_profile(stub, COMMANDS_MAIN, "", NULL, e) : 0;

        for (unsigned i = 0; i < image->profiles->n && r == 0; i++) {
                const struct command *c = &image->profiles->item[i];

                r = add_profile(stub, c->name, c->title, c->cmdline, e);
        }
        return r;
}

/* Sections in file order: what a verifier reads first stands first, the bulk last. One .pcrsig in
 * the base holds the policies of all profiles. */
static int add_sections(const struct assemble_parts *p, const struct assemble_image *image,
                        struct stub *stub, struct error *e)
{
        _cleanup_(buf_done) struct buf place = BUF_INIT(LIMIT_PCRSIG);
        struct later_values later = {.n = 0};
        int r;

        later.n = count_policies(image) * p->later->n;
        r = sign_pcr11(p, image, &later, &place, e);
        if (r < 0)
                return r;
        memset(place.data, ' ', place.len); /* filled in when PCR 11 is known */
        r = stub_add(stub, ".osrel", p->os_release->data, p->os_release->len, e);
        if (r == 0)
                r = stub_add(stub, ".cmdline", image->cmdline, strlen(image->cmdline), e);
        if (r == 0)
                r = stub_add(stub, ".pcrpkey", p->policy_public->data, p->policy_public->len, e);
        if (r == 0)
                r = stub_add(stub, ".pcrsig", place.data, place.len, e);
        if (r == 0 && p->release[0] != '\0')
                r = stub_add(stub, ".uname", p->release, strlen(p->release), e);
        if (r == 0 && p->splash->len > 0)
                r = stub_add(stub, ".splash", p->splash->data, p->splash->len, e);
        if (r == 0)
                r = stub_add_file(stub, ".linux", p->kernel, e);
        if (r == 0)
                r = add_initrd(p, image, stub, e);
        return r == 0 ? add_profiles(image, stub, e) : r;
}

/* Each of the policies, as a verifier will look for it. */
static int check_policies(const struct assemble_parts *p, const struct buf *text,
                          struct assemble_image *image, const struct later_values *later,
                          struct error *e)
{
        _cleanup_(pcrsig_free_p) struct pcrsig *doc = NULL;
        int r = pcrsig_parse(text->data, text->len, &doc, e);

        for (unsigned i = 0; i < count_policies(image) && r == 0; i++)
                r = pcrsig_check(doc, p->policy_public->data, p->policy_public->len,
                                 image->pcr11[i], image->policy[i], e);
        for (unsigned i = 0; i < later->n && r == 0; i++)
                r = pcrsig_check(doc, p->later->public.data, p->later->public.len, later->pcr11[i],
                                 NULL, e);
        return r;
}

static int predict(const struct assemble_parts *p, const struct usi *u,
                   struct assemble_image *image, struct later_values *later, struct error *e)
{
        int r = 0;

        for (unsigned i = 0; i < count_policies(image) && r == 0; i++) {
                r = usi_pcr11_profile(u, i, ASSEMBLE_PHASE, image->pcr11[i], e);
                for (unsigned k = 0; k < p->later->n && r == 0; k++)
                        r = usi_pcr11_profile(u, i, p->later->path[k], later->pcr11[later->n++], e);
        }
        return r;
}

/* Predicts from the finished image, with the code that will verify it later, and fills .pcrsig. */
static int sign_policy(const struct assemble_parts *p, int fd, struct assemble_image *image,
                       struct error *e)
{
        _cleanup_(usi_free_p) struct usi *u = NULL;
        _cleanup_(buf_done) struct buf text = BUF_INIT(LIMIT_PCRSIG);
        struct later_values later = {.n = 0};
        const struct pe_section *place;
        int r;

        r = usi_open(fd, &u, e);
        if (r == 0)
                r = predict(p, u, image, &later, e);
        if (r == 0)
                r = sign_pcr11(p, image, &later, &text, e);
        if (r < 0)
                return r;
        place = usi_section(u, USI_PCRSIG);
        if (!place || place->virtual_size != text.len)
                return error_set(e, ERROR_INTERNAL, EINVAL, "the PCR signature does not fit");
        r = check_policies(p, &text, image, &later, e);
        if (r < 0)
                return r;
        r = file_pwrite(fd, text.data, text.len, place->raw_offset);
        return r < 0 ? error_errno(e, -r, "cannot write the image") : 0;
}

int assemble_build(const struct assemble_parts *p, struct assemble_image *image, int fd,
                   struct error *e)
{
        _cleanup_(stub_free_p) struct stub *stub = NULL;
        unsigned sections = SECTIONS + (p->release[0] != '\0') + (p->splash->len > 0) +
                            assemble_profiles(image) + image->profiles->n;
        int r = stub_begin(p->stub, fd, sections, &stub, e);

        if (r < 0)
                return assemble_bad_input(e, r, "stub", p->stub_name);
        r = add_sections(p, image, stub, e);
        if (r == 0)
                r = stub_finish(stub, e);
        if (r == 0)
                r = sign_policy(p, fd, image, e);
        if (r == 0 && p->key)
                r = authenticode_sign(fd, p->key, p->cert, e);
        if (r < 0)
                return r;
        r = digest_fd(fd, image->digest, &image->size);
        return r < 0 ? error_errno(e, -r, "cannot read the image back") : 0;
}
