/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Signed programs as inputs: a system image and a boot loader that go onto a medium or into an
 * upgrade image. What no node would start or unlock by is refused here (ERROR_CONFIG), where it can
 * still be mended. No trust store is asked: which keys a node has is not known here.
 */
#pragma once

#include <openssl/x509.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "upgrade/usi.h"

struct finished_usi {
        int fd;
        struct usi *usi;
};

#define FINISHED_USI_INIT                                                                          \
        {                                                                                          \
                .fd = -EBADF                                                                       \
        }

/*
 * Opens a system image: signed, and with a policy that is signed for unlocking (enter-initrd).
 * signer (may be NULL): the certificate that has to have signed it.
 */
int finished_usi_open(const char *path, X509 *signer, struct finished_usi *ret, struct error *e)
        _must_check_;
void finished_usi_done(struct finished_usi *f);

/* "amd64" or "arm64", as container images name it. */
const char *finished_architecture(const struct finished_usi *f);

/* "BOOTX64.EFI" or "BOOTAA64.EFI": what firmware of that machine starts from a medium. */
const char *finished_boot_name(const struct finished_usi *f);

struct finished_loader {
        int fd;
        unsigned major; /* version of systemd-boot */
};

/* Opens a signed systemd-boot for the machine of the image. The descriptor is the caller's. */
int finished_loader_open(const char *path, const struct finished_usi *image, X509 *signer,
                         struct finished_loader *ret, struct error *e) _must_check_;

/* What goes onto a medium or into an upgrade image. */
struct finished {
        int keys;     /* directory of the keys that are enrolled with it; -EBADF: none */
        X509 *signer; /* by which everything is signed then; NULL: nobody certain */
        struct finished_usi image;
        struct finished_loader loader; /* fd -EBADF: none */
};

#define FINISHED_INIT                                                                              \
        {                                                                                          \
                .keys = -EBADF, .image = FINISHED_USI_INIT, .loader = {.fd = -EBADF }              \
        }

/* loader and keys may be NULL. What is opened before a failure is finished_done()'s. */
int finished_open(const char *usi, const char *loader, const char *keys, struct finished *ret,
                  struct error *e) _must_check_;
void finished_done(struct finished *f);
