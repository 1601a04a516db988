/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Kernel modules by libkmod, and the kernel's device events, for the boot stage, where no udev runs
 * yet.
 */
#pragma once

#include <stdbool.h>

#include "base/env.h"
#include "base/error.h"

struct module_loader;

/* Uses /lib/modules/<running kernel>. A kernel without modules is fine: every load is then a no-op.
 */
int module_open(const struct env *env, struct module_loader **ret, struct error *e) _must_check_;
void module_close(struct module_loader *m);
DEFINE_CLEANUP(struct module_loader, module_close)

/* Loads by name or alias. 0 also when it is built in, already there, unknown to this kernel, or for
 * hardware that is not here. */
int module_load(struct module_loader *m, const char *name, struct error *e) _must_check_;

/*
 * Loads what encrypts the data of a node and sums its file systems, in the fastest form that this
 * processor has: the kernel takes its choice when a volume is opened or mounted, later is too late.
 * Failures of single modules are logged. An error: the kernel's own loading of modules, which was
 * off in between, could not be put on again.
 */
int module_load_ciphers(struct module_loader *m, struct error *e) _must_check_;

enum module_scope {
        MODULE_FIRST, /* what disks and TPMs of the usual kinds hang on: see module_is_first() */
        MODULE_ALL,
};

/*
 * Loads a driver for the devices that name one (modalias in sysfs). Buses make new devices while
 * their driver starts, so this goes round until nothing new is seen. Failures of single drivers are
 * logged, not returned.
 */
int module_load_for_devices(struct module_loader *m, enum module_scope scope, struct error *e)
        _must_check_;

/*
 * Whether a device with this modalias, on this bus of sysfs, is a usual way to a disk or a TPM.
 * What is unusual is found with MODULE_ALL.
 */
bool module_is_first(const char *bus, const char *modalias);

/*
 * Kernel device events. Open it before looking, then look, then wait: no event in between is lost.
 */
int uevent_open(struct error *e) _must_check_;

/* Waits for the next event(s). 1: something happened; 0: the time is over. Negative errno. */
int uevent_wait(int fd, int timeout_ms) _must_check_;
