/* SPDX-License-Identifier: Apache-2.0 */
#include "image/finished.h"

#include <string.h>

#include "base/limits.h"
#include "image/input.h"
#include "image/keyfile.h"
#include "upgrade/authenticode.h"
#include "upgrade/bootloader_probe.h"
#include "upgrade/pcrsig.h"

/* The phase that volumes are opened in. */
#define UNLOCK_PHASE "enter-initrd"

static bool signed_by(PKCS7 *p7, X509 *signer)
{
        STACK_OF(X509) *found = PKCS7_get0_signers(p7, NULL, 0);
        bool same = false;

        for (int i = 0; found && i < sk_X509_num(found); i++)
                same = same || X509_cmp(sk_X509_value(found, i), signer) == 0;
        sk_X509_free(found);
        return same;
}

/* Looks for a signature over these bytes; of that signer, where one is named. */
static int check_signature(const struct pe *pe, X509 *signer, struct error *e)
{
        uint8_t digest[SHA256_SIZE], claim[SHA256_SIZE];
        uint64_t offset = 0;
        bool any = false;
        int r = authenticode_digest(pe, digest, e);

        while (r >= 0) {
                _cleanup_(authenticode_pkcs7_p) PKCS7 *p7 = NULL;

                r = authenticode_next(pe, &offset, &p7, e);
                if (r <= 0)
                        break;
                if (authenticode_claim(p7, claim, NULL) < 0 ||
                    memcmp(claim, digest, SHA256_SIZE) != 0)
                        continue;
                if (!signer || signed_by(p7, signer))
                        return 0;
                any = true;
        }
        if (r < 0)
                return r;
        if (any)
                r = error_set(e, ERROR_CONFIG, EKEYREJECTED,
                              "signed by another key than db of the "
                              "keys that are enrolled with it");
        else
                r = error_set(e, ERROR_CONFIG, ENOKEY, "not signed: firmware would not start it");
        error_advise(e, "sign it: \"tb-image sign --keys DIR --out FILE FILE\"");
        return r;
}

static int check_policy(const struct usi *u, struct error *e)
{
        _cleanup_(pcrsig_free_p) struct pcrsig *doc = NULL;
        const struct buf *text = usi_pcrsig(u), *key = usi_pcrpkey(u);
        uint8_t pcr11[SHA256_SIZE];
        int r;

        if (!text || !key)
                return error_set(e, ERROR_CONFIG, ENOKEY,
                                 "no signed PCR policy: it would not unlock a disk");
        r = usi_pcr11(u, UNLOCK_PHASE, pcr11, e);
        if (r == 0)
                r = pcrsig_parse(text->data, text->len, &doc, e);
        if (r == 0)
                r = pcrsig_check(doc, key->data, key->len, pcr11, NULL, e);
        return r < 0 ? error_wrap(e, r, "PCR policy of " UNLOCK_PHASE) : 0;
}

/* A file that the caller named: its faults are mistakes of the call. */
static int failed(struct error *e, int r, const char *what, const char *path)
{
        if (e->class == ERROR_REFUSED)
                e->class = ERROR_CONFIG;
        return error_wrap(e, r, "%s %s", what, path);
}

int finished_usi_open(const char *path, X509 *signer, struct finished_usi *ret, struct error *e)
{
        _cleanup_(finished_usi_done) struct finished_usi f = FINISHED_USI_INIT;
        int r;

        r = input_open(path, &f.fd, e);
        if (r < 0)
                return r;
        r = usi_open(f.fd, &f.usi, e);
        if (r == 0)
                r = check_signature(usi_pe(f.usi), signer, e);
        if (r == 0)
                r = check_policy(f.usi, e);
        if (r == 0 && !finished_architecture(&f))
                r = error_set(e, ERROR_CONFIG, ENOTSUP, "for a machine that is not known here");
        if (r < 0)
                return failed(e, r, "image", path);
        *ret = f;
        f = (struct finished_usi)FINISHED_USI_INIT;
        return 0;
}

void finished_usi_done(struct finished_usi *f)
{
        usi_free(f->usi);
        f->usi = NULL;
        close_p(&f->fd);
}

static uint16_t machine_of(const struct finished_usi *f)
{
        return pe_header(usi_pe(f->usi))->machine;
}

const char *finished_architecture(const struct finished_usi *f)
{
        uint16_t machine = machine_of(f);

        if (machine == PE_MACHINE_X86_64)
                return "amd64";
        return machine == PE_MACHINE_AARCH64 ? "arm64" : NULL;
}

const char *finished_boot_name(const struct finished_usi *f)
{
        return machine_of(f) == PE_MACHINE_X86_64 ? "BOOTX64.EFI" : "BOOTAA64.EFI";
}

static int check_loader(int fd, const struct finished_usi *image, X509 *signer, unsigned *ret_major,
                        struct error *e)
{
        _cleanup_(pe_free_p) struct pe *pe = NULL;
        char version[BOOTLOADER_VERSION_SIZE];
        int r;

        r = pe_open(fd, &pe, e);
        if (r == 0)
                r = bootloader_probe(pe, version, ret_major, e);
        if (r == 0 && pe_header(pe)->machine != machine_of(image))
                r = error_set(e, ERROR_CONFIG, EINVAL, "for another machine than the image");
        return r == 0 ? check_signature(pe, signer, e) : r;
}

int finished_loader_open(const char *path, const struct finished_usi *image, X509 *signer,
                         struct finished_loader *ret, struct error *e)
{
        _cleanup_close_ int fd = -EBADF;
        unsigned major = 0;
        int r = input_open(path, &fd, e);

        if (r < 0)
                return r;
        r = check_loader(fd, image, signer, &major, e);
        if (r < 0)
                return failed(e, r, "boot loader", path);
        *ret = (struct finished_loader){.fd = TAKE_FD(fd), .major = major};
        return 0;
}

int finished_open(const char *usi, const char *loader, const char *keys, struct finished *ret,
                  struct error *e)
{
        int r = keys ? keyfile_open_public(keys, &ret->keys, &ret->signer, e) : 0;

        if (r == 0)
                r = finished_usi_open(usi, ret->signer, &ret->image, e);
        if (r == 0 && loader)
                r = finished_loader_open(loader, &ret->image, ret->signer, &ret->loader, e);
        return r;
}

void finished_done(struct finished *f)
{
        close_p(&f->keys);
        X509_free(f->signer);
        f->signer = NULL;
        finished_usi_done(&f->image);
        close_p(&f->loader.fd);
}
